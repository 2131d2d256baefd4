//! What is live, what goes live next, and the verbs of organizers about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::builds;
use crate::daemon::nodes;
use crate::daemon::releases::{self, Missing, ReleaseError, flip, tags};
use crate::model::{BuildState, ChallengeId, ObjectId, Pause, Revision, Scope, TagName, Timestamp};
use crate::release::manifest::{Cause, Entry, EntryDisposition, Generation, Manifest};
use crate::release::rollback::{OutOfService, may_return_to};
use crate::release::tag::{Standing, TagFacts, TagTarget};
use crate::store::{AuditRow, DecisionKind, NewGeneration, QuarantinedVersion, TagDecision};

/// Generations that are looked through for the one before.
const N_HISTORY: u32 = 500;

/// What is live, and what goes live next.
#[derive(Debug, Clone)]
pub struct ReleaseOverview {
    /// Whether tags go live; the branch itself otherwise.
    pub has_tags: bool,
    /// What players have.
    pub active: Option<(Generation, Manifest)>,
    /// What goes live next, and what it waits for.
    pub candidate: Option<CandidateState>,
    /// Every tag that is or was a release tag, by name.
    pub tags: Vec<TagState>,
    /// Why nothing goes live by itself.
    pub pauses: Vec<Pause>,
    /// Versions that never go live again.
    pub quarantined: Vec<QuarantinedVersion>,
}

/// The tag that goes live next.
#[derive(Debug, Clone)]
pub struct CandidateState {
    /// It.
    pub tag: TagName,
    /// Its commit.
    pub revision: Revision,
    /// Since when it is the candidate.
    pub since: Timestamp,
    /// Challenges whose images or proofs are on their way.
    pub waiting: Vec<ChallengeId>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// Where a tag stands.
#[derive(Debug, Clone)]
pub struct TagState {
    /// Its name.
    pub name: TagName,
    /// What it names; `None` when the remote does not have it any more.
    pub object: Option<ObjectId>,
    /// The commit, where it names one.
    pub revision: Option<Revision>,
    /// When we first saw it.
    pub first_seen: Option<Timestamp>,
    /// Objects that it ever named.
    pub n_objects: usize,
    /// Stable word: `live`, `candidate`, `held`, …
    pub standing: &'static str,
    /// What that means, and what to do.
    pub words: String,
}

/// Who does something, and why.
#[derive(Debug, Clone)]
pub struct Deed {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

impl Platform {
    /// What is live, and what goes live next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn releases(&self) -> Outcome<ReleaseOverview> {
        let shared = &self.shared;
        let (facts, selection) = shared.releases.tags();
        let state = |facts: &TagFacts| {
            selection.standings.get(&facts.record.name).map(|it| tag_state(facts, it))
        };
        let candidate = shared.releases.candidate().map(|it| {
            let (waiting, faults) = match it.missing {
                Missing::Nothing => (Vec::new(), Vec::new()),
                Missing::Waiting(ids) => (ids, Vec::new()),
                Missing::Blocked(all) => {
                    (Vec::new(), all.iter().map(ToString::to_string).collect())
                }
                Missing::AllWouldBeRemoved => {
                    (Vec::new(), vec!["it has none of the live challenges".to_owned()])
                }
            };
            let (tag, revision, since) = (it.name, it.revision, it.since);
            CandidateState { tag, revision, since, waiting, faults }
        });
        let is_about_releases = |pause: &Pause| pause.scope == Scope::Repo;
        Ok(ReleaseOverview {
            has_tags: shared.releases.policy().is_some(),
            active: shared.store.active().await?,
            candidate,
            tags: facts.iter().filter_map(state).collect(),
            pauses: self.pauses().into_iter().filter(is_about_releases).collect(),
            quarantined: shared.store.quarantined_versions().await?,
        })
    }

    /// The newest generations, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn generations(&self, limit: u32) -> Outcome<Vec<Generation>> {
        Ok(self.shared.store.generations(limit).await?)
    }

    /// One generation and what it consists of.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn generation(&self, number: u32) -> Outcome<(Generation, Manifest)> {
        let found = self.shared.store.generation(number).await?;
        found.ok_or(PlatformError::GenerationNotFound { number })
    }

    /// What people did to what is live, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit(&self, limit: u32) -> Outcome<Vec<AuditRow>> {
        Ok(self.shared.store.audit(limit).await?)
    }

    /// Decides something about a tag, and looks at once whether it goes live.
    ///
    /// # Errors
    /// When there is no such tag, it names something else meanwhile, or the reason is none.
    pub async fn decide_tag(
        &self,
        tag: &str,
        object: Option<ObjectId>,
        kind: DecisionKind,
        deed: Deed,
    ) -> Outcome<()> {
        let Deed { who, why } = checked(deed)?;
        let unknown = || PlatformError::TagNotFound { tag: tag.chars().take(80).collect() };
        let name: TagName = tag.parse().map_err(|_| unknown())?;
        let records = self.shared.store.tag_records().await?;
        let record = records.into_iter().find(|it| it.name == name).ok_or_else(unknown)?;
        let last = record.sightings.last().map(|it| it.object);
        let current = record.current.or(last).ok_or_else(unknown)?;
        let wanted = object.unwrap_or(current);
        if kind != DecisionKind::Quarantine && Some(wanted) != record.current {
            let now = record.current.map_or("nothing any more".to_owned(), |it| it.to_string());
            let reason = format!(
                "tag `{name}` names {now}, not {wanted}: look again (`flagops releases`), then decide"
            );
            return Err(PlatformError::BadRelease { reason });
        }
        let at = self.now();
        let decision = TagDecision { tag: name, object: wanted, kind, who, why, at };
        self.shared.store.decide_tag(decision).await?;
        releases::advance(&self.shared).await;
        Ok(())
    }

    /// Goes back: to an earlier generation as a whole, or of one challenge only. What is gone back
    /// from never goes live again by itself.
    ///
    /// # Errors
    /// When there is nothing to go back to, it holds what was taken out of service, it cannot be
    /// read any more, or its images have to be built first, which begins with the call.
    pub async fn rollback(
        &self,
        to: Option<u32>,
        challenge: Option<&str>,
        deed: Deed,
    ) -> Outcome<Generation> {
        let deed = checked(deed)?;
        let challenge = challenge
            .map(|id| {
                let unknown =
                    PlatformError::ChallengeNotFound { id: id.chars().take(80).collect() };
                id.parse::<ChallengeId>().map_err(|_| unknown)
            })
            .transpose()?;
        let done = self.go_back(to, challenge, deed).await?;
        // It says why nothing else goes live now.
        releases::advance(&self.shared).await;
        Ok(done)
    }

    async fn go_back(
        &self,
        to: Option<u32>,
        challenge: Option<ChallengeId>,
        deed: Deed,
    ) -> Outcome<Generation> {
        let _turn = self.shared.release_turn.acquire().await;
        let Some((active, manifest)) = self.shared.store.active().await? else {
            let reason = "nothing ever went live, so there is nothing to go back to".to_owned();
            return Err(PlatformError::BadRelease { reason });
        };
        let target = self.target(&active, &manifest, to, challenge.as_ref()).await?;
        let new = match challenge {
            None => self.whole(&active, &manifest, target, deed)?,
            Some(id) => self.one(&manifest, &target, id, deed)?,
        };
        self.refuse_quarantined(&new.manifest).await?;
        let gone =
            |error: flip::Unresolved| PlatformError::BadRelease { reason: error.to_string() };
        let next = flip::resolve(&self.shared, &new.manifest, Vec::new()).await.map_err(gone)?;
        self.want_images(&next).await?;
        let done = flip::flip(&self.shared, new, next).await.map_err(internal)?;
        done.ok_or_else(|| PlatformError::BadRelease {
            reason: "something else went live meanwhile: look again, then decide".to_owned(),
        })
    }

    /// The generation to go back to.
    async fn target(
        &self,
        active: &Generation,
        manifest: &Manifest,
        to: Option<u32>,
        challenge: Option<&ChallengeId>,
    ) -> Outcome<(Generation, Manifest)> {
        if let Some(number) = to {
            return self.generation(number).await;
        }
        let out = self.out_of_service().await?;
        for earlier in self.shared.store.generations(N_HISTORY).await? {
            if earlier.number >= active.number {
                continue;
            }
            let (generation, other) = self.generation(earlier.number).await?;
            if may_return_to(&other, manifest, challenge, &out) {
                return Ok((generation, other));
            }
        }
        let what = challenge.map_or("what is live".to_owned(), ToString::to_string);
        let reason =
            format!("no earlier generation has {what} in another version that may go live");
        Err(PlatformError::BadRelease { reason })
    }

    /// What never goes live again by itself.
    async fn out_of_service(&self) -> Outcome<OutOfService> {
        let store = &self.shared.store;
        Ok(OutOfService {
            versions: releases::quarantined(&self.shared).await?,
            tags: tags::decisions(&self.shared).await?.quarantined,
            revisions: store.left_revisions().await?,
        })
    }

    /// Everything as it was.
    fn whole(
        &self,
        active: &Generation,
        manifest: &Manifest,
        (target, old): (Generation, Manifest),
        deed: Deed,
    ) -> Outcome<NewGeneration> {
        if target.number == active.number {
            let reason = format!("generation {} is live already", active.number);
            return Err(PlatformError::BadRelease { reason });
        }
        let left = manifest.tag.clone().filter(|left| Some(left) != old.tag.as_ref());
        let why = format!("back to generation {}: {}", target.number, deed.why);
        let quarantine_tags = left.into_iter().map(|(tag, object)| TagDecision {
            tag,
            object,
            kind: DecisionKind::Quarantine,
            who: deed.who.clone(),
            why: why.clone(),
            at: self.now(),
        });
        let quarantine_tags = quarantine_tags.collect();
        let left_revision = (manifest.revision != old.revision).then_some(manifest.revision);
        let new = NewGeneration::of(old, Cause::Rollback, deed.who, why);
        Ok(NewGeneration { quarantine_tags, left_revision, ..new })
    }

    /// One challenge as it was.
    fn one(
        &self,
        manifest: &Manifest,
        (target, old): &(Generation, Manifest),
        id: ChallengeId,
        deed: Deed,
    ) -> Outcome<NewGeneration> {
        let mut entries = manifest.challenges.clone();
        let now = entries.get(&id).map(|entry| entry.tree);
        match old.challenges.get(&id) {
            Some(entry) if Some(entry.tree) == now => {
                let reason = format!(
                    "generation {} has the version of {id} that is live: name another with `--to`",
                    target.number
                );
                return Err(PlatformError::BadRelease { reason });
            }
            Some(entry) => {
                let kept = Entry { disposition: EntryDisposition::LastKnownGood, ..entry.clone() };
                entries.insert(id.clone(), kept);
            }
            None => {
                let reason = format!(
                    "generation {} does not have {id}: name another with `--to`, or `flagops hold {id}`",
                    target.number
                );
                return Err(PlatformError::BadRelease { reason });
            }
        }
        let why = format!("{id} back to generation {}: {}", target.number, deed.why);
        let old = Manifest::new(manifest.tag.clone(), manifest.revision, entries);
        let mut new = NewGeneration::of(old, Cause::Rollback, deed.who, why);
        new.quarantine_versions.extend(now.map(|tree| (id, tree)));
        Ok(new)
    }

    async fn refuse_quarantined(&self, manifest: &Manifest) -> Outcome<()> {
        let out = self.out_of_service().await?;
        let Some(id) = out.version_in(manifest) else { return Ok(()) };
        let reason = format!(
            "it holds {id} in a version that was taken out of service (`flagops releases` says why): go back to another generation, or of one challenge (`--challenge`)"
        );
        Err(PlatformError::BadRelease { reason })
    }

    /// Refuses while an image of `next` is not there, and has it built.
    async fn want_images(&self, next: &super::LiveSet) -> Outcome<()> {
        let states = nodes::images::states(&self.shared).await?;
        let is_built = |challenge: &crate::model::Challenge| {
            let mut units = crate::release::identity::build_units(challenge).into_iter();
            units.all(|unit| states.get(&unit.key) == Some(&BuildState::Built))
        };
        let lacking: Vec<_> = next.iter().filter(|(_, live)| !is_built(&live.challenge)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let mut by_revision: BTreeMap<Revision, Vec<_>> = BTreeMap::new();
        for (_, live) in &lacking {
            by_revision.entry(live.revision).or_default().push(Arc::clone(&live.challenge));
        }
        for (revision, challenges) in by_revision {
            builds::want_of(&self.shared, revision, challenges, tags::RELEASE).await;
        }
        let missing = lacking.into_iter().map(|(id, _)| id.clone()).collect();
        Err(PlatformError::ImagesMissing { missing })
    }

    /// Ends every instance of a challenge that is of another version than the live one; how many.
    /// Their players read why.
    ///
    /// # Errors
    /// When there is no such challenge, the reason is none, or the store fails.
    pub async fn force(&self, challenge: &str, deed: Deed) -> Outcome<usize> {
        let Deed { who, why } = checked(deed)?;
        let unknown =
            || PlatformError::ChallengeNotFound { id: challenge.chars().take(80).collect() };
        let id: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let words = format!("organizers replaced this version ({why}): start the challenge anew");
        let n_ended = releases::force(&self.shared, &id, &words).await?;
        let now = self.now();
        self.shared.store.note_deed(who, "force", id.to_string(), why, now).await?;
        Ok(n_ended)
    }

    /// Why nothing goes live by itself, where a person said so.
    pub fn frozen(&self) -> Option<Pause> {
        self.shared.pauses.load().frozen().cloned()
    }
}

fn internal(error: ReleaseError) -> PlatformError {
    PlatformError::Internal(Box::new(error))
}

fn checked(deed: Deed) -> Outcome<Deed> {
    let text = |what: &str, text: &str| {
        let text = text.trim();
        let is_fine =
            (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        let reason = format!("`{what}` must be 1 to 200 characters on one line");
        if is_fine { Ok(text.to_owned()) } else { Err(PlatformError::BadRelease { reason }) }
    };
    Ok(Deed { who: text("who", &deed.who)?, why: text("why", &deed.why)? })
}

fn tag_state(facts: &TagFacts, standing: &Standing) -> TagState {
    let (word, words) = match standing {
        Standing::Live => ("live", "players have it".to_owned()),
        Standing::Candidate => {
            ("candidate", "goes live as soon as it is valid and built".to_owned())
        }
        Standing::Superseded => {
            ("superseded", "a later tag took its place; `flagops rollback` goes back".to_owned())
        }
        Standing::Quarantined => {
            ("quarantined", "a person took it out; only a later tag goes live".to_owned())
        }
        Standing::Gone => ("gone", "the remote does not have it any more".to_owned()),
        Standing::Unordered(why) => ("unordered", why.to_string()),
        Standing::Held(hold) => ("held", hold.to_string()),
    };
    let revision = match &facts.target {
        TagTarget::Commit { revision, .. } => Some(*revision),
        TagTarget::Other(_) | TagTarget::Unreadable => None,
    };
    TagState {
        name: facts.record.name.clone(),
        object: facts.record.current,
        revision,
        first_seen: facts.record.sightings.first().map(|it| it.first_seen),
        n_objects: facts.record.sightings.len(),
        standing: word,
        words,
    }
}
