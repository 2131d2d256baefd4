//! OpenPGP keys in every state, against `gpg`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::lab::{COMMIT, Case, Lab, Oracle, Signed, Tag, secs, succeed};

use Oracle::{Accepts, Refuses};

/// A lab with an own GnuPG, whose agent ends with it.
struct Gnupg(Lab);

impl Drop for Gnupg {
    fn drop(&mut self) {
        drop(self.0.tool("gpgconf").args(["--kill", "all"]).output());
    }
}

impl Gnupg {
    fn new() -> Self {
        let lab = Lab::new();
        let home = lab.path("gnupg");
        fs::create_dir(&home).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&home, mode).unwrap();
        Self(lab)
    }

    /// `gpg` at a moment of its own.
    fn gpg(&self, at: &str) -> Command {
        let mut command = self.0.tool("gpg");
        command.args(["--batch", "--yes", "--quiet", "--no-auto-check-trustdb"]);
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        command.arg(format!("--faked-system-time={}!", secs(at)));
        command
    }

    /// Makes a key and gives its fingerprint.
    fn key(&self, name: &str, kind: &str, usage: &str, expire: &str, at: &str) -> String {
        let user = format!("{name} <{name}@ctf.example>");
        succeed(self.gpg(at).args(["--quick-gen-key", &user, kind, usage, expire]));
        let listed = succeed(self.gpg(at).args(["--with-colons", "--list-keys", name]));
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Exports what is there now, as the organizers' keyring.
    fn export(&self) {
        let out = succeed(self.gpg("20260601").args(["--armor", "--export"]));
        self.0.write("organizers.asc", out.stdout);
    }

    fn sign(&self, by: &str, tag: &Tag, options: &[&str]) -> Signed {
        let payload = tag.payload();
        let file = self.0.write("payload", &payload);
        let mut command = self.gpg(&tag.at);
        command.args(["--armor", "--detach-sign", "-o", "-", "-u", by]).args(options).arg(file);
        Signed { payload, signature: succeed(&mut command).stdout }
    }

    /// What `gpg` says when we first see it: good, and by a key that is neither expired nor revoked.
    fn oracle(&self, case: &Case<'_>) -> Oracle {
        let signature = self.0.write("oracle.sig", &case.signed.signature);
        let payload = self.0.write("oracle.payload", &case.signed.payload);
        let mut command = self.gpg(case.first_seen);
        command.args(["--status-fd", "1", "--verify"]).arg(signature).arg(payload);
        let output = command.output().expect("gpg runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_good = said.lines().any(|line| line.starts_with("[GNUPG:] GOODSIG"));
        if is_good && output.status.success() { Accepts } else { Refuses }
    }

    fn check(&self, case: &Case<'_>, roles: &str, wanted: &str, oracle: Oracle) {
        case.check(&self.0.keyring(roles), wanted, (self.oracle(case), oracle));
    }

    /// Revokes the whole key with the certificate that `gpg` made beside it.
    fn revoke(&self, fingerprint: &str) {
        let path = self.0.path(&format!("gnupg/openpgp-revocs.d/{fingerprint}.rev"));
        // A colon keeps people from importing it by accident.
        let text = fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        let file = self.0.write("revocation", text);
        succeed(self.gpg("20260602").arg("--import").arg(file));
    }

    /// Takes a capability from a key, as an interactive `gpg` can.
    fn toggle_sign(&self, fingerprint: &str) {
        let mut command = self.gpg("20260530");
        command.args(["--expert", "--command-fd", "0", "--edit-key", fingerprint]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"change-usage\nS\nQ\nsave\n").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

fn roles(fingerprint: &str) -> String {
    format!("[openpgp]\nalice = \"{fingerprint}\"\n[roles]\nalice = [\"release\"]\n")
}

fn matrix(kind: &str) {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", kind, "sign", "never", "20260101");
    let mallory = gnupg.key("mallory", "ed25519", "sign", "never", "20260101");
    gnupg.export();
    let trust = roles(&alice);
    let tag = Tag::new();
    let good = gnupg.sign(&alice, &tag, &[]);
    let case = |what: &str| format!("{kind} {what}");
    gnupg.check(&Case::new(case("good"), &good), &trust, "Good", Accepts);
    let tampered = good.clone().with_other_payload();
    gnupg.check(&Case::new(case("tampered payload"), &tampered), &trust, "BadSignature", Refuses);
    let tampered = good.clone().with_other_signature();
    gnupg.check(&Case::new(case("tampered signature"), &tampered), &trust, "BadSignature", Refuses);
    let renamed = Case::new(case("renamed"), &good).under("refs/tags/event-2.0.0");
    gnupg.check(&renamed, &trust, "TagNameMismatch", Accepts);
    // In the keyring is not yet trusted: only the full fingerprint in the trust file is.
    let foreign = gnupg.sign(&mallory, &tag, &[]);
    gnupg.check(&Case::new(case("not listed"), &foreign), &trust, "UnknownSigner", Accepts);
    let none = format!("[openpgp]\nalice = \"{alice}\"\n");
    gnupg.check(&Case::new(case("no role"), &good), &none, "RoleMissing", Accepts);
    gnupg.revoke(&alice);
    gnupg.export();
    gnupg.check(&Case::new(case("revoked"), &good), &trust, "SignerRevoked", Refuses);
}

#[test]
fn ed25519_keys_are_judged_as_gpg_does() {
    matrix("ed25519");
}

#[test]
fn rsa_keys_are_judged_as_gpg_does() {
    matrix("rsa2048");
}

#[test]
fn nist_keys_are_judged_as_gpg_does() {
    matrix("nistp256");
}

#[test]
fn expiry_counts_at_the_date_and_at_the_first_sight() {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", "ed25519", "sign", "20260701T000000", "20260101");
    gnupg.export();
    let trust = roles(&alice);
    let good = gnupg.sign(&alice, &Tag::new(), &[]);
    gnupg.check(&Case::new("before its end", &good), &trust, "Good", Accepts);
    let late = Case::new("seen after its end", &good).seen("20260702");
    gnupg.check(&late, &trust, "SignerExpired", Refuses);
    // The tagger's date is older than the key.
    let payload = Tag::new().at("20251201").payload();
    let file = gnupg.0.write("payload", &payload);
    let mut command = gnupg.gpg("20260601120000");
    command.args(["--armor", "--detach-sign", "-o", "-", "-u", &alice]).arg(file);
    let signed = Signed { payload, signature: succeed(&mut command).stdout };
    let case = Case::new("dated before the key", &signed);
    gnupg.check(&case, &trust, "SignerNotYetValid", Accepts);
    // The end can be moved; the newest signature of the key over itself counts.
    succeed(gnupg.gpg("20260615").args(["--quick-set-expire", &alice, "20270101T000000"]));
    gnupg.export();
    gnupg.check(&late, &trust, "Good", Accepts);
}

#[test]
fn subkeys_sign_for_their_key_until_they_end_or_are_revoked() {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", "ed25519", "cert", "never", "20260101");
    succeed(gnupg.gpg("20260101").args([
        "--quick-add-key",
        &alice,
        "ed25519",
        "sign",
        "20260701T000000",
    ]));
    gnupg.export();
    let trust = roles(&alice);
    let good = gnupg.sign(&alice, &Tag::new(), &[]);
    gnupg.check(&Case::new("by a subkey", &good), &trust, "Good", Accepts);
    // Our own list takes a subkey by its fingerprint, too.
    let listed = succeed(gnupg.gpg("20260601").args(["--with-colons", "--list-keys", &alice]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let subkey = listed.lines().filter(|line| line.starts_with("fpr:")).nth(1).unwrap();
    gnupg.0.write("revoked_keys", subkey.split(':').nth(9).unwrap());
    gnupg.check(&Case::new("by a listed subkey", &good), &trust, "SignerRevoked", Accepts);
    fs::remove_file(gnupg.0.path("revoked_keys")).unwrap();
    let late = Case::new("by a subkey, late", &good).seen("20260702");
    gnupg.check(&late, &trust, "SignerExpired", Refuses);
    let mut command = gnupg.gpg("20260602");
    command.args(["--command-fd", "0", "--edit-key", &alice]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"key 1\nrevkey\ny\n0\n\ny\nsave\n").unwrap();
    assert!(child.wait().unwrap().success());
    gnupg.export();
    gnupg.check(&Case::new("by a revoked subkey", &good), &trust, "SignerRevoked", Refuses);
}

#[test]
fn keys_that_are_not_made_for_signing_and_weak_signatures_are_refused() {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", "ed25519", "cert,sign", "never", "20260101");
    gnupg.export();
    let trust = roles(&alice);
    let good = gnupg.sign(&alice, &Tag::new(), &[]);
    gnupg.check(&Case::new("flagged for signing", &good), &trust, "Good", Accepts);
    for (what, options) in
        [("SHA-1", vec!["--digest-algo", "SHA1"]), ("of a text", vec!["--textmode"])]
    {
        let weak = gnupg.sign(&alice, &Tag::new(), &options);
        let case = Case::new(what, &weak);
        let verdict = case.verdict(&gnupg.0.keyring(&trust));
        assert_eq!(verdict.reason(), "BadSignature", "{what}: {verdict}");
    }
    let short = gnupg.sign(&alice, &Tag::new(), &["--default-sig-expire", "1d"]);
    gnupg.check(&Case::new("for a day", &short), &trust, "Good", Accepts);
    let late = Case::new("for a day, late", &short).seen("20260603");
    assert_eq!(late.verdict(&gnupg.0.keyring(&trust)).reason(), "SignerExpired");
    // The first of two signatures is part of what the last one signs, for git as for us.
    let twice = Signed { payload: good.raw(), signature: good.signature.clone() };
    gnupg.check(&Case::new("twice", &twice), &trust, "BadSignature", Refuses);
    gnupg.toggle_sign(&alice);
    gnupg.export();
    let case = Case::new("no longer flagged for signing", &good);
    gnupg.check(&case, &trust, "KeyMayNotSign", Refuses);
}

#[test]
fn the_own_list_revokes_openpgp_keys_too() {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", "ed25519", "sign", "never", "20260101");
    gnupg.export();
    let good = gnupg.sign(&alice, &Tag::new(), &[]);
    gnupg.0.write("revoked_keys", format!("{}  # lost\n", alice.to_lowercase()));
    gnupg.check(&Case::new("revoked by our list", &good), &roles(&alice), "SignerRevoked", Accepts);
}

#[test]
fn short_ids_and_missing_keys_are_refused_where_they_stand() {
    let gnupg = Gnupg::new();
    let alice = gnupg.key("alice", "ed25519", "sign", "never", "20260101");
    gnupg.export();
    for (fingerprint, wanted) in [
        (&alice[24..], "is no full OpenPGP fingerprint"),
        (COMMIT, "is not in the OpenPGP keyring"),
    ] {
        let errors = gnupg.0.try_keyring(&roles(fingerprint)).unwrap_err().to_string();
        assert!(errors.contains("trust.toml:3: ") && errors.contains(wanted), "{errors}");
    }
    gnupg.0.write("organizers.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n");
    let errors = gnupg.0.try_keyring(&roles(&alice)).unwrap_err().to_string();
    assert!(errors.contains("organizers.asc:1: the key cannot be read"), "{errors}");
}
