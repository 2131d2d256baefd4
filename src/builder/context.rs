//! A build context as a tar, made from git objects: no work tree, no smudge filter, no link.
//!
//! The tar is the same on every machine for the same commit: sorted, owner 0, one fixed time, modes
//! 0644 and 0755. Otherwise no layer cache would ever hit.

use std::collections::BTreeSet;

use bytes::Bytes;
use tar::{Builder, EntryType, Header};

use crate::catalog::context::{self, ContextError};
use crate::model::compose::BuildSpec;
use crate::model::{Tree, TreeError};

/// 2000-01-01: late enough for tools that refuse years before 1980.
const MTIME_SECS: u64 = 946_684_800;

/// The context of `build`, whose paths are inside the challenge folder `challenge_path`, as an
/// uncompressed tar.
///
/// A `# syntax=` line of the Dockerfile is blanked (its line stays, so that errors name the right
/// one): it would make the engine fetch and run a frontend of the author's choice. Reads every
/// file: call it from a blocking task. At most 512 MiB.
///
/// # Errors
/// As [`context::files`].
pub fn context_tar(
    tree: &dyn Tree,
    challenge_path: &str,
    build: &BuildSpec,
) -> Result<Bytes, ContextError> {
    let root = join(challenge_path, &build.context);
    let files = context::files(tree, &root, &build.dockerfile)?;
    let n_bytes: u64 = files.iter().map(|file| file.size_bytes + 1024).sum();
    let mut tar = Builder::new(Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0)));
    let mut folders = BTreeSet::new();
    for file in &files {
        for (end, _) in file.path.match_indices('/') {
            let folder = &file.path[..end];
            if folders.insert(folder.to_owned()) {
                append(&mut tar, &format!("{folder}/"), EntryType::Directory, 0o755, &[])?;
            }
        }
        let mut content = tree.read(&join(&root, &file.path), file.size_bytes)?;
        if file.path == build.dockerfile {
            content = without_syntax(content);
        }
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        append(&mut tar, &file.path, EntryType::Regular, mode, &content)?;
    }
    let bytes = tar.into_inner().map_err(|error| unwritable(&root, &error))?;
    Ok(bytes.into())
}

fn append(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<(), ContextError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME_SECS);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &str, error: &std::io::Error) -> ContextError {
    TreeError::Unreadable { path: path.to_owned(), reason: error.to_string() }.into()
}

fn join(dir: &str, name: &str) -> String {
    match (dir, name) {
        ("", _) => name.to_owned(),
        (_, "") => dir.to_owned(),
        _ => format!("{dir}/{name}"),
    }
}

/// `dockerfile` with its `# syntax=` directive made an empty comment. Directives are the comment
/// lines `# word = value` at the very top, before anything else.
fn without_syntax(dockerfile: Vec<u8>) -> Vec<u8> {
    let mut rewritten = Vec::with_capacity(dockerfile.len());
    let mut is_top = true;
    for (index, line) in dockerfile.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_start_matches('\u{feff}').trim();
        let is_shebang = index == 0 && text.starts_with("#!");
        let directive = text.strip_prefix('#').and_then(|rest| rest.split_once('='));
        let name = directive.map(|(name, _)| name.trim().to_ascii_lowercase());
        let is_directive = name.as_deref().is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric())
        });
        if is_top && name.as_deref() == Some("syntax") {
            rewritten.extend_from_slice(if line.ends_with(b"\n") { b"#\n" } else { b"#" });
        } else {
            rewritten.extend_from_slice(line);
        }
        is_top &= is_directive || is_shebang;
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::io::Read as _;

    use super::*;
    use crate::model::{EntryKind, MemoryTree};

    fn spec(context: &str) -> BuildSpec {
        BuildSpec {
            context: context.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: BTreeMap::new(),
        }
    }

    fn tree() -> MemoryTree {
        let run = EntryKind::File { executable: true };
        MemoryTree::new()
            .with("ctf/WEB-1/app/Dockerfile", "# syntax=evil/frontend\nFROM x\n")
            .with("ctf/WEB-1/app/.dockerignore", "*.log\n")
            .with("ctf/WEB-1/app/a/b/c.txt", "c")
            .with("ctf/WEB-1/app/x.log", "left behind")
            .with_kind("ctf/WEB-1/app/run.sh", run, "#!/bin/sh")
            .with("ctf/WEB-1/flag.txt", "outside the context")
    }

    #[test]
    fn the_tar_holds_exactly_the_context_with_plain_headers() {
        let bytes = context_tar(&tree(), "ctf/WEB-1", &spec("app")).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut listing = String::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), MTIME_SECS);
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let mode = header.mode().unwrap();
            writeln!(listing, "{mode:o} {path} {content:?}").unwrap();
        }
        insta::assert_snapshot!(listing, @r##"
        644 .dockerignore "*.log\n"
        644 Dockerfile "#\nFROM x\n"
        755 a/ ""
        755 a/b/ ""
        644 a/b/c.txt "c"
        755 run.sh "#!/bin/sh"
        "##);
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_and_names_can_be_long() {
        let long = format!("ctf/WEB-1/app/{}/{}.txt", "d".repeat(120), "f".repeat(120));
        let tree = tree().with(&long, "x");
        let once = context_tar(&tree, "ctf/WEB-1", &spec("app")).unwrap();
        assert_eq!(once, context_tar(&tree, "ctf/WEB-1", &spec("app")).unwrap());
        let mut archive = tar::Archive::new(&once[..]);
        let wanted = long.strip_prefix("ctf/WEB-1/app/").unwrap();
        let paths = archive.entries().unwrap();
        assert!(
            paths
                .map(|entry| entry.unwrap().path_bytes().into_owned())
                .any(|path| { path == wanted.as_bytes() })
        );
    }

    #[test]
    fn a_missing_context_is_an_error_and_the_challenge_folder_can_be_one() {
        let error = context_tar(&tree(), "ctf/WEB-1", &spec("nope")).unwrap_err();
        assert!(error.to_string().contains("`ctf/WEB-1/nope` is no folder"), "{error}");
        let tree = MemoryTree::new().with("WEB-1/Dockerfile", "FROM x");
        assert!(context_tar(&tree, "WEB-1", &spec("")).is_ok());
    }

    #[test]
    fn only_a_syntax_directive_at_the_top_is_blanked() {
        for (text, wanted) in [
            ("# syntax=docker/dockerfile:1\nFROM x\n", "#\nFROM x\n"),
            ("#SYNTAX = a\r\nFROM x", "#\nFROM x"),
            ("# escape=`\n# syntax=a\nFROM x", "# escape=`\n#\nFROM x"),
            ("#!/usr/bin/env x\n#syntax=a", "#!/usr/bin/env x\n#"),
            ("\u{feff}# syntax=a\n", "#\n"),
            ("# hello\n# syntax=a\n", "# hello\n# syntax=a\n"),
            ("FROM x\n# syntax=a\n", "FROM x\n# syntax=a\n"),
            ("\n# syntax=a\n", "\n# syntax=a\n"),
            ("", ""),
        ] {
            let rewritten = without_syntax(text.as_bytes().to_vec());
            assert_eq!(String::from_utf8(rewritten).unwrap(), wanted, "{text:?}");
        }
    }
}
