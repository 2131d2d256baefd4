//! What needs which image is never forgotten too early, and what was used last is known.

use super::*;
use crate::model::compose::{AnswerFiles, Limits, Restart};
use crate::model::{BuildKey, BuildState};
use crate::release::spec::{Profile, ServiceSpec};
use crate::store::images::{ImageFacts, VersionImages};

fn key(byte: u8) -> BuildKey {
    BuildKey::from_digest([byte; 32])
}

fn live(byte: u8) -> LiveRow {
    LiveRow {
        challenge: "WEB-001".parse().unwrap(),
        path: "WEB/WEB-001".to_owned(),
        revision: revision(byte),
        tree: tree(byte),
        since: at(i64::from(byte)),
    }
}

fn service(image: &str) -> ServiceSpec {
    ServiceSpec {
        name: "web".parse().unwrap(),
        image: image.to_owned(),
        command: None,
        entrypoint: None,
        environment: [].into(),
        answer_environment: Vec::new(),
        answers: AnswerFiles::All,
        ports: Vec::new(),
        depends_on: [].into(),
        healthcheck: None,
        networks: [].into(),
        volumes: Vec::new(),
        tmpfs: Vec::new(),
        limits: Limits::default(),
        user: None,
        working_dir: None,
        hostname: None,
        capabilities: Vec::new(),
        is_read_only: false,
        stop_signal: None,
        stop_grace_millis: 0,
        restart: Restart::No,
        profile: Profile::Default,
    }
}

/// Builds image `sha256:<byte>` of key `byte` at second `byte`.
async fn built(store: &Store, byte: u8) {
    let (challenge, service) = ("WEB-001".parse().unwrap(), "web".parse().unwrap());
    let now = at(i64::from(byte));
    store.want_build(key(byte), &challenge, &service, now).await.unwrap();
    let outcome = BuildOutcome::Built { image: format!("sha256:{byte}") };
    store.finish_build(key(byte), outcome, String::new(), now).await.unwrap();
}

/// Version `byte` consists of one image and goes live at second `byte`.
async fn goes_live(store: &Store, byte: u8) {
    built(store, byte).await;
    let version = VersionImages {
        challenge: "WEB-001".parse().unwrap(),
        tree: tree(byte),
        keys: [key(byte)].into(),
    };
    store.note_images(vec![version]).await.unwrap();
    set_live(store, vec![live(byte)], Vec::new()).await.unwrap();
}

async fn facts(store: &Store) -> ImageFacts {
    store.image_facts().await.unwrap()
}

/// The trees of versions, each with what determines its images.
fn shown(versions: &[VersionImages]) -> Vec<(TreeId, Vec<BuildKey>)> {
    versions.iter().map(|it| (it.tree, it.keys.iter().copied().collect())).collect()
}

#[tokio::test]
async fn the_two_versions_before_the_live_one_are_remembered_with_their_images() {
    let fixture = Fixture::new();
    for byte in 1..=4 {
        goes_live(&fixture.store, byte).await;
    }
    let fixture = fixture.reopened();
    let known = facts(&fixture.store).await;
    assert_eq!(shown(&known.live), [(tree(4), vec![key(4)])]);
    assert_eq!(shown(&known.previous), [(tree(2), vec![key(2)]), (tree(3), vec![key(3)])]);

    // Back to an older one: it is live, and no previous version of itself.
    goes_live(&fixture.store, 2).await;
    let known = facts(&fixture.store).await;
    assert_eq!(shown(&known.live), [(tree(2), vec![key(2)])]);
    assert_eq!(shown(&known.previous), [(tree(3), vec![key(3)]), (tree(4), vec![key(4)])]);

    // The same version in another commit is no change.
    let moved = LiveRow { revision: revision(9), ..live(2) };
    set_live(&fixture.store, vec![moved], Vec::new()).await.unwrap();
    assert_eq!(facts(&fixture.store).await.previous, known.previous);

    set_live(&fixture.store, Vec::new(), vec!["WEB-001".parse().unwrap()]).await.unwrap();
    let known = facts(&fixture.store).await;
    assert_eq!((known.live, known.previous), (vec![], vec![]));
    assert_eq!(known.builds.len(), 4, "what was built is known until it is removed");
}

#[tokio::test]
async fn the_last_use_is_when_a_version_came_or_went_or_was_started() {
    let Fixture { store, folder: _folder } = Fixture::new();
    goes_live(&store, 1).await;
    goes_live(&store, 5).await;
    let uses = facts(&store).await.uses;
    assert_eq!(uses, [("sha256:1".to_owned(), at(5)), ("sha256:5".to_owned(), at(5))].into());

    let mut new = new_instance(8);
    new.spec.services = vec![service("sha256:1")];
    store.insert_instance(new).await.unwrap();
    let known = facts(&store).await;
    assert_eq!(known.uses["sha256:1"], at(8));
    assert_eq!(known.instances, [("sha256:1".to_owned(), [instance_id(8)].into())].into());
    store.change_instance(instance_id(8), |it| it.phase = InstancePhase::Stopped).await.unwrap();
    let known = facts(&store).await;
    assert_eq!((known.instances, known.uses["sha256:1"]), ([].into(), at(8)));
}

#[tokio::test]
async fn a_forgotten_image_is_wanted_anew() {
    let Fixture { store, folder: _folder } = Fixture::new();
    built(&store, 1).await;
    store.forget_build(key(1), "sha256:other".to_owned()).await.unwrap();
    assert!(store.build(key(1)).await.unwrap().is_some(), "another image has that key now");
    store.forget_build(key(1), "sha256:1".to_owned()).await.unwrap();
    assert_eq!(store.build(key(1)).await.unwrap(), None);
    let (challenge, service) = ("WEB-001".parse().unwrap(), "web".parse().unwrap());
    let wanted = store.want_build(key(1), &challenge, &service, at(9)).await.unwrap();
    assert_eq!(wanted.state, BuildState::Unbuilt);
    // What is on its way is not forgotten.
    store.begin_build(key(1), at(9)).await.unwrap();
    store.forget_build(key(1), "sha256:1".to_owned()).await.unwrap();
    assert_eq!(facts(&store).await.builds[&key(1)].state, BuildState::Building);
}
