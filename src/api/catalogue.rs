//! What players see of challenges: projection, filters, order, facets. Pure.
//!
//! # Invariants
//! * Answers, services, topology and entry URLs are never projected.
//! * A question whose `requires` are not all solved by the viewer's team has no prompt and no
//!   choices, in every listing alike; operators see everything.
//! * Before its `release_at` a challenge is as if it were not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::extract::{FromParams, Params};
use super::standings::{as_u32, dynamic_questions};
use crate::contest::tally::Solves;
use crate::daemon::platform::LiveSet;
use crate::model::{
    Category, Challenge, ChallengeId, Difficulty, Question, QuestionId, TeamId, Timestamp,
};

/// A challenge as players see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChallengeInfo {
    #[schema(example = "WEB-001")]
    pub(crate) id: String,
    pub(crate) name: String,
    /// `web`, `pwn`, `reverse`, `crypto` or `misc`.
    pub(crate) category: &'static str,
    /// `easy`, `medium` or `hard`.
    pub(crate) difficulty: &'static str,
    pub(crate) description: String,
    /// Teams that captured every dynamic question.
    pub(crate) solves_count: u32,
    /// How often it was started.
    pub(crate) launch_count: u32,
    pub(crate) tags: Vec<String>,
    /// In the author's order.
    pub(crate) questions: Vec<QuestionPublicInfo>,
    /// Teams per dynamic question.
    pub(crate) flag_solves: BTreeMap<String, u32>,
    pub(crate) attachments: Vec<AttachmentInfo>,
    /// Whether it is a quiz: nothing to run.
    pub(crate) is_qa_only: bool,
}

/// A question without its answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct QuestionPublicInfo {
    pub(crate) id: String,
    /// Empty while locked.
    pub(crate) prompt: String,
    /// `dynamic`, `static`, `single_select` or `multi_select`.
    pub(crate) mode: &'static str,
    /// What to choose from; null while locked.
    pub(crate) choices: Option<Vec<String>>,
    /// Questions to solve first.
    pub(crate) requires: Vec<String>,
}

/// A file for players.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AttachmentInfo {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// Nobody we know.
    Anyone,
    /// A member of these teams.
    Teams(Vec<TeamId>),
    /// An operator.
    Operator,
}

/// Everything the projections need, taken once.
pub(crate) struct Snapshot<'a> {
    /// What is live.
    pub(crate) live: &'a LiveSet,
    /// Who captured what.
    pub(crate) solves: Arc<Solves>,
    /// Starts per challenge.
    pub(crate) launches: Arc<BTreeMap<ChallengeId, u32>>,
    /// Files out of images, by challenge.
    pub(crate) exported: BTreeMap<ChallengeId, Vec<AttachmentInfo>>,
    /// For `release_at`.
    pub(crate) now: Timestamp,
}

impl<'a> Snapshot<'a> {
    /// Visible challenges in directory order: bucket, then id.
    pub(crate) fn visible(&self) -> Vec<&'a Challenge> {
        let mut visible: Vec<_> = self
            .live
            .values()
            .map(|live| &*live.challenge)
            .filter(|challenge| is_visible(challenge, self.now))
            .collect();
        visible.sort_by_key(|challenge| (&challenge.bucket, &challenge.id));
        visible
    }

    /// What `viewer` sees of `challenge`.
    pub(crate) fn project(&self, challenge: &Challenge, viewer: &Viewer) -> ChallengeInfo {
        let metadata = &challenge.metadata;
        let flag_solves = dynamic_questions(challenge).map(|question| {
            (question.to_string(), as_u32(self.solves.tally().n_teams(&challenge.id, question)))
        });
        ChallengeInfo {
            id: challenge.id.to_string(),
            name: metadata.name.clone(),
            category: metadata.category.as_str(),
            difficulty: metadata.difficulty.as_str(),
            description: metadata.description.clone(),
            solves_count: as_u32(self.solves.tally().n_full_solves(challenge)),
            launch_count: self.launches.get(&challenge.id).copied().unwrap_or(0),
            tags: metadata.tags.clone(),
            questions: self.questions(challenge, viewer),
            flag_solves: flag_solves.collect(),
            attachments: self.attachments(challenge),
            is_qa_only: challenge.is_qa_only(),
        }
    }

    /// Everything that can be downloaded of `challenge`, or that is rendered for instances.
    fn attachments(&self, challenge: &Challenge) -> Vec<AttachmentInfo> {
        let exported = self.exported.get(&challenge.id).cloned().unwrap_or_default();
        attachments(challenge).into_iter().chain(exported).collect()
    }

    /// The questions of `challenge`, locked ones without prompt and choices.
    pub(crate) fn questions(
        &self,
        challenge: &Challenge,
        viewer: &Viewer,
    ) -> Vec<QuestionPublicInfo> {
        let captured = match viewer {
            Viewer::Teams(teams) => self.solves.tally().captured_by_any(teams, &challenge.id),
            Viewer::Anyone | Viewer::Operator => BTreeSet::new(),
        };
        let questions = challenge.metadata.questions.iter();
        questions
            .map(|question| {
                let lock = match viewer {
                    Viewer::Operator => Lock::Open,
                    Viewer::Anyone | Viewer::Teams(_) => Lock::of(question, &captured),
                };
                question_info(question, lock)
            })
            .collect()
    }
}

/// Whether players may know of `challenge`.
pub(crate) fn is_visible(challenge: &Challenge, now: Timestamp) -> bool {
    challenge.metadata.release_at.is_none_or(|release_at| release_at <= now)
}

/// Whether a question may be read and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Everything it requires is solved.
    Open,
    /// Something is missing.
    Closed,
}

impl Lock {
    /// The lock of `question` for a team that captured `captured`.
    pub(crate) fn of(question: &Question, captured: &BTreeSet<QuestionId>) -> Self {
        let is_open = question.requires.iter().all(|required| captured.contains(required));
        if is_open { Self::Open } else { Self::Closed }
    }
}

/// `question` without its answer and, while closed, without prompt and choices.
pub(crate) fn question_info(question: &Question, lock: Lock) -> QuestionPublicInfo {
    let is_open = lock == Lock::Open;
    QuestionPublicInfo {
        id: question.id.to_string(),
        prompt: if is_open { question.prompt.clone() } else { String::new() },
        mode: question.mode.as_str(),
        choices: question.mode.choices().filter(|_| is_open).map(<[String]>::to_vec),
        requires: question.requires.iter().map(ToString::to_string).collect(),
    }
}

/// Every attachment by its public name; a template is announced with the template's size.
pub(crate) fn attachments(challenge: &Challenge) -> Vec<AttachmentInfo> {
    let files = challenge.attachments.iter();
    files
        .map(|file| AttachmentInfo { name: file.public_name().to_owned(), size: file.size_bytes })
        .collect()
}

/// Which challenges are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// `easy`, `medium` or `hard`.
    #[param(required = false)]
    pub(crate) difficulty: String,
    /// One tag, exactly.
    #[param(required = false)]
    pub(crate) tag: String,
    /// `web`, `pwn`, `reverse`, `crypto` or `misc`.
    #[param(required = false)]
    pub(crate) category: String,
    /// Part of id, name or description, in any case.
    #[param(required = false)]
    pub(crate) q: String,
    /// `solved`, `unsolved` or `running`, from the caller's view; ignored for others.
    #[param(required = false)]
    pub(crate) status: String,
    /// Comma list of `<id|name|difficulty|solves>-<asc|desc>`.
    #[param(required = false, example = "difficulty-asc,solves-desc")]
    pub(crate) sort: String,
    /// Only what this competition offers; of one that the caller does not see, nothing.
    #[param(required = false)]
    pub(crate) competition_id: String,
}

impl FromParams for Filter {
    fn read(params: &mut Params) -> Self {
        Self {
            difficulty: params.text("difficulty"),
            tag: params.text("tag"),
            category: params.text("category"),
            q: params.text("q"),
            status: params.text("status"),
            sort: params.text("sort"),
            competition_id: params.text("competition_id"),
        }
    }
}

/// What the caller's team has done; empty sets for those without one.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Challenges with any capture.
    pub(crate) solved: BTreeSet<ChallengeId>,
    /// Challenges with a live instance.
    pub(crate) running: BTreeSet<ChallengeId>,
}

impl Filter {
    /// Whether `challenge` is wanted; `progress` is `None` for callers without a team.
    pub(crate) fn admits(&self, challenge: &Challenge, progress: Option<&Progress>) -> bool {
        let metadata = &challenge.metadata;
        let is = |wanted: &str, word: &str| wanted.is_empty() || wanted == word;
        is(&self.difficulty, metadata.difficulty.as_str())
            && is(&self.category, metadata.category.as_str())
            && (self.tag.is_empty() || metadata.tags.contains(&self.tag))
            && self.is_found_in(challenge)
            && progress.is_none_or(|progress| self.fits(progress, &challenge.id))
    }

    /// Whether [`Filter::admits`] looks at the progress of a team.
    pub(crate) fn is_about_progress(&self) -> bool {
        matches!(self.status.as_str(), "solved" | "unsolved" | "running")
    }

    fn is_found_in(&self, challenge: &Challenge) -> bool {
        if self.q.is_empty() {
            return true;
        }
        let metadata = &challenge.metadata;
        let text = format!("{}{}{}", challenge.id, metadata.name, metadata.description);
        text.to_lowercase().contains(&self.q.to_lowercase())
    }

    fn fits(&self, progress: &Progress, id: &ChallengeId) -> bool {
        match self.status.as_str() {
            "solved" => progress.solved.contains(id),
            "unsolved" => !progress.solved.contains(id),
            "running" => progress.running.contains(id),
            _ => true,
        }
    }
}

/// A challenge in a listing, before anybody sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed<'a> {
    pub(crate) challenge: &'a Challenge,
    /// Teams that captured every dynamic question; 0 where nobody asked for that.
    pub(crate) n_solves: usize,
}

/// Whether [`sort_by`] looks at [`Listed::n_solves`].
pub(crate) fn needs_solves(sort: &str) -> bool {
    sort.contains("solves")
}

/// Orders `rows` as `sort` says; one unknown field voids all of it, and equal rows stay as they
/// are.
pub(crate) fn sort_by<'a>(mut rows: Vec<Listed<'a>>, sort: &str) -> Vec<Listed<'a>> {
    type Key = fn(&Listed<'_>, &Listed<'_>) -> std::cmp::Ordering;
    let mut clauses: Vec<(Key, bool)> = Vec::new();
    for clause in sort.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        let (field, direction) = clause.split_once('-').unwrap_or((clause, "asc"));
        let key: Key = match field {
            "id" => |a, b| a.challenge.id.as_str().cmp(b.challenge.id.as_str()),
            "name" => |a, b| {
                let name = |row: &Listed<'_>| row.challenge.metadata.name.to_lowercase();
                name(a).cmp(&name(b))
            },
            "difficulty" => |a, b| weight(a.challenge).cmp(&weight(b.challenge)),
            "solves" => |a, b| a.n_solves.cmp(&b.n_solves),
            _ => return rows,
        };
        clauses.push((key, direction == "desc"));
    }
    rows.sort_by(|a, b| {
        let compare = |(key, is_down): &(Key, bool)| if *is_down { key(b, a) } else { key(a, b) };
        clauses.iter().map(compare).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    rows
}

fn weight(challenge: &Challenge) -> usize {
    let difficulty = challenge.metadata.difficulty.as_str();
    Difficulty::WORDS.iter().position(|word| *word == difficulty).unwrap_or(usize::MAX)
}

/// How many challenges there are of each kind.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChallengeFacets {
    pub(crate) total: u32,
    pub(crate) difficulty: Vec<ChallengeFacetCount>,
    pub(crate) category: Vec<ChallengeFacetCount>,
    pub(crate) tags: Vec<ChallengeFacetCount>,
    /// Always solved, unsolved, running.
    pub(crate) status: Vec<ChallengeFacetCount>,
}

/// One kind.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChallengeFacetCount {
    pub(crate) value: String,
    pub(crate) total: u32,
    /// Of these, how many the caller's team solved.
    pub(crate) solved: u32,
}

/// Counts `challenges` by kind; `progress` is `None` for callers without a team.
pub(crate) fn facets(challenges: &[&Challenge], progress: Option<&Progress>) -> ChallengeFacets {
    let is_solved = |challenge: &&&Challenge| {
        progress.is_some_and(|progress| progress.solved.contains(&challenge.id))
    };
    let count = |value: &str, is: &dyn Fn(&Challenge) -> bool| ChallengeFacetCount {
        value: value.to_owned(),
        total: as_u32(challenges.iter().filter(|challenge| is(challenge)).count()),
        solved: as_u32(challenges.iter().filter(|c| is(c)).filter(is_solved).count()),
    };
    let of_words = |words: &[&str], word_of: fn(&Challenge) -> &'static str| {
        let counts = words.iter().map(|word| count(word, &|challenge| word_of(challenge) == *word));
        counts.filter(|facet| facet.total > 0).collect::<Vec<_>>()
    };
    let tags: BTreeSet<&String> = challenges.iter().flat_map(|c| &c.metadata.tags).collect();
    let state = |value: &str, is: fn(&Progress, &ChallengeId) -> bool| {
        let holds =
            |challenge: &Challenge| progress.is_some_and(|so_far| is(so_far, &challenge.id));
        ChallengeFacetCount { solved: 0, ..count(value, &holds) }
    };
    ChallengeFacets {
        total: as_u32(challenges.len()),
        difficulty: of_words(Difficulty::WORDS, |c| c.metadata.difficulty.as_str()),
        category: of_words(Category::WORDS, |c| c.metadata.category.as_str()),
        tags: tags
            .into_iter()
            .map(|tag| ChallengeFacetCount {
                solved: 0,
                ..count(tag, &|c| c.metadata.tags.contains(tag))
            })
            .collect(),
        status: vec![
            state("solved", |progress, id| progress.solved.contains(id)),
            state("unsolved", |progress, id| !progress.solved.contains(id)),
            state("running", |progress, id| progress.running.contains(id)),
        ],
    }
}

#[cfg(test)]
mod tests;
