//! The fuse against any course of drifts and listings.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn id(n: u8) -> InstanceId {
    InstanceId::new(Uuid::from_bytes([n; 16]))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

/// A fuse of which `n` of `of` instances drifted at second 0.
fn after(n: u8, of: usize) -> Fuse {
    let mut fuse = Fuse::default();
    (1..=n).for_each(|nth| fuse.drifted(id(nth), of, at(0)));
    fuse
}

#[test]
fn a_few_of_many_and_four_of_four_are_no_storm() {
    for (n, of) in [(4, 4), (30, 100), (1, 1)] {
        let mut fuse = after(n, of);
        assert_eq!(fuse.mode(), Mode::Calm, "{n} of {of}");
        assert_eq!(fuse.admit(id(1), at(0)), Admission::Go);
    }
    assert_eq!(after(31, 100).mode(), Mode::Paused(at(60)));
    assert_eq!(after(5, 5).mode(), Mode::Paused(at(60)));
}

#[test]
fn what_drifts_slowly_is_no_storm() {
    let mut fuse = Fuse::default();
    for nth in 0..40 {
        fuse.drifted(id(nth), 10, at(i64::from(nth) * 20));
    }
    assert_eq!(fuse.mode(), Mode::Calm);
}

#[test]
fn a_storm_pauses_until_a_listing_and_then_goes_slowly() {
    let mut fuse = after(25, 25);
    assert_eq!(fuse.admit(id(1), at(59)), Admission::Wait(at(60)));
    assert!(!fuse.listed(at(59)), "it began before the pause was over");
    assert_eq!(fuse.admit(id(1), at(60)), Admission::Wait(at(61)));
    assert_eq!(fuse.admit(id(99), at(60)), Admission::Go, "it did not drift");
    assert!(fuse.listed(at(61)));
    let go = |fuse: &mut Fuse, secs: i64, ids: std::ops::RangeInclusive<u8>| {
        ids.filter(|n| fuse.admit(id(*n), at(secs)) == Admission::Go).count()
    };
    assert_eq!(go(&mut fuse, 61, 1..=25), 10);
    assert_eq!(fuse.admit(id(25), at(62)), Admission::Wait(at(71)));
    assert_eq!(go(&mut fuse, 71, 11..=25), 10);
    assert_eq!(go(&mut fuse, 81, 21..=25), 5);
    assert_eq!(fuse.mode(), Mode::Calm);
}

#[test]
fn an_instance_is_made_anew_three_times_in_ten_minutes() {
    let mut replaces = Replaces::default();
    let counted = [0, 60, 120, 180, 599, 600, 601].map(|secs| replaces.count(at(secs)));
    assert_eq!(counted, [true, true, true, false, false, true, false]);
}

/// One step of the world around a fuse.
#[derive(Debug, Clone)]
enum Step {
    Drifts(u8),
    Asks(u8),
    Listed,
    Forgotten(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..40).prop_map(Step::Drifts),
        6 => (0_u8..40).prop_map(Step::Asks),
        2 => Just(Step::Listed),
        1 => (0_u8..40).prop_map(Step::Forgotten),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_storm_lets_nothing_through_and_then_ten_in_ten_seconds(
        steps in proptest::collection::vec((any_step(), 0_i64..4_000), 1..80),
        n_managed in 1_usize..60,
    ) {
        let mut fuse = Fuse::default();
        let mut now = at(1_000);
        let mut admitted: Vec<Timestamp> = Vec::new();
        let mut waiting = BTreeSet::new();
        for (step, millis) in steps {
            now = now.plus_millis(millis);
            let before = fuse.mode();
            match step {
                Step::Drifts(n) => {
                    fuse.drifted(id(n), n_managed, now);
                    waiting.insert(n);
                }
                Step::Asks(n) => {
                    let admission = fuse.admit(id(n), now);
                    let is_waiting = waiting.contains(&n);
                    prop_assert!(is_waiting || admission == Admission::Go, "it did not drift");
                    if let Admission::Wait(until) = admission {
                        prop_assert!(until > now);
                        continue;
                    }
                    if waiting.remove(&n) {
                        prop_assert!(!matches!(before, Mode::Paused(_)), "repaired in a pause");
                        if before == Mode::Slow {
                            admitted.push(now);
                        }
                    }
                }
                Step::Listed => drop(fuse.listed(now)),
                Step::Forgotten(n) => {
                    fuse.forget(id(n));
                    waiting.remove(&n);
                }
            }
            if let (Mode::Paused(until), Mode::Slow) = (before, fuse.mode()) {
                prop_assert!(until <= now, "the pause was cut short");
            }
            let recent = admitted.iter().filter(|at| now.millis_since(**at) < REPAIRS_MILLIS);
            prop_assert!(recent.count() <= N_REPAIRS);
        }
        // Whoever waits gets its turn.
        for _ in 0..200 {
            if waiting.is_empty() {
                break;
            }
            now = now.plus_millis(1_000);
            fuse.listed(now);
            waiting.retain(|n| fuse.admit(id(*n), now) != Admission::Go);
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} wait for ever");
    }
}
