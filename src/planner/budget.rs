//! Which instances keep more on the node's disk than they may.
//!
//! In:  what each keeps, and what each may. Pure. Out: those that are over, largest first.

use std::collections::BTreeMap;

use crate::model::{Demands, InstanceId};

/// An instance that is over its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub id: InstanceId,
    /// What it keeps, as far as it was added up.
    pub used_bytes: u64,
    /// What it may.
    pub budget_bytes: u64,
}

impl Over {
    /// What its owner reads.
    pub fn words(&self) -> String {
        format!(
            "disk_quota: its containers wrote more than {} MiB to the disk of the node, so it was ended; start it anew",
            self.budget_bytes >> 20
        )
    }
}

/// What an instance may keep: the node's budget, or less if its challenge says so.
pub fn budget_bytes(node_mib: u32, demands: &Demands) -> u64 {
    let mib = demands.disk_mib.map_or(node_mib, |asked| asked.min(node_mib));
    u64::from(mib) << 20
}

/// Those of `budgets` that keep more than they may. What was not seen is not over.
pub fn over(used: &BTreeMap<InstanceId, u64>, budgets: &BTreeMap<InstanceId, u64>) -> Vec<Over> {
    let mut over: Vec<_> = budgets
        .iter()
        .filter_map(|(&id, &budget_bytes)| {
            let used_bytes = *used.get(&id)?;
            (used_bytes > budget_bytes).then_some(Over { id, used_bytes, budget_bytes })
        })
        .collect();
    over.sort_by_key(|it| (std::cmp::Reverse(it.used_bytes), it.id));
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> InstanceId {
        InstanceId::new(uuid::Uuid::from_bytes([n; 16]))
    }

    #[test]
    fn only_what_was_seen_to_be_over_is_over_and_the_largest_comes_first() {
        let budgets = BTreeMap::from([1, 2, 3, 4].map(|n| (id(n), 100)));
        let used = BTreeMap::from([(id(1), 100), (id(2), 101), (id(3), 5000), (id(9), 9999)]);
        let ids: Vec<_> = over(&used, &budgets).iter().map(|it| it.id).collect();
        assert_eq!(ids, [id(3), id(2)]);
        assert_eq!(over(&BTreeMap::new(), &budgets), []);
    }

    #[test]
    fn a_challenge_may_ask_for_less_and_never_for_more() {
        let asks = |disk_mib| Demands { disk_mib, ..Demands::default() };
        assert_eq!(budget_bytes(1024, &asks(None)), 1 << 30);
        assert_eq!(budget_bytes(1024, &asks(Some(64))), 64 << 20);
        assert_eq!(budget_bytes(1024, &asks(Some(9999))), 1 << 30);
    }
}
