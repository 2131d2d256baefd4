//! Watches the engine: proves that it can create, listens to its hints, and relists everything.
//!
//! Hints wake workers early; the relist is what everything can be derived from. A listing that
//! failed says nothing about what exists, so it removes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::builds;
use super::executor::Fault;
use super::observe::View;
use super::queue;
use super::shared::{EngineState, Shared, Statement};
use super::stock;
use crate::model::{
    ConditionStatus, ConditionType, Instance, InstanceId, InstancePhase, NodeId, PauseKind, Scope,
};
use crate::planner::{self, Want};
use crate::release::identity::spec_hash;
use crate::runtime::{ContainerSeen, VolumeSeen};
use crate::store::{InstanceFilter, Which};

/// Between two proofs of an engine that works.
const PROOF_SECS: u64 = 30;

/// Between two proofs of an engine that does not.
const DOUBT_SECS: u64 = 2;

/// Between two relists.
const RELIST_SECS: u64 = 15;

/// Relists between two comparisons of images.
const HEAL_TICKS: u64 = 20;

/// Hints that can mean drift. Our own creates and starts are not among them.
const TELLING: &[&str] = &["die", "oom", "destroy", "pause", "health_status: unhealthy", "kill"];

/// Proves the engine again and again until the daemon stops.
pub(crate) async fn prove(shared: Arc<Shared>) {
    let mut was_ready = false;
    loop {
        let is_ready = prove_once(&shared).await;
        if is_ready && !was_ready {
            heal(&shared).await;
            queue::wake_all(&shared);
            shared.stock_low.notify_one();
            shared.disk_doubt.notify_one();
            // What an unclean stop left waits for this listing, so a failed one is repeated soon.
            was_ready = match relist(&shared).await {
                Ok(()) => true,
                Err(error) => {
                    log_relist(&error);
                    false
                }
            };
        } else {
            was_ready = is_ready;
        }
        let pause = if was_ready { PROOF_SECS } else { DOUBT_SECS };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(pause)) => {}
            () = shared.engine_doubt.notified() => {
                // A burst of failing calls is one doubt.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

async fn prove_once(shared: &Shared) -> bool {
    let (status, reason, message) = match shared.engine.prove().await {
        Ok(()) => {
            (ConditionStatus::True, "Ok", "the container engine creates containers".to_owned())
        }
        Err(error) => (
            ConditionStatus::False,
            "Unreachable",
            format!(
                "{}; running instances are left alone; check with `flagops doctor`",
                crate::telemetry::chain::Chain(&error)
            ),
        ),
    };
    let is_ready = status == ConditionStatus::True;
    shared.set_engine_ready(if is_ready { EngineState::Ready } else { EngineState::Failing });
    shared
        .state(Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::DockerAvailable,
            status,
            reason,
            message,
            revision: None,
        })
        .await;
    is_ready
}

/// Builds again what the engine has lost.
async fn heal(shared: &Arc<Shared>) {
    if let Err(error) = builds::heal(shared).await {
        tracing::warn!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not compare the images with what was built"
        );
    }
}

/// Listens to the engine's hints until the daemon stops; a broken stream is followed by a relist.
pub(crate) async fn listen(shared: Arc<Shared>) {
    let mut n_failures = 0;
    loop {
        match shared.engine.events().await {
            Ok(mut events) => {
                n_failures = 0;
                loop {
                    tokio::select! {
                        event = events.next() => match event {
                            Some(event) => {
                                let is_telling = TELLING.contains(&event.action.as_str());
                                if let (true, Some(id)) = (is_telling, event.instance) {
                                    queue::trigger(&shared, id);
                                }
                            }
                            None => break,
                        },
                        () = shared.tasks.stopping().cancelled() => return,
                    }
                }
                shared.engine_doubt.notify_one();
            }
            Err(error) => {
                n_failures += 1;
                tracing::debug!(error = %crate::telemetry::chain::Chain(&error), "no engine events");
            }
        }
        let pause = crate::model::RetryClass::Engine.backoff_millis(n_failures.max(1));
        if !shared.tasks.sleep(Duration::from_millis(pause)).await {
            return;
        }
        if let Err(error) = relist(&shared).await {
            log_relist(&error);
        }
    }
}

/// Looks at everything every few seconds until the daemon stops.
pub(crate) async fn tick(shared: Arc<Shared>) {
    let mut n_ticks: u64 = 0;
    loop {
        tokio::select! {
            is_on = shared.tasks.sleep(Duration::from_secs(RELIST_SECS)) => if !is_on { return },
            () = shared.relist_due.notified() => {}
        }
        if !shared.is_engine_ready() {
            continue;
        }
        n_ticks += 1;
        if n_ticks.is_multiple_of(HEAL_TICKS) {
            heal(&shared).await;
        }
        if let Err(error) = relist(&shared).await {
            log_relist(&error);
        }
    }
}

fn log_relist(error: &Fault) {
    tracing::warn!(
        error = %crate::telemetry::chain::Chain(error),
        "could not list what the engine has; nothing is changed until that works"
    );
}

/// One level pass: wakes the worker of every instance that is not as wanted, and removes what is
/// left of instances that ended.
pub(crate) async fn relist(shared: &Arc<Shared>) -> Result<(), Fault> {
    let looked_at = shared.now();
    // The engine first, the rows after it: a row is always older than what it stands for.
    let containers = shared.engine.containers(None).await?;
    let volumes = shared.engine.volumes().await?;
    let networks = shared.engine.networks().await?;
    stock::sweep(shared, &networks, looked_at).await?;
    let rows = shared.store.networks().await?;
    let live = InstanceFilter { team: None, challenge: None, which: Which::Live };
    let live = shared.store.instances(live).await?;
    let view =
        View { containers: &containers, networks: &networks, volumes: &volumes, rows: &rows };
    for instance in &live {
        if needs_work(shared, &view, instance).await? {
            queue::trigger(shared, instance.id);
        }
    }
    if shared.pauses.load().of(PauseKind::Suspend, &Scope::Repo).is_some() {
        return Ok(());
    }
    let live: BTreeSet<_> = live.iter().map(|instance| instance.id).collect();
    remove_leftovers(shared, &live, &containers, &volumes).await
}

async fn needs_work(shared: &Shared, view: &View<'_>, instance: &Instance) -> Result<bool, Fault> {
    if queue::is_busy(shared, instance.id) {
        return Ok(false);
    }
    if instance.phase != InstancePhase::Ready {
        return Ok(true);
    }
    if is_suspended(shared, instance) {
        return Ok(false);
    }
    let Some(spec) = shared.store.instance_spec(instance.id).await? else { return Ok(false) };
    let observed = view.of(shared, instance, &spec, &spec_hash(&spec, instance.n_resets));
    let plan = planner::plan(&spec, Want::Run, &observed, shared.now());
    Ok(plan.verdict != planner::Verdict::Usable)
}

/// Whether a person wants a usable instance to be left as it is.
pub(crate) fn is_suspended(shared: &Shared, instance: &Instance) -> bool {
    let pauses = shared.pauses.load();
    instance.phase == InstancePhase::Ready
        && pauses.suspended_instance(instance.id, &instance.challenge).is_some()
}

/// Removes containers and volumes whose instance has ended. What belongs to an instance that no
/// row knows is held: the database may be older than the engine.
async fn remove_leftovers(
    shared: &Shared,
    live: &BTreeSet<InstanceId>,
    containers: &[ContainerSeen],
    volumes: &[VolumeSeen],
) -> Result<(), Fault> {
    let mut n_unknown = 0;
    for container in containers {
        let Some(id) = container.instance.filter(|id| !live.contains(id)) else { continue };
        match has_ended(shared, id).await? {
            Some(true) => {
                tracing::info!(
                    container.name = container.name,
                    "removing a leftover of an ended instance"
                );
                shared.engine.remove_container(&container.id).await?;
            }
            Some(false) => {}
            None => n_unknown += 1,
        }
    }
    for volume in volumes {
        let Some(id) = volume.instance.filter(|id| !live.contains(id)) else { continue };
        match has_ended(shared, id).await? {
            Some(true) => shared.engine.remove_volume(&volume.name).await?,
            Some(false) => {}
            None => n_unknown += 1,
        }
    }
    state_unknown(shared, n_unknown).await;
    Ok(())
}

/// Whether an instance has ended; `None` when no row knows it.
async fn has_ended(shared: &Shared, id: InstanceId) -> Result<Option<bool>, Fault> {
    let row = shared.store.instance(id).await?;
    Ok(row.map(|instance| !instance.phase.is_live()))
}

async fn state_unknown(shared: &Shared, n_unknown: usize) {
    shared.set_unknown(n_unknown);
    let (status, reason, message) = if n_unknown == 0 {
        (ConditionStatus::False, "Ok", "everything that bears our label has a row".to_owned())
    } else {
        (
            ConditionStatus::True,
            "AwaitingApproval",
            "containers or volumes bear our label but belong to no instance of this database; was it restored from a backup? They are left alone until somebody has looked: `flagops recover` lists, adopts and removes them".to_owned(),
        )
    };
    shared
        .state(Statement {
            scope: Scope::Node(NodeId::local()),
            kind: ConditionType::PruneHeld,
            status,
            reason,
            message,
            revision: None,
        })
        .await;
}
