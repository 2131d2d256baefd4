//! Tags and commits that git itself signs, as git itself judges them.

use std::process::Command;

use flagops::model::{Revision, Timestamp};
use flagops::trust::{
    Keyring, Link, Sighting, Subject, Verdict, verify_chain, verify_commit, verify_tag,
};

use crate::lab::{Lab, REPOSITORY, succeed};

const ROLES: &str = "[roles]\n\"alice@ctf.example\" = [\"release\", \"commit\"]\n";

/// A repository whose author signs with an SSH key.
fn repository() -> Lab {
    let lab = Lab::new();
    let key = lab.ssh_key("alice", &["ed25519"]);
    lab.write("allowed_signers", format!("alice@ctf.example {key}\n"));
    for args in [
        vec!["init", "-q", "-b", "main", "repo"],
        vec!["-C", "repo", "config", "user.name", "Alice"],
        vec!["-C", "repo", "config", "user.email", "alice@ctf.example"],
        vec!["-C", "repo", "config", "gpg.format", "ssh"],
        vec!["-C", "repo", "config", "user.signingKey", "../alice.pub"],
        vec!["-C", "repo", "config", "gpg.ssh.allowedSignersFile", "../allowed_signers"],
    ] {
        succeed(lab.tool("git").args(args));
    }
    commit(&lab, "first", "-S");
    lab
}

fn git(lab: &Lab, args: &[&str]) -> Command {
    let mut command = lab.tool("git");
    command.current_dir(lab.path("repo")).args(args);
    command
}

/// Commits with `sign`: `-S` or `--no-gpg-sign`.
fn commit(lab: &Lab, message: &str, sign: &str) -> Revision {
    succeed(&mut git(lab, &["commit", "-q", "--allow-empty", sign, "-m", message]));
    said(lab, &["rev-parse", "HEAD"]).parse().unwrap()
}

fn said(lab: &Lab, args: &[&str]) -> String {
    String::from_utf8(succeed(&mut git(lab, args)).stdout).unwrap().trim().to_owned()
}

fn object(lab: &Lab, kind: &str, name: &str) -> Vec<u8> {
    succeed(&mut git(lab, &["cat-file", kind, name])).stdout
}

fn accepts(lab: &Lab, args: &[&str]) -> bool {
    git(lab, args).output().expect("git runs").status.success()
}

fn sighting() -> Sighting<'static> {
    let output = Command::new("date").arg("+%s").output().expect("`date` runs");
    let secs: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let now = Timestamp::from_millis(secs * 1000);
    Sighting { repository: REPOSITORY, first_seen: now, now }
}

fn tag_verdict(lab: &Lab, keyring: &Keyring, name: &str) -> Verdict {
    let raw = object(lab, "tag", name);
    verify_tag(&raw, &format!("refs/tags/{name}"), keyring, &sighting())
}

#[test]
fn a_tag_that_git_signs_is_good_and_names_its_commit() {
    let lab = repository();
    let keyring = lab.keyring(ROLES);
    succeed(&mut git(&lab, &["tag", "-s", "-m", "The finals", "event-1.0.0"]));
    assert!(accepts(&lab, &["verify-tag", "event-1.0.0"]));
    let head = said(&lab, &["rev-parse", "HEAD"]);
    match tag_verdict(&lab, &keyring, "event-1.0.0") {
        Verdict::Good { signer, target, .. } => {
            assert_eq!((signer.name.as_str(), target.to_string()), ("alice@ctf.example", head));
        }
        verdict => panic!("{verdict}"),
    }
}

#[test]
fn what_git_makes_without_a_good_signature_is_refused_with_a_next_step() {
    let lab = repository();
    let keyring = lab.keyring(ROLES);
    lab.ssh_key("mallory", &["ed25519"]);
    for (name, args, wanted) in [
        ("plain", vec!["tag", "-a", "-m", "m", "plain"], "Unsigned"),
        ("first", vec!["tag", "-s", "-m", "m", "first"], "Good"),
        ("nested", vec!["tag", "-s", "-m", "m", "nested", "first"], "NestedTag"),
        ("tree", vec!["tag", "-s", "-m", "m", "tree", "HEAD^{tree}"], "NotACommit"),
        (
            "stranger",
            vec!["-c", "user.signingKey=../mallory.pub", "tag", "-s", "-m", "m", "stranger"],
            "UnknownSigner",
        ),
    ] {
        succeed(&mut git(&lab, &args));
        let verdict = tag_verdict(&lab, &keyring, name);
        assert_eq!(verdict.reason(), wanted, "{name}: {verdict}");
        let is_accepted = accepts(&lab, &["verify-tag", name]);
        assert!(!verdict.is_good() || is_accepted, "{name}");
        assert_eq!(is_accepted, !["plain", "stranger"].contains(&name), "{name}");
        assert!(verdict.next_step(Subject::Tag).ends_with('.'), "{name}");
    }
    // The same object under another name: git accepts it, we do not.
    let raw = object(&lab, "tag", "first");
    succeed(&mut git(&lab, &["update-ref", "refs/tags/event-9.0.0", "first"]));
    assert!(accepts(&lab, &["verify-tag", "event-9.0.0"]));
    let verdict = verify_tag(&raw, "refs/tags/event-9.0.0", &keyring, &sighting());
    assert_eq!(
        verdict.to_string(),
        "the signed name is `first`, but the ref is `refs/tags/event-9.0.0`"
    );
    // A lightweight tag shows the commit itself.
    let raw = object(&lab, "commit", "HEAD");
    let verdict = verify_tag(&raw, "refs/tags/light", &keyring, &sighting());
    assert_eq!(verdict, Verdict::Lightweight);
}

#[test]
fn a_chain_of_commits_is_good_up_to_the_first_that_nobody_signed() {
    let lab = repository();
    let keyring = lab.keyring(ROLES);
    let first: Revision = said(&lab, &["rev-parse", "HEAD"]).parse().unwrap();
    let second = commit(&lab, "second\n\ngpgsig is a word here", "-S");
    let unsigned = commit(&lab, "third", "--no-gpg-sign");
    let last = commit(&lab, "fourth", "-S");
    let all = [(second, first), (unsigned, second), (last, unsigned)].map(|(revision, parent)| {
        let name = revision.to_string();
        let verdict = verify_commit(&object(&lab, "commit", &name), &keyring, &sighting());
        assert_eq!(verdict.is_good(), accepts(&lab, &["verify-commit", &name]), "{verdict}");
        Link { revision, parents: vec![parent], verdict }
    });
    let chain = verify_chain(&all, Some(first));
    assert_eq!(chain.last_good, Some(second));
    assert_eq!(chain.broken, Some((unsigned, Verdict::Unsigned)));
    let chain = verify_chain(&all[..1], Some(first));
    assert_eq!((chain.last_good, chain.broken), (Some(second), None));
}

#[test]
fn a_commit_needs_the_role_of_commits_and_a_changed_one_is_refused() {
    let lab = repository();
    let raw = object(&lab, "commit", "HEAD");
    let release_only = lab.keyring("[roles]\n\"alice@ctf.example\" = [\"release\"]\n");
    assert_eq!(verify_commit(&raw, &release_only, &sighting()).reason(), "RoleMissing");
    let keyring = lab.keyring(ROLES);
    assert!(verify_commit(&raw, &keyring, &sighting()).is_good());
    let text = String::from_utf8(raw).unwrap();
    for (from, to) in [("first", "worst"), ("author Alice", "author Alicf"), ("tree ", "tree")] {
        let changed = text.replacen(from, to, 1);
        let verdict = verify_commit(changed.as_bytes(), &keyring, &sighting());
        assert!(["BadSignature", "Malformed"].contains(&verdict.reason()), "{to}: {verdict}");
    }
}
