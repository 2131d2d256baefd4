//! Who a node is to its platform: a file that survives restarts.
//!
//! # Invariants
//! * The file is readable by its owner only, is written whole or not at all, and never logged.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::wire::SourceOffer;
use crate::model::NodeId;
use crate::model::id::hex;

/// The file in the data directory.
const FILE: &str = "node.json";

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The platform that it joined.
    pub platform: String,
    /// Its id there.
    pub node: NodeId,
    /// What both sides show each other. Secret.
    pub token: String,
    /// What it follows when its own configuration names nothing.
    #[serde(default)]
    pub source: Option<SourceOffer>,
    /// The invitation that it joined with, as [`fingerprint`] has it.
    #[serde(default)]
    pub invite: Option<String>,
}

/// The beginning of the digest of an invitation: enough to know it again, and nothing to join with.
pub fn fingerprint(invite: &str) -> String {
    hex(&Sha256::digest(invite.as_bytes())[..8])
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum IdentityFileError {
    /// It cannot be read or written.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is damaged.
    #[error("`{}` is damaged: remove it and join again with a new invite", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Identity {
    /// Who the node of this data directory is; `None` when it never joined.
    ///
    /// # Errors
    /// When the file is there and cannot be used.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, IdentityFileError> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityFileError::Io { what: "read", path, source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| IdentityFileError::Damaged { path, source })
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// When the file cannot be written; what was there stays.
    pub fn save(&self, data_dir: &Path) -> Result<(), IdentityFileError> {
        let (path, fresh) = (data_dir.join(FILE), data_dir.join("node.json.new"));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            fs::File::open(data_dir)?.sync_all()
        };
        write().map_err(|source| IdentityFileError::Io {
            what: "write",
            path: path.clone(),
            source,
        })
    }

    /// Forgets it: the platform does not know this node any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(data_dir: &Path) -> Result<(), IdentityFileError> {
        let path = data_dir.join(FILE);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(IdentityFileError::Io { what: "remove", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_survives_a_restart_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let identity = Identity {
            platform: "http://127.0.0.1:8100".to_owned(),
            node: "n1".parse().unwrap(),
            token: "secret".to_owned(),
            source: None,
            invite: None,
        };
        identity.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity.clone()));
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{identity:?}").contains("secret"));
        Identity::forget(dir.path()).unwrap();
        Identity::forget(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Identity::load(dir.path()).unwrap_err().to_string().contains("join again"));
    }
}
