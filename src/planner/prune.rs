//! Decides which leftovers go, and why the others stay: what bears our labels and belongs to an
//! instance that is over.
//!
//! Most of what ends is removed by the worker of its instance, as a part of the stop. A leftover is
//! what came to light after that: a create that a dead engine finished later, a machine that was
//! rolled back. Its row says that it is over, and that is looked at twice before it is believed.
//!
//! In:  the leftovers of a full listing, what was seen of them before (tombstones, kept in the
//!      database), how much there is in all, the time.
//! Out: a [`PrunePlan`]: what goes now, which tombstones are written and dropped, and what is held.
//!
//! # Invariants
//! * Nothing goes that was not seen by two listings at least a minute apart, without a listing
//!   between them that did not see it.
//! * Nothing goes that is not in `leftovers`, so nothing of an instance that lives.
//! * At most `max(3, 10 %)` of everything goes at once, and nothing when that would be everything.
//! * A volume goes only with or after the last container of its instance.
//! * The same input gives the same plan.
//!
//! # Not here
//! Whether an instance is over (the caller reads rows after the listing), what no row knows
//! (`daemon::platform::recover`: that waits for a person), images (`gc`).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::challenge::word_enum;
use crate::model::{InstanceId, Timestamp};

/// Between the two listings that must have seen a leftover.
pub const GRACE_MILLIS: i64 = 60_000;
/// So many may go at once in any case …
const MIN_BUDGET: usize = 3;
/// … or this part of everything.
const BUDGET_PERCENT: usize = 10;

word_enum!(
    /// What a leftover is; in the order of removal.
    LeftoverKind {
        /// A container.
        Container = "container",
        /// A named volume.
        Volume = "volume",
        /// A network that no row knows and no container is on.
        Network = "network",
    }
);

/// Something that nothing wants. Containers and networks by the engine's id, which never names
/// another; volumes by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The engine's id or name.
    pub object: String,
    /// Whose it was; a network outlives its owners.
    pub instance: Option<InstanceId>,
}

/// Leftovers that were seen before, since when.
pub type Tombstones = BTreeMap<Leftover, Timestamp>;

/// Why nothing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneHold {
    /// There are more than may go at once: the next looks remove the rest.
    BudgetExceeded,
    /// Everything of more than one instance would go, and nothing would be left: more likely a
    /// mistake than a wish.
    AllWouldBeRemoved,
}

/// What is done about leftovers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// What goes now, in this order.
    pub remove: Vec<Leftover>,
    /// What was seen for the first time.
    pub bury: Vec<Leftover>,
    /// Tombstones of what is gone, or wanted again.
    pub forget: Vec<Leftover>,
    /// Why not everything goes that could.
    pub held: Option<PruneHold>,
}

/// Plans what goes. `n_managed` is the number of all containers, volumes and networks of ours;
/// `n_wanted` how many of them belong to instances that are not over.
pub fn plan(
    leftovers: &BTreeSet<Leftover>,
    tombstones: &Tombstones,
    n_managed: usize,
    n_wanted: usize,
    now: Timestamp,
) -> PrunePlan {
    let mut plan = PrunePlan {
        bury: leftovers.iter().filter(|it| !tombstones.contains_key(it)).cloned().collect(),
        forget: tombstones.keys().filter(|it| !leftovers.contains(it)).cloned().collect(),
        ..PrunePlan::default()
    };
    let owners: BTreeSet<_> = leftovers.iter().filter_map(|it| it.instance).collect();
    if n_wanted == 0 && owners.len() > 1 {
        plan.held = Some(PruneHold::AllWouldBeRemoved);
        return plan;
    }
    let is_ripe = |it: &&Leftover| {
        tombstones.get(it).is_some_and(|seen| now.millis_since(*seen) >= GRACE_MILLIS)
    };
    let budget = budget(n_managed);
    let mut containers: BTreeMap<Option<InstanceId>, usize> = BTreeMap::new();
    for container in leftovers.iter().filter(|it| it.kind == LeftoverKind::Container) {
        *containers.entry(container.instance).or_default() += 1;
    }
    // In order of their kind: containers come before the volumes that they hold.
    for leftover in leftovers.iter().filter(is_ripe) {
        let n_containers = containers.get(&leftover.instance).copied().unwrap_or_default();
        if leftover.kind == LeftoverKind::Volume && n_containers > 0 {
            continue;
        }
        if plan.remove.len() == budget {
            plan.held = Some(PruneHold::BudgetExceeded);
            break;
        }
        if leftover.kind == LeftoverKind::Container {
            containers.insert(leftover.instance, n_containers.saturating_sub(1));
        }
        plan.remove.push(leftover.clone());
    }
    plan
}

/// How much may go at once.
fn budget(n_managed: usize) -> usize {
    (n_managed * BUDGET_PERCENT / 100).max(MIN_BUDGET)
}
