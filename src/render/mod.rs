//! Turns what an instance was started from into the bytes that are put into its containers.
//!
//! Pure: the same key, instance and question give the same bytes, so nothing secret is stored.
//!
//! In:  the installation's answer key, an instance id, the dynamic questions, attachment templates,
//!      the networks of an engagement.
//! Out: minted answers, the archive that is unpacked at `/answers`, rendered attachments, what a VPN
//!      gateway and its players get, and the names that the ingress knows endpoints by.
//!
//! # Not here
//! Where the key is kept (`store::datadir`), how bytes reach a container (`runtime`), how a claimed
//! answer is judged (`contest::grading`).

pub mod answers;
pub mod attachments;
mod front;
mod label;
pub mod vpn;

pub use front::webhook_secret;
pub use label::label;
