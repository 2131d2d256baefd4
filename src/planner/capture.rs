//! Whose packets are captured now, and which of the captured go so that the disk is never filled.
//!
//! In:  bridges of instances that want to be captured, captures that run, segments that are kept.
//! Out: captures to end and to begin, what is held back; segments to remove.
//!
//! A capture is a row of *segments*, files of at most [`Bounds::segment_bytes`]. Room for a whole one is
//! set aside when it is begun, so no flood can be faster than the bound.
//!
//! # Invariants
//! * Of one bridge there is never more than one capture.
//! * What is set aside is never more than an instance, and all of them, may have.
//! * The oldest go first, and never one that is being written.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::InstanceId;

/// Most bridges of one instance that are captured; of more the first by name.
pub const MAX_BRIDGES: usize = 8;
/// Segments that an instance's share is cut into, at least.
const N_SEGMENTS: u64 = 4;

/// Most segments of one instance: whoever reads it has all of them open. Each start of the daemon begins
/// new ones, however short those before are.
const MAX_SEGMENTS: usize = 128;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of one instance.
    pub instance_bytes: u64,
    /// In all.
    pub node_bytes: u64,
}

impl Bounds {
    /// Most bytes of one segment.
    pub fn segment_bytes(&self) -> u64 {
        self.instance_bytes / N_SEGMENTS / MAX_BRIDGES as u64
    }

    /// Captures that fit at a time.
    fn n_captures(&self) -> usize {
        usize::try_from(self.node_bytes / self.segment_bytes().max(1)).unwrap_or(usize::MAX)
    }
}

/// What is captured: one bridge, for one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The instance.
    pub instance: InstanceId,
    /// The name of the bridge on this machine.
    pub bridge: String,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Captures to end.
    pub stop: Vec<Target>,
    /// Captures to begin.
    pub start: Vec<Target>,
    /// Captures that there is no room for.
    pub held: Vec<Target>,
}

/// The targets of an instance with these bridges.
pub fn targets(instance: InstanceId, bridges: &BTreeSet<String>) -> Vec<Target> {
    let bridges = bridges.iter().take(MAX_BRIDGES);
    bridges.map(|bridge| Target { instance, bridge: bridge.clone() }).collect()
}

/// Plans from what is captured towards what is wanted. A bridge that went from one instance to another
/// is begun after what captures it has ended: in a later plan.
pub fn plan(wanted: &BTreeSet<Target>, running: &BTreeSet<Target>, bounds: Bounds) -> Plan {
    let mut plan = Plan { stop: running.difference(wanted).cloned().collect(), ..Plan::default() };
    let mut busy: BTreeSet<&str> = running.iter().map(|it| it.bridge.as_str()).collect();
    for target in wanted.difference(running) {
        if busy.len() >= bounds.n_captures() {
            plan.held.push(target.clone());
        } else if busy.insert(&target.bridge) {
            plan.start.push(target.clone());
        }
    }
    plan
}

/// One file of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Whose.
    pub target: Target,
    /// Its bytes, or how many it may have while it is written.
    pub n_bytes: u64,
    /// Whether it is being written.
    pub state: SegmentState,
}

/// Whether more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// It is being written.
    Open,
    /// It stays as it is.
    Closed,
}

/// Every segment that is kept, by its number: a later one has a higher number.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    segments: BTreeMap<u64, Segment>,
    last: u64,
}

/// What begins, and what goes before it does.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// The number of the new segment; `None` when there is no room, and nothing that may go.
    pub number: Option<u64>,
    /// Segments to remove first, the oldest first.
    pub removed: Vec<(u64, Segment)>,
}

impl Ledger {
    /// Notes a closed segment that was found.
    pub fn found(&mut self, number: u64, target: Target, n_bytes: u64) {
        self.last = self.last.max(number);
        self.segments.insert(number, Segment { target, n_bytes, state: SegmentState::Closed });
    }

    /// Sets room aside for the next segment of `target`, with so many bytes.
    pub fn begin(&mut self, target: &Target, n_bytes: u64, bounds: Bounds) -> Begun {
        let mut removed = Vec::new();
        let id = target.instance;
        while self.kept(Some(id)) + n_bytes > bounds.instance_bytes
            || self.count(id) >= MAX_SEGMENTS
        {
            let Some(gone) = self.drop_oldest(Some(id)) else { break };
            removed.push(gone);
        }
        while self.kept(None) + n_bytes > bounds.node_bytes {
            let Some(gone) = self.drop_oldest(None) else { break };
            removed.push(gone);
        }
        let fits = self.kept(Some(id)) + n_bytes <= bounds.instance_bytes
            && self.kept(None) + n_bytes <= bounds.node_bytes;
        let number = fits.then(|| {
            self.last += 1;
            let (target, state) = (target.clone(), SegmentState::Open);
            self.segments.insert(self.last, Segment { target, n_bytes, state });
            self.last
        });
        Begun { number, removed }
    }

    /// A segment is not written any more, and has so many bytes. One that was forgotten stays so.
    pub fn close(&mut self, number: u64, n_bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.n_bytes, segment.state) = (n_bytes, SegmentState::Closed);
        }
    }

    /// Forgets everything of an instance.
    pub fn forget(&mut self, instance: InstanceId) {
        self.segments.retain(|_, segment| segment.target.instance != instance);
    }

    /// Instances that something is kept of.
    pub fn instances(&self) -> BTreeSet<InstanceId> {
        self.segments.values().map(|segment| segment.target.instance).collect()
    }

    /// What is kept or set aside, of one instance or in all.
    pub fn kept(&self, instance: Option<InstanceId>) -> u64 {
        let counts = |it: &&Segment| instance.is_none_or(|id| it.target.instance == id);
        self.segments.values().filter(counts).map(|segment| segment.n_bytes).sum()
    }

    fn count(&self, instance: InstanceId) -> usize {
        self.segments.values().filter(|segment| segment.target.instance == instance).count()
    }

    fn drop_oldest(&mut self, instance: Option<InstanceId>) -> Option<(u64, Segment)> {
        let may_go = |segment: &Segment| {
            segment.state == SegmentState::Closed
                && instance.is_none_or(|id| segment.target.instance == id)
        };
        let number = *self.segments.iter().find(|(_, segment)| may_go(segment))?.0;
        self.segments.remove(&number).map(|segment| (number, segment))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const BOUNDS: Bounds = Bounds { instance_bytes: 3200, node_bytes: 8000 };

    fn instance(nth: u8) -> InstanceId {
        Uuid::from_u128(u128::from(nth) + 1).to_string().parse().unwrap()
    }

    fn target(nth: u8, bridge: u8) -> Target {
        Target { instance: instance(nth), bridge: format!("fi{bridge}") }
    }

    /// Each bridge has one instance, as in the database.
    fn some() -> impl Strategy<Value = BTreeSet<Target>> {
        proptest::collection::btree_map(0_u8..9, 0_u8..4, 0..7)
            .prop_map(|map| map.into_iter().map(|(bridge, nth)| target(nth, bridge)).collect())
    }

    #[test]
    fn a_bridge_that_changed_hands_is_free_first() {
        let (old, new) = (target(1, 1), target(2, 1));
        let wanted = BTreeSet::from([new.clone()]);
        let plan_a = plan(&wanted, &BTreeSet::from([old.clone()]), BOUNDS);
        assert_eq!((plan_a.stop, plan_a.start), (vec![old], vec![]));
        assert_eq!(plan(&wanted, &BTreeSet::new(), BOUNDS).start, [new]);
    }

    #[test]
    fn an_instance_with_many_bridges_is_captured_on_some() {
        let bridges: BTreeSet<_> = (0..20).map(|nth| format!("fi{nth:02}")).collect();
        assert_eq!(targets(instance(1), &bridges).len(), MAX_BRIDGES);
    }

    #[test]
    fn many_short_segments_go_too() {
        let mut ledger = Ledger::default();
        for _ in 0..MAX_SEGMENTS + 3 {
            let number = ledger.begin(&target(1, 1), 10, BOUNDS).number.unwrap();
            ledger.close(number, 10);
        }
        assert_eq!(ledger.count(instance(1)), MAX_SEGMENTS);
        assert_eq!(ledger.segments.first_key_value().map(|(number, _)| *number), Some(4));
    }

    #[test]
    fn what_is_written_never_goes() {
        let mut ledger = Ledger::default();
        let one = ledger.begin(&target(1, 1), 3000, BOUNDS).number.unwrap();
        assert_eq!(
            ledger.begin(&target(1, 2), 300, BOUNDS),
            Begun { number: None, removed: vec![] }
        );
        ledger.close(one, 3000);
        let begun = ledger.begin(&target(1, 2), 300, BOUNDS);
        assert_eq!((begun.number, begun.removed.len()), (Some(2), 1));
    }

    proptest! {
        #[test]
        fn it_converges_and_never_captures_a_bridge_twice(wanted in some(), running in some()) {
            let plan_a = plan(&wanted, &running, BOUNDS);
            let mut now = running.clone();
            let busy: BTreeSet<_> = running.iter().map(|it| &it.bridge).collect();
            prop_assert!(plan_a.start.iter().all(|it| !busy.contains(&it.bridge)));
            for target in &plan_a.stop {
                prop_assert!(!wanted.contains(target));
                now.remove(target);
            }
            now.extend(plan_a.start.iter().cloned());
            let plan_b = plan(&wanted, &now, BOUNDS);
            prop_assert_eq!(&plan_b.stop, &Vec::<Target>::new());
            now.extend(plan_b.start);
            prop_assert_eq!(&now, &wanted);
            prop_assert_eq!(plan(&wanted, &now, BOUNDS), Plan::default());
        }

        #[test]
        fn no_more_than_fit_are_begun(bridges in btree_set(0_u8..=255, 0..200)) {
            let wanted: BTreeSet<_> = bridges.iter().map(|nth| target(*nth, *nth)).collect();
            let bounds = Bounds { instance_bytes: 3200, node_bytes: 5000 };
            let plan = plan(&wanted, &BTreeSet::new(), bounds);
            prop_assert!(plan.start.len() as u64 * bounds.segment_bytes() <= bounds.node_bytes);
            prop_assert_eq!(plan.start.len() + plan.held.len(), wanted.len());
        }

        #[test]
        fn the_bounds_hold_whatever_is_written(
            steps in vec((0_u8..5, 0_u8..3, 0_u64..1300, any::<bool>()), 0..120),
        ) {
            let mut ledger = Ledger::default();
            let mut open = BTreeMap::new();
            for (nth, bridge, n_bytes, closes) in steps {
                let target = target(nth, bridge);
                if closes {
                    if let Some((number, most)) = open.remove(&target) {
                        ledger.close(number, n_bytes.min(most));
                    }
                    continue;
                }
                if open.contains_key(&target) {
                    continue;
                }
                let before = ledger.clone();
                let begun = ledger.begin(&target, n_bytes, BOUNDS);
                for (number, segment) in &begun.removed {
                    prop_assert_eq!(segment.state, SegmentState::Closed);
                    let older = before.segments.range(..number).filter(|(number, it)| {
                        it.state == SegmentState::Closed
                            && it.target.instance == segment.target.instance
                            && ledger.segments.contains_key(number)
                    });
                    prop_assert_eq!(older.count(), 0);
                }
                if let Some(number) = begun.number {
                    open.insert(target, (number, n_bytes));
                }
                prop_assert!(ledger.kept(None) <= BOUNDS.node_bytes);
                prop_assert!((0..5).all(|it| ledger.kept(Some(instance(it))) <= BOUNDS.instance_bytes));
            }
        }
    }
}
