//! Which subnet of a pool is next. Pure.
//!
//! # Invariants
//! * A chosen subnet lies in the pool and overlaps nothing in use.
//! * The search goes around the pool from where it stopped: one that was just freed comes last.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

/// The longest prefix that leaves room for a gateway and a container.
const LONGEST_PREFIX: u8 = 30;

/// The next free subnet of `prefix_len` after the address `cursor`; `None` when the pool has none,
/// or is smaller than one.
pub(super) fn next(
    pool: Ipv4Net,
    prefix_len: u8,
    used: &[Ipv4Net],
    cursor: Option<u32>,
) -> Option<Ipv4Net> {
    if prefix_len < pool.prefix_len() || prefix_len > LONGEST_PREFIX {
        return None;
    }
    let taken = Ranges::new(used);
    // 64 bits, so that the end of 0.0.0.0/0 has a successor.
    let size = 1_u64 << (32 - u32::from(prefix_len));
    let first = u64::from(u32::from(pool.network()));
    let end = u64::from(u32::from(pool.broadcast())) + 1;
    let after = cursor.map_or(first, |address| (u64::from(address) / size + 1) * size);
    let start = if (first..end).contains(&after) { after } else { first };
    let found = search(start, end, size, &taken).or_else(|| search(first, start, size, &taken))?;
    Ipv4Net::new(u32::try_from(found).ok()?.into(), prefix_len).ok()
}

/// The first free block of `size` in `start..end`, both multiples of it.
fn search(start: u64, end: u64, size: u64, taken: &Ranges) -> Option<u64> {
    let mut candidate = start;
    while candidate < end {
        match taken.last_touching(candidate, candidate + size - 1) {
            None => return Some(candidate),
            // Jumps over what is in the way, which may be far larger than one block.
            Some(last) => candidate = (last / size + 1) * size,
        }
    }
    None
}

/// Address ranges without overlap, first address to last.
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn new(nets: &[Ipv4Net]) -> Self {
        // Of two nets that overlap, one contains the other: only the outermost matter.
        let outermost = Ipv4Net::aggregate(&nets.iter().map(Ipv4Net::trunc).collect());
        let bounds = |net: &Ipv4Net| {
            (u64::from(u32::from(net.network())), u64::from(u32::from(net.broadcast())))
        };
        Self(outermost.iter().map(bounds).collect())
    }

    /// The last address of the range that reaches furthest into `first..=last`.
    fn last_touching(&self, first: u64, last: u64) -> Option<u64> {
        let (_, end) = self.0.range(..=last).next_back()?;
        (*end >= first).then_some(*end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_subnet_is_the_first_free_one_after_the_cursor() {
        let pool = net("10.9.0.0/26");
        for (used, cursor, chosen) in [
            (&[][..], None, Some("10.9.0.0/28")),
            (&[], Some("10.9.0.0"), Some("10.9.0.16/28")),
            (&[], Some("10.9.0.48"), Some("10.9.0.0/28")),
            (&["10.9.0.16/28"], Some("10.9.0.0"), Some("10.9.0.32/28")),
            (&["10.9.0.0/27"], None, Some("10.9.0.32/28")),
            (&["10.9.0.33/32"], Some("10.9.0.16"), Some("10.9.0.48/28")),
            (&["10.9.0.0/27", "10.9.0.32/28"], Some("10.9.0.48"), Some("10.9.0.48/28")),
            (&["10.0.0.0/8"], None, None),
            (&["10.9.0.0/27", "10.9.0.32/27"], None, None),
            // A cursor of another pool.
            (&[], Some("172.16.0.0"), Some("10.9.0.0/28")),
        ] {
            let used: Vec<_> = used.iter().map(|text| net(text)).collect();
            let cursor =
                cursor.map(|text: &str| u32::from(text.parse::<std::net::Ipv4Addr>().unwrap()));
            assert_eq!(next(pool, 28, &used, cursor), chosen.map(net), "{used:?} {cursor:?}");
        }
    }

    #[test]
    fn a_prefix_that_does_not_fit_gives_nothing() {
        for prefix_len in [0, 15, 31, 32, 33, 255] {
            assert_eq!(next(net("10.9.0.0/16"), prefix_len, &[], None), None);
        }
        assert_eq!(next(net("0.0.0.0/0"), 0, &[], None), Some(net("0.0.0.0/0")));
        assert_eq!(next(net("10.9.0.0/30"), 30, &[], Some(7)), Some(net("10.9.0.0/30")));
    }

    #[test]
    fn a_huge_pool_that_strangers_use_is_skipped_at_once() {
        let used = [net("10.0.0.0/9"), net("10.128.0.0/10")];
        assert_eq!(next(net("10.0.0.0/8"), 30, &used, None), Some(net("10.192.0.0/30")));
    }

    proptest! {
        #[test]
        fn a_chosen_subnet_is_in_the_pool_and_overlaps_nothing(
            used in proptest::collection::vec((0_u32..512, 23_u8..=32), 0..20),
            cursor in proptest::option::of(any::<u32>()),
            prefix_len in 23_u8..=30,
        ) {
            let pool = net("10.9.0.0/23");
            let base = u32::from(pool.network());
            let used: Vec<_> = used
                .into_iter()
                .map(|(offset, len)| Ipv4Net::new((base + offset).into(), len).unwrap())
                .collect();
            let overlaps = |net: &Ipv4Net| {
                used.iter().any(|other| net.contains(&other.trunc()) || other.contains(net))
            };
            let any_free = pool.subnets(prefix_len).unwrap().any(|subnet| !overlaps(&subnet));
            let chosen = next(pool, prefix_len, &used, cursor);
            prop_assert_eq!(chosen.is_some(), any_free);
            prop_assert!(chosen.is_none_or(|subnet| pool.contains(&subnet) && !overlaps(&subnet)));
        }

        #[test]
        fn a_freed_subnet_comes_last(n_used in 0_usize..3) {
            let pool = net("10.9.0.0/26");
            let mut cursor = None;
            let mut order = Vec::new();
            for _ in 0..4 {
                // Each is freed before the next is asked for, but for the first few.
                let subnet = next(pool, 28, &order[..n_used.min(order.len())], cursor).unwrap();
                cursor = Some(u32::from(subnet.network()));
                order.push(subnet);
            }
            order.sort();
            order.dedup();
            prop_assert_eq!(order.len(), 4);
        }
    }
}
