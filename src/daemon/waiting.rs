//! Starts that wait for room: who is next, and what they become when there is some.
//!
//! What waits is a row that is no instance; this loop makes it one in a single transaction. It looks
//! from the level each time: what waits, what runs where, what is live now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::nodes::place::Ground;
use super::platform::{Platform, PlatformError};
use super::shared::Shared;
use crate::model::{Challenge, InstanceId, Waiting};
use crate::planner::line::{self, Seating, Waiter};
use crate::telemetry::chain::Chain;
use crate::telemetry::metrics;

/// Between two looks while somebody waits.
const EVERY: Duration = Duration::from_millis(500);
/// How long its owner can read why a start failed.
const FAILED_MILLIS: i64 = 600_000;

/// Everybody who waits, in order, as of the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    order: Vec<InstanceId>,
    /// Why not yet, for organizers.
    reasons: BTreeMap<InstanceId, String>,
}

/// Where somebody stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceInLine {
    /// From 1. Teams with fewer instances go first, so it can become larger for a while.
    pub position: usize,
    /// How many wait.
    pub length: usize,
}

impl fmt::Display for PlaceInLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.position, self.length)
    }
}

impl Line {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Where `id` stands; of one that came after the last look, at the end.
    pub(crate) fn place_of(&self, id: InstanceId) -> PlaceInLine {
        let found = self.order.iter().position(|it| *it == id);
        let length = self.order.len() + usize::from(found.is_none());
        PlaceInLine { position: found.map_or(length, |nth| nth + 1), length }
    }

    /// Why no node takes it, for organizers.
    pub(crate) fn reason_of(&self, id: InstanceId) -> Option<&str> {
        self.reasons.get(&id).map(String::as_str)
    }
}

/// Serves the line until the daemon stops.
pub(crate) async fn keep(platform: Platform, shared: Arc<Shared>) {
    loop {
        let is_somebody_there = match pass(&platform, &shared).await {
            Ok(line) => {
                let is_somebody_there = !line.is_empty();
                metrics::waiting_starts(line.order.len());
                shared.line.store(line);
                is_somebody_there
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the line of those who wait for room was not served, trying again");
                true
            }
        };
        tokio::select! {
            () = shared.line_due.notified() => {}
            () = tokio::time::sleep(EVERY), if is_somebody_there => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// What a start that waits would become now.
enum Prospect {
    /// An instance of this.
    Of(Arc<Challenge>),
    /// Nothing: its owner is told why.
    Never(String),
    /// Nothing for now.
    NotNow(String),
}

/// One look; who waits afterwards.
async fn pass(platform: &Platform, shared: &Arc<Shared>) -> Result<Line, PlatformError> {
    let rows = tidy(shared, shared.store.waiting().await?).await?;
    if rows.is_empty() {
        return Ok(Line::default());
    }
    let mut prospects: BTreeMap<InstanceId, Arc<Challenge>> = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for row in &rows {
        match prospect(platform, shared, row) {
            Prospect::Of(challenge) => {
                prospects.insert(row.id, challenge);
            }
            Prospect::Never(why) => {
                gone.insert(row.id);
                shared.store.fail_waiting(row.id, why, shared.now()).await?;
            }
            Prospect::NotNow(why) => {
                reasons.insert(row.id, why);
            }
        }
    }
    let challenges = prospects.values().map(|challenge| &**challenge);
    let mut ground = Ground::see(shared, challenges).await?;
    let waiters: Vec<_> = rows.iter().map(waiter).collect();
    let order = line::order(&waiters, &ground.n_by_team());
    let ready: Vec<_> = order.iter().filter(|it| prospects.contains_key(&it.id)).copied().collect();
    let seatings = line::seat(&ready, shared.now(), |waiter, kept| {
        let Some(challenge) = prospects.get(&waiter.id) else { return Default::default() };
        let placement = ground.place(challenge, waiter.team, kept);
        if let Some(node) = &placement.node {
            ground.give(node, waiter.team, challenge);
        }
        placement
    });
    let by_id: BTreeMap<InstanceId, &Waiting> = rows.iter().map(|row| (row.id, row)).collect();
    for (id, seating) in seatings {
        match seating {
            Seating::Waits(why) => {
                reasons.insert(id, why);
            }
            Seating::At(node) => match platform.seat(by_id[&id], node).await {
                Ok(()) => {
                    gone.insert(id);
                }
                Err(error) => {
                    reasons.insert(id, Chain(&error).to_string());
                }
            },
        }
    }
    let order = order.into_iter().map(|it| it.id).filter(|id| !gone.contains(id)).collect();
    Ok(Line { order, reasons })
}

fn waiter(row: &Waiting) -> Waiter {
    Waiter { id: row.id, team: row.team, asked_at: row.asked_at }
}

/// Those that still wait; who waited too long is told, and what failed long ago goes.
async fn tidy(shared: &Shared, rows: Vec<Waiting>) -> Result<Vec<Waiting>, PlatformError> {
    let now = shared.now();
    let patience = i64::from(shared.config.limits.waiting_secs);
    let mut left = Vec::new();
    for row in rows {
        match &row.failure {
            Some((_, at)) if now.millis_since(*at) >= FAILED_MILLIS => {
                shared.store.leave(row.id).await?;
            }
            Some(_) => {}
            None if now.millis_since(row.asked_at) >= patience * 1000 => {
                let why = format!(
                    "no room became free within {} minutes: try again later",
                    (patience + 59) / 60
                );
                shared.store.fail_waiting(row.id, why, now).await?;
            }
            None => left.push(row),
        }
    }
    Ok(left)
}

/// What `row` would become: the challenge may be live no more, or the contest be over.
fn prospect(platform: &Platform, shared: &Shared, row: &Waiting) -> Prospect {
    if shared.pauses.load().held_challenge(&row.challenge).is_some() {
        return Prospect::NotNow("an organizer holds the challenge".to_owned());
    }
    match platform.still_playable(&row.competition, row.challenge.as_str()) {
        Ok((_, live)) => Prospect::Of(live.challenge),
        Err(error) => Prospect::Never(error.to_string()),
    }
}
