//! Lets the tag that is due go live, whole.

use std::sync::Arc;

use super::{
    Candidate, FLAGOPS, Missing, ReleaseError, flip, live_entries, quarantined, state, state_held,
    verified,
};
use crate::daemon::shared::Shared;
use crate::daemon::{builds, exports, nodes, secrets, solver, source};
use crate::model::{ConditionStatus, ConditionType, Pauses, Revision, Scope, TagName, Timestamp};
use crate::proof::{self, HeldBack};
use crate::release::gate::{self, Fault, Question, Verdict};
use crate::release::manifest::{Cause, Manifest};
use crate::release::tag::{self, Decisions, Hold, LiveTag, Selection, TagPolicy, TagTarget};
use crate::store::{DecisionKind, NewGeneration, StoreError};

/// The priority of what a release waits for (`contract/gitops.md` §4.8).
pub(crate) const RELEASE: i32 = 80;

/// Selects, builds what the candidate needs, and lets it go live when nothing is missing.
pub(super) async fn advance(shared: &Arc<Shared>, policy: &TagPolicy) -> Result<(), ReleaseError> {
    let Some(selection) = select(shared, policy).await? else { return Ok(()) };
    let wish = wish(shared, &selection);
    let held = held(shared, &selection);
    state_held(shared, held.clone(), wish.as_ref().map(|wish| wish.revision)).await;
    let Some(wish) = wish else {
        shared.releases.known().candidate = None;
        return Ok(());
    };
    let candidate = load(shared, wish).await?;
    let folders = candidate.catalog.folders.values();
    let challenges = folders.filter_map(|folder| folder.challenge.clone()).collect();
    builds::want_of(shared, candidate.revision, challenges, RELEASE).await;
    solver::want_missing(shared, candidate.revision, &candidate.catalog).await?;
    let verdict = judge(shared, &candidate).await?;
    let missing = match &verdict {
        Verdict::Eligible(_) => Missing::Nothing,
        Verdict::Waiting(ids) => Missing::Waiting(ids.clone()),
        Verdict::Blocked(faults) => Missing::Blocked(faults.clone()),
        Verdict::AllWouldBeRemoved => Missing::AllWouldBeRemoved,
    };
    state_missing(shared, &candidate, &missing).await;
    if let Some(known) = &mut shared.releases.known().candidate {
        known.missing = missing;
    }
    if let (Verdict::Eligible(manifest), None) = (verdict, held) {
        go_live(shared, &candidate, manifest).await?;
    }
    Ok(())
}

/// `None` before the first look at the tags.
async fn select(
    shared: &Arc<Shared>,
    policy: &TagPolicy,
) -> Result<Option<Selection>, ReleaseError> {
    let Some(tags) = shared.releases.known().tags.clone() else { return Ok(None) };
    let active = shared.store.active().await?;
    let live = active.and_then(|(_, manifest)| manifest.tag);
    let live = live.map(|(name, object)| LiveTag { name, object });
    let decisions = decisions(shared).await?;
    let selection = tag::select(policy, &tags, live.as_ref(), &decisions, shared.now());
    {
        let mut known = shared.releases.known();
        known.selection = selection.clone();
        known.wake_at = selection.wake_at;
    }
    verified::state(shared, policy, &tags, live.as_ref()).await;
    Ok(Some(selection))
}

/// What people decided about tags.
pub(crate) async fn decisions(shared: &Shared) -> Result<Decisions, StoreError> {
    let mut decisions = Decisions::default();
    for it in shared.store.tag_decisions().await? {
        let set = match it.kind {
            DecisionKind::Approve => &mut decisions.approved,
            DecisionKind::AcceptMove => &mut decisions.accepted_moves,
            DecisionKind::Quarantine => &mut decisions.quarantined,
        };
        set.insert((it.tag, it.object));
    }
    Ok(decisions)
}

/// The commit that goes live next, or would but for time or a person.
struct Wish {
    name: TagName,
    object: crate::model::ObjectId,
    revision: Revision,
}

fn wish(shared: &Shared, selection: &Selection) -> Option<Wish> {
    if let Some(it) = &selection.candidate {
        let (name, object, revision) = (it.name.clone(), it.object, it.revision);
        return Some(Wish { name, object, revision });
    }
    let (name, hold) = selection.waiting.as_ref()?;
    // Whatever else a tag is held for, nothing of it is built: it may be anybody's.
    if !matches!(
        hold,
        Hold::Soaking { .. }
            | Hold::Frozen { .. }
            | Hold::AwaitingApproval { .. }
            | Hold::LiveDeleted { .. }
    ) {
        return None;
    }
    let known = shared.releases.known();
    let facts = known.tags.as_ref()?.iter().find(|it| it.record.name == *name)?;
    let TagTarget::Commit { revision, .. } = &facts.target else { return None };
    Some(Wish { name: name.clone(), object: facts.record.current?, revision: *revision })
}

/// Why nothing goes live although it could: a hold of the tag, or somebody's wish.
fn held(shared: &Shared, selection: &Selection) -> Option<(&'static str, String)> {
    if let Some((_, hold)) = &selection.waiting {
        return Some((hold.reason(), hold.to_string()));
    }
    let name = &selection.candidate.as_ref()?.name;
    if shared.awaits_acceptance() {
        // What tags named before is forgotten, so one that moved looks like any other.
        let words = format!(
            "tag `{name}` waits: the database was lost, and with it what tags named and who took which out; look at `flagops releases`, then `flagops recover --accept`"
        );
        return Some(("Recovering", words));
    }
    let pauses: Arc<Pauses> = shared.pauses.load();
    if let Some(pause) = pauses.frozen() {
        let words = format!("tag `{name}` waits: nothing goes live {pause}; `flagops resume`");
        return Some(("FreezeWindow", words));
    }
    let pause = pauses.of(crate::model::PauseKind::Suspend, &Scope::Repo)?;
    Some(("ByOperator", format!("tag `{name}` waits: everything is suspended {pause}")))
}

/// What the wanted commit declares.
async fn load(shared: &Arc<Shared>, wish: Wish) -> Result<Candidate, ReleaseError> {
    let Wish { name, object, revision } = wish;
    let known = shared.releases.candidate();
    if let Some(same) = &known
        && (&same.name, same.object, same.revision) == (&name, object, revision)
    {
        if same.sealed.is_empty() {
            return Ok(same.clone());
        }
        // The mirror may have been mended since.
        let sealed = Arc::new(secrets::sealed(shared, revision, &same.catalog).await);
        let same = Candidate { sealed, ..same.clone() };
        shared.releases.known().candidate = Some(same.clone());
        return Ok(same);
    }
    let head = shared.head.load();
    let same = known.filter(|it| it.revision == revision).map(|it| it.catalog);
    let catalog = match same {
        Some(catalog) => catalog,
        None if head.revision == Some(revision) => Arc::clone(&head.catalog),
        None => {
            let read = source::read(shared, revision, Arc::clone(&head.catalog)).await;
            let failed = |source| ReleaseError::Read { tag: name.clone(), source };
            Arc::new(read.map_err(failed)?)
        }
    };
    let candidate = Candidate::new(shared, (name, object), revision, catalog).await;
    shared.releases.known().candidate = Some(candidate.clone());
    Ok(candidate)
}

/// Whether the candidate may go live.
pub(crate) async fn judge(
    shared: &Arc<Shared>,
    candidate: &Candidate,
) -> Result<Verdict, StoreError> {
    let tag = (candidate.name.clone(), candidate.object);
    let builds = nodes::images::states(shared).await?;
    let quarantined = quarantined(shared).await?;
    let live = live_entries(shared);
    let proofs = solver::proofs_of(shared, &candidate.catalog).await?;
    let HeldBack { unproven, proving } = proof::held_back(&candidate.catalog, &proofs);
    // Images may have been built since: then their files are there, or it is known why not.
    let mut sealed = exports::sealed(shared, &candidate.catalog).await;
    sealed.extend(candidate.sealed.iter().map(|(version, why)| (version.clone(), why.clone())));
    let question = Question {
        tag: Some(&tag),
        revision: candidate.revision,
        catalog: &candidate.catalog,
        builds: &builds,
        unproven: &unproven,
        proving: &proving,
        sealed: &sealed,
        live: &live,
        quarantined: &quarantined,
        mode: shared.config.release.gate,
    };
    let verdict = gate::judge(&question);
    let pauses = shared.pauses.load();
    let is_suspended = |id: &crate::model::ChallengeId| pauses.suspended_challenge(id).is_some();
    Ok(match verdict {
        Verdict::Eligible(mut manifest) => {
            gate::leave_alone(&mut manifest, &live, is_suspended);
            Verdict::Eligible(manifest)
        }
        other => other,
    })
}

async fn go_live(
    shared: &Arc<Shared>,
    candidate: &Candidate,
    manifest: Manifest,
) -> Result<(), ReleaseError> {
    let catalogs = vec![Arc::clone(&candidate.catalog), Arc::clone(&shared.head.load().catalog)];
    let next = match flip::resolve(shared, &manifest, catalogs).await {
        Ok(next) => next,
        Err(error) => {
            // Nothing but the kept version of a suspended challenge can be missing.
            let (kind, status) = (ConditionType::Validated, ConditionStatus::False);
            let at = Some(candidate.revision);
            state(shared, kind, status, "Unreadable", error.to_string(), at).await;
            return Ok(());
        }
    };
    let why = format!("tag `{}` at {}", candidate.name, candidate.revision.short());
    let new = NewGeneration::of(manifest, Cause::Tag, FLAGOPS.to_owned(), why);
    flip::flip(shared, new, next).await?;
    shared.releases.known().candidate = None;
    // The selection names it as the live one from now on.
    if let Some(policy) = shared.releases.policy() {
        select(shared, policy).await?;
    }
    Ok(())
}

async fn state_missing(shared: &Shared, candidate: &Candidate, missing: &Missing) {
    let (tag, at) = (&candidate.name, Some(candidate.revision));
    let faults = match missing {
        Missing::Blocked(faults) => faults.as_slice(),
        Missing::Nothing | Missing::Waiting(_) | Missing::AllWouldBeRemoved => &[],
    };
    let of = |is_it: fn(&Fault) -> bool| list(faults.iter().filter(|it| is_it(it)));
    let mut say = Vec::new();
    let invalid = of(|it| {
        matches!(
            it,
            Fault::Invalid { .. }
                | Fault::Competition { .. }
                | Fault::Quarantined { .. }
                | Fault::NotDecryptable { .. }
        )
    });
    say.push((ConditionType::Validated, "Invalid", invalid));
    say.push((
        ConditionType::Proven,
        "SolverFailed",
        of(|it| matches!(it, Fault::SolverFailed { .. })),
    ));
    let failed = of(|it| matches!(it, Fault::BuildFailed { .. }));
    let deadline = deadline(shared, candidate);
    let built = match (failed, missing) {
        (Some(failed), _) => ("BuildFailed", Some(failed)),
        (None, Missing::Waiting(_)) if deadline <= shared.now() => {
            ("GateTimeout", Some("its images or proofs take longer than `release.gate_deadline_secs`: `flagops releases` has the list".to_owned()))
        }
        (None, Missing::Waiting(_)) => {
            shared.releases.known().wake_at.get_or_insert(deadline);
            ("Building", Some("images are being built, or proofs are under way".to_owned()))
        }
        (None, _) => ("Ok", None),
    };
    say.push((ConditionType::Built, built.0, built.1));
    for (kind, reason, words) in say {
        let (status, reason, message) = match words {
            Some(words) => (ConditionStatus::False, reason, format!("tag `{tag}`: {words}")),
            None => (ConditionStatus::True, "Ok", format!("tag `{tag}`: nothing is missing")),
        };
        state(shared, kind, status, reason, message, at).await;
    }
    let (status, reason, message) = if *missing == Missing::AllWouldBeRemoved {
        let words = format!(
            "tag `{tag}` has none of the live challenges, so it does not go live; make one with challenges in it"
        );
        (ConditionStatus::True, "AllWouldBeRemoved", words)
    } else {
        (ConditionStatus::False, "Ok", "nothing is taken away by mistake".to_owned())
    };
    state(shared, ConditionType::PruneHeld, status, reason, message, at).await;
}

/// When people are told that it still waits.
fn deadline(shared: &Shared, candidate: &Candidate) -> Timestamp {
    candidate.since.plus_secs(i64::from(shared.config.release.gate_deadline_secs))
}

/// The first few, and how many more.
fn list<'a>(faults: impl Iterator<Item = &'a Fault>) -> Option<String> {
    const SHOWN: usize = 5;
    let words: Vec<_> = faults.map(ToString::to_string).collect();
    if words.is_empty() {
        return None;
    }
    let mut text = words.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if words.len() > SHOWN {
        text.push_str("; and more: `flagops releases` has the list");
    }
    Some(text)
}
