//! A folder with keys, the tools that sign with them, and the same tools as oracles.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flagops::model::Timestamp;
use flagops::trust::{
    KeyFiles, Keyring, KeyringErrors, Sighting, SourceText, TrustFile, Verdict, verify_tag,
};
use tempfile::TempDir;

/// The watched repository of all tests.
pub(crate) const REPOSITORY: &str = "https://git.ctf.example/finals.git";
/// The commit that tags point to.
pub(crate) const COMMIT: &str = "1111111111111111111111111111111111111111";

/// The moment, in seconds since 1970, of `YYYYMMDD` or `YYYYMMDDHHMMSS` in UTC.
pub(crate) fn secs(digits: &str) -> i64 {
    let digits = format!("{digits:0<14}");
    let part = |from: usize, to: usize| &digits[from..to];
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    );
    Timestamp::parse_rfc3339(&text).expect("a moment").as_millis() / 1000
}

/// When tags are made, unless a case says otherwise.
pub(crate) const TAGGED: &str = "20260601120000";

/// What is signed in a tag, and what shows it.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) at: String,
    pub(crate) message: String,
}

impl Tag {
    pub(crate) fn new() -> Self {
        Self {
            name: "event-1.0.0".to_owned(),
            kind: "commit",
            at: TAGGED.to_owned(),
            message: "The finals.\n".to_owned(),
        }
    }

    pub(crate) fn at(mut self, digits: &str) -> Self {
        self.at = digits.to_owned();
        self
    }

    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn message(mut self, message: &str) -> Self {
        self.message = message.to_owned();
        self
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let Self { name, kind, at, message } = self;
        let at = secs(at);
        format!(
            "object {COMMIT}\ntype {kind}\ntag {name}\ntagger Alice <alice@ctf.example> {at} \
             +0200\n\n{message}"
        )
        .into_bytes()
    }
}

/// A signed object, in its two parts.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Signed {
    pub(crate) fn raw(&self) -> Vec<u8> {
        [self.payload.as_slice(), &self.signature].concat()
    }

    /// One byte of the message is another.
    pub(crate) fn with_other_payload(mut self) -> Self {
        *self.payload.last_mut().expect("a message") = b'!';
        self.payload.push(b'\n');
        self
    }

    /// One digit in the middle of the last full line of the signature is another.
    pub(crate) fn with_other_signature(mut self) -> Self {
        let ends: Vec<usize> =
            (0..self.signature.len()).filter(|&at| self.signature[at] == b'\n').collect();
        let at = ends[ends.len() - 3] - 20;
        self.signature[at] = if self.signature[at] == b'A' { b'B' } else { b'A' };
        self
    }
}

/// One question to us and the oracle.
#[derive(Debug, Clone)]
pub(crate) struct Case<'a> {
    pub(crate) what: String,
    pub(crate) signed: &'a Signed,
    pub(crate) ref_name: &'a str,
    pub(crate) first_seen: &'a str,
}

/// What the oracle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oracle {
    Accepts,
    Refuses,
}

impl<'a> Case<'a> {
    pub(crate) fn new(what: impl Into<String>, signed: &'a Signed) -> Self {
        Self {
            what: what.into(),
            signed,
            ref_name: "refs/tags/event-1.0.0",
            first_seen: "20260601120100",
        }
    }

    pub(crate) fn seen(mut self, digits: &'a str) -> Self {
        self.first_seen = digits;
        self
    }

    pub(crate) fn under(mut self, ref_name: &'a str) -> Self {
        self.ref_name = ref_name;
        self
    }

    /// Our verdict.
    pub(crate) fn verdict(&self, keyring: &Keyring) -> Verdict {
        let first_seen = Timestamp::from_millis(secs(self.first_seen) * 1000);
        let sighting =
            Sighting { repository: REPOSITORY, first_seen, now: first_seen.plus_secs(60) };
        verify_tag(&self.signed.raw(), self.ref_name, keyring, &sighting)
    }

    /// Holds that we say `wanted`, that the oracle says `oracle`, and that nothing is good which
    /// the oracle refuses. Prints a line for the record.
    pub(crate) fn check(
        &self,
        keyring: &Keyring,
        wanted: &str,
        (said, oracle): (Oracle, Oracle),
    ) -> Verdict {
        let verdict = self.verdict(keyring);
        println!("{:<44} {:<18} oracle {said:?}: {verdict}", self.what, verdict.reason());
        assert_eq!(verdict.reason(), wanted, "{}: {verdict}", self.what);
        assert_eq!(said, oracle, "{}: what the oracle says", self.what);
        assert!(!verdict.is_good() || said == Oracle::Accepts, "{}: {verdict}", self.what);
        verdict
    }
}

/// A folder of its own.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        // Sockets of agents need short paths, so not below the target folder.
        let dir = tempfile::Builder::new().prefix("trust-").tempdir().expect("a folder");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file can be read")
    }

    /// Makes a key pair `name`, `name.pub`, and gives the public key's line without comment.
    pub(crate) fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        let path = self.path(name);
        let mut args: Vec<&OsStr> = ["-q", "-N", "", "-C", "x", "-t"].map(OsStr::new).to_vec();
        args.extend(kind.iter().map(OsStr::new));
        args.extend([OsStr::new("-f"), path.as_os_str()]);
        succeed(self.tool("ssh-keygen").args(args));
        public(&self.read(&format!("{name}.pub")))
    }

    /// Signs as git does, with the key `name` (or its certificate `name-cert.pub` beside it).
    pub(crate) fn ssh_sign(&self, name: &str, namespace: &str, tag: &Tag) -> Signed {
        let payload = tag.payload();
        let file = self.write("payload", &payload);
        let signature = self.path("payload.sig");
        drop(fs::remove_file(&signature));
        let key = self.path(name);
        let mut command = self.tool("ssh-keygen");
        command.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(key).arg(file);
        succeed(&mut command);
        Signed { payload, signature: fs::read(signature).expect("it was signed") }
    }

    /// What `ssh-keygen` says at both times, as git asks it: for any principal that it finds.
    pub(crate) fn ssh_oracle(&self, case: &Case<'_>, tagged: &str) -> Oracle {
        let both = [tagged, case.first_seen].map(|at| self.ssh_accepts(case.signed, at));
        if both == [true, true] { Oracle::Accepts } else { Oracle::Refuses }
    }

    fn ssh_accepts(&self, signed: &Signed, at: &str) -> bool {
        let signature = self.write("oracle.sig", &signed.signature);
        let payload = self.write("oracle.payload", &signed.payload);
        let time = format!("-Overify-time={at}");
        let allowed = self.path("allowed_signers");
        let mut find = self.tool("ssh-keygen");
        find.args(["-Y", "find-principals", &time, "-f"]).arg(&allowed).arg("-s").arg(&signature);
        let found = find.output().expect("ssh-keygen runs");
        if !found.status.success() {
            return false;
        }
        let revoked = self.path("revoked_keys");
        String::from_utf8_lossy(&found.stdout).lines().any(|principal| {
            let mut verify = self.tool("ssh-keygen");
            verify.args(["-Y", "verify", "-n", "git", "-I", principal, &time, "-f"]);
            verify.arg(&allowed).arg("-s").arg(&signature);
            if revoked.exists() {
                verify.arg("-r").arg(&revoked);
            }
            verify.stdin(fs::File::open(&payload).expect("the payload is there"));
            verify.output().expect("ssh-keygen runs").status.success()
        })
    }

    /// The keyring of the files in the lab, where `roles` is the text below `[roles]`.
    pub(crate) fn keyring(&self, roles: &str) -> Keyring {
        self.try_keyring(roles).unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub(crate) fn try_keyring(&self, roles: &str) -> Result<Keyring, KeyringErrors> {
        let text = |name: &str| {
            fs::read(self.path(name)).ok().map(|bytes| SourceText { name: name.to_owned(), bytes })
        };
        let mut trust = String::new();
        for (key, name) in
            [("allowed_signers", "allowed_signers"), ("openpgp_keyring", "organizers.asc")]
        {
            if self.path(name).exists() {
                trust.extend([key, " = \"", name, "\"\n"]);
            }
        }
        trust += roles;
        let source = SourceText { name: "trust.toml".to_owned(), bytes: trust.into_bytes() };
        let files = KeyFiles {
            allowed_signers: text("allowed_signers"),
            revoked_keys: text("revoked_keys"),
            openpgp_keyring: text("organizers.asc"),
        };
        Keyring::parse(&source, &TrustFile::parse(&source)?, &files)
    }

    /// A command that knows nothing of the person who runs the tests.
    pub(crate) fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("GNUPGHOME", self.path("gnupg"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }
}

/// Runs it; a failure shows what it said.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|why| {
        panic!("{command:?}: {why}; `scripts/setup-host` installs what the tests need")
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// `kind key` of a public key's line.
pub(crate) fn public(line: &str) -> String {
    line.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The folder of the fixtures for fuzzing.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}
