//! Names of files and folders: which mislead, and which two are one on some file systems.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Whether `c` can make a name or a line look like something else: control characters, line
/// separators, zero-width and direction characters.
pub(crate) fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Why a file of this name is refused, if it is.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    let folded = name.to_lowercase();
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        Some("is no file name")
    } else if name.chars().any(is_misleading) {
        Some("has a control or direction character")
    } else if name.contains('\\') || name.contains(':') {
        Some("has a character that is a separator on some systems")
    } else if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        Some("begins or ends with a character that some systems drop")
    } else if folded == ".git" || folded.starts_with("git~") {
        Some("is a name that git keeps for itself")
    } else if name.len() > 255 {
        Some("has more than 255 bytes")
    } else {
        None
    }
}

/// The form in which two names are compared: composed (NFC) and without case.
pub(crate) fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let normalizer = ComposingNormalizerBorrowed::new_nfc();
    let lower = normalizer.normalize(name).to_lowercase();
    normalizer.normalize(&lower).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mislead_are_refused() {
        for name in ["a\nb", "x\u{202e}gpj.exe", "a.", "a ", ".git", ".GIT", "git~1", "..", "a\\b"]
        {
            assert!(fault(name).is_some(), "{name:?}");
        }
        for name in ["Dockerfile", ".dockerignore", ".gitignore", "é.txt", "a b", "日本"] {
            assert_eq!(fault(name), None, "{name:?}");
        }
    }

    #[test]
    fn case_and_composition_do_not_make_a_name_another() {
        assert_eq!(folded("Flag.TXT"), folded("flag.txt"));
        assert_eq!(folded("\u{e9}"), folded("e\u{301}"));
        assert_eq!(folded("\u{c9}"), folded("e\u{301}"));
        assert_ne!(folded("a"), folded("b"));
    }
}
