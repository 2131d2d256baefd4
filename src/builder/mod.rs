//! Gets images onto the node: builds what has a Dockerfile, pulls what is a reference.
//!
//! [`Builder`] is a bounded queue in front of one engine. [`context_tar`] makes what the engine is
//! sent out of git objects, [`image_tag`] names the result.
//!
//! In:  [`BuildJob`]s, one per build key. Out: one [`BuildReport`] each, and progress while it runs.
//!
//! # Invariants
//! * One build per key at a time; a job for a key that is queued or running joins it.
//! * What the engine has already is never built again, also after a crash.
//! * The same commit gives the same bytes of context on every machine.
//!
//! # Not here
//! Which images are wanted, when to try again, what is remembered (`daemon`, `store`); how an
//! engine builds (`runtime`).

pub mod context;
mod job;
pub mod log;
pub mod queue;
mod supply;

pub use context::{context_tar, own_spec, own_tar};
pub use job::{BuildFailure, BuildJob, ContextSource, ImageWish, image_tag};
pub use queue::{BuildReport, Builder, BuilderSettings, JobState, Submitted};
pub use supply::{Carrier, Supplied, Supplier};

#[cfg(test)]
mod tests;
