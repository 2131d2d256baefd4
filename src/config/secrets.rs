//! Values that are never printed, and the files they come from.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Largest secret that is read: a private key has 3 KiB.
const LIMIT_BYTES: u64 = 64 << 10;

/// A secret. `Debug` prints nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one call that needs it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file is absent, or not ours to read.
    #[error("could not read the secret in `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file holds nothing, or something that cannot be a secret.
    #[error("`{}` holds no secret: {problem}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Secret<String> {
    /// Reads the one-line secret in the file at `path`, without surrounding white space.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, has several lines or more than 64 KiB.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let unusable = |problem| SecretError::Unusable { path: path.to_owned(), problem };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LIMIT_BYTES {
            return Err(unusable("it has more than 64 KiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text"))?;
        match text.trim() {
            "" => Err(unusable("it is empty")),
            line if line.contains(['\n', '\r', '\0']) => Err(unusable("it has several lines")),
            line => Ok(Self(line.to_owned())),
        }
    }
}

/// `remote` without the credentials that a URL may carry, for logs and listings.
pub fn mask_credentials(remote: &str) -> String {
    let Some((scheme, rest)) = remote.split_once("://") else { return remote.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{}", &rest[authority.len()..]),
        None => remote.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_secret_file_is_trimmed_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let check = |content: &[u8]| {
            let path = folder.path().join("token");
            std::fs::write(&path, content).unwrap();
            Secret::read(&path).map(|secret| secret.reveal().clone()).map_err(|error| {
                error.to_string().replace(&folder.path().display().to_string(), "DIR")
            })
        };
        assert_eq!(check(b"  abc\n"), Ok("abc".to_owned()));
        assert_eq!(check(b"\n"), Err("`DIR/token` holds no secret: it is empty".to_owned()));
        assert!(check(b"a\nb").unwrap_err().contains("several lines"));
        assert!(check(&[0xff, 0xfe]).unwrap_err().contains("not text"));
        assert!(check(&vec![b'a'; 70_000]).unwrap_err().contains("64 KiB"));
    }

    #[test]
    fn credentials_in_a_url_are_masked() {
        for (remote, masked) in [
            ("https://user:pw@host.example/a.git", "https://…@host.example/a.git"),
            ("https://host.example/a@b", "https://host.example/a@b"),
            ("git@host.example:a/b.git", "git@host.example:a/b.git"),
            ("/srv/challenges", "/srv/challenges"),
            ("https://user:p@w@host", "https://…@host"),
        ] {
            assert_eq!(mask_credentials(remote), masked);
        }
    }
}
