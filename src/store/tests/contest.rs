//! Teams, tokens, attempts and ranks.

use std::collections::BTreeSet;

use super::teams::{TeamNameError, check_team_name};
use super::*;
use crate::contest::{Decision, Progress};
use crate::model::{ChallengeId, Membership, QuestionId, Submission, SubmissionId};

fn challenge() -> ChallengeId {
    "WEB-001".parse().unwrap()
}

fn question() -> QuestionId {
    "flag".parse().unwrap()
}

/// How an attempt is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
}
use Verdict::{Right, Wrong};

fn submission(n: u128, of: TeamId, verdict: Verdict) -> Submission {
    Submission {
        id: SubmissionId::new(Uuid::from_u128(n)),
        team: of,
        user: None,
        challenge: challenge(),
        instance: Some(instance_id(n)),
        question: question(),
        claimed: "FLAG{é\"}".to_owned(),
        is_correct: verdict == Right,
        submitted_at: at(i64::try_from(n).unwrap()),
        solve_time_secs: 4.1,
        revision: revision(7),
    }
}

/// A token of team `name`, made at second `n`, as is the team `n` if it is new.
fn token(name: &str, token_id: &str, hash: [u8; 32], n: u8) -> NewTeamToken {
    NewTeamToken {
        competition: "default".parse().unwrap(),
        name: name.to_owned(),
        team_if_new: team(u128::from(n)),
        token_id: token_id.to_owned(),
        hash,
        now: at(i64::from(n)),
    }
}

/// Records attempt `n` whatever was before.
async fn record(store: &Store, n: u128, of: TeamId, verdict: Verdict) -> Submitted<()> {
    let decide = move |_: &Progress| Decision::Record(submission(n, of, verdict));
    store.submit(of, &challenge(), decide).await.unwrap()
}

#[tokio::test]
async fn a_team_is_made_with_its_first_token() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let red = store.create_team_token(token("Red", "t1", [1; 32], 1)).await.unwrap();
    let again = store.create_team_token(token("Red", "t2", [2; 32], 9)).await.unwrap();
    let blue = store.create_team_token(token("Blue", "t3", [3; 32], 2)).await.unwrap();
    assert_eq!((red.id, red.created_at, &again), (team(1), at(1), &red));

    let Fixture { store, folder: _folder } = fixture.reopened();
    assert_eq!(store.teams().await.unwrap(), [blue, red.clone()]);
    assert_eq!(store.team(team(1)).await.unwrap(), Some(red));
    assert_eq!(store.team(team(9)).await.unwrap(), None);
    let membership = Membership { competition: "default".parse().unwrap(), team: team(1) };
    let holder = Holder::Team { token_id: "t2".to_owned(), membership };
    assert_eq!(store.holder([2; 32]).await.unwrap(), Some(holder));
    assert_eq!(store.holder([4; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_that_exists_makes_no_team() {
    let Fixture { store, folder: _folder } = Fixture::new();
    store.create_team_token(token("Red", "t1", [1; 32], 1)).await.unwrap();
    let double = store.create_team_token(token("Blue", "t2", [1; 32], 2)).await;
    assert!(matches!(double, Err(StoreError::Refused { .. })), "{double:?}");
    assert_eq!(store.teams().await.unwrap().len(), 1);
}

#[tokio::test]
async fn names_that_hide_or_break_text_are_refused() {
    for name in ["Red", "Ünïcødé 2", "日本", "0day's & <b>", "🚩", &"x".repeat(80)] {
        assert_eq!(check_team_name(name), Ok(()), "{name:?}");
    }
    for name in ["", &"x".repeat(81)] {
        assert!(matches!(check_team_name(name), Err(TeamNameError::Length { .. })), "{name:?}");
    }
    for name in [
        "a\nb",
        "a\0",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{feff}a",
        "a\u{2028}b",
        "a\u{a0}b",
        "\u{1b}[31m",
        "\u{2066}a",
        "a\u{e0041}",
        "a\tb",
        "\u{85}",
    ] {
        assert!(matches!(check_team_name(name), Err(TeamNameError::Character { .. })), "{name:?}");
    }
    for name in [" a", "a ", " "] {
        assert_eq!(check_team_name(name), Err(TeamNameError::Padded), "{name:?}");
    }
    let Fixture { store, folder: _folder } = Fixture::new();
    let refused = store.create_team_token(token("a\nb", "t", [1; 32], 1)).await;
    assert!(matches!(refused, Err(StoreError::TeamName(_))), "{refused:?}");
}

#[tokio::test]
async fn ranks_follow_the_order_of_first_right_answers() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let mut ranks = Vec::new();
    for (n, of, verdict) in
        [(1, 1, Wrong), (2, 2, Right), (3, 1, Right), (4, 2, Right), (5, 1, Wrong), (6, 3, Right)]
    {
        let submitted = record(store, n, team(of), verdict).await;
        ranks.push(submitted.solve.map(|solve| solve.rank));
    }
    assert_eq!(ranks, [None, Some(1), Some(2), None, None, Some(3)]);
    assert_eq!(
        store.wrong_attempts(team(1), &challenge()).await.unwrap(),
        [(question(), 2)].into()
    );
    assert_eq!(store.solved(team(2), &challenge()).await.unwrap(), BTreeSet::from([question()]));
    assert!(store.solved(team(4), &challenge()).await.unwrap().is_empty());

    let Fixture { store, folder: _folder } = fixture.reopened();
    let solvers: Vec<_> =
        store.solves_after(0).await.unwrap().1.iter().map(|s| (s.team, s.rank)).collect();
    assert_eq!(solvers, [(team(2), 1), (team(1), 2), (team(3), 3)]);
    let mine = store.submissions(team(1)).await.unwrap();
    let expected = [(1, Wrong), (3, Right), (5, Wrong)];
    assert_eq!(mine, expected.map(|(n, verdict)| submission(n, team(1), verdict)));
}

#[tokio::test]
async fn progress_contains_the_attempt_that_was_just_made() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let wrong = record(&store, 1, team(1), Wrong).await;
    assert_eq!((wrong.progress.n_wrong(&question()), wrong.progress.solved.len()), (1, 0));
    let right = record(&store, 2, team(1), Right).await;
    assert_eq!((right.progress.n_wrong(&question()), right.progress.solved.len()), (1, 1));
}

#[tokio::test]
async fn a_refused_attempt_is_not_stored_and_a_counted_one_only_counts() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let refused = store.submit(team(1), &challenge(), |_| Decision::Answer("no")).await.unwrap();
    assert_eq!(refused.decision, Decision::Answer("no"));
    assert_eq!(refused.progress, Progress::default());
    let counted = store
        .submit(team(1), &challenge(), |_| Decision::CountWrong(question(), "wrong"))
        .await
        .unwrap();
    assert_eq!(counted.progress.n_wrong(&question()), 1);
    assert_eq!(store.submissions(team(1)).await.unwrap(), []);
    assert_eq!(store.solves_after(0).await.unwrap(), (0, Vec::new()));
}

#[tokio::test]
async fn attempts_at_once_cannot_share_the_last_one_that_is_left() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let challenge = challenge();
    let attempts = (1..=30_u128).map(|n| {
        store.submit(team(1), &challenge, move |progress| {
            if progress.n_wrong(&question()) >= 3 {
                Decision::Answer(())
            } else {
                Decision::Record(submission(n, team(1), Wrong))
            }
        })
    });
    futures_util::future::join_all(attempts).await;
    assert_eq!(store.submissions(team(1)).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ranks_of_solves_at_once_have_neither_gaps_nor_doubles() {
    let Fixture { store, folder: _folder } = Fixture::new();
    let solves = (1..=30_u128).map(|n| record(&store, n, team(n), Right));
    let mut ranks: Vec<_> = futures_util::future::join_all(solves)
        .await
        .into_iter()
        .map(|submitted| submitted.solve.unwrap().rank)
        .collect();
    ranks.sort_unstable();
    assert_eq!(ranks, (1..=30).collect::<Vec<_>>());
}
