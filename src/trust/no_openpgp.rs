//! Stands for `openpgp` in a build without the feature `pgp`: trusts nobody, and says why.

use std::collections::BTreeMap;

use super::fault::{Faults, SourceText};
use super::ssh::{RevokedKeys, Times};
use super::verdict::{Signer, Verdict};
use crate::model::Timestamp;

/// No keys.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenPgpKeys(());

impl OpenPgpKeys {
    pub(super) fn parse(
        source: &SourceText,
        _wanted: &BTreeMap<String, String>,
        faults: &mut Faults,
    ) -> Self {
        faults.add(
            source,
            1,
            "this flagops was built without OpenPGP",
            "build it with the feature `pgp`, or sign with SSH keys",
        );
        Self(())
    }

    /// Everything is there: that nothing can be used is said once, by `parse`.
    pub(super) fn has(&self, _fingerprint: &str) -> bool {
        true
    }

    pub(super) fn canonical(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }

    pub(super) fn verify(
        &self,
        _armor: &[u8],
        _payload: &[u8],
        _revoked: &RevokedKeys,
        _times: Times,
        _latest: Timestamp,
    ) -> Result<Signer, Verdict> {
        Err(Verdict::Unsupported { what: "an OpenPGP signature (built without it)".to_owned() })
    }
}
