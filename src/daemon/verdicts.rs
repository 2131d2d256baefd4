//! What revisions were judged to be: told when a verdict lands, and kept for who asks again.
//!
//! In:  the catalog of every revision that becomes the newest, and of others that somebody asked
//! about.
//! Out: [`Verdict`]s to every listener; catalogs, as long as they are among the last few.
//!
//! # Invariants
//! * A listener gets every verdict after the one it names, or is told that some are missing by the
//!   end of its stream: nothing is skipped in silence.
//! * Memory is bounded: [`MAX_RECENT`] verdicts, [`MAX_JUDGED`] catalogs, [`MAX_CHANGED`] ids.
//! * One revision is judged on demand at a time, so that asking cannot starve players.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, broadcast};

use crate::catalog::{Catalog, Severity};
use crate::model::{ChallengeId, Revision, Timestamp};

/// Verdicts that are remembered for listeners who come back.
pub(crate) const MAX_RECENT: usize = 64;
/// Catalogs that are remembered beside the newest one.
const MAX_JUDGED: usize = 4;
/// Ids that one verdict names.
const MAX_CHANGED: usize = 500;

/// What one revision was judged to be, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Counts from 1 in the life of a daemon.
    pub nth: u64,
    /// When it landed.
    pub at: Timestamp,
    /// The commit.
    pub revision: Revision,
    /// Challenge folders.
    pub n_challenges: usize,
    /// Those that may be used.
    pub n_valid: usize,
    /// Findings that are errors.
    pub n_errors: usize,
    /// Findings that are warnings.
    pub n_warnings: usize,
    /// Challenges that are new, gone or other than at the revision before.
    pub n_changed: usize,
    /// The first 500 of them, by id.
    pub changed: Vec<ChallengeId>,
}

/// The verdicts of one daemon.
#[derive(Debug)]
pub(crate) struct Verdicts {
    recent: Mutex<VecDeque<Arc<Verdict>>>,
    listeners: broadcast::Sender<Arc<Verdict>>,
    judged: Mutex<VecDeque<(Revision, Arc<Catalog>)>>,
    /// Whoever judges on demand holds it.
    pub(crate) turn: Arc<Semaphore>,
}

/// From where a listener goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It has seen nothing and misses nothing.
    Now,
    /// It has seen this one and those before.
    Nth(u64),
    /// It has seen those that landed before.
    Time(Timestamp),
}

/// What a listener missed, and where it hears of the rest.
pub(crate) type Listening = (Vec<Arc<Verdict>>, broadcast::Receiver<Arc<Verdict>>);

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            recent: Mutex::default(),
            listeners: broadcast::Sender::new(MAX_RECENT),
            judged: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Verdicts {
    /// Tells every listener what `now` is, compared with `before`.
    pub(crate) fn publish(
        &self,
        at: Timestamp,
        revision: Revision,
        before: &Catalog,
        now: &Catalog,
    ) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = recent.back().map_or(1, |last| last.nth + 1);
        let verdict = Arc::new(Verdict { at, ..judge(nth, revision, before, now) });
        if recent.len() >= MAX_RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&verdict));
        // Nobody may be listening. Sent under the lock: no listener can come in between.
        let _ = self.listeners.send(verdict);
    }

    /// The verdicts after `since` that are remembered, and those to come.
    pub(crate) fn listen(&self, since: Since) -> Listening {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missed = |it: &&Arc<Verdict>| match since {
            Since::Now => false,
            Since::Nth(nth) => it.nth > nth,
            Since::Time(at) => it.at >= at,
        };
        let missed = recent.iter().filter(is_missed).cloned().collect();
        (missed, self.listeners.subscribe())
    }

    /// The catalog of `revision`, if somebody asked a moment ago.
    pub(crate) fn recall(&self, revision: Revision) -> Option<Arc<Catalog>> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let at = judged.iter().position(|(known, _)| *known == revision)?;
        let entry = judged.remove(at)?;
        let catalog = Arc::clone(&entry.1);
        judged.push_back(entry);
        Some(catalog)
    }

    /// Remembers the catalog of `revision`; what nobody asked for the longest is forgotten.
    pub(crate) fn remember(&self, revision: Revision, catalog: Arc<Catalog>) {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.retain(|(known, _)| *known != revision);
        if judged.len() >= MAX_JUDGED {
            judged.pop_front();
        }
        judged.push_back((revision, catalog));
    }
}

/// The numbers of `now`, and what differs from `before`.
fn judge(nth: u64, revision: Revision, before: &Catalog, now: &Catalog) -> Verdict {
    let n_findings = now.all_findings().count();
    let is_error = |severity| severity == Severity::Error;
    let n_errors = now.all_findings().filter(|finding| is_error(finding.severity)).count();
    let is_same = |id: &ChallengeId| match (before.folders.get(id), now.folders.get(id)) {
        (Some(old), Some(new)) => old.tree == new.tree && old.path == new.path,
        _ => false,
    };
    let gone = before.folders.keys().filter(|id| !now.folders.contains_key(*id));
    let mut changed: Vec<_> =
        now.folders.keys().chain(gone).filter(|id| !is_same(id)).cloned().collect();
    changed.sort();
    let n_changed = changed.len();
    changed.truncate(MAX_CHANGED);
    Verdict {
        nth,
        at: Timestamp::default(),
        revision,
        n_challenges: now.folders.len(),
        n_valid: now.folders.values().filter(|folder| folder.challenge.is_some()).count(),
        n_errors,
        n_warnings: n_findings - n_errors,
        n_changed,
        changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Folder;
    use crate::model::{ObjectId, TreeId};

    fn revision(n: u8) -> Revision {
        Revision(ObjectId::from_bytes([n; 20]))
    }

    fn catalog(folders: &[(&str, u8)]) -> Catalog {
        let folder = |tree| Folder {
            path: "X".to_owned(),
            tree: TreeId(ObjectId::from_bytes([tree; 20])),
            challenge: None,
            n_entries: 0,
            total_bytes: 0,
            findings: Vec::new(),
        };
        let folders = folders.iter().map(|(id, tree)| (id.parse().unwrap(), folder(*tree).into()));
        Catalog { folders: folders.collect(), ..Catalog::default() }
    }

    fn changed(verdict: &Verdict) -> Vec<&str> {
        verdict.changed.iter().map(ChallengeId::as_str).collect()
    }

    #[test]
    fn a_verdict_names_what_is_new_gone_or_other() {
        let before = catalog(&[("A-1", 1), ("B-1", 1), ("C-1", 1)]);
        let now = catalog(&[("A-1", 1), ("B-1", 2), ("D-1", 1)]);
        let verdict = judge(1, revision(1), &before, &now);
        assert_eq!(changed(&verdict), ["B-1", "C-1", "D-1"]);
        assert_eq!((verdict.n_challenges, verdict.n_valid, verdict.n_changed), (3, 0, 3));
    }

    #[test]
    fn a_verdict_names_no_more_than_it_may() {
        let ids: Vec<String> = (0..600).map(|n| format!("A-{n:03}")).collect();
        let folders: Vec<(&str, u8)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
        let verdict = judge(1, revision(1), &Catalog::default(), &catalog(&folders));
        assert_eq!((verdict.n_changed, verdict.changed.len()), (600, MAX_CHANGED));
    }

    #[test]
    fn who_comes_back_gets_what_they_missed_and_no_more_is_kept() {
        let verdicts = Verdicts::default();
        let (missed, mut live) = verdicts.listen(Since::Now);
        assert!(missed.is_empty());
        for n in 0..70 {
            let at = Timestamp::from_millis(i64::from(n));
            verdicts.publish(at, revision(n), &Catalog::default(), &Catalog::default());
        }
        let (missed, _) = verdicts.listen(Since::Nth(68));
        assert_eq!(missed.iter().map(|it| it.nth).collect::<Vec<_>>(), [69, 70]);
        let (all, _) = verdicts.listen(Since::Nth(0));
        assert_eq!((all.len(), all[0].nth), (MAX_RECENT, 7));
        let (later, _) = verdicts.listen(Since::Time(Timestamp::from_millis(69)));
        assert_eq!(later.iter().map(|it| it.nth).collect::<Vec<_>>(), [70]);
        // Who does not read is told so instead of being lied to.
        assert!(matches!(live.try_recv(), Err(broadcast::error::TryRecvError::Lagged(6))));
    }

    #[test]
    fn what_nobody_asked_for_the_longest_is_forgotten() {
        let verdicts = Verdicts::default();
        for n in 0..4 {
            verdicts.remember(revision(n), Arc::default());
        }
        assert!(verdicts.recall(revision(0)).is_some());
        verdicts.remember(revision(4), Arc::default());
        assert!(verdicts.recall(revision(1)).is_none());
        assert!(verdicts.recall(revision(0)).is_some());
    }
}
