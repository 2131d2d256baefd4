//! The containers of the machine in memory: made, started, ended, by us or by other hands.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::SocketAddrV4;

use super::{Container, Machine, missing, refused};
use crate::model::compose::HealthTest;
use crate::model::{InstallationId, InstanceId};
use crate::planner::drift::LimitsSeen;
use crate::release::spec::{ContainerSpec, Profile};
use crate::render::vpn::GATEWAY_DIR;
use crate::runtime::fake::IsOom;
use crate::runtime::{
    ContainerSeen, ContainerState, EngineError, EngineEvent, ExecOutcome, ImageFile, NoFile,
};

/// Where minted answers are files, below any root.
const ANSWERS: &str = "/answers";

/// A call that has a result and causes a hint.
type Hinted<T> = Result<(T, Option<EngineEvent>), EngineError>;

/// Containers.
impl Machine {
    pub(in crate::runtime::fake) fn create_container(
        &mut self,
        us: &InstallationId,
        spec: &ContainerSpec,
    ) -> Hinted<String> {
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
        let limits = &spec.service.limits;
        let limits = LimitsSeen {
            memory_bytes: Some(limits.memory_bytes),
            nano_cpus: Some(u64::from(limits.cpu_millis) * 1_000_000),
            pids: Some(i64::from(limits.pids)),
        };
        let container = Container {
            owner: us.clone(),
            spec,
            state: ContainerState::Created,
            ends,
            files: BTreeMap::new(),
            log: String::new(),
            is_unhealthy: false,
            limits,
            unserved: BTreeSet::new(),
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

    pub(in crate::runtime::fake) fn connect_network(
        &mut self,
        us: &InstallationId,
        network: &str,
        container: &str,
    ) -> Result<(), EngineError> {
        self.own_mut(us, container)?;
        let id = self.own_network(us, network)?.ok_or_else(|| missing("network", network))?;
        let address = self.free_address(&id);
        let found = self.own_mut(us, container)?;
        if let Entry::Vacant(end) = found.ends.entry(id) {
            end.insert(address.ok_or_else(|| refused(container, "no free address"))?);
        }
        Ok(())
    }

    pub(in crate::runtime::fake) fn disconnect_network(
        &mut self,
        us: &InstallationId,
        network: &str,
        container: &str,
    ) -> Result<(), EngineError> {
        if self.own_id(us, container)?.is_none() {
            return Ok(());
        }
        let Some(id) = self.own_network(us, network)? else { return Ok(()) };
        self.own_mut(us, container)?.ends.remove(&id);
        Ok(())
    }

    pub(in crate::runtime::fake) fn upload(
        &mut self,
        us: &InstallationId,
        container: &str,
        dir: &str,
        tar: &[u8],
    ) -> Result<(), EngineError> {
        let found = self.own_mut(us, container)?;
        let is_gateway = found.spec.service.profile == Profile::Gateway;
        let is_volume = (found.spec.has_answers && dir == ANSWERS)
            || (is_gateway && dir == GATEWAY_DIR)
            || found.spec.service.volumes.iter().any(|volume| volume.target == dir);
        if found.spec.service.is_read_only && !is_volume {
            return Err(refused(container, "container rootfs is marked read-only"));
        }
        let files = unpack(dir, tar).map_err(|error| refused(container, error.to_string()))?;
        found.files.extend(files);
        Ok(())
    }

    pub(in crate::runtime::fake) fn start(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Hinted<()> {
        let id = self.own_id(us, container)?.ok_or_else(|| missing("container", container))?;
        let taken = self.taken_ports(&id);
        let lost = self.lost_network(&id);
        let exits = &self.exits;
        let found = self.containers.get_mut(&id).ok_or_else(|| missing("container", container))?;
        if found.state == ContainerState::Running {
            return Ok(((), None));
        }
        if let Some(network) = lost {
            return Err(missing("network", &network));
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
        found.unserved.clear();
        for (path, source) in &self.copies {
            if let Some(content) = found.files.get(source).cloned() {
                found.files.insert(path.clone(), content);
            }
        }
        Ok(((), found.event("start")))
    }

    /// What it has of its own, else of its image.
    pub(in crate::runtime::fake) fn container_file(
        &mut self,
        us: &InstallationId,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        let found = self.own_mut(us, container)?;
        let image = found.spec.service.image.clone();
        match found.files.get(path) {
            None => self.image_file(&image, path, limit_bytes),
            Some(own) if own.len() as u64 > limit_bytes => Ok(Err(NoFile::TooLarge)),
            Some(own) => Ok(Ok(ImageFile { bytes: own.clone().into(), is_executable: true })),
        }
    }

    /// A network that container `id` was made with and that is gone.
    fn lost_network(&self, id: &str) -> Option<String> {
        let spec = &self.containers.get(id)?.spec;
        let mut ends = std::iter::once(&spec.network).chain(&spec.more_networks);
        let lost = ends.find(|end| self.network_id(&end.network).is_none())?;
        Some(lost.network.clone())
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

    pub(in crate::runtime::fake) fn stop(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Hinted<()> {
        if self.own_id(us, container)?.is_none() {
            return Ok(((), None));
        }
        let found = self.own_mut(us, container)?;
        found.exit(143, IsOom::No);
        Ok(((), found.event("die")))
    }

    pub(in crate::runtime::fake) fn remove_container(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Hinted<()> {
        match self.own_id(us, container)? {
            None => Ok(((), None)),
            Some(id) => Ok(((), self.erase(&id))),
        }
    }

    pub(in crate::runtime::fake) fn own_container(
        &self,
        us: &InstallationId,
        container: &str,
    ) -> Option<ContainerSeen> {
        let id = self.own_id(us, container).ok()??;
        self.containers.get(&id).map(|found| found.seen(&id))
    }

    pub(in crate::runtime::fake) fn own_containers(
        &self,
        us: &InstallationId,
        instance: Option<InstanceId>,
    ) -> Vec<ContainerSeen> {
        let ours = self.containers.iter().filter(|(_, found)| {
            found.owner == *us
                && instance.is_none_or(|id| found.spec.instance == id)
                && !self.hidden.contains(&found.spec.name)
        });
        let mut seen: Vec<_> = ours.map(|(id, found)| found.seen(id)).collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        seen
    }

    pub(in crate::runtime::fake) fn check_running(
        &mut self,
        us: &InstallationId,
        container: &str,
    ) -> Result<(), EngineError> {
        let found = self.own_mut(us, container)?;
        if found.state == ContainerState::Running {
            return Ok(());
        }
        Err(refused(container, "it is not running"))
    }

    pub(in crate::runtime::fake) fn exec(
        &mut self,
        us: &InstallationId,
        container: &str,
        test: &HealthTest,
    ) -> Result<ExecOutcome, EngineError> {
        let found = self.own_mut(us, container)?;
        if found.state != ContainerState::Running {
            return Err(refused(container, "it is not running"));
        }
        let service = found.spec.service.name.to_string();
        let id = found.spec.instance;
        if let HealthTest::Exec(words) = test {
            self.commands.push((id, words.clone()));
        }
        let script = self.execs.get_mut(&service);
        let outcome = script.and_then(|script| {
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        });
        Ok(outcome.unwrap_or(ExecOutcome { code: 0, output: String::new() }))
    }

    pub(in crate::runtime::fake) fn logs(
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

    pub(in crate::runtime::fake) fn accepts(&self, address: SocketAddrV4) -> bool {
        self.containers.values().any(|container| {
            container.state == ContainerState::Running
                && container.ends.values().any(|end| end == address.ip())
                && !self.closed.contains(&(container.spec.service.name.to_string(), address.port()))
        })
    }
}

/// What happens by itself, or by other hands.
impl Machine {
    pub(in crate::runtime::fake) fn crash(
        &mut self,
        container: &str,
        code: i64,
        is_oom: IsOom,
    ) -> Option<EngineEvent> {
        let found = self.containers.get_mut(&self.container_id(container)?)?;
        found.exit(code, is_oom);
        found.event("die")
    }

    pub(in crate::runtime::fake) fn pause(&mut self, container: &str) -> Option<EngineEvent> {
        let found = self.containers.get_mut(&self.container_id(container)?)?;
        found.state = ContainerState::Paused;
        found.event("pause")
    }

    pub(in crate::runtime::fake) fn erase(&mut self, container: &str) -> Option<EngineEvent> {
        let found = self.containers.remove(&self.container_id(container)?)?;
        found.event("destroy")
    }

    pub(in crate::runtime::fake) fn stop_everything(&mut self, code: i64) {
        for container in self.containers.values_mut() {
            container.exit(code, IsOom::No);
        }
    }

    pub(in crate::runtime::fake) fn make_unhealthy(&mut self, container: &str) {
        self.change(container, |found| found.is_unhealthy = true);
    }

    pub(in crate::runtime::fake) fn set_memory(&mut self, container: &str, bytes: u64) {
        self.change(container, |found| found.limits.memory_bytes = Some(bytes));
    }

    pub(in crate::runtime::fake) fn take_port(&mut self, container: &str, port: u16) {
        self.change(container, |found| {
            found.unserved.insert(port);
        });
    }

    pub(in crate::runtime::fake) fn detach(&mut self, container: &str, network: &str) {
        self.change(container, |found| {
            found.ends.remove(network);
        });
    }

    /// Changes a container in place; it needs to be there.
    fn change(&mut self, container: &str, change: impl FnOnce(&mut Container)) {
        if let Some(id) = self.container_id(container) {
            self.containers.entry(id).and_modify(change);
        }
    }

    /// A second container with the labels of one, under another name.
    pub(in crate::runtime::fake) fn copy(&mut self, container: &str, name: &str) -> Option<String> {
        let found = self.containers.get(&self.container_id(container)?)?;
        let mut spec = found.spec.clone();
        name.clone_into(&mut spec.name);
        spec.published.clear();
        let copy = Container {
            owner: found.owner.clone(),
            spec,
            state: ContainerState::Running,
            ends: found.ends.clone(),
            files: BTreeMap::new(),
            log: String::new(),
            is_unhealthy: false,
            limits: found.limits,
            unserved: BTreeSet::new(),
        };
        let id = self.next_id();
        self.containers.insert(id.clone(), copy);
        Some(id)
    }

    /// The same container belongs to somebody else.
    pub(in crate::runtime::fake) fn give_away(&mut self, container: &str, to: &InstallationId) {
        self.change(container, |found| found.owner = to.clone());
    }

    pub(in crate::runtime::fake) fn lose_volume(&mut self, volume: &str) {
        self.volumes.remove(volume);
    }

    pub(in crate::runtime::fake) fn set_log(&mut self, container: &str, text: &str) {
        if let Some(id) = self.container_id(container) {
            self.containers.entry(id).and_modify(|found| text.clone_into(&mut found.log));
        }
    }

    pub(in crate::runtime::fake) fn files(&self, container: &str) -> BTreeMap<String, Vec<u8>> {
        let found = self.container_id(container).and_then(|id| self.containers.get(&id));
        found.map(|found| found.files.clone()).unwrap_or_default()
    }

    pub(in crate::runtime::fake) fn object_names(&self) -> BTreeSet<String> {
        let containers = self.containers.values().map(|container| &container.spec.name);
        let networks = self.networks.values().map(|network| &network.spec.name);
        containers.chain(networks).chain(self.volumes.keys()).cloned().collect()
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
