//! Files ending `.age`: what can be told of one without a key, and its content with one.
//!
//! In:  the bytes of a file; the [`Identities`] of a node or the [`Recipients`] of a repository.
//! Out: a [`Header`], or a [`Plaintext`] that is wiped when it is dropped, or an encrypted file.
//!
//! # Invariants
//! * A plaintext is authentic and whole, or there is none.
//! * Size and header are bounded before any key is tried; a passphrase is never tried.
//! * No error, message or `Debug` holds a plaintext or a key.
//! * Nothing is written anywhere. Randomness is drawn inside of the crate `age`, to encrypt and to
//!   make an identity; everything else is the same for the same input.
//!
//! # Not here
//! Where keys are kept (`config::identities`), which files are decrypted (`builder::context`,
//! `daemon::secrets`), what authors are told (`catalog::audit::encrypted`).

mod armor;
#[cfg(feature = "age")]
mod cipher;
#[cfg(not(feature = "age"))]
#[path = "no_cipher.rs"]
mod cipher;
mod header;
mod identities;
mod plaintext;
mod recipients;
#[cfg(test)]
mod tests;

pub use header::{Encoding, Header, Unusable, inspect};
pub use identities::{DecryptError, Identities, IdentityErrors, KeyPair};
pub use plaintext::Plaintext;
pub use recipients::{EncryptError, RECIPIENTS_FILE, RecipientErrors, Recipients};

/// Most bytes of a plaintext.
pub const MAX_PLAIN_BYTES: u64 = 16 << 20;
/// Most bytes of an encrypted file: armor takes a third more, and a line end each 64 characters.
pub const MAX_FILE_BYTES: u64 = 24 << 20;
/// Most recipients of a file: each costs every identity that is tried an exchange of keys.
pub const MAX_RECIPIENTS: usize = 100;
