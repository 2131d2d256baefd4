//! Lists of texts inside of a cell of a table: JSON, or what Python prints of a list or an array.
//!
//! In:  `["a", "b"]`, `['a', "b's"]`, or `['a' 'b']` as arrays print themselves. Out: the texts.
//!
//! # Invariants
//! * A cell that is read in part is not read: the caller would offer half of the options.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// The texts of a cell, or nothing when it is no such list.
pub(super) fn parse(cell: &str) -> Option<Vec<Value>> {
    let cell = cell.trim();
    if let Ok(Value::Array(list)) = serde_json::from_str(cell) {
        return Some(list);
    }
    let inside = cell.strip_prefix('[')?.strip_suffix(']')?;
    let mut rest = inside.chars().peekable();
    let mut texts = Vec::new();
    let mut n_commas = 0;
    skip_space(&mut rest);
    while let Some(quote) = rest.next() {
        texts.push(Value::String(text(&mut rest, quote)?));
        skip_space(&mut rest);
        if rest.next_if_eq(&',').is_some() {
            n_commas += 1;
            skip_space(&mut rest);
        }
    }
    // Arrays have no commas at all; where some are missing, Python would join the texts.
    let is_whole = n_commas == 0 || n_commas == texts.len() || n_commas + 1 == texts.len();
    is_whole.then_some(texts)
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

/// The text up to the next `quote`, with Python's escapes undone.
fn text(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    if !matches!(quote, '\'' | '"') {
        return None;
    }
    let mut text = String::new();
    loop {
        match rest.next()? {
            c if c == quote => return Some(text),
            '\\' => match rest.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'x' => text.push(code_point(rest, 2)?),
                'u' => text.push(code_point(rest, 4)?),
                'U' => text.push(code_point(rest, 8)?),
                c @ ('\\' | '\'' | '"') => text.push(c),
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
}

fn code_point(rest: &mut Peekable<Chars<'_>>, n_digits: usize) -> Option<char> {
    let digits: String = rest.by_ref().take(n_digits).collect();
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cell: &str) -> Option<Vec<String>> {
        let texts = parse(cell)?;
        Some(texts.iter().map(|it| it.as_str().map_or(it.to_string(), str::to_owned)).collect())
    }

    #[test]
    fn lists_are_read_as_json_and_python_write_them() {
        for (cell, texts) in [
            (r#"["a", "b\u00e9"]"#, &["a", "bé"][..]),
            ("['a', 'b', 'c', 'd']", &["a", "b", "c", "d"]),
            (r#" ['it\'s', "it's", 'say "x"',] "#, &["it's", "it's", "say \"x\""]),
            ("['one, two' 'three'\n 'four']", &["one, two", "three", "four"]),
            (
                r"['tab\t', 'C:\\dir', '\d', '\x41\u00e9\U0001f600']",
                &["tab\t", "C:\\dir", "\\d", "Aé😀"],
            ),
            ("[]", &[]),
        ] {
            let wanted: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(check(cell), Some(wanted), "{cell}");
        }
    }

    #[test]
    fn what_is_no_list_of_texts_is_not_read_in_part() {
        for cell in [
            "",
            "a",
            "'a', 'b'",
            "['a', b]",
            "['a', 1]",
            "['a'",
            "['a]",
            "['a', 'b' 'c']",
            r"['\x4']",
        ] {
            assert_eq!(check(cell), None, "{cell}");
        }
    }
}
