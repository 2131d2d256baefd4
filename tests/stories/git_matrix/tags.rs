//! Tags that are not what they should be: each is held with its reason, and players keep what they
//! have.

use super::scene::{EXPIRED, LEAVER, Live, ORGANIZER, STRANGER, Scene};

/// One thing that is done to a tag. `tag` is above everything before, and `HEAD` a new version.
struct Row {
    name: &'static str,
    act: fn(&Scene, live: &Live, tag: &str),
    /// The condition of `release`.
    says: &'static str,
    words: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        name: "lightweight",
        act: |scene, _, tag| drop(scene.git(&["tag", tag])),
        says: "Held=True (NotAnnotated)",
        words: "git tag -a",
    },
    Row {
        name: "unsigned",
        act: |scene, _, tag| drop(scene.git(&["tag", "--annotate", "-m", "release", tag])),
        says: "Held=True (Untrusted)",
        words: "there is no signature",
    },
    Row {
        name: "signed by a stranger",
        act: |scene, _, tag| scene.sign(tag, "HEAD", STRANGER),
        says: "Held=True (Untrusted)",
        words: "not in the keyring",
    },
    Row {
        name: "signed with an expired key",
        act: |scene, _, tag| scene.sign(tag, "HEAD", EXPIRED),
        says: "Held=True (Untrusted)",
        words: "was valid until 2026-01-01",
    },
    Row {
        name: "nested",
        act: |scene, _, tag| {
            scene.sign("inner", "HEAD", ORGANIZER);
            scene.sign(tag, "inner", ORGANIZER);
        },
        says: "Held=True (NotACommit)",
        words: "names a tag instead of a commit",
    },
    Row {
        name: "a tag of a tree",
        act: |scene, _, tag| scene.sign(tag, "HEAD^{tree}", ORGANIZER),
        says: "Held=True (NotACommit)",
        words: "names a tree instead of a commit",
    },
    Row {
        name: "a tag of a file",
        act: |scene, _, tag| scene.sign(tag, "HEAD:MISC/QUIZ-140/metadata.yaml", ORGANIZER),
        says: "Held=True (NotACommit)",
        words: "names a blob instead of a commit",
    },
    Row {
        name: "replayed under another name",
        act: |scene, live, tag| {
            drop(scene.git(&["update-ref", &format!("refs/tags/{tag}"), &scene.object(&live.tag)]));
        },
        says: "Held=True (TagNameMismatch)",
        words: "an old tag was put under a new name",
    },
    Row {
        name: "two equal order keys",
        act: |scene, _, tag| {
            scene.sign(&format!("{tag}+a"), "HEAD", ORGANIZER);
            scene.sign(&format!("{tag}+b"), "HEAD~1", ORGANIZER);
        },
        says: "Held=True (AmbiguousTag)",
        words: "have the same place in the order",
    },
    Row {
        name: "future date",
        act: |scene, _, tag| {
            // An hour ahead, by the clock of whoever signs.
            let now: u64 = scene.git(&["log", "-1", "--format=%ct"]).parse().expect("a number");
            scene.sign_at(tag, "HEAD", &format!("@{} +0000", now + 3600));
        },
        says: "Held=True (FutureDate)",
        words: "in the future",
    },
    Row {
        name: "not an ancestor",
        act: |scene, _, tag| {
            let tree = scene.git(&["rev-parse", "HEAD^{tree}"]);
            let side = scene.git(&["commit-tree", "-p", "HEAD~1", "-m", "beside", &tree]);
            scene.git(&["update-ref", "refs/heads/beside", &side]);
            scene.sign(tag, &side, ORGANIZER);
        },
        says: "Held=True (NotAncestor)",
        words: "merge its commit, then tag",
    },
    Row {
        name: "the live tag moved",
        act: |scene, live, _| scene.sign(&live.tag, "HEAD", ORGANIZER),
        says: "Held=True (TagMoved)",
        words: "flagops releases accept-move v",
    },
];

/// Goes through all of them.
pub(super) async fn walk(scene: &mut Scene) {
    for row in ROWS {
        let live = scene.live().await;
        let object = scene.object(&live.tag);
        let tag = scene.version();
        (row.act)(scene, &live, &tag);
        scene.show().await;
        scene.says(row.name, &live, ("release", row.says, row.words)).await;
        scene.tidy(&live, &object).await;
    }
    deleted_and_made_anew(scene).await;
    named_like_a_branch(scene).await;
    in_the_way_of_a_folder(scene).await;
    revoked(scene).await;
}

/// What was deleted stays live, what is made anew under its name is held until a person accepts it.
async fn deleted_and_made_anew(scene: &mut Scene) {
    let live = scene.live().await;
    scene.git(&["tag", "--delete", &live.tag]);
    let older = "v0.9.0";
    scene.sign(older, "HEAD", ORGANIZER);
    scene.show().await;
    let stated = ("release", "SourceVerified=False (TagMissing)", "stays live");
    scene.says("the live tag deleted", &live, stated).await;
    scene.version();
    scene.sign(&live.tag, "HEAD", ORGANIZER);
    scene.show().await;
    let stated = ("release", "Held=True (TagMoved)", "accept-move");
    scene.says("deleted and made anew", &live, stated).await;
    let object = scene.object(&live.tag);
    scene.daemon.cli(&["releases", "accept-move", &live.tag, &object, "--why", "a typo"]).fine();
    scene.goes_live(&live.tag).await;
    Scene::told("and the move accepted", &live.tag);
}

/// A tag and a branch of one name are two things.
async fn named_like_a_branch(scene: &mut Scene) {
    let tag = scene.version();
    scene.sign(&tag, "HEAD", ORGANIZER);
    let old = scene.git(&["rev-parse", "HEAD~1"]);
    scene.git(&["update-ref", &format!("refs/heads/{tag}"), &old]);
    scene.show().await;
    scene.goes_live(&tag).await;
    // The branch moves, and nobody takes it for the tag.
    let live = scene.live().await;
    let new = scene.git(&["rev-parse", "HEAD"]);
    scene.git(&["update-ref", &format!("refs/heads/{tag}"), &new]);
    scene.version();
    scene.show().await;
    scene.says("a branch of the tag's name moved", &live, ("release", "Held=False (Ok)", "")).await;
    scene.git(&["update-ref", "-d", &format!("refs/heads/{tag}")]);
    Scene::told("named like a branch", &tag);
}

/// `v7.0.0` goes, and `v7.0.0/v8.0.0` comes: one is a file where the other is a folder. So with
/// branches.
async fn in_the_way_of_a_folder(scene: &mut Scene) {
    let first = scene.version();
    scene.sign(&first, "HEAD", ORGANIZER);
    scene.git(&["update-ref", "refs/heads/beside", "HEAD"]);
    scene.show().await;
    scene.goes_live(&first).await;
    scene.git(&["tag", "--delete", &first]);
    scene.git(&["update-ref", "-d", "refs/heads/beside"]);
    // Git itself does not take both in one push.
    scene.publish();
    let second = format!("{first}/{}", scene.version());
    scene.sign(&second, "HEAD", ORGANIZER);
    scene.git(&["update-ref", "refs/heads/beside/it", "HEAD"]);
    scene.show().await;
    scene.goes_live(&second).await;
    scene.git(&["update-ref", "-d", "refs/heads/beside/it"]);
    Scene::told("directory/file conflict", &second);
    // And back.
    scene.git(&["tag", "--delete", &second]);
    scene.publish();
    let third = scene.version();
    scene.sign(&third, "HEAD", ORGANIZER);
    scene.show().await;
    scene.goes_live(&third).await;
    Scene::told("file/directory conflict", &third);
}

/// A key that is taken out signs nothing from then on, and what it signed is called into question.
async fn revoked(scene: &mut Scene) {
    let tag = scene.version();
    scene.sign(&tag, "HEAD", LEAVER);
    scene.show().await;
    scene.goes_live(&tag).await;
    scene.admin.stated("release", "SourceVerified", "True", "SignatureValid").await;
    let live = scene.live().await;
    scene.revoke(LEAVER);
    scene.admin.reconcile().await;
    let stated = ("release", "SourceVerified=False (SignerRevoked)", "is revoked");
    scene.says("the key of what is live revoked", &live, stated).await;
    let next = scene.version();
    scene.sign(&next, "HEAD", LEAVER);
    scene.show().await;
    let stated = ("release", "Held=True (Untrusted)", "is revoked");
    scene.says("signed with a revoked key", &live, stated).await;
    let next = scene.version();
    scene.sign(&next, "HEAD", ORGANIZER);
    scene.show().await;
    scene.goes_live(&next).await;
    scene.admin.stated("release", "SourceVerified", "True", "SignatureValid").await;
    Scene::told("signed with another key", &next);
}
