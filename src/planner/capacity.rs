//! How many teams a node carries when each plays everything at once.
//!
//! In:  what the node has, and what one instance of each challenge needs. Pure.
//! Out: a bound for each resource, the tightest first.

/// What a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Have {
    /// Networks that the pool has room for.
    pub networks: u64,
    /// Host ports to publish on.
    pub ports: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Instances at a time, as the operator set it.
    pub instances: u64,
}

/// What one instance of a challenge needs; of several, what they need together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Networks.
    pub networks: u64,
    /// Published ports.
    pub ports: u64,
    /// The limits of its services together.
    pub memory_bytes: u64,
    /// One, or none for a challenge without containers.
    pub instances: u64,
}

impl std::iter::Sum for Need {
    fn sum<I: Iterator<Item = Self>>(needs: I) -> Self {
        needs.fold(Self::default(), |sum, need| Self {
            networks: sum.networks.saturating_add(need.networks),
            ports: sum.ports.saturating_add(need.ports),
            memory_bytes: sum.memory_bytes.saturating_add(need.memory_bytes),
            instances: sum.instances.saturating_add(need.instances),
        })
    }
}

/// How far one resource goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Which, for people.
    pub what: &'static str,
    /// What the node has of it.
    pub have: u64,
    /// What one team takes that plays everything at once.
    pub per_team: u64,
    /// So many teams; `None` when nobody needs any.
    pub teams: Option<u64>,
}

/// Networks of `prefix_len` in a pool of `pool_len`.
pub fn networks(pool_len: u8, prefix_len: u8) -> u64 {
    1_u64.checked_shl(u32::from(prefix_len.saturating_sub(pool_len))).unwrap_or(u64::MAX)
}

/// The bounds, the tightest first. Memory is counted by its limits: a node that is over them works until
/// every instance uses all of its own.
pub fn bounds(have: &Have, per_team: &Need) -> Vec<Bound> {
    let bound = |what, have: u64, per_team: u64| Bound {
        what,
        have,
        per_team,
        teams: have.checked_div(per_team),
    };
    let mut bounds = vec![
        bound("networks", have.networks, per_team.networks),
        bound("ports", have.ports, per_team.ports),
        bound("memory", have.memory_bytes, per_team.memory_bytes),
        bound("instances", have.instances, per_team.instances),
    ];
    bounds.sort_by_key(|bound| bound.teams.unwrap_or(u64::MAX));
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_resource_decides() {
        let have = Have { networks: 8192, ports: 10_000, memory_bytes: 32 << 30, instances: 500 };
        let web = Need { networks: 2, ports: 1, memory_bytes: 256 << 20, instances: 1 };
        let quiz = Need::default();
        let per_team: Need = [web, web, quiz].into_iter().sum();
        let shown: Vec<_> =
            bounds(&have, &per_team).iter().map(|it| (it.what, it.teams.unwrap())).collect();
        let wanted = [("memory", 64), ("instances", 250), ("networks", 2048), ("ports", 5000)];
        assert_eq!(shown, wanted);
        assert!(bounds(&have, &quiz).iter().all(|it| it.teams.is_none()), "nobody needs any");
    }

    #[test]
    fn a_pool_has_as_many_networks_as_fit() {
        assert_eq!(networks(15, 28), 8192);
        assert_eq!(networks(28, 28), 1);
        assert_eq!(networks(30, 28), 1, "config refuses that");
        assert_eq!(networks(0, 30), 1 << 30);
    }
}
