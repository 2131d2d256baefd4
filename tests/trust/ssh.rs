//! SSH keys of every kind, in every state, against `ssh-keygen`.

use crate::lab::{Case, Lab, Oracle, Tag};

use Oracle::{Accepts, Refuses};

const ROLES: &str = "[roles]\n\"alice@ctf.example\" = [\"release\"]\n";

fn with_key(kind: &[&str]) -> (Lab, String) {
    let lab = Lab::new();
    let key = lab.ssh_key("alice", kind);
    lab.write("allowed_signers", format!("alice@ctf.example namespaces=\"git\" {key} laptop\n"));
    (lab, key)
}

/// The whole matrix for one kind of key.
fn matrix(kind: &[&str]) {
    let (lab, key) = with_key(kind);
    let keyring = lab.keyring(ROLES);
    let tag = Tag::new();
    let good = lab.ssh_sign("alice", "git", &tag);
    let check = |case: &Case<'_>, wanted: &str, oracle: Oracle| {
        let keyring = lab.keyring(ROLES);
        case.check(&keyring, wanted, (lab.ssh_oracle(case, &tag.at), oracle));
    };
    let case = |what: &str| format!("{} {what}", kind.join(" "));

    check(&Case::new(case("good"), &good), "Good", Accepts);
    let tampered = good.clone().with_other_payload();
    check(&Case::new(case("tampered payload"), &tampered), "BadSignature", Refuses);
    let tampered = good.clone().with_other_signature();
    check(&Case::new(case("tampered signature"), &tampered), "BadSignature", Refuses);
    let foreign = lab.ssh_sign("alice", "file", &tag);
    check(&Case::new(case("other namespace"), &foreign), "WrongNamespace", Refuses);
    // The tool looks at the signature only; the name is ours to compare.
    let renamed = Case::new(case("renamed"), &good).under("refs/tags/event-2.0.0");
    check(&renamed, "TagNameMismatch", Accepts);

    let line = |options: &str| {
        lab.write("allowed_signers", format!("alice@ctf.example {options} {key}\n"));
    };
    line("namespaces=\"file\"");
    check(&Case::new(case("key for files only"), &good), "WrongNamespace", Refuses);
    line("valid-before=\"20260531Z\"");
    check(&Case::new(case("expired"), &good), "SignerExpired", Refuses);
    line("valid-after=\"20260602Z\"");
    check(&Case::new(case("not valid yet"), &good), "SignerNotYetValid", Refuses);
    line("valid-after=\"20260601Z\",valid-before=\"20260602Z\"");
    check(&Case::new(case("inside of its validity"), &good), "Good", Accepts);
    check(&Case::new(case("seen too late"), &good).seen("20260603"), "SignerExpired", Refuses);

    line("");
    lab.write("revoked_keys", format!("# stolen\n{key}\n"));
    check(&Case::new(case("revoked"), &good), "SignerRevoked", Refuses);
    std::fs::remove_file(lab.path("revoked_keys")).unwrap();

    let other = lab.ssh_key("mallory", &["ed25519"]);
    lab.write("allowed_signers", format!("alice@ctf.example {other}\n"));
    check(&Case::new(case("unknown key"), &good), "UnknownSigner", Refuses);
    // Who the file knows and the roles do not may sign nothing.
    lab.write("allowed_signers", format!("bob@ctf.example {key}\nalice@ctf.example {other}\n"));
    check(&Case::new(case("other principal"), &good), "RoleMissing", Accepts);
    drop(keyring);
}

#[test]
fn ed25519_keys_are_judged_as_ssh_keygen_does() {
    matrix(&["ed25519"]);
}

#[test]
fn rsa_keys_are_judged_as_ssh_keygen_does() {
    matrix(&["rsa", "-b", "2048"]);
}

#[test]
fn ecdsa_p256_keys_are_judged_as_ssh_keygen_does() {
    matrix(&["ecdsa", "-b", "256"]);
}

#[test]
fn ecdsa_p384_keys_are_judged_as_ssh_keygen_does() {
    matrix(&["ecdsa", "-b", "384"]);
}

#[test]
fn ends_of_validity_are_where_ssh_keygen_has_them() {
    let (lab, key) = with_key(&["ed25519"]);
    let line = "valid-after=\"202606011200Z\",valid-before=\"20260601130000Z\"";
    lab.write("allowed_signers", format!("alice@ctf.example {line} {key}\n"));
    let keyring = lab.keyring(ROLES);
    for (at, wanted, oracle) in [
        ("20260601115959", "SignerNotYetValid", Refuses),
        ("20260601120000", "Good", Accepts),
        ("20260601130000", "Good", Accepts),
        ("20260601130001", "SignerExpired", Refuses),
    ] {
        let signed = lab.ssh_sign("alice", "git", &Tag::new().at(at));
        let case = Case::new(format!("tagged and seen {at}"), &signed).seen(at);
        case.check(&keyring, wanted, (lab.ssh_oracle(&case, at), oracle));
    }
}

#[test]
fn a_date_that_was_forged_back_does_not_revive_a_key() {
    let (lab, key) = with_key(&["ed25519"]);
    lab.write("allowed_signers", format!("alice@ctf.example valid-before=\"20260101Z\" {key}\n"));
    let signed = lab.ssh_sign("alice", "git", &Tag::new().at("20251231"));
    let honest = Case::new("seen while valid", &signed).seen("20251231000100");
    honest.check(&lab.keyring(ROLES), "Good", (lab.ssh_oracle(&honest, "20251231"), Accepts));
    let forged = Case::new("seen later", &signed).seen("20260601");
    let verdict = forged.check(
        &lab.keyring(ROLES),
        "SignerExpired",
        (lab.ssh_oracle(&forged, "20251231"), Refuses),
    );
    insta::assert_snapshot!(verdict.to_string().replace(&key, "KEY").split(" (").next().unwrap(), @"the key of `alice@ctf.example`");
}

#[test]
fn only_tags_of_commits_from_the_present_for_this_repository_are_good() {
    let (lab, _) = with_key(&["ed25519"]);
    let keyring = lab.keyring(ROLES);
    let bound = |to: &str| format!("m\n\nRelease-Repo: {to}\n");
    for (what, tag, wanted) in [
        ("tag of a tag", Tag::new().kind("tag"), "NestedTag"),
        ("tag of a tree", Tag::new().kind("tree"), "NotACommit"),
        ("tag of a blob", Tag::new().kind("blob"), "NotACommit"),
        ("five minutes ahead", Tag::new().at("20260601120600"), "Good"),
        ("more than that", Tag::new().at("20260601120601"), "FutureDate"),
        ("bound to us", Tag::new().message(&bound("https://git.ctf.example/finals")), "Good"),
        ("bound to us, as written", Tag::new().message(&bound(crate::lab::REPOSITORY)), "Good"),
        (
            "bound elsewhere",
            Tag::new().message(&bound("https://git.ctf.example/x")),
            "WrongRepository",
        ),
        ("not a type", Tag::new().kind("branch"), "Malformed"),
    ] {
        let signed = lab.ssh_sign("alice", "git", &tag);
        let case = Case::new(what, &signed);
        // `ssh-keygen` knows nothing of what it signs.
        case.check(&keyring, wanted, (lab.ssh_oracle(&case, &tag.at), Accepts));
    }
    let mut unsigned = lab.ssh_sign("alice", "git", &Tag::new());
    unsigned.signature.clear();
    let case = Case::new("without signature", &unsigned);
    case.check(&keyring, "Unsigned", (lab.ssh_oracle(&case, "20260601"), Refuses));
    assert_eq!(case.under("event-1.0.0").verdict(&keyring).reason(), "TagNameMismatch");
}

#[test]
fn roles_go_by_principal_or_by_fingerprint_and_only_for_their_purpose() {
    let (lab, _) = with_key(&["ed25519"]);
    let good = lab.ssh_sign("alice", "git", &Tag::new());
    let listed =
        crate::lab::succeed(lab.tool("ssh-keygen").args(["-l", "-f"]).arg(lab.path("alice.pub")));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let fingerprint = listed.split(' ').nth(1).unwrap();
    for (roles, wanted) in [
        (String::new(), "RoleMissing"),
        ("[roles]\n\"alice@ctf.example\" = [\"commit\"]\n".to_owned(), "RoleMissing"),
        (format!("[roles]\n\"{fingerprint}\" = [\"commit\", \"release\"]\n"), "Good"),
    ] {
        let verdict = Case::new("roles", &good).verdict(&lab.keyring(&roles));
        assert_eq!(verdict.reason(), wanted, "{roles}: {verdict}");
        assert!(verdict.to_string().contains(fingerprint), "{verdict}");
    }
}

#[test]
fn a_second_line_of_the_same_key_may_admit_what_the_first_refuses() {
    let (lab, key) = with_key(&["ed25519"]);
    let lines =
        format!("old@ctf.example valid-before=\"20200101Z\" {key}\n\"alice@ctf.example\" {key}\n");
    lab.write("allowed_signers", lines);
    let good = lab.ssh_sign("alice", "git", &Tag::new());
    let case = Case::new("second line", &good);
    case.check(&lab.keyring(ROLES), "Good", (lab.ssh_oracle(&case, &Tag::new().at), Accepts));
}

#[test]
fn keys_and_hashes_that_can_be_forged_are_refused() {
    let lab = Lab::new();
    for (kind, what) in [
        (vec!["rsa", "-b", "1024"], "1024 bits"),
        (vec!["ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
        (vec!["dsa"], "ssh-dss"),
    ] {
        let key = lab.ssh_key(&format!("weak-{}", kind.len() + what.len()), &kind);
        lab.write("allowed_signers", format!("alice@ctf.example {key}\n"));
        let errors = lab.try_keyring("").unwrap_err().to_string();
        assert!(errors.contains("allowed_signers:1: ") && errors.contains(what), "{errors}");
    }
}
