//! What people are told, and when: by hand, by properties, and against a receiver over HTTP.

mod properties;
mod pump;
mod still;

use std::collections::BTreeMap;

pub(super) use still::Still;

use super::*;
use crate::model::{
    Alarm, Condition, ConditionStatus, ConditionType, InstanceId, NodeId, NoticeKind, Scope,
    Timestamp,
};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn challenge(n: usize) -> Scope {
    Scope::Challenge(format!("WEB-{n:03}").parse().unwrap())
}

fn instance(n: u128) -> Scope {
    Scope::Instance(InstanceId::new(uuid::Uuid::from_u128(n)))
}

fn condition(
    scope: Scope,
    kind: ConditionType,
    status: ConditionStatus,
    reason: &str,
) -> Condition {
    let (reason, message) = (reason.to_owned(), format!("because of {reason}\nFLAG{{out}}"));
    Condition { scope, kind, status, reason, message, since: at(0), revision: None }
}

fn engine(reason: &str) -> Condition {
    let status = if reason == "Ok" { ConditionStatus::True } else { ConditionStatus::False };
    condition(Scope::Node(NodeId::local()), ConditionType::DockerAvailable, status, reason)
}

/// What holds, what was told, and what people were sent.
#[derive(Default)]
struct World {
    conditions: BTreeMap<(Scope, ConditionType), Condition>,
    alarms: BTreeMap<(Scope, ConditionType), Alarm>,
    throttle: Throttle,
    told: Vec<(Timestamp, Draft)>,
}

impl World {
    fn state(&mut self, condition: Condition) {
        self.conditions.insert((condition.scope.clone(), condition.kind), condition);
    }

    /// A look at `now`; how many notices it made.
    fn look(&mut self, now: Timestamp) -> usize {
        let conditions: Vec<_> = self.conditions.values().cloned().collect();
        let alarms: Vec<_> = self.alarms.values().cloned().collect();
        let decided = decide(now, &conditions, &alarms, &mut self.throttle);
        for key in decided.forgotten {
            self.alarms.remove(&key);
        }
        for alarm in decided.changed {
            self.alarms.insert((alarm.condition.scope.clone(), alarm.condition.kind), alarm);
        }
        let n_told = decided.drafts.len();
        self.told.extend(decided.drafts.into_iter().map(|draft| (now, draft)));
        n_told
    }

    /// `kind×objects@second` of everything that was told.
    fn log(&self) -> String {
        let line = |(now, draft): &(Timestamp, Draft)| {
            format!("{}×{}@{}", draft.kind, draft.members.len(), now.as_millis() / 1000)
        };
        self.told.iter().map(line).collect::<Vec<_>>().join(" ")
    }
}

/// States each of `(second, condition)` in turn and looks; then what was told.
fn check(story: Vec<(i64, Condition)>) -> String {
    let mut world = World::default();
    for (secs, condition) in story {
        world.state(condition);
        world.look(at(secs));
    }
    world.log()
}

#[test]
fn a_failure_is_told_at_once_and_its_end_once() {
    let story = vec![
        (0, engine("Ok")),
        (5, engine("Unreachable")),
        (6, engine("Unreachable")),
        (60, engine("Ok")),
        (61, engine("Ok")),
    ];
    assert_eq!(check(story), "failure×1@5 recovery×1@60");
}

#[test]
fn a_failure_that_lasts_is_told_again_after_an_hour_and_then_every_four() {
    let minutes = (0..24 * 60).map(|minute| (minute * 60, engine("Unreachable")));
    assert_eq!(
        check(minutes.collect()),
        "failure×1@0 reminder×1@3600 reminder×1@18000 reminder×1@32400 reminder×1@46800 \
         reminder×1@61200 reminder×1@75600"
    );
}

#[test]
fn who_flaps_is_told_once_an_hour() {
    let flaps = (0..200).map(|n| (n * 60, engine(if n % 2 == 0 { "Unreachable" } else { "Ok" })));
    assert_eq!(
        check(flaps.collect()),
        "failure×1@0 recovery×1@60 failure×1@3600 recovery×1@3660 failure×1@7200 recovery×1@7260 \
         failure×1@10800 recovery×1@10860"
    );
}

#[test]
fn another_reason_is_told_at_once_and_one_recovery_ends_both() {
    let story = vec![
        (0, engine("Unreachable")),
        (10, engine("VersionUnsupported")),
        (20, engine("Unreachable")),
        (30, engine("Ok")),
    ];
    assert_eq!(check(story), "failure×1@0 failure×1@10 recovery×1@30");
}

#[test]
fn nobody_could_look_is_neither_failure_nor_recovery() {
    let unknown = Condition { status: ConditionStatus::Unknown, ..engine("Timeout") };
    let story = vec![
        (0, unknown.clone()),
        (1, engine("Unreachable")),
        (2, unknown),
        (3, engine("Unreachable")),
        (4, engine("Ok")),
    ];
    assert_eq!(check(story), "failure×1@1 recovery×1@4");
}

#[test]
fn what_is_no_more_ends_its_failure() {
    let mut world = World::default();
    world.state(engine("Unreachable"));
    world.look(at(0));
    world.conditions.clear();
    world.look(at(5));
    world.look(at(6));
    assert_eq!(world.log(), "failure×1@0 recovery×1@5");
    let (_, draft) = world.told.last().unwrap();
    let notice = render(draft).unwrap();
    assert_eq!(notice.title, "node/local: DockerAvailable is over (Gone, was Unreachable)");
    world.look(at(3600));
    assert!(world.alarms.is_empty(), "nothing is remembered for ever");
}

#[test]
fn many_alike_are_one_notice_with_a_count_and_so_is_their_end() {
    let mut world = World::default();
    let all = |status, reason: &'static str| {
        (0..30).map(move |n| condition(challenge(n), ConditionType::Validated, status, reason))
    };
    all(ConditionStatus::False, "Invalid").for_each(|it| world.state(it));
    world.look(at(0));
    all(ConditionStatus::True, "Ok").for_each(|it| world.state(it));
    world.look(at(600));
    assert_eq!(world.log(), "failure×30@0 recovery×30@600");
    insta::assert_snapshot!(render(&world.told[0].1).unwrap().text, @r"
    30 challenges: Validated=False (Invalid)
    where: challenge/WEB-000, challenge/WEB-001, challenge/WEB-002, challenge/WEB-003, challenge/WEB-004, challenge/WEB-005, challenge/WEB-006, challenge/WEB-007, challenge/WEB-008, challenge/WEB-009 and 20 more
    why: because of Invalid
    when: since 1970-01-01T00:00:00Z
    next: `flagops events --kind Validated`
    ");
}

#[test]
fn players_who_break_their_instances_make_no_flood() {
    let mut world = World::default();
    for n in 0..360_u32 {
        let scope = instance(u128::from(n));
        world.state(condition(scope, ConditionType::Healthy, ConditionStatus::False, "Failing"));
        world.look(at(i64::from(n) * 10));
    }
    assert_eq!(
        world.log(),
        "failure×1@0 failure×6@60 failure×6@120 failure×30@420 failure×90@1320"
    );
}

#[test]
fn those_who_wait_are_not_told_when_they_are_well_in_time() {
    let mut world = World::default();
    let state = |world: &mut World, n, status| {
        world.state(condition(instance(n), ConditionType::Healthy, status, "Failing"));
    };
    for n in 0..9 {
        state(&mut world, n, ConditionStatus::False);
        world.look(at(i64::try_from(n).unwrap()));
    }
    for n in 1..9 {
        state(&mut world, n, ConditionStatus::True);
    }
    world.look(at(90));
    assert_eq!(world.log(), "failure×1@0");
}

#[test]
fn a_notice_says_what_where_why_and_what_next_and_no_output_of_containers() {
    let mut world = World::default();
    world.state(engine("Unreachable"));
    world.look(at(3600));
    world.look(at(7200));
    world.state(Condition { since: at(9000), ..engine("Ok") });
    world.look(at(9000));
    let texts = world.told.iter().map(|(_, draft)| render(draft).unwrap().text);
    let texts = texts.collect::<Vec<_>>().join("\n\n");
    assert!(!texts.contains("FLAG{"), "{texts}");
    insta::assert_snapshot!(texts, @r"
    node/local: DockerAvailable=False (Unreachable)
    where: node/local
    why: because of Unreachable
    when: since 1970-01-01T00:00:00Z
    next: `flagops doctor`

    node/local: still DockerAvailable=False (Unreachable)
    where: node/local
    why: because of Unreachable
    when: since 1970-01-01T00:00:00Z
    next: `flagops doctor`

    node/local: DockerAvailable is well again (was Unreachable)
    where: node/local
    why: because of Ok
    when: from 1970-01-01T00:00:00Z to 1970-01-01T02:30:00Z
    next: `flagops events --scope node/local`
    ");
}
