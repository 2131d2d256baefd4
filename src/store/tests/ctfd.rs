//! Integrations with CTFd: who stands for whom when calls race, and the outbox of solves.

use super::*;
use crate::contest::{Decision, Progress};
use crate::model::{
    CtfdOwner, Integration, IntegrationId, IntegrationMode, OwnerKind, Submission, SubmissionId,
    Team,
};

fn integration(n: u128, name: &str) -> Integration {
    Integration {
        id: IntegrationId::new(Uuid::from_u128(n)),
        name: name.to_owned(),
        competition: "default".parse().unwrap(),
        mode: IntegrationMode::Team,
        webhook: Some("http://127.0.0.1:9/solve".parse().unwrap()),
        epoch: 0,
        created_by: "admin".to_owned(),
        created_at: at(1),
        last_used_at: None,
        revoked_at: None,
    }
}

fn owner(number: u32) -> CtfdOwner {
    CtfdOwner { kind: OwnerKind::Team, number }
}

fn new_team(n: u128, name: &str) -> Team {
    Team {
        id: team(n),
        competition: "default".parse().unwrap(),
        name: name.to_owned(),
        description: String::new(),
        captain: None,
        created_at: at(2),
    }
}

async fn solve(store: &Store, n: u128, of: TeamId) {
    let submission = Submission {
        id: SubmissionId::new(Uuid::from_u128(n)),
        team: of,
        user: None,
        challenge: "WEB-001".parse().unwrap(),
        instance: Some(instance_id(n)),
        question: "flag".parse().unwrap(),
        claimed: "FLAG{secret}".to_owned(),
        is_correct: true,
        submitted_at: at(10),
        solve_time_secs: 1.0,
        revision: revision(7),
    };
    let decide = move |_: &Progress| Decision::<()>::Record(submission);
    store.submit(of, &"WEB-001".parse().unwrap(), decide).await.unwrap();
}

#[tokio::test]
async fn fifty_at_once_make_one_team_and_a_taken_name_stays_its_owner_s() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let (finals, other) = (integration(1, "finals"), integration(2, "other"));
    store.create_integration(finals.clone(), [1; 32]).await.unwrap();
    store.create_integration(other.clone(), [2; 32]).await.unwrap();
    let taken = store.create_integration(integration(3, "FINALS"), [3; 32]).await;
    assert!(matches!(taken, Err(IntegrationError::NameTaken)), "{taken:?}");
    let token = NewTeamToken {
        competition: "default".parse().unwrap(),
        name: "Finals team 17".to_owned(),
        team_if_new: team(99),
        token_id: "t".to_owned(),
        hash: [9; 32],
        now: at(1),
    };
    store.create_team_token(token).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for n in 100..150 {
        let (store, id) = (store.clone(), finals.id);
        asking.spawn(async move {
            store.ensure_ctfd_team(id, owner(17), new_team(n, "finals team 17")).await.unwrap()
        });
    }
    let all = asking.join_all().await;
    assert!(all.iter().all(|team| *team == all[0]) && all[0] != team(99));
    let row = store.team(all[0]).await.unwrap().unwrap();
    assert_eq!(row.name, "finals team 17 (2)");
    // The same number of another CTFd is somebody else.
    let wish = new_team(200, "other team 17");
    let others = store.ensure_ctfd_team(other.id, owner(17), wish).await.unwrap();
    assert_ne!(others, all[0]);
    assert_eq!(store.ctfd_owners(finals.id).await.unwrap(), [(owner(17), all[0])]);

    store.purge_ctfd_owner(finals.id, owner(17), at(3)).await.unwrap();
    assert_eq!(store.ctfd_team(finals.id, owner(17)).await.unwrap(), None);
    assert_eq!(store.ctfd_team(other.id, owner(17)).await.unwrap(), Some(others));
    assert!(store.teams().await.unwrap().iter().all(|it| it.id != all[0]), "it is disbanded");
}

#[tokio::test]
async fn a_solve_is_in_the_outbox_with_its_record_and_leaves_when_it_is_told() {
    let fixture = Fixture::new();
    let finals = integration(1, "finals");
    fixture.store.create_integration(finals.clone(), [1; 32]).await.unwrap();
    let wish = new_team(1, "finals team 17");
    let of = fixture.store.ensure_ctfd_team(finals.id, owner(17), wish).await.unwrap();
    solve(&fixture.store, 1, of).await;
    // Neither the same answer again nor a team of nobody's is told.
    solve(&fixture.store, 2, of).await;
    let Fixture { store, folder: _folder } = fixture.reopened();
    solve(&store, 3, team(50)).await;
    let due = store.due_solves(at(20), 16).await.unwrap();
    let [row] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((row.integration.id, row.solve.owner_id, row.solve.rank), (finals.id, 17, 1));
    let body = serde_json::to_string(&row.solve).unwrap();
    assert!(!body.contains("FLAG"), "{body}");

    store.solve_failed(row.seq, Some(at(30)), "nobody answered".to_owned()).await.unwrap();
    assert_eq!(store.due_solves(at(29), 16).await.unwrap(), []);
    let again = store.due_solves(at(30), 16).await.unwrap();
    assert_eq!((again[0].n_attempts, &again[0].solve), (1, &row.solve));
    let shown = &store.integrations().await.unwrap()[0];
    assert_eq!((shown.n_owners, shown.solves.n_waiting), (1, 1));
    assert_eq!(shown.solves.last_error.as_deref(), Some("nobody answered"));
    store.solve_delivered(row.seq).await.unwrap();
    assert_eq!(store.n_waiting_solves().await.unwrap(), 0);
}

#[tokio::test]
async fn a_token_is_worth_something_until_it_is_rotated_or_revoked() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let finals = integration(1, "finals");
    store.create_integration(finals.clone(), [1; 32]).await.unwrap();
    assert_eq!(store.integration_of([1; 32]).await.unwrap(), Some(finals.clone()));
    let rotated = store.rotate_integration(finals.id, [2; 32]).await.unwrap().unwrap();
    assert_eq!(rotated.epoch, 1);
    assert_eq!(store.integration_of([1; 32]).await.unwrap(), None);
    assert_eq!(store.integration_of([2; 32]).await.unwrap(), Some(rotated));
    let of = store.ensure_ctfd_team(finals.id, owner(1), new_team(1, "x")).await.unwrap();
    solve(&store, 1, of).await;
    assert!(store.revoke_integration(finals.id, at(5)).await.unwrap());
    assert!(store.revoke_integration(finals.id, at(6)).await.unwrap(), "again is fine");
    assert_eq!(store.integration_of([2; 32]).await.unwrap(), None);
    assert_eq!(store.rotate_integration(finals.id, [3; 32]).await.unwrap(), None);
    assert_eq!(store.n_waiting_solves().await.unwrap(), 0, "nobody is told any more");
    assert_eq!(store.integrations().await.unwrap()[0].integration.revoked_at, Some(at(5)));
    // Its name is free again.
    store.create_integration(integration(2, "finals"), [4; 32]).await.unwrap();
}
