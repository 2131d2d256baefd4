//! A registry that images travel through.

use std::fmt;

/// A repository of a registry, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// Registry and repository, e.g. `registry.ctf.example:5000/flagops`.
    pub repository: String,
    /// Name and password; nobody without them.
    pub login: Option<(String, String)>,
}

/// Nothing of the login.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Whether `text` is the digest of an image in a registry: `sha256:` and 64 hex digits.
pub fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|it| it.len() == 64 && it.bytes().all(is_hex))
}
