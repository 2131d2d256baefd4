//! The one place where what happens in contests is recorded.
//!
//! What is recorded is for people and for the stream; nothing is decided from it, so one that is
//! lost to a kill between the act and its record costs a line and nothing else.

use std::sync::Arc;

use super::shared::Shared;
use super::{hubs, isolation, solver};
use crate::model::{Activity, Actor, ActorKind, Caller, Happening, Instance, NodeId};
use crate::store::ActivityRow;

/// Records something that happened, in the order of calls and without waiting, and rings for who
/// follows along.
pub(crate) fn record(shared: &Shared, activity: Activity) {
    let happened = shared.happened.clone();
    let told = activity.clone();
    shared.store.add_activity(activity, move |added| match added {
        Ok(seq) => {
            // Nobody may be listening.
            let _ = happened.send(Arc::new(ActivityRow { seq, activity: told }));
        }
        Err(error) => tracing::error!(
            error = %crate::telemetry::chain::Chain(&error),
            "could not record what happened"
        ),
    });
}

/// Records what happened to an instance that players know of.
pub(crate) fn of_instance(
    shared: &Shared,
    instance: &Instance,
    actor: Actor,
    happening: Happening,
) {
    let ours = [hubs::COMPETITION, isolation::COMPETITION, solver::COMPETITION];
    if ours.contains(&instance.competition.as_str()) {
        return;
    }
    let activity = Activity {
        at: shared.now(),
        happening,
        competition: instance.competition.parse().ok(),
        team: Some(instance.team),
        challenge: Some(instance.challenge.clone()),
        actor,
    };
    record(shared, activity);
}

/// Records that an instance can be used, wherever it runs.
pub(crate) fn ready(shared: &Shared, row: &Instance) {
    let (instance_id, node_id) = (row.id, row.node.to_string());
    let happening = Happening::InstanceReady { instance_id, node_id };
    of_instance(shared, row, by_itself(row), happening);
}

/// Records that an instance failed; `why` is for players.
pub(crate) fn failed(shared: &Shared, row: &Instance, why: &str) {
    let (instance_id, node_id) = (row.id, row.node.to_string());
    let happening = Happening::InstanceError { instance_id, node_id, error: why.to_owned() };
    of_instance(shared, row, by_itself(row), happening);
}

/// Records what an organizer did to the platform as a whole.
pub(crate) fn of_platform(shared: &Shared, caller: &Caller, happening: Happening) {
    let (at, actor) = (shared.now(), actor_of(caller));
    let (competition, team, challenge) = (None, None, None);
    record(shared, Activity { at, happening, competition, team, challenge, actor });
}

/// Records what happened to a node.
pub(crate) fn of_node(shared: &Shared, node: &NodeId, happening: Happening) {
    let id = node.to_string();
    let actor = Actor { name: id.clone(), id, kind: ActorKind::Node };
    let (at, competition) = (shared.now(), None);
    record(shared, Activity { at, happening, competition, team: None, challenge: None, actor });
}

/// The node as an actor, for what an instance does by itself: the contract names its team.
pub(crate) fn by_itself(instance: &Instance) -> Actor {
    let team = instance.team.to_string();
    Actor { name: team.clone(), id: team, kind: ActorKind::Team }
}

/// Who asks, as an actor.
pub(crate) fn actor_of(caller: &Caller) -> Actor {
    let kind = match caller.role {
        crate::model::Role::Admin => ActorKind::Admin,
        crate::model::Role::Player => ActorKind::Team,
    };
    match (&caller.account, caller.team()) {
        (Some(account), _) => {
            Actor { id: account.id.to_string(), name: account.name.clone(), kind }
        }
        (None, Some(team)) => Actor { id: team.to_string(), name: caller.name(), kind },
        (None, None) => Actor { id: caller.token_id.clone(), name: caller.name(), kind },
    }
}
