//! What may go, and never more than that.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn instance(n: u8) -> InstanceId {
    InstanceId::new(Uuid::from_bytes([n; 16]))
}

fn leftover(kind: LeftoverKind, object: &str, owner: u8) -> Leftover {
    Leftover { kind, object: object.to_owned(), instance: Some(instance(owner)) }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

/// The world that a machine under test has: leftovers come and go, listings look.
#[derive(Default)]
struct World {
    tombstones: Tombstones,
}

impl World {
    fn look(&mut self, leftovers: &[Leftover], n_wanted: usize, now: Timestamp) -> PrunePlan {
        let leftovers: BTreeSet<_> = leftovers.iter().cloned().collect();
        let n_managed = leftovers.len() + n_wanted;
        let plan = plan(&leftovers, &self.tombstones, n_managed, n_wanted, now);
        for it in &plan.forget {
            self.tombstones.remove(it);
        }
        for it in &plan.bury {
            self.tombstones.insert(it.clone(), now);
        }
        plan
    }
}

#[test]
fn a_leftover_goes_at_its_second_sighting_a_minute_later() {
    let mut world = World::default();
    let left = [leftover(LeftoverKind::Container, "c", 1)];
    for (secs, n_removed) in [(0, 0), (15, 0), (59, 0), (60, 1)] {
        assert_eq!(world.look(&left, 5, at(secs)).remove.len(), n_removed, "after {secs} s");
    }
}

#[test]
fn one_that_was_gone_in_between_begins_anew() {
    let mut world = World::default();
    let left = [leftover(LeftoverKind::Volume, "v", 1)];
    world.look(&left, 5, at(0));
    assert_eq!(world.look(&[], 5, at(30)).forget, left);
    assert_eq!(world.look(&left, 5, at(70)).remove, []);
    assert_eq!(world.look(&left, 5, at(130)).remove, left);
}

#[test]
fn no_more_than_the_budget_goes_and_volumes_wait_for_their_containers() {
    let mut world = World::default();
    let mut left: Vec<_> =
        (0..5).map(|n| leftover(LeftoverKind::Container, &format!("c{n}"), 1)).collect();
    left.push(leftover(LeftoverKind::Volume, "v", 1));
    world.look(&left, 5, at(0));
    let first = world.look(&left, 5, at(60));
    assert_eq!(first.remove, left[..3]);
    assert_eq!(first.held, Some(PruneHold::BudgetExceeded));
    let second = world.look(&left[3..], 5, at(75));
    assert_eq!(second.remove, left[3..], "the last containers, and then their volume");
    assert_eq!(second.held, None);
}

#[test]
fn everything_of_several_instances_goes_on_nobodys_own_decision() {
    let mut world = World::default();
    let left =
        [leftover(LeftoverKind::Container, "a", 1), leftover(LeftoverKind::Container, "b", 2)];
    world.look(&left, 0, at(0));
    let held = world.look(&left, 0, at(60));
    assert_eq!((held.remove, held.held), (vec![], Some(PruneHold::AllWouldBeRemoved)));
    assert_eq!(world.look(&left, 1, at(75)).remove, left, "something else is wanted");
    // The rest of a single instance is no disaster.
    let one = [leftover(LeftoverKind::Container, "a", 1), leftover(LeftoverKind::Volume, "b", 1)];
    let mut world = World::default();
    world.look(&one, 0, at(0));
    assert_eq!(world.look(&one, 0, at(60)).remove, one);
}

fn kind() -> impl Strategy<Value = LeftoverKind> {
    prop_oneof![
        Just(LeftoverKind::Container),
        Just(LeftoverKind::Volume),
        Just(LeftoverKind::Network)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Objects of four instances come and go, instances live and end, time passes.
    #[test]
    fn nothing_goes_without_two_sightings_nor_beyond_the_budget_nor_of_a_live_row(
        objects in proptest::collection::btree_map((kind(), 0_u8..8), 0_u8..4, 0..12),
        looks in proptest::collection::vec(
            (proptest::collection::btree_set(0_usize..12, 0..12), any::<[bool; 4]>(), 0_i64..50),
            1..12,
        ),
    ) {
        let objects: Vec<Leftover> = objects
            .into_iter()
            .map(|((kind, name), owner)| leftover(kind, &format!("o{name}"), owner))
            .collect();
        let mut world = World::default();
        let mut seen_since: Tombstones = BTreeMap::new();
        let mut now = at(0);
        for (absent, is_live, secs) in looks {
            now = now.plus_secs(secs);
            let there: Vec<_> = objects
                .iter()
                .enumerate()
                .filter(|(nth, _)| !absent.contains(nth))
                .map(|(_, object)| object.clone())
                .collect();
            let is_over = |it: &Leftover| {
                (0..4).all(|n| it.instance != Some(instance(n)) || !is_live[usize::from(n)])
            };
            let left: Vec<_> = there.iter().filter(|it| is_over(it)).cloned().collect();
            let n_wanted = there.len() - left.len();
            let plan = world.look(&left, n_wanted, now);
            prop_assert!(plan.remove.len() <= (there.len() / 10).max(3), "beyond the budget");
            for object in &plan.remove {
                prop_assert!(left.contains(object), "it is not there, or wanted");
                let since = seen_since.get(object).copied();
                let seen_for = since.map(|since| now.millis_since(since));
                prop_assert!(seen_for.is_some_and(|it| it >= GRACE_MILLIS), "{seen_for:?}");
            }
            if n_wanted == 0 && left.iter().map(|it| it.instance).collect::<BTreeSet<_>>().len() > 1 {
                prop_assert_eq!(&plan.remove, &vec![]);
            }
            // An independent record of who was seen without a gap.
            seen_since.retain(|it, _| left.contains(it));
            for object in &left {
                seen_since.entry(object.clone()).or_insert(now);
            }
            prop_assert_eq!(&world.tombstones, &seen_since);
        }
    }
}
