//! Does one planned action: one engine call (or one wait), then says what changed.
//!
//! There are no choices left here. What is worth another try at once (a taken port, a lost
//! network) changes the store and asks for a new plan; everything else is a [`Fault`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attachments::collected::{self, CollectError};
use super::attachments::{self, AttachmentError};
use super::shared::Shared;
use super::specs::Stored;
use super::{stock, vpn};
use crate::model::{
    ContainerRuntime, Instance, InstancePhase, Provenance, QuestionId, ServiceName, SpecHash,
};
use crate::planner::budget::budget_bytes;
use crate::planner::container::{Ground, container_spec, volume_name, with_addresses};
use crate::planner::{Action, Observed, ServiceSeen, ServiceState, Want, lifecycle, shortfall};
use crate::release::spec::{InstanceSpec, NetworkWish, Profile, ServiceSpec};
use crate::render::vpn::GATEWAY_DIR;
use crate::render::{self, answers};
use crate::runtime::probe::{self, FailedCheck, ProbeFailure, ProbeTarget};
use crate::runtime::{ContainerState, EngineError};
use crate::store::{NetworkKind, StoreError};
use crate::telemetry::Chain;

/// Where answers are found inside a container.
const ANSWERS_DIR: &str = "/answers";

/// One pass over one instance.
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    /// The row as last read.
    pub(crate) instance: Instance,
    pub(crate) spec: Arc<InstanceSpec>,
    /// The incarnation that this pass is about; the row may be ahead of it.
    pub(crate) n_resets: u32,
    /// What its containers bear.
    pub(crate) spec_hash: SpecHash,
    /// When the pass has failed if the instance is not usable. No clock that is set moves it.
    deadline: Instant,
    /// Cancelled when probes and waits should end.
    pub(crate) turn_around: CancellationToken,
}

impl Job {
    pub(crate) fn new(shared: &Arc<Shared>, instance: Instance, stored: Stored) -> Self {
        let patience = i64::from(shared.settings.load().start_deadline_secs) * 1000;
        let is_first = lifecycle::is_first_start(&instance);
        let waited = shared.now().millis_since(instance.created_at).max(0);
        let left = if is_first { (patience - waited).max(0) } else { patience };
        Self {
            shared: Arc::clone(shared),
            spec_hash: stored.hash,
            n_resets: instance.n_resets,
            spec: stored.spec,
            deadline: Instant::now() + Duration::from_millis(left.unsigned_abs()),
            turn_around: shared.tasks.stopping().child_token(),
            instance,
        }
    }

    /// What the row asks for.
    pub(crate) fn want(&self) -> Want {
        lifecycle::want(&self.instance)
    }

    /// Whether it was never usable.
    pub(crate) fn is_first_start(&self) -> bool {
        lifecycle::is_first_start(&self.instance)
    }

    /// Whether the row is about something else than this pass: over, or a newer incarnation.
    pub(crate) fn is_outdated(&self) -> bool {
        !self.instance.phase.is_live() || self.instance.n_resets != self.n_resets
    }

    pub(crate) fn is_late(&self) -> bool {
        self.want() == Want::Run && self.time_left().is_zero()
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Why it failed when its time is over: with what is missing, as far as that was seen.
    pub(crate) fn too_late(&self, observed: &Observed) -> String {
        let seconds = self.shared.settings.load().start_deadline_secs;
        let missing =
            shortfall(&self.spec, observed).map_or_else(String::new, |it| format!(": {it}"));
        format!("the instance was not usable within {seconds} s{missing}")
    }

    fn service(&self, name: &ServiceName) -> Option<&ServiceSpec> {
        self.spec.services.iter().find(|service| service.name == *name)
    }

    fn wish(&self, name: &str) -> Option<&NetworkWish> {
        self.spec.networks.iter().find(|wish| wish.name == name)
    }

    /// The engine's name of the volume of this name in the file.
    fn volume_name(&self, name: &str) -> String {
        volume_name(self.shared.data.installation(), self.instance.id, self.n_resets, name)
    }

    /// The minted answers. Secret.
    pub(crate) fn answers(&self) -> BTreeMap<String, String> {
        answers_of(&self.shared, &self.instance, &self.spec)
    }
}

/// The answers of `row`: those that a platform gave, else minted here. Secret.
pub(crate) fn answers_of(
    shared: &Shared,
    row: &Instance,
    spec: &InstanceSpec,
) -> BTreeMap<String, String> {
    if let Some(given) = shared.worker.given(row.id) {
        return given.answers;
    }
    let mint = |(id, format): (&String, &crate::model::AnswerFormat)| {
        let question: QuestionId = id.parse().ok()?;
        let key = shared.data.answer_key();
        Some((id.clone(), answers::mint(key, row.id, row.answer_epoch, &question, *format)))
    };
    spec.answers.iter().filter_map(mint).collect()
}

/// What an action changed.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Its files are rendered.
    Rendered,
    /// What its services wrote is taken out.
    Collected,
    /// A network is claimed.
    Network { wish: String, id: String },
    /// A volume exists.
    Volume(String),
    /// A service's container is now like this.
    Service { name: ServiceName, container: String, state: ServiceState },
    /// A service has no container any more.
    Removed(ServiceName),
    /// A volume is gone.
    VolumeGone(String),
    /// A volume of an earlier incarnation is gone.
    StrayGone(String),
    /// A further container of a service is gone.
    DuplicateGone(String),
    /// A network is given back.
    NetworkGone(String),
}

/// Why an action did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The ground changed; observe and plan again at once.
    #[error("the plan is out of date")]
    Again,
    /// The instance can never become usable; the text is for its owner.
    #[error("{0}")]
    Hopeless(String),
    /// Something that is not ours has the name of an object of ours. It is never touched.
    #[error(
        "{what} has the name of an object of this instance and is not ours: rename or remove it, flagops does not touch it"
    )]
    NameTaken {
        /// The object.
        what: String,
    },
    /// The image that a container is to be made from is gone; it is being built again.
    #[error(
        "the image of service `{service}` is gone from the node; it is being built again, start once more in a moment"
    )]
    ImageLost {
        /// The service.
        service: ServiceName,
    },
    /// The files of its players cannot be rendered. The text is for its owner.
    #[error("{0}")]
    Unrendered(String),
    /// This machine cannot keep them now.
    #[error(transparent)]
    Attachments(AttachmentError),
    /// The engine failed in a way that passes.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another machine did not do it.
    #[error(transparent)]
    Node(#[from] crate::node::NodeError),
    /// It panicked; what it did is found by the next observation.
    #[error("an action on an instance was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

/// Records an effect in what is observed.
pub(crate) fn apply(observed: &mut Observed, effect: Effect) {
    match effect {
        Effect::Rendered => observed.is_rendered = true,
        Effect::Collected => observed.is_collected = true,
        Effect::Network { wish, id } => {
            observed.networks.insert(wish, id);
        }
        Effect::Volume(name) => {
            observed.volumes.insert(name);
        }
        Effect::Service { name, container, state } => {
            let before = observed.services.get(&name).map(|seen| seen.container.as_str());
            // What another container wrote is not what this one has.
            observed.is_collected &= before == Some(container.as_str());
            observed.services.insert(name, ServiceSeen { container, state });
        }
        Effect::Removed(name) => {
            observed.is_collected = false;
            observed.services.remove(&name);
        }
        Effect::VolumeGone(name) => {
            observed.volumes.remove(&name);
        }
        Effect::StrayGone(name) => {
            observed.stray_volumes.remove(&name);
        }
        Effect::DuplicateGone(container) => {
            observed.duplicates.remove(&container);
        }
        Effect::NetworkGone(wish) => {
            observed.networks.remove(&wish);
        }
    }
}

/// Starts doing `action`. The future owns what it needs; it must be awaited to its end, except
/// that probes and waits end by themselves once the job's `turn_around` is cancelled.
pub(crate) fn execute(
    job: &Job,
    observed: &Observed,
    action: Action,
) -> BoxFuture<'static, (Action, Result<Effect, Fault>)> {
    let shared = Arc::clone(&job.shared);
    let container = |name: &ServiceName| {
        observed.services.get(name).map(|seen| seen.container.clone()).unwrap_or_default()
    };
    let id = job.instance.id;
    let work: BoxFuture<'static, Result<Effect, Fault>> = match &action {
        Action::Render => render(job),
        Action::Collect => collect(job, observed),
        Action::ClaimNetwork(name) => claim_network(job, name),
        Action::CreateVolume(name) => {
            let (name, full) = (name.clone(), job.volume_name(name));
            Box::pin(async move {
                match shared.engine.create_volume(&full, id).await {
                    Ok(()) => Ok(Effect::Volume(name)),
                    Err(error) => Err(name_taken_or(error)),
                }
            })
        }
        Action::Create(name) => create(job, observed, name),
        Action::Fill(name) => fill(job, name, container(name)),
        Action::Start(name) => start(job, name, container(name)),
        Action::Probe(name) => prove_usable(job, name, container(name)),
        Action::AwaitExit(name) => await_exit(job, name, container(name)),
        Action::Remove(name) => remove(job, name, container(name)),
        Action::RemoveDuplicate(container) => {
            let container = container.clone();
            Box::pin(async move {
                shared.engine.remove_container(&container).await?;
                Ok(Effect::DuplicateGone(container))
            })
        }
        Action::RemoveVolume(name) => {
            let (name, full) = (name.clone(), job.volume_name(name));
            Box::pin(async move {
                shared.engine.remove_volume(&full).await?;
                Ok(Effect::VolumeGone(name))
            })
        }
        Action::RemoveStray(full) => {
            let full = full.clone();
            Box::pin(async move {
                shared.engine.remove_volume(&full).await?;
                Ok(Effect::StrayGone(full))
            })
        }
        Action::ReleaseNetwork(wish) => {
            let wish = wish.clone();
            Box::pin(async move {
                stock::release(&shared, id, &wish).await?;
                Ok(Effect::NetworkGone(wish))
            })
        }
    };
    // A task of its own: a worker that awaits the store must not stop an action that waits in line
    // for the same store, a permit would be lost on it and in the end all of them.
    let work = job.shared.tasks.run("action", work);
    Box::pin(async move { (action, work.await.unwrap_or_else(|error| Err(error.into()))) })
}

type Work = BoxFuture<'static, Result<Effect, Fault>>;

fn render(job: &Job) -> Work {
    let (shared, spec) = (Arc::clone(&job.shared), Arc::clone(&job.spec));
    // The row may be ahead of this pass; its ports and answers are those that it has now.
    let row = Instance { n_resets: job.n_resets, ..job.instance.clone() };
    Box::pin(async move {
        match attachments::render(&shared, &row, &spec).await {
            Ok(()) => Ok(Effect::Rendered),
            Err(error @ AttachmentError::Template(_)) => Err(Fault::Unrendered(error.to_string())),
            Err(AttachmentError::Store(error)) => Err(error.into()),
            Err(error @ AttachmentError::Io { .. }) => Err(Fault::Attachments(error)),
        }
    })
}

fn collect(job: &Job, observed: &Observed) -> Work {
    let (shared, spec) = (Arc::clone(&job.shared), Arc::clone(&job.spec));
    let row = Instance { n_resets: job.n_resets, ..job.instance.clone() };
    let observed = observed.clone();
    let is_repair = job.instance.phase == InstancePhase::Ready;
    Box::pin(async move {
        let _slot = shared.start_slots.acquire().await;
        match collected::take(&shared, &row, &spec, &observed).await {
            Ok(()) => Ok(Effect::Collected),
            Err(CollectError::Missing(reason)) if is_repair => Err(Fault::Unrendered(reason)),
            Err(CollectError::Missing(reason)) => Err(Fault::Hopeless(reason)),
            Err(CollectError::Io(error)) => Err(Fault::Attachments(error)),
            Err(CollectError::Engine(EngineError::NotFound { .. })) => Err(Fault::Again),
            Err(CollectError::Engine(error)) => Err(error.into()),
        }
    })
}

fn claim_network(job: &Job, name: &str) -> Work {
    let Some(wish) = job.wish(name).cloned() else {
        return Box::pin(std::future::ready(Err(Fault::Again)));
    };
    let (shared, id) = (Arc::clone(&job.shared), job.instance.id);
    let kind = NetworkKind::of(wish.is_internal, job.spec.demands.egress);
    Box::pin(async move {
        let network = stock::claim(&shared, id, &wish.name, kind).await?;
        Ok(Effect::Network { wish: wish.name, id: network })
    })
}

fn create(job: &Job, observed: &Observed, name: &ServiceName) -> Work {
    let answers = job.answers();
    let ground = Ground {
        installation: job.shared.data.installation(),
        instance: job.instance.id,
        spec: &job.spec,
        provenance: Provenance { n_resets: job.n_resets, ..job.instance.provenance() },
        spec_hash: &job.spec_hash,
        surface: &job.instance.surface,
        publish_address: job.shared.config.network.publish_address,
        resolver: job.shared.config.network.resolver,
        disk_bytes: budget_bytes(job.shared.config.limits.max_disk_mib, &job.spec.demands),
        answers: &answers,
    };
    let spec = job.service(name).and_then(|service| container_spec(&ground, service, observed));
    let Some(spec) = spec else { return Box::pin(std::future::ready(Err(Fault::Again))) };
    let (shared, name) = (Arc::clone(&job.shared), name.clone());
    let (whole, id) = (Arc::clone(&job.spec), job.instance.id);
    Box::pin(async move {
        let spec = match whole.demands.runtime {
            ContainerRuntime::Default => spec,
            ContainerRuntime::Runsc => {
                with_addresses(spec, &whole, &stock::subnets(&shared, id).await?)
            }
        };
        let _slot = shared.start_slots.acquire().await;
        match shared.engine.create_container(&spec).await {
            Ok(container) => Ok(Effect::Service { name, container, state: ServiceState::Empty }),
            Err(EngineError::NotFound { what }) => {
                lost_ground(&shared, &spec.service.image, &name, what).await
            }
            Err(EngineError::Conflict { .. }) => {
                // An older container of ours by that name (another spec, or half removed), or one
                // that only looks like ours: that is refused.
                match shared.engine.remove_container(&spec.name).await {
                    Ok(()) => Err(Fault::Again),
                    Err(error) => Err(name_taken_or(error)),
                }
            }
            Err(error) => Err(hopeless_or(error, &name)),
        }
    })
}

/// The network or the image vanished between plan and act.
async fn lost_ground(
    shared: &Arc<Shared>,
    image: &str,
    name: &ServiceName,
    what: String,
) -> Result<Effect, Fault> {
    if shared.engine.image(image).await?.is_none() {
        super::builds::heal(shared).await?;
        return Err(Fault::ImageLost { service: name.clone() });
    }
    tracing::debug!(missing = what, "the ground of a container vanished");
    Err(Fault::Again)
}

fn fill(job: &Job, name: &ServiceName, container: String) -> Work {
    if job.service(name).is_some_and(|service| service.profile == Profile::Gateway) {
        return fill_gateway(job, name, container);
    }
    let answers = job.answers();
    let files: BTreeMap<String, String> = job
        .service(name)
        .map(|service| service.answer_ids(&job.spec))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|id| Some((id.to_owned(), answers.get(id)?.clone())))
        .collect();
    let (shared, name) = (Arc::clone(&job.shared), name.clone());
    Box::pin(async move {
        let tar = Bytes::from(answers::answers_tar(&files));
        match shared.engine.upload(&container, ANSWERS_DIR, tar).await {
            Ok(()) => Ok(Effect::Service { name, container, state: ServiceState::Filled }),
            Err(EngineError::NotFound { .. }) => Err(Fault::Again),
            Err(error) => Err(hopeless_or(error, &name)),
        }
    })
}

/// Keys, configuration and packet filter of a VPN gateway.
fn fill_gateway(job: &Job, name: &ServiceName, container: String) -> Work {
    let (shared, name, instance) = (Arc::clone(&job.shared), name.clone(), job.instance.clone());
    let spec = Arc::clone(&job.spec);
    Box::pin(async move {
        let facts = vpn::facts(&shared, &instance, &spec).await?;
        // Before it runs: until then nobody can tell it anything else.
        let names = crate::planner::vpn::names(&facts.admitted);
        shared.store.note_vpn_filled(instance.id, names, shared.now()).await?;
        let own = match facts.hub {
            // It begins with nowhere to lead to.
            Some(_) => {
                shared.store.note_hub_told(instance.id, Some(BTreeSet::new())).await?;
                render::vpn::Own::default()
            }
            None => vpn::own_templates(&shared, &instance).await,
        };
        let made = render::vpn::gateway_tar(shared.data.answer_key(), &facts, &own)
            .map_err(|error| Fault::Hopeless(Chain(&error).to_string()))?;
        vpn::tell_refused(&instance, made.refused);
        let tar = made.made;
        match shared.engine.upload(&container, GATEWAY_DIR, Bytes::from(tar)).await {
            Ok(()) => Ok(Effect::Service { name, container, state: ServiceState::Filled }),
            Err(EngineError::NotFound { .. }) => Err(Fault::Again),
            Err(error) => Err(hopeless_or(error, &name)),
        }
    })
}

fn start(job: &Job, name: &ServiceName, container: String) -> Work {
    let (shared, name, id) = (Arc::clone(&job.shared), name.clone(), job.instance.id);
    let ports: Vec<u16> = job
        .instance
        .surface
        .iter()
        .filter(|endpoint| endpoint.service == name)
        .map(|endpoint| endpoint.port)
        .collect();
    Box::pin(async move {
        let _slot = shared.start_slots.acquire().await;
        match shared.engine.start(&container).await {
            Ok(()) => Ok(Effect::Service { name, container, state: ServiceState::Running }),
            Err(EngineError::NotFound { .. }) => {
                // The container, or a network that it was made with: then it never starts again.
                shared.engine.remove_container(&container).await?;
                Err(Fault::Again)
            }
            Err(EngineError::PortTaken { reason, .. }) => {
                tracing::warn!(instance.id = %id, service.name = %name, reason, "a host port is taken by a stranger, taking others");
                let range = (shared.config.network.first_port, shared.config.network.last_port);
                stock::reassign_ports(&shared, id, ports, range).await?;
                shared.engine.remove_container(&container).await?;
                Err(Fault::Again)
            }
            Err(error) => Err(hopeless_or(error, &name)),
        }
    })
}

fn prove_usable(job: &Job, name: &ServiceName, container: String) -> Work {
    let Some(service) = job.service(name).cloned() else {
        return Box::pin(std::future::ready(Err(Fault::Again)));
    };
    let (shared, name) = (Arc::clone(&job.shared), name.clone());
    let patience = job.time_left();
    let turn_around = job.turn_around.clone();
    let is_repair = !job.is_first_start();
    let (id, grace) = (job.instance.id, service.stop_grace_millis);
    Box::pin(async move {
        let image = shared.engine.image(&service.image).await?;
        let health = image.and_then(|image| image.health);
        let target = ProbeTarget::new(&container, &service, health.as_ref());
        let tell = |n: u32, check: &FailedCheck| shared.doubts.note(id, &name, n, check);
        let engine = shared.engine.as_ref();
        let outcome = tokio::select! {
            outcome = probe::wait_usable_telling(engine, &target, patience, tell) => outcome,
            () = turn_around.cancelled() => return Err(Fault::Again),
        };
        match outcome {
            Ok(()) => {
                shared.doubts.clear(id, &name);
                Ok(Effect::Service { name, container, state: ServiceState::Usable })
            }
            Err(failure) => after_probe(&shared, name, container, failure, is_repair, grace).await,
        }
    })
}

/// A service that died is planned for again; one that runs and stays unusable is hopeless on its
/// first start, and is started anew when it worked before.
async fn after_probe(
    shared: &Shared,
    name: ServiceName,
    container: String,
    failure: ProbeFailure,
    is_repair: IsRepair,
    grace: u32,
) -> Result<Effect, Fault> {
    match shared.engine.container(&container).await? {
        None => Err(Fault::Again),
        Some(seen) => match seen.state {
            ContainerState::Exited { code, is_oom } => {
                let state = ServiceState::Exited { code, is_oom };
                Ok(Effect::Service { name, container, state })
            }
            ContainerState::Running if is_repair => {
                shared.engine.stop(&container, Duration::from_millis(grace.into())).await?;
                Err(Fault::Again)
            }
            ContainerState::Running => Err(Fault::Hopeless(format!(
                "service `{name}` never became usable: {}",
                for_owner(&failure)
            ))),
            ContainerState::Created | ContainerState::Paused | ContainerState::Other(_) => {
                Err(Fault::Again)
            }
        },
    }
}

/// What a player may read of a failed probe: no output, it could hold an answer.
fn for_owner(failure: &ProbeFailure) -> String {
    match failure {
        ProbeFailure::Unusable { check: FailedCheck::Command { code, .. }, .. } => {
            format!("its health command ends with code {code}")
        }
        ProbeFailure::Unusable { check: FailedCheck::CannotRun { code, .. }, .. } => {
            format!("its health command cannot be run (code {code})")
        }
        other => other.to_string(),
    }
}

/// Whether the instance worked before.
type IsRepair = bool;

fn await_exit(job: &Job, name: &ServiceName, container: String) -> Work {
    let (shared, name) = (Arc::clone(&job.shared), name.clone());
    let turn_around = job.turn_around.clone();
    Box::pin(async move {
        let mut pause = Duration::from_millis(10);
        loop {
            match shared.engine.container(&container).await? {
                None => return Err(Fault::Again),
                Some(seen) => {
                    if let ContainerState::Exited { code, is_oom } = seen.state {
                        let state = ServiceState::Exited { code, is_oom };
                        return Ok(Effect::Service { name, container, state });
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = turn_around.cancelled() => return Err(Fault::Again),
            }
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        }
    })
}

fn remove(job: &Job, name: &ServiceName, container: String) -> Work {
    let (shared, name) = (Arc::clone(&job.shared), name.clone());
    let grace = job.service(&name).map_or(0, |service| service.stop_grace_millis);
    Box::pin(async move {
        if grace > 0 {
            shared.engine.stop(&container, Duration::from_millis(u64::from(grace))).await?;
        }
        shared.engine.remove_container(&container).await?;
        Ok(Effect::Removed(name))
    })
}

/// A stranger that has a name of ours is said to be one; everything else passes.
fn name_taken_or(error: EngineError) -> Fault {
    match error {
        EngineError::NotOurs { what } | EngineError::Conflict { what } => Fault::NameTaken { what },
        other => Fault::Engine(other),
    }
}

/// A refusal is for the owner to read; everything else passes.
fn hopeless_or(error: EngineError, name: &ServiceName) -> Fault {
    match error {
        EngineError::Refused { reason, .. } => Fault::Hopeless(format!(
            "service `{name}` cannot be started: {}",
            reason.chars().take(300).collect::<String>()
        )),
        other => Fault::Engine(other),
    }
}
