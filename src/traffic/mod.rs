//! What is in captured packets: pcap as bytes, and the HTTP that was spoken in it.
//!
//! In:  bytes of `tcpdump` (pcap). Out: whole records of them, one pcap made of several by time, and
//! [`Flow`]s: a request and what was answered, in the contract's shape.
//!
//! # Invariants
//! * Packets are hostile: no byte of them makes a panic, and everything that is kept of them is bounded.
//! * What is cut off says so: a body ends with [`http::CUT`].
//!
//! # Not here
//! Who is captured and how much is kept (`planner::capture`), the programs (`daemon::capture`).

mod flow;
mod http;
pub mod pcap;
mod stream;

use std::collections::VecDeque;

pub use flow::{Flow, Metadata, Peer, Request, Response, Side};

use stream::Streams;

/// Most exchanges of one capture; the newest stay.
pub const MAX_FLOWS: usize = 2000;
/// Most bytes of all exchanges of one capture as JSON; the newest stay. Less than what a platform
/// reads of its node.
pub const MAX_FLOW_BYTES: usize = 6 << 20;

/// The HTTP/1 that was spoken in a capture, by time. What cannot be read is left out.
pub fn flows(capture: &[u8]) -> Vec<Flow> {
    let mut streams = Streams::default();
    for record in pcap::Reader::new(capture) {
        streams.take(&record);
    }
    let mut flows = Vec::new();
    for talk in streams.finish() {
        flows.extend(http::exchanges(&talk));
        if flows.len() > 4 * MAX_FLOWS {
            sort(&mut flows);
            flows.drain(..flows.len() - MAX_FLOWS);
        }
    }
    sort(&mut flows);
    newest(flows)
}

fn sort(flows: &mut [Flow]) {
    flows.sort_by(|a, b| a.metadata.timestamp.cmp(&b.metadata.timestamp));
}

/// As many of the last as may be kept.
fn newest(flows: Vec<Flow>) -> Vec<Flow> {
    let mut kept = VecDeque::new();
    let mut n_bytes = 0;
    for flow in flows.into_iter().rev().take(MAX_FLOWS) {
        n_bytes += serde_json::to_vec(&flow).map_or(MAX_FLOW_BYTES, |text| text.len() + 1);
        if n_bytes > MAX_FLOW_BYTES {
            break;
        }
        kept.push_front(flow);
    }
    kept.into()
}

#[cfg(test)]
mod tests;
