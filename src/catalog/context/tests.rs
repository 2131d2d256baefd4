//! Contexts as authors write them, and digests.

use proptest::prelude::*;

use super::*;
use crate::model::MemoryTree;

const ROOT: &str = "WEB/WEB-001/services/web";

fn context() -> MemoryTree {
    MemoryTree::new().with(&at("Dockerfile"), "FROM scratch\n")
}

fn at(path: &str) -> String {
    format!("{ROOT}/{path}")
}

/// The paths of the context, or why there is none.
fn sent(tree: &MemoryTree, root: &str, dockerfile: &str) -> String {
    match files(tree, root, dockerfile) {
        Ok(files) => files.into_iter().map(|file| file.path).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_context_is_its_files_sorted_by_path() {
    let tree = context()
        .with(&at("b/c"), "x")
        .with(&at("b.txt"), "x")
        .with_kind(&at("run.sh"), EntryKind::File { executable: true }, "#!")
        .with("WEB/WEB-001/metadata.yaml", "x");
    for root in [ROOT.to_owned(), format!("{ROOT}/")] {
        assert_eq!(sent(&tree, &root, "Dockerfile"), "Dockerfile b.txt b/c run.sh");
    }
    assert_eq!(sent(&tree, ROOT, "./Dockerfile"), "Dockerfile b.txt b/c run.sh");
    let files = files(&tree, ROOT, "Dockerfile").unwrap();
    assert_eq!((files[3].is_executable, files[3].size_bytes), (true, 2));
    assert!(!files[0].is_executable);
    let tree = MemoryTree::new().with("Dockerfile", "x").with("a/b", "x");
    assert_eq!(sent(&tree, "", "Dockerfile"), "Dockerfile a/b");
}

#[test]
fn the_ignore_file_decides_except_over_the_dockerfile_and_itself() {
    let tree = context()
        .with(&at(".dockerignore"), "*\n!src\nsrc/*.log\n")
        .with(&at("notes"), "x")
        .with(&at("src/a"), "x")
        .with(&at("src/a.log"), "x");
    assert_eq!(sent(&tree, ROOT, "Dockerfile"), ".dockerignore Dockerfile src/a");
    let tree = context()
        .with(&at(".dockerignore"), "docker")
        .with(&at("docker/Dockerfile"), "x")
        .with(&at("docker/x"), "x");
    assert_eq!(
        sent(&tree, ROOT, "docker/Dockerfile"),
        ".dockerignore Dockerfile docker/Dockerfile"
    );
}

#[test]
fn an_encrypted_file_has_its_plain_name_and_is_ignored_by_either() {
    let tree = context()
        .with(&at("data/flag.txt.age"), "x")
        .with(&at(".age"), "x")
        .with(&at("...age"), "x")
        .with(&at("folder.age/x"), "x");
    let files = files(&tree, ROOT, "Dockerfile").unwrap();
    let seen: Vec<_> = files.iter().map(|it| (it.path.as_str(), it.stored_path())).collect();
    assert_eq!(
        seen,
        [
            ("...age", "...age".into()),
            (".age", ".age".into()),
            ("Dockerfile", "Dockerfile".into()),
            ("data/flag.txt", "data/flag.txt.age".into()),
            ("folder.age/x", "folder.age/x".into()),
        ]
    );
    for (patterns, is_sent) in [
        ("flag.txt", true),
        ("**/flag.txt", false),
        ("**/*.age", false),
        ("data", false),
        ("*\n!data/flag.txt", true),
        ("*\n!data/flag.txt.age", true),
        ("*\n!data/*.txt\n**/*.age", false),
    ] {
        let tree = tree.clone().with(&at(".dockerignore"), patterns);
        let sent = sent(&tree, ROOT, "Dockerfile");
        assert_eq!(sent.contains("data/flag.txt"), is_sent, "{patterns:?}: {sent}");
    }
}

#[test]
fn an_encrypted_file_takes_no_name_that_means_something_else() {
    let check = |path: &str, others: &[&str]| {
        let tree = context().with(&at(path), "x");
        sent(&others.iter().fold(tree, |tree, it| tree.with(&at(it), "x")), ROOT, "Dockerfile")
    };
    insta::assert_snapshot!([
        check("flag.age", &["flag"]),
        check("flag.age", &["flag/x", "flag-x"]),
        check("flag.age", &["flag-x", "flags/x"]),
        check("Dockerfile.age", &[]),
        check(".dockerignore.age", &[]),
        check("Dockerfile.dockerignore.age", &[]),
        check("x..age", &[]),
        check(".git.age", &[]),
    ].join("\n"), @"
    `flag.age` is decrypted to `flag`, which is there already; remove one of the two
    `flag.age` is decrypted to `flag`, which is there already; remove one of the two
    Dockerfile flag flag-x flags/x
    `Dockerfile.age` is never decrypted, because checks have to read it; commit it as it is
    `.dockerignore.age` is never decrypted, because checks have to read it; commit it as it is
    `Dockerfile.dockerignore.age` is never decrypted, because checks have to read it; commit it as it is
    the name of `x.` begins or ends with a character that some systems drop; rename it, or name it in `.dockerignore`
    the name of `.git` is a name that git keeps for itself; rename it, or name it in `.dockerignore`
    ");
}

#[test]
fn encrypting_a_file_is_another_context_and_one_without_is_as_it_was() {
    let plain = files(&context().with(&at("a"), "x"), ROOT, "Dockerfile").unwrap();
    let sealed = files(&context().with(&at("a.age"), "x"), ROOT, "Dockerfile").unwrap();
    assert_eq!(plain.iter().map(|it| &it.path).collect::<Vec<_>>(), ["Dockerfile", "a"]);
    assert_ne!(digest(&plain), digest(&sealed));
}

#[test]
fn the_ignore_file_of_the_dockerfile_comes_first() {
    let tree = context()
        .with(&at("web/Dockerfile"), "x")
        .with(&at(".dockerignore"), "a")
        .with(&at("web/Dockerfile.dockerignore"), "b\nweb")
        .with(&at("a"), "x")
        .with(&at("b"), "x");
    assert_eq!(
        sent(&tree, ROOT, "web/Dockerfile"),
        ".dockerignore Dockerfile a web/Dockerfile web/Dockerfile.dockerignore"
    );
    assert_eq!(
        sent(&tree, ROOT, "Dockerfile"),
        ".dockerignore Dockerfile b web/Dockerfile web/Dockerfile.dockerignore"
    );
}

#[test]
fn what_is_no_regular_file_is_named_unless_ignored() {
    for (path, kind, want) in [
        (
            "sub/link",
            EntryKind::Symlink,
            "`sub/link` is a symbolic link, which is never followed; put the file itself there, \
             or name the link in `.dockerignore`",
        ),
        (
            "sub/lib",
            EntryKind::Submodule,
            "`sub/lib` is a submodule, which is never fetched; copy its files into the \
             repository, or name it in `.dockerignore`",
        ),
        (
            "sub/a\nb",
            EntryKind::File { executable: false },
            "the name of `sub/a\\u{a}b` has a control or direction character; rename it, or name \
             it in `.dockerignore`",
        ),
    ] {
        let tree = context().with_kind(&at(path), kind, "/etc");
        assert_eq!(sent(&tree, ROOT, "Dockerfile"), want);
        let tree = tree.with(&at(".dockerignore"), "sub/*");
        assert_eq!(sent(&tree, ROOT, "Dockerfile"), ".dockerignore Dockerfile");
    }
}

/// A tree whose one folder `dir` has an entry that is not UTF-8.
struct Foreign;

impl Tree for Foreign {
    fn entries(&self, _: &str) -> Result<Vec<Entry>, TreeError> {
        let entry = |name: &str, is_utf8| Entry {
            name: name.to_owned(),
            is_utf8,
            kind: EntryKind::File { executable: false },
            oid: ObjectId::from_bytes([0; 20]),
            size_bytes: 0,
        };
        Ok(vec![entry("Dockerfile", true), entry("\u{fffd}", false)])
    }

    fn read(&self, path: &str, _: u64) -> Result<Vec<u8>, TreeError> {
        Err(TreeError::NotFound { path: path.to_owned() })
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let error = files(&Foreign, "", "Dockerfile").unwrap_err();
    assert!(matches!(error, ContextError::Name { fault: "is not UTF-8", .. }), "{error}");
}

#[test]
fn a_context_without_a_sane_dockerfile_is_refused() {
    let check = |tree: MemoryTree, root: &str, dockerfile: &str, want: &str| {
        assert_eq!(sent(&tree, root, dockerfile), want);
    };
    let missing = |path: &str| format!("`{path}` is missing; write it, or mend `dockerfile`");
    check(context(), "WEB/no", "Dockerfile", "`WEB/no` is no folder; create it, or mend `context`");
    check(
        context(),
        &at("Dockerfile"),
        "Dockerfile",
        &format!("`{}` is no folder; create it, or mend `context`", at("Dockerfile")),
    );
    for path in ["Other", "no/Dockerfile", "Dockerfile/x", "../web/Dockerfile", "", "/Dockerfile"] {
        check(context(), ROOT, path, &missing(path));
    }
    for kind in [EntryKind::Symlink, EntryKind::Submodule] {
        let tree = context().with_kind(&at("Dockerfile"), kind, "x");
        check(
            tree,
            ROOT,
            "Dockerfile",
            "`Dockerfile` is no regular file; put the file itself there",
        );
    }
    check(
        context().with(&at("web/x"), "x"),
        ROOT,
        "web",
        "`web` is no regular file; put the file itself there",
    );
    check(
        context().with(&at("Dockerfile"), vec![b'#'; (1 << 20) + 1]),
        ROOT,
        "Dockerfile",
        "`Dockerfile` has 1048577 bytes, more than 1048576; move data into files of its own",
    );
}

#[test]
fn an_unusable_ignore_file_is_refused() {
    let check = |content: &[u8], want: &str| {
        let tree = context().with(&at(".dockerignore"), content);
        assert_eq!(sent(&tree, ROOT, "Dockerfile"), want);
    };
    check(b"a\n!\n", "`.dockerignore:2`: `!` needs a pattern");
    check(
        &b"a\n".repeat(2000),
        "the patterns of `.dockerignore` are too many or too long; ignore whole folders instead",
    );
    check(
        &[b'#'; (64 << 10) + 1],
        "`.dockerignore` has 65537 bytes, more than 65536; move data into files of its own",
    );
    let tree = context().with_kind(&at(".dockerignore"), EntryKind::Symlink, "x");
    assert_eq!(
        sent(&tree, ROOT, "Dockerfile"),
        "`.dockerignore` is no regular file; put the file itself there"
    );
}

/// A tree of any shape: `n_files` of `size_bytes` in the root, and a folder in each folder.
struct Endless {
    n_files: usize,
    size_bytes: u64,
    ignore: &'static str,
    is_deep: bool,
}

impl Tree for Endless {
    fn entries(&self, dir: &str) -> Result<Vec<Entry>, TreeError> {
        let entry = |name: String, kind, size_bytes| Entry {
            name,
            is_utf8: true,
            kind,
            oid: ObjectId::from_bytes([0; 20]),
            size_bytes,
        };
        let file = EntryKind::File { executable: false };
        let mut entries = Vec::new();
        if dir.is_empty() {
            entries.push(entry(IGNORE.to_owned(), file, self.ignore.len() as u64));
            entries.push(entry("Dockerfile".to_owned(), file, 1));
            entries
                .extend((0..self.n_files).map(|nth| entry(nth.to_string(), file, self.size_bytes)));
        }
        if self.is_deep {
            entries.push(entry("d".to_owned(), EntryKind::Directory, 0));
        }
        Ok(entries)
    }

    fn read(&self, _: &str, _: u64) -> Result<Vec<u8>, TreeError> {
        Ok(self.ignore.as_bytes().to_vec())
    }
}

#[test]
fn a_context_over_budget_is_refused_unless_the_excess_is_ignored() {
    let check = |n_files, size_bytes, ignore, want: fn(&ContextError) -> bool| {
        let tree = Endless { n_files, size_bytes, ignore, is_deep: false };
        let error = files(&tree, "", "Dockerfile").unwrap_err();
        assert!(want(&error), "{error}");
    };
    check(19_999, 0, "", |error| matches!(error, ContextError::TooManyFiles));
    check(100_000, 0, "*", |error| matches!(error, ContextError::TooManyFiles));
    check(1, 512 << 20, "", |error| matches!(error, ContextError::TooManyBytes));
    check(2, u64::MAX, "", |error| matches!(error, ContextError::TooManyBytes));
    let tree = Endless { n_files: 30_000, size_bytes: 1 << 30, ignore: "*", is_deep: true };
    assert_eq!(files(&tree, "", "Dockerfile").unwrap().len(), 2);
    let tree = Endless { n_files: 19_998, size_bytes: 0, ignore: "", is_deep: false };
    assert_eq!(files(&tree, "", "Dockerfile").unwrap().len(), 20_000);
    let tree = Endless { n_files: 0, size_bytes: 0, ignore: "", is_deep: true };
    let error = files(&tree, "", "Dockerfile").unwrap_err();
    assert!(matches!(&error, ContextError::TooDeep { path } if path.len() == 129), "{error}");
}

#[test]
fn the_digest_of_a_context_is_the_same_in_every_version() {
    let file = ContextFile {
        path: "Dockerfile".to_owned(),
        is_executable: false,
        is_encrypted: false,
        oid: ObjectId::from_bytes([7; 20]),
        size_bytes: 3,
    };
    assert_eq!(
        digest(&[]).to_string(),
        "f885d89fe77d4cf1bdf69a330e02cc44f9e61b9ca57a9083003df7424c8c690c"
    );
    assert_eq!(
        digest(&[file]).to_string(),
        "420edd5f128fcc95cc894b703d6e1f4c811da84a1bcc2b728fc394dbd5cd3470"
    );
}

fn any_files() -> impl Strategy<Value = Vec<ContextFile>> {
    let file = ("[ab/]{1,3}", any::<bool>(), any::<[u8; 20]>());
    proptest::collection::vec(file, 1..8).prop_map(|files| {
        let unique: std::collections::BTreeMap<_, _> =
            files.into_iter().map(|(path, mode, oid)| (path, (mode, oid))).collect();
        let file = |(path, (is_executable, oid))| ContextFile {
            path,
            is_executable,
            is_encrypted: false,
            oid: ObjectId::from_bytes(oid),
            size_bytes: 0,
        };
        unique.into_iter().map(file).collect()
    })
}

proptest! {
    #[test]
    fn a_digest_knows_no_order(files in any_files(), shuffled in any::<prop::sample::Index>()) {
        let mut other = files.clone();
        other.reverse();
        let middle = shuffled.index(other.len());
        other.rotate_left(middle);
        prop_assert_eq!(digest(&files), digest(&other));
    }

    #[test]
    fn a_digest_changes_with_every_path_mode_and_content(
        files in any_files(),
        which in any::<prop::sample::Index>(),
    ) {
        let at = which.index(files.len());
        let changed = |change: fn(&mut ContextFile)| {
            let mut other = files.clone();
            change(&mut other[at]);
            digest(&other)
        };
        let own = digest(&files);
        prop_assert_ne!(own, changed(|file| file.path.push('c')));
        prop_assert_ne!(own, changed(|file| file.is_executable ^= true));
        prop_assert_ne!(own, changed(|file| file.is_encrypted ^= true));
        prop_assert_ne!(own, changed(|file| {
            let mut oid = *file.oid.as_bytes();
            oid[19] ^= 1;
            file.oid = ObjectId::from_bytes(oid);
        }));
        let mut fewer = files.clone();
        fewer.remove(at);
        prop_assert_ne!(own, digest(&fewer));
    }
}
