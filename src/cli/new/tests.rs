//! What `flagops new` promises, in memory.

use proptest::prelude::*;

use super::*;
use crate::catalog::Folder;

fn sayings() -> Sayings {
    Sayings {
        title: None,
        difficulty: Difficulty::Easy,
        tags: Vec::new(),
        phrase: "per aspera 0123456789abcdef".to_owned(),
    }
}

fn place() -> Place {
    Place { id: "NEW-001".parse().unwrap(), bucket: "NEW".to_owned() }
}

fn load(files: &Files) -> Folder {
    let mut tree = MemoryTree::new();
    for (name, content) in files {
        tree = tree.with(&format!("NEW/NEW-001/{name}"), content.clone());
    }
    catalog::load_one(&tree, "NEW/NEW-001", &Policy::default()).unwrap()
}

#[test]
fn every_scaffold_is_valid_and_without_a_finding() {
    for scaffold in scaffold::ALL {
        let folder = load(&scaffold.files(&sayings()));
        let findings: Vec<String> = folder.findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, [""; 0], "{} {}", scaffold.kind.as_str(), scaffold.stack);
        let challenge = folder.challenge.unwrap();
        assert_eq!(challenge.metadata.name, scaffold.title(&sayings()));
        assert_eq!(challenge.metadata.tags, scaffold.tags(&sayings()));
    }
}

#[test]
fn a_quiz_is_not_sent_to_play() {
    let refused = scaffold::ALL.iter().filter(|scaffold| !scaffold.can_be_played());
    let refused: Vec<_> = refused.map(|it| (it.kind.as_str(), it.stack)).collect();
    assert_eq!(refused, [("misc", "quiz")]);
}

#[test]
fn nothing_that_had_to_be_filled_in_is_left() {
    for scaffold in scaffold::ALL {
        for (name, content) in scaffold.files(&sayings()) {
            let text = String::from_utf8(content).unwrap();
            assert!(!text.contains("@@") && !text.contains("TODO"), "{name}");
            assert!(text.ends_with('\n'), "{name}");
        }
    }
}

#[test]
fn every_kind_has_a_scaffold_and_no_stack_is_there_twice() {
    for kind in Kind::ALL {
        let mut stacks: Vec<_> = scaffold::of(kind).map(|scaffold| scaffold.stack).collect();
        let n_stacks = stacks.len();
        stacks.sort_unstable();
        stacks.dedup();
        assert!(n_stacks > 0 && stacks.len() == n_stacks, "{}", kind.as_str());
    }
}

#[test]
fn a_lock_keeps_its_phrase_to_itself() {
    let scaffold = choose(Kind::Reverse, None).unwrap();
    let files = scaffold.files(&sayings());
    let lock = String::from_utf8(files["attachments/lock.hex"].clone()).unwrap();
    let plain: String = sayings().phrase.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!lock.replace('\n', "").contains(&plain[..8]), "{lock}");
    assert!(lock.ends_with("501b\n"), "{lock}");
    assert_ne!(phrase().unwrap(), phrase().unwrap());
}

#[test]
fn a_stack_that_does_not_exist_is_answered_with_those_that_do() {
    let refused = choose(Kind::Misc, Some("python")).unwrap_err();
    insta::assert_snapshot!(refused, @r"
    error: misc has no stack `python`
     next: use one of quiz, service
    ");
}

#[test]
fn a_title_that_players_could_not_read_is_refused() {
    for title in ["", "  ", "two\nlines", "\u{202e}esrever", &"x".repeat(201)] {
        let sayings = Sayings { title: Some(title.to_owned()), ..sayings() };
        let files = choose(Kind::Web, None).unwrap().files(&sayings);
        assert!(check(&place(), &files).is_err(), "{title:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_title_and_tag_is_read_back_equal_or_refused(
        title in "\\PC{1,40}|[ -~]{1,20}|@@TAGS@@|[yYnN~]|true|[0-9.:e+-]{1,8}",
        tag in "\\PC{1,20}|[ -~]{1,12}|null|[0-9]{1,6}",
    ) {
        let sayings =
            Sayings { title: Some(title.clone()), tags: vec![tag.clone()], ..sayings() };
        let files = choose(Kind::Misc, None).unwrap().files(&sayings);
        let folder = load(&files);
        match folder.challenge {
            Some(challenge) => {
                prop_assert_eq!(&challenge.metadata.name, title.trim());
                prop_assert_eq!(&challenge.metadata.tags, &vec![tag.trim()]);
            }
            None => {
                let is_about_words =
                    folder.findings.iter().all(|it| ["META002", "META004", "META023"].contains(&it.rule.as_str()));
                prop_assert!(is_about_words, "{:?}", folder.findings);
                prop_assert!(check(&place(), &files).is_err());
            }
        }
    }
}
