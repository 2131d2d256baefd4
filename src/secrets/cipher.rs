//! The only file that names the crate `age`: keys, and one file encrypted or decrypted.

use std::io::{Read as _, Write as _};

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::Plaintext;
use super::identities::DecryptError;

/// Room beyond the content, so that seeing its end needs no second allocation.
const SPARE: usize = 64;

/// Whether this program can decrypt at all.
pub(super) const IS_PRESENT: bool = true;

/// The private half of a key. It is wiped when it is dropped.
#[derive(Clone)]
pub(super) struct Identity(age::x25519::Identity);

/// The public half of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient(age::x25519::Recipient);

impl Identity {
    pub(super) fn generate() -> Option<Self> {
        Some(Self(age::x25519::Identity::generate()))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    pub(super) fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// `AGE-SECRET-KEY-1…`.
    pub(super) fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }
}

impl Recipient {
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// `age1…`.
    pub(super) fn as_text(&self) -> String {
        self.0.to_string()
    }
}

/// Decrypts a binary file whose header was found usable and whose content has `n_bytes`.
pub(super) fn decrypt(
    binary: &[u8],
    n_bytes: u64,
    identities: &[Identity],
) -> Result<Plaintext, DecryptError> {
    let damaged = |_| DecryptError::Damaged;
    let keys = identities.iter().map(|identity| &identity.0 as &dyn age::Identity);
    let decryptor = age::Decryptor::new_buffered(binary).map_err(damaged)?;
    let content = match decryptor.decrypt(keys) {
        Ok(content) => content,
        Err(age::DecryptError::NoMatchingKeys) => {
            return Err(DecryptError::OtherKeys { n_identities: identities.len() });
        }
        Err(_) => return Err(DecryptError::Damaged),
    };
    // All of it before any of it is used: a chunk that is authentic says nothing of the next one.
    // The room is there from the start, so that no copy stays behind.
    let mut plain =
        Zeroizing::new(Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0) + SPARE));
    content.take(n_bytes + 1).read_to_end(&mut plain).map_err(|_| DecryptError::Damaged)?;
    if plain.len() as u64 != n_bytes {
        return Err(DecryptError::Damaged);
    }
    Ok(Plaintext::new(std::mem::take(&mut plain)))
}

/// Encrypts `plain` for every recipient, of which there is one at least; the binary form.
pub(super) fn encrypt(plain: &[u8], recipients: &[Recipient]) -> Option<Vec<u8>> {
    let keys = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(keys).ok()?;
    let mut binary = Vec::with_capacity(plain.len() + plain.len() / 4096 + 1024);
    let mut writer = encryptor.wrap_output(&mut binary).ok()?;
    writer.write_all(plain).ok()?;
    writer.finish().ok()?;
    Some(binary)
}
