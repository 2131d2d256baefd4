//! Whatever happens to conditions, people are told little, and nothing twice.

use proptest::prelude::*;

use super::super::decide::FIRST_REMINDER_MILLIS;
use super::super::throttle::MOST_PER_HOUR;
use super::*;

const KINDS: [ConditionType; 3] =
    [ConditionType::DockerAvailable, ConditionType::PruneHeld, ConditionType::Healthy];
const REASONS: [&str; 3] = ["Unreachable", "BudgetExceeded", "Failing"];

/// So many seconds later, an object turns so, or is no more.
type Step = (i64, Scope, ConditionType, Option<(ConditionStatus, &'static str)>);

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Node(NodeId::local())),
        (0_usize..40).prop_map(challenge),
        (0_u128..1000).prop_map(instance),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![
        Just(ConditionStatus::True),
        Just(ConditionStatus::False),
        Just(ConditionStatus::Unknown)
    ];
    let state = prop::option::weighted(0.9, (status, prop::sample::select(&REASONS[..])));
    let pause = prop_oneof![3 => 0_i64..3, 2 => 3_i64..120, 1 => 120_i64..6000];
    (pause, scope(), prop::sample::select(&KINDS[..]), state)
}

/// The world after `steps`, looked at after each.
fn after(steps: Vec<Step>) -> World {
    let (mut world, mut secs) = (World::default(), 0);
    for (pause, scope, kind, state) in steps {
        secs += pause;
        match state {
            Some((status, reason)) => world.state(condition(scope, kind, status, reason)),
            None => world.conditions.retain(|(it, _), _| *it != scope),
        }
        world.look(at(secs));
        assert_eq!(world.look(at(secs)), 0, "deciding again at once tells nothing");
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_is_never_told_twice_within_an_hour(steps in prop::collection::vec(step(), 1..200)) {
        let mut last = BTreeMap::new();
        for (now, draft) in after(steps).told {
            if draft.kind == NoticeKind::Recovery {
                continue;
            }
            for alarm in draft.members {
                let print = (alarm.condition.scope, alarm.condition.kind, alarm.failed);
                if let Some(before) = last.insert(print.clone(), now) {
                    let pause = now.millis_since(before);
                    prop_assert!(pause >= FIRST_REMINDER_MILLIS, "{print:?} after {pause} ms");
                }
            }
        }
    }

    #[test]
    fn every_recovery_follows_a_failure(steps in prop::collection::vec(step(), 1..200)) {
        let mut open = BTreeMap::new();
        for (_, draft) in after(steps).told {
            for alarm in draft.members {
                let key = (alarm.condition.scope, alarm.condition.kind);
                match draft.kind {
                    NoticeKind::Failure => { open.insert(key, ()); }
                    NoticeKind::Reminder => prop_assert!(open.contains_key(&key), "{key:?}"),
                    NoticeKind::Recovery | NoticeKind::Test => {
                        prop_assert!(open.remove(&key).is_some(), "{key:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_stream_of_conditions_makes_a_stream_of_notices(
        steps in prop::collection::vec(step(), 200..600),
    ) {
        let mut by_group: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
        for (now, draft) in after(steps).told {
            let first = &draft.members[0];
            let scope = first.condition.scope.to_string();
            let objects = scope.split('/').next().unwrap_or_default().to_owned();
            let group = (draft.kind, first.condition.kind, first.failed.clone(), objects);
            by_group.entry(group).or_default().push(now);
        }
        for (group, times) in by_group {
            for (nth, from) in times.iter().enumerate() {
                let within = times[nth..].iter().take_while(|it| it.millis_since(*from) < 3_600_000);
                let n = within.count();
                prop_assert!(n <= MOST_PER_HOUR, "{n} of {group:?} in an hour");
            }
        }
    }
}
