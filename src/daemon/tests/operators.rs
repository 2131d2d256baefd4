//! What a person suspends or holds stays as it is, says so, and ends by itself.

use super::*;
use crate::daemon::platform::{Explained, PauseRequest, PlatformError};
use crate::model::{ConditionStatus, PauseKind};
use crate::runtime::fake::IsOom;

pub(super) async fn pause(platform: &Platform, kind: PauseKind, scope: Scope) {
    let wish = PauseRequest {
        scope,
        kind,
        who: "ada".to_owned(),
        why: "looking at it".to_owned(),
        secs: 3600,
    };
    platform.pause(wish).await.unwrap();
}

fn text(explained: &Explained) -> String {
    format!("{} | {}", explained.report.next.join("; "), explained.report.because.join("; "))
}

#[tokio::test]
async fn a_suspended_instance_is_not_repaired_until_it_is_resumed_or_its_time_is_over() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let scope = Scope::Instance(instance.id);
    assert!(platform.plan().await.unwrap().is_empty(), "converged plans nothing");

    for is_ended_by_hand in [true, false] {
        let before = row(&daemon, instance.id).await.n_restarts;
        pause(&platform, PauseKind::Suspend, scope.clone()).await;
        rig.engine.crash(&container(&rig, instance.id, "db"), 3, IsOom::No);
        daemon.relist().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(row(&daemon, instance.id).await.n_restarts, before, "nobody repairs it");
        let stated = condition(&platform, &scope, ConditionType::Suspended).await.unwrap();
        assert_eq!(stated.status, ConditionStatus::True);
        assert!(stated.message.contains("by ada until"), "{}", stated.message);
        let explained = platform.explain(&scope).await.unwrap();
        assert!(explained.report.is_held);
        let told = text(&explained);
        assert!(told.contains("`db`") && told.contains("suspended by ada"), "{told}");
        assert_eq!(platform.plan().await.unwrap().len(), 1, "it is in the plan, held");

        if is_ended_by_hand {
            assert!(platform.resume(PauseKind::Suspend, scope.clone()).await.unwrap());
        } else {
            // The lease is as long; only the pause is over.
            platform.renew(&red, &instance.id.to_string(), Some(86_400)).await.unwrap();
            rig.clock.advance_millis(3_601_000);
        }
        until("the repair", async || {
            let now = row(&daemon, instance.id).await;
            (now.n_restarts == before + 1 && now.phase == InstancePhase::Ready).then_some(())
        })
        .await;
        assert!(platform.pauses().is_empty());
    }
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_suspended_instance_can_still_be_stopped() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    pause(&platform, PauseKind::Suspend, Scope::Instance(instance.id)).await;
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    let scope = Scope::Instance(instance.id);
    assert!(platform.resume(PauseKind::Suspend, scope.clone()).await.unwrap());
    let stated = condition(&platform, &scope, ConditionType::Suspended).await;
    assert_eq!(stated, None, "nothing is stated about what is over");
    daemon.stop().await;
}

#[tokio::test]
async fn a_held_instance_outlives_its_lease_its_solve_and_its_team() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let id = instance.id.to_string();
    pause(&platform, PauseKind::Hold, Scope::Instance(instance.id)).await;
    let refused = platform.stop(&red, &id, StopReason::User).await.unwrap_err();
    assert!(matches!(refused, PlatformError::Held { .. }), "{refused}");
    let answer = rig.engine.files(&container(&rig, instance.id, "web"))["/answers/flag"].clone();
    let answer = Answer::One(String::from_utf8(answer).unwrap());
    assert!(platform.submit(&red, &id, "flag", answer).await.unwrap().is_fully_solved);
    let change = |row: &mut Instance| row.expires_at = row.created_at;
    daemon.store().change_instance(instance.id, change).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(row(&daemon, instance.id).await.phase, InstancePhase::Ready);
    assert!(platform.resume(PauseKind::Hold, Scope::Instance(instance.id)).await.unwrap());
    let ended = in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
    assert_eq!(ended.stop_reason, Some(StopReason::TtlExpired));
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_held_challenge_is_not_started_and_a_suspended_one_keeps_its_version() {
    let rig = rig();
    let (daemon, platform, red) = playing(&rig).await;
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    pause(&platform, PauseKind::Hold, scope.clone()).await;
    let refused = platform.start(&red, start_request("WEB-001")).await.unwrap_err();
    assert!(refused.to_string().contains("is held by ada until"), "{refused}");
    platform.resume(PauseKind::Hold, scope.clone()).await.unwrap();
    platform.start(&red, start_request("WEB-001")).await.unwrap();

    pause(&platform, PauseKind::Suspend, scope.clone()).await;
    drop(platform);
    daemon.stop().await;
    let daemon = rig.start().await;
    let platform = daemon.platform();
    assert_eq!(platform.pauses().len(), 1, "a pause survives a restart");
    let version = || platform.live()[&challenge_id("WEB-001")].challenge.tree;
    let before = version();
    rig.push(&[
        (ONE_FILES[0].0, ONE_FILES[0].1),
        ("WEB/WEB-001/docker-compose.yml", &COMPOSE.replace("0.5", "0.25")),
    ]);
    until("the push to be planned and held", async || {
        let plan = platform.plan().await.ok()?;
        plan.iter().any(|it| it.scope == scope && it.report.is_held).then_some(())
    })
    .await;
    assert_eq!(version(), before);
    platform.resume(PauseKind::Suspend, scope).await.unwrap();
    until("the new version to be live", async || (version() != before).then_some(())).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_pause_needs_an_object_a_reason_and_an_end() {
    let rig = rig();
    let (daemon, platform, _) = playing(&rig).await;
    let check = async |scope: &str, kind, why: &str, secs| {
        let wish = PauseRequest {
            scope: scope.parse().unwrap(),
            kind,
            who: "ada".to_owned(),
            why: why.to_owned(),
            secs,
        };
        platform.pause(wish).await.unwrap_err().to_string()
    };
    insta::assert_snapshot!(check("repo", PauseKind::Hold, "x", 60).await, @"the repository cannot be held; suspend it, or hold challenges");
    insta::assert_snapshot!(check("challenge/NO-1", PauseKind::Hold, "x", 60).await, @"Challenge NO-1 not found");
    insta::assert_snapshot!(check("repo", PauseKind::Suspend, " ", 60).await, @"`why` must be 1 to 200 characters on one line");
    insta::assert_snapshot!(check("repo", PauseKind::Suspend, "x", 0).await, @"`secs` must be 1 to 2592000 (30 days)");
    daemon.stop().await;
}

#[tokio::test]
async fn explanations_name_what_is_missing() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let challenge = Scope::Challenge(challenge_id("WEB-001"));
    assert!(
        text(&platform.explain(&challenge).await.unwrap())
            .contains("players get the newest version")
    );
    let node = Scope::Node(crate::model::NodeId::local());
    assert!(text(&platform.explain(&node).await.unwrap()).contains("everything is as wanted"));
    let instance = ready_instance(&daemon, &red).await;
    let scope = Scope::Instance(instance.id);
    let told = platform.explain(&scope).await.unwrap().report;
    assert!(told.seen.contains(&"service `web`: usable".to_owned()), "{told:?}");
    assert_eq!(told.because, ["everything is as wanted"]);
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    let told = platform.explain(&scope).await.unwrap().report;
    assert_eq!(
        (told.wanted.as_str(), told.because.as_slice()),
        ("nothing: it was stopped", ["it is over".to_owned()].as_slice())
    );
    daemon.stop().await;
}
