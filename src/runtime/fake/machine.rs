//! The machine in memory: its objects, and what may be done to them.
//!
//! # Invariants
//! * A call that fails has changed nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use sha2::{Digest as _, Sha256};

use crate::model::id::hex;
use crate::model::{InstallationId, InstanceId};
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::{
    BuildError, BuildRequest, ContainerSeen, ContainerState, EngineError, EngineEvent, ExecOutcome,
    ImageSeen, LogSink, NetworkSeen, VolumeSeen,
};

/// Where minted answers are files, below any root.
const ANSWERS: &str = "/answers";

#[derive(Debug, Default)]
pub(super) struct Machine {
    n_made: u64,
    images: BTreeMap<String, (Option<InstallationId>, ImageSeen)>,
    /// Image ids by reference.
    tags: BTreeMap<String, String>,
    networks: BTreeMap<String, Network>,
    volumes: BTreeMap<String, (InstallationId, InstanceId)>,
    containers: BTreeMap<String, Container>,
    pub(super) registry: BTreeMap<String, ImageSeen>,
    pub(super) build_failures: BTreeMap<String, String>,
    pub(super) exits: BTreeMap<String, i64>,
    pub(super) execs: BTreeMap<String, VecDeque<ExecOutcome>>,
    pub(super) closed: BTreeSet<(String, u16)>,
    pub(super) occupied_ports: BTreeSet<u16>,
    pub(super) occupied_subnets: Vec<Ipv4Net>,
}

#[derive(Debug)]
struct Network {
    owner: InstallationId,
    spec: NetworkSpec,
}

#[derive(Debug)]
struct Container {
    owner: InstallationId,
    spec: ContainerSpec,
    state: ContainerState,
    /// Address on each network, by the network's id.
    ends: BTreeMap<String, Ipv4Addr>,
    files: BTreeMap<String, Vec<u8>>,
    log: String,
    is_unhealthy: bool,
}

impl Container {
    fn seen(&self, id: &str) -> ContainerSeen {
        let is_running = self.state == ContainerState::Running;
        ContainerSeen {
            id: id.to_owned(),
            name: self.spec.name.clone(),
            instance: Some(self.spec.instance),
            service: Some(self.spec.service.name.clone()),
            spec_hash: self.spec.spec_hash.clone(),
            state: self.state.clone(),
            addresses: if is_running { self.ends.clone() } else { BTreeMap::new() },
            is_unhealthy: self.is_unhealthy,
        }
    }

    fn event(&self, action: &str) -> Option<EngineEvent> {
        Some(EngineEvent { instance: Some(self.spec.instance), action: action.to_owned() })
    }

    fn exit(&mut self, code: i64, is_oom: bool) {
        if self.state == ContainerState::Running {
            self.state = ContainerState::Exited { code, is_oom };
        }
    }

    fn uses_image(&self, id: &str) -> bool {
        self.spec.service.image == id
    }
}

fn missing(kind: &str, name: &str) -> EngineError {
    EngineError::NotFound { what: format!("{kind} `{name}`") }
}

fn refused(what: &str, reason: impl Into<String>) -> EngineError {
    EngineError::Refused { what: what.to_owned(), reason: reason.into() }
}

/// Images.
impl Machine {
    pub(super) fn add_image(&mut self, reference: &str, image: ImageSeen) {
        self.tags.insert(reference.to_owned(), image.id.clone());
        self.images.insert(image.id.clone(), (None, image));
    }

    fn image_id(&self, reference: &str) -> Option<String> {
        if self.images.contains_key(reference) {
            return Some(reference.to_owned());
        }
        let id = self.tags.get(reference).or_else(|| self.tags.get(&format!("{reference}:latest")));
        id.cloned()
    }

    pub(super) fn image(&self, us: &InstallationId, reference: &str) -> Option<ImageSeen> {
        let (owner, image) = self.images.get(&self.image_id(reference)?)?;
        let mut image = image.clone();
        if owner.as_ref() != Some(us) {
            image.build_key = None;
        }
        Some(image)
    }

    pub(super) fn own_images(&self, us: &InstallationId) -> Vec<ImageSeen> {
        let ours = self.images.values().filter(|(owner, _)| owner.as_ref() == Some(us));
        ours.map(|(_, image)| image.clone()).collect()
    }

    pub(super) fn pull(
        &mut self,
        us: &InstallationId,
        reference: &str,
    ) -> Result<ImageSeen, EngineError> {
        let image = self.registry.get(reference).cloned();
        let image = image.ok_or_else(|| missing("image", reference))?;
        self.add_image(reference, image);
        self.image(us, reference).ok_or_else(|| missing("image", reference))
    }

    pub(super) fn build(
        &mut self,
        us: &InstallationId,
        request: &BuildRequest,
        log: &LogSink,
    ) -> Result<ImageSeen, BuildError> {
        let _ = log.send("[1/1] FROM scratch".to_owned());
        if let Some(message) = self.build_failures.get(request.service.as_str()) {
            let _ = log.send(message.clone());
            return Err(BuildError::Failed { message: message.clone() });
        }
        let id = format!("sha256:{}", hex(&Sha256::digest(format!("{us}{}", request.key))));
        let image = ImageSeen {
            id: id.clone(),
            build_key: Some(request.key),
            size_bytes: request.context.len() as u64,
            health: None,
            volumes: Vec::new(),
        };
        self.tags.insert(request.tag.clone(), id.clone());
        self.images.insert(id, (Some(us.clone()), image.clone()));
        Ok(image)
    }

    pub(super) fn remove_image(
        &mut self,
        us: &InstallationId,
        reference: &str,
    ) -> Result<(), EngineError> {
        let Some(id) = self.image_id(reference) else { return Ok(()) };
        if self.images.get(&id).and_then(|(owner, _)| owner.as_ref()) != Some(us) {
            return Err(EngineError::NotOurs { what: format!("image `{reference}`") });
        }
        if self.containers.values().any(|container| container.uses_image(&id)) {
            return Err(refused(reference, "a container uses it"));
        }
        self.images.remove(&id);
        self.tags.retain(|_, tagged| *tagged != id);
        Ok(())
    }
}

/// Networks and volumes.
impl Machine {
    pub(super) fn create_network(
        &mut self,
        us: &InstallationId,
        spec: &NetworkSpec,
    ) -> Result<String, EngineError> {
        let overlaps = |other: &Ipv4Net| {
            other.contains(&spec.subnet.network()) || spec.subnet.contains(&other.network())
        };
        let is_taken = self.occupied_subnets.iter().any(overlaps)
            || self.networks.values().any(|network| {
                overlaps(&network.spec.subnet) || network.spec.bridge == spec.bridge
            });
        if is_taken {
            return Err(EngineError::SubnetTaken { subnet: spec.subnet.to_string() });
        }
        let id = self.next_id();
        self.networks.insert(id.clone(), Network { owner: us.clone(), spec: spec.clone() });
        Ok(id)
    }

    pub(super) fn remove_network(
        &mut self,
        us: &InstallationId,
        network: &str,
    ) -> Result<(), EngineError> {
        let Some(id) = self.network_id(network) else { return Ok(()) };
        if self.networks.get(&id).map(|network| &network.owner) != Some(us) {
            return Err(EngineError::NotOurs { what: format!("network `{network}`") });
        }
        let is_foreign =
            |container: &&Container| container.owner != *us && container.ends.contains_key(&id);
        if self.containers.values().any(|container| is_foreign(&container)) {
            return Err(refused(network, "it has active endpoints"));
        }
        for container in self.containers.values_mut() {
            container.ends.remove(&id);
        }
        self.networks.remove(&id);
        Ok(())
    }

    fn network_id(&self, network: &str) -> Option<String> {
        if self.networks.contains_key(network) {
            return Some(network.to_owned());
        }
        let mut named = self.networks.iter().filter(|(_, found)| found.spec.name == network);
        named.next().map(|(id, _)| id.clone())
    }

    pub(super) fn own_networks(&self, us: &InstallationId) -> Vec<NetworkSeen> {
        let ours = self.networks.iter().filter(|(_, network)| network.owner == *us);
        let mut seen: Vec<_> = ours
            .map(|(id, network)| NetworkSeen {
                id: id.clone(),
                name: network.spec.name.clone(),
                subnet: Some(network.spec.subnet),
                is_internal: network.spec.is_internal,
                n_containers: self
                    .containers
                    .values()
                    .filter(|container| container.state == ContainerState::Running)
                    .filter(|container| container.ends.contains_key(id))
                    .count(),
            })
            .collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        seen
    }

    /// The lowest free address of a network, above the gateway's.
    fn free_address(&self, network: &str) -> Option<Ipv4Addr> {
        let taken: BTreeSet<_> = self
            .containers
            .values()
            .filter_map(|container| container.ends.get(network).copied())
            .collect();
        let mut hosts = self.networks.get(network)?.spec.subnet.hosts().skip(1);
        hosts.find(|address| !taken.contains(address))
    }

    pub(super) fn create_volume(
        &mut self,
        us: &InstallationId,
        name: &str,
        instance: InstanceId,
    ) -> Result<(), EngineError> {
        let wanted = (us.clone(), instance);
        let found = self.volumes.entry(name.to_owned()).or_insert_with(|| wanted.clone());
        if *found == wanted {
            Ok(())
        } else {
            Err(EngineError::Conflict { what: format!("volume `{name}`") })
        }
    }

    pub(super) fn remove_volume(
        &mut self,
        us: &InstallationId,
        name: &str,
    ) -> Result<(), EngineError> {
        match self.volumes.get(name) {
            None => return Ok(()),
            Some((owner, _)) if owner != us => {
                return Err(EngineError::NotOurs { what: format!("volume `{name}`") });
            }
            Some(_) => (),
        }
        let is_used = |container: &Container| {
            container.spec.volume_names.values().any(|volume| volume == name)
        };
        if self.containers.values().any(is_used) {
            return Err(refused(name, "a container uses it"));
        }
        self.volumes.remove(name);
        Ok(())
    }

    pub(super) fn own_volumes(&self, us: &InstallationId) -> Vec<VolumeSeen> {
        let ours = self.volumes.iter().filter(|(_, (owner, _))| owner == us);
        ours.map(|(name, (_, instance))| VolumeSeen {
            name: name.clone(),
            instance: Some(*instance),
        })
        .collect()
    }
}

/// Containers.
impl Machine {
    pub(super) fn create_container(
        &mut self,
        us: &InstallationId,
        spec: &ContainerSpec,
    ) -> Result<(String, Option<EngineEvent>), EngineError> {
        if let Some(id) = self.container_id(&spec.name) {
            return self.adopt(us, &id, spec).map(|id| (id, None));
        }
        let image = self.image_id(&spec.service.image);
        let image = image.ok_or_else(|| missing("image", &spec.service.image))?;
        let mut ends = BTreeMap::new();
        for end in std::iter::once(&spec.network).chain(&spec.more_networks) {
            let id = self.network_id(&end.network);
            let id = id.ok_or_else(|| missing("network", &end.network))?;
            let address = self.free_address(&id);
            let address = address.ok_or_else(|| refused(&spec.name, "no free address"))?;
            ends.insert(id, address);
        }
        // As the real engine: a named volume that is missing is made on the way.
        for name in spec.volume_names.values() {
            self.volumes.entry(name.clone()).or_insert_with(|| (us.clone(), spec.instance));
        }
        let mut spec = spec.clone();
        spec.service.image = image;
        let container = Container {
            owner: us.clone(),
            spec,
            state: ContainerState::Created,
            ends,
            files: BTreeMap::new(),
            log: String::new(),
            is_unhealthy: false,
        };
        let event = container.event("create");
        let id = self.next_id();
        self.containers.insert(id.clone(), container);
        Ok((id, event))
    }

    fn adopt(
        &self,
        us: &InstallationId,
        id: &str,
        spec: &ContainerSpec,
    ) -> Result<String, EngineError> {
        let is_same = self.containers.get(id).is_some_and(|found| {
            found.owner == *us
                && found.spec.instance == spec.instance
                && found.spec.spec_hash == spec.spec_hash
                && found.spec.service.name == spec.service.name
        });
        let what = || format!("container `{}`", spec.name);
        if is_same { Ok(id.to_owned()) } else { Err(EngineError::Conflict { what: what() }) }
    }

    fn container_id(&self, container: &str) -> Option<String> {
        if self.containers.contains_key(container) {
            return Some(container.to_owned());
        }
        let mut named = self.containers.iter().filter(|(_, found)| found.spec.name == container);
        named.next().map(|(id, _)| id.clone())
    }

    /// The id of a container of ours; `None` when there is none of that name.
    fn own_id(&self, us: &InstallationId, container: &str) -> Result<Option<String>, EngineError> {
        let Some(id) = self.container_id(container) else { return Ok(None) };
        if self.containers.get(&id).is_some_and(|found| found.owner == *us) {
            Ok(Some(id))
        } else {
            Err(EngineError::NotOurs { what: format!("container `{container}`") })
        }
    }

    fn own_mut(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<&mut Container, EngineError> {
        let id = self.own_id(us, container)?;
        let found = id.and_then(|id| self.containers.get_mut(&id));
        found.ok_or_else(|| missing("container", container))
    }

    pub(super) fn upload(
        &mut self,
        us: &InstallationId,
        container: &str,
        dir: &str,
        tar: &[u8],
    ) -> Result<(), EngineError> {
        let found = self.own_mut(us, container)?;
        let is_volume = (found.spec.has_answers && dir == ANSWERS)
            || found.spec.service.volumes.iter().any(|volume| volume.target == dir);
        if found.spec.service.is_read_only && !is_volume {
            return Err(refused(container, "container rootfs is marked read-only"));
        }
        let files = unpack(dir, tar).map_err(|error| refused(container, error.to_string()))?;
        found.files.extend(files);
        Ok(())
    }

    pub(super) fn start(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<((), Option<EngineEvent>), EngineError> {
        let id = self.own_id(us, container)?.ok_or_else(|| missing("container", container))?;
        let taken = self.taken_ports(&id);
        let exits = &self.exits;
        let found = self.containers.get_mut(&id).ok_or_else(|| missing("container", container))?;
        if found.state == ContainerState::Running {
            return Ok(((), None));
        }
        if let Some(port) =
            found.spec.published.iter().find(|published| taken.contains(&published.port))
        {
            return Err(EngineError::PortTaken {
                what: format!("container `{container}`"),
                reason: format!("port {} is already allocated", port.port),
            });
        }
        found.state = match exits.get(found.spec.service.name.as_str()) {
            Some(code) => ContainerState::Exited { code: *code, is_oom: false },
            None => ContainerState::Running,
        };
        found.is_unhealthy = false;
        Ok(((), found.event("start")))
    }

    /// Host ports that container `id` cannot have.
    fn taken_ports(&self, id: &str) -> BTreeSet<u16> {
        let others = self.containers.iter().filter(|(other, container)| {
            other.as_str() != id && container.state == ContainerState::Running
        });
        let published = others.flat_map(|(_, container)| &container.spec.published);
        published
            .map(|published| published.port)
            .chain(self.occupied_ports.iter().copied())
            .collect()
    }

    pub(super) fn stop(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<((), Option<EngineEvent>), EngineError> {
        if self.own_id(us, container)?.is_none() {
            return Ok(((), None));
        }
        let found = self.own_mut(us, container)?;
        found.exit(143, false);
        Ok(((), found.event("die")))
    }

    pub(super) fn remove_container(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<((), Option<EngineEvent>), EngineError> {
        match self.own_id(us, container)? {
            None => Ok(((), None)),
            Some(id) => Ok(((), self.erase(&id))),
        }
    }

    pub(super) fn own_container(
        &self,
        us: &InstallationId,
        container: &str,
    ) -> Option<ContainerSeen> {
        let id = self.own_id(us, container).ok()??;
        self.containers.get(&id).map(|found| found.seen(&id))
    }

    pub(super) fn own_containers(
        &self,
        us: &InstallationId,
        instance: Option<InstanceId>,
    ) -> Vec<ContainerSeen> {
        let ours = self.containers.iter().filter(|(_, found)| {
            found.owner == *us && instance.is_none_or(|id| found.spec.instance == id)
        });
        let mut seen: Vec<_> = ours.map(|(id, found)| found.seen(id)).collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        seen
    }

    pub(super) fn exec(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<ExecOutcome, EngineError> {
        let found = self.own_mut(us, container)?;
        if found.state != ContainerState::Running {
            return Err(refused(container, "it is not running"));
        }
        let service = found.spec.service.name.to_string();
        let script = self.execs.get_mut(&service);
        let outcome = script.and_then(|script| {
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        });
        Ok(outcome.unwrap_or(ExecOutcome { code: 0, output: String::new() }))
    }

    pub(super) fn logs(
        &mut self,
        us: &InstallationId,
        container: &str,
        n_lines: u32,
    ) -> Result<String, EngineError> {
        let found = self.own_mut(us, container)?;
        let lines: Vec<_> = found.log.split_inclusive('\n').collect();
        let n_skipped = lines.len().saturating_sub(usize::try_from(n_lines).unwrap_or(usize::MAX));
        Ok(lines[n_skipped..].concat())
    }

    pub(super) fn accepts(&self, address: SocketAddrV4) -> bool {
        self.containers.values().any(|container| {
            container.state == ContainerState::Running
                && container.ends.values().any(|end| end == address.ip())
                && !self.closed.contains(&(container.spec.service.name.to_string(), address.port()))
        })
    }
}

/// What happens by itself, or by other hands.
impl Machine {
    pub(super) fn crash(
        &mut self,
        container: &str,
        code: i64,
        is_oom: bool,
    ) -> Option<EngineEvent> {
        let found = self.containers.get_mut(&self.container_id(container)?)?;
        found.exit(code, is_oom);
        found.event("die")
    }

    pub(super) fn erase(&mut self, container: &str) -> Option<EngineEvent> {
        let found = self.containers.remove(&self.container_id(container)?)?;
        found.event("destroy")
    }

    pub(super) fn stop_everything(&mut self, code: i64) {
        for container in self.containers.values_mut() {
            container.exit(code, false);
        }
    }

    pub(super) fn make_unhealthy(&mut self, container: &str) {
        if let Some(id) = self.container_id(container) {
            self.containers.entry(id).and_modify(|found| found.is_unhealthy = true);
        }
    }

    pub(super) fn set_log(&mut self, container: &str, text: &str) {
        if let Some(id) = self.container_id(container) {
            self.containers.entry(id).and_modify(|found| text.clone_into(&mut found.log));
        }
    }

    pub(super) fn files(&self, container: &str) -> BTreeMap<String, Vec<u8>> {
        let found = self.container_id(container).and_then(|id| self.containers.get(&id));
        found.map(|found| found.files.clone()).unwrap_or_default()
    }

    pub(super) fn object_names(&self) -> BTreeSet<String> {
        let containers = self.containers.values().map(|container| &container.spec.name);
        let networks = self.networks.values().map(|network| &network.spec.name);
        containers.chain(networks).chain(self.volumes.keys()).cloned().collect()
    }

    fn next_id(&mut self) -> String {
        self.n_made += 1;
        hex(&Sha256::digest(self.n_made.to_be_bytes()))
    }
}

/// The regular files of a tar below `dir`, by absolute path.
fn unpack(dir: &str, tar: &[u8]) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(format!("{}/{path}", dir.trim_end_matches('/')), content);
        }
    }
    Ok(files)
}
