//! The file format of captures (pcap, microseconds): cut into whole records, read, and merged by time.
//!
//! # Invariants
//! * Whatever the chunks, the same records come out; a record that is not whole never does.
//! * A length is believed only up to [`SNAPLEN`].
//! * Merging keeps every whole record, sorts them by time, and holds one record of each file in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};

use thiserror::Error;

/// Bytes of a file before its first record.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a record before its packet.
const RECORD_BYTES: usize = 16;
/// Most bytes of one packet that are captured.
pub const SNAPLEN: u32 = 65_535;
/// Ethernet: what bridges carry.
const LINK_ETHERNET: u32 = 1;
const MAGIC: u32 = 0xa1b2_c3d4;

/// How a file begins that we make.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
    header[20..24].copy_from_slice(&LINK_ETHERNET.to_le_bytes());
    header
}

/// Why bytes are no capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The beginning is another format.
    #[error("it does not begin like a capture of Ethernet in microseconds")]
    Header,
    /// A packet is longer than is captured.
    #[error("a packet has a length that cannot be")]
    Length,
}

/// How a file writes its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(header: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        let order = match word(header, 0, Self::Little) {
            MAGIC => Self::Little,
            other if other == MAGIC.swap_bytes() => Self::Big,
            _ => return Err(Fault::Header),
        };
        if word(header, 20, order) == LINK_ETHERNET { Ok(order) } else { Err(Fault::Header) }
    }
}

/// The number at `at`, which is within `bytes`.
fn word(bytes: &[u8], at: usize, order: Order) -> u32 {
    let mut word = [0; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        word.copy_from_slice(found);
    }
    match order {
        Order::Little => u32::from_le_bytes(word),
        Order::Big => u32::from_be_bytes(word),
    }
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// When: microseconds since 1970.
    pub at_micros: u64,
    /// How long it was.
    pub n_bytes: u32,
    /// Its beginning.
    pub packet: Vec<u8>,
}

impl Record {
    fn head(bytes: &[u8; RECORD_BYTES], order: Order) -> Result<(Self, usize), Fault> {
        let length = word(bytes, 8, order);
        if length > SNAPLEN {
            return Err(Fault::Length);
        }
        let (secs, micros) = (word(bytes, 0, order), word(bytes, 4, order));
        let at_micros = u64::from(secs) * 1_000_000 + u64::from(micros);
        let record = Self { at_micros, n_bytes: word(bytes, 12, order), packet: Vec::new() };
        Ok((record, usize::try_from(length).unwrap_or(usize::MAX)))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let [secs, micros] = [self.at_micros / 1_000_000, self.at_micros % 1_000_000];
        let length = u32::try_from(self.packet.len()).unwrap_or(SNAPLEN);
        for number in [u32::try_from(secs).unwrap_or(u32::MAX), micros as u32, length, self.n_bytes]
        {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(&self.packet)
    }
}

/// Cuts the output of a running capture into records, without looking into packets.
#[derive(Debug, Default)]
pub struct Splitter {
    order: Option<Order>,
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes, and gives the records that are whole by now, as we write them.
    ///
    /// # Errors
    /// When it is no capture, or one of another kind. Nothing that comes after that means anything.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        self.pending.extend_from_slice(bytes);
        let mut rest = self.pending.as_slice();
        let order = match self.order {
            Some(order) => order,
            None => {
                let Some((header, after)) = rest.split_first_chunk() else { return Ok(Vec::new()) };
                rest = after;
                *self.order.insert(Order::of(header)?)
            }
        };
        let mut whole = Vec::with_capacity(rest.len());
        while let Some((head, after)) = rest.split_first_chunk::<RECORD_BYTES>() {
            let (mut record, length) = Record::head(head, order)?;
            let Some((packet, after)) = after.split_at_checked(length) else { break };
            record.packet = packet.to_vec();
            // A vector takes everything that is written to it.
            let _ = record.write(&mut whole);
            rest = after;
        }
        let n_done = self.pending.len() - rest.len();
        self.pending.drain(..n_done);
        Ok(whole)
    }
}

/// The whole records of a file, as far as they go: a kill may have cut the last one off.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    order: Option<Order>,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of a file.
    pub fn new(from: R) -> Self {
        Self { from, order: None, is_over: false }
    }

    fn read(&mut self) -> Option<Record> {
        let order = match self.order {
            Some(order) => order,
            None => {
                let mut header = [0; HEADER_BYTES];
                self.from.read_exact(&mut header).ok()?;
                *self.order.insert(Order::of(&header).ok()?)
            }
        };
        let mut head = [0; RECORD_BYTES];
        self.from.read_exact(&mut head).ok()?;
        let (mut record, length) = Record::head(&head, order).ok()?;
        record.packet.resize(length, 0);
        self.from.read_exact(&mut record.packet).ok()?;
        Some(record)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.is_over {
            return None;
        }
        let record = self.read();
        self.is_over = record.is_none();
        record
    }
}

/// Writes one file of all whole records in `files`, by time. Within one file packets may be out of
/// order by what the kernel needs to hand them over; they stay as they are.
///
/// # Errors
/// When `out` does not take it.
pub fn merge<R: Read>(files: Vec<R>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&header())?;
    let mut readers: Vec<_> = files.into_iter().map(Reader::new).collect();
    let mut heads = BinaryHeap::new();
    for (nth, reader) in readers.iter_mut().enumerate() {
        heads.extend(reader.next().map(|record| Reverse((record.at_micros, nth, record))));
    }
    while let Some(Reverse((_, nth, record))) = heads.pop() {
        record.write(out)?;
        let next = readers.get_mut(nth).and_then(Iterator::next);
        heads.extend(next.map(|record| Reverse((record.at_micros, nth, record))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let record = (0_u64..4_000_000_000_000, vec(any::<u8>(), 0..90))
            .prop_map(|(at_micros, packet)| Record { at_micros, n_bytes: 1500, packet });
        vec(record, 0..20)
    }

    fn file(records: &[Record]) -> Vec<u8> {
        let mut bytes = header().to_vec();
        records.iter().for_each(|record| record.write(&mut bytes).unwrap());
        bytes
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert_eq!(Splitter::default().push(&[7; 24]), Err(Fault::Header));
        let mut long = header().to_vec();
        long.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(Splitter::default().push(&long), Err(Fault::Length));
        assert_eq!(Reader::new(long.as_slice()).count(), 0);
    }

    #[test]
    fn numbers_of_the_other_byte_order_are_read() {
        let mut bytes = Vec::new();
        for number in [MAGIC, 0x0002_0004, 0, 0, SNAPLEN, LINK_ETHERNET, 3, 4, 2, 9] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([7, 8]);
        let read: Vec<_> = Reader::new(bytes.as_slice()).collect();
        assert_eq!(read, [Record { at_micros: 3_000_004, n_bytes: 9, packet: vec![7, 8] }]);
    }

    proptest! {
        #[test]
        fn whatever_the_chunks_the_same_records_come_out(
            records in records(), cuts in vec(1_usize..50, 1..9), n_lost in 0_usize..40,
        ) {
            let mut bytes = file(&records);
            bytes.truncate(bytes.len().saturating_sub(n_lost).max(HEADER_BYTES));
            let (mut splitter, mut out) = (Splitter::default(), header().to_vec());
            let (mut rest, mut sizes) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                out.extend(splitter.push(chunk).unwrap());
                rest = after;
            }
            let whole: Vec<_> = Reader::new(bytes.as_slice()).collect();
            prop_assert!(records.starts_with(&whole));
            prop_assert_eq!(out, file(&whole));
        }

        #[test]
        fn merging_keeps_every_record_in_order(mut files in vec(records(), 0..5)) {
            files.iter_mut().for_each(|records| records.sort());
            let bytes: Vec<_> = files.iter().map(|records| file(records)).collect();
            let mut merged = Vec::new();
            merge(bytes.iter().map(Vec::as_slice).collect(), &mut merged).unwrap();
            let read: Vec<_> = Reader::new(merged.as_slice()).collect();
            prop_assert!(read.is_sorted_by_key(|record| record.at_micros));
            let (mut all, mut read) = (files.concat(), read);
            all.sort();
            read.sort();
            prop_assert_eq!(all, read);
        }

        #[test]
        fn no_bytes_make_a_panic(bytes in vec(any::<u8>(), 0..200)) {
            let mut begun = header().to_vec();
            begun.extend(&bytes);
            let _ = Splitter::default().push(&begun);
            let _ = Splitter::default().push(&bytes);
            let _ = Reader::new(bytes.as_slice()).count() + Reader::new(begun.as_slice()).count();
        }
    }
}
