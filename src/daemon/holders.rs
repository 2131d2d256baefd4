//! Who holds which token, kept from one request to the next.
//!
//! # Invariants
//! * Nobody is who they were after the change of it was acknowledged ([`AsOf`]).
//! * What is not a token is asked for each time and never kept: nobody fills this with guesses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::Shared;
use crate::store::{AsOf, Holder, StoreError, Topic};

/// Most that are kept; more than play at a time.
const MAX: usize = 8192;

/// What is kept, by the digests of tokens.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<HashMap<[u8; 32], Kept>>);

/// Who it is, and as of when.
type Kept = (AsOf, Arc<Holder>);

impl Holders {
    /// Forgets what was known of a token whose time of use is written, so that it is read once more.
    pub(crate) fn forget(&self, token_hash: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(token_hash);
    }
}

/// Who holds the token with this SHA-256.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn of(
    shared: &Shared,
    token_hash: [u8; 32],
) -> Result<Option<Arc<Holder>>, StoreError> {
    let lock = || shared.holders.0.lock().unwrap_or_else(PoisonError::into_inner);
    let as_of = shared.store.as_of(Topic::Holders);
    let known = lock().get(&token_hash).cloned();
    if let Some((then, holder)) = known
        && then.holds(as_of)
    {
        return Ok(Some(holder));
    }
    let Some(holder) = shared.store.holder(token_hash).await?.map(Arc::new) else {
        lock().remove(&token_hash);
        return Ok(None);
    };
    let mut known = lock();
    if known.len() >= MAX && !known.contains_key(&token_hash) {
        known.clear();
    }
    known.insert(token_hash, (as_of, Arc::clone(&holder)));
    Ok(Some(holder))
}
