//! A build context as a tar, made from git objects: no work tree, no smudge filter, no link.
//!
//! An encrypted file is in it under its plain name, decrypted: in memory, which is wiped when the
//! engine has the context. A Dockerfile that does not `COPY` it leaves it out of the image.
//!
//! The tar is the same on every machine for the same commit: sorted, owner 0, one fixed time, modes
//! 0644 and 0755. Otherwise no layer cache would ever hit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use zeroize::Zeroizing;

use crate::catalog::context::{self, ContextError, ContextFile};
use crate::model::compose::BuildSpec;
use crate::model::{MemoryTree, Tree, TreeError};
use crate::secrets::{Identities, MAX_FILE_BYTES, Plaintext};

/// 2000-01-01: late enough for tools that refuse years before 1980.
const MTIME_SECS: u64 = 946_684_800;

/// How an image of files of our own is built.
pub fn own_spec() -> BuildSpec {
    BuildSpec {
        context: String::new(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: [].into(),
    }
}

/// The context of files of our own: names and contents, a `Dockerfile` among them.
///
/// # Errors
/// As [`context_tar`].
pub fn own_tar(files: &[(&str, &str)]) -> Result<Bytes, ContextError> {
    let tree =
        files.iter().fold(MemoryTree::new(), |tree, (path, content)| tree.with(path, *content));
    context_tar(&tree, "", &own_spec(), &Identities::none())
}

/// The context of `build`, whose paths are inside the challenge folder `challenge_path`, as an
/// uncompressed tar.
///
/// A `# syntax=` line of the Dockerfile is blanked (its line stays, so that errors name the right
/// one): it would make the engine fetch and run a frontend of the author's choice. Reads every
/// file: call it from a blocking task. At most 512 MiB.
///
/// # Errors
/// As [`context::files`], and when one of `identities` has to open a file and none does: then there
/// is no context at all.
pub fn context_tar(
    tree: &dyn Tree,
    challenge_path: &str,
    build: &BuildSpec,
    identities: &Identities,
) -> Result<Bytes, ContextError> {
    let root = join(challenge_path, &build.context);
    let files = context::files(tree, &root, &build.dockerfile)?;
    // All of them before the archive begins, which is wiped only once it is whole.
    let secrets = decrypted(tree, &root, &files, identities)?;
    let mut tar = Builder::new(Vec::with_capacity(room(&files)));
    let mut folders = BTreeSet::new();
    for file in &files {
        for (end, _) in file.path.match_indices('/') {
            let folder = &file.path[..end];
            if folders.insert(folder.to_owned()) {
                append(&mut tar, &format!("{folder}/"), EntryType::Directory, 0o755, &[])?;
            }
        }
        let stored = join(&root, &file.stored_path());
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        if let Some(plain) = secrets.get(file.path.as_str()) {
            append(&mut tar, &file.path, EntryType::Regular, mode, plain.as_ref())?;
            continue;
        }
        let mut content = tree.read(&stored, file.size_bytes)?;
        if file.path == build.dockerfile {
            content = without_syntax(content);
        }
        append(&mut tar, &file.path, EntryType::Regular, mode, &content)?;
    }
    let bytes = tar.into_inner().map_err(|error| unwritable(&root, &error))?;
    Ok(if secrets.is_empty() { bytes.into() } else { Bytes::from_owner(Zeroizing::new(bytes)) })
}

/// The content of every encrypted file, by its path in the context.
fn decrypted<'f>(
    tree: &dyn Tree,
    root: &str,
    files: &'f [ContextFile],
    identities: &Identities,
) -> Result<BTreeMap<&'f str, Plaintext>, ContextError> {
    let mut secrets = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_encrypted) {
        let path = join(root, &file.stored_path());
        let bytes = tree.read(&path, MAX_FILE_BYTES)?;
        let failed = |source| ContextError::Decrypt { path, source };
        secrets.insert(file.path.as_str(), identities.decrypt(&bytes).map_err(failed)?);
    }
    Ok(secrets)
}

/// Room for the archive, so that nothing of it is copied to where it would not be wiped.
fn room(files: &[ContextFile]) -> usize {
    let folders = |file: &ContextFile| 2048 * file.path.matches('/').count() as u64;
    // Header and padding, and as much again for a long name; the end has blocks of its own.
    let each = |file: &ContextFile| file.size_bytes + 2048 + folders(file);
    usize::try_from(files.iter().map(each).sum::<u64>() + 2048).unwrap_or(0)
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
    use crate::secrets::{Encoding, KeyPair, Recipients};
    use crate::trust::SourceText;

    fn spec(context: &str) -> BuildSpec {
        BuildSpec {
            context: context.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: BTreeMap::new(),
        }
    }

    fn none() -> Identities {
        Identities::none()
    }

    /// The entries of a tar: mode, path, content.
    fn listing(bytes: &[u8]) -> String {
        let mut archive = tar::Archive::new(bytes);
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
        listing
    }

    /// An identity, and what it opens.
    fn key() -> (Identities, impl Fn(&str, Encoding) -> Vec<u8>) {
        let pair = KeyPair::generate().unwrap();
        let source =
            |text: &str| SourceText { name: "keys".to_owned(), bytes: text.as_bytes().to_vec() };
        let recipients = Recipients::parse(&source(pair.recipient())).unwrap();
        let encrypt =
            move |text: &str, encoding| recipients.encrypt(text.as_bytes(), encoding).unwrap();
        (Identities::parse(&source(&pair.file())).unwrap(), encrypt)
    }

    #[test]
    fn an_encrypted_file_is_in_the_tar_under_its_plain_name_and_only_there() {
        let (identities, encrypt) = key();
        let run = EntryKind::File { executable: true };
        let tree = tree()
            .with("ctf/WEB-1/app/a/flag.txt.age", encrypt("FLAG{no-1}", Encoding::Armored))
            .with_kind("ctf/WEB-1/app/seed.sh.age", run, encrypt("#!/bin/sh\n", Encoding::Binary))
            .with("ctf/WEB-1/app/y.log.age", encrypt("left behind", Encoding::Binary));
        let bytes = context_tar(&tree, "ctf/WEB-1", &spec("app"), &identities).unwrap();
        assert!(
            !bytes.windows(14).any(|part| part == b"age-encryption" || part == b"AGE ENCRYPTED ")
        );
        insta::assert_snapshot!(listing(&bytes), @r##"
        644 .dockerignore "*.log\n"
        644 Dockerfile "#\nFROM x\n"
        755 a/ ""
        755 a/b/ ""
        644 a/b/c.txt "c"
        644 a/flag.txt "FLAG{no-1}"
        755 run.sh "#!/bin/sh"
        755 seed.sh "#!/bin/sh\n"
        "##);
    }

    #[test]
    fn without_the_identity_there_is_no_context_and_the_failure_is_final() {
        let (_, encrypt) = key();
        let flag = "ctf/WEB-1/app/flag.txt.age";
        let sealed = tree().with(flag, encrypt("FLAG{no-1}", Encoding::Armored));
        let damaged = tree().with(flag, "age-encryption.org/v1\n");
        let check = |tree: &MemoryTree, identities: &Identities| {
            let error = context_tar(tree, "ctf/WEB-1", &spec("app"), identities).unwrap_err();
            assert_eq!(error.disposition(), crate::model::Disposition::Terminal);
            crate::builder::job::BuildFailure::from_context(&error).error
        };
        let (stranger, _) = key();
        insta::assert_snapshot!(
            [check(&sealed, &none()), check(&sealed, &stranger), check(&damaged, &stranger)]
                .join("\n"), @"
        `ctf/WEB-1/app/flag.txt.age` cannot be decrypted: this node has no age identity; name its file as `secrets.identity_file`, then restart; `flagops builds retry` builds it once the key is there
        `ctf/WEB-1/app/flag.txt.age` cannot be decrypted: the age identity of this node does not open it; put the recipient of this node into `.age-recipients`, and run `flagops secrets rekey` where an identity opens it; `flagops builds retry` builds it once the key is there
        `ctf/WEB-1/app/flag.txt.age` cannot be decrypted: its end is missing; encrypt it with `flagops secrets encrypt`; `flagops builds retry` builds it once the key is there
        "
        );
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
        let bytes = context_tar(&tree(), "ctf/WEB-1", &spec("app"), &none()).unwrap();
        insta::assert_snapshot!(listing(&bytes), @r##"
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
        let once = context_tar(&tree, "ctf/WEB-1", &spec("app"), &none()).unwrap();
        assert_eq!(once, context_tar(&tree, "ctf/WEB-1", &spec("app"), &none()).unwrap());
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
        let error = context_tar(&tree(), "ctf/WEB-1", &spec("nope"), &none()).unwrap_err();
        assert!(error.to_string().contains("`ctf/WEB-1/nope` is no folder"), "{error}");
        let tree = MemoryTree::new().with("WEB-1/Dockerfile", "FROM x");
        assert!(context_tar(&tree, "WEB-1", &spec(""), &none()).is_ok());
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
