//! Evidence for organizers: whose answers were other teams', and which solves look odd.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Outcome, Platform, PlatformError};
use crate::contest::fairness::{
    self, Evidence, Records, SharedProfile, Signal, Source, minted_part,
};
use crate::daemon::activities;
use crate::daemon::shared::Shared;
use crate::model::{
    Activity, Actor, AnswerFormat, Caller, ChallengeId, Happening, Instance, InstanceId,
    QuestionId, Submission, SubmissionId, TeamId, Timestamp,
};
use crate::render::answers::{AnswerKey, mint};
use crate::store::{InstanceFilter, Review, ReviewVerdict, StoreError, Which};
use crate::telemetry::Chain;

/// Longest note of a review.
const MAX_NOTE: usize = 500;

/// A piece of evidence, with what is known around it.
#[derive(Debug, Clone)]
pub struct Suspicion {
    /// What looks odd.
    pub evidence: Evidence,
    /// Where the answer came from; empty when that is not known any more.
    pub address: String,
    /// Where the profile was connected from.
    pub connected_from: BTreeSet<String>,
    /// The instance that the answer was given through.
    pub instance: Option<Instance>,
    /// The instance that the answer belongs to.
    pub other: Option<Instance>,
    /// Where right answers of the other team to this question came from, or which of the places it is.
    pub other_addresses: BTreeSet<String>,
    /// What an organizer made of it.
    pub review: Option<Review>,
}

impl Platform {
    /// Everything that looks odd, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn suspicions(&self) -> Outcome<Vec<Suspicion>> {
        let store = &self.shared.store;
        let (answers, _) = store.records().await?;
        let all = InstanceFilter { which: Which::All, ..InstanceFilter::default() };
        let instances: BTreeMap<InstanceId, Instance> =
            store.instances(all).await?.into_iter().map(|row| (row.id, row)).collect();
        let (got_files, addresses) =
            (store.got_files().await?, store.addresses_of_answers().await?);
        let profiles = store.shared_profiles().await?;
        let mut homes: BTreeMap<String, BTreeSet<TeamId>> = BTreeMap::new();
        for ((team, _), address) in addresses.iter().filter(|(_, it)| !it.is_empty()) {
            homes.entry(address.clone()).or_default().insert(*team);
        }
        let mut reviews = store.reviews().await?;
        let with_files = self.with_files();
        let key = self.shared.data.answer_key().clone();
        let fast_secs = self.shared.config.limits.fast_solve_secs;
        // As many derivations as there are instances: not on a thread that serves others.
        let work = move || {
            let owners = owners(&key, &answers, &instances);
            let found = fairness::evidence(&Records {
                answers: &answers,
                instances: &instances,
                owners: &owners,
                got_files: &got_files,
                with_files: &with_files,
                profiles: &profiles,
                homes: &homes,
                fast_secs,
            });
            (found, answers, instances, profiles, homes)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (found, answers, instances, profiles, homes) =
            done.map_err(|error| PlatformError::Internal(Box::new(error)))?;
        let address_of = |team: TeamId, at: Timestamp| addresses.get(&(team, at)).cloned();
        let suspicion = |evidence: Evidence| {
            let other = match evidence.signal {
                Signal::ForeignAnswer { instance, .. } => instances.get(&instance).cloned(),
                Signal::NeverStarted
                | Signal::NeverDownloaded
                | Signal::TooFast { .. }
                | Signal::SharedProfile { .. } => None,
            };
            let other_team = evidence.signal.other_team();
            let is_it = |it: &&SharedProfile| {
                evidence.source == Source::Profile { instance: it.instance, holder: it.holder }
            };
            let connected_from =
                profiles.iter().find(is_it).map(|it| it.addresses.clone()).unwrap_or_default();
            let is_theirs = |address: &&String| {
                homes.get(*address).is_some_and(|of| other_team.is_some_and(|it| of.contains(&it)))
            };
            let solved_it = |answer: &&Submission| {
                answer.is_correct
                    && Some(&answer.question) == evidence.question()
                    && other.as_ref().is_some_and(|row| Some(row.id) == answer.instance)
            };
            Suspicion {
                address: match evidence.source {
                    Source::Answer { .. } => {
                        address_of(evidence.team, evidence.at).unwrap_or_default()
                    }
                    Source::Profile { .. } => String::new(),
                },
                instance: evidence.instance.and_then(|id| instances.get(&id).cloned()),
                other_addresses: answers
                    .iter()
                    .filter(solved_it)
                    .filter_map(|answer| address_of(answer.team, answer.submitted_at))
                    .filter(|address| !address.is_empty())
                    .chain(connected_from.iter().filter(is_theirs).cloned())
                    .collect(),
                connected_from,
                review: reviews.remove(&evidence.id()),
                other,
                evidence,
            }
        };
        Ok(found.into_iter().map(suspicion).collect())
    }

    /// Notes what an organizer made of the evidence `id`; `None` takes it back. Returns it as it stands
    /// then.
    ///
    /// # Errors
    /// When there is no such evidence, or the store fails.
    pub async fn review(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Option<ReviewVerdict>,
        note: &str,
    ) -> Outcome<Suspicion> {
        let found = self.suspicions().await?.into_iter().find(|it| it.evidence.id() == id);
        let mut found = found
            .ok_or_else(|| PlatformError::EvidenceNotFound { id: id.chars().take(80).collect() })?;
        let now = self.now();
        let note: String = note.chars().filter(|c| !c.is_control()).take(MAX_NOTE).collect();
        found.review = verdict.map(|verdict| Review {
            verdict,
            note: note.clone(),
            reviewed_by: caller.name(),
            reviewed_at: now,
        });
        self.shared.store.review(id.to_owned(), found.review.clone()).await?;
        let what = verdict.map_or("reopen", ReviewVerdict::as_str);
        let object = format!("evidence/{id}");
        self.shared.store.note_deed(caller.name(), what, object, note, now).await?;
        Ok(found)
    }

    /// Notes that teams got a file of a challenge.
    pub fn note_file(&self, teams: &[TeamId], challenge: &ChallengeId) {
        for team in teams {
            self.shared.store.note_file(*team, challenge.clone(), self.now(), |noted| {
                if let Err(error) = noted {
                    tracing::warn!(error = %Chain(&error), "could not note that a team got a file");
                }
            });
        }
    }

    /// The live challenges that have files for players.
    fn with_files(&self) -> BTreeSet<ChallengeId> {
        let has_files = |live: &&super::LiveChallenge| {
            !live.challenge.attachments.is_empty() || !live.challenge.metadata.exports.is_empty()
        };
        self.live().values().filter(has_files).map(|live| live.challenge.id.clone()).collect()
    }

    /// Looks whether a wrong answer is another team's, and tells organizers if so. Does not wait: the
    /// player must not see by the time how many instances there are.
    pub(super) fn look_for_owner(&self, submission: &Submission, address: String) {
        if minted_part(&submission.claimed).is_none() {
            return;
        }
        let (shared, submission) = (Arc::clone(&self.shared), submission.clone());
        // A storm of wrong answers is not worth more: the evidence is on record anyway.
        let Ok(slot) = Arc::clone(&shared.fairness_slots).try_acquire_owned() else { return };
        self.shared.tasks.spawn("fairness", async move {
            if let Err(error) = tell_owner(&shared, submission, address).await {
                tracing::warn!(error = %Chain(&error), "could not look whose answer a wrong one is");
            }
            drop(slot);
        });
    }
}

async fn tell_owner(
    shared: &Shared,
    submission: Submission,
    address: String,
) -> Result<(), StoreError> {
    let of_challenge = InstanceFilter {
        challenge: Some(submission.challenge.clone()),
        which: Which::All,
        ..InstanceFilter::default()
    };
    let rows = shared.store.instances(of_challenge).await?;
    let instances: BTreeMap<_, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    let key = shared.data.answer_key();
    let found = owners(key, std::slice::from_ref(&submission), &instances);
    let owner = found.get(&submission.id).and_then(|id| instances.get(id));
    let Some(owner) = owner.filter(|owner| owner.team != submission.team) else { return Ok(()) };
    tracing::warn!(
        challenge.id = %submission.challenge, team.id = %submission.team, other.id = %owner.team,
        "team {} answered {} with the answer of team {}: `flagops fairness` shows it",
        submission.team, submission.challenge, owner.team
    );
    let happening = Happening::FlagShared {
        instance_id: submission.instance,
        question_id: submission.question.to_string(),
        from_team_id: submission.team,
        owner_team_id: owner.team,
        owner_instance_id: owner.id,
        ip: address,
    };
    let activity = Activity {
        at: shared.now(),
        happening,
        competition: owner.competition.parse().ok(),
        // What is about a team its members can read.
        team: None,
        challenge: Some(submission.challenge),
        actor: Actor::system(),
    };
    activities::record(shared, activity);
    Ok(())
}

/// Of each wrong answer that could be a minted one: the instance that it is the right answer of.
fn owners(
    key: &AnswerKey,
    answers: &[Submission],
    instances: &BTreeMap<InstanceId, Instance>,
) -> BTreeMap<SubmissionId, InstanceId> {
    let mut minted: BTreeMap<(&ChallengeId, &QuestionId), BTreeMap<String, InstanceId>> =
        BTreeMap::new();
    let mut owners = BTreeMap::new();
    for answer in answers.iter().filter(|answer| !answer.is_correct) {
        let Some(part) = minted_part(&answer.claimed) else { continue };
        let of_question =
            minted.entry((&answer.challenge, &answer.question)).or_insert_with(|| {
                let rows = instances.values().filter(|row| row.challenge == answer.challenge);
                let each =
                    rows.flat_map(|row| (0..=row.answer_epoch).map(move |epoch| (row, epoch)));
                each.map(|(row, epoch)| {
                    let raw = AnswerFormat::Raw;
                    (mint(key, row.id, epoch, &answer.question, raw), row.id)
                })
                .collect()
            });
        if let Some(owner) = of_question.get(part) {
            owners.insert(answer.id, *owner);
        }
    }
    owners
}
