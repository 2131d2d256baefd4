//! Decides from what holds and from what was told what is to be told now. Pure.
//!
//! In:  every condition, every alarm, the time, and what was told lately ([`Throttle`]).
//! Out: alarms as they are then, and drafts of notices.
//!
//! # Invariants
//! * The same scope, type and reason is told at most once in [`FIRST_REMINDER_MILLIS`], whatever
//!   happens in between; so a condition that flaps is told once an hour.
//! * A recovery is told once, and only after a failure was.
//! * Deciding again at once tells nothing.
//! * Nobody could look (`Unknown`) changes nothing: it is neither failure nor recovery.
//!
//! # Not here
//! Which conditions matter (`concern`), how many alike ones may be told (`throttle`), the words.

use std::collections::BTreeMap;

use super::concern::{Concern, concern};
use super::throttle::{Gate, Group, Throttle, word};
use crate::model::{
    Alarm, AlarmPhase, Condition, ConditionStatus, ConditionType, NoticeKind, Scope, Timestamp,
    Told,
};

/// From the first notice to the first reminder.
pub(super) const FIRST_REMINDER_MILLIS: i64 = 3_600_000;
/// From one reminder to the next.
const NEXT_REMINDER_MILLIS: i64 = 4 * FIRST_REMINDER_MILLIS;

/// What is to be remembered and told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Alarms that are new or other than before.
    pub changed: Vec<Alarm>,
    /// Alarms of which nothing is left to remember.
    pub forgotten: Vec<(Scope, ConditionType)>,
    /// What is told now.
    pub drafts: Vec<Draft>,
}

/// A notice before it has words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Why it is sent.
    pub kind: NoticeKind,
    /// What it is about, alike and at least one; as they are after it was told.
    pub members: Vec<Alarm>,
}

type Key = (Scope, ConditionType);

/// Decides what is told at `now`. O(n log n) in conditions and alarms.
pub fn decide(
    now: Timestamp,
    conditions: &[Condition],
    alarms: &[Alarm],
    throttle: &mut Throttle,
) -> Decided {
    throttle.forget(now);
    let before: BTreeMap<Key, &Alarm> = alarms.iter().map(|alarm| (key(alarm), alarm)).collect();
    let mut after = observe(now, conditions, &before);
    let mut decided = Decided::default();
    for (group, keys) in wanting(now, &after) {
        let mut tell = |keys: &[Key]| {
            let members = keys.iter().filter_map(|key| {
                let alarm = after.get_mut(key)?;
                note(alarm, now);
                Some(alarm.clone())
            });
            let draft = Draft { kind: group.kind, members: members.collect() };
            decided.drafts.push(draft);
        };
        match throttle.gate(&group, keys.len(), now) {
            Gate::Each => keys.iter().for_each(|key| tell(std::slice::from_ref(key))),
            Gate::Together => tell(&keys),
            Gate::Hold => {}
        }
    }
    for (key, mut alarm) in after {
        let is_recent = |told: &Told| now.millis_since(told.at) < FIRST_REMINDER_MILLIS;
        if alarm.phase == AlarmPhase::Over {
            alarm.told.retain(|_, told| is_recent(told));
        }
        let old = before.get(&key).copied();
        if alarm.phase == AlarmPhase::Over && alarm.told.is_empty() {
            decided.forgotten.extend(old.map(|_| key));
        } else if old != Some(&alarm) {
            decided.changed.push(alarm);
        }
    }
    decided
}

fn key(alarm: &Alarm) -> Key {
    (alarm.condition.scope.clone(), alarm.condition.kind)
}

/// Every alarm as it is when the conditions are what they are.
fn observe(
    now: Timestamp,
    conditions: &[Condition],
    before: &BTreeMap<Key, &Alarm>,
) -> BTreeMap<Key, Alarm> {
    let seen: BTreeMap<Key, &Condition> =
        conditions.iter().map(|it| ((it.scope.clone(), it.kind), it)).collect();
    let mut after = BTreeMap::new();
    for (key, condition) in &seen {
        let old = before.get(key).copied();
        let alarm = match (concern(condition), condition.status) {
            (Concern::Once | Concern::Lasting, _) => Some(failing(old, condition)),
            (Concern::Silent, ConditionStatus::Unknown) => old.cloned(),
            (Concern::Silent, _) => old.map(|old| well(old, condition)),
        };
        after.extend(alarm.map(|alarm| (key.clone(), alarm)));
    }
    for (key, old) in before.iter().filter(|(key, _)| !seen.contains_key(*key)) {
        after.insert(key.clone(), gone(old, now));
    }
    after
}

fn failing(old: Option<&Alarm>, condition: &Condition) -> Alarm {
    let (failing_since, n_told, mut told) = match old {
        // Good for a moment that nobody was told of: the same episode.
        Some(old) if old.phase != AlarmPhase::Over => {
            (old.failing_since, old.n_told, old.told.clone())
        }
        Some(old) => (condition.since, 0, old.told.clone()),
        None => (condition.since, 0, BTreeMap::new()),
    };
    if n_told == 0 {
        told.values_mut().for_each(|told| told.n = 0);
    }
    Alarm {
        phase: AlarmPhase::Failing,
        condition: condition.clone(),
        failed: condition.reason.clone(),
        failing_since,
        n_told,
        told,
    }
}

fn well(old: &Alarm, condition: &Condition) -> Alarm {
    let phase = match old.phase {
        AlarmPhase::Failing if old.n_told > 0 => AlarmPhase::Recovered,
        AlarmPhase::Failing => AlarmPhase::Over,
        phase @ (AlarmPhase::Recovered | AlarmPhase::Over) => phase,
    };
    Alarm { phase, condition: condition.clone(), ..old.clone() }
}

/// The object is no more, and what was stated about it with it.
fn gone(old: &Alarm, now: Timestamp) -> Alarm {
    if old.phase != AlarmPhase::Failing {
        return old.clone();
    }
    let condition = Condition {
        status: ConditionStatus::Unknown,
        reason: "Gone".to_owned(),
        message: "it is no more, so nothing is stated about it".to_owned(),
        since: now,
        ..old.condition.clone()
    };
    well(old, &condition)
}

/// Who wants to be told, by what makes them alike.
fn wanting(now: Timestamp, alarms: &BTreeMap<Key, Alarm>) -> BTreeMap<Group, Vec<Key>> {
    let mut groups: BTreeMap<Group, Vec<Key>> = BTreeMap::new();
    for (key, alarm) in alarms {
        let Some(kind) = due(alarm, now) else { continue };
        let (about, objects) = (key.1, word(&key.0));
        let group = Group { kind, about, reason: alarm.failed.clone(), objects };
        groups.entry(group).or_default().push(key.clone());
    }
    groups
}

/// What people are to be told about an alarm at `now`, if anything.
fn due(alarm: &Alarm, now: Timestamp) -> Option<NoticeKind> {
    match alarm.phase {
        AlarmPhase::Over => None,
        AlarmPhase::Recovered => Some(NoticeKind::Recovery),
        AlarmPhase::Failing => {
            let Some(told) = alarm.told.get(&alarm.failed) else {
                return Some(NoticeKind::Failure);
            };
            let pause = if told.n <= 1 { FIRST_REMINDER_MILLIS } else { NEXT_REMINDER_MILLIS };
            if now.millis_since(told.at) < pause {
                return None;
            }
            match (told.n, concern(&alarm.condition)) {
                (0, _) => Some(NoticeKind::Failure),
                (_, Concern::Lasting) => Some(NoticeKind::Reminder),
                (_, Concern::Once | Concern::Silent) => None,
            }
        }
    }
}

/// Notes that people are told about `alarm`.
fn note(alarm: &mut Alarm, now: Timestamp) {
    if alarm.phase == AlarmPhase::Recovered {
        alarm.phase = AlarmPhase::Over;
        return;
    }
    alarm.n_told = alarm.n_told.saturating_add(1);
    let n = alarm.told.get(&alarm.failed).map_or(0, |told| told.n).saturating_add(1);
    alarm.told.insert(alarm.failed.clone(), Told { at: now, n });
}
