//! What organizers tag, and what of it reaches players.

use std::collections::BTreeMap;

use super::*;
use crate::config::ReleaseConfig;
use crate::daemon::platform::{Deed, PlatformError, TagState};
use crate::git::testing::TagOn;
use crate::model::{ConditionStatus, PauseKind};
use crate::release::manifest::Cause;
use crate::secrets::KeyPair;
use crate::store::DecisionKind;

/// One challenge whose version is told by its attachment; more of it by `more`.
fn files(
    version: &'static str,
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut files = ONE_FILES.to_vec();
    files.push(("WEB/WEB-001/attachments/note.txt", version));
    files.extend_from_slice(more);
    files
}

const SECOND: &[(&str, &str)] =
    &[("WEB/WEB-002/metadata.yaml", METADATA), ("WEB/WEB-002/docker-compose.yml", COMPOSE)];

const BROKEN: &[(&str, &str)] = &[
    ("WEB/WEB-002/metadata.yaml", "name: Two\ndifficulty: impossible\n"),
    ("WEB/WEB-002/docker-compose.yml", COMPOSE),
];

/// A rig where tags like `v1.0.0` go live.
fn rig_with(change: impl FnOnce(&mut ReleaseConfig)) -> Rig {
    let mut rig = Rig::new();
    rig.add_image("base:1");
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    change(&mut rig.config.release);
    rig.push(&files("one", &[]));
    rig
}

async fn started(rig: &Rig) -> (Daemon, Platform) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    look(&platform).await;
    (daemon, platform)
}

/// A rig whose tag `v1.0.0` is live.
async fn with_first(change: impl FnOnce(&mut ReleaseConfig)) -> (Rig, Daemon, Platform) {
    let rig = rig_with(change);
    rig.tag("v1.0.0", TagOn::Tip);
    let (daemon, platform) = started(&rig).await;
    live_at(&platform, "one").await;
    (rig, daemon, platform)
}

async fn look(platform: &Platform) {
    platform.reconcile_now().await.unwrap();
}

/// What players download of `WEB-001`; nothing when it is not live.
async fn note(platform: &Platform) -> String {
    let bytes = platform.attachment(&challenge_id("WEB-001"), "note.txt").await;
    let bytes = bytes.map(|file| file.bytes()).unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}

async fn live_at(platform: &Platform, version: &str) {
    until(&format!("version {version} to be live"), async || {
        (note(platform).await == version).then_some(())
    })
    .await;
}

async fn tag_of(platform: &Platform, name: &str) -> TagState {
    let tags = platform.releases().await.unwrap().tags;
    tags.into_iter().find(|it| it.name.as_str() == name).expect("a release tag")
}

async fn held(platform: &Platform) -> (ConditionStatus, String, String) {
    let it = condition(platform, &Scope::Release, ConditionType::Held).await.unwrap();
    (it.status, it.reason, it.message)
}

async fn number(platform: &Platform) -> u32 {
    platform.releases().await.unwrap().active.map_or(0, |(generation, _)| generation.number)
}

fn deed(why: &str) -> Deed {
    Deed { who: "ada".to_owned(), why: why.to_owned() }
}

fn ids(platform: &Platform) -> Vec<String> {
    platform.live().keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_branch_is_only_checked_and_a_tag_goes_live_whole() {
    let rig = rig_with(|_| ());
    let (daemon, platform) = started(&rig).await;
    assert_eq!(ids(&platform), [""; 0], "no tag, nothing live");
    let states = platform.challenge_states().await.unwrap();
    assert!(states[0].is_valid);
    rig.tag("v1.0.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "one").await;
    rig.push(&files("two", SECOND));
    look(&platform).await;
    assert_eq!((ids(&platform).len(), note(&platform).await), (1, "one".to_owned()));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    assert_eq!(ids(&platform), ["WEB-001", "WEB-002"]);
    let (generation, manifest) = platform.releases().await.unwrap().active.unwrap();
    assert_eq!((generation.number, generation.cause), (2, Cause::Tag));
    assert_eq!(manifest.tag.unwrap().0.as_str(), "v1.1.0");
    assert_eq!(tag_of(&platform, "v1.0.0").await.standing, "superseded");
    assert_eq!(tag_of(&platform, "v1.1.0").await.standing, "live");
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_tag_is_blocked_with_everything_that_is_wrong_and_the_next_one_goes_on() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", BROKEN));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    let scope = Scope::Release;
    let stated = condition(&platform, &scope, ConditionType::Validated).await.unwrap();
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "Invalid"));
    assert!(stated.message.contains("WEB/WEB-002/metadata.yaml"), "{}", stated.message);
    assert_eq!(note(&platform).await, "one");
    let candidate = platform.releases().await.unwrap().candidate.unwrap();
    assert_eq!(candidate.faults.len(), 1);
    rig.push(&files("three", SECOND));
    rig.tag("v1.1.1", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "three").await;
    let stated = condition(&platform, &scope, ConditionType::Validated).await.unwrap();
    assert_eq!(stated.status, ConditionStatus::True);
    daemon.stop().await;
}

#[tokio::test]
async fn a_tag_whose_files_nobody_could_be_given_is_blocked() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    let secret = source::with_secret(&KeyPair::generate().unwrap());
    let mut sealed = files("two", &[]);
    sealed.extend(secret.iter().map(|(path, text)| (*path, text.as_str())));
    let sealed: Vec<_> = BTreeMap::from_iter(sealed).into_iter().collect();
    rig.push(&sealed);
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    let stated = condition(&platform, &Scope::Release, ConditionType::Validated).await.unwrap();
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "Invalid"));
    let words = "a file of WEB-001 cannot be handed out: `WEB/WEB-001/attachments/map.txt.age`";
    assert!(stated.message.contains(words), "{}", stated.message);
    assert_eq!(note(&platform).await, "one");
    daemon.stop().await;
}

#[tokio::test]
async fn with_a_partial_gate_the_rest_goes_live_and_what_is_broken_keeps_its_version() {
    let (rig, daemon, platform) = with_first(|release| {
        release.gate = crate::release::gate::GateMode::Partial;
    })
    .await;
    let mut broken = files("two", SECOND);
    broken[0].1 = "name: [\n";
    rig.push(&broken);
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live(&platform, "WEB-002").await;
    assert_eq!(note(&platform).await, "one");
    daemon.stop().await;
}

#[tokio::test]
async fn a_moved_tag_waits_for_a_person() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", &[]));
    rig.tag("v1.0.0", TagOn::Tip);
    look(&platform).await;
    let (status, reason, message) = held(&platform).await;
    assert_eq!((status, reason.as_str()), (ConditionStatus::True, "TagMoved"));
    assert!(message.contains("flagops releases accept-move v1.0.0"), "{message}");
    assert_eq!(note(&platform).await, "one");
    let state = tag_of(&platform, "v1.0.0").await;
    assert_eq!((state.standing, state.n_objects), ("held", 2));
    // Deleted and made anew is moved as well, and a decision about another object is none.
    let seen = state.object.unwrap();
    rig.delete_tag("v1.0.0");
    look(&platform).await;
    assert_eq!(note(&platform).await, "one");
    rig.push(&files("three", &[]));
    rig.tag("v1.0.0", TagOn::Tip);
    look(&platform).await;
    let late = platform
        .decide_tag("v1.0.0", Some(seen), DecisionKind::AcceptMove, deed("as I saw it"))
        .await;
    assert!(matches!(late, Err(PlatformError::BadRelease { .. })), "{late:?}");
    assert_eq!(note(&platform).await, "one");
    let now = tag_of(&platform, "v1.0.0").await.object;
    platform
        .decide_tag("v1.0.0", now, DecisionKind::AcceptMove, deed("the typo is mended"))
        .await
        .unwrap();
    live_at(&platform, "three").await;
    let audit = platform.audit(10).await.unwrap();
    assert!(audit.iter().any(|row| row.what == "accept_move" && row.who == "ada"), "{audit:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_honest_release_tag_is_held_and_says_why() {
    for (name, on, reason) in [
        ("v2.0.0", TagOn::Lightweight, "NotAnnotated"),
        ("v2.0.0", TagOn::Nested("v1.0.0"), "NotACommit"),
        ("v2.0.0", TagOn::Tree, "NotACommit"),
        ("v2.0.0", TagOn::SameAs("v1.0.0"), "TagNameMismatch"),
    ] {
        let (rig, daemon, platform) = with_first(|_| ()).await;
        rig.push(&files("two", &[]));
        rig.tag(name, on);
        look(&platform).await;
        let (status, found, message) = held(&platform).await;
        assert_eq!((status, found.as_str()), (ConditionStatus::True, reason), "{on:?}: {message}");
        assert_eq!(note(&platform).await, "one", "{on:?}");
        assert_eq!(number(&platform).await, 1);
        daemon.stop().await;
    }
}

#[tokio::test]
async fn two_tags_with_one_place_are_both_held_until_one_is_deleted() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", &[]));
    rig.tag("v2.0.0+a", TagOn::Tip);
    rig.tag("v2.0.0+b", TagOn::Tip);
    look(&platform).await;
    let (_, reason, message) = held(&platform).await;
    assert_eq!(reason, "AmbiguousTag", "{message}");
    assert_eq!(note(&platform).await, "one");
    rig.delete_tag("v2.0.0+b");
    look(&platform).await;
    live_at(&platform, "two").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_deleted_tag_stays_live_and_an_older_one_never_comes_back() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", &[]));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    rig.delete_tag("v1.1.0");
    rig.tag("v1.0.5", TagOn::Tip);
    look(&platform).await;
    look(&platform).await;
    assert_eq!(note(&platform).await, "two");
    let said = condition(&platform, &Scope::Release, ConditionType::SourceVerified).await.unwrap();
    assert_eq!((said.status, said.reason.as_str()), (ConditionStatus::False, "TagMissing"));
    assert_eq!(number(&platform).await, 2);
    drop(platform);
    daemon.stop().await;

    // Also for the next daemon, without the remote.
    rig.take_remote_away();
    let daemon = rig.start().await;
    live_at(&daemon.platform(), "two").await;
    assert_eq!(number(&daemon.platform()).await, 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_tag_waits_for_approval_for_its_time_and_for_the_end_of_a_freeze() {
    let (rig, daemon, platform) = with_first(|release| release.soak_secs = 0).await;
    let pause = crate::daemon::platform::PauseRequest {
        scope: Scope::Repo,
        kind: PauseKind::Freeze,
        who: "ada".to_owned(),
        why: "the event runs".to_owned(),
        secs: 3600,
    };
    platform.pause(pause).await.unwrap();
    rig.push(&files("two", &[]));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    let (status, reason, message) = held(&platform).await;
    assert_eq!((status, reason.as_str()), (ConditionStatus::True, "FreezeWindow"));
    assert!(message.contains("the event runs"), "{message}");
    assert_eq!(note(&platform).await, "one");
    assert!(platform.resume(PauseKind::Freeze, Scope::Repo).await.unwrap());
    live_at(&platform, "two").await;
    assert_eq!(held(&platform).await.0, ConditionStatus::False);
    drop(platform);
    daemon.stop().await;

    let mut rig = rig;
    rig.config.release.auto = false;
    rig.config.release.soak_secs = 600;
    rig.push(&files("three", &[]));
    rig.tag("v1.2.0", TagOn::Tip);
    let (daemon, platform) = started(&rig).await;
    assert_eq!(held(&platform).await.1, "Soaking");
    rig.clock.advance_millis(601_000);
    look(&platform).await;
    assert_eq!(held(&platform).await.1, "AwaitingApproval");
    assert_eq!(note(&platform).await, "two");
    platform.decide_tag("v1.2.0", None, DecisionKind::Approve, deed("tried it")).await.unwrap();
    live_at(&platform, "three").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_rollback_sticks_and_the_next_tag_goes_live() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", SECOND));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    let back = platform.rollback(None, None, deed("logins are broken")).await.unwrap();
    assert_eq!((back.number, back.cause), (3, Cause::Rollback));
    assert_eq!((ids(&platform).len(), note(&platform).await), (1, "one".to_owned()));
    for _ in 0..3 {
        look(&platform).await;
    }
    assert_eq!(note(&platform).await, "one");
    assert_eq!(tag_of(&platform, "v1.1.0").await.standing, "quarantined");
    let again = platform.rollback(None, None, deed("said twice")).await;
    assert!(matches!(again, Err(PlatformError::BadRelease { .. })), "{again:?}");
    assert_eq!(note(&platform).await, "one", "what was gone back from does not come back");
    drop(platform);
    daemon.stop().await;
    let (daemon, platform) = started(&rig).await;
    assert_eq!((number(&platform).await, note(&platform).await), (3, "one".to_owned()));
    rig.push(&files("three", &[]));
    rig.tag("v1.1.1", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "three").await;
    assert_eq!(number(&platform).await, 4);
    let audit = platform.audit(10).await.unwrap();
    assert!(audit.iter().any(|row| row.what == "rollback" && row.who == "ada"), "{audit:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn one_challenge_goes_back_alone_and_its_version_never_comes_again() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&files("two", SECOND));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    platform.rollback(None, Some("WEB-001"), deed("it leaks")).await.unwrap();
    assert_eq!(note(&platform).await, "one");
    assert_eq!(ids(&platform), ["WEB-001", "WEB-002"]);
    rig.push(&files("two", &[SECOND[0], SECOND[1], ("README.md", "again")]));
    rig.tag("v1.2.0", TagOn::Tip);
    look(&platform).await;
    let faults = platform.releases().await.unwrap().candidate.unwrap().faults;
    assert!(faults[0].contains("taken out of service"), "{faults:?}");
    assert_eq!(note(&platform).await, "one");
    daemon.stop().await;
}

#[tokio::test]
async fn without_tags_a_rollback_sticks_until_the_next_push() {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&files("one", &[]));
    let (daemon, platform) = started(&rig).await;
    live_at(&platform, "one").await;
    rig.push(&files("two", SECOND));
    look(&platform).await;
    live_at(&platform, "two").await;
    live(&platform, "WEB-002").await;
    let first = platform.generations(10).await.unwrap().last().unwrap().number;
    platform.rollback(Some(first), None, deed("too early")).await.unwrap();
    for _ in 0..3 {
        look(&platform).await;
    }
    assert_eq!((ids(&platform).len(), note(&platform).await), (1, "one".to_owned()));
    assert_eq!(held(&platform).await.1, "RolledBack");
    rig.push(&files("three", SECOND));
    look(&platform).await;
    live_at(&platform, "three").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_version_that_starts_for_nobody_goes_back_by_itself_once() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    let red = player(&platform, "red").await;
    let good = ready_instance(&daemon, &red).await;
    platform.stop(&red, &good.id.to_string(), StopReason::User).await.unwrap();
    rig.push(&files("two", SECOND));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    rig.engine.exit_on_start("web", 1);
    rig.clock.advance_millis(1_000);
    for team in ["blue", "green"] {
        let team = player(&platform, team).await;
        let started = platform.start(&team, start_request("WEB-001")).await.unwrap();
        until("the start to fail", async || {
            rig.clock.advance_millis(60_000);
            platform.wake_workers_for_test();
            (row(&daemon, started.id).await.phase == InstancePhase::Failed).then_some(())
        })
        .await;
    }
    platform.check_reverts_for_test().await;
    assert_eq!(note(&platform).await, "one");
    assert_eq!(ids(&platform), ["WEB-001", "WEB-002"], "alone");
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    let stated = condition(&platform, &scope, ConditionType::Healthy).await.unwrap();
    assert_eq!(stated.reason, "RevertedToLKG");
    let generation = number(&platform).await;
    platform.check_reverts_for_test().await;
    look(&platform).await;
    assert_eq!(number(&platform).await, generation, "no ping-pong");
    daemon.stop().await;
}

#[tokio::test]
async fn instances_keep_their_version_unless_the_challenge_or_an_organizer_says_otherwise() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    let red = player(&platform, "red").await;
    let old = ready_instance(&daemon, &red).await;
    let id = old.id.to_string();
    let drain = format!("{METADATA}instance: {{update: drain}}\n");
    let mut drained = files("two", &[]);
    drained[0].1 = Box::leak(drain.into_boxed_str());
    rig.push(&drained);
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    live_at(&platform, "two").await;
    assert_eq!(row(&daemon, old.id).await.phase, InstancePhase::Ready);
    let refused = platform.renew(&red, &id, None).await;
    assert!(matches!(refused, Err(PlatformError::Drained { .. })), "{refused:?}");
    assert_eq!(platform.force("WEB-001", deed("it leaks")).await.unwrap(), 1);
    let over = in_phase(&daemon, old.id, InstancePhase::Failed).await;
    assert!(over.error.unwrap().contains("it leaks"));
    // A version that says so ends those before it by itself.
    let next = ready_instance(&daemon, &red).await;
    let force = format!("{METADATA}instance: {{update: force}}\n");
    let mut forced = files("three", &[]);
    forced[0].1 = Box::leak(force.into_boxed_str());
    rig.push(&forced);
    rig.tag("v1.2.0", TagOn::Tip);
    look(&platform).await;
    in_phase(&daemon, next.id, InstancePhase::Failed).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_preview_and_a_diff_say_what_changes_and_for_whom() {
    let rig = rig_with(|release| release.auto = false);
    rig.tag("v1.0.0", TagOn::Tip);
    let (daemon, platform) = started(&rig).await;
    platform.decide_tag("v1.0.0", None, DecisionKind::Approve, deed("begin")).await.unwrap();
    live_at(&platform, "one").await;
    let red = player(&platform, "red").await;
    ready_instance(&daemon, &red).await;
    rig.push(&files("two", SECOND));
    rig.tag("v1.1.0", TagOn::Tip);
    look(&platform).await;
    let preview = platform.preview_tag("v1.1.0").await.unwrap();
    let told: Vec<_> = preview
        .changes
        .iter()
        .map(|it| {
            format!(
                "{} {} {:?} {}",
                it.change.kind,
                it.change.id,
                it.change.attachments,
                it.stale.len()
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    changed WEB-001 [("note.txt", Changed)] 1
    added WEB-002 [] 0
    "#);
    assert!(preview.held[0].contains("flagops releases approve v1.1.0"), "{:?}", preview.held);
    assert_eq!(note(&platform).await, "one", "looking changes nothing");
    platform.decide_tag("v1.1.0", None, DecisionKind::Approve, deed("fine")).await.unwrap();
    live_at(&platform, "two").await;
    assert_eq!(platform.diff(1, 2).await.unwrap().changes.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn after_a_lost_database_no_tag_goes_live_until_somebody_accepts_that() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    drop(platform);
    daemon.stop().await;
    rig.lose_database();
    rig.push(&files("two", &[]));
    rig.tag("v1.0.0", TagOn::Tip);
    let (daemon, platform) = started(&rig).await;
    assert_eq!(held(&platform).await.1, "Recovering", "nobody knows any more that it moved");
    assert_eq!(ids(&platform), [""; 0]);
    platform.accept_loss("ada").await;
    look(&platform).await;
    live_at(&platform, "two").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_tag_that_would_take_everything_away_does_not_go_live() {
    let (rig, daemon, platform) = with_first(|_| ()).await;
    rig.push(&[("README.md", "empty")]);
    rig.tag("v9.0.0", TagOn::Tip);
    look(&platform).await;
    let held = condition(&platform, &Scope::Release, ConditionType::PruneHeld).await.unwrap();
    assert_eq!((held.status, held.reason.as_str()), (ConditionStatus::True, "AllWouldBeRemoved"));
    assert_eq!(note(&platform).await, "one");
    daemon.stop().await;
}
