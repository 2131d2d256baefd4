//! Signatures that are asked for: how far a branch is followed, and what a revoked key means.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::git::testing::TagOn;
use crate::model::{Condition, ConditionStatus};

/// A person with an SSH key, who may sign tags and commits.
struct Signer {
    dir: tempfile::TempDir,
}

impl Signer {
    fn new() -> Self {
        let it = Self { dir: tempfile::tempdir().unwrap() };
        let key = it.path("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
        let public = std::fs::read_to_string(it.path("key.pub")).unwrap();
        let line = format!("alice@ctf.example namespaces=\"git\" {public}");
        std::fs::write(it.path("allowed_signers"), line).unwrap();
        std::fs::write(it.path("revoked_keys"), "").unwrap();
        let trust = "allowed_signers = \"allowed_signers\"\nrevoked_keys = \"revoked_keys\"\n\n[roles]\n\"alice@ctf.example\" = [\"release\", \"commit\"]\n";
        std::fs::write(it.path("trust.toml"), trust).unwrap();
        it
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, remote: &Path, arguments: &[&str]) -> String {
        let key = self.path("key.pub");
        run(Command::new("git")
            .arg("-C")
            .arg(remote)
            .args(["-c", "gpg.format=ssh", "-c", "user.name=Alice"])
            .args(["-c", "user.email=alice@ctf.example", "-c"])
            .arg(format!("user.signingkey={}", key.display()))
            .args(arguments))
    }

    /// Puts a signed commit with the content of the tip on top of `parent`, as the tip.
    fn sign_tip(&self, rig: &Rig, parent: Option<&str>) -> String {
        let remote = rig.remote();
        let parents: Vec<&str> = parent.iter().flat_map(|it| ["-p", *it]).collect();
        let words = [&["commit-tree", "-S", "-m", "signed"], &*parents, &["main^{tree}"]].concat();
        let commit = self.git(&remote, &words);
        self.git(&remote, &["update-ref", "refs/heads/main", &commit]);
        commit
    }

    fn tag(&self, rig: &Rig, name: &str) {
        self.git(&rig.remote(), &["tag", "-s", "-m", "release", name, "main"]);
    }

    /// Nobody believes the key any more.
    fn revoke(&self) {
        std::fs::copy(self.path("key.pub"), self.path("revoked_keys")).unwrap();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn version(text: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut files = ONE_FILES.to_vec();
    files.push(("WEB/WEB-001/attachments/note.txt", text));
    files
}

fn rig_for(signer: &Signer) -> Rig {
    let mut rig = Rig::new();
    rig.add_image("base:1");
    rig.config.release.trust = Some(signer.path("trust.toml"));
    rig.push(&version("one"));
    rig
}

async fn started(rig: &Rig) -> (Daemon, Platform) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    platform.reconcile_now().await.unwrap();
    (daemon, platform)
}

async fn verified(platform: &Platform, scope: &Scope) -> Condition {
    platform.reconcile_now().await.unwrap();
    condition(platform, scope, ConditionType::SourceVerified).await.unwrap()
}

async fn live_at(platform: &Platform, text: &str) {
    until(&format!("version {text} to be live"), async || {
        let bytes = platform.attachment(&challenge_id("WEB-001"), "note.txt").await.ok()?.bytes();
        (bytes == text.as_bytes()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_branch_is_followed_only_along_signed_commits() {
    let signer = Signer::new();
    let mut rig = rig_for(&signer);
    rig.config.release.require_signed_commits = true;
    let (daemon, platform) = started(&rig).await;
    let stated = verified(&platform, &Scope::Repo).await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "Unsigned"));
    assert!(stated.message.contains("nothing is followed yet"), "{}", stated.message);
    assert!(platform.live().is_empty());

    let first = signer.sign_tip(&rig, Some("main"));
    assert_eq!(verified(&platform, &Scope::Repo).await.reason, "SignatureValid");
    live_at(&platform, "one").await;

    rig.push(&version("two"));
    let unsigned = signer.git(&rig.remote(), &["rev-parse", "main"]);
    let stated = verified(&platform, &Scope::Repo).await;
    assert_eq!(stated.reason, "Unsigned");
    let words = format!("commit {}", &unsigned[..10]);
    assert!(stated.message.contains(&words), "{}", stated.message);
    assert!(stated.message.contains(&format!("{} stays", &first[..10])), "{}", stated.message);
    // A good commit on top vouches for nothing below it.
    signer.sign_tip(&rig, Some("main"));
    assert_eq!(verified(&platform, &Scope::Repo).await.reason, "Unsigned");
    live_at(&platform, "one").await;

    drop(platform);
    daemon.stop().await;
    let (daemon, platform) = started(&rig).await;
    live_at(&platform, "one").await;
    signer.sign_tip(&rig, Some(&first));
    assert_eq!(verified(&platform, &Scope::Repo).await.reason, "SignatureValid");
    live_at(&platform, "two").await;

    // Nobody takes back what was followed.
    signer.git(&rig.remote(), &["update-ref", "refs/heads/main", &first]);
    let stated = verified(&platform, &Scope::Repo).await;
    assert_eq!(stated.reason, "HistoryRewritten");
    assert!(stated.message.contains("git merge -s ours"), "{}", stated.message);
    live_at(&platform, "two").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_tag_on_a_commit_that_nobody_signed_waits() {
    let signer = Signer::new();
    let mut rig = rig_for(&signer);
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    rig.config.release.require_signed_commits = true;
    signer.sign_tip(&rig, None);
    rig.tag("v1.0.0", TagOn::Tip);
    let (daemon, platform) = started(&rig).await;
    live_at(&platform, "one").await;
    rig.push(&version("two"));
    rig.tag("v1.1.0", TagOn::Tip);
    platform.reconcile_now().await.unwrap();
    let held = condition(&platform, &Scope::Release, ConditionType::Held).await.unwrap();
    assert_eq!((held.status, held.reason.as_str()), (ConditionStatus::True, "Untrusted"));
    assert!(held.message.contains("signed history of the branch"), "{}", held.message);
    live_at(&platform, "one").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_told_of_what_is_live_and_releases_nothing_more() {
    let signer = Signer::new();
    let mut rig = rig_for(&signer);
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    rig.config.release.require_signed = true;
    signer.tag(&rig, "v1.0.0");
    let (daemon, platform) = started(&rig).await;
    live_at(&platform, "one").await;
    let stated = verified(&platform, &Scope::Release).await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::True, "SignatureValid"));

    signer.revoke();
    let stated = verified(&platform, &Scope::Release).await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "SignerRevoked"));
    assert!(stated.message.contains("Its release stays live"), "{}", stated.message);
    rig.push(&version("two"));
    signer.tag(&rig, "v1.1.0");
    platform.reconcile_now().await.unwrap();
    let held = condition(&platform, &Scope::Release, ConditionType::Held).await.unwrap();
    assert_eq!(held.reason, "Untrusted");
    live_at(&platform, "one").await;
    daemon.stop().await;
}
