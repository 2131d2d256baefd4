//! Words that a description must not have (META007, `contract/challenges.md` B.1).
//!
//! A match must not touch an ASCII letter or digit on either side; where one ends at such a place,
//! another alternative is tried. The engine has no look-around, so the neighbours are part of the
//! pattern and the word is its group.

use std::sync::LazyLock;

use regex::Regex;

/// The vocabulary: `_` is white space, `*` any word characters. What needs more is in [`SPECIAL`].
const PHRASES: &[&str] = &[
    "IDOR",
    "SSRF",
    "SSTI",
    "XSS",
    "CSRF",
    "XXE",
    "RCE",
    "LFI",
    "SQLi",
    "NoSQL",
    "NoSQLi",
    "OAuth",
    "OIDC",
    "JWT",
    "JWKS",
    "JWS",
    "JWE",
    "prototype_pollution",
    "path_traversal",
    "directory_traversal",
    "command_injection",
    "mass_assignment",
    "race_condition",
    "TOCTOU",
    "deserializ*",
    "smuggl*",
    "cache_poison*",
    "cache_deception",
    "open_redirect",
    "padding_oracle",
    "parameter_pollution",
    "header_injection",
    "log_injection",
    "csv_injection",
    "BOLA",
    "BFLA",
    "BOPLA",
    "confused_deputy",
    "type_confusion",
    "DNS_rebinding",
    "polyglot",
    "session_fixation",
    "file_upload",
    "LDAP_injection",
    "NoSQL_injection",
    "XPath_injection",
    "signing_oracle",
    "vulnerab*",
    "insecure",
    "backdoor*",
    "attacker*",
    "exploitabl*",
    "intentional*",
    "deliberate*",
];
/// Alternatives that are written as patterns.
const SPECIAL: &[&str] = &["redirect_uri", "length[ -]extension", "zip[ -]?slip"];
/// White space, as the contract's reader knows it: the separators of old are among it.
const SPACE: &str = r"[\s\x1c-\x1f]+";

/// Every technique that `text` names, in order.
pub(super) fn techniques(text: &str) -> impl Iterator<Item = &str> {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| compile(&vocabulary()));
    all(&WORDS, text)
}

/// Every path of an internal API that `text` names, in order.
pub(super) fn api_paths(text: &str) -> impl Iterator<Item = &str> {
    static PATHS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:\A|[^0-9A-Za-z])(/api/[A-Za-z0-9_/-]+)").expect("the pattern is constant")
    });
    all(&PATHS, text)
}

fn vocabulary() -> String {
    let phrases = PHRASES.iter().map(|it| it.replace('_', SPACE).replace('*', r"\w*"));
    let special = SPECIAL.iter().map(|it| (*it).to_owned());
    let words: Vec<String> = phrases.chain(special).collect();
    // Folding of case takes `ſ` and the Kelvin sign for `s` and `k`, and forgets both dots of `i`.
    words.join("|").replace(['i', 'I'], "[iİı]")
}

fn compile(words: &str) -> Regex {
    let pattern = format!(r"(?i)(?:\A|[^0-9A-Za-z])({words})(?:[^0-9A-Za-z]|\z)");
    Regex::new(&pattern).expect("the vocabulary is constant")
}

/// The groups of all matches; what follows one may be the left neighbour of the next.
fn all<'t>(regex: &'static Regex, text: &'t str) -> impl Iterator<Item = &'t str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let word = regex.captures_at(text, at)?.get(1)?;
        at = word.end();
        Some(word.as_str())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(text: &str) -> Vec<&str> {
        techniques(text).chain(api_paths(text)).collect()
    }

    #[test]
    fn every_phrase_of_the_vocabulary_is_found_alone_and_inside_a_sentence() {
        for phrase in PHRASES.iter().map(|it| it.replace('_', " ").replace('*', "x")) {
            assert_eq!(named(&phrase).len(), 1, "{phrase}");
            assert_eq!(named(&format!("(a {phrase}!)")).len(), 1, "{phrase}");
            assert_eq!(named(&format!("{phrase}1 1{phrase}")), named(&format!("{phrase}1")));
        }
    }

    #[test]
    fn a_match_touches_no_letter_and_no_digit() {
        for (text, want) in [
            ("NoSQL injection", &["NoSQL"][..]),
            ("nosqli", &["nosqli"]),
            ("sqli2 sqli", &["sqli"]),
            ("jwt/jws XSS XSS", &["jwt", "jws", "XSS", "XSS"]),
            ("_xss_ éxssé", &["xss", "xss"]),
            ("xss1 1xss redirect_uris file uploads insecurely exploit", &[]),
            ("redirect_uri redirect uri", &["redirect_uri"]),
            (
                "length extension length-extension length  extension",
                &["length extension", "length-extension"],
            ),
            ("zip slip zip-slip zipslip zip_slip", &["zip slip", "zip-slip", "zipslip"]),
            ("path\n\ttraversal path_traversal", &["path\n\ttraversal"]),
            ("cache poisoned cache deceptions", &["cache poisoned"]),
            ("ſsrf attac\u{212a}er İdor", &["ſsrf", "attac\u{212a}er", "İdor"]),
        ] {
            assert_eq!(named(text), want, "{text}");
        }
    }

    #[test]
    fn internal_paths_are_found_in_their_own_case_only() {
        for (text, want) in [
            ("/api/v1 and (/api/users)", &["/api/v1", "/api/users"][..]),
            ("_/api/x //api/x", &["/api/x", "/api/x"]),
            ("x/api/v1 1/api/v1 http://h/api/v1 /API/v1 /api/ /api/. /apis/x", &[]),
        ] {
            assert_eq!(named(text), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_search_panic_or_run_on(text in "(.{0,8}(XSS|path|/api/|İ|ſ| ){0,3}){0,20}") {
            prop_assert!(named(&text).len() <= text.len());
        }
    }
}
