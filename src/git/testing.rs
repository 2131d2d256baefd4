//! A bare remote on disk, pushed to without a work tree: for the tests of other rooms.

use std::path::Path;

use git2::{Index, IndexEntry, IndexTime, Oid, Repository, RepositoryInitOptions, Signature};

/// Whether a commit follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// It is on top of the branch.
    Continued,
    /// It is the only commit of the branch.
    Rewritten,
}

/// Makes an empty remote whose branch is `main`.
pub(crate) fn init(remote: &Path) {
    let mut options = RepositoryInitOptions::new();
    Repository::init_opts(remote, options.bare(true).initial_head("main")).unwrap();
}

/// Makes exactly `files` the content of `main`.
pub(crate) fn push(remote: &Path, files: &[(&str, &str)], history: History) {
    let repository = Repository::open(remote).unwrap();
    let mut index = Index::new().unwrap();
    for (path, content) in files {
        let id = repository.blob(content.as_bytes()).unwrap();
        index.add(&entry(path, id)).unwrap();
    }
    let tree = repository.find_tree(index.write_tree_to(&repository).unwrap()).unwrap();
    let author = Signature::now("author", "author@example.org").unwrap();
    let tip = repository
        .find_reference("refs/heads/main")
        .and_then(|reference| reference.peel_to_commit())
        .ok();
    let parents: Vec<_> = match history {
        History::Continued => tip.iter().collect(),
        History::Rewritten => Vec::new(),
    };
    let commit = repository.commit(None, &author, &author, "push", &tree, &parents).unwrap();
    repository.reference("refs/heads/main", commit, true, "push").unwrap();
}

/// What a tag of a test names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagOn<'a> {
    /// A tag object on the tip of `main`, in place of what the tag named before.
    Tip,
    /// The tip itself.
    Lightweight,
    /// A tag object on what another tag names.
    Nested(&'a str),
    /// A tag object on the tree of the tip.
    Tree,
    /// The very object that another tag names.
    SameAs(&'a str),
}

/// Makes a tag, in place of an earlier one of that name.
pub(crate) fn tag(remote: &Path, name: &str, on: TagOn<'_>) {
    let repository = Repository::open(remote).unwrap();
    let tip = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
    let of = |name: &str| {
        let id = repository.refname_to_id(&format!("refs/tags/{name}")).unwrap();
        repository.find_object(id, None).unwrap()
    };
    let tagger = Signature::now("organizer", "organizer@example.org").unwrap();
    let make = |target: &git2::Object<'_>| {
        repository.tag(name, target, &tagger, "release", true).unwrap();
    };
    let point = |target: Oid| {
        repository.reference(&format!("refs/tags/{name}"), target, true, "tag").unwrap();
    };
    match on {
        TagOn::Tip => make(tip.as_object()),
        TagOn::Lightweight => point(tip.id()),
        TagOn::Nested(other) => make(&of(other)),
        TagOn::Tree => make(tip.tree().unwrap().as_object()),
        TagOn::SameAs(other) => point(of(other).id()),
    }
}

/// Deletes a tag.
pub(crate) fn delete_tag(remote: &Path, name: &str) {
    let repository = Repository::open(remote).unwrap();
    repository.find_reference(&format!("refs/tags/{name}")).unwrap().delete().unwrap();
}

/// A regular file in an index.
pub(super) fn entry(path: &str, id: Oid) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}
