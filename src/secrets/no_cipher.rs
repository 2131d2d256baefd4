//! Stands for `cipher` in a build without the feature `age`: has no keys, and says why.

use std::convert::Infallible;

use zeroize::Zeroizing;

use super::Plaintext;
use super::identities::DecryptError;

/// Whether this program can decrypt at all.
pub(super) const IS_PRESENT: bool = false;

/// There is none.
#[derive(Clone)]
pub(super) struct Identity(Infallible);

/// There is none.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient(Infallible);

impl Identity {
    pub(super) fn generate() -> Option<Self> {
        None
    }

    pub(super) fn parse(_text: &str) -> Option<Self> {
        None
    }

    pub(super) fn recipient(&self) -> Recipient {
        match self.0 {}
    }

    pub(super) fn reveal(&self) -> Zeroizing<String> {
        match self.0 {}
    }
}

impl Recipient {
    pub(super) fn parse(_text: &str) -> Option<Self> {
        None
    }

    pub(super) fn as_text(&self) -> String {
        match self.0 {}
    }
}

pub(super) fn decrypt(
    _binary: &[u8],
    _n_bytes: u64,
    _identities: &[Identity],
) -> Result<Plaintext, DecryptError> {
    Err(DecryptError::NoIdentity)
}

pub(super) fn encrypt(_plain: &[u8], _recipients: &[Recipient]) -> Option<Vec<u8>> {
    None
}
