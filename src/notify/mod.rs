//! Tells people when a condition turns bad, while it stays bad, and once when it is good again.
//!
//! In:  every condition in the store, the alarms that were kept, the time.
//! Out: notices in the outbox, and from there to one webhook or chat.
//!
//! [`decide()`] is pure: it looks at levels, so a lost hint costs time and never a notice. [`Pump`]
//! carries its decisions out in two loops of their own; nothing else ever waits for either.
//!
//! # Invariants
//! * One failure is told at once, and again after an hour and then every four hours; never sooner.
//! * A recovery is told once, and only to who was told of the failure.
//! * What is alike is put together, so that no stream of conditions makes a stream of notices.
//! * A notice is delivered at least once, also over restarts, or it is given up and counted.
//! * The address is a secret: it is in no log, error, answer or notice.
//!
//! # Not here
//! Who states conditions (`daemon`), and their history (`store::conditions`).

mod concern;
mod courier;
mod ctfd;
mod decide;
pub mod forge;
mod pump;
mod receiver;
#[cfg(test)]
mod tests;
mod throttle;
mod wire;
mod words;

pub use concern::{Concern, concern};
pub use ctfd::SolvePump;
pub use decide::{Decided, Draft, decide};
pub use pump::Pump;
pub use receiver::{Delivered, Receiver, SendError};
pub use throttle::Throttle;
pub use words::{next_command, render, test_notice};
