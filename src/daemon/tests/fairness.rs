//! Evidence out of what teams really did.

use super::*;
use crate::contest::Answer;
use crate::daemon::platform::{PlatformError, ReviewVerdict};
use crate::model::Happening;

async fn flag_of(rig: &Rig, daemon: &Daemon, id: InstanceId) -> Answer {
    let row = ready(daemon, id).await;
    let containers = rig.engine.containers(Some(row.id)).await.unwrap();
    let files = rig.engine.files(&containers[0].id);
    Answer::One(String::from_utf8(files["/answers/flag"].clone()).unwrap())
}

fn organizer() -> Caller {
    Caller::administrator("an organizer")
}

#[tokio::test]
async fn a14_an_answer_of_another_team_is_wrong_and_organizers_see_both_teams() {
    let rig = rig();
    let (daemon, platform, red) = playing(&rig).await;
    let blue = player(&platform, "blue").await;
    let mut heard = platform.follow_activities();
    let own = platform.start(&red, start_request("WEB-001")).await.unwrap().id;
    let theirs = platform.start(&blue, start_request("WEB-001")).await.unwrap().id;
    ready(&daemon, own).await;
    let stolen = flag_of(&rig, &daemon, theirs).await;
    // Nobody's, and their own other instance's: no evidence.
    let other = platform.start(&red, start_request("WEB-001")).await.unwrap().id;
    let nobodys = Answer::One(format!("FLAG{{{}}}", "0".repeat(32)));
    for answer in [nobodys, flag_of(&rig, &daemon, other).await, stolen.clone()] {
        let graded = platform.submit(&red, &own.to_string(), "flag", answer).await.unwrap();
        assert!(!graded.submission.is_correct);
    }

    let told = async {
        loop {
            let row = heard.recv().await.unwrap();
            let told = &row.activity;
            if let Happening::FlagShared {
                from_team_id, owner_team_id, owner_instance_id, ..
            } = told.happening
            {
                assert_eq!(told.team, None, "no team reads of it");
                return (from_team_id, owner_team_id, owner_instance_id);
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    let (red_team, blue_team) = (red.team().unwrap(), blue.team().unwrap());
    assert_eq!(told, (red_team, blue_team, theirs));
    for caller in [&red, &blue] {
        let (rows, _) = platform.activities_of(caller, None, (100, 0)).await.unwrap();
        let is_it = |it: &Happening| matches!(it, Happening::FlagShared { .. });
        assert!(!rows.iter().any(|row| is_it(&row.activity.happening)), "{rows:#?}");
    }

    // Blue's own solve is implausibly fast, as nobody waited in this test.
    platform.submit(&blue, &theirs.to_string(), "flag", stolen).await.unwrap();
    let found = platform.suspicions().await.unwrap();
    let kinds: Vec<_> = found.iter().map(|it| it.evidence.signal.as_str()).collect();
    assert_eq!(kinds, ["too_fast", "foreign_answer"]);
    let shared = &found[1];
    assert_eq!(shared.evidence.team, red_team);
    assert_eq!(shared.other.as_ref().map(|row| row.id), Some(theirs));

    let id = shared.evidence.id();
    let verdict = Some(ReviewVerdict::Dismissed);
    let judged =
        platform.review(&organizer(), &id, verdict, "they share\n a laptop").await.unwrap();
    assert_eq!(judged.review.unwrap().note, "they share a laptop");
    let unknown = platform.review(&organizer(), "foreign_answer:none", verdict, "").await;
    assert!(matches!(unknown, Err(PlatformError::EvidenceNotFound { .. })), "{unknown:?}");
    drop(platform);
    daemon.stop().await;

    // It is worked out from the records: a restart, or the end of the instances, changes nothing.
    let daemon = rig.start().await;
    let again = daemon.platform().suspicions().await.unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(again[1].review.as_ref().map(|it| it.verdict), verdict);
    daemon.stop().await;
}
