//! What authors push, and what of it reaches players.

use super::*;
use crate::model::{ConditionStatus, Scope};
use crate::secrets::{Encoding, KeyPair, Recipients};
use crate::trust::SourceText;

const BROKEN: &str = "name: One\ndescription: Read it.\ndifficulty: impossible\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";

fn with_attachment(text: &str) -> Vec<(&str, &str)> {
    let mut files = ONE_FILES.to_vec();
    files.push(("WEB/WEB-001/attachments/note.txt", text));
    files
}

fn two() -> Vec<(&'static str, &'static str)> {
    let mut files = ONE_FILES.to_vec();
    files.extend([
        ("WEB/WEB-002/metadata.yaml", METADATA),
        ("WEB/WEB-002/docker-compose.yml", COMPOSE),
    ]);
    files
}

/// Pushes, and waits for the look at it.
async fn push(rig: &Rig, daemon: &Daemon, files: &[(&str, &str)]) {
    rig.push(files);
    daemon.platform().reconcile_now().await.unwrap();
}

async fn repo_condition(
    platform: &Platform,
    kind: ConditionType,
) -> Option<(ConditionStatus, String)> {
    let found = condition(platform, &Scope::Repo, kind).await?;
    Some((found.status, found.reason))
}

#[tokio::test]
async fn a_broken_version_keeps_the_old_one_live_and_names_file_and_line() {
    let rig = rig();
    let (daemon, platform, _) = playing(&rig).await;
    let before = platform.live()[&challenge_id("WEB-001")].revision;
    push(&rig, &daemon, &[ONE_FILES[1], (ONE_FILES[0].0, BROKEN)]).await;
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    let stated = condition(&platform, &scope, ConditionType::Validated).await.unwrap();
    assert_eq!(stated.status, ConditionStatus::False);
    assert!(stated.message.contains("WEB/WEB-001/metadata.yaml:3"), "{}", stated.message);
    assert_eq!(platform.live()[&challenge_id("WEB-001")].revision, before);
    push(&rig, &daemon, &with_attachment("fixed")).await;
    let stated = condition(&platform, &scope, ConditionType::Validated).await.unwrap();
    assert_eq!(stated.status, ConditionStatus::True);
    assert_ne!(platform.live()[&challenge_id("WEB-001")].revision, before);
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_head_does_not_take_the_live_version_away_at_a_restart() {
    let rig = rig();
    let (daemon, ..) = playing(&rig).await;
    push(&rig, &daemon, &[ONE_FILES[1], (ONE_FILES[0].0, BROKEN)]).await;
    daemon.stop().await;
    let (daemon, _, red) = playing(&rig).await;
    ready_instance(&daemon, &red).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_removed_challenge_goes_but_its_running_instance_stays() {
    let rig = rig();
    rig.push(&two());
    let (daemon, platform, red) = playing(&rig).await;
    live(&platform, "WEB-002").await;
    let instance = ready_instance(&daemon, &red).await;
    push(&rig, &daemon, &two()[2..]).await;
    let names: Vec<_> = platform.live().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["WEB-002"]);
    daemon.relist().await;
    assert_eq!(row(&daemon, instance.id).await, instance);
    assert_eq!(platform.challenge_of(&instance).await.unwrap().id, challenge_id("WEB-001"));
    assert!(platform.start(&red, start_request("WEB-001")).await.is_err());
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_empty_repository_takes_nothing_away_until_it_has_challenges_again() {
    let rig = rig();
    let (daemon, platform, _) = playing(&rig).await;
    push(&rig, &daemon, &[("README.md", "empty")]).await;
    assert!(platform.live().contains_key(&challenge_id("WEB-001")));
    assert_eq!(
        repo_condition(&platform, ConditionType::PruneHeld).await,
        Some((ConditionStatus::True, "AllWouldBeRemoved".to_owned()))
    );
    push(&rig, &daemon, &two()).await;
    live(&platform, "WEB-002").await;
    assert_eq!(
        repo_condition(&platform, ConditionType::PruneHeld).await,
        Some((ConditionStatus::False, "Ok".to_owned()))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_rewritten_history_is_followed_and_said_until_the_next_push() {
    let rig = rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    rig.force_push(&with_attachment("new past"));
    platform.reconcile_now().await.unwrap();
    assert_eq!(
        repo_condition(&platform, ConditionType::Held).await,
        Some((ConditionStatus::True, "HistoryRewritten".to_owned()))
    );
    assert_ne!(platform.live()[&challenge_id("WEB-001")].revision, instance.revision);
    // The old commit is in no branch any more, and is still readable.
    assert_eq!(platform.challenge_of(&instance).await.unwrap().tree, instance.tree);
    push(&rig, &daemon, &with_attachment("and on")).await;
    assert_eq!(
        repo_condition(&platform, ConditionType::Held).await,
        Some((ConditionStatus::False, "Ok".to_owned()))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn without_its_remote_a_restarted_daemon_has_everything_that_was_live() {
    let rig = rig();
    let (daemon, platform, _) = playing(&rig).await;
    let before = platform.live()[&challenge_id("WEB-001")].revision;
    drop(platform);
    daemon.stop().await;
    rig.take_remote_away();
    let (daemon, platform, red) = playing(&rig).await;
    until("the remote to be missed", async || {
        let (status, reason) = repo_condition(&platform, ConditionType::SourceReachable).await?;
        assert!(!reason.is_empty());
        (status == ConditionStatus::False).then_some(())
    })
    .await;
    assert_eq!(platform.live()[&challenge_id("WEB-001")].revision, before);
    assert!(platform.challenge_states().await.unwrap()[0].is_valid, "the newest version is known");
    ready_instance(&daemon, &red).await;
    rig.bring_remote_back();
    platform.reconcile_now().await.unwrap();
    let (status, _) = repo_condition(&platform, ConditionType::SourceReachable).await.unwrap();
    assert_eq!(status, ConditionStatus::True);
    daemon.stop().await;
}

#[tokio::test]
async fn many_challenges_pushed_at_once_are_all_live_and_all_stored() {
    let rig = Rig::new();
    let mut files = Vec::new();
    for nth in 0..30 {
        rig.add_image(&format!("base:{nth}"));
        files.push((format!("WEB/WEB-{nth:03}/metadata.yaml"), METADATA.to_owned()));
        files.push((
            format!("WEB/WEB-{nth:03}/docker-compose.yml"),
            COMPOSE.replace("base:1", &format!("base:{nth}")),
        ));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    rig.push(&files);
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("every image to be there", async || {
        let builds = daemon.store().all_builds().await.unwrap();
        let is_built = |build: &crate::model::Build| build.state == crate::model::BuildState::Built;
        (builds.len() == 30 && builds.iter().all(is_built)).then_some(())
    })
    .await;
    until("every challenge to be live", async || (platform.live().len() == 30).then_some(())).await;
    let stored: BTreeSet<_> =
        daemon.store().live().await.unwrap().into_iter().map(|row| row.challenge).collect();
    assert_eq!(stored, platform.live().keys().cloned().collect());
    daemon.stop().await;
}

#[tokio::test]
async fn two_who_let_versions_go_live_at_once_lose_none() {
    let rig = rig();
    rig.push(&two());
    let (daemon, platform, _) = playing(&rig).await;
    live(&platform, "WEB-002").await;
    for nth in 0..10 {
        let text = nth.to_string();
        let mut files = two();
        files.push(("WEB/WEB-002/attachments/n.txt", &text));
        files.push(("WEB/WEB-001/attachments/n.txt", &text));
        rig.push(&files);
        let (looked, (), ()) = tokio::join!(
            platform.reconcile_now(),
            crate::daemon::releases::advance(&daemon.shared),
            crate::daemon::builds::want(&daemon.shared),
        );
        let head = looked.unwrap().revision.unwrap();
        let live = platform.live();
        assert!(live.values().all(|live| live.revision == head), "{live:#?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_running_instance_keeps_the_attachments_of_its_own_revision() {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&with_attachment("old"));
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    push(&rig, &daemon, &with_attachment("new")).await;
    let id = challenge_id("WEB-001");
    until("the new version to be live", async || {
        (platform.live()[&id].revision != instance.revision).then_some(())
    })
    .await;
    assert_eq!(platform.attachment(&id, "note.txt").await.unwrap().bytes(), b"new");
    assert_eq!(platform.instance_attachment(&instance, "note.txt").await.unwrap().bytes(), b"old");
    assert!(platform.instance_attachment(&instance, "../metadata.yaml").await.is_err());
    daemon.stop().await;
}

/// A challenge with an attachment that only `pair` opens.
pub(super) fn with_secret(pair: &KeyPair) -> Vec<(&'static str, String)> {
    let name = "recipients".to_owned();
    let source = SourceText { name, bytes: pair.recipient().as_bytes().to_vec() };
    let recipients = Recipients::parse(&source).unwrap();
    let map = recipients.encrypt(b"X marks the spot", Encoding::Armored).unwrap();
    let mut files: Vec<_> =
        ONE_FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files.push(("WEB/WEB-001/attachments/map.txt.age", String::from_utf8(map).unwrap()));
    files
}

#[tokio::test]
async fn an_encrypted_attachment_goes_live_only_where_it_can_be_handed_out() {
    let pair = KeyPair::generate().unwrap();
    let files = with_secret(&pair);
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let mut rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&files);
    let id = challenge_id("WEB-001");

    let daemon = rig.start().await;
    let platform = daemon.platform();
    let scope = Scope::Challenge(id.clone());
    let stated = until("the reason why it stays back", async || {
        condition(&platform, &scope, ConditionType::Released).await
    })
    .await;
    assert_eq!((stated.status, stated.reason.as_str()), (ConditionStatus::False, "NotDecryptable"));
    insta::assert_snapshot!(stated.message, @"`WEB/WEB-001/attachments/map.txt.age` cannot be decrypted: this node has no age identity; name its file as `secrets.identity_file`, then restart");
    assert!(platform.live().is_empty());
    drop(platform);
    daemon.stop().await;

    let key = rig.config.data_dir.join("age.key");
    std::fs::write(&key, pair.file().as_bytes()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    rig.config.secrets.identity_file = Some(key.clone());
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("that to be stated", async || {
        let stated = condition(&platform, &scope, ConditionType::Released).await?;
        (stated.status == ConditionStatus::True).then_some(())
    })
    .await;
    assert_eq!(platform.attachment(&id, "map.txt").await.unwrap().bytes(), b"X marks the spot");
    assert!(platform.attachment(&id, "map.txt.age").await.is_err(), "nobody gets it encrypted");
    assert_eq!(platform.live()[&id].challenge.attachments[0].size_bytes, 16);
    drop(platform);
    daemon.stop().await;

    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let Err(error) = Daemon::start(rig.parts()).await else { panic!("others can read the key") };
    let error = crate::telemetry::chain::Chain(&error).to_string();
    assert!(error.contains("secrets.identity_file") && error.contains("chmod 600"), "{error}");
}
