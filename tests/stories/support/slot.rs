//! Ports and addresses of one daemon, so that daemons of parallel stories never meet.

use std::net::TcpListener;

/// Daemons of stories at a time, on one machine.
const N_SLOTS: u16 = 60;
/// Held by the process that uses the slot.
const FIRST_HOLD: u16 = 19_000;
/// Where the daemon of the slot listens.
const FIRST_LISTEN: u16 = 19_100;
/// Where its instances publish ports.
const FIRST_PUBLISHED: u16 = 21_000;
/// How many of them.
const N_PUBLISHED: u16 = 100;

/// One daemon's share of this machine's ports and addresses. Freed with the value, and with the
/// process however it ends.
#[derive(Debug)]
pub(crate) struct Slot {
    n: u16,
    _hold: TcpListener,
}

impl Slot {
    /// The first free slot; processes begin at different ones.
    pub(crate) fn take() -> Self {
        let begin = u16::try_from(std::process::id() % u32::from(N_SLOTS)).unwrap_or(0);
        let free = (0..N_SLOTS).map(|step| (begin + step) % N_SLOTS).find_map(|n| {
            let hold = TcpListener::bind(("127.0.0.1", FIRST_HOLD + n)).ok()?;
            // A stranger may listen there; then the next slot is as good.
            TcpListener::bind(("127.0.0.1", FIRST_LISTEN + n)).ok()?;
            Some(Self { n, _hold: hold })
        });
        free.expect("one of 60 slots is free; are daemons of earlier stories still running?")
    }

    /// The port that the daemon listens on.
    pub(crate) fn listen_port(&self) -> u16 {
        FIRST_LISTEN + self.n
    }

    /// First and last port that its instances publish.
    pub(crate) fn published(&self) -> (u16, u16) {
        let first = FIRST_PUBLISHED + self.n * N_PUBLISHED;
        (first, first + N_PUBLISHED - 1)
    }

    /// The addresses of its instances: a /20 out of `10.128.0.0/9`.
    pub(crate) fn pool(&self) -> String {
        format!("10.{}.{}.0/20", 128 + self.n / 16, (self.n % 16) * 16)
    }
}
