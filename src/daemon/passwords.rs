//! Hashes passwords with argon2id, and compares them, a few at a time and off the loops' threads.
//!
//! # Invariants
//! * Comparing with no account takes as long as comparing with one: who has an account cannot be
//!   found out by time.
//! * A hash takes 19 MiB and some tens of milliseconds; a flood of sign-ins waits in line instead of
//!   taking memory.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;

/// How many are hashed at a time.
const N_SLOTS: usize = 2;

/// Hashes and compares.
#[derive(Debug)]
pub(crate) struct Passwords {
    slots: Semaphore,
    /// A hash that nobody's password has.
    nobody: Arc<OnceLock<Option<String>>>,
}

/// Why a password could not be hashed.
#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(getrandom::Error),
    /// The hash function refused.
    #[error("the password could not be hashed ({0})")]
    Hash(argon2::password_hash::Error),
    /// The daemon stops.
    #[error("the daemon stops")]
    Stopping,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { slots: Semaphore::new(N_SLOTS), nobody: Arc::default() }
    }

    /// A hash of `password` with a salt of its own.
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether `password` is the one of `hash`; without a hash it is none, after as long a time.
    pub(crate) async fn is_right(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let nobody = Arc::clone(&self.nobody);
        self.run(move || {
            let is_somebody = hash.is_some();
            let known = hash.or_else(|| nobody.get_or_init(|| self::hash("nobody").ok()).clone());
            let known = known.unwrap_or_default();
            let Ok(known) = PasswordHash::new(&known) else { return false };
            argon2().verify_password(password.as_bytes(), &known).is_ok() && is_somebody
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _slot = self.slots.acquire().await.map_err(|_| PasswordError::Stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| PasswordError::Stopping)
    }
}

/// What OWASP recommends: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(PasswordError::Random)?;
    let salt = SaltString::encode_b64(&salt).map_err(PasswordError::Hash)?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right_and_nobody_has_none() {
        let passwords = Passwords::new();
        let hash = passwords.hash("a dozen of characters".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let is_right = async |password: &str, hash: Option<&String>| {
            passwords.is_right(password.to_owned(), hash.cloned()).await.unwrap()
        };
        assert!(is_right("a dozen of characters", Some(&hash)).await);
        assert!(!is_right("a dozen of characterz", Some(&hash)).await);
        assert!(!is_right("nobody", None).await);
        assert!(!is_right("x", Some(&"no hash".to_owned())).await);
    }
}
