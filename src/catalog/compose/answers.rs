//! Which service finds which minted answers under `/answers/`.
//!
//! # Invariants
//! * A static answer, or one of an unknown question, is never delivered.
//! * `flag-rotator` gets no files: it has the answers in its environment.
//!
//! # Not here
//! Wishes that cannot be fulfilled (`audit::structure`, STRUCT009).

use super::Surroundings;
use super::service::Draft;
use super::volumes::Wanted;
use crate::model::compose::AnswerFiles;

/// Sets `answers` of every service.
///
/// When no service says anything about answers and there is no rotator, every service gets all;
/// otherwise those that say nothing get none.
pub(super) fn assign(drafts: &mut [Draft], around: &Surroundings<'_>) {
    let is_silent =
        drafts.iter().all(|draft| draft.wanted.is_none() && !draft.service.is_rotator());
    for draft in drafts {
        let wanted = draft.wanted.take().unwrap_or_default();
        draft.service.answers = if is_silent {
            AnswerFiles::All
        } else if draft.service.is_rotator() {
            AnswerFiles::Only(Vec::new())
        } else {
            AnswerFiles::Only(ids(&wanted, around))
        };
    }
}

fn ids(wanted: &[Wanted], around: &Surroundings<'_>) -> Vec<String> {
    let minted: Vec<&str> = minted_ids(around).collect();
    let mut ids = Vec::new();
    for wish in wanted {
        match wish {
            Wanted::Whole => ids.extend(minted.iter().map(|id| (*id).to_owned())),
            // Without the questions nothing can be said; the metadata has its own findings then.
            Wanted::One(id) if around.questions.is_none() || minted.contains(&id.as_str()) => {
                ids.push(id.clone());
            }
            Wanted::One(_) => (),
        }
    }
    ids.sort();
    ids.dedup();
    ids
}

fn minted_ids<'a>(around: &Surroundings<'a>) -> impl Iterator<Item = &'a str> {
    around
        .questions
        .unwrap_or_default()
        .iter()
        .filter(|question| question.mode.is_dynamic())
        .map(|question| question.id.as_str())
}
