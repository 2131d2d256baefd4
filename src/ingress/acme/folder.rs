//! Where an account and what it got are kept: one folder for each authority, so that going from a staging
//! authority to the real one begins anew by itself.
//!
//! # Invariants
//! * Only we read it (0700, 0600); a file is whole or the one of before.
//! * Certificate and key are one file, so that they belong together after any crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::planner::certificate::Failures;

/// The files of one authority and domain.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    domain: String,
}

/// What the file with the last failure says.
#[derive(Debug, Serialize, Deserialize)]
struct LastFailure {
    at_millis: i64,
}

impl Folder {
    /// Below `data_dir`, of the authority at `directory`.
    pub(super) fn new(data_dir: &Path, directory: &str, domain: &str) -> Self {
        let path = data_dir.join("acme").join(folder_name(directory));
        Self { path, domain: domain.to_owned() }
    }

    /// The file with certificate, chain and key.
    pub(super) fn certificate(&self) -> PathBuf {
        self.path.join(format!("{}.pem", self.domain))
    }

    /// The account, when there is one that can be read.
    pub(super) fn account(&self) -> io::Result<Option<AccountCredentials>> {
        match fs::read(self.path.join("account.json")) {
            // One that is no account any more is made anew: nothing hangs on it.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep_account(&self, credentials: &AccountCredentials) -> io::Result<()> {
        self.write("account.json", &serde_json::to_vec_pretty(credentials)?)
    }

    /// Forgets the account: the authority does not know it.
    pub(super) fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.path.join("account.json"))
    }

    /// Keeps a certificate with its chain, and its key, beside the one of before; the file.
    pub(super) fn keep_new(&self, chain: &str, key: &str) -> io::Result<PathBuf> {
        let name = format!("{}.new.pem", self.domain);
        self.write(&name, format!("{key}{chain}").as_bytes())?;
        Ok(self.path.join(name))
    }

    /// Puts it in the place of the one of before; the failures are over.
    pub(super) fn take_new(&self) -> io::Result<()> {
        fs::rename(self.path.join(format!("{}.new.pem", self.domain)), self.certificate())?;
        File::open(&self.path)?.sync_all()?;
        match fs::remove_file(self.failure()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What is left of failures of before a restart: a pause as after the first. Whoever mended something and
    /// starts us again waits two minutes at most, and a daemon that falls over and over asks no faster.
    pub(super) fn failures(&self) -> Option<Failures> {
        let text = fs::read(self.failure()).ok()?;
        let last: LastFailure = serde_json::from_slice(&text).ok()?;
        Some(Failures { n: 1, last: Timestamp::from_millis(last.at_millis) })
    }

    pub(super) fn keep_failure(&self, failures: Failures) -> io::Result<()> {
        let last = LastFailure { at_millis: failures.last.as_millis() };
        self.write(&format!("{}.failed.json", self.domain), &serde_json::to_vec(&last)?)
    }

    fn failure(&self) -> PathBuf {
        self.path.join(format!("{}.failed.json", self.domain))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let partial = self.path.join(format!("{name}.partial"));
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).write(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }
}

/// A name for the folder of the authority at `directory`, by which people know it.
fn folder_name(directory: &str) -> String {
    let plain = directory.strip_prefix("https://").unwrap_or(directory);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = plain.chars().map(|c| if is_plain(c) { c } else { '-' }).take(120).collect();
    name.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn each_authority_has_a_folder_that_leads_nowhere_else() {
        for (directory, name) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org-directory",
            ),
            ("https://127.0.0.1:14000/dir", "127.0.0.1-14000-dir"),
            ("https://../../etc", "etc"),
        ] {
            assert_eq!(folder_name(directory).trim_matches(['/', '.']), name, "{directory}");
            assert!(!folder_name(directory).contains('/'));
        }
    }

    #[test]
    fn what_is_kept_is_ours_alone_and_a_success_ends_the_failures() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::new(data.path(), "https://ca.test/dir", "ctf.test");
        let last = Timestamp::from_millis(5);
        folder.keep_failure(Failures { n: 7, last }).unwrap();
        assert_eq!(folder.failures(), Some(Failures { n: 1, last }));
        folder.keep_new("CHAIN\n", "KEY\n").unwrap();
        assert!(!folder.certificate().exists());
        folder.take_new().unwrap();
        assert_eq!(folder.failures(), None);
        let path = folder.certificate();
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY\nCHAIN\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let mode = fs::metadata(path.parent().unwrap()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
