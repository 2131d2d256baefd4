//! What players see, sample by sample.

use super::super::tests::{challenge, live, question, solve, team};
use super::*;
use crate::model::QuestionMode;

fn snapshot<'a>(live: &'a LiveSet, solves: &[crate::model::Solve]) -> Snapshot<'a> {
    let now = Timestamp::from_millis(1_000_000);
    Snapshot {
        live,
        solves: Arc::new(Solves::of(solves.to_vec())),
        launches: Arc::default(),
        exported: BTreeMap::new(),
        now,
    }
}

fn locked() -> Challenge {
    let mut second = question("root");
    second.requires = vec!["flag".parse().unwrap()];
    second.mode = QuestionMode::SingleSelect {
        answer: "right".to_owned(),
        choices: vec!["wrong".to_owned(), "right".to_owned()],
    };
    challenge("WEB-001", vec![question("flag"), second])
}

#[test]
fn a_challenge_is_shown_without_anything_that_helps() {
    let live = live(vec![locked()]);
    let snapshot = snapshot(&live, &[solve(1, "WEB-001", "flag", 1)]);
    let shown = snapshot.project(&live.values().next().unwrap().challenge, &Viewer::Anyone);
    insta::assert_json_snapshot!(shown, @r#"
    {
      "id": "WEB-001",
      "name": "Name of WEB-001",
      "category": "web",
      "difficulty": "easy",
      "description": "A brief.",
      "solves_count": 1,
      "launch_count": 0,
      "tags": [
        "sqli"
      ],
      "questions": [
        {
          "id": "flag",
          "prompt": "Find the flag.",
          "mode": "dynamic",
          "choices": null,
          "requires": []
        },
        {
          "id": "root",
          "prompt": "",
          "mode": "single_select",
          "choices": null,
          "requires": [
            "flag"
          ]
        }
      ],
      "flag_solves": {
        "flag": 1
      },
      "attachments": [],
      "is_qa_only": false
    }
    "#);
}

#[test]
fn a_locked_question_opens_for_the_team_that_solved_what_it_requires() {
    let live = live(vec![locked()]);
    let snapshot = snapshot(&live, &[solve(1, "WEB-001", "flag", 1)]);
    let prompt = |viewer: &Viewer| {
        let challenge = &live.values().next().unwrap().challenge;
        let second = snapshot.questions(challenge, viewer).remove(1);
        (second.prompt, second.choices.map_or(0, |choices| choices.len()))
    };
    assert_eq!(prompt(&Viewer::Teams(vec![team(1).id])), ("Find the root.".to_owned(), 2));
    assert_eq!(prompt(&Viewer::Teams(vec![team(2).id])), (String::new(), 0));
    assert_eq!(prompt(&Viewer::Operator), ("Find the root.".to_owned(), 2));
}

#[test]
fn before_its_release_a_challenge_is_not_there() {
    let mut early = challenge("WEB-002", vec![question("flag")]);
    early.metadata.release_at = Some(Timestamp::from_millis(1_000_001));
    let mut due = challenge("WEB-003", vec![question("flag")]);
    due.metadata.release_at = Some(Timestamp::from_millis(1_000_000));
    let live = live(vec![early, due, challenge("CRY-001", vec![question("flag")])]);
    let ids: Vec<_> = snapshot(&live, &[]).visible().iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, ["CRY-001", "WEB-003"]);
}

fn admitted(filter: &Filter) -> Vec<String> {
    let mut pwn = challenge("PWN-001", vec![question("flag")]);
    pwn.metadata.category = Category::Pwn;
    pwn.metadata.difficulty = Difficulty::Hard;
    pwn.metadata.tags = vec!["rop".to_owned()];
    let all = [pwn, challenge("WEB-001", vec![question("flag")])];
    let progress = Progress {
        solved: BTreeSet::from(["WEB-001".parse().unwrap()]),
        running: BTreeSet::from(["PWN-001".parse().unwrap()]),
    };
    let admitted = all.iter().filter(|one| filter.admits(one, Some(&progress)));
    admitted.map(|one| one.id.to_string()).collect()
}

#[test]
fn filters_are_exact_and_unknown_values_admit_nothing() {
    type Change = fn(&mut Filter);
    let cases: [(Change, &[&str]); 11] = [
        (|_| {}, &["PWN-001", "WEB-001"]),
        (|f| f.category = "pwn".into(), &["PWN-001"]),
        (|f| f.category = "PWN".into(), &[]),
        (|f| f.difficulty = "easy".into(), &["WEB-001"]),
        (|f| f.tag = "rop".into(), &["PWN-001"]),
        (|f| f.tag = "ro".into(), &[]),
        (|f| f.q = "name of W".into(), &["WEB-001"]),
        (|f| f.status = "solved".into(), &["WEB-001"]),
        (|f| f.status = "unsolved".into(), &["PWN-001"]),
        (|f| f.status = "running".into(), &["PWN-001"]),
        (|f| f.status = "what".into(), &["PWN-001", "WEB-001"]),
    ];
    for (change, wanted) in cases {
        let mut filter = Filter::default();
        change(&mut filter);
        assert_eq!(admitted(&filter), wanted, "{filter:?}");
    }
}

#[test]
fn sorting_follows_the_clauses_and_one_unknown_field_voids_them() {
    let one = |id: &str, difficulty| {
        let mut one = challenge(id, vec![question("flag")]);
        one.metadata.difficulty = difficulty;
        one
    };
    let all = [one("B", Difficulty::Hard), one("A", Difficulty::Easy), one("C", Difficulty::Hard)];
    let rows = all.iter().zip([1, 1, 5]);
    let rows: Vec<_> = rows.map(|(challenge, n_solves)| Listed { challenge, n_solves }).collect();
    let check = |sort: &str| {
        let sorted = sort_by(rows.clone(), sort);
        sorted.iter().map(|row| row.challenge.id.as_str()).collect::<String>()
    };
    let cases = [
        ("", "BAC"),
        ("id-asc", "ABC"),
        ("id-desc", "CBA"),
        ("solves-desc", "CBA"),
        ("solves-asc", "BAC"),
        ("difficulty-desc,solves-desc", "CBA"),
        ("difficulty-asc, id-desc", "ACB"),
        ("id-asc,colour-desc", "BAC"),
        (",,", "BAC"),
    ];
    for (sort, wanted) in cases {
        assert_eq!(check(sort), wanted, "{sort}");
    }
}

#[test]
fn facets_count_what_is_there_in_the_contract_s_order() {
    let mut pwn = challenge("PWN-001", vec![question("flag")]);
    pwn.metadata.category = Category::Pwn;
    pwn.metadata.tags = vec!["rop".to_owned()];
    let web = challenge("WEB-001", vec![question("flag")]);
    let progress =
        Progress { solved: BTreeSet::from(["WEB-001".parse().unwrap()]), running: BTreeSet::new() };
    let text = |facets: ChallengeFacets| {
        let line = |counts: &[ChallengeFacetCount]| {
            let one = |count: &ChallengeFacetCount| {
                format!("{}={}/{}", count.value, count.solved, count.total)
            };
            counts.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let parts = [&facets.difficulty, &facets.category, &facets.tags, &facets.status];
        parts.map(|part| line(part)).join("\n")
    };
    insta::assert_snapshot!(text(facets(&[&pwn, &web], Some(&progress))), @"
    easy=1/2
    web=1/1 pwn=0/1
    rop=0/1 sqli=0/1
    solved=0/1 unsolved=0/1 running=0/0
    ");
    insta::assert_snapshot!(text(facets(&[&pwn, &web], None)), @"
    easy=0/2
    web=0/1 pwn=0/1
    rop=0/1 sqli=0/1
    solved=0/0 unsolved=0/0 running=0/0
    ");
}

#[test]
fn a_full_solve_needs_every_dynamic_question_of_one_team() {
    let web = challenge("WEB-001", vec![question("flag"), question("root")]);
    let half = [solve(1, "WEB-001", "flag", 1), solve(2, "WEB-001", "root", 2)];
    assert_eq!(Solves::of(half.to_vec()).tally().n_full_solves(&web), 0);
    let whole = [solve(1, "WEB-001", "flag", 1), solve(1, "WEB-001", "root", 2)];
    assert_eq!(Solves::of(whole.to_vec()).tally().n_full_solves(&web), 1);
    assert_eq!(Solves::default().tally().n_full_solves(&web), 0);
}
