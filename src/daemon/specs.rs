//! What live instances were started from, read and hashed once.
//!
//! A stored spec never changes, so what was read of it stays right; its hash changes with a reset.
//!
//! # Invariants
//! * Nothing is kept of an instance that is over for longer than until the next level pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::Shared;
use crate::model::{Instance, InstanceId, SpecHash};
use crate::release::identity::spec_hash;
use crate::release::spec::InstanceSpec;
use crate::store::StoreError;

/// A spec, and its hash in one incarnation.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) spec: Arc<InstanceSpec>,
    pub(crate) hash: SpecHash,
    n_resets: u32,
}

/// The specs that were read.
#[derive(Debug, Default)]
pub(crate) struct Specs(Mutex<BTreeMap<InstanceId, Stored>>);

impl Specs {
    /// Forgets everything of instances that are not among `live`.
    pub(crate) fn keep_only(&self, live: &BTreeSet<InstanceId>) {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.retain(|id, _| live.contains(id));
    }
}

/// What `instance` was started from; `None` when no row knows it.
///
/// # Errors
/// When the database does not answer, or the spec is of a shape that we do not know.
pub(crate) async fn of(shared: &Shared, instance: &Instance) -> Result<Option<Stored>, StoreError> {
    let known = {
        let stored = shared.specs.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.get(&instance.id).cloned()
    };
    let spec = match known {
        Some(known) if known.n_resets == instance.n_resets => return Ok(Some(known)),
        Some(known) => known.spec,
        None => match shared.store.instance_spec(instance.id).await? {
            Some(spec) => Arc::new(spec),
            None => return Ok(None),
        },
    };
    let hash = spec_hash(&spec, instance.n_resets);
    let stored = Stored { spec, hash, n_resets: instance.n_resets };
    let mut all = shared.specs.0.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(instance.id, stored.clone());
    Ok(Some(stored))
}
