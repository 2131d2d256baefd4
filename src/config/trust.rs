//! Reads the trust file and the files that it names.
//!
//! What is read decides who may release, so it has to lie where only the operator writes: outside
//! of the watched repository, and not writable by everybody.
//!
//! # Not here
//! What the files mean (`trust`).

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::outside::{self, Refused};
use crate::trust::{KeyFiles, Keyring, KeyringErrors, SourceText, TrustFile};

/// Largest file of a keyring. A public key has a few KiB.
const LIMIT_BYTES: u64 = 1 << 20;

/// Why there is no keyring.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file is absent or not ours to read.
    #[error("could not read `{}`, which says whom we trust", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file is no keyring by its size.
    #[error("`{}` has more than 1 MiB; export only the keys of the organizers", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Anybody could add a signer.
    #[error("everybody may write `{0}`; run `chmod o-w '{0}'`", .path.display())]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// Who may push could add a signer.
    #[error(
        "`{}` lies in the watched repository `{}`; move it to where only you write, e.g. \
         `/etc/flagops/`",
        .path.display(),
        .repository.display()
    )]
    InRepository {
        /// The file.
        path: PathBuf,
        /// The watched folder.
        repository: PathBuf,
    },
    /// The files hold mistakes.
    #[error(transparent)]
    Faulty(#[from] KeyringErrors),
}

/// Loads the keyring that the trust file at `path` describes. `repository` is the watched one, if
/// it is a folder of this machine.
///
/// # Errors
/// When a file cannot be read or may not lie there, and every mistake in them at once.
pub fn load_keyring(path: &Path, repository: Option<&Path>) -> Result<Keyring, TrustError> {
    let read = |path: &Path| read(path, repository);
    let source = read(path)?;
    let file = TrustFile::parse(&source)?;
    // Relative names are beside the trust file; absolute ones stay what they are.
    let beside = path.parent().unwrap_or(Path::new(""));
    let named = |name: &Option<String>| name.as_ref().map(|name| read(&beside.join(name)));
    let files = KeyFiles {
        allowed_signers: named(&file.allowed_signers).transpose()?,
        revoked_keys: named(&file.revoked_keys).transpose()?,
        openpgp_keyring: named(&file.openpgp_keyring).transpose()?,
    };
    Ok(Keyring::parse(&source, &file, &files)?)
}

fn read(path: &Path, repository: Option<&Path>) -> Result<SourceText, TrustError> {
    let unreadable = |source| TrustError::Unreadable { path: path.to_owned(), source };
    let file = outside::open(path, repository).map_err(|refused| match refused {
        Refused::Unreadable(source) => unreadable(source),
        Refused::NoFile => unreadable(io::Error::other("it is no regular file")),
        Refused::InRepository(repository) => {
            TrustError::InRepository { path: path.to_owned(), repository }
        }
    })?;
    if file.metadata().map_err(unreadable)?.mode() & 0o002 != 0 {
        return Err(TrustError::Writable { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(TrustError::TooLarge { path: path.to_owned() });
    }
    Ok(SourceText { name: path.display().to_string(), bytes })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQxu4zNyHKkbyCPnFiiDDKBEpWQ7BGXYYUPvmMRSTs9";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let trust = "allowed_signers = \"signers\"\n[roles]\nalice = [\"release\"]\n";
        fs::write(dir.path().join("trust.toml"), trust).unwrap();
        fs::write(dir.path().join("signers"), format!("alice {KEY}\n")).unwrap();
        dir
    }

    #[test]
    fn files_are_found_beside_the_trust_file() {
        let dir = folder();
        let keyring = load_keyring(&dir.path().join("trust.toml"), None).unwrap();
        assert_ne!(keyring.digest(), Keyring::default().digest());
    }

    #[test]
    fn files_that_others_could_change_are_refused() {
        let dir = folder();
        let path = dir.path().join("trust.toml");
        let error = load_keyring(&path, Some(dir.path())).unwrap_err();
        assert!(matches!(error, TrustError::InRepository { .. }), "{error}");
        // A link does not hide where the file lies.
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("trust.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = load_keyring(&link, Some(dir.path())).unwrap_err();
        assert!(matches!(error, TrustError::InRepository { .. }), "{error}");
        let signers = dir.path().join("signers");
        fs::set_permissions(&signers, fs::Permissions::from_mode(0o666)).unwrap();
        let error = load_keyring(&path, None).unwrap_err().to_string();
        assert!(error.contains("chmod o-w") && error.contains("signers"), "{error}");
    }

    #[test]
    fn missing_large_and_faulty_files_are_named() {
        let dir = folder();
        let path = dir.path().join("trust.toml");
        let signers = dir.path().join("signers");
        fs::write(&signers, "alice\n").unwrap();
        let error = load_keyring(&path, None).unwrap_err().to_string();
        assert!(error.contains(&format!("{}:1: ", signers.display())), "{error}");
        fs::write(&signers, vec![b'#'; (1 << 20) + 1]).unwrap();
        let error = load_keyring(&path, None).unwrap_err();
        assert!(matches!(error, TrustError::TooLarge { .. }), "{error}");
        fs::remove_file(&signers).unwrap();
        let error = load_keyring(&path, None).unwrap_err();
        assert!(matches!(error, TrustError::Unreadable { .. }), "{error}");
    }
}
