//! `environment`: literal variables, and in `flag-rotator` the minted answers passed through.

use std::collections::BTreeMap;

use super::{Pair, Place, interpolate, pairs};
use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Node, ScalarKind, Span};
use crate::model::Question;
use crate::model::compose::AnswerVariable;

/// The variables of one service.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Literal values.
    pub literal: BTreeMap<String, String>,
    /// Values that are minted.
    pub answers: Vec<AnswerVariable>,
}

/// Reads the list or mapping.
pub(super) fn read(node: &Node, place: Place<'_>, report: &mut Report) -> Environment {
    let mut environment = Environment::default();
    for pair in pairs("environment", node, report) {
        if !is_name(&pair.key) {
            let message = format!("`{}` is no name of a variable", shown(&pair.key));
            report.refuse(rules::COMPOSE007, pair.at, message, "write `NAME: value`");
        } else if place.is_rotator() {
            rotator_variable(pair, place.around.questions, &mut environment, report);
        } else {
            variable(pair, &mut environment, report);
        }
    }
    environment
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !name.contains('=')
        && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn variable(pair: Pair<'_>, environment: &mut Environment, report: &mut Report) {
    let Pair { key, value, at, node } = pair;
    if interpolate::is_answer(&key) {
        let message = format!("`{key}` is reserved for `flag-rotator`", key = shown(&key));
        report.refuse(rules::HARDEN013, at, message, "read the file `/answers/<id>` instead");
        return;
    }
    let is_bool = node
        .as_scalar()
        .is_some_and(|scalar| scalar.is_plain && matches!(scalar.kind, ScalarKind::Bool(_)));
    if is_bool {
        let message = format!("`{}` is a boolean; the text as written is used", shown(&key));
        report.warning(rules::COMPOSE007, node.span, message, "put it in quotes");
    }
    match value {
        Some(value) => {
            environment.literal.insert(key, value);
        }
        None => {
            let message = format!(
                "`{}` has no value: nothing of the node's environment is passed on",
                shown(&key)
            );
            report.refuse(rules::COMPOSE010, at, message, "write `NAME: value`, or remove it");
        }
    }
}

fn rotator_variable(
    pair: Pair<'_>,
    questions: Option<&[Question]>,
    environment: &mut Environment,
    report: &mut Report,
) {
    let Pair { key, value, at, .. } = pair;
    // Without a value, the variable of the same name is passed through.
    let source = match &value {
        None => Some(key.clone()),
        Some(value) => interpolate::whole_variable(value).map(str::to_owned),
    };
    if let Some(source) = source.filter(|source| interpolate::is_answer(source)) {
        if let Some(question) = question_of(&source, &key, questions, at, report) {
            environment.answers.retain(|variable| variable.name != key);
            environment.answers.push(AnswerVariable { name: key, question });
        }
        return;
    }
    if interpolate::is_answer(&key) {
        let message = format!("`{}` has a value of its own, but answers are minted", shown(&key));
        report.refuse(rules::HARDEN013, at, message, format!("write `- {}` alone", shown(&key)));
        return;
    }
    match value {
        None => {
            let message = format!("`{}` has no value", shown(&key));
            report.refuse(rules::COMPOSE010, at, message, "write `NAME: value`, or remove it");
        }
        Some(value) => match interpolate::expand(&value, 0) {
            Ok(value) => {
                environment.literal.insert(key, value);
            }
            Err(interpolate::Problem::Answer(_)) => {
                let message = format!("`{}` mixes an answer with other text", shown(&key));
                let hint = "pass the answer alone, and put them together in the script";
                report.refuse(rules::HARDEN013, at, message, hint);
            }
            Err(problem) => interpolate::report_problem(&problem, at, report),
        },
    }
}

/// The dynamic question whose answer `ANSWER_<ID>` names. A key that names another question, or
/// none, is for `audit::structure` to judge; a value that does so would be empty, so it is refused.
fn question_of(
    variable: &str,
    key: &str,
    questions: Option<&[Question]>,
    at: Span,
    report: &mut Report,
) -> Option<String> {
    let suffix = variable.strip_prefix("ANSWER_").unwrap_or(variable);
    let Some(questions) = questions else { return Some(suffix.to_ascii_lowercase()) };
    let question = questions.iter().find(|question| {
        question.mode.is_dynamic() && question.id.as_str().to_ascii_uppercase() == suffix
    });
    if question.is_none() && key != variable {
        let message = format!(
            "`{}` takes the value of `{}`, which is no minted answer",
            shown(key),
            shown(variable)
        );
        let hint = "name the variable of a question without `answer`, or remove it";
        report.refuse(rules::COMPOSE010, at, message, hint);
    }
    question.map(|question| question.id.to_string())
}
