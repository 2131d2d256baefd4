//! Signed objects that are kept: the seeds of the properties and of `fuzz/corpus/tag`.
//!
//! `FLAGOPS_UPDATE=1 cargo nextest run --test trust -E 'test(the_kept_objects)'` makes them anew,
//! with new keys. The private keys are thrown away.

use std::fs;

use flagops::model::Timestamp;
use flagops::trust::{
    KeyFiles, Keyring, Sighting, SourceText, TrustFile, verify_commit, verify_tag,
};

use crate::lab::{Lab, REPOSITORY, Tag, corpus, secs, succeed};

/// The ref of every kept tag.
pub(crate) const REF: &str = "refs/tags/event-1.0.0";

/// A kept tag.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) raw: Vec<u8>,
}

/// A kept file of the keyring.
pub(crate) fn file(name: &str) -> Vec<u8> {
    fs::read(corpus().join("keyring").join(name)).expect("the fixture is there")
}

/// When the kept objects are seen.
pub(crate) fn seen() -> Timestamp {
    Timestamp::from_millis(secs("20260601120100") * 1000)
}

/// The keyring that trusts the makers of the kept objects.
pub(crate) fn keyring() -> Keyring {
    let text = |name: &str| SourceText { name: name.to_owned(), bytes: file(name) };
    let source = text("trust.toml");
    let files = KeyFiles {
        allowed_signers: Some(text("allowed_signers")),
        revoked_keys: Some(text("revoked_keys")),
        openpgp_keyring: cfg!(feature = "pgp").then(|| text("organizers.asc")),
    };
    Keyring::parse(&source, &TrustFile::parse(&source).unwrap(), &files).unwrap()
}

/// The kept tags, by name.
pub(crate) fn tags() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = fs::read_dir(corpus().join("tag"))
        .expect("the corpus is there")
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Seed { name, raw: fs::read(path).unwrap() }
        })
        .collect();
    seeds.retain(|seed| cfg!(feature = "pgp") || seed.name.starts_with("ssh"));
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    seeds
}

/// The kept commit.
pub(crate) fn commit() -> Vec<u8> {
    fs::read(corpus().join("commit/ssh-ed25519")).expect("the fixture is there")
}

#[test]
fn the_kept_objects_are_good() {
    if std::env::var_os("FLAGOPS_UPDATE").is_some() {
        make();
    }
    let sighting = Sighting { repository: REPOSITORY, first_seen: seen(), now: seen() };
    let names: Vec<String> = tags().into_iter().map(|seed| seed.name).collect();
    assert!(names.len() >= 4, "{names:?}");
    for seed in tags() {
        let verdict = verify_tag(&seed.raw, REF, &keyring(), &sighting);
        assert!(verdict.is_good(), "{}: {verdict}", seed.name);
    }
    let verdict = verify_commit(&commit(), &keyring(), &sighting);
    assert!(verdict.is_good(), "{verdict}");
}

fn make() {
    let lab = Lab::new();
    let folder = corpus();
    for name in ["tag", "commit", "keyring"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let mut allowed = String::new();
    for (name, kind) in [
        ("ssh-ed25519", vec!["ed25519"]),
        ("ssh-rsa", vec!["rsa", "-b", "2048"]),
        ("ssh-p256", vec!["ecdsa", "-b", "256"]),
    ] {
        let key = lab.ssh_key(name, &kind);
        allowed.extend(["alice@ctf.example namespaces=\"git\" ", &key, "\n"]);
        let signed = lab.ssh_sign(name, "git", &Tag::new());
        fs::write(folder.join("tag").join(name), signed.raw()).unwrap();
    }
    let authority = lab.ssh_key("authority", &["ed25519"]);
    lab.ssh_key("ssh-certified", &["ed25519"]);
    let mut command = lab.tool("ssh-keygen");
    command.args([
        "-q",
        "-s",
        "authority",
        "-I",
        "x",
        "-n",
        "bob@ctf.example",
        "ssh-certified.pub",
    ]);
    succeed(&mut command);
    allowed.extend(["*@ctf.example cert-authority ", &authority, "\n"]);
    let signed = lab.ssh_sign("ssh-certified-cert.pub", "git", &Tag::new());
    fs::write(folder.join("tag/ssh-certified"), signed.raw()).unwrap();
    fs::write(folder.join("keyring/allowed_signers"), allowed).unwrap();
    fs::write(folder.join("keyring/revoked_keys"), "# Nobody yet.\n").unwrap();
    make_openpgp(&lab);
    make_commit(&lab);
}

fn make_openpgp(lab: &Lab) {
    let home = lab.path("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = || {
        let mut command = lab.tool("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command.arg(format!("--faked-system-time={}!", secs(crate::lab::TAGGED)));
        command
    };
    succeed(gpg().args([
        "--quick-gen-key",
        "Carol <carol@ctf.example>",
        "ed25519",
        "sign",
        "never",
    ]));
    let listed = succeed(gpg().args(["--with-colons", "--list-keys"])).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
    let fingerprint = line.split(':').nth(9).unwrap();
    let payload = Tag::new().payload();
    let path = lab.write("payload", &payload);
    let signature = succeed(gpg().args(["--armor", "--detach-sign", "-o", "-"]).arg(path)).stdout;
    let exported = succeed(gpg().args(["--armor", "--export"])).stdout;
    drop(lab.tool("gpgconf").args(["--kill", "all"]).output());
    let folder = corpus();
    fs::write(folder.join("tag/openpgp-ed25519"), [payload, signature].concat()).unwrap();
    fs::write(folder.join("keyring/organizers.asc"), exported).unwrap();
    let trust = format!(
        "allowed_signers = \"allowed_signers\"\nrevoked_keys = \"revoked_keys\"\nopenpgp_keyring = \
         \"organizers.asc\"\n\n[openpgp]\ncarol = \"{fingerprint}\"\n\n[roles]\n\
         \"alice@ctf.example\" = [\"release\", \"commit\"]\n\"bob@ctf.example\" = [\"release\"]\n\
         carol = [\"release\"]\n"
    );
    fs::write(folder.join("keyring/trust.toml"), trust).unwrap();
}

fn make_commit(lab: &Lab) {
    let at = secs(crate::lab::TAGGED);
    let who = format!("Alice <alice@ctf.example> {at} +0200");
    let head = format!("tree {}\nauthor {who}\ncommitter {who}\n", "2".repeat(40));
    let payload = format!("{head}\nThe first.\n");
    let path = lab.write("commit", &payload);
    let mut command = lab.tool("ssh-keygen");
    command.args(["-Y", "sign", "-q", "-n", "git", "-f", "ssh-ed25519"]).arg(path);
    succeed(&mut command);
    let signature = lab.read("commit.sig");
    let folded = signature.trim_end().replace('\n', "\n ");
    let raw = format!("{head}gpgsig {folded}\n\nThe first.\n");
    fs::write(corpus().join("commit/ssh-ed25519"), raw).unwrap();
}
