//! Whether trying again helps. Every error that can reach the loop says so.

use super::Timestamp;

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The same input gives the same failure: wait for another input.
    Terminal,
    /// Worth trying again, with the backoff of the class.
    Retry(RetryClass),
    /// Nothing is wrong; look again at this time.
    WaitUntil(Timestamp),
}

/// Which backoff fits (`contract/gitops.md` §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// A remote did not answer: 2 s doubling to 5 min.
    Network,
    /// The engine did not answer: 250 ms doubling to 30 s.
    Engine,
    /// A build failed for a reason that may pass: 10 s doubling to 10 min.
    Build,
    /// A notice could not be delivered: 5 s doubling to 15 min.
    Notice,
    /// Somebody else was faster (a port, a subnet): at once, with another choice.
    Contention,
}

impl RetryClass {
    /// The upper bound of the delay before attempt `n_failures + 1`, in milliseconds. The caller
    /// draws uniformly from half of it to all of it.
    pub fn backoff_millis(self, n_failures: u32) -> u64 {
        let (first, ceiling) = match self {
            Self::Network => (2_000, 300_000),
            Self::Engine => (250, 30_000),
            Self::Build => (10_000, 600_000),
            Self::Notice => (5_000, 900_000),
            Self::Contention => (10, 1_000),
        };
        (first << n_failures.saturating_sub(1).min(20)).min(ceiling)
    }
}
