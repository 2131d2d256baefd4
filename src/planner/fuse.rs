//! Holds repairs back when too much drifts at once, and gives up on what drifts again and again.
//!
//! A single difference is repaired at once. When many ready instances differ within a minute, more
//! likely something is wrong with the machine, with a hand on it, or with our own eyes: repairs
//! pause, everything is listed anew, and then they go on slowly.
//!
//! In:  each drift that came from outside, each full listing, how many instances there are, the
//!      time.
//! Out: whether the repair of one instance may begin now.
//!
//! # What players can do
//! A service that ends, or answers no more, is theirs to cause: whoever breaks into it can kill it,
//! in as many instances as their team has. So such drift is not told here: it counts for no storm
//! and waits in none, and nobody can hold up the repairs of others with it. Its container is there
//! and only has to be started, which has its own bounds (the backoff of one instance, and
//! `limits.n_start_slots`). That is also right after a restart of the engine, when every player is
//! down and why is known. [`is_from_within`](super::drift::is_from_within) tells which it is.
//!
//! # Invariants
//! * Whoever did not drift is never held back: starts, stops, resets and lease ends do not ask.
//! * In a storm nothing is repaired for a minute and before a full listing that began after it;
//!   afterwards at most ten repairs begin within ten seconds.
//! * Whoever waits gets its turn: listings and time are enough.
//!
//! # Not here
//! Clocks: the caller's time only grows (a monotonic one), so that a clock that is set neither
//! shortens nor lengthens a pause.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{InstanceId, Timestamp};

/// Drift of so many instances within this time is a storm.
const WINDOW_MILLIS: i64 = 60_000;
/// Fewer instances are no storm.
const MIN_DRIFTED: usize = 5;
/// More than this part of the instances is one.
const MAX_PERCENT: usize = 30;
/// How long repairs pause.
const PAUSE_MILLIS: i64 = 60_000;
/// Afterwards at most so many repairs begin …
const N_REPAIRS: usize = 10;
/// … within this time.
const REPAIRS_MILLIS: i64 = 10_000;
/// How soon somebody whose pause is over asks again, when nobody has listed everything yet.
const LISTING_MILLIS: i64 = 1_000;

/// How often one instance may be made anew …
const MAX_REPLACES: usize = 3;
/// … within this time, before it is left alone.
const REPLACES_MILLIS: i64 = 600_000;

/// Whether a repair may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Now.
    Go,
    /// Not before this time; ask again then.
    Wait(Timestamp),
}

/// What the fuse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every repair begins at once. Left when too much drifts.
    #[default]
    Calm,
    /// No repair begins. Left by a full listing that began at or after this time.
    Paused(Timestamp),
    /// Repairs begin slowly. Left when nobody waits and little drifted within a minute.
    Slow,
}

/// The fuse of one node.
#[derive(Debug, Default)]
pub struct Fuse {
    mode: Mode,
    /// Who drifted within the window, and when first.
    drifted: BTreeMap<InstanceId, Timestamp>,
    /// Who drifted and was not admitted yet.
    waiting: BTreeSet<InstanceId>,
    /// When repairs began that count.
    repairs: VecDeque<Timestamp>,
}

impl Fuse {
    /// What it does now.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A ready instance drifted, and not from within; `n_managed` instances run or start in all.
    pub fn drifted(&mut self, id: InstanceId, n_managed: usize, now: Timestamp) {
        self.forget_old(now);
        self.drifted.entry(id).or_insert(now);
        self.waiting.insert(id);
        let n_drifted = self.drifted.len();
        let is_storm = n_drifted >= MIN_DRIFTED && n_drifted * 100 > n_managed * MAX_PERCENT;
        if is_storm && self.mode == Mode::Calm {
            self.mode = Mode::Paused(now.plus_millis(PAUSE_MILLIS));
        }
    }

    /// Whether the repair of `id` may begin now. One that did not drift always may.
    pub fn admit(&mut self, id: InstanceId, now: Timestamp) -> Admission {
        self.forget_old(now);
        if !self.waiting.contains(&id) {
            return Admission::Go;
        }
        match self.mode {
            Mode::Paused(until) if now < until => return Admission::Wait(until),
            Mode::Paused(_) => return Admission::Wait(now.plus_millis(LISTING_MILLIS)),
            Mode::Slow if self.repairs.len() >= N_REPAIRS => {
                let oldest = self.repairs.front().copied().unwrap_or(now);
                return Admission::Wait(oldest.plus_millis(REPAIRS_MILLIS));
            }
            Mode::Calm | Mode::Slow => (),
        }
        if self.mode == Mode::Slow {
            self.repairs.push_back(now);
        }
        self.waiting.remove(&id);
        self.calm_down();
        Admission::Go
    }

    /// Everything was listed, beginning at `began`; whether that ended a pause.
    pub fn listed(&mut self, began: Timestamp) -> bool {
        self.forget_old(began);
        let is_over = matches!(self.mode, Mode::Paused(until) if until <= began);
        if is_over {
            self.mode = Mode::Slow;
        }
        self.calm_down();
        is_over
    }

    /// Somebody wants something else of the instance, or it is over: it waits for nothing.
    pub fn forget(&mut self, id: InstanceId) {
        self.waiting.remove(&id);
        self.drifted.remove(&id);
        self.calm_down();
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.drifted.retain(|_, at| now.millis_since(*at) < WINDOW_MILLIS);
        self.repairs.retain(|at| now.millis_since(*at) < REPAIRS_MILLIS);
    }

    fn calm_down(&mut self) {
        let is_quiet = self.waiting.is_empty() && self.drifted.len() < MIN_DRIFTED;
        if self.mode == Mode::Slow && is_quiet {
            self.mode = Mode::Calm;
        }
    }
}

/// How often one instance was made anew lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaces(VecDeque<Timestamp>);

impl Replaces {
    /// Counts one more at `now`; false, and not counted, when that is one too many.
    pub fn count(&mut self, now: Timestamp) -> bool {
        self.0.retain(|at| now.millis_since(*at) < REPLACES_MILLIS);
        let fits = self.0.len() < MAX_REPLACES;
        if fits {
            self.0.push_back(now);
        }
        fits
    }
}
