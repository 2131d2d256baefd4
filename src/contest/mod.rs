//! What counts: when a competition is on, how an answer is graded and what it is worth, how often
//! one may be wrong, who leads, how long an instance lives.
//!
//! Pure: the daemon hands in the clock, the minted answer and what the team did so far, and stores
//! what comes out.
//!
//! In:  a challenge, an [`Answer`], a team's [`Progress`].
//! Out: a [`Decision`]: what to record, or why not.
//!
//! # Invariants
//! * Secrets are compared in constant time.
//! * The same progress and answer give the same decision; a refused attempt is never graded.
//!
//! # Not here
//! Minting (`render::answers`), counting and ranking in one transaction (`store::submissions`).

pub mod competition;
pub mod fairness;
pub mod grading;
pub mod lease;
pub mod policy;
pub mod rate;
pub mod recount;
pub mod scoring;
pub mod settings;
pub mod standings;
pub mod tally;

pub use competition::Contest;
pub use grading::{Answer, grade};
pub use lease::LeaseBounds;
pub use policy::{AttemptCaps, Decision, Progress, Refusal};
pub use rate::Rate;
pub use settings::Settings;
