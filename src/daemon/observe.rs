//! Turns what the engine and the store show into the planner's [`Observed`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::attachments;
use super::executor::{Fault, Job};
use super::shared::Shared;
use crate::model::{Instance, InstanceId, InstancePhase, ServiceName, SpecHash};
use crate::planner::container::{container_name, volume_name};
use crate::planner::drift::{self, Flaw};
use crate::planner::{Observed, ServiceSeen, ServiceState, lifecycle};
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
    let (containers, networks, volumes, rows) = (containers?, networks?, volumes?, rows?);
    let view = View::new(&containers, &networks, &volumes, &rows);
    Ok(view.of(shared, &job.instance, &job.spec, &job.spec_hash))
}

/// One listing of everything, to be read for many instances.
pub(crate) struct View<'a> {
    containers: BTreeMap<InstanceId, Vec<&'a ContainerSeen>>,
    /// Ids of the networks that the engine has.
    networks: BTreeSet<&'a str>,
    /// Names of the volumes that it has.
    volumes: BTreeSet<&'a str>,
    volumes_of: BTreeMap<InstanceId, Vec<&'a str>>,
    rows: BTreeMap<InstanceId, Vec<&'a NetworkRow>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        containers: &'a [ContainerSeen],
        networks: &'a [NetworkSeen],
        volumes: &'a [VolumeSeen],
        rows: &'a [NetworkRow],
    ) -> Self {
        let mut view = Self {
            containers: BTreeMap::new(),
            networks: networks.iter().map(|seen| seen.id.as_str()).collect(),
            volumes: volumes.iter().map(|seen| seen.name.as_str()).collect(),
            volumes_of: BTreeMap::new(),
            rows: BTreeMap::new(),
        };
        for container in containers {
            if let Some(id) = container.instance {
                view.containers.entry(id).or_default().push(container);
            }
        }
        for volume in volumes {
            if let Some(id) = volume.instance {
                view.volumes_of.entry(id).or_default().push(&volume.name);
            }
        }
        for row in rows {
            if let Some((id, _)) = &row.owner {
                view.rows.entry(*id).or_default().push(row);
            }
        }
        view
    }

    /// What is seen of one instance.
    pub(crate) fn of(
        &self,
        shared: &Shared,
        instance: &Instance,
        spec: &InstanceSpec,
        spec_hash: &SpecHash,
    ) -> Observed {
        let ours = shared.data.installation();
        let networks = self.networks_of(instance);
        let mut stray_volumes: BTreeSet<String> =
            of(&self.volumes_of, instance.id).iter().map(|name| (*name).to_owned()).collect();
        let mut volumes = BTreeSet::new();
        for name in &spec.volumes {
            let wanted = volume_name(ours, instance.id, instance.n_resets, name);
            if self.volumes.contains(wanted.as_str()) {
                stray_volumes.remove(&wanted);
                volumes.insert(name.clone());
            }
        }
        let mut services: BTreeMap<ServiceName, ServiceSeen> = BTreeMap::new();
        let mut duplicates = BTreeMap::new();
        let mut has_container = BTreeSet::new();
        let mut found: Vec<_> = of(&self.containers, instance.id)
            .iter()
            .filter_map(|seen| {
                let name = seen.service.clone()?;
                if seen.spec_hash == spec_hash.as_str() {
                    has_container.insert(name.clone());
                }
                let state = match flaw(seen, instance, spec, spec_hash, &networks) {
                    Some(flaw) => ServiceState::Wrong(flaw),
                    None => service_state(seen, instance.phase),
                };
                let has_our_name = seen.name == container_name(ours, instance.id, &name);
                let rank = (drift::worth(&state), has_our_name);
                Some((rank, name, ServiceSeen { container: seen.id.clone(), state }))
            })
            .collect();
        // Of two for one service the better one stays.
        found.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        for (_, name, seen) in found {
            match services.entry(name) {
                Entry::Occupied(better) => {
                    duplicates.insert(seen.container, better.key().clone());
                }
                Entry::Vacant(free) => {
                    free.insert(seen);
                }
            }
        }
        let lost_volumes = drift::lost_volumes(instance.phase, spec, &volumes, |name| {
            has_container.contains(name)
        });
        let is_collected = attachments::collected::is_there(shared, instance, spec, &services);
        Observed {
            networks,
            volumes,
            stray_volumes,
            lost_volumes,
            services,
            duplicates,
            crashes: BTreeMap::new(),
            was_ready: !lifecycle::is_first_start(instance),
            is_rendered: attachments::is_rendered(shared, instance, spec),
            is_collected,
        }
    }

    /// The networks that the store says are its own and that the engine still has.
    fn networks_of(&self, instance: &Instance) -> BTreeMap<String, String> {
        of(&self.rows, instance.id)
            .iter()
            .filter_map(|row| {
                let (_, wish) = row.owner.as_ref()?;
                let id = row.engine_id.as_ref()?;
                let exists = self.networks.contains(id.as_str());
                (exists || instance.phase == InstancePhase::Removing)
                    .then(|| (wish.clone(), id.clone()))
            })
            .collect()
    }
}

/// What an index has of one instance.
fn of<T>(index: &BTreeMap<InstanceId, Vec<T>>, id: InstanceId) -> &[T] {
    index.get(&id).map(Vec::as_slice).unwrap_or_default()
}

/// Why a container has to be made anew.
fn flaw(
    seen: &ContainerSeen,
    instance: &Instance,
    spec: &InstanceSpec,
    spec_hash: &SpecHash,
    networks: &BTreeMap<String, String>,
) -> Option<Flaw> {
    if seen.spec_hash != spec_hash.as_str() {
        return Some(Flaw::OtherSpec);
    }
    let service = spec.services.iter().find(|it| seen.service.as_ref() == Some(&it.name))?;
    if may_be_half_made(seen, service) {
        return Some(Flaw::HalfMade);
    }
    if let Some(flaw) = cut_off(seen, service, networks) {
        return Some(flaw);
    }
    if let Some(words) = drift::limits_differ(&service.limits, &seen.limits) {
        return Some(Flaw::Limits(words));
    }
    match &seen.state {
        ContainerState::Paused => Some(Flaw::Paused),
        ContainerState::Other(word) => Some(Flaw::Stuck(word.clone())),
        ContainerState::Running => {
            let ours = instance.surface.iter().filter(|it| it.service == service.name);
            let mut ports = ours.map(|endpoint| endpoint.port);
            ports.find(|port| !seen.served.contains(port)).map(Flaw::PortNotServed)
        }
        ContainerState::Created | ContainerState::Exited { .. } => None,
    }
}

/// Whether a crash may have come between its making and its connection to a further network:
/// nothing shows which networks a container that never ran is connected to, and making it anew is
/// cheap. Whoever makes it and lives knows better, and does not look.
fn may_be_half_made(seen: &ContainerSeen, service: &ServiceSpec) -> bool {
    seen.state == ContainerState::Created && service.networks.len() > 1
}

/// Whether a network that the container needs is gone, or it hangs on another one: an engine
/// attaches at the create, so only a new container helps.
fn cut_off(
    seen: &ContainerSeen,
    service: &ServiceSpec,
    networks: &BTreeMap<String, String>,
) -> Option<Flaw> {
    service.networks.keys().find_map(|wish| match networks.get(wish) {
        None => Some(Flaw::NetworkGone(wish.clone())),
        // Only a running container has addresses.
        Some(id) if seen.state == ContainerState::Running && !seen.addresses.contains_key(id) => {
            Some(Flaw::Detached(wish.clone()))
        }
        Some(_) => None,
    })
}

/// What a container without a flaw does.
fn service_state(seen: &ContainerSeen, phase: InstancePhase) -> ServiceState {
    match &seen.state {
        ContainerState::Created => ServiceState::Empty,
        // A ready instance was probed; only the engine's own verdict casts doubt on it.
        ContainerState::Running if phase == InstancePhase::Ready && !seen.is_unhealthy => {
            ServiceState::Usable
        }
        ContainerState::Exited { code, is_oom } => {
            ServiceState::Exited { code: *code, is_oom: *is_oom }
        }
        // Paused and stuck ones have a flaw.
        ContainerState::Running | ContainerState::Paused | ContainerState::Other(_) => {
            ServiceState::Running
        }
    }
}
