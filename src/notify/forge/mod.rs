//! Tells the forge how each commit stands: valid, built, live.
//!
//! In:  [`Facts`] about the newest revision and what is live, and what the forge was told before.
//! Out: commit statuses in an outbox, and from there to the forge.
//!
//! [`decide()`] is pure and looks at levels: a lost hint costs time and never a status. [`Pump`] puts
//! what it decided into the outbox and delivers it; nothing else ever waits for either.
//!
//! # Invariants
//! * Statuses are those of commits, never of the object of a tag.
//! * No status names a challenge unless the operator allows it: names tell what is not released yet.
//! * The newest status of a commit and context takes the place of one that waits; the same is never
//!   posted twice on purpose, and a kill at the wrong moment posts it again.
//! * A forge that refuses our token is left alone until the next start, and people are told once.
//! * The token is in no log, error or answer.
//!
//! # Not here
//! Where the facts come from (`daemon::statuses`).

mod client;
mod decide;
mod pump;
#[cfg(test)]
mod tests;

pub use client::{Forge, PostError};
pub use decide::{
    Active, Facts, Going, HeadFacts, ImageFacts, Kept, MAX_DESCRIPTION, Names, Tagged, decide,
};
pub use pump::Pump;
