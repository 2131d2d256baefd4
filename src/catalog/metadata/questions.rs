//! `questions`: ids, prompts, how each is graded, and which must be solved before which.
//!
//! The mode is never declared; it follows from the shapes of `answer` and `choices`.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, ScalarKind, Span};
use crate::model::{AnswerFormat, Question, QuestionId, QuestionMode};

const KEYS: &[&str] = &["id", "prompt", "answer", "choices", "requires", "format"];
const MAX_QUESTIONS: usize = 200;

/// A question and where its parts stand.
struct Spanned {
    question: Question,
    requires_at: Span,
}

/// Reads the list; absent or null means the one implicit question.
pub(super) fn read(entry: Option<&Entry>, report: &mut Report) -> Option<Vec<Question>> {
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else {
        return Some(vec![implicit()]);
    };
    let items = report.list(rules::META006, "questions", &entry.value)?;
    if items.is_empty() {
        report.error(
            rules::META006,
            entry.value.span,
            "`questions` is an empty list",
            "leave the field out for one question `flag` with a minted answer",
        );
        return None;
    }
    if items.len() > MAX_QUESTIONS {
        let message = format!("{} questions are more than {MAX_QUESTIONS}", items.len());
        report.error(rules::META006, entry.value.span, message, "split the challenge");
        return None;
    }
    let mut seen = BTreeMap::new();
    let mut questions = Vec::new();
    for item in items {
        questions.extend(question(item, &mut seen, report));
    }
    check_requires(&questions, &seen, entry.key_span, report);
    // With a hole in the list, whoever looks for an id would report a second fault for one.
    if questions.len() != items.len() {
        return None;
    }
    Some(questions.into_iter().map(|spanned| spanned.question).collect())
}

fn implicit() -> Question {
    Question {
        id: "flag".parse().expect("`flag` is a question id"),
        prompt: "Capture the secret".to_owned(),
        mode: QuestionMode::Dynamic { format: AnswerFormat::Flag },
        requires: Vec::new(),
    }
}

fn question(
    item: &Node,
    seen: &mut BTreeMap<QuestionId, Span>,
    report: &mut Report,
) -> Option<Spanned> {
    let map = report.map(rules::META006, "questions", item)?;
    report.only_keys(rules::META006, "a question", map, KEYS);
    let id = id(map, item, seen, report);
    let prompt = prompt(map, item, report);
    let format = format(map, report);
    let mode = mode(map, format, report);
    let (requires, requires_at) = requires(map, report);
    let question = Question { id: id?, prompt: prompt?, mode: mode?, requires };
    Some(Spanned { question, requires_at })
}

fn present<'m>(map: &'m Map, key: &str) -> Option<&'m Node> {
    map.get(key).map(|entry| &entry.value).filter(|node| !node.is_null())
}

fn id(
    map: &Map,
    item: &Node,
    seen: &mut BTreeMap<QuestionId, Span>,
    report: &mut Report,
) -> Option<QuestionId> {
    let Some(node) = present(map, "id") else {
        report.error(rules::META006, item.span, "the question has no `id`", "add `id: …`");
        return None;
    };
    let text = report.text(rules::META006, "id", node)?;
    let Ok(id) = text.parse::<QuestionId>() else {
        let message = format!("`{}` is no question id", shown(&text));
        let hint = "use `^[a-z][a-z0-9_]*$`, at most 64 characters";
        report.error(rules::META006, node.span, message, hint);
        return None;
    };
    if let Some(first) = seen.get(&id) {
        let message = format!("the id `{id}` is already at {}:{}", first.line, first.column);
        report.error(rules::META006, node.span, message, "rename one of the two");
        return None;
    }
    seen.insert(id.clone(), node.span);
    Some(id)
}

fn prompt(map: &Map, item: &Node, report: &mut Report) -> Option<String> {
    let Some(node) = present(map, "prompt") else {
        report.error(rules::META006, item.span, "the question has no `prompt`", "add `prompt: …`");
        return None;
    };
    let text = report.text(rules::META006, "prompt", node)?;
    if text.trim().is_empty() {
        report.error(rules::META006, node.span, "the prompt is blank", "say what is asked");
        return None;
    }
    Some(text)
}

fn format(map: &Map, report: &mut Report) -> AnswerFormat {
    let Some(entry) = map.get("format") else { return AnswerFormat::Flag };
    let parse = |word: &str| match word {
        "flag" => Some(AnswerFormat::Flag),
        "raw" => Some(AnswerFormat::Raw),
        _ => None,
    };
    report
        .word(rules::META006, "format", &entry.value, &["flag", "raw"], parse)
        .unwrap_or(AnswerFormat::Flag)
}

fn mode(map: &Map, format: AnswerFormat, report: &mut Report) -> Option<QuestionMode> {
    let answer = present(map, "answer");
    let choices = match present(map, "choices") {
        Some(node) => Some((node, texts(node, "choices", report)?)),
        None => None,
    };
    match (answer, choices) {
        (None, None) => {
            if let Some(entry) = map.get("answer") {
                report.error(
                    rules::META008,
                    entry.key_span,
                    "`answer` has no value",
                    "remove the key for a minted answer, or write the answer in quotes",
                );
                return None;
            }
            Some(QuestionMode::Dynamic { format })
        }
        (None, Some((node, _))) => {
            let hint = "add `answer`, or remove `choices`";
            report.error(rules::META008, node.span, "`choices` without `answer`", hint);
            None
        }
        (Some(answer), choices) if answer.as_list().is_some() => {
            multi_select(answer, choices, report)
        }
        (Some(answer), choices) => {
            let text = answer_text(answer, "answer", report)?;
            match choices {
                None => Some(QuestionMode::Static { answer: text }),
                Some((node, choices)) => single_select(answer, text, node, choices, report),
            }
        }
    }
}

fn single_select(
    answer: &Node,
    text: String,
    node: &Node,
    choices: Vec<String>,
    report: &mut Report,
) -> Option<QuestionMode> {
    check_choices(node, &choices, report)?;
    if !choices.contains(&text) {
        let message = "the answer is none of the choices";
        report.error(rules::META008, answer.span, message, "write it exactly as in `choices`");
        return None;
    }
    Some(QuestionMode::SingleSelect { answer: text, choices })
}

fn multi_select(
    answer: &Node,
    choices: Option<(&Node, Vec<String>)>,
    report: &mut Report,
) -> Option<QuestionMode> {
    let answers = texts(answer, "answer", report)?;
    let Some((node, choices)) = choices else {
        let hint = "add `choices`, or write one text as the answer";
        report.error(rules::META008, answer.span, "a list as `answer` needs `choices`", hint);
        return None;
    };
    check_choices(node, &choices, report)?;
    let unique: BTreeSet<&String> = answers.iter().collect();
    let mut faults = Vec::new();
    if answers.is_empty() {
        faults.push("the answer is an empty list");
    }
    if unique.len() != answers.len() {
        faults.push("the answer names a choice twice");
    }
    if answers.iter().any(|answer| !choices.contains(answer)) {
        faults.push("the answer names something that is no choice");
    }
    for fault in &faults {
        report.error(rules::META008, answer.span, *fault, "list some of `choices`, each once");
    }
    faults.is_empty().then_some(QuestionMode::MultiSelect { answers, choices })
}

fn check_choices(node: &Node, choices: &[String], report: &mut Report) -> Option<()> {
    let unique: BTreeSet<&String> = choices.iter().collect();
    let fault = if choices.is_empty() {
        "`choices` is an empty list"
    } else if unique.len() != choices.len() {
        "`choices` names a choice twice"
    } else {
        return Some(());
    };
    report.error(rules::META008, node.span, fault, "list each choice once");
    None
}

fn texts(node: &Node, what: &str, report: &mut Report) -> Option<Vec<String>> {
    let items = report.list(rules::META008, what, node)?;
    let texts: Vec<String> =
        items.iter().filter_map(|item| answer_text(item, what, report)).collect();
    (texts.len() == items.len()).then_some(texts)
}

/// Text that every YAML reader takes for the same text. The value itself is never repeated: it
/// may be an answer.
fn answer_text(node: &Node, what: &str, report: &mut Report) -> Option<String> {
    let Some(scalar) = node.as_scalar().filter(|scalar| scalar.kind != ScalarKind::Null) else {
        report.mismatch(rules::META008, what, "text", node);
        return None;
    };
    let read_as = match scalar.kind {
        ScalarKind::Text if scalar.is_plain => old_meaning(&scalar.text),
        ScalarKind::Text => None,
        ScalarKind::Null | ScalarKind::Bool(_) | ScalarKind::Int | ScalarKind::Float => {
            Some(node.kind())
        }
    };
    if let Some(kind) = read_as {
        let message = format!("a value of `{what}` without quotes reads as {kind}, not as text");
        report.error(rules::META008, node.span, message, "put it in quotes");
        return None;
    }
    if scalar.text.trim().is_empty() {
        report.error(rules::META008, node.span, format!("a value of `{what}` is blank"), "fill it");
        return None;
    }
    Some(scalar.text.clone())
}

/// What YAML 1.1 readers make of plain text that is text in YAML 1.2.
fn old_meaning(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "yes" | "no" | "on" | "off") {
        return Some("a boolean for older readers");
    }
    let is_digit = |c: char| c.is_ascii_digit();
    let is_number = lower.starts_with(is_digit)
        && lower.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '_' | ':' | 'x' | 'b'))
        && (lower.chars().all(|c| is_digit(c) || matches!(c, '_' | ':'))
            || lower.starts_with("0x")
            || lower.starts_with("0b"));
    let is_date = lower.len() >= 8
        && lower.split('-').count() == 3
        && lower.chars().all(|c| is_digit(c) || c == '-');
    if is_number {
        Some("a number for older readers")
    } else if is_date {
        Some("a date for older readers")
    } else {
        None
    }
}

fn requires(map: &Map, report: &mut Report) -> (Vec<QuestionId>, Span) {
    let Some(node) = present(map, "requires") else { return (Vec::new(), Span::default()) };
    let mut ids = Vec::new();
    for item in report.list(rules::META006, "requires", node).unwrap_or_default() {
        let Some(text) = report.text(rules::META006, "requires", item) else { continue };
        match text.parse() {
            Ok(id) if !ids.contains(&id) => ids.push(id),
            Ok(_) => (),
            Err(_) => {
                let message = format!("`requires` names `{}`, which is no id", shown(&text));
                report.error(rules::META009, item.span, message, "name ids of this file");
            }
        }
    }
    (ids, node.span)
}

fn check_requires(
    questions: &[Spanned],
    known: &BTreeMap<QuestionId, Span>,
    at: Span,
    report: &mut Report,
) {
    let mut edges = BTreeMap::new();
    for Spanned { question, requires_at } in questions {
        let mut targets = Vec::new();
        for id in &question.requires {
            let fault = if *id == question.id {
                format!("the question `{id}` requires itself")
            } else if !known.contains_key(id) {
                format!("the question `{}` requires `{id}`, which does not exist", question.id)
            } else {
                targets.push(id.as_str());
                continue;
            };
            report.error(rules::META009, *requires_at, fault, "name other questions of this file");
        }
        edges.insert(question.id.as_str(), targets);
    }
    if let Some(cycle) = super::super::graph::first_cycle(&edges) {
        let message = format!("`requires` goes in a circle: {}", cycle.join(" -> "));
        report.error(rules::META009, at, message, "break the circle");
    }
}
