//! Mistakes in the trust file and beside it, and what changes the digest.

use flagops::trust::{KeyFiles, Keyring, KeyringErrors, SourceText, TrustFile};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQxu4zNyHKkbyCPnFiiDDKBEpWQ7BGXYYUPvmMRSTs9";

fn text(name: &str, bytes: impl Into<Vec<u8>>) -> SourceText {
    SourceText { name: name.to_owned(), bytes: bytes.into() }
}

fn keyring(trust: &str, allowed: &str, revoked: &[u8]) -> Result<Keyring, KeyringErrors> {
    let trust = text("trust.toml", trust);
    let files = KeyFiles {
        allowed_signers: Some(text("allowed_signers", allowed)),
        revoked_keys: Some(text("revoked_keys", revoked)),
        openpgp_keyring: None,
    };
    Keyring::parse(&trust, &TrustFile::parse(&trust)?, &files)
}

fn fault(trust: &str, allowed: &str, revoked: &[u8]) -> String {
    match keyring(trust, allowed, revoked) {
        Ok(_) => "no fault".to_owned(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn lines_of_allowed_signers_are_read_as_ssh_keygen_reads_them() {
    for line in [
        format!("alice@x {KEY}"),
        format!("alice@x,bob@x {KEY} a comment, with \"quotes\""),
        format!("\"alice@x\" {KEY}"),
        format!("  alice@x\tnamespaces=\"git,file\"\t{KEY}"),
        format!("*@x,!mallory@x CERT-Authority,Namespaces=\"git\" {KEY}"),
        format!("a valid-after=\"20260101Z\",valid-before=\"20260101120000Z\" {KEY}"),
        format!("a namespaces=\"with \\\" quote\" {KEY}"),
        format!("# a comment\r\n\r\nalice@x {KEY}\r\n"),
    ] {
        assert_eq!(fault("", &line, b""), "no fault", "{line}");
    }
}

#[test]
fn every_mistake_in_allowed_signers_says_line_what_and_fix() {
    let check = |line: &str, wanted: &str| {
        let said = fault("", &format!("# first\n{line}\n"), b"");
        assert!(said.starts_with(&format!("allowed_signers:2: {wanted}")), "{line}: {said}");
        assert!(said.contains("; "), "{said}");
    };
    check("alice", "the line holds no key");
    check("\"alice", "the quotes do not end");
    check(&format!("alice zzz {KEY}"), "`zzz` is neither an option nor a kind of key");
    check(&format!("alice valid-before=20260101Z {KEY}"), "`valid-before` has no value in quotes");
    check(&format!("alice valid-before=\"20260101\" {KEY}"), "`valid-before` has no zone");
    check(&format!("alice valid-before=\"20261301Z\" {KEY}"), "`20261301Z` in `valid-before`");
    check(
        &format!("alice valid-before=\"20260101Z\",valid-after=\"20260102Z\" {KEY}"),
        "`valid-before` is not after",
    );
    check(&format!("alice namespaces=\"a\",namespaces=\"b\" {KEY}"), "`namespaces` is set twice");
    check(&format!("alice namespaces=\"git {KEY}"), "the quotes of `namespaces` do not end");
    check(&format!("alice cert-authority;x {KEY}"), "`cert-authority;x` is neither");
    check(&KEY.replace("ssh-ed25519", "alice ssh-rsa"), "the line says `ssh-rsa`");
    check(&format!("alice {}", &KEY[..60]), "the key is broken or cut off");
    check("alice ssh-ed25519 %%%", "the key is not base64");
    check("alice ssh-ed25519-cert-v01@openssh.com AAAA", "this is a certificate");
    check("alice ssh-dss AAAAB3NzaC1kc3MAAAAA", "the key is of the kind `ssh-dss`");
}

#[test]
fn revoked_keys_are_keys_or_fingerprints_and_never_binary() {
    let digest = format!("SHA256:{}", "a".repeat(43));
    let lines = format!("# c\n{KEY} x\n{digest} lost\n{}\n", "0".repeat(40));
    assert_eq!(fault("", "", lines.as_bytes()), "no fault");
    let check = |bytes: &[u8], wanted: &str| {
        let said = fault("", "", bytes);
        assert!(said.starts_with("revoked_keys:1: ") && said.contains(wanted), "{said}");
    };
    check(b"SSHKRL\n\0\0\0\0\x01", "binary key revocation list");
    check(b"serial: 1-5", "specification of a revocation list");
    check(b"SHA256:short", "not complete");
    check(b"\xff\xfe", "not text");
    check(b"alice", "no kind of key");
}

#[test]
fn every_mistake_in_the_trust_file_says_line_what_and_fix() {
    let allowed = format!("alice@x {KEY}\n*@y cert-authority {KEY}\n");
    let check = |trust: &str, wanted: &str| {
        let said = fault(trust, &allowed, b"");
        assert!(said.contains(wanted), "{trust}: {said}");
    };
    check("[roles]\n\"alice@x\" = [\"release\"]\n\"bob@y\" = [\"commit\"]", "no fault");
    check("[roles]\n\"alice@x\" = [\"relase\"]", "trust.toml:2: `relase` is no role");
    check("\n[roles]\n\"bob@x\" = [\"release\"]", "trust.toml:3: `bob@x` has a role, but no key");
    check("allowed_signer = \"x\"", "trust.toml:1: unknown field");
    check("[roles", "trust.toml:1: ");
    check("[openpgp]\nalice = \"0x1234ABCD\"", "trust.toml:2: `0x1234ABCD` is no full OpenPGP");
    check(
        "[openpgp]\nalice = \"0000 1111 2222 3333 4444  5555 6666 7777 8888 9999\"",
        "trust.toml:2: `[openpgp]` names signers, but there is no keyring",
    );
    // Those of all files at once.
    let said = fault("[roles]\nbob = [\"release\"]\n", "alice\nbob\n", b"SHA256:x\n");
    let places: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["allowed_signers:1", "allowed_signers:2", "revoked_keys:1", "trust.toml:2"],
        "{said}"
    );
}

#[test]
fn the_digest_is_that_of_what_decides() {
    let digest = |trust: &str, allowed: &str, revoked: &str| {
        keyring(trust, allowed, revoked.as_bytes()).unwrap().digest()
    };
    let line = format!("alice@x {KEY}");
    let role = "[roles]\n\"alice@x\" = [\"release\", \"commit\"]";
    let base = digest(role, &line, "");
    let commented = format!("# hello\n\n  alice@x   {KEY} laptop\n");
    assert_eq!(
        digest(
            &role.replace("[\"release\", \"commit\"]", "[\"commit\", \"release\"]"),
            &commented,
            "# x\n"
        ),
        base
    );
    assert_eq!(base.to_string().parse(), Ok(base));
    let others = [
        digest("", &line, ""),
        digest("[roles]\n\"alice@x\" = [\"release\"]", &line, ""),
        digest(role, &format!("{line}\nbob@x {KEY}"), ""),
        digest(role, &format!("alice@x namespaces=\"git\" {KEY}"), ""),
        digest(role, &format!("alice@x valid-before=\"20260101Z\" {KEY}"), ""),
        digest(role, &line, KEY),
        Keyring::default().digest(),
    ];
    let mut all: Vec<_> = others.into_iter().chain([base]).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
}
