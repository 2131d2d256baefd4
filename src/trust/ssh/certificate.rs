//! SSH certificates (PROTOCOL.certkeys): a key that an authority vouches for.
//!
//! In:  a certificate blob, hostile. Out: a certificate whose signature by its own authority holds.
//! Whether that authority is trusted, for whom and when, is decided in `signers`.

use super::key::{KeyError, PublicKey};
use super::wire::Wire;
use crate::model::Timestamp;

/// How the algorithm of a certificate ends.
pub(super) const SUFFIX: &str = "-cert-v01@openssh.com";

/// A certificate for a person, signed by `authority`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The key that is certified.
    pub(super) key: PublicKey,
    /// Whom it stands for.
    pub(super) principals: Vec<String>,
    /// First second of its validity, since 1970.
    pub(super) after_secs: u64,
    /// First second behind it; `u64::MAX` is never.
    pub(super) before_secs: u64,
    /// Who signed it.
    pub(super) authority: PublicKey,
}

impl Certificate {
    /// Reads a certificate and checks the authority's signature under it.
    ///
    /// Host certificates and any critical option are refused: we honour none.
    pub(super) fn parse(blob: &[u8]) -> Result<Self, KeyError> {
        let mut wire = Wire(blob);
        let (certificate, n_signed) = Self::parse_fields(blob, &mut wire)?;
        let signature = wire.string().ok_or(KeyError::Broken)?;
        wire.end().ok_or(KeyError::Broken)?;
        certificate.authority.verify(&blob[..n_signed], signature).map_err(|_| KeyError::Broken)?;
        Ok(certificate)
    }

    /// All fields before the signature, and how many bytes they are.
    fn parse_fields(blob: &[u8], wire: &mut Wire<'_>) -> Result<(Self, usize), KeyError> {
        const USER: u32 = 1;
        let broken = || KeyError::Broken;
        let algorithm = wire.text().and_then(algorithm_of).ok_or_else(broken)?;
        let _nonce = wire.string().ok_or_else(broken)?;
        let key = PublicKey::parse_fields(&algorithm, wire)?;
        let _serial = wire.u64().ok_or_else(broken)?;
        let role = wire.u32().ok_or_else(broken)?;
        let _key_id = wire.string().ok_or_else(broken)?;
        let principals = wire.string().and_then(texts).ok_or_else(broken)?;
        let after_secs = wire.u64().ok_or_else(broken)?;
        let before_secs = wire.u64().ok_or_else(broken)?;
        let critical_options = wire.string().ok_or_else(broken)?;
        let _extensions = wire.string().ok_or_else(broken)?;
        let _reserved = wire.string().ok_or_else(broken)?;
        let authority = PublicKey::parse(wire.string().ok_or_else(broken)?)?;
        if role != USER {
            return Err(KeyError::Unsupported("a certificate for hosts".to_owned()));
        }
        if !critical_options.is_empty() {
            let what = "a certificate with critical options, which a signature cannot honour";
            return Err(KeyError::Unsupported(what.to_owned()));
        }
        let n_signed = blob.len() - wire.0.len();
        Ok((Self { key, principals, after_secs, before_secs, authority }, n_signed))
    }

    /// Begin and end of its validity; what lies outside of representable time is clamped.
    pub(super) fn validity(&self) -> (Timestamp, Timestamp) {
        (from_secs(self.after_secs), from_secs(self.before_secs))
    }
}

fn from_secs(secs: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// `ssh-ed25519` of `ssh-ed25519-cert-v01@openssh.com`, `sk-ssh-ed25519@openssh.com` of its own.
fn algorithm_of(certificate: &str) -> Option<String> {
    let plain = certificate.strip_suffix(SUFFIX)?;
    Some(if plain.starts_with("sk-") { format!("{plain}@openssh.com") } else { plain.to_owned() })
}

fn texts(bytes: &[u8]) -> Option<Vec<String>> {
    let mut wire = Wire(bytes);
    let mut texts = Vec::new();
    while wire.end().is_none() {
        texts.push(wire.text()?.to_owned());
    }
    Some(texts)
}
