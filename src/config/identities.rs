//! Reads the file of age identities.
//!
//! It opens every secret of the repository, so it has to lie where only flagops reads it: closed to
//! others, and outside of the repository itself.
//!
//! # Not here
//! What the lines mean (`secrets`).

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroize as _;

use super::outside::{self, Refused};
use crate::secrets::{Identities, IdentityErrors};
use crate::trust::SourceText;

/// Largest file: an identity has 74 characters.
const LIMIT_BYTES: u64 = 64 << 10;

/// Why there are no identities.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file is absent or not ours to read.
    #[error("could not read the age identities in `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is none that holds keys.
    #[error("`{}` is no file of age identities: {problem}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Others could read it.
    #[error("others may read `{0}` (mode {mode:03o}); run `chmod 600 '{0}'`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Who reads the repository could read it.
    #[error(
        "`{}` lies in the repository `{}`; move it to where only flagops reads, e.g. \
         `/etc/flagops/age.key`",
        .path.display(),
        .repository.display()
    )]
    InRepository {
        /// The file.
        path: PathBuf,
        /// The repository's folder.
        repository: PathBuf,
    },
    /// The file holds mistakes.
    #[error(transparent)]
    Faulty(#[from] IdentityErrors),
}

/// Loads the identities in the file at `path`; none without one. `repository` is the one that they
/// decrypt, if it is a folder of this machine.
///
/// # Errors
/// When the file cannot be read, or others can, and every mistake in it.
pub fn load(path: Option<&Path>, repository: Option<&Path>) -> Result<Identities, IdentityError> {
    let Some(path) = path else { return Ok(Identities::none()) };
    let unreadable = |source| IdentityError::Unreadable { path: path.to_owned(), source };
    let unusable = |problem| IdentityError::Unusable { path: path.to_owned(), problem };
    let file = outside::open(path, repository).map_err(|refused| match refused {
        Refused::Unreadable(source) => unreadable(source),
        Refused::NoFile => unusable("it is no regular file"),
        Refused::InRepository(repository) => {
            IdentityError::InRepository { path: path.to_owned(), repository }
        }
    })?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Open { path: path.to_owned(), mode });
    }
    let name = path.display().to_string();
    let mut source = SourceText { name, bytes: Vec::with_capacity(LIMIT_BYTES as usize + 64) };
    file.take(LIMIT_BYTES + 1).read_to_end(&mut source.bytes).map_err(unreadable)?;
    let identities = match source.bytes.len() as u64 {
        0..=LIMIT_BYTES => Identities::parse(&source).map_err(IdentityError::from),
        _ => Err(unusable("it has more than 64 KiB")),
    };
    source.bytes.zeroize();
    identities
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::secrets::KeyPair;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("age.key");
        let pair = KeyPair::generate().unwrap();
        fs::write(&path, pair.file().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_that_only_its_owner_reads_is_loaded() {
        let (_dir, path) = folder();
        assert_eq!(load(Some(&path), None).unwrap().recipients().len(), 1);
        assert!(load(None, None).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_others_read_is_refused_with_the_command_that_closes_it() {
        let (dir, path) = folder();
        for mode in [0o640, 0o604, 0o660, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load(Some(&path), None).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && error.contains("age.key"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(Some(&path), None).is_ok());
        // A link does not hide where the file lies.
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("age.key");
        symlink(&path, &link).unwrap();
        let error = load(Some(&link), Some(dir.path())).unwrap_err();
        assert!(matches!(error, IdentityError::InRepository { .. }), "{error}");
    }

    #[test]
    fn what_holds_no_identity_is_named_without_repeating_it() {
        let (dir, path) = folder();
        let check = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            load(Some(&path), None).unwrap_err().to_string()
        };
        let error = check(b"# mine\nAGE-SECRET-KEY-1WRONGWRONG\n");
        assert!(error.contains("age.key:2: ") && !error.contains("WRONG"), "{error}");
        assert!(check(&vec![b'#'; 70_000]).contains("64 KiB"));
        let error = load(Some(dir.path()), None).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        let error = load(Some(Path::new("/nonexistent/age.key")), None).unwrap_err();
        assert!(matches!(error, IdentityError::Unreadable { .. }), "{error}");
    }
}
