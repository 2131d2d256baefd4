//! Real repositories in temporary folders, against the mirror, the trees and the watch.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use git2::{ObjectType, Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::*;
use crate::model::{Entry, EntryKind, Timestamp, Tree, TreeError};
use crate::release::order::TagPattern;
use crate::release::tag::TagTarget;

/// A repository to fetch from, and a place for its mirror.
struct Lab {
    dir: TempDir,
    source: Repository,
}

impl Lab {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        let source = Repository::init_opts(dir.path().join("source.git"), &options).unwrap();
        Self { dir, source }
    }

    fn with_commit() -> (Self, Revision) {
        let lab = Self::new();
        let revision = lab.commit("main", &[("a/metadata.yaml", "one")]);
        (lab, revision)
    }

    fn remote(&self) -> Remote {
        Remote::parse(&self.source.path().display().to_string(), Path::new("/")).unwrap()
    }

    fn mirror_dir(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    fn mirror(&self) -> Mirror {
        Mirror::open(&self.mirror_dir(), self.remote(), Credentials::default()).unwrap()
    }

    /// Commits exactly `files` on top of `branch`.
    fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Revision {
        let reference = format!("refs/heads/{branch}");
        let parent = self.source.refname_to_id(&reference).ok();
        let revision = self.write_commit(files, parent);
        self.source.reference(&reference, oid(revision), true, "").unwrap();
        revision
    }

    fn write_commit(&self, files: &[(&str, &str)], parent: Option<Oid>) -> Revision {
        let mut index = git2::Index::new().unwrap();
        for (path, content) in files {
            let id = self.source.blob(content.as_bytes()).unwrap();
            index.add(&super::testing::entry(path, id)).unwrap();
        }
        self.commit_tree(index.write_tree_to(&self.source).unwrap(), parent)
    }

    fn commit_tree(&self, tree: Oid, parent: Option<Oid>) -> Revision {
        let author =
            Signature::new("Ada \u{7}L.", "ada@example.org", &Time::new(1_800_000_000, 60))
                .unwrap();
        let tree = self.source.find_tree(tree).unwrap();
        let parent = parent.map(|parent| self.source.find_commit(parent).unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let id = self.source.commit(None, &author, &author, "Add it\n\nbody", &tree, &parents);
        Revision(object_id(id.unwrap()))
    }

    fn point(&self, branch: &str, revision: Revision) {
        self.source.reference(&format!("refs/heads/{branch}"), oid(revision), true, "").unwrap();
    }

    fn delete_branch(&self, branch: &str) {
        self.source.find_reference(&format!("refs/heads/{branch}")).unwrap().delete().unwrap();
    }
}

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

fn packs(mirror: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<_> = fs::read_dir(mirror.join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .collect();
    packs.sort();
    packs
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

// ---- Following a branch ----

#[test]
fn the_first_fetch_follows_the_default_branch_of_the_remote() {
    let (lab, revision) = Lab::with_commit();
    lab.commit("other", &[("x", "x")]);
    let mirror = lab.mirror();
    assert_eq!(mirror.opened(), &Opened::New);
    assert_eq!(mirror.head(), None);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!(fetched.revision, revision);
    assert_eq!(fetched.branch, "main");
    assert_eq!(fetched.change, Change::First);
    assert_eq!(fetched.commit.author, "Ada L. <ada@example.org>");
    assert_eq!(fetched.commit.subject, "Add it");
    assert_eq!(fetched.commit.time.as_millis(), 1_800_000_000_000);
    assert_eq!(mirror.commit(revision).unwrap(), fetched.commit);
}

#[test]
fn an_unchanged_remote_transfers_nothing() {
    let (lab, revision) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    let before = packs(&lab.mirror_dir());
    assert_eq!(before.len(), 1);
    // Another branch that nobody follows is not our business.
    lab.commit("noise", &[("big", "noise")]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!((fetched.revision, fetched.change), (revision, Change::Unchanged));
    assert_eq!(packs(&lab.mirror_dir()), before);
}

#[test]
fn a_push_is_forward_and_a_forced_push_is_reported_and_loses_nothing() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    let second = lab.commit("main", &[("a/metadata.yaml", "two")]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!((fetched.revision, fetched.change), (second, Change::Forward));
    let rewritten = lab.write_commit(&[("b/metadata.yaml", "three")], None);
    lab.point("main", rewritten);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!(fetched.change, Change::Rewritten { was: second });
    assert_eq!(mirror.head(), Some(rewritten));
    for (revision, path) in [(first, "a"), (second, "a"), (rewritten, "b")] {
        let tree = mirror.tree(revision).unwrap();
        assert!(tree.read(&format!("{path}/metadata.yaml"), 100).is_ok(), "{revision}");
    }
}

#[test]
fn a_deleted_branch_an_emptied_and_a_gone_remote_each_say_so_and_take_nothing_away() {
    let (lab, revision) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(Some(&branch("main"))).unwrap();
    lab.point("mian", revision);
    lab.point("development", revision);
    lab.delete_branch("main");
    match mirror.fetch(Some(&branch("main"))).unwrap_err() {
        FetchError::BranchMissing { branch, existing, .. } => {
            assert_eq!(branch, "main");
            assert_eq!(existing, ["mian", "development"]);
        }
        other => panic!("{other:?}"),
    }
    lab.delete_branch("mian");
    lab.delete_branch("development");
    assert_eq!(mirror.fetch(None).unwrap_err().reason(), "EmptyRepository");
    fs::remove_dir_all(lab.source.path()).unwrap();
    assert_eq!(mirror.fetch(None).unwrap_err().reason(), "Unreachable");
    assert_eq!(mirror.head(), Some(revision));
    assert_eq!(mirror.tree(revision).unwrap().read("a/metadata.yaml", 9).unwrap(), b"one");
}

#[test]
fn a_repository_without_commits_is_its_own_error_and_may_fill_later() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(error.reason(), "EmptyRepository");
    assert!(matches!(error.disposition(), crate::model::Disposition::Retry(_)));
    let revision = lab.commit("main", &[("x", "x")]);
    assert_eq!(mirror.fetch(None).unwrap().revision, revision);
}

#[test]
fn what_is_no_repository_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    for (path, wanted) in [
        (dir.path().to_owned(), "holds no `.git`"),
        (file, "it is a file"),
        (PathBuf::from("/etc"), "holds no `.git`"),
    ] {
        let remote = Remote::parse(path.to_str().unwrap(), Path::new("/")).unwrap();
        let mirror =
            Mirror::open(&dir.path().join("mirror"), remote, Credentials::default()).unwrap();
        let error = mirror.fetch(None).unwrap_err();
        assert_eq!(error.reason(), "NotARepository");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn a_repository_of_another_user_says_how_to_trust_it() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let (lab, _) = Lab::with_commit();
    std::os::unix::fs::chown(lab.source.path(), Some(4242), None).unwrap();
    let error = lab.mirror().fetch(None).unwrap_err();
    assert_eq!(error.reason(), "PermissionDenied");
    assert!(error.to_string().contains("safe.directory"), "{error}");
}

#[test]
fn a_mirror_of_another_user_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let (lab, _) = Lab::with_commit();
    drop(lab.mirror());
    std::os::unix::fs::chown(lab.mirror_dir(), Some(4242), None).unwrap();
    let error = Mirror::open(&lab.mirror_dir(), lab.remote(), Credentials::default()).unwrap_err();
    assert!(error.to_string().contains("chown -R"), "{error}");
}

#[test]
fn a_branch_that_becomes_a_folder_of_branches_is_followed() {
    let (lab, revision) = Lab::with_commit();
    let mirror = lab.mirror();
    lab.point("release", revision);
    assert_eq!(mirror.fetch(Some(&branch("release"))).unwrap().change, Change::First);
    lab.delete_branch("release");
    lab.point("release/1", revision);
    let fetched = mirror.fetch(Some(&branch("release/1"))).unwrap();
    assert_eq!((fetched.branch.as_str(), fetched.change), ("release/1", Change::First));
    assert_eq!(mirror.head(), Some(revision));
}

#[test]
fn a_work_tree_and_a_linked_work_tree_can_be_remotes() {
    let dir = TempDir::new().unwrap();
    let run = |args: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{args:?}: {status:?}");
    };
    run(&["init", "-q", "work"]);
    run(&["-C", "work", "commit", "-q", "--allow-empty", "-m", "one"]);
    run(&["-C", "work", "worktree", "add", "-q", "-b", "side", "../linked"]);
    for (name, branch) in [("work", "main"), ("linked", "side")] {
        let remote = Remote::parse(name, dir.path()).unwrap();
        let mirror = dir.path().join(format!("mirror-{name}"));
        let mirror = Mirror::open(&mirror, remote, Credentials::default()).unwrap();
        assert_eq!(mirror.fetch(None).unwrap().branch, branch);
    }
}

#[test]
fn a_transfer_over_the_budget_leaves_the_mirror_as_it_was() {
    let (lab, _) = Lab::with_commit();
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    let mirror = lab.mirror().with_limits(limits);
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(error.reason(), "TooLarge");
    assert_eq!(mirror.head(), None);
    assert_eq!(packs(&lab.mirror_dir()), Vec::<PathBuf>::new());
}

#[test]
fn a_mute_host_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    for scheme in ["https://", "ssh://git@"] {
        let text = format!("{scheme}127.0.0.1:{port}/x.git");
        let remote = Remote::parse(&text, Path::new("/")).unwrap();
        let connect = Duration::from_millis(200);
        let mirror = Mirror::open(&dir.path().join("m"), remote, Credentials::default())
            .unwrap()
            .with_limits(Limits { connect, ..Limits::default() });
        let started = Instant::now();
        assert_eq!(mirror.fetch(None).unwrap_err().reason(), "Timeout", "{text}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_closed_port_and_a_name_without_address_are_told_apart() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    for (text, wanted) in [
        (format!("https://127.0.0.1:{port}/x.git"), "Unreachable"),
        ("https://no-such-host.invalid/x.git".to_owned(), "DnsFailed"),
    ] {
        let remote = Remote::parse(&text, Path::new("/")).unwrap();
        let mirror = Mirror::open(&dir.path().join("m"), remote, Credentials::default()).unwrap();
        let error = mirror.fetch(None).unwrap_err();
        assert_eq!(error.reason(), wanted, "{error}");
    }
}

/// `git daemon` over the folder of `lab`; ends with the value.
struct Daemon {
    child: std::process::Child,
    remote: Remote,
}

impl Daemon {
    fn start(lab: &Lab) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = lab.dir.path().display();
        // Not `git daemon`: that is a parent whose end leaves the daemon running.
        let path = std::process::Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let path = Path::new(String::from_utf8(path).unwrap().trim()).join("git-daemon");
        let child = std::process::Command::new(path)
            .args(["--export-all", "--listen=127.0.0.1", "--reuseaddr"])
            .args([format!("--port={port}"), format!("--base-path={base}")])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "git daemon does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, remote: Remote::unchecked(&format!("git://127.0.0.1:{port}/source.git")) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_is_followed_like_a_folder() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let open =
        || Mirror::open(&lab.mirror_dir(), daemon.remote.clone(), Credentials::default()).unwrap();
    let mirror = open();
    assert_eq!(mirror.fetch(None).unwrap_err().reason(), "EmptyRepository");
    let first = lab.commit("main", &[("a/metadata.yaml", "one")]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!((fetched.revision, fetched.change), (first, Change::First));
    assert_eq!(fetched.branch, "main");
    let before = packs(&lab.mirror_dir());
    assert_eq!(mirror.fetch(None).unwrap().change, Change::Unchanged);
    assert_eq!(packs(&lab.mirror_dir()), before);
    let second = lab.commit("main", &[("a/metadata.yaml", "two")]);
    let fetched = mirror.fetch(Some(&branch("main"))).unwrap();
    assert_eq!((fetched.revision, fetched.change), (second, Change::Forward));
    assert_eq!(mirror.tree(second).unwrap().read("a/metadata.yaml", 9).unwrap(), b"two");
    let rewritten = lab.write_commit(&[("b", "b")], None);
    lab.point("main", rewritten);
    assert_eq!(mirror.fetch(None).unwrap().change, Change::Rewritten { was: second });
    assert_eq!(mirror.fetch(Some(&branch("nope"))).unwrap_err().reason(), "BranchMissing");
    let tight = open().with_limits(Limits { max_bytes: 20, ..Limits::default() });
    lab.commit("main", &[("c", "c")]);
    assert_eq!(tight.fetch(None).unwrap_err().reason(), "TooLarge");
    assert_eq!(tight.head(), Some(rewritten));
}

/// Answers every request on a connection with `answer`; says what it was asked.
fn answering(answer: &'static str) -> (Remote, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Remote::unchecked(&format!("http://{}/x.git", listener.local_addr().unwrap()));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            for line in reader.lines() {
                let Ok(line) = line else { break };
                request += &line;
                if line.is_empty() {
                    let _ = sender.send(std::mem::take(&mut request));
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        }
    });
    (remote, receiver)
}

#[test]
fn refusals_of_a_forge_are_told_apart_and_show_no_token() {
    const DENIED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
                          Content-Length: 0\r\n\r\n";
    const MISSING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    const ELSEWHERE: &str = "HTTP/1.1 302 Found\r\nLocation: https://evil.invalid/x.git/info/refs\
                             \r\nContent-Length: 0\r\n\r\n";
    let dir = TempDir::new().unwrap();
    let token_file = dir.path().join("token");
    fs::write(&token_file, "hunter2\n").unwrap();
    let with_token = Credentials { token_file: Some(token_file), ..Credentials::default() };
    let gone =
        Credentials { token_file: Some(dir.path().join("no-such-file")), ..Credentials::default() };
    for (answer, credentials, reason, words) in [
        (DENIED, Credentials::default(), "AuthFailed", "no `source.token_file` is set"),
        (DENIED, with_token.clone(), "AuthFailed", "not accepted"),
        (DENIED, gone, "CredentialsUnreadable", "no-such-file"),
        (MISSING, with_token.clone(), "NotARepository", "404"),
        (ELSEWHERE, with_token, "FetchFailed", "cannot redirect"),
    ] {
        let (remote, requests) = answering(answer);
        let mirror = Mirror::open(&dir.path().join("m"), remote, credentials).unwrap();
        let error = mirror.fetch(None).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let offered = requests.try_iter().any(|request| request.contains("Authorization: Basic"));
        assert_eq!(offered, words == "not accepted");
    }
}

// ---- The mirror's own folder ----

#[test]
fn a_restart_without_network_knows_the_last_revision() {
    let (lab, revision) = Lab::with_commit();
    let fetched = lab.mirror().fetch(None).unwrap();
    fs::remove_dir_all(lab.source.path()).unwrap();
    let mirror = lab.mirror();
    assert_eq!(mirror.opened(), &Opened::Existing);
    assert_eq!(mirror.last(), Some(Fetched { change: Change::Unchanged, ..fetched }));
    assert_eq!(names(&mirror.tree(revision).unwrap().entries("").unwrap()), ["a"]);
}

#[test]
fn another_remote_in_the_same_folder_keeps_pins_and_forgets_the_branch() {
    let (lab, revision) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    mirror.pin("live", revision).unwrap();
    let (other, _) = Lab::with_commit();
    let mirror = Mirror::open(&lab.mirror_dir(), other.remote(), Credentials::default()).unwrap();
    assert_eq!(mirror.opened(), &Opened::Existing);
    assert_eq!(mirror.head(), None);
    assert_eq!(mirror.pins().unwrap(), [("live".to_owned(), revision)].into());
}

#[test]
fn a_foreign_folder_is_set_aside_and_never_deleted() {
    let (lab, revision) = Lab::with_commit();
    fs::create_dir(lab.mirror_dir()).unwrap();
    fs::write(lab.mirror_dir().join("thesis.txt"), "precious").unwrap();
    let mirror = lab.mirror();
    let Opened::SetAside { aside, .. } = mirror.opened() else { panic!("{:?}", mirror.opened()) };
    assert_eq!(aside, &lab.dir.path().join("mirror.corrupt-1"));
    assert_eq!(fs::read_to_string(aside.join("thesis.txt")).unwrap(), "precious");
    assert_eq!(mirror.fetch(None).unwrap().revision, revision);
    // A repository that is not our mirror is foreign, too.
    fs::remove_dir_all(lab.mirror_dir()).unwrap();
    Repository::init_bare(lab.mirror_dir()).unwrap();
    assert!(matches!(lab.mirror().opened(), Opened::SetAside { .. }));
}

#[test]
fn only_the_newest_three_damaged_mirrors_are_kept() {
    let (lab, _) = Lab::with_commit();
    for _ in 0..5 {
        let _ = fs::remove_dir_all(lab.mirror_dir());
        fs::create_dir(lab.mirror_dir()).unwrap();
        fs::write(lab.mirror_dir().join("x"), "").unwrap();
        lab.mirror();
    }
    let mut kept: Vec<_> = fs::read_dir(lab.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("mirror."))
        .collect();
    kept.sort();
    assert_eq!(kept, ["mirror.corrupt-3", "mirror.corrupt-4", "mirror.corrupt-5"]);
}

/// Opens every pack of the mirror for writing and lets `damage` at it.
fn damage_packs(mirror: &Path, damage: impl Fn(&fs::File, u64)) {
    for pack in packs(mirror) {
        let mut permissions = fs::metadata(&pack).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&pack, permissions).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&pack).unwrap();
        damage(&file, fs::metadata(&pack).unwrap().len());
    }
}

fn truncate_packs(mirror: &Path) {
    damage_packs(mirror, |file, size| file.set_len(size / 2).unwrap());
}

/// Breaks the contents and leaves header and trailer as they were.
fn overwrite_packs(mirror: &Path) {
    use std::os::unix::fs::FileExt as _;
    damage_packs(mirror, |file, size| {
        let n_bytes = usize::try_from(size).unwrap() - 12 - 2 - 20;
        file.write_all_at(&vec![0xff; n_bytes], 14).unwrap();
    });
}

#[test]
fn a_truncated_pack_is_unreadable_until_the_next_fetch_brings_it_again() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    truncate_packs(&lab.mirror_dir());
    assert!(matches!(mirror.tree(first), Err(TreeError::Unreadable { .. })));
    assert_eq!(mirror.fetch(None).unwrap().change, Change::Unchanged);
    assert_eq!(mirror.tree(first).unwrap().read("a/metadata.yaml", 9).unwrap(), b"one");
}

#[test]
fn a_broken_pack_is_noticed_and_repaired_with_its_pins() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    mirror.pin("live", first).unwrap();
    overwrite_packs(&lab.mirror_dir());
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(error.reason(), "Corrupt", "{error}");
    let repaired = mirror.repair(None).unwrap();
    assert_eq!(repaired.fetched.revision, first);
    assert_eq!(repaired.lost_pins, Vec::<String>::new());
    assert_eq!(repaired.aside, Some(lab.dir.path().join("mirror.corrupt-1")));
    assert_eq!(mirror.pins().unwrap(), [("live".to_owned(), first)].into());
    assert_eq!(mirror.tree(first).unwrap().read("a/metadata.yaml", 9).unwrap(), b"one");
    assert_eq!(mirror.fetch(None).unwrap().change, Change::Unchanged);
}

#[test]
fn a_damaged_mirror_is_set_aside_at_the_start_and_says_which_pins_it_lost() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    mirror.pin("live", first).unwrap();
    truncate_packs(&lab.mirror_dir());
    let mirror = lab.mirror();
    match mirror.opened() {
        Opened::SetAside { lost_pins, .. } => assert_eq!(lost_pins, &["live".to_owned()]),
        other => panic!("{other:?}"),
    }
    assert_eq!(mirror.fetch(None).unwrap().revision, first);
}

#[test]
fn a_repair_keeps_pinned_commits_that_the_remote_has_lost() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    mirror.pin("live", first).unwrap();
    let rewritten = lab.write_commit(&[("b", "b")], None);
    lab.point("main", rewritten);
    let repaired = mirror.repair(None).unwrap();
    assert_eq!(repaired.fetched.change, Change::Rewritten { was: first });
    assert_eq!(repaired.lost_pins, Vec::<String>::new());
    assert_eq!(mirror.tree(first).unwrap().read("a/metadata.yaml", 9).unwrap(), b"one");
}

#[test]
fn a_repair_that_cannot_reach_the_remote_changes_nothing() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    fs::remove_dir_all(lab.source.path()).unwrap();
    assert_eq!(mirror.repair(None).unwrap_err().reason(), "Unreachable");
    assert_eq!(mirror.head(), Some(first));
    let n_left = fs::read_dir(lab.dir.path()).unwrap().count();
    assert_eq!(n_left, 1, "only the mirror is left");
}

#[test]
fn a_lock_left_by_a_crash_does_not_stop_fetching_for_ever() {
    let (lab, _) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    let second = lab.commit("main", &[("x", "x")]);
    let lock = lab.mirror_dir().join("refs/flagops/observed/heads/main.lock");
    fs::write(&lock, "").unwrap();
    assert_eq!(mirror.fetch(None).unwrap_err().reason(), "MirrorUnwritable");
    let past = fs::metadata(&lock).unwrap().modified().unwrap() - Duration::from_secs(60);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(past).unwrap();
    assert_eq!(mirror.fetch(None).unwrap().revision, second);
}

#[test]
fn pins_are_moved_given_up_and_refuse_hostile_names() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    let second = lab.commit("main", &[("x", "x")]);
    assert!(matches!(mirror.pin("live", second), Err(MirrorError::MissingCommit { .. })));
    mirror.pin("live.web-1", first).unwrap();
    mirror.fetch(None).unwrap();
    mirror.pin("live.web-1", second).unwrap();
    assert_eq!(mirror.pins().unwrap(), [("live.web-1".to_owned(), second)].into());
    mirror.unpin("live.web-1").unwrap();
    mirror.unpin("live.web-1").unwrap();
    assert_eq!(mirror.pins().unwrap().len(), 0);
    for name in ["", "..", "a/../../heads/x", "a..b", "x.lock", "-x", "a b", "a\n"] {
        assert!(matches!(mirror.pin(name, first), Err(MirrorError::BadName { .. })), "{name:?}");
    }
}

// ---- Trees ----

/// A tree object as its raw bytes: git's own tools refuse to make such ones.
fn raw_tree(lab: &Lab, entries: &[(&[u8], &str, Oid)]) -> Oid {
    let mut bytes = Vec::new();
    for (name, mode, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    lab.source.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
}

#[test]
fn links_and_submodules_are_shown_and_never_followed() {
    let lab = Lab::new();
    let file = lab.source.blob(b"x").unwrap();
    let link = lab.source.blob(b"/etc/passwd").unwrap();
    let inner = raw_tree(&lab, &[(b"x", "100644", file)]);
    let tree = raw_tree(
        &lab,
        &[
            (b"dir", "40000", inner),
            (b"file", "100644", file),
            (b"link", "120000", link),
            (b"run", "100755", file),
            (b"sub", "160000", Oid::from_bytes(&[7; 20]).unwrap()),
        ],
    );
    lab.point("main", lab.commit_tree(tree, None));
    let mirror = lab.mirror();
    let tree = mirror.tree(mirror.fetch(None).unwrap().revision).unwrap();
    let kinds: Vec<_> = tree.entries("").unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            EntryKind::Directory,
            EntryKind::File { executable: false },
            EntryKind::Symlink,
            EntryKind::File { executable: true },
            EntryKind::Submodule,
        ]
    );
    for path in ["link", "sub", "dir"] {
        let wanted = TreeError::NotAFile { path: path.to_owned() };
        assert_eq!(tree.read(path, 100), Err(wanted), "{path}");
    }
    for path in ["link/x", "file/x", "dir/y", "../x", "", "dir/", "/dir", "/dir/x", "dir//x"] {
        let wanted = TreeError::NotFound { path: path.to_owned() };
        assert_eq!(tree.read(path, 100), Err(wanted), "{path}");
    }
    assert_eq!(tree.read("dir/x", 100).unwrap(), b"x");
    assert!(matches!(tree.entries("link"), Err(TreeError::NotFound { .. })));
    assert!(matches!(tree.entries("dir/x"), Err(TreeError::NotFound { .. })));
}

#[test]
fn hostile_names_are_only_names() {
    let lab = Lab::new();
    let file = lab.source.blob(b"x").unwrap();
    let inner = raw_tree(&lab, &[(b"y", "100644", file)]);
    let tree = raw_tree(
        &lab,
        &[
            (b"..", "40000", inner),
            (b".git", "40000", inner),
            (b"a\nb", "100644", file),
            (b"evil/../../name", "100644", file),
            (b"\xff\xfe", "100644", file),
        ],
    );
    lab.point("main", lab.commit_tree(tree, None));
    let mirror = lab.mirror();
    let tree = mirror.tree(mirror.fetch(None).unwrap().revision).unwrap();
    let entries = tree.entries("").unwrap();
    assert_eq!(
        names(&entries),
        ["..", ".git", "a\nb", "evil\u{fffd}..\u{fffd}..\u{fffd}name", "\u{fffd}\u{fffd}"]
    );
    let odd: Vec<_> = entries.iter().map(|entry| entry.is_utf8).collect();
    assert_eq!(odd, [true, true, true, false, false]);
    assert!(matches!(tree.read("\u{fffd}\u{fffd}", 9), Err(TreeError::NotFound { .. })));
    assert_eq!(tree.read("../y", 9).unwrap(), b"x");
}

#[test]
fn a_large_file_is_refused_by_its_size_before_it_is_read() {
    let lab = Lab::new();
    let big = "0".repeat(3 << 20);
    lab.commit("main", &[("big", &big), ("small", "s")]);
    let mirror = lab.mirror();
    let tree = mirror.tree(mirror.fetch(None).unwrap().revision).unwrap();
    let (size_bytes, limit_bytes) = (3 << 20, (3 << 20) - 1);
    let wanted = TreeError::TooLarge { path: "big".to_owned(), size_bytes, limit_bytes };
    assert_eq!(tree.read("big", limit_bytes), Err(wanted));
    assert_eq!(tree.read("big", size_bytes).unwrap().len() as u64, size_bytes);
    let sizes: Vec<_> = tree.entries("").unwrap().iter().map(|entry| entry.size_bytes).collect();
    assert_eq!(sizes, [size_bytes, 1]);
}

#[test]
fn a_missing_object_is_unreadable_and_not_absent() {
    let lab = Lab::new();
    let ghost = Oid::from_bytes(&[9; 20]).unwrap();
    let tree = raw_tree(&lab, &[(b"ghost", "40000", ghost)]);
    let revision = lab.commit_tree(tree, None);
    let tree = GitTree::open(lab.source.path(), revision).unwrap();
    assert!(matches!(tree.entries("ghost"), Err(TreeError::Unreadable { .. })));
    let nowhere = Revision(object_id(ghost));
    assert!(matches!(lab.mirror().tree(nowhere), Err(TreeError::Unreadable { .. })));
}

#[test]
fn a_deep_path_is_found_in_any_order_of_asking() {
    let lab = Lab::new();
    let revision = lab.commit("main", &[("a/b/c/d", "deep"), ("a/b.txt", "flat"), ("a0", "z")]);
    let open = || GitTree::open(lab.source.path(), revision).unwrap();
    assert_eq!(open().read("a/b/c/d", 9).unwrap(), b"deep");
    let tree = open();
    assert_eq!(names(&tree.entries("a").unwrap()), ["b", "b.txt"]);
    assert_eq!(names(&tree.entries("a/b").unwrap()), ["c"]);
    assert_eq!(tree.read("a/b/c/d", 9).unwrap(), b"deep");
    assert_eq!(tree.read("a/b.txt", 9).unwrap(), b"flat");
}

// ---- Waking up ----

async fn fires(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_secs(4), watch.changed()).await.is_ok()
}

#[tokio::test]
async fn a_push_wakes_us_within_a_second_and_reading_does_not() {
    let (lab, _) = Lab::with_commit();
    let mut watch = Watch::start(&lab.remote()).unwrap();
    let mirror = lab.mirror();
    mirror.fetch(None).unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await;
    assert!(quiet.is_err(), "a fetch of our own is no push");
    lab.commit("main", &[("x", "y")]);
    let woken = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
    assert!(woken.is_ok());
    lab.commit("feature/new/folder", &[("x", "y")]);
    assert!(fires(&mut watch).await);
}

#[tokio::test]
async fn a_remote_that_is_removed_and_made_again_still_wakes_us() {
    let (lab, revision) = Lab::with_commit();
    let path = lab.source.path().to_owned();
    let mut watch = Watch::start(&lab.remote()).unwrap();
    let away = lab.dir.path().join("away");
    fs::rename(&path, &away).unwrap();
    assert!(fires(&mut watch).await, "the removal");
    fs::rename(&away, &path).unwrap();
    assert!(fires(&mut watch).await, "the return");
    while tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_ok() {}
    lab.point("again", revision);
    assert!(fires(&mut watch).await, "a push after the return");
}

#[tokio::test]
async fn a_commit_in_a_linked_work_tree_wakes_us() {
    let (lab, revision) = Lab::with_commit();
    lab.point("side", revision);
    let linked = lab.dir.path().join("linked");
    let reference = lab.source.find_reference("refs/heads/side").unwrap();
    let mut options = git2::WorktreeAddOptions::new();
    options.reference(Some(&reference));
    lab.source.worktree("linked", &linked, Some(&options)).unwrap();
    let remote = Remote::parse(linked.to_str().unwrap(), Path::new("/")).unwrap();
    let mut watch = Watch::start(&remote).unwrap();
    lab.commit("side", &[("x", "y")]);
    assert!(fires(&mut watch).await);
}

#[test]
fn a_remote_over_the_network_is_not_watched() {
    let remote = Remote::parse("https://forge.example/x.git", Path::new("/")).unwrap();
    assert!(Watch::start(&remote).is_none());
}

// ---- Tags ----

impl Lab {
    /// A tag object of this name inside of the reference `refs/tags/<under>`.
    fn tag(&self, under: &str, inside: &str, target: Oid, force: Force) -> ObjectId {
        let maker = Signature::new("Ada", "ada@example.org", &Time::new(1_800_000_000, 0)).unwrap();
        let object = self.source.find_object(target, None).unwrap();
        let made = self.source.tag_annotation_create(inside, &object, &maker, "live\n").unwrap();
        let reference = format!("refs/tags/{under}");
        self.source.reference(&reference, made, force == Force::Yes, "").unwrap();
        object_id(made)
    }

    fn light_tag(&self, name: &str, target: Oid) {
        self.source.reference(&format!("refs/tags/{name}"), target, false, "").unwrap();
    }

    fn delete_tag(&self, name: &str) {
        self.source.find_reference(&format!("refs/tags/{name}")).unwrap().delete().unwrap();
    }

    fn tagged_mirror(&self, branches: &[&str]) -> Mirror {
        self.mirror().with_tags(TagWish {
            pattern: Some(TagPattern::parse("^v[^/]*(/.*)?$").unwrap()),
            branches: branches.iter().map(|name| branch(name)).collect(),
        })
    }
}

#[derive(PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

fn seen(fetched: &Fetched) -> Vec<(String, ObjectId)> {
    let tags = fetched.tags.as_ref().expect("tags were asked for");
    assert_eq!(tags.fault, None);
    tags.objects.iter().map(|(name, object)| (name.to_string(), *object)).collect()
}

#[test]
fn the_mirror_of_a_folder_holds_packs_only() {
    let (lab, revision) = Lab::with_commit();
    let inner = lab.tag("v1", "v1", oid(revision), Force::No);
    lab.tag("v2", "v2", oid(Revision(inner)), Force::No);
    let mirror = lab.tagged_mirror(&[]);
    let fetched = mirror.fetch(None).unwrap();
    for (name, object) in seen(&fetched) {
        assert!(mirror.raw_object(object).is_ok(), "{name}");
    }
    let folders = fs::read_dir(lab.mirror_dir().join("objects")).unwrap();
    let mut names: Vec<_> = folders.map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["info", "pack"], "a file of one object that is cut off hangs libgit2");
}

#[test]
fn tags_are_seen_with_their_objects_and_only_those_that_were_asked_for() {
    let (lab, revision) = Lab::with_commit();
    let made = lab.tag("v1", "v1", oid(revision), Force::No);
    lab.light_tag("v2", oid(revision));
    lab.light_tag("nightly", oid(revision));
    let mirror = lab.tagged_mirror(&[]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!(seen(&fetched), [("v1".into(), made), ("v2".into(), revision.0)]);
    let TagTarget::Commit { revision: named, object: Some(object) } = mirror.tag_target(made)
    else {
        panic!("it is an annotated tag")
    };
    assert_eq!((named, object.name.as_str()), (revision, "v1"));
    assert_eq!(object.tagged_at, Some(Timestamp::from_millis(1_800_000_000_000)));
    let light = TagTarget::Commit { revision, object: None };
    assert_eq!(mirror.tag_target(revision.0), light);
    let raw = mirror.raw_object(made).unwrap();
    assert!(raw.starts_with(format!("object {revision}\ntype commit\ntag v1\n").as_bytes()));
    assert_eq!(lab.mirror().fetch(None).unwrap().tags, None, "nobody asked");
}

#[test]
fn a_tag_may_move_go_and_come_under_a_folder_of_its_own_name() {
    let (lab, first) = Lab::with_commit();
    let mirror = lab.tagged_mirror(&[]);
    let before = lab.tag("v1", "v1", oid(first), Force::No);
    assert_eq!(seen(&mirror.fetch(None).unwrap()), [("v1".into(), before)]);
    let second = lab.commit("main", &[("a/metadata.yaml", "two")]);
    let after = lab.tag("v1", "v1", oid(second), Force::Yes);
    assert_eq!(seen(&mirror.fetch(None).unwrap()), [("v1".into(), after)]);
    // The old object stays readable: what is live was made from it.
    assert!(
        matches!(mirror.tag_target(before), TagTarget::Commit { revision, .. } if revision == first)
    );
    lab.delete_tag("v1");
    let below = lab.tag("v1/2", "v1/2", oid(second), Force::No);
    assert_eq!(seen(&mirror.fetch(None).unwrap()), [("v1/2".into(), below)]);
    lab.delete_tag("v1/2");
    assert_eq!(seen(&mirror.fetch(None).unwrap()), []);
}

#[test]
fn a_tag_off_the_branch_brings_its_commit() {
    let (lab, main) = Lab::with_commit();
    let aside = lab.write_commit(&[("b/metadata.yaml", "aside")], Some(oid(main)));
    let made = lab.tag("v1", "v1", oid(aside), Force::No);
    let mirror = lab.tagged_mirror(&[]);
    mirror.fetch(None).unwrap();
    assert!(
        matches!(mirror.tag_target(made), TagTarget::Commit { revision, .. } if revision == aside)
    );
    mirror.tree(aside).unwrap();
    assert!(!mirror.is_contained(aside, &[main]).unwrap());
    assert!(mirror.is_contained(main, &[aside]).unwrap());
    assert!(mirror.is_contained(main, &[main]).unwrap());
}

#[test]
fn what_is_no_release_is_told_apart() {
    let (lab, revision) = Lab::with_commit();
    let inner = lab.tag("inner", "v1", oid(revision), Force::No);
    let nested = lab.tag("v-nested", "v-nested", oid(Revision(inner)), Force::No);
    let tree = lab.source.find_commit(oid(revision)).unwrap().tree_id();
    let of_tree = lab.tag("v-tree", "v-tree", tree, Force::No);
    lab.light_tag("v-light-tree", tree);
    let replayed = lab.tag("v9", "v1", oid(revision), Force::No);
    let mirror = lab.tagged_mirror(&[]);
    mirror.fetch(None).unwrap();
    assert_eq!(mirror.tag_target(nested), TagTarget::Other("tag"));
    assert_eq!(mirror.tag_target(of_tree), TagTarget::Other("tree"));
    assert_ne!(mirror.tag_target(object_id(tree)), TagTarget::Unreadable, "{:?}", tree);
    let TagTarget::Commit { object: Some(object), .. } = mirror.tag_target(replayed) else {
        panic!("it is a tag object")
    };
    assert_eq!(object.name, "v1", "the name inside is told as it is");
    assert_eq!(mirror.tag_target(ObjectId::from_bytes([5; 20])), TagTarget::Unreadable);
}

#[test]
fn branches_that_a_release_must_be_on_are_brought_along() {
    let (lab, _) = Lab::with_commit();
    let stable = lab.write_commit(&[("c/metadata.yaml", "stable")], None);
    lab.point("stable", stable);
    let mirror = lab.tagged_mirror(&["stable", "missing"]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!(fetched.tags.unwrap().branches, [stable]);
    assert!(mirror.is_contained(stable, &[stable]).unwrap());
    assert_eq!(fetched.branch, "main");
}
