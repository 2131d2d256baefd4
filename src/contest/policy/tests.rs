//! Gates, caps and what is recorded.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::{
    AnswerFormat, Category, Difficulty, InstanceSettings, Metadata, ObjectId, QuestionMode,
    Topology, TreeId,
};

const NOW: Timestamp = Timestamp::from_millis(100_000);

fn id(text: &str) -> QuestionId {
    text.parse().unwrap()
}

fn question(name: &str, mode: QuestionMode, requires: &[&str]) -> Question {
    Question {
        id: id(name),
        prompt: "?".to_owned(),
        mode,
        requires: requires.iter().map(|name| id(name)).collect(),
    }
}

/// `os` (static), then `port` (single select), then `flag` (dynamic) which needs both.
fn challenge() -> Challenge {
    let text = |answer: &str| QuestionMode::Static { answer: answer.to_owned() };
    let choice = QuestionMode::SingleSelect {
        answer: "80".to_owned(),
        choices: vec!["80".to_owned(), "443".to_owned()],
    };
    let flag = QuestionMode::Dynamic { format: AnswerFormat::Flag };
    Challenge {
        id: "WEB-001".parse().unwrap(),
        path: "WEB/WEB-001".to_owned(),
        bucket: None,
        tree: TreeId(ObjectId::from_bytes([1; 20])),
        metadata: Metadata {
            name: "n".to_owned(),
            description: "d".to_owned(),
            difficulty: Difficulty::Easy,
            tags: vec!["t".to_owned()],
            category: Category::Web,
            topology: Topology::Simple,
            entry_urls: Vec::new(),
            questions: vec![
                question("os", text("linux"), &[]),
                question("port", choice, &["os"]),
                question("flag", flag, &["os", "port"]),
            ],
            instance: InstanceSettings::default(),
            author: None,
            release_at: None,
            exports: vec![],
        },
        compose: None,
        attachments: Vec::new(),
        contexts: BTreeMap::new(),
    }
}

fn attempt(question: &str, answer: &str) -> Attempt {
    Attempt {
        id: SubmissionId::new(Uuid::from_u128(1)),
        team: TeamId::new(Uuid::from_u128(2)),
        user: None,
        instance: Some((InstanceId::new(Uuid::from_u128(3)), Timestamp::from_millis(95_849))),
        question: question.to_owned(),
        answer: Answer::One(answer.to_owned()),
        minted: Some("FLAG{00}".to_owned()),
        revision: Revision(ObjectId::from_bytes([2; 20])),
        now: NOW,
    }
}

fn progress(solved: &[&str], wrong: &[(&str, u32)]) -> Progress {
    Progress {
        solved: solved.iter().map(|name| id(name)).collect(),
        wrong: wrong.iter().map(|(name, n)| (id(name), *n)).collect(),
    }
}

fn submit(question: &str, answer: &str, progress: &Progress) -> Result<Submission, String> {
    let caps = AttemptCaps::default();
    match decide_submission(&challenge(), &attempt(question, answer), progress, &caps) {
        Decision::Record(submission) => Ok(submission),
        Decision::Answer(refusal) => Err(refusal.to_string()),
        Decision::CountWrong(..) => panic!("a submission is recorded, not only counted"),
    }
}

fn verify(question: &str, answer: &str, progress: &Progress) -> String {
    let caps = AttemptCaps::default();
    match decide_verify(&challenge(), &attempt(question, answer), progress, &caps) {
        Decision::Record(_) => panic!("a check is never recorded"),
        Decision::Answer(Ok(is_correct)) => format!("{is_correct}"),
        Decision::CountWrong(id, Ok(is_correct)) => format!("{is_correct}, counted on {id}"),
        Decision::Answer(Err(refusal)) | Decision::CountWrong(_, Err(refusal)) => {
            refusal.to_string()
        }
    }
}

#[test]
fn a_right_answer_is_recorded_with_its_time_to_the_tenth() {
    let submission = submit("os", " linux ", &Progress::default()).unwrap();
    assert!(submission.is_correct);
    assert_eq!(submission.claimed, " linux ");
    assert_eq!(submission.submitted_at, NOW);
    assert!((submission.solve_time_secs - 4.2).abs() < 1e-9, "{}", submission.solve_time_secs);
}

#[test]
fn a_wrong_answer_is_recorded_without_a_time() {
    let submission = submit("os", "windows", &Progress::default()).unwrap();
    assert_eq!((submission.is_correct, submission.solve_time_secs), (false, 0.0));
}

#[test]
fn a_quiz_and_a_clock_that_went_back_take_no_time() {
    let challenge = challenge();
    let future = Some((InstanceId::new(Uuid::from_u128(3)), NOW.plus_secs(60)));
    for instance in [None, future] {
        let attempt = Attempt { instance, ..attempt("os", "linux") };
        let decision =
            decide_submission(&challenge, &attempt, &Progress::default(), &AttemptCaps::default());
        let Decision::Record(submission) = decision else { panic!("{decision:?}") };
        assert_eq!((submission.is_correct, submission.solve_time_secs), (true, 0.0));
    }
}

#[test]
fn what_cannot_be_attempted_is_refused_before_it_is_graded() {
    for (question, progress, refusal) in [
        ("main", progress(&[], &[]), "unknown question `main`"),
        ("port", progress(&[], &[]), "question `port` is locked until others are solved"),
        ("flag", progress(&["os"], &[]), "question `flag` is locked until others are solved"),
        (
            "os",
            progress(&[], &[("os", 10)]),
            "no attempts left for question `os` (10 wrong answers)",
        ),
        (
            "port",
            progress(&["os"], &[("port", 3)]),
            "no attempts left for question `port` (3 wrong answers)",
        ),
    ] {
        for answer in ["linux", "80", "FLAG{00}", "wrong"] {
            assert_eq!(submit(question, answer, &progress).unwrap_err(), refusal);
            assert_eq!(verify(question, answer, &progress), refusal);
        }
    }
}

#[test]
fn refusals_name_what_is_missing() {
    let challenge = challenge();
    let caps = AttemptCaps::default();
    let decide = |question: &str, progress: &Progress| {
        decide_submission(&challenge, &attempt(question, "x"), progress, &caps)
    };
    assert_eq!(
        decide("nope", &Progress::default()),
        Decision::Answer(Refusal::UnknownQuestion {
            question: "nope".to_owned(),
            known: vec![id("os"), id("port"), id("flag")],
        })
    );
    assert_eq!(
        decide("flag", &progress(&["os"], &[])),
        Decision::Answer(Refusal::Locked { question: id("flag"), requires: vec![id("port")] })
    );
    assert_eq!(
        decide("port", &progress(&["os"], &[("port", 4)])),
        Decision::Answer(Refusal::CapReached {
            question: id("port"),
            mode: "single_select",
            wrong_attempts: 4,
            cap: 3,
        })
    );
}

#[test]
fn minted_answers_are_never_capped() {
    let progress = progress(&["os", "port"], &[("flag", u32::MAX)]);
    assert!(submit("flag", "00", &progress).unwrap().is_correct);
    assert!(!submit("flag", "11", &progress).unwrap().is_correct);
    assert_eq!(AttemptCaps::default().remaining("dynamic", 99), None);
}

#[test]
fn checking_counts_wrong_answers_where_there_is_a_cap() {
    let open = progress(&["os", "port"], &[]);
    assert_eq!(verify("os", "linux", &open), "true");
    assert_eq!(verify("os", "bsd", &open), "false, counted on os");
    assert_eq!(verify("port", "443", &open), "false, counted on port");
    assert_eq!(verify("flag", "FLAG{11}", &open), "false");
}

#[test]
fn a_solved_question_does_not_lock_again() {
    assert!(submit("flag", "00", &progress(&["flag"], &[])).unwrap().is_correct);
}

#[test]
fn caps_are_per_mode_and_zero_means_none() {
    let caps = AttemptCaps { static_text: 0, ..AttemptCaps::default() };
    assert_eq!(caps.cap("static"), None);
    assert_eq!(caps.cap("single_select"), Some(3));
    assert_eq!(caps.cap("multi_select"), Some(10));
    assert_eq!(caps.cap("dynamic"), None);
    assert_eq!(caps.remaining("single_select", 2), Some(1));
    assert_eq!(caps.remaining("single_select", 7), Some(0));
}

#[test]
fn only_every_question_together_is_a_full_solve() {
    let challenge = challenge();
    assert!(!is_fully_solved(&challenge, &progress(&["os", "flag"], &[]).solved));
    assert!(is_fully_solved(&challenge, &progress(&["os", "port", "flag", "old"], &[]).solved));
}

proptest! {
    #[test]
    fn nobody_is_wrong_more_often_than_the_cap(
        answers in proptest::collection::vec("(80|443|22)", 0..30),
        cap in 1_u32..6,
    ) {
        let caps = AttemptCaps { single_select: cap, ..AttemptCaps::default() };
        let mut progress = progress(&["os"], &[]);
        for (nth, answer) in answers.iter().enumerate() {
            let attempt = attempt("port", answer);
            let is_wrong = if nth % 2 == 0 {
                matches!(
                    decide_submission(&challenge(), &attempt, &progress, &caps),
                    Decision::Record(Submission { is_correct: false, .. })
                )
            } else {
                matches!(
                    decide_verify(&challenge(), &attempt, &progress, &caps),
                    Decision::CountWrong(..)
                )
            };
            if is_wrong {
                *progress.wrong.entry(id("port")).or_default() += 1;
            }
        }
        prop_assert!(progress.n_wrong(&id("port")) <= cap);
    }
}
