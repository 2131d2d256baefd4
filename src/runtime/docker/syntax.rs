//! Keeps a Dockerfile from choosing its own builder.
//!
//! `# syntax=image` at the top of a Dockerfile makes BuildKit fetch that image and run it in place
//! of its frontend: foreign code that decides what the build does, and a registry that has to be
//! there. The engine's own frontend is good enough, so the directive is turned into a plain comment.
//!
//! In:  the context, a tar. Out: the same tar, at most one byte of each directive changed. Pure.

use bytes::Bytes;

/// A context that the engine's own frontend will build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    /// The tar.
    pub(super) tar: Bytes,
    /// The directive that is now a comment, if there was one.
    pub(super) ignored: Option<String>,
}

/// The context with every `syntax` directive of `dockerfile` disarmed.
///
/// # Errors
/// One line when the context is no tar, or has no such regular file.
pub(super) fn with_own_frontend(context: &Bytes, dockerfile: &str) -> Result<Context, String> {
    let ranges = find(context, dockerfile)?;
    let mut tar: Option<Vec<u8>> = None;
    let mut ignored = None;
    for (start, end) in ranges {
        for (at, line) in directives(&context[start..end])? {
            ignored = Some(super::errors::line(&line));
            tar.get_or_insert_with(|| context.to_vec())[start + at] = b'-';
        }
    }
    let tar = tar.map_or_else(|| context.clone(), Bytes::from);
    Ok(Context { tar, ignored })
}

/// Where the contents of `dockerfile` lie. A tar may hold a path twice; the last one counts for the
/// engine, all of them for us.
fn find(context: &Bytes, dockerfile: &str) -> Result<Vec<(usize, usize)>, String> {
    let broken = |error: std::io::Error| format!("the build context is broken: {error}");
    let wanted = short(dockerfile);
    let mut archive = tar::Archive::new(context.as_ref());
    let mut ranges = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if short(&String::from_utf8_lossy(&entry.path_bytes())) != wanted {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(format!("`{dockerfile}` is not a regular file"));
        }
        let start = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(entry.size()).unwrap_or(usize::MAX));
        if end > context.len() {
            return Err("the build context is cut off".to_owned());
        }
        ranges.push((start, end));
    }
    if ranges.is_empty() {
        return Err(format!("the build context has no `{dockerfile}`"));
    }
    Ok(ranges)
}

/// A path without `.` parts and doubled slashes.
fn short(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// The `syntax` directives at the head of a Dockerfile: the offset of a byte to change, and the
/// line. Wider than any frontend reads them, so that none is missed.
fn directives(content: &[u8]) -> Result<Vec<(usize, String)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let skipped = line.len() - text.len();
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let body = &text[blank..];
        let marks = match body {
            [] => 0,
            [b'/', b'/', ..] => 2,
            [b'#', ..] => 1,
            // Newer frontends read a JSON object in this place.
            [b'{', ..] => return Err("the Dockerfile begins with `{`".to_owned()),
            _ => break,
        };
        let rest = &body[marks..];
        let gap = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if rest[gap..].len() >= 6 && rest[gap..gap + 6].eq_ignore_ascii_case(b"syntax") {
            let text = String::from_utf8_lossy(line).trim().to_owned();
            found.push((at + skipped + blank + marks + gap, text));
        }
        at += line.len();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(files: &[(&str, &str)]) -> Bytes {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().into()
    }

    fn check(dockerfile: &str) -> (String, Option<String>) {
        let made = with_own_frontend(
            &context(&[("a", "x"), ("sub/Dockerfile", dockerfile)]),
            "./sub/Dockerfile",
        )
        .unwrap();
        let mut archive = tar::Archive::new(made.tar.as_ref());
        let mut entry = archive.entries().unwrap().nth(1).unwrap().unwrap();
        let content = std::io::read_to_string(&mut entry).unwrap();
        (content, made.ignored)
    }

    #[test]
    fn a_syntax_line_becomes_a_comment() {
        for head in [
            "# syntax=",
            "#syntax = ",
            "#!/x\n# SYNTAX=",
            "# a=b\n\n// syntax=",
            "\u{feff}#  syntax=",
        ] {
            let (content, ignored) = check(&format!("{head}evil/frontend\nFROM scratch\n"));
            assert!(!content.to_lowercase().contains("syntax"), "{content}");
            assert!(content.ends_with("evil/frontend\nFROM scratch\n"), "{content}");
            assert!(ignored.unwrap().to_lowercase().contains("syntax"));
        }
    }

    #[test]
    fn the_rest_of_the_file_is_left_alone() {
        for text in ["FROM scratch\n# syntax=x\n", "# escape=`\nFROM scratch\n", ""] {
            assert_eq!(check(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn a_context_without_the_dockerfile_is_refused() {
        let message = |name| with_own_frontend(&context(&[("a", "x")]), name).unwrap_err();
        assert_eq!(message("Dockerfile"), "the build context has no `Dockerfile`");
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "Dockerfile", "/etc/passwd").unwrap();
        let linked = Bytes::from(builder.into_inner().unwrap());
        assert_eq!(
            with_own_frontend(&linked, "Dockerfile").unwrap_err(),
            "`Dockerfile` is not a regular file"
        );
        let json = context(&[("Dockerfile", "#!/x\n{\"syntax\":\"evil\"}")]);
        assert!(with_own_frontend(&json, "Dockerfile").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = with_own_frontend(&bytes.clone().into(), "Dockerfile");
            let _ = directives(&bytes);
        }
    }
}
