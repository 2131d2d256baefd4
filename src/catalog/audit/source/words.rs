//! The words that give a weakness away (`contract/challenges.md` B.2), and internal paths.
//!
//! In:  a line, or a text that players see. Out: what is said, and where.
//!
//! # Invariants
//! * A word touches no ASCII letter or digit on either side; `_` is a boundary.
//! * Linear in the text: the boundaries are part of the pattern, nothing is tried twice.
//! * [`Hints::of`] misses no text that holds a word, a path, a flag or a shortcut.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::Regex;

use super::routes::SEGMENTS;

/// A family of words.
struct Word {
    /// What any of them holds, in lower case.
    hint: &'static str,
    /// `~` is an optional space, hyphen or underscore, `≈` any number of them.
    pattern: &'static str,
}

const fn word(hint: &'static str, pattern: &'static str) -> Word {
    Word { hint, pattern }
}

/// In the order in which they are tried at one place.
const WORDS: &[Word] = &[
    word("owasp", r"OWASP"),
    word("cwe-", r"CWE-\d+"),
    word("vulnerab", r"vulnerab\w*"),
    word("insecure", r"insecure"),
    word("backdoor", r"backdoor\w*"),
    word("attacker", r"attacker\w*"),
    word("exploitabl", r"exploitabl\w*"),
    word("ssrf", r"SSRF"),
    word("ssti", r"SSTI"),
    word("idor", r"IDOR"),
    word("xxe", r"XXE"),
    word("rce", r"RCE"),
    word("lfi", r"LFI"),
    word("sqli", r"SQLi"),
    word("pollution", r"prototype\s+pollution"),
    word("traversal", r"path\s+traversal"),
    word("stash", r"flag\s+stash"),
    word("vulnerab", r"vulnerable\s+bit"),
    word("intentional", r"intentional\w*"),
    word("deliberate", r"deliberate\w*\s+(?:bug|flaw|insecure|unsafe)"),
    word("waf", r"WAF"),
    word("blacklist", r"blacklist\w*"),
    word("whitelist", r"whitelist\w*"),
    word("wide", r"wide~byte"),
    word("doubl", r"keyword~doubl\w+"),
    word("case", r"case~(?:shift|variation)"),
    word("quote", r"quote~(?:breakout|balance)"),
    word("based", r"(?:boolean|time)~based(?:~blind)?"),
    word("based", r"(?:union|error)~based"),
    word("stacked", r"stacked~quer\w+"),
    word("second", r"second~order"),
    word("pollution", r"parameter~pollution"),
    word("hpp", r"HPP"),
    word("mismatch", r"parser~mismatch"),
    word("strip", r"comment~strip\w*"),
    word("whitespace", r"whitespace~(?:strip|alternate)"),
    word("blind", r"blind"),
    word("strip", r"(?:keyword|verb|comment|whitespace|string|token)≈strip"),
    word("block", r"(?:keyword|verb|comment|whitespace|string|token)≈block"),
    word("pair", r"(?:keyword|verb|comment|whitespace|string|token)≈pair"),
    word("filter", r"(?:keyword|verb|comment|whitespace|string|token)≈filter"),
    word("half", r"half≈(?:escape|blind|escaped)"),
    word("partial", r"partial≈(?:escape|blind|escaped)"),
    word("strip", r"strip≈all"),
    word("waf", r"waf≈(?:fronted|protected)"),
    word("firewall", r"firewall≈(?:fronted|protected)"),
    word("webshell", r"webshell\w*"),
    word("shell", r"image~shell"),
    word("polyglot", r"polyglot"),
    word("toctou", r"TOCTOU"),
    word("mime", r"MIME~(?:spoof\w*|forge\w*)"),
    word("type", r"content~type~(?:spoof\w*|forge\w*)"),
    word("extension", r"double~extension"),
    word("trailing", r"trailing~(?:dot|space|sigil)"),
    word("null", r"null~byte~(?:truncat\w+|inject\w+|trick|abuse)"),
    word("magic", r"magic~byte~(?:trick|forge\w*|abuse|smuggle\w*|sniff\w*)"),
    word("%00", r"%00"),
    word("upload", r"file~upload~(?:bypass|vuln\w*|trick)"),
    word("extension", r"extension~(?:bypass|gap|smuggle\w*|trick)"),
];

static WORD: LazyLock<Regex> = LazyLock::new(|| {
    let patterns: Vec<String> = WORDS
        .iter()
        .map(|word| word.pattern.replace('~', "[ _-]?").replace('≈', "[ _-]*"))
        .collect();
    let pattern = format!(r"(?i)(?:^|[^a-z0-9])({})(?:[^a-z0-9]|$)", patterns.join("|"));
    Regex::new(&pattern).expect("the pattern is a constant that the tests compile")
});

static PATH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[^A-Za-z0-9_/])(/(?:api|internal|admin)/[A-Za-z0-9_/-]+)")
        .expect("the pattern is a constant that the tests compile")
});

/// Paths that tell nothing.
const PUBLIC_PATHS: [&str; 3] = ["/api/health", "/api/healthz", "/api/ping"];

/// A part of a text: where it begins, and what it is.
pub(super) type Found<'t> = (usize, &'t str);

/// The first word in `text`.
pub(super) fn first_word(text: &str) -> Option<Found<'_>> {
    words(text).next()
}

/// Every word in `text`, none inside of another.
pub(super) fn words(text: &str) -> impl Iterator<Item = Found<'_>> {
    cores(&WORD, text)
}

/// Every internal path in `text`.
pub(super) fn paths(text: &str) -> impl Iterator<Item = Found<'_>> {
    cores(&PATH, text).filter(|(_, path)| !PUBLIC_PATHS.contains(path))
}

/// The first group of each match. The search goes on right behind it, so that what follows one
/// can be what precedes the next.
fn cores<'t>(pattern: &'static Regex, text: &'t str) -> impl Iterator<Item = Found<'t>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let core = pattern.captures_at(text, from)?.get(1)?;
        from = core.end();
        Some((core.start(), core.as_str()))
    })
}

/// What a text may hold, seen in one pass: most texts hold nothing, and are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// A word.
    pub words: bool,
    /// An internal path.
    pub paths: bool,
    /// A flag.
    pub flags: bool,
    /// The path of a shortcut.
    pub shortcuts: bool,
}

/// The one automaton behind [`Hints`], and what each pattern in it stands for.
static HINTS: LazyLock<(AhoCorasick, Vec<Hints>)> = LazyLock::new(|| {
    let none = Hints::default();
    let mut patterns: Vec<(String, Hints)> = Vec::new();
    // Letters beyond ASCII that are equal to an ASCII one when case is ignored.
    let hints = WORDS.iter().map(|word| word.hint).chain(["\u{17f}", "\u{212a}"]);
    patterns.extend(hints.map(|hint| (hint.to_owned(), Hints { words: true, ..none })));
    for path in ["/api/", "/internal/", "/admin/"] {
        patterns.push((path.to_owned(), Hints { paths: true, ..none }));
    }
    patterns.push(("flag{".to_owned(), Hints { flags: true, ..none }));
    for segment in SEGMENTS {
        patterns.push((format!("/{segment}"), Hints { shortcuts: true, ..none }));
    }
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(patterns.iter().map(|(pattern, _)| pattern))
        .expect("a few short patterns make a small automaton");
    (automaton, patterns.into_iter().map(|(_, hints)| hints).collect())
});

impl Hints {
    /// Looks through `text` once.
    pub(super) fn of(text: &str) -> Self {
        let (automaton, meanings) = &*HINTS;
        let mut seen = Self::default();
        for found in automaton.find_overlapping_iter(text) {
            let meaning = meanings[found.pattern().as_usize()];
            seen.words |= meaning.words;
            seen.paths |= meaning.paths;
            seen.flags |= meaning.flags;
            seen.shortcuts |= meaning.shortcuts;
            if seen == (Self { words: true, paths: true, flags: true, shortcuts: true }) {
                break;
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_stand_alone() {
        for (text, want) in [
            ("insecure", Some("insecure")),
            ("_insecure_", Some("insecure")),
            ("insecure1", None),
            ("source", None),
            ("an RCE-like thing", Some("RCE")),
            ("union based blind", Some("union based")),
            ("boolean basedblind", Some("boolean basedblind")),
            ("boolean based blinded", Some("boolean based")),
            ("half blindx half  escaped", Some("half  escaped")),
            ("waf-protected", Some("waf")),
            ("firewall_protected", Some("firewall_protected")),
            ("null byte truncat", None),
            ("null byte truncated", Some("null byte truncated")),
            ("a%00 %00", Some("%00")),
            ("unintentional", None),
            ("blac\u{212a}list", Some("blac\u{212a}list")),
            ("\u{17f}insecure", None),
            ("éinsecureé", Some("insecure")),
        ] {
            assert_eq!(first_word(text).map(|(_, word)| word), want, "{text}");
        }
    }

    #[test]
    fn neighbours_are_all_found() {
        let found: Vec<_> = words("blind insecure,WAF").collect();
        assert_eq!(found, [(0, "blind"), (6, "insecure"), (15, "WAF")]);
    }

    #[test]
    fn paths_inside_of_others_are_none() {
        for (text, want) in [
            ("/api/users", vec!["/api/users"]),
            ("x/api/users //api/x http://h/api/x", vec![]),
            ("/api/health /api/ping. /api/healthz", vec![]),
            ("/api/health/ -/admin/x", vec!["/api/health/", "/admin/x"]),
            ("/API/x /admin/ /internal", vec![]),
        ] {
            assert_eq!(paths(text).map(|(_, path)| path).collect::<Vec<_>>(), want, "{text}");
        }
    }

    #[test]
    fn every_word_has_its_hint() {
        for word in WORDS {
            let pattern = word.pattern.replace('~', "[ _-]?").replace('≈', "[ _-]{0,3}");
            let pattern = pattern.replace(r"\w", "[a-z0-9_]").replace(r"\s", "[ \t]");
            let texts = proptest::string::string_regex(&pattern.replace(r"\d", "[0-9]")).unwrap();
            proptest!(ProptestConfig::with_cases(8), |(text in texts)| {
                prop_assert!(first_word(&text).is_some(), "{text}");
                prop_assert!(text.to_lowercase().contains(word.hint), "{text}: {}", word.hint);
                prop_assert!(Hints::of(&text).words, "{text}");
            });
        }
    }

    #[test]
    fn hints_overlap() {
        let seen = Hints::of("FLAG{/api/help blind");
        assert_eq!(seen, Hints { words: true, paths: true, flags: true, shortcuts: true });
        assert_eq!(Hints::of("nothing to see"), Hints::default());
    }

    #[test]
    fn a_long_row_of_near_misses_is_cheap() {
        for text in ["a/api/api".repeat(20_000), "xblind".repeat(20_000), "/api/-".repeat(20_000)] {
            assert!(paths(&text).count() + words(&text).count() < 2);
        }
    }
}
