//! Puts alike notices together: who may speak at once, who waits, and when the waiting ones are
//! told in one.
//!
//! Alike are notices of one kind, type, reason and kind of object. A few are told one by one; when
//! there are more, they are told together with their number, and ever more seldom while it lasts.
//! Instances belong to players, who can make them fail as often as they like: the first one is told,
//! the others together.
//!
//! It is forgotten at a restart, which then costs a few notices. What waits is not kept here: it is
//! an alarm that nobody was told of, and is found again.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{ConditionType, NoticeKind, Scope, Timestamp};

const MINUTE_MILLIS: i64 = 60_000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
/// Pauses between two notices that put alike ones together; the last one goes on.
const GAPS_MILLIS: [i64; 4] = [MINUTE_MILLIS, 5 * MINUTE_MILLIS, 15 * MINUTE_MILLIS, HOUR_MILLIS];

/// What makes notices alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) kind: NoticeKind,
    pub(super) about: ConditionType,
    pub(super) reason: String,
    /// `repo`, `release`, `challenge`, `node` or `instance`.
    pub(super) objects: &'static str,
}

/// The word for objects of this kind.
pub(super) fn word(scope: &Scope) -> &'static str {
    match scope {
        Scope::Repo => "repo",
        Scope::Release => "release",
        Scope::Challenge(_) => "challenge",
        Scope::Node(_) => "node",
        Scope::Instance(_) => "instance",
    }
}

/// How many of a group may be told one by one.
struct Limits {
    per_minute: usize,
    per_hour: usize,
}

fn limits(group: &Group) -> Limits {
    if group.objects == "instance" {
        Limits { per_minute: 1, per_hour: 4 }
    } else {
        Limits { per_minute: 10, per_hour: 30 }
    }
}

/// Most notices of one group in any hour.
#[cfg(test)]
pub(super) const MOST_PER_HOUR: usize = 30 + GAPS_MILLIS.len() + 1;

/// What to do with those of a group that want to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// One notice each.
    Each,
    /// One notice for all of them.
    Together,
    /// Not yet.
    Hold,
}

/// What was told lately, by group.
#[derive(Debug, Default)]
pub struct Throttle {
    groups: BTreeMap<Group, Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    /// When single ones were told, within the last hour.
    singles: VecDeque<Timestamp>,
    storm: Option<Storm>,
}

/// Too many are alike.
#[derive(Debug, Clone, Copy)]
struct Storm {
    n_told: usize,
    /// When the waiting ones may be told.
    next_at: Timestamp,
}

impl Throttle {
    /// Decides about the `n` members of `group` that want to be told at `now`, and counts them.
    pub(super) fn gate(&mut self, group: &Group, n: usize, now: Timestamp) -> Gate {
        let Limits { per_minute, per_hour } = limits(group);
        let lately = self.groups.entry(group.clone()).or_default();
        let first_of_minute =
            lately.singles.iter().find(|at| now.millis_since(**at) < MINUTE_MILLIS).copied();
        let n_minute =
            lately.singles.iter().filter(|at| now.millis_since(**at) < MINUTE_MILLIS).count();
        let is_few = n_minute + n <= per_minute && lately.singles.len() + n <= per_hour;
        if lately.storm.is_none() && is_few {
            lately.singles.extend(std::iter::repeat_n(now, n));
            return Gate::Each;
        }
        let storm = lately.storm.get_or_insert(Storm {
            n_told: 0,
            next_at: first_of_minute.map_or(now, |at| at.plus_millis(MINUTE_MILLIS)),
        });
        if now < storm.next_at {
            return Gate::Hold;
        }
        let gap = GAPS_MILLIS[storm.n_told.min(GAPS_MILLIS.len() - 1)];
        *storm = Storm { n_told: storm.n_told + 1, next_at: now.plus_millis(gap) };
        Gate::Together
    }

    /// Forgets what was told more than an hour ago: memory is bounded by what one hour brings.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.groups.retain(|_, lately| {
            lately.singles.retain(|at| now.millis_since(*at) < HOUR_MILLIS);
            let is_over = |storm: Storm| now.millis_since(storm.next_at) >= HOUR_MILLIS;
            lately.storm = lately.storm.filter(|storm| !is_over(*storm));
            !lately.singles.is_empty() || lately.storm.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(objects: &'static str) -> Group {
        let (kind, about) = (NoticeKind::Failure, ConditionType::Healthy);
        Group { kind, about, reason: "Failing".to_owned(), objects }
    }

    /// What becomes of `(second, number)` in turn.
    fn check(objects: &'static str, wanting: &[(i64, usize)]) -> Vec<Gate> {
        let mut throttle = Throttle::default();
        let told = wanting.iter().map(|(secs, n)| {
            let now = Timestamp::from_millis(secs * 1000);
            throttle.forget(now);
            throttle.gate(&group(objects), *n, now)
        });
        told.collect()
    }

    #[test]
    fn ten_are_told_one_by_one_and_more_together() {
        use Gate::{Each, Hold, Together};
        assert_eq!(check("challenge", &[(0, 10)]), [Each]);
        assert_eq!(check("challenge", &[(0, 11)]), [Together]);
        assert_eq!(
            check("challenge", &[(0, 10), (1, 1), (59, 5), (60, 9)]),
            [Each, Hold, Hold, Together]
        );
    }

    #[test]
    fn a_storm_is_told_ever_more_seldom_until_an_hour_was_quiet() {
        use Gate::{Each, Hold, Together};
        assert_eq!(
            check(
                "challenge",
                &[(0, 30), (59, 1), (60, 1), (300, 1), (360, 1), (1000, 1), (9000, 1)]
            ),
            [Together, Hold, Together, Hold, Together, Hold, Each]
        );
    }

    #[test]
    fn of_instances_only_the_first_one_is_told_alone() {
        use Gate::{Each, Hold, Together};
        assert_eq!(
            check("instance", &[(0, 1), (30, 1), (60, 2), (70, 1), (8000, 1)]),
            [Each, Hold, Together, Hold, Each]
        );
    }
}
