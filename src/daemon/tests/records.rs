//! What is left of instances: their last words, taken before the containers go.

use super::*;
use crate::runtime::EngineError;
use crate::runtime::fake::Verb;
use crate::store::RecordRow;

async fn record(platform: &Platform, id: InstanceId) -> RecordRow {
    platform.archived(&id.to_string()).await.unwrap().expect("it has a record")
}

#[tokio::test]
async fn the_output_of_a_stopped_instance_is_kept_without_its_answers() {
    let rig = full_rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let web = container(&rig, instance.id, "web");
    let answer = String::from_utf8(rig.engine.files(&web)["/answers/flag"].clone()).unwrap();
    rig.engine.set_log(&web, &format!("started\nserving {answer}\n"));
    rig.engine.set_log(&container(&rig, instance.id, "db"), "ready\n");
    let id = instance.id.to_string();
    let live = record(&platform, instance.id).await;
    assert_eq!(live.instance.status(), InstanceStatus::Ready, "what is known so far");
    platform.stop(&red, &id, StopReason::User).await.unwrap();
    nothing_is_left(&rig, &daemon).await;
    let kept = record(&platform, instance.id).await;
    assert_eq!(kept.instance.stop_reason, Some(StopReason::User));
    let log = platform.archived_log(instance.id).await.unwrap();
    assert_eq!(log, "db | ready\nweb | started\nweb | serving FLAG{[answer]}\n");
    let (events, _) = platform.archived_events(&kept, (10, 0)).await.unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|it| serde_json::to_value(&it.happening).unwrap()["event"].clone())
        .collect();
    assert_eq!(names, ["instance_started", "instance_ready", "instance_stopped"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_failed_start_leaves_its_output_and_operators_still_read_it() {
    let rig = full_rig();
    rig.engine.exit_on_start("db", 7);
    let (daemon, platform, red) = playing(&rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let failed = in_phase(&daemon, started.id, InstancePhase::Failed).await;
    let kept = record(&platform, started.id).await;
    assert_eq!(kept.instance.error, failed.error);
    assert!(kept.error_detail.contains("exited with code 7"), "{}", kept.error_detail);
    assert_eq!(daemon.store().log_incarnation(started.id).await.unwrap(), Some(0));
    let operator = Caller::administrator("test");
    platform.logs(&operator, &started.id.to_string(), 10).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn an_engine_that_gives_no_output_delays_no_end() {
    let rig = rig();
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    let fault = EngineError::TimedOut { what: "logs".to_owned(), secs: 1 };
    rig.engine.fail_next(Verb::Logs, fault);
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
    record(&platform, instance.id).await;
    assert_eq!(platform.archived_log(instance.id).await.unwrap(), "");
    daemon.stop().await;
}

#[tokio::test]
async fn the_archive_is_pruned_by_the_loop_and_the_row_stays() {
    let mut rig = rig();
    rig.config.records.keep_days = 1;
    let (daemon, platform, red) = playing(&rig).await;
    let instance = ready_instance(&daemon, &red).await;
    platform.stop(&red, &instance.id.to_string(), StopReason::User).await.unwrap();
    in_phase(&daemon, instance.id, InstancePhase::Stopped).await;
    rig.clock.advance_millis(86_400_000 + 60_000);
    until("the record to be old enough", async || {
        platform.shared_for_test().disk_doubt.notify_one();
        platform.archived(&instance.id.to_string()).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(row(&daemon, instance.id).await.phase, InstancePhase::Stopped);
    daemon.stop().await;
}
