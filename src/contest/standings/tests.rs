//! Who leads, by example and for any solves.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::competition::{Scoring, ScoringFunction};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn id(n: u8) -> TeamId {
    TeamId::new(Uuid::from_bytes([n; 16]))
}

fn team(n: u8) -> Team {
    Team {
        id: id(n),
        competition: "finals".parse().unwrap(),
        name: format!("team-{n}"),
        description: String::new(),
        captain: None,
        created_at: at(0),
    }
}

fn solve(team: u8, challenge: u8, question: &str, secs: i64) -> Solve {
    Solve {
        team: id(team),
        challenge: format!("WEB-{challenge}").parse().unwrap(),
        question: question.parse().unwrap(),
        solved_at: at(secs),
        rank: 1,
    }
}

fn contest(scoring: Scoring) -> Contest {
    Contest {
        scoring,
        starts_at: Some(at(10)),
        ends_at: Some(at(100)),
        ..Contest::built_in("finals".parse().unwrap(), "Finals", at(0))
    }
}

const SINKING: Scoring = Scoring {
    function: ScoringFunction::Linear,
    value: 100,
    minimum: 10,
    decay: 3,
    first_blood: 5,
};

fn table(contest: &Contest, teams: &[Team], solves: &[Solve], eyes: Eyes, now: i64) -> String {
    let versions = Versions::new();
    let contest = Some(contest);
    let ledger = Ledger { contest, teams, solves, versions: &versions, eyes, now: at(now) };
    let line = |it: Place| format!("{} {} {} ({})", it.rank, it.name, it.score, it.n_flags);
    ledger.places().into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_gets_a_bonus_and_everybody_what_it_is_worth_now() {
    let teams: Vec<_> = (1..=4).map(team).collect();
    let solves = [
        solve(2, 1, "flag", 20),
        solve(1, 1, "flag", 30),
        solve(3, 2, "flag", 40),
        // Before the beginning, and after the end.
        solve(4, 1, "flag", 9),
        solve(4, 2, "flag", 100),
    ];
    insta::assert_snapshot!(table(&contest(SINKING), &teams, &solves, Eyes::Public, 50), @"
    1 team-3 105 (1)
    2 team-2 75 (1)
    3 team-1 70 (1)
    4 team-4 0 (0)
    ");
}

#[test]
fn who_was_there_earlier_goes_first() {
    let teams: Vec<_> = (1..=3).map(team).collect();
    let still = Scoring { function: ScoringFunction::Static, first_blood: 0, ..SINKING };
    let solves = [solve(1, 1, "flag", 30), solve(2, 1, "flag", 20), solve(3, 2, "flag", 25)];
    insta::assert_snapshot!(table(&contest(still), &teams, &solves, Eyes::Public, 50), @"
    1 team-2 100 (1)
    2 team-3 100 (1)
    3 team-1 100 (1)
    ");
}

#[test]
fn frozen_standings_stay_for_players_until_the_end() {
    let teams: Vec<_> = (1..=2).map(team).collect();
    let frozen = Contest { freeze_at: Some(at(50)), ..contest(ONE_EACH) };
    let solves = [solve(1, 1, "flag", 40), solve(2, 1, "flag", 60), solve(2, 2, "flag", 70)];
    let lead =
        |eyes, now| table(&frozen, &teams, &solves, eyes, now).lines().next().map(str::to_owned);
    assert_eq!(lead(Eyes::Public, 80).as_deref(), Some("1 team-1 1 (1)"));
    assert_eq!(lead(Eyes::Organizer, 80).as_deref(), Some("1 team-2 2 (2)"));
    assert_eq!(lead(Eyes::Public, 100).as_deref(), Some("1 team-2 2 (2)"));
}

#[test]
fn a_team_counts_from_when_it_was_made_and_others_do_not_at_all() {
    let late = Team { created_at: at(45), ..team(1) };
    let other = Team { competition: "other".parse().unwrap(), ..team(2) };
    let solves = [solve(1, 1, "flag", 40), solve(1, 2, "flag", 50), solve(2, 1, "flag", 20)];
    let text = table(&contest(ONE_EACH), &[late, other], &solves, Eyes::Public, 60);
    assert_eq!(text, "1 team-1 1 (1)");
}

#[test]
fn bars_are_narrow_for_few_and_wide_for_many() {
    let place = |n_flags| Place {
        rank: 1,
        team: id(1),
        name: String::new(),
        score: 0,
        n_solved: 0,
        n_flags,
        last_at: None,
    };
    let bars = |flags: &[u32]| {
        let places: Vec<_> = flags.iter().copied().map(place).collect();
        let bars = distribution(&places).into_iter();
        bars.map(|(label, n)| format!("{label}:{n}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(bars(&[]), "");
    assert_eq!(bars(&[0, 2, 2]), "0:1 1:0 2:2");
    assert_eq!(bars(&[13, 3, 0, 40]), "0:1 1:0 2-3:1 4-5:0 6-10:0 11-20:1 21+:1");
}

fn solves() -> impl Strategy<Value = Vec<Solve>> {
    let one =
        (1_u8..6, 1_u8..5, 0_u8..2, 0_i64..120).prop_map(|(team, challenge, question, secs)| {
            solve(team, challenge, if question == 0 { "flag" } else { "root" }, secs)
        });
    proptest::collection::vec(one, 0..30).prop_map(|mut all| {
        // As the store has it: one for each team and question.
        let mut seen = BTreeSet::new();
        all.retain(|it| seen.insert((it.team, it.challenge.clone(), it.question.clone())));
        all
    })
}

fn any_scoring() -> impl Strategy<Value = Scoring> {
    let functions = prop_oneof![
        Just(ScoringFunction::Static),
        Just(ScoringFunction::Linear),
        Just(ScoringFunction::Logarithmic),
    ];
    (functions, 0_u32..1000, 0_u32..1000, 1_u32..10, 0_u32..50).prop_map(
        |(function, value, minimum, decay, first_blood)| Scoring {
            function,
            value,
            minimum: minimum.min(value),
            decay,
            first_blood,
        },
    )
}

fn places(contest: &Contest, teams: &[Team], solves: &[Solve], now: i64) -> Vec<Place> {
    let versions = Versions::new();
    let (contest, eyes) = (Some(contest), Eyes::Public);
    Ledger { contest, teams, solves, versions: &versions, eyes, now: at(now) }.places()
}

proptest! {
    #[test]
    fn the_order_of_solves_does_not_matter(mut solves in solves(), scoring in any_scoring()) {
        let (contest, teams) = (contest(scoring), (1..6).map(team).collect::<Vec<_>>());
        let forwards = places(&contest, &teams, &solves, 90);
        solves.reverse();
        let backwards = places(&contest, &teams, &solves, 90);
        // Two who have the first blood at the same moment are told apart by their ids.
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn ranks_are_one_to_n_and_scores_never_rise_downwards(solves in solves(), scoring in any_scoring()) {
        let (contest, teams) = (contest(scoring), (1..6).map(team).collect::<Vec<_>>());
        let table = places(&contest, &teams, &solves, 90);
        let ranks: Vec<u32> = table.iter().map(|place| place.rank).collect();
        prop_assert_eq!(ranks, (1..=5).collect::<Vec<u32>>());
        prop_assert!(table.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn an_answer_more_never_costs_its_team_anything(solves in solves(), scoring in any_scoring()) {
        let (contest, teams) = (contest(scoring), (1..6).map(team).collect::<Vec<_>>());
        let Some((last, before)) = solves.split_last() else { return Ok(()) };
        let score = |solves: &[Solve]| {
            let table = places(&contest, &teams, solves, 90);
            table.into_iter().find(|place| place.team == last.team).map(|place| place.score)
        };
        prop_assert!(score(&solves) >= score(before));
    }

    #[test]
    fn what_comes_after_a_freeze_changes_nothing_that_players_see(
        solves in solves(), scoring in any_scoring(), freeze in 20_i64..90,
    ) {
        let contest = Contest { freeze_at: Some(at(freeze)), ..contest(scoring) };
        let teams: Vec<_> = (1..6).map(team).collect();
        let before: Vec<_> =
            solves.iter().filter(|it| it.solved_at < at(freeze)).cloned().collect();
        prop_assert_eq!(
            places(&contest, &teams, &solves, 95), places(&contest, &teams, &before, 95)
        );
    }

    #[test]
    fn a_history_ends_with_the_table(solves in solves(), scoring in any_scoring()) {
        let (contest, teams) = (contest(scoring), (1..6).map(team).collect::<Vec<_>>());
        let versions = Versions::new();
        let ledger = Ledger {
            contest: Some(&contest), teams: &teams, solves: &solves, versions: &versions,
            eyes: Eyes::Public, now: at(95),
        };
        for (place, samples) in ledger.history(9) {
            let last = samples.last().copied().map(|it| (it.score, it.rank));
            prop_assert_eq!(last, Some((place.score, place.rank)));
            prop_assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
    }
}
