//! Starts that wait for room: joining the line, standing in it, leaving it, and getting a seat.

use std::sync::Arc;

use super::instances::{Wish, at_capacity, check_owner, refuse};
use super::{LiveChallenge, Outcome, Platform, PlatformError};
use crate::contest::Contest;
use crate::daemon::activities;
use crate::daemon::queue;
pub use crate::daemon::waiting::PlaceInLine;
use crate::model::{Caller, Instance, InstanceId, NodeId, Role, Waiting};
use crate::store::{EnqueueError, Enqueued, Repeats, WaitingLimits};

/// What a caller asks for by the id of an instance.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It is one.
    Instance(Instance),
    /// It waits for room, or failed to get any.
    Waits(Waiting),
}

impl Platform {
    /// Has `wish` wait. Where nobody may wait, `full` says why nothing starts.
    pub(super) async fn wait(
        &self,
        caller: &Caller,
        wish: Wish,
        full: Option<PlatformError>,
    ) -> Outcome<Instance> {
        let limits = &self.shared.config.limits;
        if limits.waiting_starts == 0 {
            return Err(full.unwrap_or_else(at_capacity));
        }
        let of_contest = wish.contest.instances_per_team;
        let limits = WaitingLimits {
            per_team: of_contest.unwrap_or(limits.instances_per_team),
            in_all: limits.waiting_starts,
        };
        let waiting = Waiting {
            id: wish.id,
            challenge: wish.live.challenge.id.clone(),
            team: wish.team,
            competition: wish.contest.id.to_string(),
            revision: wish.live.revision,
            tree: wish.live.challenge.tree,
            ttl_secs: wish.ttl_secs,
            asked_at: self.now(),
            failure: None,
            actor: activities::actor_of(caller),
            address: caller.address.clone(),
        };
        let enqueued = self.shared.store.enqueue(waiting, wish.repeats, limits).await;
        let instance = match enqueued.map_err(|error| refuse_waiting(error, full))? {
            Enqueued::Waits(waiting) => waiting.as_instance(),
            Enqueued::Starts(instance) => *instance,
        };
        self.shared.line_due.notify_one();
        Ok(instance)
    }

    /// Makes the start that waits an instance on `node`.
    ///
    /// # Errors
    /// When it cannot be one now: it goes on waiting.
    pub(in crate::daemon) async fn seat(&self, waiting: &Waiting, node: NodeId) -> Outcome<()> {
        let (contest, live) =
            self.still_playable(&waiting.competition, waiting.challenge.as_str())?;
        let wish = Wish {
            id: waiting.id,
            contest,
            live,
            team: waiting.team,
            ttl_secs: waiting.ttl_secs,
            repeats: Repeats::Another,
        };
        let new = self.draft(&wish, node).await?;
        // Somebody may have taken it away meanwhile.
        let Some(instance) = self.shared.store.seat(new).await.map_err(refuse)? else {
            return Ok(());
        };
        queue::trigger(&self.shared, instance.id);
        self.tell_started(&instance, waiting.actor.clone(), waiting.address.clone());
        Ok(())
    }

    /// The version of a challenge that would be started now.
    ///
    /// # Errors
    /// When it is offered there no more, or nothing is played any more.
    pub(in crate::daemon) fn still_playable(
        &self,
        competition: &str,
        challenge: &str,
    ) -> Outcome<(Arc<Contest>, LiveChallenge)> {
        let gone = || PlatformError::ChallengeNotFound { id: challenge.to_owned() };
        let contest = self.find(competition).ok_or_else(gone)?;
        let live = self.playable(&contest, challenge)?;
        Ok((contest, live))
    }

    /// An instance, or a start that waits to become it.
    ///
    /// # Errors
    /// As [`instance`](Self::instance).
    pub async fn seen(&self, caller: &Caller, id: &str) -> Outcome<Seen> {
        match self.instance(caller, id).await {
            Ok(instance) => Ok(Seen::Instance(instance)),
            Err(PlatformError::Waits { id, .. }) => {
                let waiting = self.waiting_of(caller, id).await?.map(Seen::Waits);
                // It got its room in this moment.
                let unknown = || PlatformError::InstanceNotFound { id: id.to_string() };
                match waiting {
                    Some(waiting) => Ok(waiting),
                    None => {
                        let instance = self.shared.store.instance(id).await?;
                        instance.map(Seen::Instance).ok_or_else(unknown)
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whatever there is under this id: most often an instance, so that is looked for first, and once more
    /// where it could have got its room between the two looks.
    pub(super) async fn found(&self, caller: &Caller, id: InstanceId) -> Outcome<Option<Seen>> {
        let store = &self.shared.store;
        if let Some(instance) = store.instance(id).await? {
            return Ok(Some(Seen::Instance(instance)));
        }
        if let Some(waiting) = self.waiting_of(caller, id).await? {
            return Ok(Some(Seen::Waits(waiting)));
        }
        Ok(store.instance(id).await?.map(Seen::Instance))
    }

    /// The start that waits under this id, if the caller may see it.
    ///
    /// # Errors
    /// When it is another team's, or the store fails.
    pub(super) async fn waiting_of(
        &self,
        caller: &Caller,
        id: InstanceId,
    ) -> Outcome<Option<Waiting>> {
        let Some(waiting) = self.shared.store.waiting_start(id).await? else { return Ok(None) };
        check_owner(caller, &waiting.competition, waiting.team)?;
        Ok(Some(waiting))
    }

    /// Every start that waits or failed to get room and that the caller may see, who asked first
    /// first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting(&self, caller: &Caller) -> Outcome<Vec<Waiting>> {
        let mut rows = self.shared.store.waiting().await?;
        rows.retain(|row| caller.role == Role::Admin || caller.plays_for(row.team));
        Ok(rows)
    }

    /// Where a start that waits stands in the line.
    pub fn place_in_line(&self, waiting: &Waiting) -> Option<PlaceInLine> {
        waiting.failure.is_none().then(|| self.shared.line.load().place_of(waiting.id))
    }

    /// Why no node takes a start that waits, for organizers.
    pub fn why_waiting(&self, id: InstanceId) -> Option<String> {
        self.shared.line.load().reason_of(id).map(str::to_owned)
    }

    /// Takes a start that waits out of the line. Whether it was there.
    ///
    /// # Errors
    /// When it is another team's, or the store fails.
    pub async fn leave_line(&self, caller: &Caller, id: &str) -> Outcome<bool> {
        let Ok(id) = id.parse() else { return Ok(false) };
        if self.waiting_of(caller, id).await?.is_none() {
            return Ok(false);
        }
        let was_there = self.shared.store.leave(id).await?;
        self.shared.line_due.notify_one();
        Ok(was_there)
    }

    /// What is said to whoever wants something of an instance that is none yet.
    pub(super) fn still_waits(&self, waiting: &Waiting) -> PlatformError {
        PlatformError::Waits { id: waiting.id, place: self.place_in_line(waiting) }
    }
}

fn refuse_waiting(error: EnqueueError, full: Option<PlatformError>) -> PlatformError {
    match error {
        EnqueueError::TeamLimit { limit } => PlatformError::Capacity {
            message: format!("Max {limit} concurrent instances per team"),
        },
        EnqueueError::LineFull { .. } => full.unwrap_or_else(at_capacity),
        EnqueueError::Store(error) => error.into(),
    }
}
