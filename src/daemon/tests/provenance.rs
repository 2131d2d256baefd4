//! From what runs back to who released it, and what is told of a generation.

use serde_json::Value;

use super::*;
use crate::daemon::platform::{Explained, PlatformError};
use crate::git::testing::TagOn;
use crate::release::chain::LinkKind;

/// [`FULL_FILES`] with another page, which is another image.
fn second_version() -> Vec<(&'static str, &'static str)> {
    let mut files = FULL_FILES.to_vec();
    files.pop();
    files.push(("WEB/WEB-001/services/web/page", "hello again\n"));
    files
}

/// A rig whose tag `v1.0.0` is made, where tags like that go live.
fn tagged_rig() -> Rig {
    let mut rig = full_rig();
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    rig.tag("v1.0.0", TagOn::Tip);
    rig
}

fn ids(explained: &Explained, kind: LinkKind) -> Vec<String> {
    let links = explained.chain.iter().filter(|link| link.kind == kind);
    links.map(|link| link.id.clone()).collect()
}

async fn number(platform: &Platform) -> u32 {
    platform.active().await.unwrap().map_or(0, |(generation, _)| generation.number)
}

/// Pushes and tags the second version, and waits until players have it.
async fn release_second(rig: &Rig, platform: &Platform) {
    rig.push(&second_version());
    rig.tag("v1.1.0", TagOn::Tip);
    platform.reconcile_now().await.unwrap();
    until("the second tag to be live", async || (number(platform).await == 2).then_some(())).await;
}

#[tokio::test]
async fn an_instance_shows_the_chain_of_its_own_version_after_a_later_release() {
    let rig = tagged_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let scope = Scope::Instance(instance.id);
    let before = platform.explain(&scope).await.unwrap();
    release_second(&rig, &platform).await;

    let after = platform.explain(&scope).await.unwrap();
    assert_eq!(after.chain, before.chain, "what is released later changes nothing of it");
    assert_eq!(ids(&after, LinkKind::Generation), ["1"]);
    assert_eq!(ids(&after, LinkKind::Tag), ["v1.0.0"]);
    assert_eq!(ids(&after, LinkKind::Commit), [instance.revision.to_string()]);
    assert_eq!(ids(&after, LinkKind::Tree), [instance.tree.to_string()]);
    let images = platform.images_of_instance(&instance).await.unwrap();
    assert!(images.iter().all(|it| it.key.is_some() && it.image.is_some()), "{images:?}");
    assert_eq!(ids(&after, LinkKind::BuildKey).len(), images.len());

    let live = platform.explain(&Scope::Challenge(challenge_id("WEB-001"))).await.unwrap();
    assert_eq!(ids(&live, LinkKind::Tag), ["v1.1.0"]);
    assert_ne!(ids(&live, LinkKind::Tree), ids(&after, LinkKind::Tree));
    let (old, new) = (ids(&after, LinkKind::Image), ids(&live, LinkKind::Image));
    assert_ne!(old[0], new[0], "the page is another one");
    assert_eq!(old[1], new[1], "the base did not change");
    assert!(platform.plan().await.unwrap().iter().all(|it| it.chain.is_empty()));
    daemon.stop().await;
}

#[tokio::test]
async fn who_signed_is_told_where_a_trust_file_says_who_may() {
    for is_asked in [false, true] {
        let mut rig = tagged_rig();
        let folder = tempfile::tempdir().unwrap();
        if is_asked {
            let file = folder.path().join("trust.toml");
            std::fs::write(&file, "").unwrap();
            rig.config.release.trust = Some(file);
        }
        let (daemon, platform, _) = playing(&rig).await;
        let explained = platform.explain(&Scope::Challenge(challenge_id("WEB-001"))).await.unwrap();
        let tag = explained.chain.iter().find(|it| it.kind == LinkKind::Tag).unwrap();
        let told = if is_asked { "its signature does not count: " } else { "nobody checks" };
        assert!(tag.words.contains(told), "{}", tag.words);
        daemon.stop().await;
    }
}

#[tokio::test]
async fn the_branch_has_a_chain_without_a_tag() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let explained = platform.explain(&Scope::Instance(instance.id)).await.unwrap();
    assert_eq!(ids(&explained, LinkKind::Tag), [""; 0]);
    assert_eq!(ids(&explained, LinkKind::Generation), ["1"]);
    let node = platform.explain(&Scope::Node(crate::model::NodeId::local())).await.unwrap();
    assert_eq!(node.chain, []);
    daemon.stop().await;
}

#[tokio::test]
async fn the_provenance_of_a_generation_stays_the_same() {
    let rig = tagged_rig();
    let (daemon, platform, _) = playing(&rig).await;
    let text = platform.provenance(1).await.unwrap();
    release_second(&rig, &platform).await;
    assert_eq!(platform.provenance(1).await.unwrap(), text);
    assert_ne!(platform.provenance(2).await.unwrap(), text);
    drop(platform);
    daemon.stop().await;

    let told: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<_> =
        told["subject"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["WEB/WEB-001", "WEB/WEB-001/web"]);
    let parameters = &told["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!(parameters["tag"]["name"], "v1.0.0");

    let daemon = rig.start().await;
    let platform = daemon.platform();
    assert_eq!(platform.provenance(1).await.unwrap(), text, "also after a restart");
    let missing = platform.provenance(9).await.unwrap_err();
    assert!(matches!(missing, PlatformError::GenerationNotFound { number: 9 }), "{missing}");
    daemon.stop().await;
}
