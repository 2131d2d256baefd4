//! Real folders, with and without git around them.

use std::fs;
use std::path::Path;

use git2::{FileMode, Repository};
use tempfile::TempDir;

use super::super::object_id;
use super::{Share as _, WorkTree};
use crate::model::{Entry, EntryKind, Tree, TreeError};

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn a_folder_on_disk_has_the_ids_that_git_gives_after_a_commit() {
    let dir = TempDir::new().unwrap();
    let repository = Repository::init(dir.path()).unwrap();
    for (path, content) in
        [("web/metadata.yaml", "id: web"), ("web/src/app.py", "x"), ("web.txt", "t"), ("web0", "")]
    {
        let at = dir.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path().join("web/src/app.py"), mode).unwrap();
    std::os::unix::fs::symlink("../web0", dir.path().join("web/link")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    let committed = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let tree = WorkTree::open(dir.path()).unwrap();
    let entries = tree.entries("").unwrap();
    assert_eq!(names(&entries), ["web", "web.txt", "web0"]);
    for entry in &entries {
        let wanted = committed.get_name(&entry.name).unwrap();
        assert_eq!(entry.oid, object_id(wanted.id()), "{}", entry.name);
    }
    let link = committed.get_path(Path::new("web/link")).unwrap();
    assert_eq!(link.filemode(), i32::from(FileMode::Link));
    assert!(matches!(tree.read("web/link", 9), Err(TreeError::NotAFile { .. })));
    assert_eq!(tree.read("web/metadata.yaml", 9).unwrap(), b"id: web");
    assert!(matches!(tree.read("web/metadata.yaml", 3), Err(TreeError::TooLarge { .. })));
    for path in ["../x", "web/../web0", "/etc/passwd", "web//src", "nope", ""] {
        assert!(tree.read(path, 100).is_err(), "{path}");
    }
}

#[test]
fn ignored_files_links_out_and_nested_repositories_do_not_enter_a_folder_on_disk() {
    let dir = TempDir::new().unwrap();
    let repository = Repository::init(dir.path()).unwrap();
    let web = dir.path().join("challenges/web");
    fs::create_dir_all(web.join("node_modules/x")).unwrap();
    fs::write(dir.path().join(".gitignore"), "node_modules\n*.log\n").unwrap();
    fs::write(web.join("node_modules/x/y"), "").unwrap();
    fs::write(web.join("kept.log"), "tracked").unwrap();
    fs::write(web.join("other.log"), "ignored").unwrap();
    std::os::unix::fs::symlink("/etc", web.join("etc")).unwrap();
    Repository::init(web.join("nested")).unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(Path::new("challenges/web/kept.log")).unwrap();
    index.write().unwrap();
    let tree = WorkTree::open(&dir.path().join("challenges")).unwrap();
    let entries = tree.entries("web").unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(
        seen,
        [
            ("etc", EntryKind::Symlink),
            ("kept.log", EntryKind::File { executable: false }),
            ("nested", EntryKind::Submodule),
        ]
    );
    assert!(matches!(tree.read("web/etc/passwd", 9000), Err(TreeError::NotFound { .. })));
    assert!(matches!(tree.entries("web/etc"), Err(TreeError::NotFound { .. })));
}

/// What a fresh look at `dir` says of its only folder.
fn look(dir: &Path) -> Entry {
    WorkTree::open(dir).unwrap().entries("").unwrap().remove(0)
}

#[test]
fn an_edit_is_seen_whatever_the_index_remembers() {
    let dir = TempDir::new().unwrap();
    let repository = Repository::init(dir.path()).unwrap();
    let file = dir.path().join("web/flag.txt");
    fs::create_dir(dir.path().join("web")).unwrap();
    fs::write(&file, "first").unwrap();
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let first = look(dir.path());
    // In the very moment of the index, of the same size: times cannot tell, content must.
    fs::write(&file, "other").unwrap();
    let second = look(dir.path());
    assert_ne!(first.oid, second.oid);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&file, mode).unwrap();
    assert_ne!(look(dir.path()).oid, second.oid);
}

#[test]
fn an_unchanged_file_has_the_id_of_the_index_and_its_content() {
    let dir = TempDir::new().unwrap();
    let repository = Repository::init(dir.path()).unwrap();
    fs::create_dir(dir.path().join("web")).unwrap();
    fs::write(dir.path().join("web/a"), "content").unwrap();
    let before = look(dir.path());
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    // Later than the file: from now on the index is trusted.
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 32);
    let file = fs::File::options().append(true).open(dir.path().join(".git/index")).unwrap();
    file.set_modified(later).unwrap();
    let tree = WorkTree::open(dir.path()).unwrap();
    assert_eq!(tree.entries("").unwrap().remove(0), before);
    assert_eq!(tree.share().unwrap().read("web/a", 99).unwrap(), b"content");
    assert_eq!(tree.read("web/a", 99).unwrap(), b"content");
    assert!(matches!(tree.read("web/a", 3), Err(TreeError::TooLarge { .. })));
}
