//! Which service finds which minted answers under `/answers/`.
//!
//! # Invariants
//! * A static answer, or one of an unknown question, is never delivered.
//! * `flag-rotator` gets no files: it has the answers in its environment.

use super::Surroundings;
use super::service::Draft;
use super::volumes::Wanted;
use crate::catalog::decode::{Report, shown, suggestion};
use crate::catalog::rules;
use crate::catalog::spanned::Span;
use crate::model::compose::AnswerFiles;

/// Sets `answers` of every service.
///
/// When no service says anything about answers and there is no rotator, every service gets all;
/// otherwise those that say nothing get none.
pub(super) fn assign(drafts: &mut [Draft], around: &Surroundings<'_>, report: &mut Report) {
    let is_silent =
        drafts.iter().all(|draft| draft.wanted.is_none() && !draft.service.is_rotator());
    for draft in drafts {
        let wanted = draft.wanted.take().unwrap_or_default();
        draft.service.answers = if is_silent {
            AnswerFiles::All
        } else if draft.service.is_rotator() {
            AnswerFiles::Only(Vec::new())
        } else {
            AnswerFiles::Only(ids(&wanted, around, report))
        };
    }
}

fn ids(wanted: &[Wanted], around: &Surroundings<'_>, report: &mut Report) -> Vec<String> {
    let mut ids = Vec::new();
    for wish in wanted {
        match wish {
            Wanted::Whole => ids.extend(dynamic_ids(around).map(str::to_owned)),
            Wanted::One(id, at) if is_delivered(id, *at, around, report) => ids.push(id.clone()),
            Wanted::One(..) => (),
        }
    }
    ids.sort();
    ids.dedup();
    ids
}

fn dynamic_ids<'a>(around: &Surroundings<'a>) -> impl Iterator<Item = &'a str> {
    around
        .questions
        .unwrap_or_default()
        .iter()
        .filter(|question| question.mode.is_dynamic())
        .map(|question| question.id.as_str())
}

fn is_delivered(id: &str, at: Span, around: &Surroundings<'_>, report: &mut Report) -> bool {
    // Without the questions nothing can be said; the metadata has its own findings then.
    let Some(questions) = around.questions else { return true };
    let (message, hint) = match questions.iter().find(|question| question.id.as_str() == id) {
        Some(question) if question.mode.is_dynamic() => return true,
        Some(_) => (
            format!("the answer of `{id}` is not minted, so there is no `/answers/{id}`"),
            "remove the mount".to_owned(),
        ),
        None => {
            let known: Vec<&str> = dynamic_ids(around).collect();
            (format!("there is no question `{}`", shown(id)), suggestion(id, &known))
        }
    };
    report.error(rules::STRUCT009, at, message, hint);
    false
}
