//! `SSHSIG` signatures (PROTOCOL.sshsig), as `ssh-keygen -Y sign` and git make them.
//!
//! We read the six fields ourselves: the key may be a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::certificate::{Certificate, SUFFIX};
use super::key::{KeyError, PublicKey};
use super::wire::{Wire, put_string};
use crate::trust::verdict::Verdict;

const MAGIC: &[u8] = b"SSHSIG";

/// Who a signature says made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A key by itself.
    Key(PublicKey),
    /// A key that an authority vouches for.
    Certified(Box<Certificate>),
}

impl Identity {
    /// The key that signs.
    pub(super) fn key(&self) -> &PublicKey {
        match self {
            Self::Key(key) => key,
            Self::Certified(certificate) => &certificate.key,
        }
    }
}

/// A signature that fits its payload; whether its maker is trusted is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshSignature {
    /// Who made it.
    pub(super) identity: Identity,
    /// What it was made for; git's is `git`.
    pub(super) namespace: Vec<u8>,
}

impl SshSignature {
    /// Reads an armoured signature and checks that it was made over `payload` with its own key.
    pub(super) fn check(armor: &[u8], payload: &[u8]) -> Result<Self, Verdict> {
        let blob = dearmored(armor).ok_or_else(|| bad("it is not base64"))?;
        let mut wire = Wire(&blob);
        let fields = Fields::parse(&mut wire).ok_or_else(|| bad("it is cut off or malformed"))?;
        if fields.version != 1 {
            return Err(Verdict::Unsupported {
                what: format!("version {} of SSH signatures", fields.version),
            });
        }
        // Signatures with something reserved are of the future, and would not be signed for it.
        if !fields.reserved.is_empty() || fields.namespace.is_empty() {
            return Err(bad("it is malformed"));
        }
        let identity = fields.identity().map_err(|error| match error {
            KeyError::Broken => bad("its key is broken, or not certified by its authority"),
            KeyError::Unsupported(what) => Verdict::Unsupported { what: format!("a key {what}") },
        })?;
        let hash = match fields.hash {
            b"sha512" => Sha512::digest(payload).to_vec(),
            b"sha256" => Sha256::digest(payload).to_vec(),
            _ => return Err(bad("its hash is neither SHA-256 nor SHA-512")),
        };
        let mut signed = MAGIC.to_vec();
        for part in [fields.namespace, b"", fields.hash, hash.as_slice()] {
            put_string(&mut signed, part);
        }
        identity.key().verify(&signed, fields.signature).map_err(bad)?;
        Ok(Self { identity, namespace: fields.namespace.to_vec() })
    }
}

struct Fields<'a> {
    version: u32,
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Fields<'a> {
    fn parse(wire: &mut Wire<'a>) -> Option<Self> {
        wire.take(MAGIC.len()).filter(|magic| *magic == MAGIC)?;
        let fields = Self {
            version: wire.u32()?,
            key: wire.string()?,
            namespace: wire.string()?,
            reserved: wire.string()?,
            hash: wire.string()?,
            signature: wire.string()?,
        };
        wire.end().map(|()| fields)
    }

    fn identity(&self) -> Result<Identity, KeyError> {
        let algorithm = Wire(self.key).text().ok_or(KeyError::Broken)?;
        if algorithm.ends_with(SUFFIX) {
            Certificate::parse(self.key).map(Box::new).map(Identity::Certified)
        } else {
            PublicKey::parse(self.key).map(Identity::Key)
        }
    }
}

fn bad(why: &str) -> Verdict {
    Verdict::BadSignature { why: why.to_owned() }
}

/// The bytes between the first and the last line.
fn dearmored(armor: &[u8]) -> Option<Vec<u8>> {
    let begin = armor.iter().position(|byte| *byte == b'\n')?;
    let armor = armor.trim_ascii_end();
    let end = armor.iter().rposition(|byte| *byte == b'\n')?;
    let inside = armor.get(begin..end)?;
    let digits: Vec<u8> =
        inside.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).ok()
}
