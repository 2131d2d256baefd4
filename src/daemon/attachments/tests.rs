//! Children that misbehave, and what is on disk at whatever moment somebody looks.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::folder::Target;
use super::*;
use crate::model::{EntryKind, MemoryTree};
use crate::render::attachments::job::Source;
use crate::secrets::Identities;

fn id(n: u8) -> InstanceId {
    InstanceId::new(uuid::Uuid::from_bytes([n; 16]))
}

// ------------------------------------------------------------------------------------- children

async fn said(script: &str) -> String {
    let renderer = Renderer::script(script, Duration::from_millis(800));
    let source = |name: &str| Source { name: name.to_owned(), text: "{{ 1 }}".to_owned() };
    let templates = vec![source("a.tpl"), source("b.tpl")];
    let files = BTreeMap::new();
    match renderer.render(Request { templates, files, facts: Facts::default() }).await {
        Ok(replies) => format!("{} replies", replies.len()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn t02_whatever_a_child_does_is_told_with_its_template() {
    for (script, wanted) in [
        ("cat >/dev/null; printf '{\"bytes\":1}\\nx{\"bytes\":0}\\n'", "2 replies"),
        (
            "cat >/dev/null; printf '{\"bytes\":1}\\nx'",
            "b.tpl: its rendering ended without a result",
        ),
        ("exit 0", "a.tpl: its rendering ended without a result"),
        ("printf '{\"bytes\":1}\\nx'; kill -KILL $$", "b.tpl: its rendering was killed"),
        ("kill -ABRT $$", "a.tpl: it needs more memory than a rendering may use"),
        ("kill -XCPU $$", "a.tpl: it takes too much processor time"),
        ("cat /dev/zero", "a.tpl: the files have more than 32 MiB"),
        ("sleep 60", "the templates: not rendered within 0 s"),
    ] {
        let begin = Instant::now();
        assert_eq!(said(script).await, wanted, "{script}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_no_fault_of_a_template() {
    let renderer = Renderer::program("/nowhere/flagops".into());
    let error = renderer.render(Request::default()).await.err().unwrap();
    assert!(matches!(error, ChildError::Spawn(_)), "{error}");
}

// --------------------------------------------------------------------------------------- sources

const ROOT: &str = "WEB/WEB-001";

fn tree() -> MemoryTree {
    let run = EntryKind::File { executable: true };
    MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", "secret of the author")
        .with_kind("WEB/WEB-001/attachments/run.sh.tpl", run, "{% include 'a/part.txt' %}")
        .with("WEB/WEB-001/attachments/a/part.txt", "part")
        .with("WEB/WEB-001/attachments/a/other.txt", "other")
        .with_kind("WEB/WEB-001/attachments/link.txt", EntryKind::Symlink, "../metadata.yaml")
        .with("WEB/WEB-001/attachments/binary.tpl", b"\xff\xfe".to_vec())
        .with("WEB/WEB-001/attachments/large.tpl", vec![b'x'; 70 << 10])
}

fn read(templates: &[&str]) -> Result<sources::Sources, String> {
    let templates: Vec<_> = templates.iter().map(|name| (*name).to_owned()).collect();
    sources::read(&tree(), ROOT, &templates, &Identities::none())
}

#[test]
fn t04_only_files_of_attachments_are_there_to_be_included() {
    let sources = read(&["run.sh.tpl"]).unwrap();
    assert_eq!(sources.files.keys().collect::<Vec<_>>(), ["a/part.txt"], "what it names");
    let target = Target { name: "run.sh".to_owned(), is_executable: true };
    assert_eq!(sources.targets, [target]);
    for hostile in ["../metadata.yaml", "/etc/passwd", "a", "a/", "link.txt", "a/../a/part.txt"] {
        let text = format!("{{% include '{hostile}' %}}");
        let name = "x.tpl".to_owned();
        let request = Request {
            templates: vec![Source { name, text }],
            files: read(&["run.sh.tpl"]).unwrap().files,
            facts: Facts::default(),
        };
        let mut out = Vec::new();
        crate::render::attachments::job::answer(&request.encode(), &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("there is no file in `attachments/`"), "{hostile}: {said}");
    }
}

#[test]
fn a_template_that_cannot_be_read_is_named() {
    for (name, wanted) in [
        ("binary.tpl", "binary.tpl: it is no text of at most 65536 bytes"),
        ("large.tpl", "large.tpl: it is no text of at most 65536 bytes"),
        ("gone.tpl", "gone.tpl: it is not in `attachments/` of this commit"),
        ("link.txt", "link.txt: it is not in `attachments/` of this commit"),
    ] {
        assert_eq!(read(&[name]).err().unwrap(), wanted);
    }
}

// ---------------------------------------------------------------------------------------- folder

fn files(texts: &[&str]) -> Vec<(Target, Vec<u8>)> {
    let file = |text: &&str| {
        let target = Target { name: format!("../{text}"), is_executable: false };
        (target, text.as_bytes().to_vec())
    };
    texts.iter().map(file).collect()
}

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path().join("instances"));
    (dir, folder)
}

fn paths(root: &std::path::Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            found.push((path.strip_prefix(root).unwrap().display().to_string(), mode));
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_are_closed_to_others_and_named_by_number() {
    let (dir, folder) = folder();
    folder.replace(id(1), 0, "k", &files(&["one", "two"])).unwrap();
    let home = format!("instances/{}", id(1));
    let expected = [
        ("instances".to_owned(), 0o700),
        (home.clone(), 0o700),
        (format!("{home}/0"), 0o700),
        (format!("{home}/0/attachments"), 0o700),
        (format!("{home}/0/attachments/0"), 0o600),
        (format!("{home}/0/attachments/1"), 0o600),
        (format!("{home}/0/rendered.json"), 0o600),
    ];
    assert_eq!(paths(dir.path()), expected);
    let (file, _) = folder.open(id(1), 0, Some("k"), "../two").unwrap();
    assert_eq!((file.size_bytes, file.is_executable), (3, false));
    assert!(folder.open(id(1), 0, Some("k"), "two").is_none());
}

#[test]
fn only_the_incarnation_and_the_key_asked_for_are_there() {
    let (dir, folder) = folder();
    folder.replace(id(1), 0, "old", &files(&["one"])).unwrap();
    assert!(folder.files(id(1), 0, Some("old")).is_some());
    assert!(
        folder.files(id(1), 0, Some("new")).is_none()
            && folder.files(id(1), 1, Some("old")).is_none()
    );
    folder.replace(id(1), 1, "new", &files(&["two"])).unwrap();
    assert!(folder.files(id(1), 0, Some("old")).is_none(), "an older incarnation goes");
    assert_eq!(folder.files(id(1), 1, Some("new")).unwrap()[0].name, "../two");
    folder.replace(id(1), 1, "newer", &files(&["three"])).unwrap();
    assert!(folder.files(id(1), 1, Some("newer")).is_some());
    folder.replace(id(2), 0, "k", &[]).unwrap();
    folder.keep_only(&[id(2)].into()).unwrap();
    assert!(folder.files(id(1), 1, Some("newer")).is_none());
    assert_eq!(folder.files(id(2), 0, Some("k")), Some(Vec::new()));
    folder.discard(id(2)).unwrap();
    folder.discard(id(2)).unwrap();
    assert_eq!(paths(dir.path()), [("instances".to_owned(), 0o700)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A kill leaves any prefix of the work, a hand takes any file: what is not whole is not there,
    /// and the next rendering makes it whole.
    #[test]
    fn t13_what_is_not_whole_is_not_there(
        texts in proptest::collection::vec("[a-z]{1,9}", 1..4), victim in 0_usize..8, cut in 0_u64..9,
    ) {
        let (dir, folder) = folder();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        folder.replace(id(1), 0, "k", &files(&texts)).unwrap();
        let whole = folder.files(id(1), 0, Some("k")).unwrap();
        let home = dir.path().join("instances");
        let all: Vec<_> = paths(&home).into_iter().map(|(path, _)| home.join(path)).collect();
        let victim = &all[victim % all.len()];
        let is_changed = if victim.is_dir() {
            std::fs::remove_dir_all(victim).unwrap();
            true
        } else {
            let length = std::fs::metadata(victim).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(victim).unwrap().set_len(cut).unwrap();
            cut != length
        };
        prop_assert_eq!(folder.files(id(1), 0, Some("k")).is_none(), is_changed);
        std::fs::create_dir_all(home.join(id(1).to_string()).join("partial/attachments/0")).unwrap();
        folder.replace(id(1), 0, "k", &files(&texts)).unwrap();
        prop_assert_eq!(folder.files(id(1), 0, Some("k")).unwrap(), whole);
    }
}
