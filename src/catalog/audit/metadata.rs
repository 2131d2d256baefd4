//! What the description gives away: techniques, internal paths, locked prompts (META007, META010).
//!
//! Both look at the file as it is written, because a question with a fault of its own still has a
//! prompt that can be given away.
//!
//! # Not here
//! Everything that `catalog::metadata` finds while it reads (META000–META006, META008, META009,
//! META011–META013).

mod phrases;
mod vocabulary;

use super::Subject;
use super::structure::asked::asked;
use crate::catalog::decode::{Report, shown};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::{Node, ScalarKind, Span};
use crate::model::TreeError;

/// Judges the family.
///
/// # Errors
/// Only when the store fails.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let Some(description) = subject.metadata.and_then(|map| map.get("description")) else {
        return Ok(());
    };
    let Some(text) = text_of(&description.value) else { return Ok(()) };
    if !subject.is_quiz() {
        named_techniques(subject, text, description.value.span, report)?;
    }
    locked_prompts(subject, text, description.value.span, report);
    Ok(())
}

/// META007: a goal, without the name of the technique and without the route.
fn named_techniques(
    subject: &Subject<'_>,
    text: &str,
    at: Span,
    report: &mut Report,
) -> Result<(), TreeError> {
    let techniques: Vec<&str> = vocabulary::techniques(text).collect();
    let paths: Vec<&str> = vocabulary::api_paths(text).collect();
    if techniques.is_empty() && paths.is_empty() {
        return Ok(());
    }
    let source = subject.text("metadata.yaml")?;
    let mut places = Places::new(source.as_deref(), at);
    for found in techniques {
        let message = format!("the description names a technique: `{}`", shown(found));
        let hint = "say what the player is to achieve, not how; tags may name the technique";
        give_away(subject, rules::META007, places.of(found), message, hint, report);
    }
    let mut places = Places::new(source.as_deref(), at);
    for found in paths {
        let message = format!("the description names an internal API path: `{}`", shown(found));
        let hint = "say what the player is to achieve, not which route leads there";
        give_away(subject, rules::META007, places.of(found), message, hint, report);
    }
    Ok(())
}

/// META010: the description frames what is asked first, never what opens later.
fn locked_prompts(subject: &Subject<'_>, text: &str, at: Span, report: &mut Report) {
    let questions = asked(subject).unwrap_or_default();
    for question in questions.iter().filter(|question| question.is_gated) {
        let Some(phrase) = phrases::first_shared(text, question.prompt) else { continue };
        let message = format!(
            "the description shares `{}` with the prompt of `{}`, which is still locked",
            shown(&phrase),
            shown(question.id)
        );
        let hint = "let the description frame only questions without `requires`";
        give_away(subject, rules::META010, at, message, hint, report);
    }
}

fn give_away(
    subject: &Subject<'_>,
    rule: &str,
    at: Span,
    message: String,
    hint: &str,
    report: &mut Report,
) {
    report.at(Weight::Error, rule, subject.path("metadata.yaml"), at, message, hint);
}

/// The text of a scalar that is text.
fn text_of(node: &Node) -> Option<&str> {
    node.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Text).map(|it| it.text.as_str())
}

/// Finds the words of a value again in the file, one after the other.
struct Places<'s> {
    /// The value as it is written; `None` when the file is not at hand.
    written: Option<&'s str>,
    value: Span,
    /// How far the words were found, in bytes of `written`.
    done: usize,
}

impl<'s> Places<'s> {
    fn new(source: Option<&'s str>, value: Span) -> Self {
        // Spans count from behind a byte-order mark.
        let source = source.map(|it| it.strip_prefix('\u{feff}').unwrap_or(it));
        let written = source.and_then(|it| it.get(value.start..value.end));
        Self { written, value, done: 0 }
    }

    /// Where `word` is next; the whole value when quotes, escapes or line breaks hide it.
    fn of(&mut self, word: &str) -> Span {
        let found = self.written.and_then(|written| {
            let start = self.done + written.get(self.done..)?.find(word)?;
            self.done = start + word.len();
            let before = written.get(..start)?;
            Some((start, before.matches('\n').count(), before.rsplit('\n').next()?.chars().count()))
        });
        let Some((start, n_lines, n_chars)) = found else { return self.value };
        let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let first_column = if n_lines == 0 { self.value.column } else { 1 };
        Span {
            start: self.value.start + start,
            end: self.value.start + start + word.len(),
            line: self.value.line.saturating_add(to_u32(n_lines)),
            column: first_column.saturating_add(to_u32(n_chars)),
        }
    }
}
