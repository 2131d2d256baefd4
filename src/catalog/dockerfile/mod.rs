//! Reads a Dockerfile into instructions that know where they stand.
//!
//! Reading is not judging: what is here says what an engine would read, `audit::build` says what of
//! it may be. Engines disagree: those before 23.0 know no heredocs, and take a doubled escape at
//! the end of a line for a continuation. So a text can be read the old way, too.
//!
//! In:  the text of a Dockerfile, and whose [`Reading`]. Out: a [`Dockerfile`].
//!
//! # Invariants
//! * No text panics; the work is linear in its length.
//! * Every span lies inside the text; lines and columns count from 1, columns in characters.
//!
//! # Not here
//! What variables stand for ([`words`]), what an instruction may say (`audit::build`).

mod lines;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use self::lines::{Lines, Logical};
use self::words::{Word, is_space};
use super::spanned::{Fault, Span};

/// Most instructions that are read.
const MAX_INSTRUCTIONS: usize = 1000;
/// Instructions whose lines can begin heredocs.
const WITH_HEREDOCS: &[&str] = &["ADD", "COPY", "RUN"];

/// Every instruction there is.
pub(crate) const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Which engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Docker 23.0 and later.
    Modern,
    /// Docker before 23.0.
    Old,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Dockerfile {
    /// `# name=value` at the very top.
    pub directives: Vec<Directive>,
    /// In file order.
    pub instructions: Vec<Instruction>,
    /// What no engine reads.
    pub faults: Vec<Fault>,
    /// The character that escapes and continues lines.
    pub escape: char,
    /// Where the first heredoc begins.
    pub heredoc: Option<Span>,
    /// Whether the readings may differ.
    pub is_ambiguous: bool,
    /// Where reading stopped, when there are too many instructions.
    pub cut: Option<Span>,
}

/// A parser directive.
#[derive(Debug)]
pub(crate) struct Directive {
    /// In lower case.
    pub name: String,
    /// As written, without space around it.
    pub value: String,
    /// Where the line begins.
    pub at: Span,
}

/// One instruction.
#[derive(Debug)]
pub(crate) struct Instruction {
    /// In upper case; may be none that exists.
    pub keyword: String,
    /// Where it begins.
    pub at: Span,
    /// `--name=value` before everything else.
    pub flags: Vec<Flag>,
    /// What follows, cut into words the way this instruction does; not expanded.
    pub words: Vec<Word>,
    /// What follows as a list, when it is written as JSON.
    pub list: Option<Vec<String>>,
    /// The instruction behind `ONBUILD`.
    pub trigger: Option<Box<Instruction>>,
}

/// `--name=value`.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Without dashes.
    pub name: String,
    /// Empty when there is none.
    pub value: String,
    /// Where it begins.
    pub at: Span,
}

impl Instruction {
    /// The values of the flag `name`.
    pub(crate) fn flags<'i>(&'i self, name: &'i str) -> impl Iterator<Item = &'i Flag> {
        self.flags.iter().filter(move |flag| flag.name == name)
    }
}

/// Reads `text`.
pub(crate) fn parse(text: &str, reading: Reading) -> Dockerfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = Dockerfile { escape: '\\', ..Dockerfile::default() };
    let mut lines = Lines::new(text);
    read_directives(&mut lines, &mut file);
    while let Some(logical) = lines.next_logical(file.escape, reading) {
        file.is_ambiguous |= logical.is_ambiguous;
        if file.instructions.len() == MAX_INSTRUCTIONS {
            file.cut = Some(logical.start());
            break;
        }
        let names = match reading {
            Reading::Modern => heredocs(&logical, file.escape),
            Reading::Old => Vec::new(),
        };
        let at = logical.start();
        for name in names {
            file.heredoc.get_or_insert(at);
            file.is_ambiguous = true;
            if lines.skip_heredoc(&name.text, name.chomp).is_none() {
                let message = "a heredoc that begins here never ends";
                let hint = format!("end it with a line `{}`", super::decode::shown(&name.text));
                file.faults.push(Fault { at, message: message.to_owned(), hint });
                // The file is at its end: the others miss theirs, too.
                break;
            }
        }
        file.instructions.push(instruction(&logical, 0, file.escape));
    }
    file
}

/// Takes the directives off the top.
fn read_directives(lines: &mut Lines<'_>, file: &mut Dockerfile) {
    // A first line for the shell is a comment to every engine, and does not end the directives.
    lines.skip_shebang();
    while let Some((line, at)) = lines.peek() {
        let Some((name, value)) = directive(line) else { break };
        if name == "escape" {
            match value {
                "\\" => file.escape = '\\',
                "`" => file.escape = '`',
                _ => {
                    let message = "the directive `escape` is neither a backslash nor a backtick";
                    let hint = "write ``# escape=` ``, or remove the line".to_owned();
                    file.faults.push(Fault { at, message: message.to_owned(), hint });
                }
            }
        }
        file.directives.push(Directive { name, value: value.to_owned(), at });
        lines.advance();
    }
}

/// The name, in lower case, and the value of `# name=value`.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// The instruction in `logical` from byte `from` on.
fn instruction(logical: &Logical, from: usize, escape: char) -> Instruction {
    let text = &logical.text;
    let mut places = logical.places();
    let start = from + leading_space(&text[from..]);
    let at = places.at(start);
    let end = text[start..].find(is_space).map_or(text.len(), |length| start + length);
    let keyword = upper(text[start..end].trim_end());
    let (flags, rest) = flags(text, end, escape, &mut places);
    let list = list(&text[rest..]);
    let words = match keyword.as_str() {
        "ARG" | "ENV" | "LABEL" | "RUN" => words::quoted(text, rest, escape, &mut places).words,
        _ => words::plain(text, rest, &mut places),
    };
    // `ONBUILD ONBUILD …` is refused by every engine: one level is enough.
    let trigger = (keyword == "ONBUILD" && from == 0 && rest < text.len())
        .then(|| Box::new(instruction(logical, rest, escape)));
    Instruction { keyword, at, flags, words, list, trigger }
}

/// Without case the way engines compare keywords: by the lower form.
fn upper(keyword: &str) -> String {
    keyword.to_lowercase().to_ascii_uppercase()
}

/// The length of the white space that `text` begins with.
fn leading_space(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// The flags from byte `from` on, and where the rest begins.
fn flags(
    text: &str,
    from: usize,
    escape: char,
    places: &mut lines::Places<'_>,
) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = from + leading_space(&text[from..]);
    while text[at..].starts_with("--") {
        let end = words::end_of_word(text, at, escape);
        let body = &text[at + 2..end];
        if body.is_empty() {
            break;
        }
        let (name, value) = body.split_once('=').unwrap_or((body, ""));
        let value = words::unquoted(value, escape);
        flags.push(Flag { name: name.to_ascii_lowercase(), value, at: places.at(at) });
        at = end + leading_space(&text[end..]);
    }
    (flags, at)
}

/// The items of a JSON list of texts.
fn list(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// The name that ends a heredoc.
struct HeredocName {
    text: String,
    chomp: Chomp,
}

/// Whether tabs before the lines of a heredoc are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chomp {
    /// `<<-`.
    Tabs,
    /// `<<`.
    Nothing,
}

/// The heredocs that a line begins, in order.
fn heredocs(logical: &Logical, escape: char) -> Vec<HeredocName> {
    let text = logical.text.trim_start();
    let mut head = text.split(is_space).filter(|word| !word.is_empty()).map(upper);
    let first = head.next().unwrap_or_default();
    let keyword = if first == "ONBUILD" { head.next().unwrap_or_default() } else { first };
    if !WITH_HEREDOCS.contains(&keyword.as_str()) || !text.contains("<<") {
        return Vec::new();
    }
    let cut = words::quoted(&logical.text, 0, escape, &mut logical.places());
    if !cut.is_closed {
        return Vec::new();
    }
    cut.words.iter().filter_map(|word| heredoc_name(&word.text, escape)).collect()
}

/// `<<NAME`, `3<<-"NAME"`.
fn heredoc_name(word: &str, escape: char) -> Option<HeredocName> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, Chomp::Tabs),
        None => (rest, Chomp::Nothing),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    Some(HeredocName { text: words::unquoted(rest, escape), chomp })
}
