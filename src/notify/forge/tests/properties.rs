//! What holds whatever is pushed, built and released.

use proptest::prelude::*;

use super::*;

fn challenges() -> impl Strategy<Value = Vec<ChallengeId>> {
    prop::collection::vec(0_u16..400, 0..40).prop_map(|numbers| ids(&numbers))
}

fn images() -> impl Strategy<Value = ImageFacts> {
    (0_usize..500, 0_usize..500, 0_usize..3, challenges()).prop_map(
        |(n_images, n_missing, n_failed, failed)| ImageFacts {
            n_images,
            n_missing: n_missing.min(n_images),
            n_failed: n_failed.min(n_images),
            failed,
        },
    )
}

fn going() -> impl Strategy<Value = Going> {
    prop_oneof![
        Just(Going::Live),
        Just(Going::Waiting),
        Just(Going::AwaitsTag),
        challenges().prop_map(Going::Blocked),
    ]
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let head = (0_u8..4, 0_usize..900, challenges(), images(), going()).prop_map(
        |(n, n_challenges, broken, images, going)| HeadFacts {
            revision: revision(n),
            n_challenges: n_challenges.max(broken.len()),
            broken,
            images,
            going,
        },
    );
    let active = prop::option::of(
        (0_u8..4, 1_u32..9)
            .prop_map(|(n, generation)| Active { revision: revision(n), generation }),
    );
    let kept = prop_oneof![Just(Kept::Waits("Building")), challenges().prop_map(Kept::Blocked)];
    let tagged = prop::option::of((0_u8..4, kept).prop_map(|(n, kept)| Tagged {
        tag: "v1.0.0".parse().unwrap(),
        revision: revision(n),
        kept,
    }));
    (head, active, tagged).prop_map(|(head, active, tagged)| Facts {
        head: Some(head),
        active,
        tagged,
    })
}

proptest! {
    #[test]
    fn names_stay_hidden_and_descriptions_fit(facts in prop::collection::vec(some_facts(), 1..6)) {
        let mut known = Vec::new();
        for facts in &facts {
            for names in [Names::Hidden, Names::Told] {
                let decided = decide(facts, &known, names);
                for status in &decided {
                    let words = &status.description;
                    prop_assert!(words.chars().count() <= MAX_DESCRIPTION && !words.is_empty());
                    prop_assert!(!words.chars().any(char::is_control));
                    prop_assert!(names == Names::Told || !words.contains("WEB-"), "{words}");
                }
                if names == Names::Hidden {
                    known = merged(&known, &decided);
                }
            }
        }
    }

    #[test]
    fn deciding_again_changes_nothing(history in prop::collection::vec(some_facts(), 1..6)) {
        let mut known = Vec::new();
        for facts in &history {
            let decided = decide(facts, &known, Names::Told);
            let mut keys: Vec<_> = decided.iter().map(|it| (it.revision, it.context)).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), decided.len(), "one status for each commit and context");
            known = merged(&known, &decided);
            let again = decide(facts, &known, Names::Told);
            prop_assert!(again.iter().all(|status| known.contains(status)), "{again:?}");
        }
    }

    #[test]
    fn nothing_stays_pending_but_the_newest(history in prop::collection::vec(some_facts(), 1..6)) {
        let mut known = Vec::new();
        for facts in &history {
            known = merged(&known, &decide(facts, &known, Names::Hidden));
            let newest = facts.head.as_ref().unwrap().revision;
            let next = facts.tagged.as_ref().map(|tagged| tagged.revision);
            for status in known.iter().filter(|it| it.state == CommitState::Pending) {
                prop_assert!(status.revision == newest || Some(status.revision) == next);
            }
        }
    }

    #[test]
    fn one_commit_at_most_is_told_to_be_live(history in prop::collection::vec(some_facts(), 1..6)) {
        let mut known = Vec::new();
        for facts in &history {
            known = merged(&known, &decide(facts, &known, Names::Hidden));
            let n_live = known.iter().filter(|it| it.description.starts_with("live")).count();
            prop_assert!(n_live <= 1, "{known:?}");
        }
    }
}
