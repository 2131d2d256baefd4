//! The public keys that a repository encrypts for: its `.age-recipients`.

use std::fmt;

use thiserror::Error;

use super::cipher::{self, Recipient};
use super::identities::said;
use super::{Encoding, MAX_PLAIN_BYTES, MAX_RECIPIENTS, armor};
use crate::trust::{Fault, SourceText};

/// The name of the file, at the root of the repository.
pub const RECIPIENTS_FILE: &str = ".age-recipients";

/// Keys to encrypt for; one at least.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipients(Vec<Recipient>);

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

/// Every mistake in a file of recipients.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the recipients cannot be used: {}", said(.0))]
pub struct RecipientErrors(pub Vec<Fault>);

/// Why nothing was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncryptError {
    /// More than what can be decrypted later.
    #[error("it has {n_bytes} bytes, more than {} MiB", MAX_PLAIN_BYTES >> 20)]
    TooLarge {
        /// Its size.
        n_bytes: u64,
    },
    /// The crate said no, which it does only without randomness.
    #[error("it could not be encrypted")]
    Failed,
}

impl Recipients {
    /// Reads a file of recipients, a key a line, comments begin with `#`.
    ///
    /// # Errors
    /// Every line that is no recipient, or stands twice; a file without one; more than 100.
    pub fn parse(source: &SourceText) -> Result<Self, RecipientErrors> {
        let mut recipients = Vec::new();
        let mut faults = Vec::new();
        let fault = |line, what: String, fix: &str| {
            let (file, fix) = (source.name.clone(), fix.to_owned());
            Fault { file, line, what, fix }
        };
        for (line, text) in (1..).zip(source.bytes.split(|byte| *byte == b'\n')) {
            let text = String::from_utf8_lossy(text.trim_ascii());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match Recipient::parse(&text) {
                Some(recipient) if recipients.contains(&recipient) => {
                    let what = "the recipient stands twice".to_owned();
                    faults.push(fault(line, what, "remove one of the two"));
                }
                Some(recipient) => recipients.push(recipient),
                None => {
                    let (what, fix) = misread(&text);
                    faults.push(fault(line, what.to_owned(), fix));
                }
            }
        }
        if recipients.is_empty() && faults.is_empty() {
            let what = "there is no recipient".to_owned();
            faults.push(fault(1, what, "add what `flagops secrets keygen` prints"));
        }
        if recipients.len() > MAX_RECIPIENTS {
            let what = format!("there are more than {MAX_RECIPIENTS} recipients");
            faults.push(fault(1, what, "share an identity between nodes"));
        }
        if faults.is_empty() { Ok(Self(recipients)) } else { Err(RecipientErrors(faults)) }
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// Their texts, `age1…`.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Recipient::as_text).collect()
    }

    /// `plain`, encrypted for all of them. Never twice the same.
    ///
    /// # Errors
    /// When it is larger than what nodes decrypt.
    pub fn encrypt(&self, plain: &[u8], encoding: Encoding) -> Result<Vec<u8>, EncryptError> {
        let n_bytes = plain.len() as u64;
        if n_bytes > MAX_PLAIN_BYTES {
            return Err(EncryptError::TooLarge { n_bytes });
        }
        let binary = cipher::encrypt(plain, &self.0).ok_or(EncryptError::Failed)?;
        Ok(match encoding {
            Encoding::Binary => binary,
            Encoding::Armored => armor::encode(&binary),
        })
    }
}

/// What a line is instead of a recipient, and what to write.
fn misread(text: &str) -> (&'static str, &'static str) {
    let is = |start: &str| text.starts_with(start);
    if !cipher::IS_PRESENT {
        ("this flagops was built without age", "build it with the feature `age`")
    } else if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        // The one line that must not be in a repository, so it is not repeated either.
        (
            "this is an identity, the private half of a key",
            "remove it, write its recipient, and encrypt everything for a new key: it has leaked",
        )
    } else if is("ssh-") {
        ("keys of SSH cannot be used", "write an age recipient (`age1…`)")
    } else if is("age1pq1") || is("age1tag") || is("age1yubikey") {
        ("recipients of this kind cannot be used", "write an X25519 recipient (`age1…`)")
    } else {
        ("the line is no recipient (`age1…`)", "write what `flagops secrets keygen` prints")
    }
}
