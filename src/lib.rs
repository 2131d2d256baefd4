//! flagops: GitOps for capture-the-flag events.
//!
//! The rooms in reading order; a room names only rooms above it (`tests/architecture.rs`).
//! Pure rooms decide and hold no clock, no I/O and no async; shell rooms act and decide nothing.

// Pure rooms.
pub mod catalog;
pub mod contest;
pub mod model;
pub mod planner;
pub mod proof;
pub mod release;
pub mod render;
pub mod secrets;
pub mod traffic;
pub mod trust;
// Shell rooms.
pub mod api;
pub mod builder;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod git;
pub mod ingress;
pub mod node;
pub mod notify;
pub mod runtime;
pub mod store;
pub mod telemetry;
