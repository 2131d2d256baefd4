//! One daemon per directory, and secrets that nobody else reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::model::QuestionId;
use crate::render::answers::mint;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn fresh() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/data");
    (folder, path)
}

fn answer(dir: &DataDir) -> String {
    let question: QuestionId = "flag".parse().unwrap();
    mint(dir.answer_key(), instance_id(1), 0, &question, crate::model::AnswerFormat::Flag)
}

#[test]
fn a_first_start_makes_everything_and_a_second_one_finds_it() {
    let (_folder, path) = fresh();
    let first = DataDir::open(&path).unwrap();
    assert!(first.was_created());
    let kept = (first.installation().clone(), answer(&first));
    let token = fs::read_to_string(first.admin_token_path()).unwrap();
    assert!(first.is_admin_token(token.trim()));
    drop(first);

    let second = DataDir::open(&path).unwrap();
    assert!(!second.was_created());
    assert_eq!((second.installation().clone(), answer(&second)), kept);
    assert!(second.is_admin_token(token.trim()));
    assert_eq!(second.path(), path);
    assert_eq!(second.database_path(), path.join("flagops.db"));
}

#[test]
fn two_installations_differ_in_everything() {
    let ((_a, a), (_b, b)) = (fresh(), fresh());
    let (a, b) = (DataDir::open(&a).unwrap(), DataDir::open(&b).unwrap());
    assert_ne!(a.installation(), b.installation());
    assert_ne!(answer(&a), answer(&b));
    let token = fs::read_to_string(a.admin_token_path()).unwrap();
    assert!(!b.is_admin_token(token.trim()));
}

#[test]
fn only_the_whole_token_opens() {
    let (_folder, path) = fresh();
    let dir = DataDir::open(&path).unwrap();
    let token = fs::read_to_string(dir.admin_token_path()).unwrap().trim().to_owned();
    assert_eq!((token.len(), token.starts_with("pt_")), (46, true));
    for wrong in ["", "pt_", &token[..45], &format!("{token}x"), &token.to_uppercase()] {
        assert!(!dir.is_admin_token(wrong), "{wrong:?}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_told_who_has_it() {
    let (_folder, path) = fresh();
    let first = DataDir::open(&path).unwrap();
    let refused = DataDir::open(&path).unwrap_err();
    let DataDirError::InUse { path: named, pid } = &refused else { panic!("{refused}") };
    assert_eq!((named, *pid), (&path, Some(std::process::id())));
    assert!(
        refused.to_string().contains(&format!("(process {})", std::process::id())),
        "{refused}"
    );
    drop(first);
    DataDir::open(&path).unwrap();
}

#[test]
fn a_closed_directory_is_free_at_once_also_while_children_are_started() {
    let (_folder, path) = fresh();
    std::thread::scope(|scope| {
        let children = scope.spawn(|| {
            for _ in 0..50 {
                std::process::Command::new("true").status().unwrap();
            }
        });
        while !children.is_finished() {
            drop(DataDir::open(&path).expect("nobody else has it"));
        }
    });
}

#[test]
fn everything_is_its_owners_alone() {
    let (_folder, path) = fresh();
    drop(DataDir::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700);
    let secrets = ["lock", "installation", "answers.key", "admin.token"];
    for name in secrets {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        set_mode(&path.join(name), 0o644);
    }
    set_mode(&path, 0o755);
    drop(DataDir::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700, "ours, so it is closed again");
    for name in &secrets[1..] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

#[test]
fn an_empty_directory_is_taken_over_and_a_shared_one_refused() {
    let (_folder, path) = fresh();
    fs::create_dir_all(&path).unwrap();
    set_mode(&path, 0o777);
    drop(DataDir::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700);

    let (_folder, shared) = fresh();
    fs::create_dir_all(&shared).unwrap();
    fs::write(shared.join("theirs"), "").unwrap();
    set_mode(&shared, 0o777);
    let refused = DataDir::open(&shared).unwrap_err();
    assert!(matches!(refused, DataDirError::Exposed { .. }), "{refused}");
    assert_eq!((mode(&shared), fs::read_dir(&shared).unwrap().count()), (0o777, 1));

    set_mode(&shared, 0o755);
    drop(DataDir::open(&shared).unwrap());
    assert_eq!(mode(&shared), 0o755, "not ours to close");
}

#[test]
fn a_damaged_or_linked_file_is_an_error_and_never_replaced() {
    for (name, content) in [
        ("installation", "NOT-HEX"),
        ("installation", ""),
        ("answers.key", "short"),
        ("admin.token", "pt_short"),
        ("admin.token", ""),
    ] {
        let (_folder, path) = fresh();
        drop(DataDir::open(&path).unwrap());
        fs::write(path.join(name), content).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(
            matches!(&error, DataDirError::Damaged { path: file, .. } if *file == path.join(name))
        );
        assert!(!error.to_string().contains("short"), "no content in errors: {error}");
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), content);

        fs::remove_file(path.join(name)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", path.join(name)).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Io { what: "read", .. }), "{error}");
    }
}

#[test]
fn a_first_start_that_was_cut_off_is_finished_by_the_next() {
    let (_folder, path) = fresh();
    let first = DataDir::open(&path).unwrap();
    let key = answer(&first);
    drop(first);
    // As if it had been killed before the identity was there.
    fs::remove_file(path.join("installation")).unwrap();
    fs::write(path.join("installation.partial"), "012").unwrap();
    let second = DataDir::open(&path).unwrap();
    assert!(second.was_created());
    assert_eq!(answer(&second), key);
}

#[test]
fn no_secret_is_printed() {
    let (_folder, path) = fresh();
    let dir = DataDir::open(&path).unwrap();
    let token = fs::read_to_string(dir.admin_token_path()).unwrap();
    let printed = format!("{dir:?}");
    assert!(printed.contains(dir.installation().as_str()));
    assert!(!printed.contains(token.trim()) && !printed.contains("key"), "{printed}");
}
