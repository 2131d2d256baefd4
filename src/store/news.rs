//! How often what is kept in memory changed in the database, by topic: whoever keeps something asks for
//! one number in memory, and the database only when that is another one.
//!
//! # Invariants
//! * Nobody is told that a change was made before its topic's number is another one.
//! * A number that was read before the rows is never too new for them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long what is kept counts without a look at the database, should somebody else write to it.
const MAX_AGE: Duration = Duration::from_secs(2);

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Rows of instances.
    Instances,
    /// Teams.
    Teams,
    /// Who holds a token: accounts, tokens, teams, and who is in them.
    Holders,
    /// Solves.
    Solves,
    /// Answers that teams sent.
    Submissions,
}

impl Topic {
    const ALL: [Self; 5] =
        [Self::Instances, Self::Teams, Self::Holders, Self::Solves, Self::Submissions];

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The topics that a change of row `id` of `table` is of, as bits. Tables without row ids tell nothing:
    /// triggers count for them in `changes`.
    fn bits(table: &str, id: i64) -> u32 {
        match (table, id) {
            ("instances", _) => Self::Instances.bit(),
            ("solves", _) => Self::Solves.bit(),
            ("submissions", _) => Self::Submissions.bit(),
            ("users", _) | ("changes", 2) => Self::Holders.bit(),
            ("changes", _) => Self::Teams.bit() | Self::Holders.bit(),
            _ => 0,
        }
    }
}

/// The numbers.
#[derive(Debug, Default)]
pub(super) struct News {
    counts: [AtomicU64; Topic::ALL.len()],
    /// What the transaction that is being made changed.
    touched: AtomicU32,
}

impl News {
    /// How often `topic` changed.
    pub(super) fn count(&self, topic: Topic) -> u64 {
        self.counts[topic as usize].load(Ordering::SeqCst)
    }

    /// A row changes; nobody can read that yet.
    pub(super) fn touch(&self, table: &str, id: i64) {
        self.touched.fetch_or(Topic::bits(table, id), Ordering::SeqCst);
    }

    /// What was touched can be read now. Whether that was of rows of instances.
    pub(super) fn publish(&self) -> bool {
        let touched = self.touched.swap(0, Ordering::SeqCst);
        for topic in Topic::ALL.into_iter().filter(|topic| touched & topic.bit() != 0) {
            self.counts[topic as usize].fetch_add(1, Ordering::SeqCst);
        }
        touched & Topic::Instances.bit() != 0
    }
}

/// When something was read, to be asked whether it still is so.
#[derive(Debug, Clone, Copy)]
pub struct AsOf {
    count: u64,
    at: Instant,
}

impl AsOf {
    /// Now, before anything is read, when the topic has changed `count` times.
    pub fn now(count: u64) -> Self {
        Self { count, at: Instant::now() }
    }

    /// Whether what was read then is as it was, given one of now.
    pub fn holds(self, now: Self) -> bool {
        self.count == now.count && now.at.saturating_duration_since(self.at) < MAX_AGE
    }
}
