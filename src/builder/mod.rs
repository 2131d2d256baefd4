//! Makes images: contexts from git objects, a bounded pool, progress that can be read meanwhile.
//!
//! In:  [`BuildJob`]s, one per build key.
//! Out: a [`BuildReport`] per job, and progress while it runs.
//!
//! # Invariants
//! * One build per key at a time; at most `n_slots` at once.
//! * An image that the engine already has under its key is taken over, not built again.
//!
//! # Not here
//! What is wanted, retries and persistence (`daemon::builds`).

mod context;
mod queue;

pub use context::context_tar;
pub use queue::{
    BuildFailure, BuildJob, BuildPolicy, BuildReport, BuildSource, Builder, ContextMaker, image_tag,
};
