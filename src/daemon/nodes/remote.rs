//! Keeps one instance what it should be on another machine: asks its node, takes one step, asks again.
//!
//! # Invariants
//! * A node that cannot be asked changes nothing: its instances fail only after the deadline of the
//!   whole node (`super`).
//! * A start under way is given up at once when nobody wants it any more; the node goes on and is told
//!   to stop.
//!
//! # Not here
//! Which step is next (`planner::remote`), who gets a worker (`queue`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;

use super::super::executor::answers_of;
use super::super::queue::Signal;
use super::super::shared::Shared;
use super::super::{activities, capture, records, specs, versions, vpn};
use super::Known;
use crate::model::{
    AskedFor, Challenge, ConditionStatus, ConditionType, Endpoint, EndpointKind, Instance,
    InstanceId, InstancePhase, NodeId, OnNodeLoss, Scope,
};
use crate::node::wire::{InstanceState, ResetOrder, StartExtras, StartOrder};
use crate::node::{NodeError, Outcome};
use crate::planner::lifecycle;
use crate::planner::remote::{RemoteSeen, RemoteState, Step, lease_secs, step, unasked};
use crate::release::spec::InstanceSpec;
use crate::store::StoreError;
use crate::telemetry::metrics;

/// Between two looks at an instance that is on its way.
const POLL: Duration = Duration::from_millis(200);
/// Longest text of a node that its owner reads.
const MAX_REASON: usize = 500;
/// What it says where the node did not.
const NO_REASON: &str = "Challenge failed to start on the worker node";

/// What came of one pass.
pub(crate) enum Pass {
    /// Both sides agree, or it is over.
    Done,
    /// Look again at once.
    Again,
    /// Look again after so long.
    Later(Duration),
}

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// The node was not reached, or refuses us.
    #[error("node {node} could not be asked: {source}")]
    Node {
        /// Which.
        node: NodeId,
        /// Why.
        source: NodeError,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One pass over the instance of `row`, which is live and on another node.
///
/// # Errors
/// When the node or the database cannot be asked: then nothing is known, and nothing was changed.
pub(crate) async fn pass(
    shared: &Arc<Shared>,
    row: Instance,
    signal: &Signal,
) -> Result<Pass, RemoteError> {
    let Some(known) = shared.nodes.known(&row.node) else {
        return forgotten(shared, row).await;
    };
    let failed = |source| RemoteError::Node { node: row.node.clone(), source };
    let (next, state) = match unasked(&row) {
        Some(next) => (next, None),
        None => {
            let state = match known.link.status(row.id).await {
                Ok(state) => Some(state),
                Err(NodeError::NotFound(_)) => None,
                Err(error) => return Err(failed(error)),
            };
            let seen = state.as_ref().map(|state| seen_of(&known, &row, state));
            (step(&row, seen.as_ref(), shared.now()), state)
        }
    };
    match next {
        Step::Rest => {
            shared.set_obstacle(row.id, None);
            Ok(Pass::Done)
        }
        Step::Start => start(shared, &known, &row, signal).await,
        Step::Restart => {
            gone_or(known.link.stop(row.id).await).map_err(failed)?;
            Ok(Pass::Again)
        }
        Step::Reset => {
            let (spec, _) = material(shared, &row).await?;
            let order = ResetOrder {
                n_resets: row.n_resets,
                answer_epoch: row.answer_epoch,
                answers: spec.map(|spec| answers_of(shared, &row, &spec)).unwrap_or_default(),
            };
            known.link.reset(row.id, order).await.map_err(failed)?;
            Ok(Pass::Later(POLL))
        }
        Step::Show(phase) => {
            show(shared, &row, phase, state.as_ref()).await?;
            Ok(Pass::Later(POLL))
        }
        Step::Ready | Step::Note => {
            if let Some(state) = &state {
                note(shared, &row, seen_of(&known, &row, state)).await?;
            }
            Ok(Pass::Again)
        }
        Step::Renew(secs) => {
            known.link.renew(row.id, secs).await.map_err(failed)?;
            Ok(Pass::Done)
        }
        Step::Fail(why) => {
            fail(shared, &row, why).await?;
            Ok(Pass::Again)
        }
        Step::Stop => {
            records::keep_log_of(shared, &row, known.link.logs(row.id)).await;
            capture::keep_of(shared, &row, known.link.pcap(row.id)).await;
            gone_or(known.link.stop(row.id).await).map_err(failed)?;
            gone(shared, &row).await?;
            Ok(Pass::Done)
        }
    }
}

/// What is not there was stopped.
fn gone_or(stopped: Outcome<()>) -> Outcome<()> {
    match stopped {
        Err(NodeError::NotFound(_)) => Ok(()),
        other => other,
    }
}

/// The node was removed by somebody who knows that nothing of it is left.
async fn forgotten(shared: &Arc<Shared>, row: Instance) -> Result<Pass, RemoteError> {
    if row.phase == InstancePhase::Removing {
        gone(shared, &row).await?;
        return Ok(Pass::Done);
    }
    if super::place::relocate(shared, &row, "its node was removed").await? {
        return Ok(Pass::Again);
    }
    fail(shared, &row, format!("Node {} was removed", row.node)).await?;
    Ok(Pass::Again)
}

/// Asks the node to start it, and shows how far it is meanwhile.
async fn start(
    shared: &Arc<Shared>,
    known: &Arc<Known>,
    row: &Instance,
    signal: &Signal,
) -> Result<Pass, RemoteError> {
    let failed = |source| RemoteError::Node { node: row.node.clone(), source };
    let order = order(shared, row).await?;
    let mut started = known.link.start(order);
    // The node is not kept waiting for our disk: asked twice, it starts once.
    let mut shown = Box::pin(show(shared, row, InstancePhase::Preparing, None)).fuse();
    loop {
        // Cancel-safe: the node goes on with what it began, and a ring that nobody waited for is kept.
        tokio::select! {
            is_shown = &mut shown => is_shown?,
            outcome = &mut started => return match outcome {
                Ok(state) => {
                    if !shown.is_terminated() {
                        (&mut shown).await?;
                    }
                    arrived(shared, known, row, &state).await
                }
                // It has said why, in a way that its owner can read.
                Err(NodeError::Failed(why) | NodeError::Conflict(why) | NodeError::Invalid(why) | NodeError::NotFound(why)) => {
                    fail(shared, row, reason(&why)).await?;
                    Ok(Pass::Again)
                }
                Err(error) => Err(failed(error)),
            },
            () = signal.rung() => {
                let now = shared.store.instance(row.id).await?;
                let is_same = now.is_some_and(|now| {
                    lifecycle::want(&now) == lifecycle::want(row)
                        && now.n_resets == row.n_resets
                        && now.node == row.node
                });
                if !is_same {
                    return Ok(Pass::Again);
                }
            }
            () = tokio::time::sleep(POLL) => {
                if let Ok(state) = known.link.status(row.id).await
                    && let RemoteState::Starting(phase) = seen_of(known, row, &state).state
                {
                    show(shared, row, phase, Some(&state)).await?;
                }
            }
            () = shared.tasks.stopping().cancelled() => return Ok(Pass::Done),
        }
    }
}

/// What the node answered to the order; whatever is still to be done the next pass finds.
async fn arrived(
    shared: &Shared,
    known: &Known,
    row: &Instance,
    state: &InstanceState,
) -> Result<Pass, RemoteError> {
    let seen = seen_of(known, row, state);
    if seen.state == RemoteState::Ready && seen.n_resets.is_none_or(|n| n == row.n_resets) {
        note(shared, row, seen).await?;
    }
    Ok(Pass::Again)
}

/// The node's text without what it says to every failure.
fn reason(why: &str) -> String {
    let why = why.strip_prefix("Start failed: ").unwrap_or(why).trim();
    let text: String = why.chars().take(MAX_REASON).collect();
    if text.is_empty() { NO_REASON.to_owned() } else { text }
}

/// The spec and the challenge of a row, as far as they can be read.
async fn material(
    shared: &Arc<Shared>,
    row: &Instance,
) -> Result<(Option<Arc<InstanceSpec>>, Option<Arc<Challenge>>), StoreError> {
    let spec = specs::of(shared, row).await?.map(|stored| stored.spec);
    Ok((spec, versions::of(shared, row).await))
}

async fn order(shared: &Arc<Shared>, row: &Instance) -> Result<StartOrder, StoreError> {
    let (spec, challenge) = material(shared, row).await?;
    let team = shared.store.team(row.team).await?.map(|team| team.name).unwrap_or_default();
    let generation = shared.store.active().await?.map_or(0, |(generation, _)| generation.number);
    let has_gateway = spec.as_ref().is_some_and(|spec| spec.gateway().is_some());
    let moves = challenge.is_some_and(|it| it.metadata.instance.on_node_loss == OnNodeLoss::Move);
    Ok(StartOrder {
        challenge_id: row.challenge.to_string(),
        instance_id: row.id.to_string(),
        ttl: lease_secs(row, shared.now()),
        answers: spec.map(|spec| answers_of(shared, row, &spec)).unwrap_or_default(),
        proxy_output_dir: None,
        flagops: Some(StartExtras {
            revision: row.revision,
            tree: row.tree,
            generation,
            team_id: row.team.to_string(),
            team_name: team,
            competition_id: row.competition.clone(),
            n_resets: row.n_resets,
            answer_epoch: row.answer_epoch,
            // Two thirds: it is down before anybody makes it anew elsewhere.
            fence_secs: if moves { shared.config.nodes.lost_after_secs * 2 / 3 } else { 0 },
            vpn: if has_gateway { Some(vpn::order(shared, row).await?) } else { None },
        }),
    })
}

/// What a node said, in the planner's words.
fn seen_of(known: &Known, row: &Instance, state: &InstanceState) -> RemoteSeen {
    let extras = state.flagops.as_ref();
    let remote = match state.status.as_str() {
        "ready" => RemoteState::Ready,
        "error" if extras.is_some_and(|it| it.is_fenced) => RemoteState::Fenced,
        "error" => RemoteState::Failed(reason(state.error.as_deref().unwrap_or_default())),
        _ => {
            let phase = extras.and_then(|it| InstancePhase::from_word(&it.phase));
            let phase = phase.filter(|phase| {
                phase.is_live() && !matches!(phase, InstancePhase::Ready | InstancePhase::Removing)
            });
            RemoteState::Starting(phase.unwrap_or(InstancePhase::Starting))
        }
    };
    RemoteSeen {
        state: remote,
        n_resets: extras.map(|it| it.n_resets),
        remaining_secs: extras.map(|it| it.remaining_secs),
        endpoints: endpoints(known, state),
        n_restarts: extras.map_or(row.n_restarts, |it| it.n_restarts),
        last_death: extras.map_or_else(|| row.last_death.clone(), |it| it.last_death.clone()),
    }
}

/// Where it answers, as players reach it: a node that knows itself by a loopback name is named by its
/// address (`contract/http-api.md` §4.2).
fn endpoints(known: &Known, state: &InstanceState) -> Vec<Endpoint> {
    let mut endpoints = match (&state.flagops, &state.attack_surface) {
        (Some(extras), _) => extras.endpoints.clone(),
        (None, Some(surface)) => {
            let services = surface.services.iter().filter_map(|service| {
                Some(Endpoint {
                    service: service.label.parse().or_else(|_| "service".parse()).ok()?,
                    kind: EndpointKind::from_word(&service.service_type)?,
                    host: service.host.clone(),
                    port: service.port,
                    target: service.port,
                    transport: crate::model::compose::Transport::Tcp,
                    door: None,
                })
            });
            services.collect()
        }
        (None, None) => Vec::new(),
    };
    let Ok(url) = known.node.url.parse::<crate::model::NodeUrl>() else { return endpoints };
    for endpoint in &mut endpoints {
        let is_own = ["127.0.0.1", "localhost", "0.0.0.0", "::1"].contains(&endpoint.host.as_str());
        if is_own && !url.is_loopback() {
            endpoint.host = url.host().to_owned();
        }
        endpoint.host = endpoint.host.chars().filter(|c| !c.is_control()).take(255).collect();
    }
    endpoints
}

async fn show(
    shared: &Shared,
    row: &Instance,
    phase: InstancePhase,
    state: Option<&InstanceState>,
) -> Result<(), StoreError> {
    let obstacle = state.and_then(|it| it.flagops.as_ref()).map(|it| it.obstacle.as_str());
    let is_waiting = obstacle.is_some_and(|words| !words.is_empty());
    shared.set_obstacle(
        row.id,
        is_waiting.then_some("its node waits for something; organizers see what"),
    );
    if row.phase == phase {
        return Ok(());
    }
    let n_resets = row.n_resets;
    let change = move |row: &mut Instance| lifecycle::reached(row, n_resets, phase);
    shared.store.change_instance(row.id, change).await?;
    Ok(())
}

/// Writes down where it answers and that it is usable.
async fn note(shared: &Shared, row: &Instance, seen: RemoteSeen) -> Result<(), StoreError> {
    let (n_resets, now) = (row.n_resets, shared.now());
    let is_first = lifecycle::is_first_start(row);
    let RemoteSeen { endpoints, n_restarts, last_death, .. } = seen;
    let change = move |row: &mut Instance| {
        if row.n_resets != n_resets {
            return false;
        }
        row.surface = endpoints;
        row.n_restarts = n_restarts;
        row.last_death = last_death;
        lifecycle::ready(row, n_resets, now)
    };
    if let Some((row, true)) = shared.store.change_instance(row.id, change).await? {
        let took = now.millis_since(row.created_at).max(0);
        tracing::info!(
            instance.id = %row.id, challenge.id = %row.challenge, node.id = %row.node,
            duration_ms = took, "instance {} of {} is ready on node {}", row.id, row.challenge, row.node
        );
        shared.set_obstacle(row.id, None);
        activities::ready(shared, &row);
        if is_first {
            let took = Duration::from_millis(took.unsigned_abs());
            metrics::start_finished(metrics::Outcome::Ok, took);
        }
    }
    Ok(())
}

async fn fail(shared: &Shared, row: &Instance, why: String) -> Result<(), StoreError> {
    let (n_resets, reason) = (row.n_resets, why.clone());
    let change = move |row: &mut Instance| lifecycle::fail(row, n_resets, reason);
    let changed = shared.store.change_instance(row.id, change).await?;
    shared.set_obstacle(row.id, None);
    if let Some((row, true)) = changed {
        activities::failed(shared, &row, &why);
        let statement = super::Statement {
            scope: Scope::Instance(row.id),
            kind: ConditionType::Healthy,
            status: ConditionStatus::False,
            reason: "Failing",
            message: format!("on node {}: {why}", row.node),
            revision: Some(row.revision),
        };
        shared.state(statement).await;
    }
    Ok(())
}

async fn gone(shared: &Shared, row: &Instance) -> Result<(), StoreError> {
    let now = shared.now();
    let change = move |row: &mut Instance| lifecycle::gone(row, now);
    if let Some((row, true)) = shared.store.change_instance(row.id, change).await? {
        if let Some(reason) = row.stop_reason {
            metrics::instance_ended(reason);
        }
        if row.phase == InstancePhase::Stopped {
            shared.store.clear_conditions(&Scope::Instance(row.id)).await?;
        }
    }
    shared.set_obstacle(row.id, None);
    shared.queue.forget(row.id);
    tracing::info!(
        instance.id = %row.id, node.id = %row.node, "instance {} is gone from node {}", row.id, row.node
    );
    Ok(())
}

/// Writes the row of an instance anew that a node has and the database does not know: it was lost with
/// the database. What is over stays over, because then there is a row.
pub(crate) async fn adopt(shared: &Arc<Shared>, known: &Arc<Known>, id: InstanceId) {
    let state = match known.link.status(id).await {
        Ok(state) => state,
        Err(error) => {
            tracing::debug!(instance.id = %id, error = %error, "could not ask about a stray");
            return;
        }
    };
    let adopted = match adopted(shared, known, id, &state).await {
        Ok(adopted) => adopted,
        Err(error) => {
            tracing::warn!(
                instance.id = %id, node.id = %known.node.id,
                error = %crate::telemetry::Chain(&error),
                "could not take on an instance that node {} has", known.node.id
            );
            return;
        }
    };
    match adopted {
        Some(row) => {
            tracing::warn!(
                instance.id = %id, node.id = %known.node.id,
                "instance {id} runs on node {} and was not in the database: its row was written anew",
                known.node.id
            );
            super::queue::trigger(shared, row.id);
        }
        None => tracing::warn!(
            instance.id = %id, node.id = %known.node.id,
            "node {} has instance {id}, which cannot be taken on: its challenge cannot be read at its commit, or nobody is named whose it is; it ends with its lease there",
            known.node.id
        ),
    }
}

async fn adopted(
    shared: &Arc<Shared>,
    known: &Known,
    id: InstanceId,
    state: &InstanceState,
) -> Result<Option<Instance>, StoreError> {
    let Some(extras) = &state.flagops else { return Ok(None) };
    let (Ok(challenge), Ok(team)) = (extras.challenge_id.parse(), extras.team_id.parse()) else {
        return Ok(None);
    };
    let now = shared.now();
    let created_at = now.plus_secs(-extras.age_secs.clamp(0, 366 * 86_400));
    let left = (extras.remaining_secs - crate::planner::remote::GRACE_SECS).clamp(1, 366 * 86_400);
    let row = Instance {
        node: known.node.id.clone(),
        // It counts as usable: nothing of it is made anew.
        started_at: created_at.plus_millis(1),
        expires_at: now.plus_secs(left),
        n_restarts: extras.n_restarts,
        n_resets: extras.n_resets,
        answer_epoch: extras.answer_epoch,
        ..Instance::asked_for(
            AskedFor {
                id,
                challenge,
                team,
                competition: extras.competition_id.clone(),
                revision: extras.revision,
                tree: extras.tree,
            },
            created_at,
            u32::try_from(left).unwrap_or(u32::MAX),
        )
    };
    let Some(challenge) = versions::of(shared, &row).await else { return Ok(None) };
    if challenge.tree != row.tree {
        return Ok(None);
    }
    let protocol = shared.config.vpn.protocol;
    let spec = super::super::platform::remote_spec(&challenge, protocol);
    let Some(spec) = spec else { return Ok(None) };
    shared.store.insert_remote(row, spec).await
}
