//! The loops against an engine in memory: killed, hung, restarted and lied to.

use std::time::Duration;

use super::platform::{Answer, StartRequest};
use super::testing::Rig;
use crate::model::{Caller, InstanceStatus, StopReason};

const METADATA: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";
const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

fn start_request(challenge: &str) -> StartRequest {
    StartRequest { challenge: challenge.to_owned(), competition: String::new(), ttl_secs: None }
}

/// Waits until `look` gives something; panics with what was waited for after ten seconds.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn player(platform: &super::Platform, team: &str) -> Caller {
    let (_, token) = platform.create_team_token(team).await.unwrap();
    platform.authenticate(&token).await.unwrap()
}

/// A rig with one challenge whose image is on the machine.
fn rig() -> Rig {
    let rig = Rig::new();
    rig.engine.add_image(
        "base:1",
        crate::runtime::ImageSeen {
            id: "sha256:base".to_owned(),
            build_key: None,
            size_bytes: 1,
            health: None,
            volumes: Vec::new(),
        },
    );
    rig.push(&[
        ("WEB/WEB-001/metadata.yaml", METADATA),
        ("WEB/WEB-001/docker-compose.yml", COMPOSE),
    ]);
    rig
}

#[tokio::test]
async fn a_pushed_challenge_can_be_started_and_stopped() {
    let rig = rig();
    let daemon = rig.start().await;
    let platform = daemon.platform();
    until("the challenge to be live", async || {
        platform.live().contains_key(&"WEB-001".parse().unwrap()).then_some(())
    })
    .await;
    let red = player(&platform, "red").await;
    let instance = platform.start(&red, start_request("WEB-001")).await.unwrap();
    let id = instance.id.to_string();
    until("the instance to be ready", async || {
        let now = platform.instance(&red, &id).await.unwrap();
        assert_eq!(now.error, None);
        (now.status() == InstanceStatus::Ready).then_some(())
    })
    .await;
    let wrong = Answer::One("FLAG{no}".to_owned());
    assert!(!platform.submit(&red, &id, "flag", wrong).await.unwrap().submission.is_correct);
    platform.stop(&red, &id, StopReason::User).await.unwrap();
    until("nothing of it to be left", async || {
        let names = rig.engine.object_names();
        names.iter().all(|name| !name.contains(&id)).then_some(())
    })
    .await;
    daemon.stop().await;
}
