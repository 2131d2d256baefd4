//! Decides what the forge is told of commits. Pure.
//!
//! # Invariants
//! * One status for each commit and context; deciding again from what was decided changes nothing.
//! * A description is one line of at most [`MAX_DESCRIPTION`] characters, and changes only when what
//!   it tells does: no counters that run.
//! * Nothing stays `pending` for a commit that nobody works on any more.
//! * A commit of which players have only a part is not told to be live: where the branch is live, a
//!   generation is of that commit as soon as its first challenge is.

use crate::model::{ChallengeId, CommitState, CommitStatus, Revision, StatusContext, TagName};

/// Longest description that every forge takes, in characters.
pub const MAX_DESCRIPTION: usize = 140;

/// What is said of a commit that players had.
const WAS_LIVE: &str = "was live until another revision took its place";

/// What is known of the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The newest revision; `None` before the first was read.
    pub head: Option<HeadFacts>,
    /// The generation that players have; `None` where there are no generations.
    pub active: Option<Active>,
    /// The tag that goes live next, where tags do.
    pub tagged: Option<Tagged>,
}

/// What is known of the tag that goes live next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// It.
    pub tag: TagName,
    /// Its commit.
    pub revision: Revision,
    /// What keeps it.
    pub kept: Kept,
}

/// What keeps a tag from being live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It waits, for what these words say; they name no challenge.
    Waits(&'static str),
    /// These challenges are not good; none when it is wrong as a whole.
    Blocked(Vec<ChallengeId>),
}

/// What is known of the newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFacts {
    /// It.
    pub revision: Revision,
    /// Challenges in it.
    pub n_challenges: usize,
    /// Those of them that are not valid.
    pub broken: Vec<ChallengeId>,
    /// The images of those that are.
    pub images: ImageFacts,
    /// Whether players get it.
    pub going: Going,
}

/// How far images are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// All that are needed.
    pub n_images: usize,
    /// Those that are not there and that did not fail.
    pub n_missing: usize,
    /// Those that could not be built.
    pub n_failed: usize,
    /// The challenges that need those.
    pub failed: Vec<ChallengeId>,
}

/// Whether players get the newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Going {
    /// They have every challenge as it is in it.
    Live,
    /// They will, by itself.
    Waiting,
    /// They will not have these challenges as they are in it.
    Blocked(Vec<ChallengeId>),
    /// They will when somebody tags it: nothing is said of its release.
    AwaitsTag,
}

/// What players have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active {
    /// The commit.
    pub revision: Revision,
    /// The number of its going live.
    pub generation: u32,
}

/// Whether a description may name challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Everybody who reads it may know them.
    Told,
    /// They are not released yet.
    Hidden,
}

/// Decides what the forge is to know, given what it was told before.
pub fn decide(facts: &Facts, known: &[CommitStatus], names: Names) -> Vec<CommitStatus> {
    let Some(head) = &facts.head else { return Vec::new() };
    let mut wishes = vec![validation(head, names), images(head, names)];
    let is_live = |revision| facts.active.is_some_and(|active| active.revision == revision);
    let tagged = facts.tagged.as_ref().filter(|tagged| !is_live(tagged.revision));
    wishes.extend(tagged.map(|tagged| release_of_tag(tagged, names)));
    let is_tagged = |revision| tagged.is_some_and(|tagged| tagged.revision == revision);
    wishes.extend(release(head, facts.active, names).filter(|it| !is_tagged(it.revision)));
    let is_whole = |active: &Active| {
        let is_of_it = |it: &&CommitStatus| {
            it.revision == active.revision && it.context == StatusContext::Release
        };
        known.iter().find(is_of_it).is_none_or(|it| it.state != CommitState::Failure)
    };
    let older = facts.active.filter(|active| active.revision != head.revision);
    if let Some(active) = older.filter(is_whole) {
        wishes.push(live(active.revision, Some(active.generation)));
    }
    let is_head_live = head.going == Going::Live;
    let live = facts.active.map(|it| it.revision).or(is_head_live.then_some(head.revision));
    let older = known.iter().filter(|status| !wishes.iter().any(|wish| is_same(wish, status)));
    let closed: Vec<_> = older.filter_map(|status| close(status, head, live)).collect();
    wishes.extend(closed);
    wishes
}

fn is_same(left: &CommitStatus, right: &CommitStatus) -> bool {
    left.revision == right.revision && left.context == right.context
}

fn validation(head: &HeadFacts, names: Names) -> CommitStatus {
    let (n, n_broken) = (head.n_challenges, head.broken.len());
    let (state, words) = match (n, n_broken) {
        (0, 0) => (CommitState::Success, "there are no challenges".to_owned()),
        (1, 0) => (CommitState::Success, "1 challenge is valid".to_owned()),
        (n, 0) => (CommitState::Success, format!("{n} challenges are valid")),
        (n, n_broken) => (CommitState::Failure, format!("{n_broken} of {n} challenges not valid")),
    };
    let description = describe(words, &head.broken, names);
    let context = StatusContext::Validate;
    CommitStatus { revision: head.revision, context, state, description }
}

fn images(head: &HeadFacts, names: Names) -> CommitStatus {
    let ImageFacts { n_images, n_missing, n_failed, failed } = &head.images;
    let (state, words) = if *n_failed > 0 {
        (CommitState::Failure, format!("{n_failed} of {n_images} images could not be built"))
    } else if *n_missing > 0 {
        (CommitState::Pending, format!("images are being built, {n_images} in all"))
    } else {
        let words = match n_images {
            0 => "no images are needed".to_owned(),
            1 => "1 image is built".to_owned(),
            n => format!("{n} images are built"),
        };
        (CommitState::Success, words)
    };
    let description = describe(words, failed, names);
    let context = StatusContext::Build;
    CommitStatus { revision: head.revision, context, state, description }
}

fn release(head: &HeadFacts, active: Option<Active>, names: Names) -> Option<CommitStatus> {
    let revision = head.revision;
    let own = active.filter(|active| active.revision == revision);
    let (state, description) = match (&head.going, own.or(active)) {
        (Going::AwaitsTag, _) => return own.map(|own| live(revision, Some(own.generation))),
        (Going::Live, Some(active)) if own.is_none() => {
            let words = format!("generation {} has the same challenges", active.generation);
            (CommitState::Success, words)
        }
        (Going::Live, active) => return Some(live(revision, active.map(|it| it.generation))),
        (Going::Waiting, _) => (CommitState::Pending, "not live yet".to_owned()),
        (Going::Blocked(challenges), _) => {
            let words = match challenges.len() {
                1 => "1 challenge does not go live as it is".to_owned(),
                n => format!("{n} challenges do not go live as they are"),
            };
            (CommitState::Failure, describe(words, challenges, names))
        }
    };
    Some(CommitStatus { revision, context: StatusContext::Release, state, description })
}

fn release_of_tag(tagged: &Tagged, names: Names) -> CommitStatus {
    let Tagged { tag, revision, kept } = tagged;
    let (state, description) = match kept {
        Kept::Waits(why) => (CommitState::Pending, cut(&format!("tag {tag} waits: {why}"))),
        Kept::Blocked(challenges) => {
            let words = match challenges.len() {
                0 => format!("tag {tag} does not go live as it is"),
                1 => format!("tag {tag} does not go live: 1 challenge is not good"),
                n => format!("tag {tag} does not go live: {n} challenges are not good"),
            };
            (CommitState::Failure, describe(words, challenges, names))
        }
    };
    let (revision, context) = (*revision, StatusContext::Release);
    CommitStatus { revision, context, state, description }
}

fn live(revision: Revision, generation: Option<u32>) -> CommitStatus {
    let description =
        generation.map_or("live".to_owned(), |number| format!("live as generation {number}"));
    let (context, state) = (StatusContext::Release, CommitState::Success);
    CommitStatus { revision, context, state, description }
}

/// The last word on a commit that something else took the place of, if one is due.
fn close(status: &CommitStatus, head: &HeadFacts, live: Option<Revision>) -> Option<CommitStatus> {
    let closed = |state, description| CommitStatus { state, description, ..status.clone() };
    let is_release = status.context == StatusContext::Release;
    match status.state {
        CommitState::Pending if is_release && head.going == Going::AwaitsTag => {
            Some(closed(CommitState::Error, "no tag of it goes live next any more".to_owned()))
        }
        CommitState::Pending if status.revision != head.revision => {
            let words = format!("superseded by {} before it was done", head.revision.short());
            Some(closed(CommitState::Error, words))
        }
        CommitState::Success if is_release && live.is_some_and(|live| live != status.revision) => {
            Some(closed(CommitState::Success, WAS_LIVE.to_owned()))
        }
        CommitState::Pending | CommitState::Success | CommitState::Failure | CommitState::Error => {
            None
        }
    }
}

/// `words`, followed by the challenges that they are about as far as these may be named and fit.
fn describe(words: String, about: &[ChallengeId], names: Names) -> String {
    if about.is_empty() || names == Names::Hidden {
        return cut(&words);
    }
    let list: Vec<&str> = about.iter().map(ChallengeId::as_str).collect();
    cut(&format!("{words}: {}", list.join(", ")))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_DESCRIPTION {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(MAX_DESCRIPTION - 1).collect();
    cut.push('…');
    cut
}
