//! What forges are told: by hand, by properties, and against a forge over HTTP.

mod client;
mod properties;

use super::*;
use crate::model::{ChallengeId, CommitState, CommitStatus, ObjectId, Revision, StatusContext};

fn revision(n: u8) -> Revision {
    Revision(ObjectId::from_bytes([n; 20]))
}

fn ids(numbers: &[u16]) -> Vec<ChallengeId> {
    numbers.iter().map(|n| format!("WEB-{n:03}").parse().unwrap()).collect()
}

fn head(n: u8) -> HeadFacts {
    HeadFacts {
        revision: revision(n),
        n_challenges: 41,
        broken: Vec::new(),
        images: ImageFacts { n_images: 57, ..ImageFacts::default() },
        going: Going::Live,
    }
}

fn facts(head: HeadFacts) -> Facts {
    Facts { head: Some(head), active: None, tagged: None }
}

/// What was decided takes the place of what was known.
fn merged(known: &[CommitStatus], decided: &[CommitStatus]) -> Vec<CommitStatus> {
    let is_replaced = |old: &&CommitStatus| {
        !decided.iter().any(|new| new.revision == old.revision && new.context == old.context)
    };
    known.iter().filter(is_replaced).chain(decided).cloned().collect()
}

/// What is told of each, one line per status.
fn told(facts: &Facts, known: &[CommitStatus], names: Names) -> String {
    let line = |it: &CommitStatus| {
        format!("{} {} {}: {}", &it.revision.short()[..2], it.context, it.state, it.description)
    };
    decide(facts, known, names).iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_revision_is_valid_then_built_then_live() {
    insta::assert_snapshot!(told(&Facts::default(), &[], Names::Hidden), @"");
    let images = ImageFacts { n_images: 57, n_missing: 3, ..ImageFacts::default() };
    let building = HeadFacts { images, going: Going::Waiting, ..head(1) };
    insta::assert_snapshot!(told(&facts(building), &[], Names::Hidden), @"
    01 flagops/validate success: 41 challenges are valid
    01 flagops/build pending: images are being built, 57 in all
    01 flagops/release pending: not live yet
    ");
    insta::assert_snapshot!(told(&facts(head(1)), &[], Names::Hidden), @"
    01 flagops/validate success: 41 challenges are valid
    01 flagops/build success: 57 images are built
    01 flagops/release success: live
    ");
}

#[test]
fn what_is_wrong_is_counted_and_named_only_where_names_are_allowed() {
    let images = ImageFacts { n_images: 57, n_missing: 9, n_failed: 2, failed: ids(&[3]) };
    let going = Going::Blocked(ids(&[1, 2, 3]));
    let broken = HeadFacts { broken: ids(&[1, 2]), images, going, ..head(1) };
    insta::assert_snapshot!(told(&facts(broken.clone()), &[], Names::Hidden), @"
    01 flagops/validate failure: 2 of 41 challenges not valid
    01 flagops/build failure: 2 of 57 images could not be built
    01 flagops/release failure: 3 challenges do not go live as they are
    ");
    insta::assert_snapshot!(told(&facts(broken), &[], Names::Told), @"
    01 flagops/validate failure: 2 of 41 challenges not valid: WEB-001, WEB-002
    01 flagops/build failure: 2 of 57 images could not be built: WEB-003
    01 flagops/release failure: 3 challenges do not go live as they are: WEB-001, WEB-002, WEB-003
    ");
}

#[test]
fn the_commit_that_players_have_says_so_also_when_it_is_not_the_newest() {
    let active = Some(Active { revision: revision(1), generation: 7 });
    let newest = HeadFacts { going: Going::AwaitsTag, ..head(2) };
    insta::assert_snapshot!(told(&Facts { head: Some(newest), active, tagged: None }, &[], Names::Hidden), @"
    02 flagops/validate success: 41 challenges are valid
    02 flagops/build success: 57 images are built
    01 flagops/release success: live as generation 7
    ");
    for going in [Going::Live, Going::AwaitsTag] {
        let released = Facts { head: Some(HeadFacts { going, ..head(1) }), active, tagged: None };
        assert!(told(&released, &[], Names::Hidden).ends_with("success: live as generation 7"));
    }
    let same = told(&Facts { head: Some(head(2)), active, tagged: None }, &[], Names::Hidden);
    assert!(same.contains("02 flagops/release success: generation 7 has the same"), "{same}");
}

#[test]
fn a_tag_that_goes_live_next_says_what_it_waits_for() {
    let active = Some(Active { revision: revision(1), generation: 7 });
    let head = Some(HeadFacts { going: Going::AwaitsTag, ..head(3) });
    let next = |n, kept| {
        let tagged = Tagged { tag: "v1.1.0".parse().unwrap(), revision: revision(n), kept };
        Facts { head: head.clone(), active, tagged: Some(tagged) }
    };
    let waits = next(2, Kept::Waits("AwaitingApproval"));
    insta::assert_snapshot!(told(&waits, &[], Names::Hidden), @"
    03 flagops/validate success: 41 challenges are valid
    03 flagops/build success: 57 images are built
    02 flagops/release pending: tag v1.1.0 waits: AwaitingApproval
    01 flagops/release success: live as generation 7
    ");
    let blocked = next(3, Kept::Blocked(ids(&[1, 2])));
    let told_then = told(&blocked, &[], Names::Told);
    let words = "03 flagops/release failure: tag v1.1.0 does not go live: 2 challenges are not good: WEB-001, WEB-002";
    assert!(told_then.contains(words), "{told_then}");
    assert!(!told(&blocked, &[], Names::Hidden).contains("WEB-"));
    // Taken out: nobody waits for it any more.
    let known = decide(&waits, &[], Names::Hidden);
    let gone = Facts { head: head.clone(), active, tagged: None };
    let told_then = told(&gone, &known, Names::Hidden);
    assert!(told_then.contains("02 flagops/release error: no tag of it goes live"), "{told_then}");
    // The commit that players have is live, whatever else is on it.
    let again = told(&next(1, Kept::Waits("Soaking")), &[], Names::Hidden);
    assert!(again.ends_with("01 flagops/release success: live as generation 7"), "{again}");
}

#[test]
fn a_commit_of_which_players_have_a_part_is_not_live() {
    let active = Some(Active { revision: revision(1), generation: 7 });
    let check = |going| {
        told(
            &Facts { head: Some(HeadFacts { going, ..head(1) }), active, tagged: None },
            &[],
            Names::Hidden,
        )
    };
    assert!(check(Going::Waiting).ends_with("release pending: not live yet"));
    let blocked = Going::Blocked(ids(&[1]));
    assert!(check(blocked.clone()).ends_with("failure: 1 challenge does not go live as it is"));
    // Nor is it later, while the newest revision waits.
    let partly =
        Facts { head: Some(HeadFacts { going: blocked, ..head(1) }), active, tagged: None };
    let known = decide(&partly, &[], Names::Hidden);
    let newer =
        Facts { head: Some(HeadFacts { going: Going::Waiting, ..head(2) }), active, tagged: None };
    let told = told(&newer, &known, Names::Hidden);
    assert!(!told.contains("01 "), "{told}");
}

#[test]
fn what_something_else_took_the_place_of_gets_a_last_word() {
    let images = ImageFacts { n_images: 57, n_missing: 3, ..ImageFacts::default() };
    let building = HeadFacts { images, going: Going::Waiting, ..head(2) };
    let known = merged(
        &decide(&facts(head(1)), &[], Names::Hidden),
        &decide(&facts(building), &[], Names::Hidden),
    );
    let decided = decide(&facts(head(3)), &known, Names::Hidden);
    insta::assert_snapshot!(told(&facts(head(3)), &known, Names::Hidden), @"
    03 flagops/validate success: 41 challenges are valid
    03 flagops/build success: 57 images are built
    03 flagops/release success: live
    01 flagops/release success: was live until another revision took its place
    02 flagops/build error: superseded by 0303030303 before it was done
    02 flagops/release error: superseded by 0303030303 before it was done
    ");
    let known = merged(&known, &decided);
    // Back to the first: it is told as any other, and the third has its last word.
    let back = decide(&facts(head(1)), &known, Names::Hidden);
    let of = |n: u8| {
        let found = back
            .iter()
            .find(|it| it.revision == revision(n) && it.context == StatusContext::Release);
        found.map(|it| (it.state, it.description.as_str()))
    };
    assert_eq!(of(1), Some((CommitState::Success, "live")));
    assert_eq!(
        of(3),
        Some((CommitState::Success, "was live until another revision took its place"))
    );
}

#[test]
fn a_description_fits_every_forge() {
    let many: Vec<u16> = (0..200).collect();
    let broken = HeadFacts { broken: ids(&many), ..head(1) };
    let decided = decide(&facts(broken), &[], Names::Told);
    assert_eq!(decided[0].description.chars().count(), MAX_DESCRIPTION);
    assert!(decided[0].description.ends_with('…'));
}
