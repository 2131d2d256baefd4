//! Literal flags, and the placeholders that are none (`contract/challenges.md` C.4).
//!
//! In:  a text. Out: where it holds `FLAG{…}` that could be a real flag.
//!
//! # Invariants
//! * Linear in the text.

use std::sync::LazyLock;

use regex::Regex;

static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"FLAG\{([^}]+)\}").expect("the pattern is a constant that the tests compile")
});

/// How far before a flag the quote is looked for.
const MAX_LITERAL_BYTES: usize = 512;

/// Bodies that stand for a flag.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    let bodies = [
        r"(?i:sample[-_a-z0-9]*)",
        r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
        r"%[sdfx]",
        r"\$\{?ANSWER_[A-Z][A-Z0-9_]*",
        r"<[A-Za-z_][A-Za-z0-9_ -]*>",
        r"__ANSWER_[A-Z][A-Z0-9_]*__",
    ];
    // One end of line may follow, as with `$` in the languages that rules were first written in.
    let pattern = format!(r"^(?:{})(?:\r?\n|\r)?$", bodies.join("|"));
    Regex::new(&pattern).expect("the pattern is a constant that the tests compile")
});

/// A variable of a template: `name`, `user.name`, or nothing.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:[A-Za-z_][A-Za-z0-9_.]*)?\s*$")
        .expect("the pattern is a constant that the tests compile")
});

/// The bytes of every literal flag in `text`: first, and one past the last.
pub(in crate::catalog::audit) fn literal_flags(text: &str) -> impl Iterator<Item = (usize, usize)> {
    FLAG.captures_iter(text).filter_map(move |found| {
        let (flag, body) = (found.get(0)?, found.get(1)?);
        let is_placeholder = PLACEHOLDER.is_match(body.as_str())
            || is_doubled(body.as_str(), &text[flag.end()..])
            || is_interpolated(&text[..flag.start()], body.as_str());
        (!is_placeholder).then_some((flag.start(), flag.end()))
    })
}

/// `FLAG{{name}}` and `FLAG{{{name}}}`: what templates and format strings make a flag of.
fn is_doubled(body: &str, after: &str) -> bool {
    let name = body.trim_start_matches('{');
    let n_open = body.len() - name.len();
    let n_closed = after.len() - after.trim_start_matches('}').len();
    // Deeper than three is no language that we know.
    (1..=2).contains(&n_open) && n_closed >= n_open && VARIABLE.is_match(name)
}

/// `FLAG{name}` in a Python f-string, which holds the value of `name` and no flag.
fn is_interpolated(before: &str, body: &str) -> bool {
    let near = before.ceil_char_boundary(before.len().saturating_sub(MAX_LITERAL_BYTES));
    let before = &before[near..];
    let line = before.rsplit('\n').next().unwrap_or(before);
    let Some(quote) = line.rfind(['"', '\'']) else { return false };
    let prefix = line[..quote].trim_end_matches(['"', '\'']);
    let letters = prefix.len() - prefix.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let letters = &prefix[prefix.len() - letters..];
    matches!(letters.to_ascii_lowercase().as_str(), "f" | "rf" | "fr")
        && VARIABLE.is_match(body)
        && !body.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_flags() {
        for text in [
            "FLAG{%s}",
            "FLAG{$ANSWER_FLAG}",
            "FLAG{${ANSWER_FLAG}}",
            "FLAG{<your flag>}",
            "FLAG{__ANSWER_FLAG__}",
            "FLAG{samplemainanswer}",
            "FLAG{sample-flag}",
            "FLAG{SAMPLE_x}",
            "FLAG{123E4567-e89b-12d3-a456-426614174000}",
            "FLAG{{name}}",
            "FLAG{{ user.name }}",
            "f'FLAG{{{name}}}'",
            "format!(\"FLAG{{{}}}\", x)",
            "print(f\"FLAG{name}\")",
            "x = rf'FLAG{name}'",
            "FLAG{}",
            "FLAG{never closed",
            "flag{lower case}",
            r"FLAG\{[^}]+\}",
        ] {
            assert_eq!(literal_flags(text).next(), None, "{text}");
        }
    }

    #[test]
    fn everything_else_is_a_flag() {
        for text in [
            "FLAG{real-value}",
            "'FLAG{name}'",
            "if 'FLAG{name}'",
            "FLAG{sample.x}",
            "FLAG{%32s}",
            "FLAG{$answer_flag}",
            "FLAG{$ANSWER_}",
            "FLAG{${ANSWER_FLAG:-x}}",
            "FLAG{__ANSWER_A_}",
            "FLAG{<1flag>}",
            "FLAG{{real value!}}",
            "FLAG{{name}",
            "FLAG{ }",
            "FLAG{a\nb}",
            "MYFLAG{real}",
        ] {
            assert_eq!(literal_flags(text).count(), 1, "{text}");
        }
    }

    #[test]
    fn each_flag_is_named() {
        let text = "FLAG{a} FLAG{%s} FLAG{b}";
        assert_eq!(literal_flags(text).collect::<Vec<_>>(), [(0, 7), (17, 24)]);
        assert_eq!(literal_flags(&"FLAG{".repeat(100_000)).count(), 0);
    }
}
