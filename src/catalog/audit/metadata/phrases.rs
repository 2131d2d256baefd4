//! Phrases of four words that two texts share (META010).
//!
//! Only words that carry meaning count: at least four letters long, and none of the stopwords.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// How many words in a row are a phrase.
const WINDOW: usize = 4;
/// Words of at least four letters that say nothing (`contract/challenges.md` B.3).
const STOPWORDS: &[&str] = &[
    "with", "from", "into", "onto", "over", "were", "been", "being", "that", "this", "these",
    "those", "they", "them", "their", "your", "does", "will", "would", "should", "could", "might",
    "must", "some", "then", "else", "when", "where", "while", "three",
];

/// The alphabetically first phrase that `left` and `right` share.
pub(super) fn first_shared(left: &str, right: &str) -> Option<String> {
    let left = words(left);
    let right = words(right);
    let known: BTreeSet<&[String]> = left.windows(WINDOW).collect();
    right.windows(WINDOW).filter(|it| known.contains(it)).map(|it| it.join(" ")).min()
}

fn words(text: &str) -> Vec<String> {
    static WORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("[A-Za-z][A-Za-z0-9_]+").expect("the pattern is constant"));
    WORD.find_iter(text)
        .map(|found| found.as_str().to_ascii_lowercase())
        .filter(|word| word.len() >= 4 && !STOPWORDS.contains(&word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::first_shared;

    #[test]
    fn four_words_with_meaning_in_a_row_are_a_phrase() {
        let left = "Break into the deploy-server and read the PRIVATE release notes";
        for (right, want) in [
            ("read the private release notes", Some("read private release notes")),
            ("the deploy server: read private files", Some("deploy server read private")),
            ("server deploy read private", None),
            ("private release notes", None),
            ("", None),
            (left, Some("break deploy server read")),
        ] {
            assert_eq!(first_shared(left, right).as_deref(), want, "{right}");
        }
    }

    #[test]
    fn stopwords_and_short_words_do_not_break_a_phrase() {
        assert!(
            first_shared(
                "house when the garden must street on window",
                "house garden street window"
            )
            .is_some()
        );
        assert!(
            first_shared("house about garden street window", "house garden street window")
                .is_none()
        );
        assert!(
            first_shared("éhouse garden street window", "house garden street window").is_some()
        );
        assert!(first_shared("cafés house garden street", "cafés house garden street").is_none());
    }
}
