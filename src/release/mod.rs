//! Decides what is live and what exactly will run: identities, specs, the live set.
//!
//! Pure. In: a catalog, the versions live so far, the builds. Out: build units with their keys,
//! engine-neutral specs for instances, and which version of each challenge players get.

pub mod chain;
pub mod gate;
pub mod gateway;
pub mod identity;
pub mod live;
pub mod manifest;
pub mod order;
pub mod preview;
pub mod provenance;
pub mod revert;
pub mod rollback;
pub mod spec;
pub mod spread;
pub mod tag;
