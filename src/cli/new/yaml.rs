//! Text of people as YAML that every reader reads back the same.
//!
//! # Invariants
//! * What is written is read back equal, by YAML 1.1 and 1.2 alike, for every text.

/// Words that some reader of YAML takes for something other than text.
const WORDS: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// `text` as a scalar on one line: as it is where that is safe, else in double quotes.
pub(in crate::cli) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// `items` as a list on one line.
pub(in crate::cli) fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
    format!("[{}]", items.join(", "))
}

/// `text`, which ends with one line end, as the value of a top-level key: a block where that keeps
/// every character, else in double quotes.
pub(in crate::cli) fn block(text: &str) -> String {
    let body = text.strip_suffix('\n').unwrap_or_default();
    let is_line = |line: &str| {
        !line.ends_with([' ', '\t'])
            && line.chars().all(|c| c == '\t' || (!needs_escape(c) && !is_line_break(c)))
    };
    let fits = !body.is_empty()
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.split('\n').all(is_line);
    if !fits {
        return quoted(text);
    }
    let mut block = String::from("|");
    for line in body.split('\n') {
        block.push('\n');
        if !line.is_empty() {
            block.push_str("  ");
            block.push_str(line);
        }
    }
    block
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " -_./'".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if needs_escape(c) || is_line_break(c) => {
                let code = u32::from(c);
                let escape = if code < 0x1_0000 {
                    format!("\\u{code:04X}")
                } else {
                    format!("\\U{code:08X}")
                };
                quoted.push_str(&escape);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What YAML 1.1 calls not printable.
fn needs_escape(c: char) -> bool {
    !matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{1_0000}'..='\u{10_ffff}')
}

/// What YAML 1.1 takes for the end of a line.
fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_be_misread_is_quoted() {
        for (text, written) in [
            ("Coat check", "Coat check"),
            ("Director's cut", "Director's cut"),
            ("yes", "\"yes\""),
            ("No", "\"No\""),
            ("443", "\"443\""),
            ("a: b", "\"a: b\""),
            ("# a", "\"# a\""),
            ("a, b", "\"a, b\""),
            ("end ", "\"end \""),
            ("", "\"\""),
            ("\"x\\", r#""\"x\\""#),
            ("tab\tbell\u{7}\u{2028}", r#""tab\tbell\u0007\u2028""#),
            ("ключ", "\"ключ\""),
        ] {
            assert_eq!(scalar(text), written);
        }
        assert_eq!(list(&["web".to_owned(), "1".to_owned()]), "[web, \"1\"]");
    }

    #[test]
    fn a_block_keeps_its_lines() {
        assert_eq!(block("one\n\n  two\n"), "|\n  one\n\n    two");
        assert_eq!(block("one \ntwo\n"), "\"one \\ntwo\\n\"");
        assert_eq!(block(" one\n"), "\" one\\n\"");
        assert_eq!(block("one\n\n"), "\"one\\n\\n\"");
        assert_eq!(block("one"), "\"\"".replace("\"\"", "\"one\""));
    }
}
