//! `flagops read-traffic`: what the daemon starts to read captured packets. It takes its limits before
//! it reads a byte.
//!
//! In:  a pcap on standard input. Out: the HTTP in it, a JSON array on standard output.

use std::io::{self, Read as _};

use clap::Args;

use super::failure::{Ending, Failure};
use super::render::{Limits, limit};
use crate::traffic;

/// Memory and processor time that the largest capture needs, and no more.
const LIMITS: Limits = Limits { memory_bytes: 1 << 30, cpu_secs: 10 };
/// Largest capture: one instance has 64 MiB at most.
const MAX_CAPTURE_BYTES: u64 = 72 << 20;

/// Read the HTTP in captured packets, for the daemon
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {}

/// Reads what is on standard input.
pub(crate) fn run() -> Result<Ending, Failure> {
    let answered = limit(LIMITS).and_then(|()| {
        let mut capture = Vec::new();
        io::stdin().lock().take(MAX_CAPTURE_BYTES).read_to_end(&mut capture)?;
        let flows = traffic::flows(&capture);
        serde_json::to_writer(io::stdout().lock(), &flows).map_err(io::Error::from)
    });
    match answered {
        Ok(()) => Ok(Ending::Fine),
        Err(error) => Err(Failure::failed(
            format!("could not read a capture ({})", error.kind()),
            "this command is for the daemon; `tcpdump -r FILE` reads captures for people",
        )),
    }
}
