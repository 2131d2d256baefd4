//! When a certificate is ordered, and what is said of it: by example, and for any run of failures.

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600 * 1000;
const DAY: i64 = 24 * HOUR;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn days(from: i64, until: i64) -> Validity {
    Validity { from: at(from * DAY), until: at(until * DAY) }
}

#[test]
fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
    let held = Some(days(0, 90));
    assert_eq!(next(None, None, at(5)), Next::Order);
    assert_eq!(next(held, None, at(0)), Next::Wait(at(60 * DAY)));
    assert_eq!(next(held, None, at(60 * DAY)), Next::Order);
    let failures = Some(Failures { n: 1, last: at(60 * DAY) });
    assert_eq!(next(held, failures, at(60 * DAY)), Next::Wait(at(60 * DAY + FIRST_PAUSE_MILLIS)));
    // A clock that was set back by a year: what failed "later" is no reason to wait.
    assert_eq!(next(None, failures, at(DAY)), Next::Order);
}

#[test]
fn an_authority_is_not_asked_more_than_five_times_in_the_first_hour() {
    let (mut now, mut failures, mut n_tries) = (at(0), None, 0);
    while now.as_millis() < HOUR {
        match next(None, failures, now) {
            Next::Order => {
                n_tries += 1;
                failures = Some(Failures::another(failures, now));
            }
            Next::Wait(until) => now = until,
        }
    }
    assert_eq!(n_tries, 5);
}

#[test]
fn what_people_are_told() {
    let held = Some(days(0, 90));
    let told = |origin, held, why, day: i64| {
        let (status, reason, _) = standing(origin, held, why, at(day * DAY));
        format!("{} {reason}", status.as_str())
    };
    use Origin::{Authority, Files};
    let why = Some("the hook failed");
    for (origin, held, why, day, wanted) in [
        (Authority, None, None, 0, "Unknown Ordering"),
        (Authority, None, why, 0, "False OrderFailed"),
        (Authority, held, None, 0, "True Ok"),
        (Authority, held, why, 70, "True RenewalFailed"),
        (Authority, held, why, 75, "False Expiring"),
        (Authority, held, None, 90, "False Expired"),
        (Authority, held, None, -1, "False NotYetValid"),
        (Files, held, None, 74, "True Ok"),
        (Files, held, None, 75, "False Expiring"),
        // One of ten years is no reason to speak for twenty months.
        (Files, Some(days(0, 3650)), None, 3000, "True Ok"),
        (Files, Some(days(0, 3650)), None, 3629, "False Expiring"),
    ] {
        assert_eq!(told(origin, held, why, day), wanted, "{origin:?} {held:?} {why:?} {day}");
    }
    let (_, _, message) = standing(Files, held, None, at(80 * DAY));
    assert!(message.contains("`ingress.certificate`"), "{message}");
    let (_, _, message) = standing(Authority, held, why, at(80 * DAY));
    assert!(message.ends_with("the hook failed"), "{message}");
}

fn validity() -> impl Strategy<Value = Option<Validity>> {
    let one = (-100..100_i64, 0..4000_i64).prop_map(|(from, life)| days(from, from + life));
    prop::option::of(one)
}

fn failures() -> impl Strategy<Value = Option<Failures>> {
    let one = (1..u32::MAX, 0..10 * DAY).prop_map(|(n, last)| Failures { n, last: at(last) });
    prop::option::of(one)
}

proptest! {
    #[test]
    fn whoever_waits_as_told_orders_then(held in validity(), failed in failures(), now in 0..10 * DAY) {
        let now = at(now);
        if let Next::Wait(until) = next(held, failed, now) {
            prop_assert!(until > now);
            prop_assert_eq!(next(held, failed, until), Next::Order);
            let paused = failed.is_some_and(|it| it.again() > now);
            prop_assert!(paused || held.is_some_and(|it| it.renewal() > now));
        }
    }

    #[test]
    fn what_is_ordered_is_due_and_not_too_soon(held in validity(), failed in failures(), now in 0..10 * DAY) {
        let now = at(now);
        if next(held, failed, now) == Next::Order {
            prop_assert!(held.is_none_or(|it| it.renewal() <= now));
            let is_paced = failed.is_none_or(|it| {
                it.last > now || now.millis_since(it.last) >= FIRST_PAUSE_MILLIS
            });
            prop_assert!(is_paced);
        }
    }

    #[test]
    fn no_pause_is_longer_than_the_longest(n in 1..u32::MAX, last in 0..10 * DAY) {
        let pause = Failures { n, last: at(last) }.again().millis_since(at(last));
        prop_assert!((FIRST_PAUSE_MILLIS..=LONGEST_PAUSE_MILLIS).contains(&pause));
    }

    #[test]
    fn one_that_players_are_warned_of_is_never_good(
        held in validity(), has_failed: bool, now in -200 * DAY..5000 * DAY,
    ) {
        let now = at(now);
        let why = has_failed.then_some("x");
        let (status, ..) = standing(Origin::Authority, held, why, now);
        let is_served = held.is_some_and(|it| it.from <= now && now < it.until);
        if status == ConditionStatus::True {
            prop_assert!(is_served);
        }
        if held.is_some() && !is_served {
            prop_assert_eq!(status, ConditionStatus::False);
        }
    }
}
