//! The test vectors of `contract/challenges.md` C.2, and what must hold for every text.

use proptest::prelude::*;

use super::*;
use crate::model::AnswerFormat;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn one(text: &str) -> Answer {
    Answer::One(text.to_owned())
}

fn many(list: &[&str]) -> Answer {
    Answer::Many(texts(list))
}

fn dynamic() -> QuestionMode {
    QuestionMode::Dynamic { format: AnswerFormat::Flag }
}

fn fixed(answer: &str) -> QuestionMode {
    QuestionMode::Static { answer: answer.to_owned() }
}

fn single(answer: &str) -> QuestionMode {
    QuestionMode::SingleSelect { answer: answer.to_owned(), choices: texts(&["A", "B"]) }
}

fn multi(answers: &[&str]) -> QuestionMode {
    QuestionMode::MultiSelect { answers: texts(answers), choices: texts(&["x", "y", "z"]) }
}

#[test]
fn dynamic_answers_are_right_with_and_without_their_wrapper() {
    for (minted, answer, is_right) in [
        ("FLAG{ab}", one(" ab "), true),
        ("FLAG{ab}", one("FLAG{ab}"), true),
        ("FLAG{ab}", one("\tFLAG{ab}\n"), true),
        ("ab", one("FLAG{ab}"), true),
        ("ab", one("ab"), true),
        ("FLAG{ab}", one("flag{ab}"), false),
        ("FLAG{ab}", one("FLAG{AB}"), false),
        ("FLAG{ab}", one("FLAG{FLAG{ab}}"), false),
        ("FLAG{ab}", one("FLAG{}"), false),
        ("FLAG{ab}", one(""), false),
        ("FLAG{ab}", many(&["FLAG{ab}"]), false),
    ] {
        assert_eq!(grade(&dynamic(), &answer, Some(minted)), is_right, "{minted} {answer:?}");
    }
}

#[test]
fn without_a_minted_answer_nothing_is_right() {
    assert!(!grade(&dynamic(), &one(""), None));
    assert!(!grade(&dynamic(), &one("FLAG{ab}"), None));
}

#[test]
fn fixed_answers_are_trimmed_and_exact() {
    for (right, answer, is_right) in [
        (" Apache ", one("Apache"), true),
        ("Apache", one("  Apache\n"), true),
        ("Apache", one("apache"), false),
        ("Apache", one("FLAG{Apache}"), false),
        ("Apache", many(&["Apache"]), false),
        ("Apache", one(""), false),
    ] {
        assert_eq!(grade(&fixed(right), &answer, None), is_right, "{right:?} {answer:?}");
    }
}

#[test]
fn a_single_choice_is_one_of_the_choices() {
    for (right, answer, is_right) in [
        ("B", one(" B "), true),
        ("B", one("A"), false),
        ("B", one("b"), false),
        ("B", many(&["B"]), false),
        // An answer that is no choice cannot be given, nor one that needs its blanks.
        ("C", one("C"), false),
        (" B ", one(" B "), false),
    ] {
        assert_eq!(grade(&single(right), &answer, None), is_right, "{right:?} {answer:?}");
    }
}

#[test]
fn several_choices_are_a_set() {
    for (answer, is_right) in [
        (one("y, x"), true),
        (one("x y"), true),
        (one("x,,y,"), true),
        (many(&["x", "y", "x"]), true),
        (many(&[" y ", "", "x"]), true),
        (one("x"), false),
        (one("x y z"), false),
        (one("x q"), false),
        (one(""), false),
        (one(" , "), false),
        (many(&[]), false),
        (many(&["x,y"]), false),
    ] {
        assert_eq!(grade(&multi(&["x", "y"]), &answer, None), is_right, "{answer:?}");
    }
    assert!(!grade(&multi(&[]), &many(&[]), None), "an empty answer is never right");
}

#[test]
fn an_answer_is_recorded_as_text_or_json_and_never_longer_than_4_kib() {
    assert_eq!(one("FLAG{x}").claimed(), "FLAG{x}");
    assert_eq!(many(&["a", "b\"c"]).claimed(), r#"["a","b\"c"]"#);
    assert_eq!(one(&"é".repeat(4000)).claimed(), "é".repeat(2048));
    assert_eq!(one(&format!("a{}", "é".repeat(4000))).claimed().len(), 4095);
}

proptest! {
    #[test]
    fn the_minted_answer_is_right_however_it_is_wrapped(body in "[0-9a-f]{32}", pad in "[ \t\n]{0,3}") {
        let wrapped = format!("FLAG{{{body}}}");
        for minted in [&body, &wrapped] {
            for claimed in [&body, &wrapped] {
                let answer = one(&format!("{pad}{claimed}{pad}"));
                prop_assert!(grade(&dynamic(), &answer, Some(minted)));
            }
        }
    }

    #[test]
    fn nothing_else_is_right_and_nothing_panics(text in ".*", body in "[0-9a-f]{32}") {
        prop_assert!(!grade(&dynamic(), &one(&text), Some(&body)));
        prop_assert_eq!(grade(&fixed("Apache"), &one(&text), None), text.trim() == "Apache");
        prop_assert!(!grade(&dynamic(), &Answer::Many(vec![text]), Some(&body)));
    }

    #[test]
    fn order_and_repetition_of_choices_do_not_matter(
        given in proptest::collection::vec(proptest::sample::select(vec!["x", "y", "z"]), 0..8),
    ) {
        let set: BTreeSet<&str> = given.iter().copied().collect();
        let is_right = set == BTreeSet::from(["x", "y"]);
        prop_assert_eq!(grade(&multi(&["y", "x"]), &many(&given), None), is_right);
        prop_assert_eq!(grade(&multi(&["y", "x"]), &one(&given.join(" ,")), None), is_right);
    }
}
