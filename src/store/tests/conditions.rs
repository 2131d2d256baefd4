//! Since when something holds, and the events that tell of changes.

use super::*;
use crate::model::{ConditionStatus, ConditionType, Scope};
use crate::store::conditions::MAX_EVENTS;

fn condition(scope: &Scope, status: ConditionStatus, reason: &str) -> NewCondition {
    NewCondition {
        scope: scope.clone(),
        kind: ConditionType::SourceReachable,
        status,
        reason: reason.to_owned(),
        message: format!("the remote: {reason}"),
        revision: Some(revision(1)),
    }
}

#[tokio::test]
async fn since_moves_with_the_status_only() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let mut seen = Vec::new();
    for (secs, status, reason) in [
        (1, ConditionStatus::True, "Ok"),
        (2, ConditionStatus::True, "Ok"),
        (3, ConditionStatus::False, "AuthFailed"),
        (4, ConditionStatus::False, "Timeout"),
        (5, ConditionStatus::Unknown, "Timeout"),
        (6, ConditionStatus::True, "Ok"),
    ] {
        let changed =
            store.set_condition(condition(&Scope::Repo, status, reason), at(secs)).await.unwrap();
        let now = store.conditions().await.unwrap();
        assert_eq!(now.len(), 1);
        seen.push((changed, now[0].since.as_millis() / 1000, now[0].reason.clone()));
    }
    let expected = [
        (true, 1, "Ok"),
        (false, 1, "Ok"),
        (true, 3, "AuthFailed"),
        (true, 3, "Timeout"),
        (true, 5, "Timeout"),
        (true, 6, "Ok"),
    ];
    assert_eq!(seen, expected.map(|(changed, secs, reason)| (changed, secs, reason.to_owned())));

    let Fixture { store, folder: _folder } = fixture.reopened();
    let events = store.events(0, 100).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.condition.since.as_millis() / 1000, event.condition.reason.as_str()))
        .collect();
    assert_eq!(told, [(1, "Ok"), (3, "AuthFailed"), (4, "Timeout"), (5, "Timeout"), (6, "Ok")]);
    assert_eq!(store.events(events[1].seq, 1).await.unwrap(), events[2..3]);
}

#[tokio::test]
async fn what_is_stated_about_one_object_is_forgotten_alone() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let challenge = Scope::Challenge("WEB-001".parse().unwrap());
    for scope in [&Scope::Repo, &challenge] {
        store.set_condition(condition(scope, ConditionStatus::True, "Ok"), at(1)).await.unwrap();
    }
    let scopes: Vec<_> = store.conditions().await.unwrap().into_iter().map(|c| c.scope).collect();
    assert_eq!(scopes, [challenge.clone(), Scope::Repo]);
    store.clear_conditions(&challenge).await.unwrap();
    let scopes: Vec<_> = store.conditions().await.unwrap().into_iter().map(|c| c.scope).collect();
    assert_eq!(scopes, [Scope::Repo]);
    assert_eq!(store.events(0, 9).await.unwrap().len(), 2, "its events stay");
}

#[tokio::test]
async fn old_events_leave_and_numbers_are_not_used_again() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.set_condition(condition(&Scope::Repo, ConditionStatus::True, "Ok"), at(1)).await.unwrap();
    store
        .write::<_, StoreError>(|db| {
            Ok(db.execute(
                "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'events'",
                [MAX_EVENTS],
            )?)
        })
        .await
        .unwrap();
    store.set_condition(condition(&Scope::Repo, ConditionStatus::False, "X"), at(2)).await.unwrap();
    let events = store.events(0, 9).await.unwrap();
    let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [MAX_EVENTS + 1]);
}

#[tokio::test]
async fn another_message_alone_is_no_event_and_rings_no_bell() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let stated = condition(&Scope::Repo, ConditionStatus::True, "Ok");
    let mut bell = store.bell();
    assert!(store.set_condition(stated.clone(), at(1)).await.unwrap());
    assert!(bell.has_changed().unwrap());
    bell.mark_unchanged();
    let reworded = NewCondition { message: "reworded".to_owned(), ..stated };
    assert!(!store.set_condition(reworded, at(2)).await.unwrap());
    assert!(!bell.has_changed().unwrap());
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);
    assert_eq!(store.conditions().await.unwrap()[0].message, "reworded");
}

#[tokio::test]
async fn a_page_of_events_says_where_to_go_on() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let web = Scope::Challenge("WEB-001".parse().unwrap());
    for (secs, scope) in [(1, &Scope::Repo), (2, &web), (3, &Scope::Repo), (4, &Scope::Repo)] {
        let reason = format!("R{secs}");
        let stated = condition(scope, ConditionStatus::False, &reason);
        store.set_condition(stated, at(secs)).await.unwrap();
    }
    let page = async |after, limit, scope: Option<&Scope>| {
        let filter = EventFilter { after, limit, scope: scope.cloned(), kind: None };
        let page = store.event_page(filter).await.unwrap();
        (page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(None, 2, None).await, (vec![3, 4], 4), "the newest");
    assert_eq!(page(Some(0), 2, None).await, (vec![1, 2], 2), "cut: go on after the last");
    assert_eq!(page(Some(0), 9, Some(&web)).await, (vec![2], 4), "whole: go on after the newest");
    assert_eq!(page(Some(9), 9, None).await, (vec![], 9));
    assert_eq!(store.newest_event().await.unwrap(), 4);
}
