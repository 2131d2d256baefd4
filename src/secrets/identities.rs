//! The private keys of a node, and what they open.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::cipher::{self, Identity};
use super::header::{self, Unusable};
use super::{Encoding, Plaintext};
use crate::trust::{Fault, SourceText};

/// Most identities of one file: each is tried on every recipient of a file.
const MAX_IDENTITIES: usize = 16;

/// The identities of a node. `Debug` prints how many there are.
#[derive(Clone, Default)]
pub struct Identities(Vec<Identity>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({} hidden)", self.0.len())
    }
}

/// A mistake in a file of identities. No message repeats anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the age identities cannot be used: {}", said(.0))]
pub struct IdentityErrors(pub Vec<Fault>);

/// Mistakes, a line each.
pub(super) fn said(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Why an encrypted file was not opened. Trying again helps nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecryptError {
    /// There is no key to try.
    #[error(
        "this node has no age identity; name its file as `secrets.identity_file`, then restart"
    )]
    NoIdentity,
    /// The program cannot.
    #[error("this flagops was built without age; build it with the feature `age`")]
    NotBuilt,
    /// No key fits.
    #[error(
        "{}; put the recipient of this node into `.age-recipients`, and run `flagops secrets \
         rekey` where an identity opens it",
        none_of(*.n_identities)
    )]
    OtherKeys {
        /// How many were tried.
        n_identities: usize,
    },
    /// The key fits, and the content is not what was encrypted.
    #[error("it is damaged: the content is not what was encrypted; encrypt it again")]
    Damaged,
    /// No key of ours can fit.
    #[error("{0}; encrypt it with `flagops secrets encrypt`")]
    Unusable(Unusable),
}

fn none_of(n: usize) -> String {
    match n {
        1 => "the age identity of this node does not open it".to_owned(),
        n => format!("none of the {n} age identities of this node opens it"),
    }
}

impl Identities {
    /// None: nothing is opened.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a file of identities, a key a line, comments begin with `#`.
    ///
    /// # Errors
    /// The first line that is no identity; a file without one; more than 16.
    pub fn parse(source: &SourceText) -> Result<Self, IdentityErrors> {
        let mut identities = Vec::new();
        let fault = |line, what: String, fix: &str| {
            let (file, fix) = (source.name.clone(), fix.to_owned());
            Err(IdentityErrors(vec![Fault { file, line, what, fix }]))
        };
        for (line, text) in (1..).zip(source.bytes.split(|byte| *byte == b'\n')) {
            let text = Zeroizing::new(String::from_utf8_lossy(text.trim_ascii()).into_owned());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Some(identity) = Identity::parse(&text) else {
                // Only the first one: a key of another kind has many lines.
                let (what, fix) = misread(&text);
                return fault(line, what.to_owned(), fix);
            };
            identities.push(identity);
        }
        match identities.len() {
            0 => {
                let what = "there is no age identity".to_owned();
                fault(1, what, "make one with `flagops secrets keygen`")
            }
            1..=MAX_IDENTITIES => Ok(Self(identities)),
            _ => {
                let what = format!("there are more than {MAX_IDENTITIES} identities");
                fault(1, what, "keep those that files are still encrypted for")
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The public halves, `age1…`.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.recipient().as_text()).collect()
    }

    /// The content of an encrypted file, all of it. Linear in its size, and an exchange of keys for
    /// each pair of identity and recipient: call it from a blocking task.
    ///
    /// # Errors
    /// When it cannot be opened, for good.
    pub fn decrypt(&self, bytes: &[u8]) -> Result<Plaintext, DecryptError> {
        let (header, binary) = header::read(bytes).map_err(DecryptError::Unusable)?;
        match (cipher::IS_PRESENT, self.is_empty()) {
            (false, _) => Err(DecryptError::NotBuilt),
            (true, true) => Err(DecryptError::NoIdentity),
            (true, false) => cipher::decrypt(&binary, header.plain_bytes, &self.0),
        }
    }

    /// As [`Identities::decrypt`], with how the file is stored.
    ///
    /// # Errors
    /// As there.
    pub fn decrypt_as_stored(&self, bytes: &[u8]) -> Result<(Plaintext, Encoding), DecryptError> {
        let header = header::inspect(bytes).map_err(DecryptError::Unusable)?;
        Ok((self.decrypt(bytes)?, header.encoding))
    }
}

/// What a line is instead of an identity, and what to write.
fn misread(text: &str) -> (&'static str, &'static str) {
    let again = "make a key with `flagops secrets keygen`";
    if !cipher::IS_PRESENT {
        ("this flagops was built without age", "build it with the feature `age`")
    } else if text.starts_with("age1") {
        ("this is a recipient, the public half of a key", "name the file with the private half")
    } else if text.starts_with("AGE-PLUGIN-") {
        ("identities of plug-ins cannot be used by a server", again)
    } else if text.starts_with("-----BEGIN AGE") || text.starts_with("age-encryption.org/") {
        ("the identities are encrypted with a passphrase, which a server cannot type", again)
    } else if text.starts_with("-----BEGIN") {
        ("keys of SSH cannot be used to decrypt", again)
    } else {
        ("the line is no age identity (`AGE-SECRET-KEY-1…`)", again)
    }
}

/// A key that was just made. `Debug` prints the public half.
#[derive(Clone)]
pub struct KeyPair {
    recipient: String,
    identity: Zeroizing<String>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.recipient)
    }
}

impl KeyPair {
    /// Makes one.
    ///
    /// # Errors
    /// When this program cannot.
    pub fn generate() -> Result<Self, DecryptError> {
        let identity = Identity::generate().ok_or(DecryptError::NotBuilt)?;
        Ok(Self { recipient: identity.recipient().as_text(), identity: identity.reveal() })
    }

    /// The public half, `age1…`.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// The text of a file of identities with this one. Secret.
    pub fn file(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("# recipient: {}\n{}\n", self.recipient, *self.identity))
    }
}
