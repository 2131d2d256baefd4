//! How many of something each of many has at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by key, each at most `limit`.
#[derive(Debug)]
pub(super) struct Slots<K: Eq + Hash + Copy> {
    limit: u32,
    taken: Arc<Mutex<HashMap<K, u32>>>,
}

/// One of a key's slots; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot<K: Eq + Hash + Copy> {
    key: K,
    taken: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash + Copy> Slots<K> {
    /// Nothing taken.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// Takes one of `key`'s slots; `None` when it has as many as it may.
    pub(super) fn take(&self, key: K) -> Option<Slot<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let n = taken.get(&key).copied().unwrap_or(0);
        if n >= self.limit {
            return None;
        }
        taken.insert(key, n + 1);
        Some(Slot { key, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Eq + Hash + Copy> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.key) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

/// Who connections are counted for: an address, or the /64 that one customer of IPv6 has.
pub(super) fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped_and_keys_do_not_meet() {
        let slots = Slots::new(2);
        let first = slots.take(1).unwrap();
        let _second = slots.take(1).unwrap();
        assert!(slots.take(1).is_none());
        assert!(slots.take(2).is_some());
        drop(first);
        assert!(slots.take(1).is_some());
        assert_eq!(slots.taken.lock().unwrap().len(), 1);
    }

    #[test]
    fn one_customer_of_ipv6_is_one_source() {
        let of = |address: &str| source(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
