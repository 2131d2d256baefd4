//! What files instances on other nodes have, asked for once per incarnation: every look at a status lists
//! them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::super::platform::ListedFile;
use super::super::shared::Shared;
use crate::model::{Instance, InstanceId, InstancePhase};

/// Most instances whose files are kept.
const MAX_KEPT: usize = 10_000;

/// The files, by instance, of one incarnation.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<BTreeMap<InstanceId, (u32, Vec<ListedFile>)>>);

/// The files of `instance`; none while its node cannot be asked (`contract/http-api.md` §5.4).
pub(crate) async fn of(shared: &Shared, instance: &Instance) -> Vec<ListedFile> {
    let files = &shared.nodes.files.0;
    {
        let kept = files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, files)) = kept.get(&instance.id).filter(|(n, _)| *n == instance.n_resets) {
            return files.clone();
        }
    }
    let Some(known) = shared.nodes.known(&instance.node) else { return Vec::new() };
    let Ok(listed) = known.link.files(instance.id).await else { return Vec::new() };
    let listed: Vec<_> = listed
        .into_iter()
        .map(|file| ListedFile { name: file.name, size_bytes: file.size })
        .collect();
    if instance.phase == InstancePhase::Ready {
        let mut kept = files.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(instance.id, (instance.n_resets, listed.clone()));
    }
    listed
}
