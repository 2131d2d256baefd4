//! An engine in memory, for tests: the same trait, the same refusals, and faults on demand.
//!
//! In:  the calls of [`Engine`](super::Engine), and a test that pulls strings (this file).
//! Out: a machine that can be looked at (`machine`).
//!
//! # Invariants
//! * Deterministic: ids, addresses and orders follow from the order of the calls.
//! * Names, subnets, bridges and host ports conflict as on a real engine; the suite in
//!   `runtime::suite` runs against both.
//! * Nothing here reads a clock or opens a socket.

mod engine;
mod machine;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;

use self::machine::Machine;
use super::{EngineError, EngineEvent, ExecOutcome, ImageSeen};
use crate::model::compose::ROTATOR;
use crate::model::{Disk, InstallationId, InstanceId};

/// What was pushed, by repository and digest.
pub type Pushed = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A call of the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of `Engine` with that name")]
pub enum Verb {
    Info,
    Prove,
    Image,
    Images,
    Pull,
    Build,
    ImageFile,
    Save,
    Push,
    Fetch,
    Load,
    Unload,
    RemoveImage,
    Disk,
    DiskUse,
    BuildCacheBytes,
    TrimBuildCache,
    CreateNetwork,
    RemoveNetwork,
    ConnectNetwork,
    DisconnectNetwork,
    Networks,
    CreateVolume,
    RemoveVolume,
    Volumes,
    CreateContainer,
    Upload,
    ContainerFile,
    Start,
    Stop,
    RemoveContainer,
    Container,
    Containers,
    Exec,
    Logs,
    Events,
    Reach,
}

impl Verb {
    /// Whether such a call changes something of an instance, its networks or images.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::CreateNetwork
                | Self::RemoveNetwork
                | Self::ConnectNetwork
                | Self::DisconnectNetwork
                | Self::CreateVolume
                | Self::RemoveVolume
                | Self::CreateContainer
                | Self::Upload
                | Self::Start
                | Self::Stop
                | Self::RemoveContainer
                | Self::RemoveImage
        )
    }
}

/// Where a call stands when the hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened yet.
    Before,
    /// The effect is there, the caller does not know it yet.
    After,
}

/// What the hook decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The call goes on.
    GoOn,
    /// The daemon dies here: this and every further call never returns, until
    /// [`FakeEngine::revive`].
    Die,
}

/// Asked before and after every call.
pub type Hook = Arc<dyn Fn(Verb, When) -> Fate + Send + Sync>;

/// What goes wrong with one call.
#[derive(Debug, Clone)]
enum Fault {
    Fail(EngineError),
    FailAfterEffect(EngineError),
    Hang,
}

/// The strings a test pulls.
#[derive(Default)]
struct Control {
    faults: BTreeMap<Verb, VecDeque<Fault>>,
    latency: BTreeMap<Verb, Duration>,
    is_down: bool,
    is_dead: bool,
    hook: Option<Hook>,
    calls: Vec<Verb>,
}

struct Shared {
    machine: Mutex<Machine>,
    control: Mutex<Control>,
    /// Replaced at a restart, which ends every subscription.
    events: Mutex<broadcast::Sender<EngineEvent>>,
}

/// An engine in memory. A clone is another handle on the same machine.
#[derive(Clone)]
pub struct FakeEngine {
    installation: InstallationId,
    shared: Arc<Shared>,
}

impl FakeEngine {
    /// An empty machine, seen by `installation`. Its one-shot sidecar exits with 0.
    pub fn new(installation: InstallationId) -> Self {
        let mut machine = Machine::default();
        machine.exits.insert(ROTATOR.to_owned(), 0);
        let shared = Shared {
            machine: Mutex::new(machine),
            control: Mutex::default(),
            events: Mutex::new(broadcast::channel(1024).0),
        };
        Self { installation, shared: Arc::new(shared) }
    }

    /// The same machine as another installation sees it.
    #[must_use]
    pub fn as_installation(&self, installation: InstallationId) -> Self {
        Self { installation, shared: Arc::clone(&self.shared) }
    }

    /// The next call of `verb` fails without an effect. Faults queue up.
    pub fn fail_next(&self, verb: Verb, error: EngineError) {
        self.control().faults.entry(verb).or_default().push_back(Fault::Fail(error));
    }

    /// The next call of `verb` does its work and then fails all the same.
    pub fn fail_after_effect(&self, verb: Verb, error: EngineError) {
        self.control().faults.entry(verb).or_default().push_back(Fault::FailAfterEffect(error));
    }

    /// The next call of `verb` does nothing until its deadline passes.
    pub fn hang(&self, verb: Verb) {
        self.control().faults.entry(verb).or_default().push_back(Fault::Hang);
    }

    /// Every call of `verb` takes this long.
    pub fn set_latency(&self, verb: Verb, latency: Duration) {
        self.control().latency.insert(verb, latency);
    }

    /// Asks `hook` before and after every call from now on.
    pub fn set_hook(&self, hook: Hook) {
        self.control().hook = Some(hook);
    }

    /// The daemon is back: calls return again, and no hook is asked any more. Calls that were
    /// pending when it died stay so.
    pub fn revive(&self) {
        let mut control = self.control();
        control.is_dead = false;
        control.hook = None;
    }

    /// The engine stops answering; what runs keeps running.
    pub fn go_down(&self) {
        self.control().is_down = true;
        self.end_events();
    }

    /// The engine answers again.
    pub fn come_up(&self) {
        self.control().is_down = false;
    }

    /// The engine restarts without live restore: all that ran has exited with 137, and every
    /// subscription has ended.
    pub fn restart(&self) {
        self.machine().stop_everything(137);
        self.end_events();
        self.come_up();
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Verb> {
        self.control().calls.clone()
    }

    /// The disk of the engine, of which `disk.used_bytes` are used by others: images that were
    /// built and the build cache come on top. `None`, the default, cannot be seen.
    pub fn set_disk(&self, disk: Option<Disk>) {
        self.machine().disk_of_others = disk;
    }

    /// An instance keeps so many bytes on the disk from now on.
    pub fn set_disk_use(&self, instance: InstanceId, bytes: u64) {
        self.machine().disk_use.insert(instance, bytes);
    }

    /// It can run containers with this, too.
    pub fn add_runtime(&self, name: &str) {
        self.machine().runtimes.insert(name.to_owned());
    }

    /// How large the build cache is.
    pub fn set_build_cache(&self, bytes: u64) {
        self.machine().cache_bytes = bytes;
    }

    /// Images that are built from now on have this size; `None`, the default, is their context's.
    pub fn set_image_size(&self, bytes: Option<u64>) {
        self.machine().image_bytes = bytes;
    }

    /// Puts an image onto the machine under `reference`; its id works as well.
    pub fn add_image(&self, reference: &str, image: ImageSeen) {
        self.machine().add_image(reference, image);
    }

    /// Makes what is pushed here to be fetched by the engines that share `registry`, and the other way round.
    pub fn share_registry(&self, registry: &Pushed) {
        self.machine().pushed = Arc::clone(registry);
    }

    /// Puts an image into the registry, where a pull finds it.
    pub fn add_to_registry(&self, reference: &str, image: ImageSeen) {
        self.machine().registry.insert(reference.to_owned(), image);
    }

    /// Builds of `service` fail with this message from now on, or no longer.
    pub fn set_build_failure(&self, service: &str, message: Option<&str>) {
        let mut machine = self.machine();
        match message {
            Some(message) => machine.build_failures.insert(service.to_owned(), message.to_owned()),
            None => machine.build_failures.remove(service),
        };
    }

    /// Containers of `service` exit with `code` as soon as they are started.
    pub fn exit_on_start(&self, service: &str, code: i64) {
        self.machine().exits.insert(service.to_owned(), code);
    }

    /// Containers of `service` keep running once they are started (the default).
    pub fn stay_on_start(&self, service: &str) {
        self.machine().exits.remove(service);
    }

    /// Commands in containers of `service` end like this, one after the other; the last outcome
    /// repeats. Without a script they end with 0.
    pub fn script_exec(&self, service: &str, outcomes: impl IntoIterator<Item = ExecOutcome>) {
        self.machine().execs.insert(service.to_owned(), outcomes.into_iter().collect());
    }

    /// The commands that ran in containers of `instance`, in order.
    pub fn commands(&self, instance: InstanceId) -> Vec<Vec<String>> {
        let machine = self.machine();
        let of = machine.commands.iter().filter(|(id, _)| *id == instance);
        of.map(|(_, words)| words.clone()).collect()
    }

    /// Whether port `port` of `service` accepts connections; open is the default.
    pub fn set_port(&self, service: &str, port: u16, state: Port) {
        let mut machine = self.machine();
        match state {
            Port::Open => machine.closed.remove(&(service.to_owned(), port)),
            Port::Closed => machine.closed.insert((service.to_owned(), port)),
        };
    }

    /// Something else on the machine listens on host port `port`.
    pub fn occupy_port(&self, port: u16) {
        self.machine().occupied_ports.insert(port);
    }

    /// Something else on the machine uses `subnet`.
    pub fn occupy_subnet(&self, subnet: ipnet::Ipv4Net) {
        self.machine().occupied_subnets.push(subnet);
    }

    /// The main process of a container (id or name) ends.
    pub fn crash(&self, container: &str, code: i64, is_oom: IsOom) {
        let event = self.machine().crash(container, code, is_oom);
        self.publish(event);
    }

    /// Somebody removes a container (id or name) behind our back.
    pub fn remove_by_hand(&self, container: &str) {
        let event = self.machine().erase(container);
        self.publish(event);
    }

    /// Somebody pauses a container (id or name) behind our back.
    pub fn pause_by_hand(&self, container: &str) {
        let event = self.machine().pause(container);
        self.publish(event);
    }

    /// Somebody pauses a container (id or name), and the event of it is lost.
    pub fn pause_quietly(&self, container: &str) {
        self.machine().pause(container);
    }

    /// Listings leave these out, by name, until [`FakeEngine::show`]: as if a call that made them
    /// took effect late.
    pub fn hide(&self, names: &BTreeSet<String>) {
        self.machine().hidden.extend(names.iter().cloned());
    }

    /// Listings show everything again.
    pub fn show(&self) {
        self.machine().hidden.clear();
    }

    /// The engine's own health verdict on a container (id or name) becomes: unhealthy.
    pub fn make_unhealthy(&self, container: &str) {
        self.machine().make_unhealthy(container);
    }

    /// Somebody gives a container (id or name) another memory limit behind our back.
    pub fn set_memory_by_hand(&self, container: &str, bytes: u64) {
        self.machine().set_memory(container, bytes);
    }

    /// A container (id or name) serves this host port no more, until it is started again.
    pub fn take_port_by_hand(&self, container: &str, port: u16) {
        self.machine().take_port(container, port);
    }

    /// Somebody takes a container (id or name) off a network (id) behind our back.
    pub fn detach_by_hand(&self, container: &str, network: &str) {
        self.machine().detach(container, network);
    }

    /// Somebody runs a second container with the labels of a container (id or name); its id.
    pub fn copy_by_hand(&self, container: &str, name: &str) -> Option<String> {
        self.machine().copy(container, name)
    }

    /// A container (id or name) is replaced by one of another installation with the same name.
    pub fn give_away(&self, container: &str, to: &InstallationId) {
        self.machine().give_away(container, to);
    }

    /// A volume vanishes, whoever has it.
    pub fn lose_volume(&self, volume: &str) {
        self.machine().lose_volume(volume);
    }

    /// What a container (id or name) has printed.
    pub fn set_log(&self, container: &str, text: &str) {
        self.machine().set_log(container, text);
    }

    /// The files uploaded into a container (id or name), by absolute path.
    pub fn files(&self, container: &str) -> BTreeMap<String, Vec<u8>> {
        self.machine().files(container)
    }

    /// Each container that starts from now on writes to `path` what it finds at `source`, if anything.
    pub fn copy_at_start(&self, source: &str, path: &str) {
        self.machine().copies.insert(path.to_owned(), source.to_owned());
    }

    /// Names of all objects on the machine, whoever they belong to: containers, networks, volumes.
    pub fn object_names(&self) -> BTreeSet<String> {
        self.machine().object_names()
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.shared.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, event: Option<EngineEvent>) {
        let events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = event {
            // Nobody listens: events get lost, that is what they are.
            let _ = events.send(event);
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<EngineEvent> {
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }

    fn end_events(&self) {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        *events = broadcast::channel(1024).0;
    }
}

/// Whether a port accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// It does.
    Open,
    /// It refuses them.
    Closed,
}

/// Whether the kernel ended a process for its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsOom {
    /// It did.
    Yes,
    /// It ended for another reason.
    No,
}

impl fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEngine")
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}
