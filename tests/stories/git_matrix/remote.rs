//! A remote that fails, forgets, or rewrites: what is live stays live, also over a restart, and the
//! next good tag goes live by itself.

use std::fs;

use super::scene::{ORGANIZER, Scene};
use crate::source_faults::damage;
use crate::support::{Fault, Transport};

/// Goes through all of them.
pub(super) async fn walk(scene: &mut Scene) {
    down(scene).await;
    mid_pack(scene).await;
    login_refused(scene).await;
    impostor(scene).await;
    huge_blob(scene).await;
    mirror_damaged(scene).await;
    force_pushed(scene).await;
    history_rewritten(scene).await;
}

/// A tag goes live, and nothing is said to be wrong with the remote.
async fn recovers(scene: &mut Scene, row: &str) {
    let tag = scene.version();
    scene.sign(&tag, "HEAD", ORGANIZER);
    scene.show().await;
    scene.goes_live(&tag).await;
    scene.admin.stated("repo", "SourceReachable", "True", "Ok").await;
    Scene::told(row, &tag);
}

async fn fails(scene: &mut Scene, row: &str, fault: Fault, condition: &str, words: &str) {
    let live = scene.live().await;
    scene.served.fail(fault);
    scene.admin.reconcile().await;
    scene.says(row, &live, ("repo", condition, words)).await;
}

async fn down(scene: &mut Scene) {
    let condition = "SourceReachable=False (Unreachable)";
    fails(scene, "remote down", Fault::Down, condition, "could not reach").await;
    let live = scene.live().await;
    scene.daemon.kill9();
    scene.daemon.restart().await;
    scene.says("remote down, daemon killed", &live, ("repo", condition, "could not reach")).await;
    scene.served.mend();
    recovers(scene, "remote up again").await;
}

/// Branch and tag are there, and what they name comes half.
async fn mid_pack(scene: &mut Scene) {
    let live = scene.live().await;
    let tag = scene.version();
    let noise = format!("MISC/QUIZ-140/attachments/{tag}.bin");
    scene.stage.remote.write(&noise, noise_of(1 << 20));
    let commit = scene.stage.remote.commit("much to fetch");
    scene.sign(&tag, "HEAD", ORGANIZER);
    let object = scene.object(&tag);
    // The objects arrive before the names, as they do at a forge.
    scene.git(&["push", "--quiet", "origin", &format!("{object}:refs/staged/tag")]);
    scene.served.fail(Fault::MidPack);
    for (name, object) in [("refs/heads/main", &commit), (&*format!("refs/tags/{tag}"), &object)] {
        scene.stage.remote.git(&["update-ref", name, object]);
    }
    scene.admin.reconcile().await;
    let reason = match scene.transport() {
        Transport::Folder => "SourceReachable=False (FetchFailed)",
        Transport::Https | Transport::Ssh => "SourceReachable=False (Unreachable)",
    };
    scene.says("remote down mid-pack", &live, ("repo", reason, "tried again by itself")).await;
    scene.served.mend();
    scene.admin.reconcile().await;
    scene.goes_live(&tag).await;
    Scene::told("and the rest of the pack comes", &tag);
}

async fn login_refused(scene: &mut Scene) {
    let (condition, words) = match scene.transport() {
        Transport::Folder => {
            ("SourceReachable=False (PermissionDenied)", "needs a change of yours")
        }
        Transport::Https => ("SourceReachable=False (AuthFailed)", "not accepted"),
        Transport::Ssh => ("SourceReachable=False (AuthFailed)", "needs a change of yours"),
    };
    fails(scene, "login refused", Fault::Login, condition, words).await;
    scene.served.mend();
    recovers(scene, "login accepted again").await;
}

async fn impostor(scene: &mut Scene) {
    let (condition, words) = match scene.transport() {
        // A folder has no name that somebody could take.
        Transport::Folder => return,
        Transport::Https => ("SourceReachable=False (CertificateInvalid)", "certificate"),
        Transport::Ssh => ("SourceReachable=False (HostKeyMismatch)", "known_hosts:1"),
    };
    fails(scene, "somebody else answers", Fault::Impostor, condition, words).await;
    scene.served.mend();
    recovers(scene, "the right one answers again").await;
}

/// More than a challenge may have: named with its file, and taken out again by the next tag.
async fn huge_blob(scene: &mut Scene) {
    let live = scene.live().await;
    let tag = scene.version();
    let huge = "MISC/QUIZ-140/attachments/huge.bin";
    scene.stage.remote.write(huge, vec![0; (100 << 20) + 1]);
    scene.stage.remote.commit("a film");
    scene.sign(&tag, "HEAD", ORGANIZER);
    scene.show().await;
    let words = "MISC/QUIZ-140/attachments/huge.bin";
    scene.says("huge blob", &live, ("release", "Validated=False (Invalid)", words)).await;
    fs::remove_file(scene.stage.remote.file(huge)).expect("it was written");
    recovers(scene, "without the huge blob").await;
    scene.admin.stated("release", "Validated", "True", "Ok").await;
}

async fn mirror_damaged(scene: &mut Scene) {
    let live = scene.live().await;
    damage(&scene.daemon.data_dir().join("mirror"));
    scene.admin.reconcile().await;
    assert_eq!(scene.live().await, live, "a damaged mirror takes nothing away");
    recovers(scene, "mirror damaged").await;
}

/// The branch has another history; the release is not touched, and the next one is of the new.
async fn force_pushed(scene: &mut Scene) {
    let live = scene.live().await;
    rewrite(scene);
    scene.show().await;
    let words = &live.revision[..7];
    scene.says("force-push", &live, ("repo", "Held=True (HistoryRewritten)", words)).await;
    recovers(scene, "a tag of the new history").await;
}

/// And the remote collects what nobody names any more, the live commit too.
async fn history_rewritten(scene: &mut Scene) {
    let live = scene.live().await;
    rewrite(scene);
    scene.git(&["tag", "--delete", &live.tag]);
    scene.publish();
    let remote = &scene.stage.remote;
    for name in remote.git(&["for-each-ref", "--format=%(refname)", "refs/staged"]).lines() {
        remote.git(&["update-ref", "-d", name]);
    }
    remote.git(&["reflog", "expire", "--expire=now", "--all"]);
    remote.git(&["gc", "--quiet", "--prune=now"]);
    let kinds = remote.git(&["cat-file", "--batch-check", "--batch-all-objects"]);
    assert!(!kinds.contains(&live.revision), "the remote has forgotten {}", live.revision);
    scene.admin.reconcile().await;
    let words = &live.revision[..7];
    let stated = ("repo", "Held=True (HistoryRewritten)", words);
    scene.says("history rewritten and collected", &live, stated).await;
    scene.daemon.kill9();
    scene.daemon.restart().await;
    let stated = ("release", "SourceVerified=False (TagMissing)", "stays live");
    scene.says("and the daemon killed", &live, stated).await;
    recovers(scene, "a tag of the rewritten history").await;
}

/// Makes the organizer's branch one commit without parents.
fn rewrite(scene: &mut Scene) {
    scene.version();
    scene.git(&["update-ref", "-d", "HEAD"]);
    scene.stage.remote.commit("another history");
}

/// Bytes that do not compress.
fn noise_of(n_bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(n_bytes);
    while bytes.len() < n_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}
