//! Decides who of those that wait for room gets it. Pure.
//!
//! In:  who waits since when, how many instances each team has, where an instance of theirs could go.
//! Out: the order, and of each start where it goes or why it goes on waiting.
//!
//! # Invariants
//! * A team's next instance comes before another team's instance that would be a later one of theirs;
//!   among equals who asked first is first.
//! * A start that fits nowhere holds nobody up, until it has been passed over for [`PATIENCE_MILLIS`]:
//!   then whatever becomes free on a node that could take it is kept for it.
//! * The same question has the same answer.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::Placement;
use crate::model::{InstanceId, NodeId, TeamId, Timestamp};

/// How long others that need less may go first.
pub const PATIENCE_MILLIS: i64 = 60_000;

/// A start that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Of the instance that it becomes.
    pub id: InstanceId,
    /// For whom.
    pub team: TeamId,
    /// Since when.
    pub asked_at: Timestamp,
}

/// What becomes of a start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seating {
    /// It goes there.
    At(NodeId),
    /// It goes on waiting; why, for organizers.
    Waits(String),
}

/// The order in which they are served. `waiters` are in the order in which they asked; `n_running`
/// counts the instances of each team.
pub fn order(waiters: &[Waiter], n_running: &BTreeMap<TeamId, u32>) -> Vec<Waiter> {
    let mut n_of: BTreeMap<TeamId, u32> = BTreeMap::new();
    let mut keyed: Vec<(u32, usize, Waiter)> = waiters
        .iter()
        .enumerate()
        .map(|(nth, waiter)| {
            let n_before = n_of
                .entry(waiter.team)
                .or_insert_with(|| n_running.get(&waiter.team).copied().unwrap_or(0));
            let key = *n_before;
            *n_before = n_before.saturating_add(1);
            (key, nth, *waiter)
        })
        .collect();
    keyed.sort_by_key(|(n_before, nth, _)| (*n_before, *nth));
    keyed.into_iter().map(|(_, _, waiter)| waiter).collect()
}

/// Goes along `line`. `place` says where an instance could go now, with what it has given away before
/// counted, when some nodes are out of the question.
pub fn seat(
    line: &[Waiter],
    now: Timestamp,
    mut place: impl FnMut(&Waiter, &BTreeSet<NodeId>) -> Placement,
) -> Vec<(InstanceId, Seating)> {
    let mut kept: BTreeSet<NodeId> = BTreeSet::new();
    let mut seatings = Vec::new();
    for waiter in line {
        let placement = place(waiter, &kept);
        let seating = match &placement.node {
            Some(node) => Seating::At(node.clone()),
            None => {
                if now.millis_since(waiter.asked_at) >= PATIENCE_MILLIS {
                    let full = placement.refused.iter().filter(|(_, why)| why.is_room());
                    kept.extend(full.map(|(node, _)| node.clone()));
                }
                Seating::Waits(placement.why_not())
            }
        };
        seatings.push((waiter.id, seating));
    }
    seatings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::planner::placement::Obstacle;

    fn team(n: u8) -> TeamId {
        TeamId::new(uuid::Uuid::from_u128(u128::from(n) + 1))
    }

    fn waiter(nth: usize, of: u8, asked_at: i64) -> Waiter {
        let id = InstanceId::new(uuid::Uuid::from_u128(nth as u128 + 1));
        Waiter { id, team: team(of), asked_at: Timestamp::from_millis(asked_at) }
    }

    fn ids(line: &[Waiter]) -> Vec<u128> {
        line.iter().map(|it| it.id.as_uuid().as_u128()).collect()
    }

    #[test]
    fn who_has_least_is_first_and_then_who_asked_first() {
        let waiters = [waiter(0, 0, 0), waiter(1, 0, 1), waiter(2, 1, 2), waiter(3, 2, 3)];
        let running = BTreeMap::from([(team(2), 5)]);
        assert_eq!(ids(&order(&waiters, &running)), [1, 3, 2, 4]);
    }

    /// Nodes with so many places each; what waiters need is `size_of` of their id.
    fn seat_among(
        free: &mut BTreeMap<NodeId, u32>,
        line: &[Waiter],
        now: i64,
        size_of: impl Fn(&Waiter) -> u32,
    ) -> Vec<(InstanceId, Seating)> {
        seat(line, Timestamp::from_millis(now), |waiter, kept| {
            let size = size_of(waiter);
            let mut placement = Placement::default();
            for (node, n_free) in free.iter_mut().filter(|(node, _)| !kept.contains(*node)) {
                if *n_free >= size && placement.node.is_none() {
                    *n_free -= size;
                    placement.node = Some(node.clone());
                } else {
                    placement.refused.insert(node.clone(), Obstacle::Full(*n_free));
                }
            }
            placement
        })
    }

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn a_large_one_lets_small_ones_pass_for_a_while_and_then_gets_what_becomes_free() {
        let line = [waiter(0, 0, 0), waiter(1, 1, 0)];
        let size_of = |it: &Waiter| if it.id == line[0].id { 3 } else { 1 };
        let mut free = BTreeMap::from([(node("n1"), 2)]);
        let soon = seat_among(&mut free, &line, PATIENCE_MILLIS - 1, size_of);
        assert_eq!(soon[1].1, Seating::At(node("n1")));
        let mut free = BTreeMap::from([(node("n1"), 2)]);
        let late = seat_among(&mut free, &line, PATIENCE_MILLIS, size_of);
        assert!(matches!(late[0].1, Seating::Waits(_)), "{late:?}");
        assert!(matches!(late[1].1, Seating::Waits(_)), "{late:?}");
        let mut free = BTreeMap::from([(node("n1"), 3)]);
        let free_now = seat_among(&mut free, &line, PATIENCE_MILLIS, size_of);
        assert_eq!(free_now[0].1, Seating::At(node("n1")));
    }

    proptest! {
        #[test]
        fn everybody_is_in_the_line_once_and_the_teams_take_turns(
            teams in prop::collection::vec(0_u8..5, 0..40),
            running in prop::collection::btree_map(0_u8..5, 0_u32..4, 0..5),
        ) {
            let waiters: Vec<_> =
                teams.iter().enumerate().map(|(nth, of)| waiter(nth, *of, 0)).collect();
            let running: BTreeMap<_, _> = running.into_iter().map(|(n, has)| (team(n), has)).collect();
            let line = order(&waiters, &running);
            let mut sorted = ids(&line);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, ids(&waiters));
            // When a prefix of the line is served, nobody in it who was served more than once has
            // more than a team that still waits would have with its next one.
            let mut has = running.clone();
            for (nth, served) in line.iter().enumerate() {
                let n = has.entry(served.team).or_insert(0);
                let n_before = *n;
                *n += 1;
                for waits in &line[nth + 1..] {
                    let n_other = has.get(&waits.team).copied().unwrap_or(0);
                    prop_assert!(waits.team == served.team || n_before <= n_other);
                }
            }
        }

        #[test]
        fn room_is_used_up_as_long_as_all_need_the_same(
            n_waiting in 0_usize..30,
            places in prop::collection::vec(0_u32..6, 1..5),
        ) {
            let line: Vec<_> = (0..n_waiting).map(|nth| waiter(nth, 0, 0)).collect();
            let mut free: BTreeMap<_, _> =
                places.iter().enumerate().map(|(nth, n)| (node(&format!("n{nth}")), *n)).collect();
            let seatings = seat_among(&mut free, &line, PATIENCE_MILLIS, |_| 1);
            let n_seated = seatings.iter().filter(|(_, it)| matches!(it, Seating::At(_))).count();
            let n_places = places.iter().sum::<u32>() as usize;
            prop_assert_eq!(n_seated, n_waiting.min(n_places));
            // Without gaps: nobody behind is seated while somebody before waits.
            let is_seated = |it: &(InstanceId, Seating)| matches!(it.1, Seating::At(_));
            prop_assert!(seatings.iter().skip_while(|it| is_seated(it)).all(|it| !is_seated(it)));
        }
    }
}
