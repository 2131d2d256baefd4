//! Host ports: which one an endpoint gets, and who has which.
//!
//! # Invariants
//! * A port of a transport belongs to at most one instance that is not over.
//! * A freed port is the last choice, the one freed longest ago first: a player's old address does
//!   not become another team's new one within a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::time::Instant;

use super::PortRange;
use crate::model::compose::Transport;
use crate::model::{Endpoint, InstanceId};

/// How long a port that a stranger was seen on is not tried again.
const STRANGER_REST: Duration = Duration::from_secs(600);

/// Ports that other programs of this machine were seen on, of either transport.
#[derive(Debug, Default)]
pub(super) struct StrangerPorts(BTreeMap<u16, Instant>);

impl StrangerPorts {
    /// Remembers that others use these.
    pub(super) fn add(&mut self, ports: &[u16], now: Instant) {
        self.0.extend(ports.iter().map(|port| (*port, now + STRANGER_REST)));
    }

    /// Those still to be avoided.
    pub(super) fn avoid(&mut self, now: Instant) -> BTreeSet<u16> {
        self.0.retain(|_, until| *until > now);
        self.0.keys().copied().collect()
    }
}

/// What speaks against each port of one transport.
#[derive(Debug, Default)]
struct Taken {
    /// Held by instances.
    held: BTreeSet<u16>,
    /// Freed before, with the order of that.
    freed: BTreeMap<u16, i64>,
}

/// Gives every endpoint of `surface` a host port and writes it down for `instance`. `None`, and
/// nothing useful written, when there are not enough: the caller rolls back.
pub(super) fn allocate(
    db: &Connection,
    instance: InstanceId,
    surface: &mut [Endpoint],
    range: PortRange,
    avoid: &BTreeSet<u16>,
    offset: u32,
) -> rusqlite::Result<Option<()>> {
    for endpoint in surface {
        let taken = load(db, endpoint.transport)?;
        let Some(port) = choose(range, &taken, avoid, offset) else { return Ok(None) };
        db.prepare_cached(
            "INSERT INTO ports (transport, port, instance, freed_seq) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (transport, port) DO UPDATE SET instance = excluded.instance",
        )?
        .execute(params![endpoint.transport.as_str(), port, instance.to_string()])?;
        endpoint.port = port;
    }
    Ok(Some(()))
}

/// Frees every port of an instance.
pub(super) fn free(db: &Connection, instance: InstanceId) -> rusqlite::Result<()> {
    let seq = super::row::next(db, "port_freed")?;
    db.prepare_cached("UPDATE ports SET instance = NULL, freed_seq = ?2 WHERE instance = ?1")?
        .execute(params![instance.to_string(), seq])?;
    Ok(())
}

/// Frees the ports of an instance's endpoints.
pub(super) fn free_some(
    db: &Connection,
    instance: InstanceId,
    endpoints: &[Endpoint],
) -> rusqlite::Result<()> {
    let seq = super::row::next(db, "port_freed")?;
    let mut update = db.prepare_cached(
        "UPDATE ports SET instance = NULL, freed_seq = ?4
         WHERE instance = ?1 AND transport = ?2 AND port = ?3",
    )?;
    for endpoint in endpoints {
        let transport = endpoint.transport.as_str();
        update.execute(params![instance.to_string(), transport, endpoint.port, seq])?;
    }
    Ok(())
}

fn load(db: &Connection, transport: Transport) -> rusqlite::Result<Taken> {
    let mut taken = Taken::default();
    let mut select =
        db.prepare_cached("SELECT port, instance, freed_seq FROM ports WHERE transport = ?1")?;
    let mut rows = select.query([transport.as_str()])?;
    while let Some(row) = rows.next()? {
        let port = row.get("port")?;
        match row.get::<_, Option<String>>("instance")? {
            Some(_) => {
                taken.held.insert(port);
            }
            None => {
                taken.freed.insert(port, row.get("freed_seq")?);
            }
        }
    }
    Ok(taken)
}

/// The first port from `offset` on, around the range, that was never given out; else the one that
/// was freed longest ago.
fn choose(range: PortRange, taken: &Taken, avoid: &BTreeSet<u16>, offset: u32) -> Option<u16> {
    let n = u32::from(range.last).checked_sub(u32::from(range.first))? + 1;
    let is_usable = |port: &u16| *port > 0 && !taken.held.contains(port) && !avoid.contains(port);
    let around = (0..n).map(|nth| (u64::from(offset) + u64::from(nth)) % u64::from(n));
    around
        .filter_map(|nth| u16::try_from(u64::from(range.first) + nth).ok())
        .find(|port| is_usable(port) && !taken.freed.contains_key(port))
        .or_else(|| {
            let in_range = taken.freed.range(range.first..=range.last);
            in_range
                .filter(|(port, _)| is_usable(port))
                .min_by_key(|(port, seq)| (**seq, **port))
                .map(|(port, _)| *port)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(held: &[u16], freed: &[(u16, i64)]) -> Taken {
        Taken { held: held.iter().copied().collect(), freed: freed.iter().copied().collect() }
    }

    #[test]
    fn a_port_is_looked_for_from_the_offset_around_the_range() {
        let range = PortRange { first: 10, last: 13 };
        for (held, freed, avoid, offset, port) in [
            (&[][..], &[][..], &[][..], 0, Some(10)),
            (&[], &[], &[], 3, Some(13)),
            (&[13], &[], &[], 3, Some(10)),
            (&[13], &[], &[10], 3, Some(11)),
            (&[13], &[(10, 1)], &[11], 3, Some(12)),
            // Nothing fresh is left: what was freed longest ago.
            (&[13], &[(10, 5), (11, 3), (12, 4)], &[], 0, Some(11)),
            (&[13], &[(10, 5), (11, 3), (12, 4)], &[11], 0, Some(12)),
            (&[10, 11, 12, 13], &[], &[], 2, None),
            (&[10, 11], &[(12, 1)], &[12, 13], u32::MAX, None),
            (&[10, 11, 12, 13], &[(9, 1), (14, 1)], &[], 2, None),
        ] {
            let avoid = avoid.iter().copied().collect();
            let chosen = choose(range, &taken(held, freed), &avoid, offset);
            assert_eq!(chosen, port, "{held:?} {freed:?} {avoid:?} {offset}");
        }
    }

    #[test]
    fn an_empty_range_and_the_port_zero_give_nothing() {
        let range = |first, last| PortRange { first, last };
        assert_eq!(choose(range(5, 4), &taken(&[], &[]), &BTreeSet::new(), 0), None);
        assert_eq!(choose(range(0, 0), &taken(&[], &[]), &BTreeSet::new(), 0), None);
        assert_eq!(
            choose(range(65_535, 65_535), &taken(&[], &[]), &BTreeSet::new(), 9),
            Some(65_535)
        );
    }

    #[test]
    fn a_strangers_port_is_avoided_for_ten_minutes() {
        let start = Instant::now();
        let mut strangers = StrangerPorts::default();
        strangers.add(&[80], start);
        strangers.add(&[443], start + Duration::from_secs(60));
        let after = |secs| start + Duration::from_secs(secs);
        assert_eq!(strangers.avoid(after(599)), BTreeSet::from([80, 443]));
        assert_eq!(strangers.avoid(after(600)), BTreeSet::from([443]));
        assert_eq!(strangers.avoid(after(660)), BTreeSet::new());
    }

    proptest! {
        #[test]
        fn a_chosen_port_is_in_range_and_free_and_there_is_one_if_any_is(
            first in 1_u16..40,
            n in 0_u16..40,
            held in proptest::collection::btree_set(1_u16..90, 0..60),
            freed in proptest::collection::btree_map(1_u16..90, 0_i64..9, 0..30),
            avoid in proptest::collection::btree_set(1_u16..90, 0..30),
            offset in any::<u32>(),
        ) {
            let range = PortRange { first, last: first + n };
            let is_free = |port: &u16| !held.contains(port) && !avoid.contains(port);
            let any_free = (first..=first + n).any(|port| is_free(&port));
            let freed = freed.into_iter().filter(|(port, _)| !held.contains(port)).collect();
            let taken = Taken { held: held.clone(), freed };
            let chosen = choose(range, &taken, &avoid, offset);
            prop_assert_eq!(chosen.is_some(), any_free);
            prop_assert!(chosen.is_none_or(|port| is_free(&port) && (first..=first + n).contains(&port)));
        }
    }
}
