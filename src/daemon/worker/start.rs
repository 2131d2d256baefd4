//! Takes an order for an instance: checks all of it, writes it down, and waits until it is usable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::platform::{Platform, PlatformError};
use super::super::shared::Shared;
use super::super::{queue, versions};
use super::{forget, give, internal, refused, rung, unknown_challenge};
use crate::model::{
    AskedFor, Challenge, ChallengeId, Instance, InstanceId, InstancePhase, QuestionMode, TeamId,
    VpnSeat,
};
use crate::node::wire::{StartExtras, StartOrder, VpnOrder};
use crate::node::{NodeError, Outcome};
use crate::store::{Given, InsertError, InstanceLimits, NewInstance, PortRange, Repeats};

/// The lease of an instance whose platform keeps it by itself, and never tells: a year.
const NO_LEASE_SECS: u32 = 366 * 86_400;
/// Longest name of a team or a player.
const MAX_TEAM: usize = 80;
/// Most that may connect to the VPN of an instance.
const MAX_SEATS: usize = 1000;

/// Makes sure that the instance of `order` runs; returns when it is usable or has failed.
///
/// # Errors
/// When the order cannot be followed; then nothing of it is written down.
pub(super) async fn start(
    shared: &Arc<Shared>,
    platform: &Platform,
    order: StartOrder,
) -> Outcome<Instance> {
    let id: InstanceId = order
        .instance_id
        .parse()
        .map_err(|error: crate::model::IdError| NodeError::Invalid(error.to_string()))?;
    let known = shared.store.instance(id).await.map_err(internal)?;
    match known {
        Some(row) if row.phase == InstancePhase::Stopped => {
            forget(shared, id).await.map_err(internal)?;
        }
        Some(row) if row.challenge.as_str() != order.challenge_id => {
            return Err(NodeError::Conflict(format!(
                "Instance id already used by different challenge: {}",
                row.challenge
            )));
        }
        // How it stands; nothing is started again, and new answers are ignored.
        Some(row) => {
            keep_lost_answers(shared, &row, &order).await?;
            return Ok(row);
        }
        None => {}
    }
    let (challenge, revision) = challenge(shared, platform, &order).await?;
    let wanted = dynamic_ids(&challenge);
    compare(&wanted, &order.answers)?;
    let mut spec = platform.spec_of(&challenge).await.map_err(failed)?;
    if let Some(vpn) = order.flagops.as_ref().and_then(|it| it.vpn.as_ref()) {
        spec = spec.speaking(vpn.protocol);
    }
    platform.check_runtime(&spec).await.map_err(failed)?;
    if let Some(why) = super::super::isolation::refusal(shared) {
        return Err(failed(PlatformError::NotIsolated { reason: why }));
    }
    let extras = order.flagops.as_ref();
    let ttl_secs = match extras {
        Some(_) => {
            u32::try_from(order.ttl.clamp(1, i64::from(NO_LEASE_SECS))).unwrap_or(NO_LEASE_SECS)
        }
        None => NO_LEASE_SECS,
    };
    let team = extras.and_then(|it| it.team_id.parse().ok());
    let now = shared.now();
    let instance = Instance {
        surface: platform.surface(id, &spec),
        n_resets: extras.map_or(0, |it| it.n_resets),
        answer_epoch: extras.map_or(0, |it| it.answer_epoch),
        ..Instance::asked_for(
            AskedFor {
                id,
                challenge: challenge.id.clone(),
                team: team.unwrap_or_else(|| TeamId::new(uuid::Uuid::nil())),
                competition: extras.map(competition).unwrap_or_default(),
                revision,
                tree: challenge.tree,
            },
            now,
            ttl_secs,
        )
    };
    let network = &shared.config.network;
    let new = NewInstance {
        instance,
        spec,
        limits: InstanceLimits {
            // The platform bounds its teams.
            per_team: u32::MAX,
            per_node: shared.config.limits.instances_per_node,
        },
        ports: PortRange { first: network.first_port, last: network.last_port },
        // An id that is known never gets here.
        repeats: Repeats::Another,
    };
    let given = given(order.answers, extras)?;
    // First: a worker must find them, and those of a row that was not written go at the next start.
    give(shared, id, given).await.map_err(internal)?;
    shared.store.insert_instance(new).await.map_err(|error| match error {
        InsertError::Store(error) => internal(error),
        full => NodeError::Failed(format!("Start failed: {full}")),
    })?;
    queue::trigger(shared, id);
    wait(shared, id).await
}

fn competition(extras: &StartExtras) -> String {
    extras.competition_id.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Waits until an instance is usable, has failed, or nobody wants it any more.
async fn wait(shared: &Shared, id: InstanceId) -> Outcome<Instance> {
    let patience = u64::from(shared.settings.load().start_deadline_secs) + 30;
    let begin = Instant::now();
    let mut bell = shared.store.instance_bell();
    loop {
        bell.mark_unchanged();
        let row = shared.store.instance(id).await.map_err(internal)?;
        let row = row.ok_or_else(super::not_found)?;
        match row.phase {
            InstancePhase::Ready | InstancePhase::Failed => return Ok(row),
            InstancePhase::Removing if row.error.is_none() => {
                return Err(NodeError::Failed("Start failed: it was stopped meanwhile".to_owned()));
            }
            InstancePhase::Stopped => {
                return Err(NodeError::Failed("Start failed: it was stopped meanwhile".to_owned()));
            }
            InstancePhase::Queued
            | InstancePhase::Preparing
            | InstancePhase::Creating
            | InstancePhase::Starting
            | InstancePhase::Probing
            | InstancePhase::Removing => {}
        }
        if begin.elapsed() > Duration::from_secs(patience) || !rung(shared, &mut bell).await {
            return Ok(row);
        }
    }
}

/// An instance that was taken on after the database was lost has no answers: the order brings them.
async fn keep_lost_answers(shared: &Shared, row: &Instance, order: &StartOrder) -> Outcome<()> {
    let is_lost = shared.worker.given(row.id).is_none() && shared.worker.follows();
    let Some(extras) = order.flagops.as_ref().filter(|_| is_lost) else { return Ok(()) };
    let given = given(order.answers.clone(), Some(extras))?;
    give(shared, row.id, given).await.map_err(internal)
}

/// What an order gives beside the row.
fn given(answers: BTreeMap<String, String>, extras: Option<&StartExtras>) -> Outcome<Given> {
    let vpn = extras.and_then(|it| it.vpn.as_ref());
    Ok(Given {
        answers,
        team: extras.map(|it| it.team_name.chars().take(MAX_TEAM).collect()).unwrap_or_default(),
        fence_secs: extras.map_or(0, |it| it.fence_secs),
        vpn_seats: vpn.map(seats).transpose()?,
        vpn_number: vpn.map_or(0, |it| it.number),
    })
}

/// Who may connect, as the platform says.
///
/// # Errors
/// When it says so of more than there can be.
pub(super) fn seats(order: &VpnOrder) -> Outcome<Vec<VpnSeat>> {
    if order.seats.len() > MAX_SEATS {
        let text = format!("at most {MAX_SEATS} may connect to the VPN of an instance");
        return Err(NodeError::Invalid(text));
    }
    let seat = |it: &VpnSeat| VpnSeat {
        name: it.name.chars().filter(|c| !c.is_control()).take(MAX_TEAM).collect(),
        ..it.clone()
    };
    Ok(order.seats.iter().map(seat).collect())
}

/// The version that is ordered: exactly that tree, out of this node's own mirror; without one what is
/// live here.
async fn challenge(
    shared: &Arc<Shared>,
    platform: &Platform,
    order: &StartOrder,
) -> Outcome<(Arc<Challenge>, crate::model::Revision)> {
    let unknown = || unknown_challenge(&order.challenge_id);
    let id: ChallengeId = order.challenge_id.parse().map_err(|_| unknown())?;
    let Some(extras) = &order.flagops else {
        let live = platform.live().get(&id).cloned().ok_or_else(unknown)?;
        return Ok((live.challenge, live.revision));
    };
    let followed = shared.worker.generation();
    if extras.generation < followed {
        return Err(NodeError::Conflict(format!(
            "generation {} is older than {followed}, which this node follows: was the platform restored? it has to go on with a newer one",
            extras.generation
        )));
    }
    let found = match version(shared, &id, extras).await {
        Some(found) => Some(found),
        None => {
            // It may have been pushed since the last look.
            platform.reconcile_now().await.map_err(refused)?;
            version(shared, &id, extras).await
        }
    };
    let found = found.ok_or_else(|| {
        let revision = extras.revision.short();
        NodeError::Failed(format!(
            "Start failed: this node cannot read {id} at {revision} from its own mirror: does it reach the repository?"
        ))
    })?;
    if found.tree != extras.tree {
        return Err(NodeError::Conflict(format!(
            "ReleaseMismatch: {id} at {} is tree {} here, and {} on the platform: nothing is started from files that the two see differently",
            extras.revision.short(),
            found.tree,
            extras.tree
        )));
    }
    Ok((found, extras.revision))
}

async fn version(
    shared: &Arc<Shared>,
    id: &ChallengeId,
    extras: &StartExtras,
) -> Option<Arc<Challenge>> {
    versions::at(shared, id, extras.revision, extras.tree).await
}

/// Questions whose answer is minted.
fn dynamic_ids(challenge: &Challenge) -> BTreeSet<String> {
    let questions = challenge.metadata.questions.iter();
    let dynamic = questions.filter(|it| matches!(it.mode, QuestionMode::Dynamic { .. }));
    dynamic.map(|it| it.id.to_string()).collect()
}

/// Refuses answers that are not exactly those of the instance's challenge.
///
/// # Errors
/// In the words of the contract.
pub(super) async fn check_answers(
    shared: &Arc<Shared>,
    row: &Instance,
    answers: &BTreeMap<String, String>,
) -> Outcome<()> {
    match versions::of(shared, row).await {
        Some(challenge) => compare(&dynamic_ids(&challenge), answers),
        None => Ok(()),
    }
}

fn compare(wanted: &BTreeSet<String>, answers: &BTreeMap<String, String>) -> Outcome<()> {
    let list = |ids: Vec<&String>| {
        let quoted: Vec<_> = ids.into_iter().map(|id| format!("'{id}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let is_empty = |id: &&String| answers.get(*id).is_none_or(|answer| answer.trim().is_empty());
    let missing: Vec<_> = wanted.iter().filter(is_empty).collect();
    if !missing.is_empty() {
        let text = format!("Start failed: answers dict missing ids: {}", list(missing));
        return Err(NodeError::Failed(text));
    }
    let strange: Vec<_> = answers.keys().filter(|id| !wanted.contains(*id)).take(10).collect();
    if !strange.is_empty() {
        let text = format!("Start failed: answers dict has unknown ids: {}", list(strange));
        return Err(NodeError::Failed(text));
    }
    let is_sane = |answer: &String| answer.len() <= 512 && !answer.chars().any(char::is_control);
    if !answers.values().all(is_sane) {
        let text = "Start failed: an answer is longer than 512 bytes or no plain text".to_owned();
        return Err(NodeError::Failed(text));
    }
    Ok(())
}

fn failed(error: PlatformError) -> NodeError {
    match error {
        PlatformError::Internal(_) => refused(error),
        other => NodeError::Failed(format!("Start failed: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &[&str], answers: &[(&str, &str)]) -> String {
        let wanted = wanted.iter().map(|it| (*it).to_owned()).collect();
        let answers =
            answers.iter().map(|(id, answer)| ((*id).to_owned(), (*answer).to_owned())).collect();
        compare(&wanted, &answers).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn answers_cover_exactly_the_minted_questions() {
        assert_eq!(check(&[], &[]), "fine");
        assert_eq!(check(&["flag"], &[("flag", "FLAG{x}")]), "fine");
        assert_eq!(check(&["flag"], &[]), "Start failed: answers dict missing ids: ['flag']");
        assert_eq!(
            check(&["flag"], &[("flag", " ")]),
            "Start failed: answers dict missing ids: ['flag']"
        );
        assert_eq!(
            check(&["flag"], &[("flag", "a"), ("more", "b")]),
            "Start failed: answers dict has unknown ids: ['more']"
        );
        assert!(check(&["flag"], &[("flag", "a\nb")]).contains("no plain text"));
    }
}
