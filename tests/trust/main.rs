//! Verdicts on real signatures, beside those of the tools that made them.
//!
//! In:  keys and signatures that `ssh-keygen`, `gpg` and `git` make here and now. Each case says our
//! verdict and what the tool says of the same bytes at the same times.
//!
//! # Invariants
//! * What we call good, the oracle accepts: [`lab::Case::check`] holds it for every case.
//! * Nothing is left behind: each lab has its own folder and its own agent, and ends both.

#![expect(clippy::print_stdout, reason = "each verdict beside the oracle's, for the record")]
#![expect(clippy::unwrap_used, reason = "a step of a lab that fails is a test that fails")]

mod certificates;
mod fixtures;
mod git;
mod keyring;
mod lab;
#[cfg(feature = "pgp")]
mod openpgp;
mod properties;
mod security_key;
mod ssh;
