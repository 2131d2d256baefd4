//! Splits a command line into words the way compose does: quotes and backslashes, no expansion.

/// The words of `line`; `None` when a quote is not closed or a backslash ends the line.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        inner => word.push(inner),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_and_backslashes_make_words() {
        for (line, want) in [
            ("", Some(vec![])),
            ("python  app.py", Some(vec!["python", "app.py"])),
            (r#"sh -c "echo \"hi\" 'x'""#, Some(vec!["sh", "-c", r#"echo "hi" 'x'"#])),
            (r"a\ b ''", Some(vec!["a b", ""])),
            ("a'b c'd", Some(vec!["ab cd"])),
            ("'open", None),
            ("\"open", None),
            ("end\\", None),
        ] {
            let want = want.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(split(line), want, "{line:?}");
        }
    }
}
