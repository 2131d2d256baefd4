//! Chooses which tag is the candidate for going live, and says of every other why it is not.
//!
//! In:  the organizers' policy, everything that was ever seen of the tags, what is live, the time.
//! Out: at most one candidate, the standing of each release tag, and when time alone changes that.
//!
//! # Invariants
//! * Tags are claims, not facts: one that moved, is not what it says, or shares its place with
//!   another is held until a person or a new tag decides.
//! * What is live never goes back by itself: only a tag after it, and after every quarantined one,
//!   is a candidate.
//! * When the highest tag is held, no lower one silently takes its place.
//!
//! # Not here
//! Whether a candidate is valid and built (`gate`), signatures (`trust`), ancestry and objects
//! (`git`).

mod claim;
mod hold;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use semver::VersionReq;
use serde::{Deserialize, Serialize};

use super::order::{self, OrderKey, TagOrder, TagPattern, Unordered};
use crate::model::challenge::word_enum;
use crate::model::{ObjectId, Revision, TagName, Timestamp};

pub use claim::{Claim, claim};
pub use hold::Hold;

/// How far a tag's date may be ahead of our clock.
const FUTURE_MILLIS: i64 = 300_000;

/// Which tags go live, and how.
#[derive(Debug, Clone)]
pub struct TagPolicy {
    /// Which names are release tags.
    pub pattern: TagPattern,
    /// How they are ordered.
    pub order: TagOrder,
    /// Versions that count; semver only.
    pub range: Option<VersionReq>,
    /// Whether pre-releases count.
    pub allows_prerelease: bool,
    /// Only tag objects (`git tag -a`).
    pub needs_annotated: bool,
    /// Only signed ones, by a key of the trust file.
    pub needs_signed: bool,
    /// Only commits that one of these branches contains; empty is no condition.
    pub ancestor_of: Vec<String>,
    /// How long a tag must have been seen before it goes live.
    pub soak_millis: i64,
    /// Whether it goes live without a person.
    pub is_automatic: bool,
    /// What a moved tag means.
    pub on_moved: OnMoved,
    /// What it means that the live tag was deleted.
    pub on_deleted: OnDeleted,
    /// When nothing goes live.
    pub freezes: Vec<Freeze>,
}

word_enum!(
    /// What a moved tag means. Never that it is followed.
    OnMoved {
        /// It waits until somebody accepts the move.
        Hold = "hold",
        /// It is never a release again.
        Reject = "reject",
    }
);

word_enum!(
    /// What it means that the tag which is live was deleted. Its release stays live in any case.
    OnDeleted {
        /// Nothing: other tags go live as ever.
        Keep = "keep",
        /// Nothing goes live until it is back or a person rolls back or approves.
        Hold = "hold",
    }
);

/// A time in which nothing goes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// For whoever waits.
    pub why: String,
}

impl Freeze {
    /// Whether nothing goes live at `now`.
    pub fn is_on(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// Everything that was ever seen of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// Its name.
    pub name: TagName,
    /// The objects it named, in the order of their first sightings; never empty.
    pub sightings: Vec<Sighting>,
    /// What it names now; `None` when the remote does not have it any more.
    pub current: Option<ObjectId>,
}

/// That a tag named an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The tag object, or the commit of a lightweight tag.
    pub object: ObjectId,
    /// When we first saw that.
    pub first_seen: Timestamp,
}

/// What the object of a tag is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagTarget {
    /// A commit.
    Commit {
        /// Which.
        revision: Revision,
        /// What the tag object itself says; `None` for a lightweight tag.
        object: Option<TagObject>,
    },
    /// Another tag, a tree, a file: no commit. The word is git's.
    Other(&'static str),
    /// The mirror cannot read it.
    Unreadable,
}

/// What a tag object says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagObject {
    /// The name inside, which nobody compares but us.
    pub name: String,
    /// When it was made, by its maker's clock.
    pub tagged_at: Option<Timestamp>,
}

/// What is known of a tag beyond its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFacts {
    /// Its history.
    pub record: TagRecord,
    /// What it names now, or named last.
    pub target: TagTarget,
    /// Why nobody who may vouches for it; `None` when somebody does, or nobody asked.
    pub distrust: Option<Distrust>,
    /// Whether one of the wanted branches contains its commit; `None` when nobody asked.
    pub is_contained: Option<bool>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// A stable word: that of the verdict, [`TRUST_MISSING`], or `NotAncestor`.
    pub reason: &'static str,
    /// Why, and what to do.
    pub words: String,
}

/// Nobody is known to be trusted, so no signature counts.
pub const TRUST_MISSING: &str = "TrustMissing";

/// What people decided about tags. Each decision is about one object: a tag that moves afterwards
/// is undecided again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// May go live.
    pub approved: BTreeSet<(TagName, ObjectId)>,
    /// Moved, and that is fine.
    pub accepted_moves: BTreeSet<(TagName, ObjectId)>,
    /// Never goes live again, and nothing before it does.
    pub quarantined: BTreeSet<(TagName, ObjectId)>,
}

/// The release tag that is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTag {
    /// Its name.
    pub name: TagName,
    /// The object it named when it went live.
    pub object: ObjectId,
}

/// Where a release tag stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Players have it.
    Live,
    /// It goes live as soon as it is valid and built.
    Candidate,
    /// It is before what is live, before a quarantined tag, or before the candidate.
    Superseded,
    /// A person took it out.
    Quarantined,
    /// The remote does not have it any more.
    Gone,
    /// It has no place in the order.
    Unordered(Unordered),
    /// It waits for something.
    Held(Hold),
}

/// What [`select`] says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The tag that goes live as soon as it is valid and built.
    pub candidate: Option<Candidate>,
    /// The tag that would be the candidate, and what it waits for. Its images are built meanwhile
    /// if it names a commit.
    pub waiting: Option<(TagName, Hold)>,
    /// Where each release tag stands.
    pub standings: BTreeMap<TagName, Standing>,
    /// When to select again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// A tag that may go live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The tag.
    pub name: TagName,
    /// The object it names.
    pub object: ObjectId,
    /// The commit.
    pub revision: Revision,
}

/// A release tag with its place.
struct Placed<'a> {
    facts: &'a TagFacts,
    object: ObjectId,
    key: OrderKey,
}

/// Chooses the candidate among `tags`, everything that was ever seen: gone ones still bound what may
/// come. Pure and total; the order of `tags` does not matter.
pub fn select(
    policy: &TagPolicy,
    tags: &[TagFacts],
    live: Option<&LiveTag>,
    decisions: &Decisions,
    now: Timestamp,
) -> Selection {
    let mut selection = Selection::default();
    let placed = place(policy, tags, decisions, &mut selection.standings);
    let floor = floor(policy, tags, live, decisions);
    let is_live = |placed: &Placed<'_>| {
        live.is_some_and(|live| {
            live.name == placed.facts.record.name && live.object == placed.object
        })
    };
    let is_after = |placed: &Placed<'_>, (name, key): &(&TagName, OrderKey)| {
        match placed.key.compare(key) {
            Some(Ordering::Less) => false,
            // The very name, which moved since: it is held, or a person accepted that.
            Some(Ordering::Equal) => placed.facts.record.name == **name,
            Some(Ordering::Greater) | None => true,
        }
    };
    let above: Vec<_> = placed
        .iter()
        .filter(|it| !is_live(it) && floor.iter().all(|bound| is_after(it, bound)))
        .collect();
    let highest = above.iter().copied().reduce(|best, next| {
        if next.key.compare(&best.key) == Some(Ordering::Greater) { next } else { best }
    });
    for it in &placed {
        let standing = if is_live(it) { Standing::Live } else { Standing::Superseded };
        selection.standings.insert(it.facts.record.name.clone(), standing);
    }
    let Some(highest) = highest else { return selection };
    let twins: Vec<_> = above
        .iter()
        .copied()
        .filter(|it| it.key.compare(&highest.key) == Some(Ordering::Equal))
        .collect();
    if let [first, second, ..] = twins.as_slice() {
        let names = [&first.facts.record.name, &second.facts.record.name];
        for twin in &twins {
            let name = twin.facts.record.name.clone();
            let other = if name == *names[0] { names[1] } else { names[0] }.clone();
            let hold = Hold::Ambiguous { name: name.clone(), other };
            selection.standings.insert(name.clone(), Standing::Held(hold.clone()));
            selection.waiting.get_or_insert((name, hold));
        }
        return selection;
    }
    let name = highest.facts.record.name.clone();
    let live_is_gone = live.filter(|live| {
        !tags.iter().any(|tag| tag.record.name == live.name && tag.record.current.is_some())
    });
    match judge(policy, highest, live_is_gone, decisions, now) {
        Ok(revision) => {
            let object = highest.object;
            selection.standings.insert(name.clone(), Standing::Candidate);
            selection.candidate = Some(Candidate { name, object, revision });
        }
        Err(hold) => {
            selection.wake_at = hold.ends_at();
            selection.standings.insert(name.clone(), Standing::Held(hold.clone()));
            selection.waiting = Some((name, hold));
        }
    }
    selection
}

/// The release tags that have a place; the standings of those that have none.
fn place<'a>(
    policy: &TagPolicy,
    tags: &'a [TagFacts],
    decisions: &Decisions,
    standings: &mut BTreeMap<TagName, Standing>,
) -> Vec<Placed<'a>> {
    let mut placed = Vec::new();
    for facts in tags {
        let name = &facts.record.name;
        let Some(part) = policy.pattern.ordered_part(name) else { continue };
        let Some(object) = facts.record.current else {
            standings.insert(name.clone(), Standing::Gone);
            continue;
        };
        if decisions.quarantined.contains(&(name.clone(), object)) {
            standings.insert(name.clone(), Standing::Quarantined);
            continue;
        }
        match key_of(policy, part, &facts.target) {
            Ok(key) => placed.push(Placed { facts, object, key }),
            Err(why) => {
                standings.insert(name.clone(), Standing::Unordered(why));
            }
        }
    }
    placed.sort_by(|a, b| a.facts.record.name.cmp(&b.facts.record.name));
    placed
}

fn key_of(policy: &TagPolicy, part: &str, target: &TagTarget) -> Result<OrderKey, Unordered> {
    let tagged_at = match target {
        TagTarget::Commit { object: Some(object), .. } => object.tagged_at,
        TagTarget::Commit { object: None, .. } | TagTarget::Other(_) | TagTarget::Unreadable => {
            None
        }
    };
    let range = policy.range.as_ref();
    order::key(policy.order, part, tagged_at, range, policy.allows_prerelease)
}

/// The places that a candidate must be after: that of the live tag, and those of quarantined ones.
fn floor<'a>(
    policy: &TagPolicy,
    tags: &[TagFacts],
    live: Option<&'a LiveTag>,
    decisions: &'a Decisions,
) -> Vec<(&'a TagName, OrderKey)> {
    let names = live.map(|live| &live.name).into_iter();
    let names = names.chain(decisions.quarantined.iter().map(|(name, _)| name));
    names
        .filter_map(|name| {
            let part = policy.pattern.ordered_part(name)?;
            let facts = tags.iter().find(|tag| tag.record.name == *name);
            let target = facts.map_or(&TagTarget::Unreadable, |facts| &facts.target);
            // A pre-release that is live is a floor, whatever the policy says of new ones.
            let lenient = TagPolicy { range: None, allows_prerelease: true, ..policy.clone() };
            Some((name, key_of(&lenient, part, target).ok()?))
        })
        .collect()
}

/// The commit that goes live, or what the tag waits for.
fn judge(
    policy: &TagPolicy,
    placed: &Placed<'_>,
    live_is_gone: Option<&LiveTag>,
    decisions: &Decisions,
    now: Timestamp,
) -> Result<Revision, Hold> {
    let TagFacts { record, target, distrust, is_contained } = placed.facts;
    let name = record.name.clone();
    let decided = (name.clone(), placed.object);
    // `sightings` begins with the first object that the name ever had.
    let first = record.sightings.first().map_or(placed.object, |it| it.object);
    if first != placed.object {
        match policy.on_moved {
            OnMoved::Reject => return Err(Hold::Rejected { name }),
            OnMoved::Hold if !decisions.accepted_moves.contains(&decided) => {
                return Err(Hold::Moved { name, was: first, now: placed.object });
            }
            OnMoved::Hold => {}
        }
    }
    let revision = match target {
        TagTarget::Unreadable => return Err(Hold::Unreadable { name }),
        TagTarget::Other(what) => return Err(Hold::NotACommit { name, what }),
        TagTarget::Commit { object: None, .. } if policy.needs_annotated => {
            return Err(Hold::NotAnnotated { name });
        }
        TagTarget::Commit { revision, object } => {
            if let Some(object) = object {
                judge_object(object, &name, now)?;
            }
            *revision
        }
    };
    if let Some(Distrust { words, .. }) = distrust.clone() {
        return Err(Hold::Untrusted { name, reason: words });
    }
    if *is_contained == Some(false) {
        return Err(Hold::NotAnAncestor { name });
    }
    // What a person approved does not wait for time or for another person.
    if decisions.approved.contains(&decided) {
        return Ok(revision);
    }
    if let (OnDeleted::Hold, Some(live)) = (policy.on_deleted, live_is_gone) {
        return Err(Hold::LiveDeleted { name, live: live.name.clone() });
    }
    let seen = record.sightings.iter().find(|it| it.object == placed.object);
    let until = seen.map_or(now, |it| it.first_seen).plus_millis(policy.soak_millis);
    if now < until {
        return Err(Hold::Soaking { name, until });
    }
    if let Some(freeze) = policy.freezes.iter().find(|freeze| freeze.is_on(now)) {
        return Err(Hold::Frozen { name, until: freeze.until, why: freeze.why.clone() });
    }
    if !policy.is_automatic {
        return Err(Hold::AwaitingApproval { name });
    }
    Ok(revision)
}

fn judge_object(object: &TagObject, name: &TagName, now: Timestamp) -> Result<(), Hold> {
    if object.name != name.as_str() {
        let inner = object.name.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(Hold::NameMismatch { name: name.clone(), inner });
    }
    match object.tagged_at {
        Some(at) if at.millis_since(now) > FUTURE_MILLIS => {
            Err(Hold::FutureDate { name: name.clone(), at })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
