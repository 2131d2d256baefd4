//! The list of keys that are never good again: one public key or fingerprint a line.

use std::collections::BTreeSet;

use super::key::PublicKey;
use super::signers::parse_key;
use crate::trust::fault::{Faults, SourceText};

/// Revoked keys, by fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::trust) struct RevokedKeys(BTreeSet<String>);

impl RevokedKeys {
    /// Reads the list. A line is a public key, `SHA256:…` of one, or the 40 hex digits of an
    /// OpenPGP key; `#` begins a comment.
    pub(in crate::trust) fn parse(source: &SourceText, faults: &mut Faults) -> Self {
        let mut revoked = BTreeSet::new();
        if source.bytes.starts_with(b"SSHKRL\n\0") {
            faults.add(
                source,
                1,
                "this is a binary key revocation list, which is not read",
                "write one revoked public key or `SHA256:…` fingerprint a line; \
                 `ssh-keygen -Q -l -f LIST` shows what is in the binary one",
            );
            return Self(revoked);
        }
        for (number, line) in source.lines(faults) {
            match fingerprint(line) {
                Ok(fingerprint) => drop(revoked.insert(fingerprint)),
                Err((what, fix)) => faults.add(source, number, &what, &fix),
            }
        }
        Self(revoked)
    }

    /// Whether this SSH key is revoked.
    pub(in crate::trust) fn has_ssh(&self, key: &PublicKey) -> bool {
        self.0.contains(&key.fingerprint())
    }

    /// Whether the OpenPGP key with this fingerprint (upper case) is revoked.
    #[cfg(feature = "pgp")]
    pub(in crate::trust) fn has_openpgp(&self, fingerprint: &str) -> bool {
        self.0.contains(fingerprint)
    }

    /// The fingerprints, sorted.
    pub(in crate::trust) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The fingerprint that a line means, or what is wrong and the fix.
fn fingerprint(line: &str) -> Result<String, (String, String)> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    if let Some(digest) = first.strip_prefix("SHA256:") {
        let is_digest = digest.len() == 43
            && digest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
        return if is_digest {
            Ok(first.to_owned())
        } else {
            Err((
                "the fingerprint is not complete".to_owned(),
                "copy it from `ssh-keygen -l -f KEY.pub`: `SHA256:` and 43 characters".to_owned(),
            ))
        };
    }
    if first.len() == 40 && first.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(first.to_ascii_uppercase());
    }
    if first.ends_with(':') || first.starts_with("SHA1:") || first.starts_with("MD5:") {
        return Err((
            format!("`{}` is of the specification of a revocation list", first.escape_debug()),
            "write one revoked public key or `SHA256:…` fingerprint a line".to_owned(),
        ));
    }
    let blob = words.next().unwrap_or_default();
    parse_key(first, blob).map(|key| key.fingerprint())
}
