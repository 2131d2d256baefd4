//! The table of `contract/gitops.md` §4.12, row by row, and what holds for any history of tags.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn object(n: u8) -> ObjectId {
    ObjectId::from_bytes([n; 20])
}

fn name(text: &str) -> TagName {
    text.parse().unwrap()
}

/// Compiled once: a property asks for it a hundred thousand times.
static PATTERN: LazyLock<TagPattern> =
    LazyLock::new(|| TagPattern::parse(r"^v(?<v>\d+\.\d+\.\d+.*)$").unwrap());

/// Versions `v1.2.3`, automatic, annotated.
fn policy() -> TagPolicy {
    TagPolicy {
        pattern: PATTERN.clone(),
        order: TagOrder::Semver,
        range: None,
        allows_prerelease: false,
        needs_annotated: true,
        needs_signed: false,
        ancestor_of: vec![],
        soak_millis: 0,
        is_automatic: true,
        on_moved: OnMoved::Hold,
        on_deleted: OnDeleted::Keep,
        freezes: vec![],
    }
}

/// An annotated tag that was made and seen an hour ago.
fn tag(text: &str, n: u8) -> TagFacts {
    let seen = Sighting { object: object(n), first_seen: NOW.plus_secs(-3_600) };
    TagFacts {
        record: TagRecord { name: name(text), sightings: vec![seen], current: Some(object(n)) },
        target: TagTarget::Commit {
            revision: Revision(object(n)),
            object: Some(TagObject {
                name: text.to_owned(),
                tagged_at: Some(NOW.plus_secs(-3_600 + i64::from(n))),
            }),
        },
        distrust: None,
        is_contained: None,
    }
}

fn distrust() -> Distrust {
    Distrust { reason: "Unsigned", words: "nobody signed it".to_owned() }
}

fn live(text: &str, n: u8) -> LiveTag {
    LiveTag { name: name(text), object: object(n) }
}

fn selected(policy: &TagPolicy, tags: &[TagFacts], live: Option<&LiveTag>) -> Selection {
    select(policy, tags, live, &Decisions::default(), NOW)
}

fn candidate(selection: &Selection) -> Option<&str> {
    selection.candidate.as_ref().map(|it| it.name.as_str())
}

fn hold(selection: &Selection) -> &Hold {
    assert_eq!(selection.candidate, None);
    &selection.waiting.as_ref().expect("something waits").1
}

#[test]
fn the_highest_goes_live_without_stepping_through_the_others() {
    let tags = [tag("v1.0.0", 1), tag("v1.10.0", 3), tag("v1.2.0", 2), tag("nightly", 9)];
    let selection = selected(&policy(), &tags, None);
    assert_eq!(candidate(&selection), Some("v1.10.0"));
    assert_eq!(selection.standings[&name("v1.0.0")], Standing::Superseded);
    assert!(!selection.standings.contains_key(&name("nightly")), "it is no release tag");
    let now_live = selected(&policy(), &tags, Some(&live("v1.10.0", 3)));
    assert_eq!(now_live.candidate, None);
    assert_eq!(now_live.waiting, None);
    assert_eq!(now_live.standings[&name("v1.10.0")], Standing::Live);
}

#[test]
fn nothing_goes_back_by_itself() {
    let tags = [tag("v1.0.0", 1), tag("v2.0.0", 2)];
    assert_eq!(selected(&policy(), &tags, Some(&live("v2.0.0", 2))).candidate, None);
    // Also when the live tag is gone, and also by date.
    let mut gone = tags.clone();
    gone[1].record.current = None;
    for order in [TagOrder::Semver, TagOrder::Date] {
        let policy = TagPolicy { order, ..policy() };
        let selection = selected(&policy, &gone, Some(&live("v2.0.0", 2)));
        assert_eq!(selection.candidate, None, "{order:?}");
        assert_eq!(selection.standings[&name("v2.0.0")], Standing::Gone);
    }
}

#[test]
fn a_moved_tag_is_held_until_somebody_accepts_that_very_move() {
    let mut moved = tag("v1.1.0", 2);
    moved.record.sightings.push(Sighting { object: object(3), first_seen: NOW });
    moved.record.current = Some(object(3));
    let tags = [tag("v1.0.0", 1), moved];
    let selection = selected(&policy(), &tags, Some(&live("v1.0.0", 1)));
    assert!(
        matches!(hold(&selection), Hold::Moved { was, now, .. } if *was == object(2) && *now == object(3))
    );
    let accept = |n| Decisions {
        accepted_moves: BTreeSet::from([(name("v1.1.0"), object(n))]),
        ..Decisions::default()
    };
    let accepted = select(&policy(), &tags, None, &accept(3), NOW);
    assert_eq!(candidate(&accepted), Some("v1.1.0"));
    let other = select(&policy(), &tags, None, &accept(2), NOW);
    assert_eq!(other.candidate, None, "another move was accepted");
    let reject = TagPolicy { on_moved: OnMoved::Reject, ..policy() };
    let rejected = select(&reject, &tags, None, &accept(3), NOW);
    assert!(matches!(hold(&rejected), Hold::Rejected { .. }));
}

#[test]
fn a_tag_that_is_deleted_and_made_again_elsewhere_has_moved() {
    let mut again = tag("v1.0.0", 1);
    again.record.current = None;
    assert_eq!(selected(&policy(), &[again.clone()], None).candidate, None);
    again.record.current = Some(object(1));
    assert_eq!(candidate(&selected(&policy(), &[again.clone()], None)), Some("v1.0.0"));
    again.record.sightings.push(Sighting { object: object(2), first_seen: NOW });
    again.record.current = Some(object(2));
    assert!(matches!(hold(&selected(&policy(), &[again], None)), Hold::Moved { .. }));
}

#[test]
fn the_live_tag_that_moves_is_told_and_stays_live() {
    let mut moved = tag("v1.0.0", 1);
    moved.record.sightings.push(Sighting { object: object(2), first_seen: NOW });
    moved.record.current = Some(object(2));
    let selection = selected(&policy(), &[moved.clone()], Some(&live("v1.0.0", 1)));
    assert!(matches!(hold(&selection), Hold::Moved { .. }));
    let accepted = Decisions {
        accepted_moves: BTreeSet::from([(name("v1.0.0"), object(2))]),
        ..Decisions::default()
    };
    let selection = select(&policy(), &[moved], Some(&live("v1.0.0", 1)), &accepted, NOW);
    assert_eq!(candidate(&selection), Some("v1.0.0"));
}

#[test]
fn equal_places_are_nobodys_to_break() {
    let mut pattern = policy();
    pattern.pattern = TagPattern::parse(r"^v?(?<v>\d+\.\d+\.\d+.*)$").unwrap();
    let tags = [tag("v1.0.0", 1), tag("1.0.0", 2)];
    let selection = selected(&pattern, &tags, None);
    assert!(matches!(hold(&selection), Hold::Ambiguous { .. }));
    for text in ["v1.0.0", "1.0.0"] {
        let standing = &selection.standings[&name(text)];
        assert!(matches!(standing, Standing::Held(Hold::Ambiguous { .. })), "{standing:?}");
    }
    // A higher one settles it.
    let tags = [tag("v1.0.0", 1), tag("1.0.0", 2), tag("v1.0.1", 3)];
    assert_eq!(candidate(&selected(&pattern, &tags, None)), Some("v1.0.1"));
}

#[test]
fn a_held_tag_is_not_passed_over_for_a_lower_one() {
    let mut untrusted = tag("v1.1.0", 2);
    untrusted.distrust = Some(distrust());
    let selection = selected(&policy(), &[tag("v1.0.0", 1), untrusted], None);
    assert!(matches!(hold(&selection), Hold::Untrusted { .. }));
}

#[test]
fn what_became_of_the_live_tag_is_known_as_long_as_it_is_the_same() {
    let is_now = |change: fn(&mut TagFacts)| {
        let mut one = tag("v1.0.0", 1);
        change(&mut one);
        claim(&[one, tag("v0.9.0", 2)], &live("v1.0.0", 1))
    };
    assert_eq!(is_now(|_| ()), Some(Claim::Stands));
    assert_eq!(is_now(|it| it.record.current = None), Some(Claim::Gone));
    let distrusted = Some(Claim::Distrusted(distrust()));
    assert_eq!(is_now(|it| it.distrust = Some(distrust())), distrusted);
    let both = is_now(|it| (it.record.current, it.distrust) = (None, Some(distrust())));
    assert_eq!(both, distrusted);
    let moved = Sighting { object: object(9), first_seen: NOW };
    assert_eq!(claim(&[tag("v1.0.0", 9)], &live("v1.0.0", 1)), None);
    let mut gone = tag("v1.0.0", 1);
    gone.record.sightings.push(moved);
    (gone.record.current, gone.distrust) = (None, Some(distrust()));
    let why =
        "it moved and came back before it went, and its signature is that of the other object";
    assert_eq!(claim(&[gone], &live("v1.0.0", 1)), Some(Claim::Gone), "{why}");
    assert_eq!(claim(&[], &live("v1.0.0", 1)), None);
}

#[test]
fn what_a_tag_is_not_is_said() {
    let with = |change: fn(&mut TagFacts)| {
        let mut one = tag("v1.0.0", 1);
        change(&mut one);
        hold(&selected(&policy(), &[one], None)).clone()
    };
    assert!(matches!(
        with(|it| it.target = TagTarget::Commit { revision: Revision(object(1)), object: None }),
        Hold::NotAnnotated { .. }
    ));
    assert!(matches!(
        with(|it| it.target = TagTarget::Other("tree")),
        Hold::NotACommit { what: "tree", .. }
    ));
    assert!(matches!(with(|it| it.target = TagTarget::Unreadable), Hold::Unreadable { .. }));
    assert!(matches!(with(|it| it.is_contained = Some(false)), Hold::NotAnAncestor { .. }));
    let replayed = with(|it| {
        let TagTarget::Commit { object: Some(object), .. } = &mut it.target else { panic!() };
        object.name = "v0.9.0".into();
    });
    assert!(matches!(replayed, Hold::NameMismatch { inner, .. } if inner == "v0.9.0"));
    let future = with(|it| {
        let TagTarget::Commit { object: Some(object), .. } = &mut it.target else { panic!() };
        object.tagged_at = Some(NOW.plus_secs(3_600));
    });
    assert!(matches!(future, Hold::FutureDate { .. }));
}

#[test]
fn time_ends_what_waits_for_time() {
    let soaking = TagPolicy { soak_millis: 7_200_000, ..policy() };
    let selection = selected(&soaking, &[tag("v1.0.0", 1)], None);
    let until = NOW.plus_secs(3_600);
    assert_eq!(*hold(&selection), Hold::Soaking { name: name("v1.0.0"), until });
    assert_eq!(selection.wake_at, Some(until));
    let later = select(&soaking, &[tag("v1.0.0", 1)], None, &Decisions::default(), until);
    assert_eq!(candidate(&later), Some("v1.0.0"));

    let freeze = Freeze { from: NOW.plus_secs(-1), until, why: "finals".into() };
    let frozen = TagPolicy { freezes: vec![freeze], ..policy() };
    let selection = selected(&frozen, &[tag("v1.0.0", 1)], None);
    assert!(matches!(hold(&selection), Hold::Frozen { .. }));
    assert_eq!(selection.wake_at, Some(until));
    let later = select(&frozen, &[tag("v1.0.0", 1)], None, &Decisions::default(), until);
    assert_eq!(candidate(&later), Some("v1.0.0"));
}

#[test]
fn an_approval_is_of_one_object_and_overrides_time_but_not_trust() {
    let manual = TagPolicy { is_automatic: false, soak_millis: 7_200_000, ..policy() };
    let approved = Decisions {
        approved: BTreeSet::from([(name("v1.0.0"), object(1))]),
        ..Decisions::default()
    };
    let tags = [tag("v1.0.0", 1)];
    assert_eq!(candidate(&select(&manual, &tags, None, &approved, NOW)), Some("v1.0.0"));
    let automatic_later = TagPolicy { is_automatic: false, ..policy() };
    assert!(matches!(
        hold(&selected(&automatic_later, &tags, None)),
        Hold::AwaitingApproval { .. }
    ));
    let other = Decisions {
        approved: BTreeSet::from([(name("v1.0.0"), object(9))]),
        ..Decisions::default()
    };
    assert_eq!(select(&manual, &tags, None, &other, NOW).candidate, None);
    let mut untrusted = tag("v1.0.0", 1);
    untrusted.distrust = Some(distrust());
    let selection = select(&manual, &[untrusted], None, &approved, NOW);
    assert!(matches!(hold(&selection), Hold::Untrusted { .. }));
}

#[test]
fn after_a_rollback_only_a_later_tag_goes_live() {
    let quarantined = Decisions {
        quarantined: BTreeSet::from([(name("v1.1.0"), object(2))]),
        ..Decisions::default()
    };
    let live = live("v1.0.0", 1);
    let tags = [tag("v1.0.0", 1), tag("v1.0.1", 4), tag("v1.1.0", 2)];
    let selection = select(&policy(), &tags, Some(&live), &quarantined, NOW);
    assert_eq!(selection.candidate, None, "1.0.1 is before the quarantined 1.1.0");
    assert_eq!(selection.standings[&name("v1.1.0")], Standing::Quarantined);
    let with_next = [tags.to_vec(), vec![tag("v1.1.1", 5)]].concat();
    let selection = select(&policy(), &with_next, Some(&live), &quarantined, NOW);
    assert_eq!(candidate(&selection), Some("v1.1.1"));
}

#[test]
fn a_deleted_live_tag_holds_the_next_where_that_is_wanted() {
    let mut gone = tag("v1.0.0", 1);
    gone.record.current = None;
    let tags = [gone, tag("v1.1.0", 2)];
    let live = live("v1.0.0", 1);
    assert_eq!(candidate(&selected(&policy(), &tags, Some(&live))), Some("v1.1.0"));
    let careful = TagPolicy { on_deleted: OnDeleted::Hold, ..policy() };
    let selection = selected(&careful, &tags, Some(&live));
    assert!(matches!(hold(&selection), Hold::LiveDeleted { .. }));
}

#[test]
fn a_change_of_the_policy_only_goes_upwards() {
    let numeric = TagPolicy {
        pattern: TagPattern::parse(r"^r(?<v>\d+)$").unwrap(),
        order: TagOrder::Numeric,
        ..policy()
    };
    // The live tag is no release tag of the new policy: its tags begin a new epoch.
    let selection = selected(&numeric, &[tag("v9.0.0", 1), tag("r1", 2)], Some(&live("v9.0.0", 1)));
    assert_eq!(candidate(&selection), Some("r1"));
    // A live pre-release bounds what comes, although new ones do not count.
    let tags = [tag("v2.0.0-rc.1", 1), tag("v1.9.0", 2)];
    assert_eq!(selected(&policy(), &tags, Some(&live("v2.0.0-rc.1", 1))).candidate, None);
}

fn any_tag() -> impl Strategy<Value = TagFacts> {
    let text = (0_u8..4, 0_u8..3, prop_oneof![Just(""), Just("-rc.1"), Just("+x")])
        .prop_map(|(a, b, more)| format!("v{a}.{b}.0{more}"));
    (text, 1_u8..5, proptest::option::of(1_u8..5), 0_u8..8).prop_map(|(text, first, moved, odd)| {
        let mut facts = tag(&text, first);
        if let Some(moved) = moved.filter(|moved| *moved != first) {
            facts.record.sightings.push(Sighting { object: object(moved), first_seen: NOW });
            facts.record.current = Some(object(moved));
        }
        match odd {
            0 => facts.record.current = None,
            1 => facts.distrust = Some(distrust()),
            2 => facts.target = TagTarget::Other("tree"),
            3 => facts.is_contained = Some(false),
            _ => {}
        }
        facts
    })
}

fn any_tags() -> impl Strategy<Value = Vec<TagFacts>> {
    proptest::collection::vec(any_tag(), 0..8).prop_map(|tags| {
        let by_name: BTreeMap<_, _> =
            tags.into_iter().map(|tag| (tag.record.name.clone(), tag)).collect();
        by_name.into_values().collect()
    })
}

fn semver_key(name: &TagName) -> OrderKey {
    let part = PATTERN.ordered_part(name).unwrap();
    order::key(TagOrder::Semver, part, None, None, true).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_candidate_is_beyond_doubt_and_after_everything_that_was_live_or_taken_out(
        tags in any_tags(),
        live_at in proptest::option::of(any::<prop::sample::Index>()),
        bad_at in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let pick = |at: Option<prop::sample::Index>| {
            at.filter(|_| !tags.is_empty()).map(|at| at.get(&tags).clone())
        };
        let live = pick(live_at).map(|tag| LiveTag {
            name: tag.record.name.clone(),
            object: tag.record.sightings[0].object,
        });
        let bad = pick(bad_at).and_then(|tag| Some((tag.record.name.clone(), tag.record.current?)));
        let decisions = Decisions { quarantined: bad.iter().cloned().collect(), ..Decisions::default() };
        let selection = select(&policy(), &tags, live.as_ref(), &decisions, NOW);
        prop_assert!(selection.candidate.is_none() || selection.waiting.is_none());
        let mut reversed = tags.clone();
        reversed.reverse();
        prop_assert_eq!(&select(&policy(), &reversed, live.as_ref(), &decisions, NOW).candidate, &selection.candidate);
        let Some(chosen) = &selection.candidate else { return Ok(()) };
        let facts = tags.iter().find(|tag| tag.record.name == chosen.name).unwrap();
        prop_assert_eq!(facts.record.current, Some(chosen.object));
        prop_assert_eq!(facts.record.sightings[0].object, chosen.object, "it never moved");
        prop_assert_eq!(&facts.distrust, &None);
        prop_assert!(facts.is_contained != Some(false));
        let key = semver_key(&chosen.name);
        let bounds = live.iter().map(|it| &it.name).chain(bad.iter().map(|it| &it.0));
        for bound in bounds {
            prop_assert_eq!(key.compare(&semver_key(bound)), Some(Ordering::Greater));
        }
        // Going live ends it.
        let now_live = LiveTag { name: chosen.name.clone(), object: chosen.object };
        let after = select(&policy(), &tags, Some(&now_live), &decisions, NOW);
        prop_assert_eq!(after.candidate, None);
    }
}
