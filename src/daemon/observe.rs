//! Turns what the engine and the store show into the planner's [`Observed`].

use std::collections::{BTreeMap, BTreeSet};

use super::executor::{Fault, Job};
use super::shared::Shared;
use crate::model::{Instance, InstancePhase, SpecHash};
use crate::planner::{Observed, ServiceSeen, ServiceState, container::volume_name, lifecycle};
use crate::release::spec::{InstanceSpec, ServiceSpec};
use crate::runtime::{ContainerSeen, ContainerState, NetworkSeen, VolumeSeen};
use crate::store::NetworkRow;

/// Looks at everything of one instance.
///
/// # Errors
/// When the engine or the store could not be asked; that says nothing about what exists.
pub(crate) async fn instance(shared: &Shared, job: &Job) -> Result<Observed, Fault> {
    let (containers, networks, volumes, rows) = tokio::join!(
        shared.engine.containers(Some(job.instance.id)),
        shared.engine.networks(),
        shared.engine.volumes(),
        shared.store.networks(),
    );
    let volumes = volumes?;
    let view =
        View { containers: &containers?, networks: &networks?, volumes: &volumes, rows: &rows? };
    Ok(view.of(shared, &job.instance, &job.spec, &job.spec_hash))
}

/// One listing of everything, to be read for many instances.
pub(crate) struct View<'a> {
    pub(crate) containers: &'a [ContainerSeen],
    pub(crate) networks: &'a [NetworkSeen],
    pub(crate) volumes: &'a [VolumeSeen],
    pub(crate) rows: &'a [NetworkRow],
}

impl View<'_> {
    /// What is seen of one instance.
    pub(crate) fn of(
        &self,
        shared: &Shared,
        instance: &Instance,
        spec: &InstanceSpec,
        spec_hash: &SpecHash,
    ) -> Observed {
        let networks = self.networks_of(instance);
        let services = self
            .containers
            .iter()
            .filter(|seen| seen.instance == Some(instance.id))
            .filter_map(|seen| {
                let name = seen.service.clone()?;
                let is_of_no_use =
                    may_be_half_made(seen, spec) || is_cut_off(seen, spec, &networks);
                let state = if is_of_no_use {
                    ServiceState::Wrong
                } else {
                    service_state(seen, instance.phase, spec_hash)
                };
                Some((name, ServiceSeen { container: seen.id.clone(), state }))
            })
            .collect();
        let mut volumes = BTreeSet::new();
        let mut stray_volumes: BTreeSet<String> = self
            .volumes
            .iter()
            .filter(|seen| seen.instance == Some(instance.id))
            .map(|seen| seen.name.clone())
            .collect();
        for name in &spec.volumes {
            let ours = shared.data.installation();
            let wanted = volume_name(ours, instance.id, instance.n_resets, name);
            if self.volumes.iter().any(|seen| seen.name == wanted) {
                stray_volumes.remove(&wanted);
                volumes.insert(name.clone());
            }
        }
        Observed {
            networks,
            volumes,
            stray_volumes,
            services,
            crashes: BTreeMap::new(),
            was_ready: !lifecycle::is_first_start(instance),
        }
    }

    /// The networks that the store says are its own and that the engine still has.
    fn networks_of(&self, instance: &Instance) -> BTreeMap<String, String> {
        self.rows
            .iter()
            .filter_map(|row| {
                let (owner, wish) = row.owner.as_ref()?;
                let id = row.engine_id.as_ref()?;
                let exists = self.networks.iter().any(|seen| seen.id == *id);
                (*owner == instance.id && (exists || instance.phase == InstancePhase::Removing))
                    .then(|| (wish.clone(), id.clone()))
            })
            .collect()
    }
}

/// Whether a crash may have come between its making and its connection to a further network:
/// nothing shows which networks a container that never ran is connected to, and making it anew is
/// cheap. Whoever makes it and lives knows better, and does not look.
fn may_be_half_made(seen: &ContainerSeen, spec: &InstanceSpec) -> bool {
    let is_of = |service: &&ServiceSpec| seen.service.as_ref() == Some(&service.name);
    let n_networks = spec.services.iter().find(is_of).map_or(0, |service| service.networks.len());
    seen.state == ContainerState::Created && n_networks > 1
}

/// Whether a network that the container needs is gone, or it hangs on another one: an engine
/// attaches at the create, so only a new container helps.
fn is_cut_off(
    seen: &ContainerSeen,
    spec: &InstanceSpec,
    networks: &BTreeMap<String, String>,
) -> bool {
    let service = spec.services.iter().find(|service| Some(&service.name) == seen.service.as_ref());
    let Some(service) = service else { return false };
    service.networks.keys().any(|wish| match networks.get(wish) {
        None => true,
        // Only a running container has addresses.
        Some(id) => seen.state == ContainerState::Running && !seen.addresses.contains_key(id),
    })
}

fn service_state(seen: &ContainerSeen, phase: InstancePhase, spec_hash: &SpecHash) -> ServiceState {
    if seen.spec_hash != spec_hash.as_str() {
        return ServiceState::Wrong;
    }
    match &seen.state {
        ContainerState::Created => ServiceState::Empty,
        // A ready instance was probed; only the engine's own verdict casts doubt on it.
        ContainerState::Running if phase == InstancePhase::Ready && !seen.is_unhealthy => {
            ServiceState::Usable
        }
        ContainerState::Running => ServiceState::Running,
        ContainerState::Exited { code, is_oom } => {
            ServiceState::Exited { code: *code, is_oom: *is_oom }
        }
        ContainerState::Paused | ContainerState::Other(_) => ServiceState::Wrong,
    }
}
