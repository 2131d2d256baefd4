//! Alarms and notices: written together, delivered in order, kept over a restart.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    Alarm, AlarmPhase, Condition, ConditionStatus, ConditionType, Notice, NoticeKind, Scope, Told,
};

fn notice(kind: ConditionType, title: &str) -> Notice {
    Notice {
        kind: NoticeKind::Failure,
        title: title.to_owned(),
        text: String::new(),
        scope: "repo".to_owned(),
        scopes: vec!["repo".to_owned()],
        r#type: kind,
        status: ConditionStatus::False,
        reason: "Timeout".to_owned(),
        message: String::new(),
        since: at(1),
        revision: None,
        count: 1,
        next_command: String::new(),
    }
}

fn alarm() -> Alarm {
    Alarm {
        phase: AlarmPhase::Failing,
        condition: Condition {
            scope: Scope::Repo,
            kind: ConditionType::SourceReachable,
            status: ConditionStatus::False,
            reason: "Timeout".to_owned(),
            message: "no answer".to_owned(),
            since: at(1),
            revision: Some(revision(1)),
        },
        failed: "Timeout".to_owned(),
        failing_since: at(1),
        n_told: 1,
        told: BTreeMap::from([("Timeout".to_owned(), Told { at: at(1), n: 1 })]),
    }
}

async fn due(store: &Store, secs: i64) -> Vec<String> {
    let rows = store.due_notices(at(secs), 9).await.unwrap();
    rows.into_iter().map(|row| row.notice.title).collect()
}

#[tokio::test]
async fn what_was_decided_survives_a_restart_and_leaves_when_it_is_over() {
    let fixture = Fixture::new();
    let notices = vec![notice(ConditionType::SourceReachable, "a")];
    let decision = Decision { alarms: vec![alarm()], notices, ..Decision::default() };
    fixture.store.decide(decision, at(1)).await.unwrap();
    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(store.alarms().await.unwrap(), [alarm()]);
    assert_eq!(due(&store, 1).await, ["a"]);
    let forgotten = vec![(Scope::Repo, ConditionType::SourceReachable)];
    store.decide(Decision { forgotten, ..Decision::default() }, at(2)).await.unwrap();
    assert_eq!(store.alarms().await.unwrap(), []);
}

#[tokio::test]
async fn of_each_type_the_oldest_goes_first_and_others_do_not_wait_for_it() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let (repo, engine) = (ConditionType::SourceReachable, ConditionType::DockerAvailable);
    let notices =
        [(repo, "1"), (repo, "2"), (engine, "3")].map(|(kind, title)| notice(kind, title));
    store
        .decide(Decision { notices: notices.to_vec(), ..Decision::default() }, at(1))
        .await
        .unwrap();
    assert_eq!(due(&store, 0).await, Vec::<String>::new());
    assert_eq!(due(&store, 1).await, ["1", "3"]);
    store.notice_failed(1, Some(at(9)), "HTTP 503".to_owned()).await.unwrap();
    assert_eq!(due(&store, 8).await, ["3"], "2 must not overtake 1");
    assert_eq!(store.due_notices(at(9), 1).await.unwrap()[0].n_attempts, 1);
    store.notice_delivered(1).await.unwrap();
    assert_eq!(due(&store, 9).await, ["2", "3"]);
}

#[tokio::test]
async fn what_was_given_up_is_counted_and_only_the_newest_are_kept() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let notices = vec![notice(ConditionType::Built, "x"); 105];
    store.decide(Decision { notices, ..Decision::default() }, at(1)).await.unwrap();
    for seq in 1..=103 {
        store.notice_failed(seq, None, format!("HTTP 404 ({seq})")).await.unwrap();
    }
    let counts = store.outbox_counts().await.unwrap();
    assert_eq!((counts.n_waiting, counts.n_dead), (2, 100));
    assert_eq!(counts.last_error.as_deref(), Some("HTTP 404 (103)"));
}
