//! Tables of standings, worked out once for as long as nothing that they are made of changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{LiveSet, Outcome, Platform};
use crate::contest::Contest;
use crate::contest::standings::{Eyes, Ledger, Place, Versions};
use crate::daemon::books;
use crate::model::{CompetitionId, Solve, Team, TeamId, Timestamp};

/// Tables that are kept; the oldest goes.
const MAX_KEPT: usize = 16;

/// Tables as they were worked out last.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Vec<(Ground, Arc<Vec<Place>>)>>);

/// Everything that a table is made of.
#[derive(Debug, Clone)]
struct Ground {
    /// Of which competition, and for whom; `None` for everything, as everybody sees it.
    of: Option<(Contest, Eyes)>,
    /// The competitions that everybody sees, for a table of everything.
    open: Vec<Contest>,
    /// Since when what is frozen, in their order.
    frozen: Vec<Option<Timestamp>>,
    /// The newest solve: none ever changes.
    last_solve: i64,
    teams: Arc<Vec<Team>>,
    live: Arc<LiveSet>,
}

impl Ground {
    fn is_same(&self, other: &Self) -> bool {
        self.last_solve == other.last_solve
            && Arc::ptr_eq(&self.live, &other.live)
            && self.frozen == other.frozen
            && self.of == other.of
            && self.open == other.open
            && (Arc::ptr_eq(&self.teams, &other.teams) || self.teams == other.teams)
    }
}

impl Platform {
    /// The standings of a competition: every team, best first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn places(&self, contest: &Contest, eyes: Eyes) -> Outcome<Arc<Vec<Place>>> {
        let frozen = vec![contest.frozen_since(self.now())];
        self.table(Some((contest.clone(), eyes)), Vec::new(), frozen).await
    }

    /// The standings of everything that everybody sees, a point for each question. What a freeze hides in
    /// its competition is not counted here either.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn places_of_everything(&self) -> Outcome<Arc<Vec<Place>>> {
        let now = self.now();
        let open: Vec<Contest> =
            self.contests(None).into_iter().map(|contest| (*contest).clone()).collect();
        let frozen = open.iter().map(|contest| contest.frozen_since(now)).collect();
        self.table(None, open, frozen).await
    }

    async fn table(
        &self,
        of: Option<(Contest, Eyes)>,
        open: Vec<Contest>,
        frozen: Vec<Option<Timestamp>>,
    ) -> Outcome<Arc<Vec<Place>>> {
        let (last_solve, solves) = books::solves(&self.shared).await?;
        let teams = books::teams(&self.shared).await?;
        let ground = Ground { of, open, frozen, last_solve, teams, live: self.live() };
        let tables = &self.shared.tables.0;
        let lock = || tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = lock().iter().find(|(known, _)| known.is_same(&ground)) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(work_out(&ground, &solves, self.now()));
        let mut kept = lock();
        kept.retain(|(known, _)| known.of != ground.of);
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push((ground, Arc::clone(&table)));
        Ok(table)
    }
}

fn work_out(ground: &Ground, solves: &[Solve], now: Timestamp) -> Vec<Place> {
    let versions: Versions<'_> =
        ground.live.iter().map(|(id, live)| (id, &*live.challenge)).collect();
    if let Some((contest, eyes)) = &ground.of {
        let contest = Some(contest);
        let teams = ground.teams.as_slice();
        return Ledger { contest, teams, solves, versions: &versions, eyes: *eyes, now }.places();
    }
    let of_contest: BTreeMap<&CompetitionId, Option<Timestamp>> =
        ground.open.iter().map(|contest| &contest.id).zip(ground.frozen.iter().copied()).collect();
    let frozen: BTreeMap<TeamId, Option<Timestamp>> = ground
        .teams
        .iter()
        .filter_map(|team| Some((team.id, *of_contest.get(&team.competition)?)))
        .collect();
    let is_shown = |solve: &&Solve| {
        frozen.get(&solve.team).copied().flatten().is_none_or(|since| solve.solved_at < since)
    };
    let shown: Vec<Solve> = solves.iter().filter(is_shown).cloned().collect();
    let teams: Vec<Team> =
        ground.teams.iter().filter(|team| frozen.contains_key(&team.id)).cloned().collect();
    let (contest, eyes) = (None, Eyes::Public);
    Ledger { contest, teams: &teams, solves: &shown, versions: &versions, eyes, now }.places()
}
