//! Watches the engine: proves that it can create, listens to its hints, and relists everything.
//!
//! Hints wake workers early; the relist is what everything can be derived from. A listing that
//! failed says nothing about what exists, so it removes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::builds;
use super::executor::Fault;
use super::exports;
use super::leftovers::{self, Listing};
use super::observe::View;
use super::shared::{EngineState, Shared, Statement};
use super::{queue, repairs, specs, stock};
use crate::model::{
    ConditionStatus, ConditionType, Instance, InstanceId, InstancePhase, NodeId, PauseKind, Scope,
};
use crate::planner::drift::{self, Drift};
use crate::store::{InstanceFilter, Which};
use crate::telemetry::metrics;

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
    let mut was_ever_ready = false;
    loop {
        let is_ready = prove_once(&shared).await;
        if is_ready && !was_ready {
            heal(&shared).await;
            queue::wake_all(&shared);
            shared.stock_low.notify_one();
            shared.disk_doubt.notify_one();
            if std::mem::replace(&mut was_ever_ready, true) {
                shared.isolation.engine_restarted();
            }
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
    exports::heal(shared).await;
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
                // The stream ends with the engine that it came from.
                shared.engine_doubt.notify_one();
                shared.isolation.engine_restarted();
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
///
/// # Errors
/// When something could not be listed: then nothing follows from what was.
pub(crate) async fn relist(shared: &Arc<Shared>) -> Result<(), Fault> {
    let begin = Instant::now();
    let passed = pass(shared).await;
    metrics::level_pass(metrics::Outcome::of(&passed), begin.elapsed());
    passed
}

async fn pass(shared: &Arc<Shared>) -> Result<(), Fault> {
    let (looked_at, began, begin) = (shared.now(), repairs::tick(shared), Instant::now());
    // The engine first, the rows after it: a row is always older than what it stands for.
    let (containers, volumes, networks) = tokio::try_join!(
        shared.engine.containers(None),
        shared.engine.volumes(),
        shared.engine.networks(),
    )?;
    let idle_networks = stock::sweep(shared, &networks, looked_at).await?;
    let rows = shared.store.networks().await?;
    let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
    let mut live = shared.store.instances(live).await?;
    // What is elsewhere is compared with what its node says.
    live.retain(|instance| instance.node == NodeId::local());
    let ids: BTreeSet<InstanceId> = live.iter().map(|instance| instance.id).collect();
    shared.specs.keep_only(&ids);
    let view = View::new(&containers, &networks, &volumes, &rows);
    let mut drifted = Vec::new();
    let touched = shared.queue.touched_since(begin);
    for instance in &live {
        if instance.phase == InstancePhase::Ready && !touched.contains(&instance.id) {
            look_at(shared, &view, instance, &mut drifted).await?;
        } else if !queue::is_busy(shared, instance.id) {
            // On its way, or looked at before it was done: its worker sees for itself.
            queue::trigger(shared, instance.id);
        }
    }
    // The fuse knows of everything before the first repair begins.
    repairs::tell(shared, &drifted, live.len());
    for (id, _) in &drifted {
        queue::trigger(shared, *id);
    }
    if repairs::listed(shared, began).await {
        queue::wake_all(shared);
    }
    if shared.pauses.load().of(PauseKind::Suspend, &Scope::Repo).is_some() {
        return Ok(());
    }
    let listing = Listing {
        containers: &containers,
        volumes: &volumes,
        networks: &networks,
        idle_networks,
        live: ids,
    };
    leftovers::prune(shared, &listing).await
}

/// Looks for drift of a ready instance. What a person wants to be left alone is said to have
/// drifted, and nothing follows.
async fn look_at(
    shared: &Shared,
    view: &View<'_>,
    instance: &Instance,
    drifted: &mut Vec<(InstanceId, Vec<Drift>)>,
) -> Result<(), Fault> {
    let Some(stored) = specs::of(shared, instance).await? else { return Ok(()) };
    let observed = view.of(shared, instance, &stored.spec, &stored.hash);
    let drifts = drift::classify(instance, &stored.spec, &observed);
    let is_said = shared.repairs.is_drifted(instance.id);
    if is_suspended(shared, instance) {
        if !drifts.is_empty() && !is_said {
            repairs::say(shared, instance, &drifts).await;
        }
    } else if !drifts.is_empty() {
        drifted.push((instance.id, drifts));
        return Ok(());
    }
    if drifts.is_empty() && is_said {
        repairs::settled(shared, instance).await;
    }
    Ok(())
}

/// Whether a person wants a usable instance to be left as it is.
pub(crate) fn is_suspended(shared: &Shared, instance: &Instance) -> bool {
    let pauses = shared.pauses.load();
    instance.phase == InstancePhase::Ready
        && pauses.suspended_instance(instance.id, &instance.challenge).is_some()
}
