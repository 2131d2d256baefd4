//! TCP put together again: the bytes of both ends of each connection, in their order.
//!
//! # Invariants
//! * At most [`MAX_TALKS`] connections, [`MAX_HALF_BYTES`] of each direction and [`MAX_BYTES`] in all
//!   are kept; what comes after that is dropped, and the direction says so.
//! * A byte that came twice is there once; after a hole there is nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::flow::Peer;
use super::pcap::Record;

/// Most connections of one capture.
const MAX_TALKS: usize = 20_000;
/// Most bytes of one direction.
const MAX_HALF_BYTES: usize = 2 << 20;
/// Most bytes of all.
const MAX_BYTES: usize = 96 << 20;
/// Most packets of one direction that wait for an earlier one.
const MAX_EARLY: usize = 64;

/// A connection, as far as it was seen.
#[derive(Debug)]
pub(super) struct Talk {
    /// Who opened it, or spoke first.
    pub(super) client: Peer,
    /// The other end.
    pub(super) server: Peer,
    /// What the client said.
    pub(super) asked: Half,
    /// What the server said.
    pub(super) answered: Half,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Its bytes, up to the first hole.
    pub(super) bytes: Vec<u8>,
    /// Which byte came when: the first of each packet, in microseconds.
    times: Vec<(usize, u64)>,
    /// The number of the next byte.
    next: Option<u32>,
    early: BTreeMap<u32, (u64, Vec<u8>)>,
    is_full: bool,
}

impl Half {
    /// When the byte at `at` came; 0 when there is none.
    pub(super) fn time_of(&self, at: usize) -> u64 {
        let nth = self.times.partition_point(|(begin, _)| *begin <= at);
        nth.checked_sub(1).and_then(|nth| self.times.get(nth)).map_or(0, |(_, time)| *time)
    }

    /// Takes the payload with that number. Returns how many bytes are new.
    fn take(&mut self, number: u32, payload: &[u8], at_micros: u64) -> usize {
        if payload.is_empty() || self.is_full {
            return 0;
        }
        let before = self.bytes.len();
        let next = *self.next.get_or_insert(number);
        if number.wrapping_sub(next).cast_signed() > 0 {
            if self.early.len() < MAX_EARLY {
                self.early.entry(number).or_insert_with(|| (at_micros, payload.to_vec()));
            }
            return 0;
        }
        self.append(number, payload, at_micros);
        while let Some(number) = self.due() {
            if let Some((time, payload)) = self.early.remove(&number) {
                self.append(number, &payload, time);
            }
        }
        self.bytes.len() - before
    }

    /// One that waits for nothing any more.
    fn due(&self) -> Option<u32> {
        let next = self.next?;
        self.early.keys().copied().find(|it| it.wrapping_sub(next).cast_signed() <= 0)
    }

    fn append(&mut self, number: u32, payload: &[u8], at_micros: u64) {
        let next = self.next.unwrap_or(number);
        let n_known = usize::try_from(next.wrapping_sub(number)).unwrap_or(usize::MAX);
        let Some(new) = payload.get(n_known..).filter(|new| !new.is_empty()) else { return };
        let room = MAX_HALF_BYTES - self.bytes.len().min(MAX_HALF_BYTES);
        self.is_full |= new.len() > room;
        let new = new.get(..room).unwrap_or(new);
        self.times.push((self.bytes.len(), at_micros));
        self.bytes.extend_from_slice(new);
        self.next = Some(next.wrapping_add(u32::try_from(new.len()).unwrap_or(0)));
    }
}

/// Connections while packets come.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<(End, End), Talk>,
    over: Vec<Talk>,
    n_bytes: usize,
}

type End = (IpAddr, u16);

impl Streams {
    /// Takes a packet; what is not TCP is left out.
    pub(super) fn take(&mut self, record: &Record) {
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(&record.packet) else { return };
        let (from, to): (IpAddr, IpAddr) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            _ => return,
        };
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return };
        let (from, to) = ((from, tcp.source_port()), (to, tcp.destination_port()));
        let opens = tcp.syn() && !tcp.ack();
        if opens && let Some(earlier) = self.open.remove(&sorted(from, to)) {
            self.over.push(earlier);
        }
        if self.n_bytes >= MAX_BYTES || (tcp.payload().is_empty() && !tcp.syn()) {
            return;
        }
        if !self.open.contains_key(&sorted(from, to)) {
            if self.open.len() + self.over.len() >= MAX_TALKS {
                return;
            }
            // Without its beginning, whoever speaks like a client is one.
            let is_client = opens || !(tcp.syn() || tcp.payload().starts_with(b"HTTP/"));
            let (client, server) = if is_client { (from, to) } else { (to, from) };
            self.open.insert(sorted(from, to), Talk::between(client, server));
        }
        let Some(talk) = self.open.get_mut(&sorted(from, to)) else { return };
        let is_client = (talk.client.ip, talk.client.port) == from;
        let half = if is_client { &mut talk.asked } else { &mut talk.answered };
        let mut number = tcp.sequence_number();
        if tcp.syn() {
            number = number.wrapping_add(1);
            half.next.get_or_insert(number);
        }
        self.n_bytes += half.take(number, tcp.payload(), record.at_micros);
    }

    /// Every connection, as far as it was seen.
    pub(super) fn finish(mut self) -> Vec<Talk> {
        self.over.extend(self.open.into_values());
        self.over
    }
}

impl Talk {
    fn between(client: End, server: End) -> Self {
        let peer = |(ip, port)| Peer { ip, port };
        let (asked, answered) = (Half::default(), Half::default());
        Self { client: peer(client), server: peer(server), asked, answered }
    }
}

fn sorted(a: End, b: End) -> (End, End) {
    if a <= b { (a, b) } else { (b, a) }
}
