//! What bears our label and belongs to no instance that the database knows: after a lost or older
//! database. It is held until a person has looked.

use std::collections::BTreeMap;

use super::{Outcome, Platform, PlatformError};
use crate::model::InstanceId;
use crate::runtime::ContainerState;

/// What is left of an instance that no row knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Names of its containers.
    pub containers: Vec<String>,
    /// How many of them run.
    pub n_running: usize,
    /// Names of its volumes.
    pub volumes: Vec<String>,
}

impl Platform {
    /// Everything of ours that belongs to no instance of this database, by instance.
    ///
    /// # Errors
    /// When the store fails, or the engine cannot be listed: then nothing is said about what it
    /// has.
    pub async fn unknown(&self) -> Outcome<BTreeMap<InstanceId, Unknown>> {
        let engine = &self.shared.engine;
        // The engine first: a row is always older than what it stands for.
        let (containers, volumes) = tokio::join!(engine.containers(None), engine.volumes());
        let unavailable = |_| PlatformError::EngineUnavailable;
        let containers = containers.map_err(unavailable)?;
        let volumes = volumes.map_err(|_| PlatformError::EngineUnavailable)?;
        let mut unknown: BTreeMap<InstanceId, Unknown> = BTreeMap::new();
        for container in containers {
            let Some(id) = container.instance else { continue };
            let entry = unknown.entry(id).or_default();
            entry.n_running += usize::from(container.state == ContainerState::Running);
            entry.containers.push(container.name);
        }
        for volume in volumes {
            let Some(id) = volume.instance else { continue };
            unknown.entry(id).or_default().volumes.push(volume.name);
        }
        let mut known = Vec::new();
        for id in unknown.keys() {
            if self.shared.store.instance(*id).await?.is_some() {
                known.push(*id);
            }
        }
        unknown.retain(|id, _| !known.contains(id));
        Ok(unknown)
    }

    /// Removes what is left of these instances, each of which a person has looked at. What has
    /// become known meanwhile, or is not there, is left out; gives what was removed.
    ///
    /// # Errors
    /// When the store or the engine fails; what was removed until then is gone, a repeat goes on.
    pub async fn remove_unknown(
        &self,
        ids: &[InstanceId],
    ) -> Outcome<BTreeMap<InstanceId, Unknown>> {
        let mut unknown = self.unknown().await?;
        unknown.retain(|id, _| ids.contains(id));
        let engine = &self.shared.engine;
        for (id, left) in &unknown {
            tracing::info!(
                instance.id = %id, container.n = left.containers.len(),
                "removing what is left of instance {id}, which no row knows: an operator said so"
            );
            for name in &left.containers {
                engine
                    .remove_container(name)
                    .await
                    .map_err(|_| PlatformError::EngineUnavailable)?;
            }
            for name in &left.volumes {
                engine.remove_volume(name).await.map_err(|_| PlatformError::EngineUnavailable)?;
            }
        }
        // Their networks are empty now, and what was held is stated anew.
        self.shared.relist_due.notify_one();
        Ok(unknown)
    }
}
