//! `flagops secrets` as people run it, and beside the tool `age`, whose format it is.

#![expect(clippy::unwrap_used, reason = "a step of a lab that fails is a test that fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use predicates::prelude::*;

use super::{flagops, stdout_json};

/// A repository with `.age-recipients` for one key, and the key outside of it.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(lab.repo().join(".git")).unwrap();
        std::fs::write(lab.repo().join(".age-recipients"), lab.keygen("age.key")).unwrap();
        lab
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a key; its recipient, a line.
    fn keygen(&self, name: &str) -> String {
        let made = self.run(&["secrets", "keygen", self.key(name).to_str().unwrap()]).code(0);
        String::from_utf8(made.get_output().stdout.clone()).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        flagops(&self.repo()).args(arguments).assert()
    }

    /// `flagops secrets …` with the key of the lab.
    fn with_key(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        let key = self.key("age.key");
        let mut command = flagops(&self.repo());
        command.arg("secrets").args(arguments).args(["--identity", key.to_str().unwrap()]);
        command.assert()
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.repo().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.repo().join(name)).unwrap()
    }

    /// Path and state of every encrypted file.
    fn states(&self, check: &assert_cmd::assert::Assert) -> Vec<String> {
        let report = stdout_json(check);
        let files = report["files"].as_array().unwrap().iter();
        files
            .map(|file| {
                format!("{} {}", file["path"].as_str().unwrap(), file["state"].as_str().unwrap())
            })
            .collect()
    }
}

/// What the tool makes of `input`: whether it is content, and what it says.
fn age(arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
    use std::io::{Seek as _, Write as _};
    // From a file: the tool would not read on before somebody reads what it writes.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    let output = std::process::Command::new("age")
        .args(arguments)
        .stdin(file)
        .output()
        .expect("the tool `age` is the oracle of this test: `scripts/setup-host` installs it");
    (output.status.success(), output.stdout)
}

#[test]
fn a_key_is_for_its_owner_only_and_never_in_a_repository() {
    let lab = Lab::new();
    let mode = std::fs::metadata(lab.key("age.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let file = std::fs::read_to_string(lab.key("age.key")).unwrap();
    let recipient = String::from_utf8(lab.read(".age-recipients")).unwrap();
    assert!(recipient.starts_with("age1") && file.contains(recipient.trim()), "{recipient}");
    let again = lab.run(&["secrets", "keygen", lab.key("age.key").to_str().unwrap()]);
    again.code(1).stderr(predicate::str::contains("name a new file"));
    assert_eq!(std::fs::read_to_string(lab.key("age.key")).unwrap(), file, "nothing is replaced");
    lab.run(&["secrets", "keygen", "age.key"])
        .code(2)
        .stderr(predicate::str::contains("would lie in the git repository"));
    assert!(!lab.repo().join("age.key").exists());
}

#[test]
fn a_file_is_encrypted_checked_and_opened_by_both_tools() {
    let lab = Lab::new();
    lab.write("WEB/W-1/flag.txt", b"FLAG{no-1}\n");
    lab.write("WEB/W-1/map.bin", &[0, 159, 146, 150]);
    lab.run(&["secrets", "encrypt", "WEB/W-1/flag.txt"])
        .code(0)
        .stdout(predicate::str::contains("WEB/W-1/flag.txt.age"))
        .stderr(predicate::str::contains("still there"));
    lab.run(&["secrets", "encrypt", "--binary", "--remove", "WEB/W-1/map.bin"]).code(0);
    assert!(lab.repo().join("WEB/W-1/flag.txt").exists());
    assert!(!lab.repo().join("WEB/W-1/map.bin").exists());
    assert!(lab.read("WEB/W-1/flag.txt.age").starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
    assert!(lab.read("WEB/W-1/map.bin.age").starts_with(b"age-encryption.org/v1\n"));

    // What we write the tool reads.
    let key = lab.key("age.key");
    let opened = |name: &str| age(&["-d", "-i", key.to_str().unwrap()], &lab.read(name));
    assert_eq!(opened("WEB/W-1/flag.txt.age"), (true, b"FLAG{no-1}\n".to_vec()));
    assert_eq!(opened("WEB/W-1/map.bin.age"), (true, vec![0, 159, 146, 150]));
    // What the tool writes we read, for its key and in both forms.
    let recipient = String::from_utf8(lab.read(".age-recipients")).unwrap();
    let large = vec![b'x'; 200_000];
    for (name, flags) in [("theirs.age", &["-r"][..]), ("text.age", &["-a", "-r"])] {
        let (is_fine, bytes) = age(&[flags, &[recipient.trim()]].concat(), &large);
        assert!(is_fine);
        lab.write(name, &bytes);
    }
    let check = lab.with_key(&["check", "--format", "json"]).code(0);
    assert_eq!(
        lab.states(&check),
        ["WEB/W-1/flag.txt.age ok", "WEB/W-1/map.bin.age ok", "text.age ok", "theirs.age ok"]
    );
    assert_eq!(stdout_json(&check)["files"][2]["plain_bytes"], 200_000);
    let blind = lab.run(&["secrets", "check", "--format", "json", "theirs.age"]).code(0);
    assert_eq!(lab.states(&blind), ["theirs.age unopened"]);
}

#[test]
fn rekeying_lets_another_node_in_and_leaves_what_it_cannot_open() {
    let lab = Lab::new();
    lab.write("flag.txt", b"FLAG{no-1}\n");
    lab.run(&["secrets", "encrypt", "--remove", "flag.txt"]).code(0);
    let stranger = Lab::new();
    stranger.write("theirs", b"x");
    stranger.run(&["secrets", "encrypt", "theirs"]).code(0);
    lab.write("theirs.age", &stranger.read("theirs.age"));
    lab.write("cut.age", &lab.read("flag.txt.age")[..80]);
    let two = String::from_utf8(lab.read(".age-recipients")).unwrap() + &lab.keygen("other.key");
    lab.write(".age-recipients", two.as_bytes());

    let check = lab.with_key(&["check", "--format", "json"]).code(1);
    assert_eq!(lab.states(&check), ["cut.age broken", "flag.txt.age stale", "theirs.age closed"]);
    let (cut, theirs) = (lab.read("cut.age"), lab.read("theirs.age"));
    lab.with_key(&["rekey"]).code(1).stdout(
        predicate::str::contains("rekeyed")
            .and(predicate::str::contains("does not open it"))
            .and(predicate::str::contains("its end is missing")),
    );
    assert_eq!((lab.read("cut.age"), lab.read("theirs.age")), (cut, theirs));
    let left: Vec<_> = std::fs::read_dir(lab.repo()).unwrap().map(|it| it.unwrap()).collect();
    assert_eq!(left.len(), 5, "no partial file is left: {left:?}");
    lab.with_key(&["check", "flag.txt.age"]).code(0);
    let other = lab.key("other.key");
    let opened = age(&["-d", "-i", other.to_str().unwrap()], &lab.read("flag.txt.age"));
    assert_eq!(opened, (true, b"FLAG{no-1}\n".to_vec()));

    // Whoever leaves themselves out is told.
    lab.write(".age-recipients", two.lines().last().unwrap().as_bytes());
    lab.with_key(&["rekey", "flag.txt.age"])
        .code(0)
        .stderr(predicate::str::contains("opens these files no more"));
    let check = lab.with_key(&["check", "--format", "json", "flag.txt.age"]).code(1);
    assert_eq!(lab.states(&check), ["flag.txt.age closed"]);
}

#[test]
fn nothing_is_written_or_removed_when_one_file_cannot_be_encrypted() {
    let lab = Lab::new();
    lab.write("flag.txt", b"x");
    lab.run(&["secrets", "encrypt", "--remove", "flag.txt", "absent.txt"])
        .code(2)
        .stderr(predicate::str::contains("`absent.txt`"));
    assert!(lab.repo().join("flag.txt").exists() && !lab.repo().join("flag.txt.age").exists());
    lab.write(".age-recipients", b"# nobody\nage1nonsense\n");
    lab.run(&["secrets", "encrypt", "flag.txt"]).code(2).stderr(
        predicate::str::contains(".age-recipients:2: the line is no recipient")
            .and(predicate::str::contains("flagops secrets keygen")),
    );
    std::fs::remove_file(lab.repo().join(".age-recipients")).unwrap();
    lab.run(&["secrets", "encrypt", "flag.txt"])
        .code(2)
        .stderr(predicate::str::contains("no `.age-recipients` above `flag.txt`"));
    lab.run(&["secrets", "rekey"])
        .code(2)
        .stderr(predicate::str::contains("`identity_file` below `[secrets]`"));
}

#[test]
fn an_identity_that_others_can_read_is_not_used_and_the_configured_one_is_found() {
    let lab = Lab::new();
    lab.write("flag.txt", b"x");
    lab.run(&["secrets", "encrypt", "flag.txt"]).code(0);
    let key = lab.key("age.key");
    let config = format!("[secrets]\nidentity_file = \"{}\"\n", key.display());
    lab.write("flagops.toml", config.as_bytes());
    let check = lab.run(&["secrets", "check", "--format", "json"]).code(0);
    assert_eq!(lab.states(&check), ["flag.txt.age ok"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    lab.run(&["secrets", "check"])
        .code(2)
        .stderr(predicate::str::contains(format!("chmod 600 '{}'", key.display())));
    assert!(Path::new(&key).exists());
}
