//! Whether a challenge is solved by its own `solution/exploit.py`: what a run means, what is tried
//! when, and what a release is told.
//!
//! In:  what was recorded of earlier runs, what one attempt came to, what is live and newest.
//! Out: how each version stands, what is due, what is kept, what is said.
//!
//! # Invariants
//! * What says nothing about the challenge (an engine that is away, a canary that somebody stopped)
//!   is never recorded: the version stays as it was.
//! * A challenge without an exploit is told, and keeps nothing back.
//! * No message holds an answer, or anything else that an exploit printed.
//!
//! # Not here
//! Starting canaries and running exploits (`daemon::solver`), keeping records (`store::proofs`).
#![warn(clippy::wildcard_enum_match_arm)]

pub mod canary;
pub mod program;
#[cfg(test)]
mod tests;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use self::program::EXPLOIT;
use self::verdict::{Report, Verdict};
use crate::catalog::Catalog;
use crate::model::{
    ChallengeId, ConditionStatus, ProofOutcome, ProofRecord, Revision, Timestamp, TreeId,
};

/// Tries of a version, each on a fresh canary, before it has failed: an exploit may lose a race.
pub const MAX_TRIES: u32 = 2;

/// What was recorded, by version.
pub type Records = BTreeMap<(ChallengeId, TreeId), ProofRecord>;

/// How one version stands, for whoever decides whether it may be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Its own exploit solved it.
    Proven,
    /// It did not; in words, without an answer.
    Failed(String),
    /// Nobody has tried it yet, or nothing came of it.
    Pending,
    /// It has no exploit. Keeps nothing back.
    NoExploit,
    /// Nobody asks for a proof of it. Keeps nothing back.
    NotRequired,
}

/// What operators ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Whether versions must be proven before they are released.
    pub is_required: bool,
    /// Challenges that are never tried by themselves.
    pub skip: BTreeSet<ChallengeId>,
}

/// How every valid version of `catalog` stands.
pub fn proofs(catalog: &Catalog, records: &Records, rule: &Rule) -> BTreeMap<ChallengeId, Proof> {
    let versions = catalog.folders.iter().filter_map(|(id, folder)| {
        let challenge = folder.challenge.as_ref()?;
        Some((id.clone(), challenge.tree))
    });
    versions
        .map(|version| {
            let proof = if !rule.is_required || rule.skip.contains(&version.0) {
                Proof::NotRequired
            } else {
                records.get(&version).map_or(Proof::Pending, proof)
            };
            (version.0, proof)
        })
        .collect()
}

fn proof(record: &ProofRecord) -> Proof {
    match record.outcome {
        ProofOutcome::Proven => Proof::Proven,
        ProofOutcome::Failed => Proof::Failed(record.message.clone()),
        ProofOutcome::NoExploit => Proof::NoExploit,
    }
}

/// What keeps versions back, in the words of `release::gate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldBack {
    /// Those that failed, and why.
    pub unproven: BTreeMap<(ChallengeId, TreeId), String>,
    /// Those that are not proven yet.
    pub proving: BTreeSet<(ChallengeId, TreeId)>,
}

/// What keeps versions of `catalog` back, of which `proofs` are the proofs.
pub fn held_back(catalog: &Catalog, proofs: &BTreeMap<ChallengeId, Proof>) -> HeldBack {
    let mut held = HeldBack::default();
    for (id, proof) in proofs {
        let Some(folder) = catalog.folders.get(id) else { continue };
        let version = (id.clone(), folder.tree);
        match proof {
            Proof::Failed(why) => {
                held.unproven.insert(version, why.clone());
            }
            Proof::Pending => {
                held.proving.insert(version);
            }
            Proof::Proven | Proof::NoExploit | Proof::NotRequired => {}
        }
    }
    held
}

/// The live versions whose last try is `every_secs` ago, or that were never tried: the one that was
/// tried longest ago first. None when `every_secs` is 0.
pub fn due(
    live: &BTreeMap<ChallengeId, TreeId>,
    records: &Records,
    skip: &BTreeSet<ChallengeId>,
    every_secs: u32,
    now: Timestamp,
) -> Vec<ChallengeId> {
    if every_secs == 0 {
        return Vec::new();
    }
    let every_millis = i64::from(every_secs) * 1000;
    let mut due: Vec<_> = live
        .iter()
        .filter(|(id, _)| !skip.contains(*id))
        .filter_map(|(id, tree)| match records.get(&(id.clone(), *tree)) {
            None => Some((None, id.clone())),
            // The same tree has none still.
            Some(record) if record.outcome == ProofOutcome::NoExploit => None,
            Some(record) => {
                let is_due = now.millis_since(record.at) >= every_millis;
                is_due.then(|| (Some(record.at), id.clone()))
            }
        })
        .collect();
    due.sort();
    due.into_iter().map(|(_, id)| id).collect()
}

/// Whether a canary may be started beside the starts of `n_player_starts` instances that somebody
/// waits for: not while they use, or wait for, every slot.
pub fn may_begin(n_player_starts: usize, n_start_slots: usize) -> bool {
    n_player_starts < n_start_slots.max(1)
}

/// What one attempt to prove a version came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// There is no exploit.
    NoExploit,
    /// The exploit ran.
    Ran(Report),
    /// The canary did not become ready, in the words for its owner.
    NotStarted(String),
    /// This version can never be tried here, whatever is repeated.
    Unfit(String),
    /// Something came between that says nothing about the challenge.
    CutOff(String),
}

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is kept.
    Record(ProofOutcome, String),
    /// Another try, on a fresh canary; the words are for operators.
    Again(String),
}

/// What follows from the `n_tries`th attempt that said something, counted from 1.
pub fn after(attempt: &Attempt, n_tries: u32) -> Next {
    let failed = |message: String| {
        if n_tries < MAX_TRIES {
            Next::Again(message)
        } else {
            Next::Record(ProofOutcome::Failed, message)
        }
    };
    match attempt {
        Attempt::NoExploit => {
            Next::Record(ProofOutcome::NoExploit, format!("it has no `{EXPLOIT}`"))
        }
        Attempt::Ran(report) if report.is_solved() => {
            Next::Record(ProofOutcome::Proven, "its own exploit solves it".to_owned())
        }
        Attempt::Ran(report) => failed(describe(report)),
        Attempt::NotStarted(why) => failed(format!("its canary instance did not start: {why}")),
        Attempt::Unfit(why) => Next::Record(ProofOutcome::Failed, why.clone()),
        Attempt::CutOff(why) => Next::Again(why.clone()),
    }
}

/// Why an exploit that ran did not solve its challenge: which questions, never what was printed.
fn describe(report: &Report) -> String {
    let of = |wanted: Verdict| {
        let found = report.verdicts.iter().filter(|(_, _, verdict)| *verdict == wanted);
        found.map(|(id, _, _)| format!("`{id}`")).collect::<Vec<_>>().join(", ")
    };
    let (missing, wrong, has_unknown) =
        (of(Verdict::Missing), of(Verdict::Wrong), !of(Verdict::Unknown).is_empty());
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("it found no answer to {missing}"));
    }
    if !wrong.is_empty() {
        faults.push(format!("its answer to {wrong} is wrong"));
    }
    if has_unknown {
        // The name is the exploit's, and could be an answer.
        faults.push("it answered a question that the challenge does not have".to_owned());
    }
    faults.extend(report.fault.clone());
    if faults.is_empty() {
        faults.push("it found no answer at all".to_owned());
    }
    format!("`{EXPLOIT}` did not solve it: {}", faults.join("; "))
}

/// What is said about a challenge as `Proven`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The stable word.
    pub reason: &'static str,
    /// For people; without counters and times.
    pub message: String,
    /// The commit it is about.
    pub revision: Option<Revision>,
}

/// What is said about a challenge of which these versions matter, the live one first: a failure of
/// any of them, else what is known of the first that was tried.
pub fn stated(tried: &[&ProofRecord]) -> Stated {
    let failed = tried.iter().find(|record| record.outcome == ProofOutcome::Failed);
    let Some(record) = failed.or(tried.first()) else {
        return Stated {
            status: ConditionStatus::Unknown,
            reason: "NotTried",
            message: "neither its live nor its newest version was tried".to_owned(),
            revision: None,
        };
    };
    let (status, reason) = match record.outcome {
        ProofOutcome::Proven => (ConditionStatus::True, "Ok"),
        ProofOutcome::Failed => (ConditionStatus::False, "SolverFailed"),
        // Nobody could look: neither good nor bad.
        ProofOutcome::NoExploit => (ConditionStatus::Unknown, "NoExploit"),
    };
    Stated { status, reason, message: record.message.clone(), revision: Some(record.revision) }
}
