//! The machine in memory: its objects, and what may be done to them.
//!
//! # Invariants
//! * A call that fails has changed nothing.

mod containers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{IsOom, Pushed};
use crate::model::id::hex;
use crate::model::{Disk, InstallationId, InstanceId, Timestamp};
use crate::planner::drift::LimitsSeen;
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::{
    BuildError, BuildRequest, ContainerSeen, ContainerState, EngineError, EngineEvent, ExecOutcome,
    ImageFile, ImageSeen, LogSink, NetworkSeen, NoFile, Registry, VolumeSeen,
};

#[derive(Debug, Default)]
pub(super) struct Machine {
    n_made: u64,
    /// Names of what listings leave out.
    pub(super) hidden: BTreeSet<String>,
    images: BTreeMap<String, (Option<InstallationId>, ImageSeen)>,
    /// What built images have, by image and path: what their Dockerfiles copy from their contexts.
    image_files: BTreeMap<(String, String), Bytes>,
    /// Image ids by reference.
    tags: BTreeMap<String, String>,
    networks: BTreeMap<String, Network>,
    volumes: BTreeMap<String, (InstallationId, InstanceId)>,
    containers: BTreeMap<String, Container>,
    pub(super) registry: BTreeMap<String, ImageSeen>,
    pub(super) pushed: Pushed,
    pub(super) build_failures: BTreeMap<String, String>,
    pub(super) exits: BTreeMap<String, i64>,
    /// What containers write when they start: from where, by where to.
    pub(super) copies: BTreeMap<String, String>,
    pub(super) execs: BTreeMap<String, VecDeque<ExecOutcome>>,
    /// Commands that ran in containers, by instance, in order.
    pub(super) commands: Vec<(InstanceId, Vec<String>)>,
    pub(super) closed: BTreeSet<(String, u16)>,
    pub(super) occupied_ports: BTreeSet<u16>,
    pub(super) occupied_subnets: Vec<Ipv4Net>,
    pub(super) disk_of_others: Option<Disk>,
    pub(super) disk_use: BTreeMap<InstanceId, u64>,
    pub(super) cache_bytes: u64,
    pub(super) runtimes: BTreeSet<String>,
    pub(super) image_bytes: Option<u64>,
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
    limits: LimitsSeen,
    /// Host ports that were taken from it.
    unserved: BTreeSet<u16>,
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
            limits: self.limits,
            served: if is_running { self.served() } else { BTreeSet::new() },
            challenge: Some(self.spec.challenge.clone()),
            image: self.spec.service.image.clone(),
            published: self.spec.published.clone(),
            wishes: std::iter::once(&self.spec.network)
                .chain(&self.spec.more_networks)
                .map(|end| (end.wish.clone(), end.network.clone()))
                .collect(),
            provenance: Some(self.spec.provenance.clone()),
        }
    }

    fn served(&self) -> BTreeSet<u16> {
        let ports = self.spec.published.iter().map(|published| published.port);
        ports.filter(|port| !self.unserved.contains(port)).collect()
    }

    fn event(&self, action: &str) -> Option<EngineEvent> {
        Some(EngineEvent { instance: Some(self.spec.instance), action: action.to_owned() })
    }

    fn exit(&mut self, code: i64, is_oom: IsOom) {
        if self.state == ContainerState::Running {
            self.state = ContainerState::Exited { code, is_oom: is_oom == IsOom::Yes };
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

    pub(super) fn save(&self, image: &str) -> Result<Bytes, EngineError> {
        let id = self.image_id(image).ok_or_else(|| missing("image", image))?;
        let (owner, found) = self.images.get(&id).ok_or_else(|| missing("image", image))?;
        let its = self.image_files.iter().filter(|((of, _), _)| *of == id);
        let files = its.map(|((_, path), bytes)| (path.clone(), bytes.to_vec())).collect();
        let owner = owner.as_ref().map(ToString::to_string);
        let saved = Saved { id, owner, size_bytes: found.size_bytes, files };
        Ok(serde_json::to_vec(&saved).expect("it has string keys only").into())
    }

    pub(super) fn load(
        &mut self,
        us: &InstallationId,
        image: &str,
        tag: &str,
        bytes: &[u8],
    ) -> Result<ImageSeen, EngineError> {
        let saved: Saved = serde_json::from_slice(bytes)
            .map_err(|error| refused("load image", error.to_string()))?;
        let seen = ImageSeen {
            id: saved.id.clone(),
            build_key: None,
            made_at: Some(Timestamp::default()),
            size_bytes: saved.size_bytes,
            health: None,
            volumes: Vec::new(),
        };
        for (path, bytes) in saved.files {
            self.image_files.insert((saved.id.clone(), path), bytes.into());
        }
        let owner = saved.owner.and_then(|owner| owner.parse().ok());
        self.images.entry(saved.id).or_insert((owner, seen));
        let seen = self.image(us, image);
        let seen = seen.ok_or_else(|| refused("load image", "it is another image"))?;
        self.tags.insert(tag.to_owned(), seen.id.clone());
        Ok(seen)
    }

    pub(super) fn push(&self, image: &str, registry: &Registry) -> Result<String, EngineError> {
        let bytes = self.save(image)?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        let reference = format!("{}@{digest}", registry.repository);
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner).insert(reference, bytes);
        Ok(digest)
    }

    pub(super) fn fetch(
        &mut self,
        us: &InstallationId,
        image: &str,
        tag: &str,
        reference: &str,
    ) -> Result<ImageSeen, EngineError> {
        let pushed = Arc::clone(&self.pushed);
        let found = pushed.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned();
        self.load(us, image, tag, &found.ok_or_else(|| missing("image", reference))?)
    }

    pub(super) fn unload(&mut self, tag: &str) {
        let Some(id) = self.tags.remove(tag) else { return };
        if !self.tags.values().any(|other| *other == id) {
            self.images.remove(&id);
        }
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
            // It has no clock: whoever knows better says when an image was used.
            made_at: Some(Timestamp::default()),
            size_bytes: self.image_bytes.unwrap_or(request.context.len() as u64),
            health: None,
            volumes: Vec::new(),
        };
        let (based, copied) = copied(request);
        let based = based.and_then(|base| self.image_id(&base));
        let inherited: Vec<_> = self
            .image_files
            .iter()
            .filter(|((of, _), _)| Some(of) == based.as_ref())
            .map(|((_, path), bytes)| (path.clone(), bytes.clone()))
            .collect();
        for (path, bytes) in inherited.into_iter().chain(copied) {
            self.image_files.insert((id.clone(), path), bytes);
        }
        self.tags.insert(request.tag.clone(), id.clone());
        self.images.insert(id, (Some(us.clone()), image.clone()));
        Ok(image)
    }

    pub(super) fn image_file(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        let missing = || EngineError::NotFound { what: format!("image `{image}`") };
        let id = self.image_id(image).ok_or_else(missing)?;
        let found = self.image_files.get(&(id, path.to_owned())).cloned();
        Ok(match found {
            None => Err(NoFile::Missing),
            Some(bytes) if bytes.len() as u64 > limit_bytes => Err(NoFile::TooLarge),
            Some(bytes) => Ok(ImageFile { bytes, is_executable: true }),
        })
    }

    /// The disk with everything on it.
    pub(super) fn disk(&self) -> Option<Disk> {
        let built = self.images.values().filter(|(owner, _)| owner.is_some());
        let ours: u64 = built.map(|(_, image)| image.size_bytes).sum::<u64>() + self.cache_bytes;
        let disk = self.disk_of_others?;
        let used_bytes = disk.used_bytes.saturating_add(ours).min(disk.capacity_bytes);
        Some(Disk { used_bytes, ..disk })
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

/// What each `COPY FILE /PATH` of the Dockerfile copies.
fn copied(request: &BuildRequest) -> (Option<String>, Vec<(String, Bytes)>) {
    let mut context = BTreeMap::new();
    let mut archive = tar::Archive::new(&request.context[..]);
    for mut entry in archive.entries().into_iter().flatten().flatten() {
        let mut bytes = Vec::new();
        if let (Ok(path), Ok(_)) =
            (entry.path().map(|it| it.display().to_string()), entry.read_to_end(&mut bytes))
        {
            context.insert(path, bytes);
        }
    }
    let dockerfile = context.get(&request.dockerfile).cloned().unwrap_or_default();
    let copy = |line: &str| {
        let mut words = line.strip_prefix("COPY ")?.split_whitespace();
        let (from, to) = (words.next()?, words.next()?);
        Some((to.to_owned(), context.get(from)?.clone().into()))
    };
    let dockerfile = String::from_utf8_lossy(&dockerfile);
    let base = dockerfile.lines().find_map(|line| line.strip_prefix("FROM "));
    (base.map(str::to_owned), dockerfile.lines().filter_map(copy).collect())
}

/// An image as it travels between such engines.
#[derive(Serialize, Deserialize)]
struct Saved {
    id: String,
    /// Labels travel with an image.
    owner: Option<String>,
    size_bytes: u64,
    files: BTreeMap<String, Vec<u8>>,
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

    /// The id of a network of ours; `None` when there is none.
    fn own_network(
        &self,
        us: &InstallationId,
        network: &str,
    ) -> Result<Option<String>, EngineError> {
        let Some(id) = self.network_id(network) else { return Ok(None) };
        match self.networks.get(&id) {
            Some(found) if found.owner == *us => Ok(Some(id)),
            _ => Err(EngineError::NotOurs { what: format!("network `{network}`") }),
        }
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
        let ours = self
            .volumes
            .iter()
            .filter(|(name, (owner, _))| owner == us && !self.hidden.contains(*name));
        ours.map(|(name, (_, instance))| VolumeSeen {
            name: name.clone(),
            instance: Some(*instance),
        })
        .collect()
    }

    fn next_id(&mut self) -> String {
        self.n_made += 1;
        hex(&Sha256::digest(self.n_made.to_be_bytes()))
    }
}
