//! What a `.dockerignore` leaves out of a build context.
//!
//! The rules are those of moby/patternmatcher, not those of `.gitignore`: a pattern is anchored at
//! the context's root, what matches a folder matches all below it, the last match decides, and `!`
//! takes back even below a folder that is left out.
//!
//! In:  the bytes of the file.
//! Out: an [`Ignore`], asked once per path from the root downwards.
//!
//! # Invariants
//! * No bytes make it panic; a pattern that Docker refuses is refused with its line.
//! * Matching is linear in the path: globset compiles all patterns into automata.
//!
//! # Not here
//! Which file is in force, and what is sent in spite of it (`context`). globset sees bytes: `?`
//! and `[^…]` stand for one byte, so a letter beyond ASCII needs `*`.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use thiserror::Error;

/// Most patterns of one file.
const MAX_PATTERNS: usize = 1000;
/// Longest text of all patterns once sets like `[a-z]` are written out.
const MAX_GLOB_BYTES: usize = 256 << 10;

/// The patterns of one file.
#[derive(Debug, Clone)]
pub(super) struct Ignore {
    globs: GlobSet,
    /// By index in `globs`.
    effects: Vec<Effect>,
}

/// What a pattern does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    LeaveOut,
    TakeBack,
}

/// Where the patterns stand on one path: handed down from a folder to what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    /// The last pattern that matched the path or a folder above it.
    last: Option<usize>,
}

/// Why a file is no list of patterns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum IgnoreError {
    /// One line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Each line may be fine, all of them are too much.
    #[error("the patterns are too many or too long")]
    TooMuch,
}

impl Ignore {
    /// Leaves nothing out.
    pub(super) fn none() -> Self {
        Self { globs: GlobSet::empty(), effects: Vec::new() }
    }

    /// Reads a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut globs = GlobSetBuilder::new();
        let mut effects = Vec::new();
        let mut glob_bytes = 0;
        for (line, text) in (1_u32..).zip(bytes.split(|&byte| byte == b'\n')) {
            let wrong = |reason| IgnoreError::Line { line, reason };
            let text = std::str::from_utf8(text).map_err(|_| wrong("the line is not UTF-8"))?;
            let Some((effect, pattern)) = pattern_of(text).map_err(wrong)? else { continue };
            let glob = glob_of(&pattern).map_err(wrong)?;
            glob_bytes += glob.glob().len();
            if effects.len() == MAX_PATTERNS || glob_bytes > MAX_GLOB_BYTES {
                return Err(IgnoreError::TooMuch);
            }
            globs.add(glob);
            effects.push(effect);
        }
        let globs = globs.build().map_err(|_| IgnoreError::TooMuch)?;
        Ok(Self { globs, effects })
    }

    /// The verdict on `path`, given the one on the folder it is in (the root has the default).
    pub(super) fn verdict(&self, above: Verdict, path: &str) -> Verdict {
        let own = self.globs.matches(path).into_iter().max();
        Verdict { last: above.last.max(own) }
    }

    /// Whether what has this verdict is left out.
    pub(super) fn is_left_out(&self, verdict: Verdict) -> bool {
        verdict.last.is_some_and(|last| self.effects[last] == Effect::LeaveOut)
    }

    /// Whether something below a folder of this verdict may be part of the context.
    pub(super) fn may_hold_files(&self, verdict: Verdict) -> bool {
        let later = verdict.last.map_or(0, |last| last + 1);
        !self.is_left_out(verdict) || self.effects[later..].contains(&Effect::TakeBack)
    }
}

/// The effect and the tidied pattern of a line; nothing for comments and what never matches.
fn pattern_of(line: &str) -> Result<Option<(Effect, String)>, &'static str> {
    // Docker looks for `#` before it trims: ` #x` is a pattern.
    let text = line.trim();
    if line.starts_with('#') || text.is_empty() {
        return Ok(None);
    }
    let (effect, text) = match text.strip_prefix('!') {
        Some(rest) => (Effect::TakeBack, rest.trim()),
        None => (Effect::LeaveOut, text),
    };
    if text.is_empty() {
        return Err("`!` needs a pattern");
    }
    let pattern = cleaned(text);
    // For historical reasons Docker ignores the pattern `.`; `/` is the same place.
    Ok((!pattern.is_empty()).then_some((effect, pattern)))
}

/// Go's `filepath.Clean` without the leading `/`; `` is the root.
fn cleaned(text: &str) -> String {
    let is_absolute = text.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let can_go_up = parts.last().is_some_and(|last| *last != "..");
        match part {
            ".." if can_go_up => drop(parts.pop()),
            ".." if is_absolute => (),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// A Docker pattern in the words of globset.
fn glob_of(pattern: &str) -> Result<Glob, &'static str> {
    let mut glob = String::new();
    let mut rest = pattern.chars().peekable();
    // Whether what was written last ends a path component, as far as `**` is concerned.
    let mut is_at_start = true;
    while let Some(c) = rest.next() {
        let was_at_start = std::mem::replace(&mut is_at_start, false);
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // `**` takes a `/` along, and is any number of whole folders.
                rest.next_if_eq(&'/');
                is_at_start = true;
                let place = if was_at_start { Place::Start } else { Place::Middle };
                match rest.peek() {
                    Some(_) => push_folders(&mut glob, place),
                    None => push_everything(&mut glob, place),
                }
            }
            '*' => glob.push('*'),
            '?' => glob.push('?'),
            '[' => push_set(&mut glob, &mut rest)?,
            '/' => {
                glob.push('/');
                is_at_start = true;
            }
            '\\' => push_literal(&mut glob, rest.next().ok_or("a `\\` ends the pattern")?),
            c => push_literal(&mut glob, c),
        }
    }
    GlobBuilder::new(&glob)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|_| "the pattern cannot be understood")
}

/// Where in a path component a `**` stands. globset knows it at the start only; in the middle it is
/// spelled out: `a**b` is `ab`, and every `b` below a folder whose name begins with `a`.
#[derive(Debug, Clone, Copy)]
enum Place {
    Start,
    Middle,
}

const START_FOLDERS: &str = "**/";
const MIDDLE_FOLDERS: &str = "{,*/**/}";

/// Writes a `**` that something follows.
fn push_folders(glob: &mut String, place: Place) {
    match place {
        // Doubling it adds nothing.
        Place::Start if glob.ends_with(START_FOLDERS) || glob.ends_with(MIDDLE_FOLDERS) => (),
        Place::Start => glob.push_str(START_FOLDERS),
        Place::Middle => glob.push_str(MIDDLE_FOLDERS),
    }
}

/// Writes a `**` at the end of a pattern.
fn push_everything(glob: &mut String, place: Place) {
    let middle = "{*,*/**}";
    if let Some(before) = glob.strip_suffix(START_FOLDERS) {
        glob.truncate(before.len());
        glob.push_str("**");
    } else if let Some(before) = glob.strip_suffix(MIDDLE_FOLDERS) {
        glob.truncate(before.len());
        glob.push_str(middle);
    } else {
        match place {
            Place::Start => glob.push_str("**"),
            Place::Middle => glob.push_str(middle),
        }
    }
}

fn push_literal(glob: &mut String, c: char) {
    if c.is_ascii_punctuation() && c != '/' {
        glob.push('\\');
    }
    glob.push(c);
}

/// Writes a set like `[a-z]` out: globset and Docker escape differently inside of one.
fn push_set(
    glob: &mut String,
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<(), &'static str> {
    let is_negated = rest.next_if_eq(&'^').is_some();
    let mut members: Vec<char> = Vec::new();
    while members.is_empty() || rest.next_if_eq(&']').is_none() {
        let low = set_member(rest)?;
        let high = match rest.next_if_eq(&'-') {
            Some(_) => set_member(rest)?,
            None => low,
        };
        if low > high {
            return Err("a range in `[…]` runs backwards");
        }
        members.extend(low..=high);
        if members.len() > 1024 {
            return Err("a `[…]` is too long");
        }
    }
    members.sort_unstable();
    members.dedup();
    if is_negated {
        // `]` may only be first, `-` only last.
        let special = |c: &char| matches!(c, ']' | '-');
        glob.push_str("[^");
        glob.extend(members.iter().filter(|c| **c == ']'));
        glob.extend(members.iter().filter(|c| !special(c)));
        glob.extend(members.iter().filter(|c| **c == '-'));
        glob.push(']');
        return Ok(());
    }
    glob.push('{');
    for (nth, &c) in members.iter().enumerate() {
        if nth > 0 {
            glob.push(',');
        }
        push_literal(glob, c);
    }
    glob.push('}');
    Ok(())
}

fn set_member(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    let member = match rest.next() {
        None => return Err("a `[` is never closed; write `\\[` for the character itself"),
        Some(']' | '-') => return Err("`]` and `-` inside of `[…]` need a `\\` before them"),
        Some('\\') => rest.next().ok_or("a `\\` ends the pattern")?,
        Some(c) => c,
    };
    if member.is_ascii() {
        Ok(member)
    } else {
        Err("only ASCII characters can be in `[…]`; use `*` for others")
    }
}

#[cfg(test)]
mod tests;
