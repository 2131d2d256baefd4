//! `questions`: ids, prompts, how each is graded, and which must be solved before which.
//!
//! The mode is never declared; it follows from the shapes of `answer` and `choices`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::RegexSet;

use super::{missing_hint, plain_text, unknown_key, without_value};
use crate::catalog::decode::{Report, nearest, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, ScalarKind, Span};
use crate::model::{AnswerFormat, Question, QuestionId, QuestionMode};

pub(crate) const KEYS: &[&str] = &["id", "prompt", "answer", "choices", "requires", "format"];
const MAX_QUESTIONS: usize = 200;

/// Reads the list; absent or null means the one implicit question.
pub(super) fn read(entry: Option<&Entry>, report: &mut Report) -> Option<Vec<Question>> {
    let Some(entry) = entry else { return Some(vec![implicit()]) };
    if entry.value.is_null() {
        without_value(entry, rules::META006, report);
        return Some(vec![implicit()]);
    }
    let items = report.list(rules::META006, "questions", &entry.value)?;
    if items.is_empty() {
        report.refuse(
            rules::META006,
            entry.value.span,
            "`questions` is an empty list",
            "leave the field out for one question `flag` with a minted answer",
        );
        return None;
    }
    if items.len() > MAX_QUESTIONS {
        let message = format!("{} questions are more than {MAX_QUESTIONS}", items.len());
        report.refuse(rules::META006, entry.value.span, message, "split the challenge");
        return None;
    }
    let mut seen = BTreeMap::new();
    let mut questions = Vec::new();
    for item in items {
        questions.extend(question(item, &mut seen, report));
    }
    check_requires(items, entry.key_span, report);
    // With a hole in the list, whoever looks for an id would report a second fault for one.
    (questions.len() == items.len()).then_some(questions)
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
) -> Option<Question> {
    let map = report.map(rules::META006, "questions", item)?;
    for entry in map.entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        unknown_key(rules::META006, "a question", entry, KEYS, report);
    }
    let id = id(map, item, seen, report);
    let prompt = prompt(map, item, report);
    let format = format(map, report);
    let mode = mode(map, format, report);
    let requires = requires(map, report);
    Some(Question { id: id?, prompt: prompt?, mode: mode?, requires: requires? })
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
        let (at, hint) = missing_hint(map, "id", item.span);
        report.refuse(rules::META006, at, "the question has no `id`", hint);
        return None;
    };
    let text = report.text(rules::META006, "id", node)?;
    let Ok(id) = text.parse::<QuestionId>() else {
        let message = format!("`{}` is no question id", shown(&text));
        report.refuse(rules::META006, node.span, message, id_hint(&text));
        return None;
    };
    if let Some(first) = seen.get(&id) {
        let message = format!("the id `{id}` is already at {}:{}", first.line, first.column);
        report.refuse(rules::META006, node.span, message, "rename one of the two");
        return None;
    }
    seen.insert(id.clone(), node.span);
    Some(id)
}

fn prompt(map: &Map, item: &Node, report: &mut Report) -> Option<String> {
    let Some(node) = present(map, "prompt") else {
        let (at, hint) = missing_hint(map, "prompt", item.span);
        report.refuse(rules::META006, at, "the question has no `prompt`", hint);
        return None;
    };
    let text = report.text(rules::META006, "prompt", node)?;
    if text.trim().is_empty() {
        report.refuse(rules::META006, node.span, "the prompt is blank", "say what is asked");
        return None;
    }
    plain_text(report, "prompt", &text, node);
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
    for key in ["answer", "choices"] {
        if let Some(entry) = map.get(key).filter(|entry| entry.value.is_null()) {
            let message = format!("`{key}` has no value, so it counts as absent");
            let hint = "write it, or remove the key: without both keys an answer is minted";
            report.error(rules::META023, entry.key_span, message, hint);
        }
    }
    let answer = present(map, "answer");
    let choices = match present(map, "choices") {
        Some(node) => Some((node, texts(node, "choices", report)?)),
        None => None,
    };
    match (answer, choices) {
        (None, None) => Some(QuestionMode::Dynamic { format }),
        (None, Some((node, _))) => {
            let hint = "add `answer`, or remove `choices`";
            report.refuse(rules::META008, node.span, "`choices` without `answer`", hint);
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
        report.refuse(rules::META008, answer.span, message, "write it exactly as in `choices`");
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
        report.refuse(rules::META008, answer.span, "a list as `answer` needs `choices`", hint);
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
        report.refuse(rules::META008, answer.span, *fault, "list some of `choices`, each once");
    }
    faults.is_empty().then_some(QuestionMode::MultiSelect { answers, choices })
}

fn check_choices(node: &Node, choices: &[String], report: &mut Report) -> Option<()> {
    if choices.is_empty() {
        let hint = "list what players choose from";
        report.refuse(rules::META008, node.span, "`choices` is an empty list", hint);
        return None;
    }
    let unique: BTreeSet<&String> = choices.iter().collect();
    if unique.len() != choices.len() {
        let message = "`choices` names a choice twice";
        report.error(rules::META025, node.span, message, "list each choice once");
    }
    Some(())
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
        report.refuse(rules::META008, node.span, message, "put it in quotes");
        return None;
    }
    if scalar.text.trim().is_empty() {
        let message = format!("a value of `{what}` is blank");
        report.refuse(rules::META023, node.span, message, "fill it");
        return None;
    }
    Some(scalar.text.clone())
}

/// What YAML 1.1 readers make of plain text that is text in YAML 1.2.
fn old_meaning(text: &str) -> Option<&'static str> {
    const KINDS: [&str; 3] =
        ["a boolean for older readers", "a number for older readers", "a date for older readers"];
    // The resolvers of https://yaml.org/type/, for what our core schema calls text.
    static OLD: LazyLock<RegexSet> = LazyLock::new(|| {
        RegexSet::new([
            r"^(?:[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$",
            r"^[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[0-9][0-9_]*\.[0-9_]*)$",
            r"^[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?)?$",
        ])
        .expect("the patterns are constant")
    });
    OLD.matches(text).iter().next().map(|nth| KINDS[nth])
}

/// The ids in `requires`; `None` when it is no list of texts.
fn requires(map: &Map, report: &mut Report) -> Option<Vec<QuestionId>> {
    let Some(node) = present(map, "requires") else { return Some(Vec::new()) };
    let mut ids = Vec::new();
    let mut is_text = true;
    for item in report.list(rules::META006, "requires", node)? {
        match report.text(rules::META006, "requires", item) {
            // What is no id is named by `check_requires`, which sees every question.
            Some(text) => ids.extend(text.parse().ok().filter(|id| !ids.contains(id))),
            None => is_text = false,
        }
    }
    is_text.then_some(ids)
}

/// Judges what is required of each other by the ids as they are written, so that a question with
/// another fault does not make those after it look wrong.
fn check_requires(items: &[Node], at: Span, report: &mut Report) {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let ids: Vec<Option<&str>> = items.iter().map(written_id).collect();
    let known: BTreeSet<&str> = ids.iter().copied().flatten().collect();
    for (item, id) in items.iter().zip(&ids) {
        let mut targets = Vec::new();
        let required = item.as_map().and_then(|map| present(map, "requires"));
        for node in required.and_then(Node::as_list).unwrap_or_default() {
            let Some(target) = text_of(node) else { continue };
            let question = shown(id.unwrap_or_default());
            let fault = if *id == Some(target) {
                format!("the question `{question}` requires itself")
            } else if !known.contains(target) {
                let target = shown(target);
                format!("the question `{question}` requires `{target}`, which does not exist")
            } else {
                targets.push(target);
                continue;
            };
            let others: Vec<&str> = known.iter().copied().filter(|it| *id != Some(it)).collect();
            let hint = match nearest(target, &others) {
                Some((near, _)) if *id != Some(target) => {
                    format!("did you mean `{}`?", shown(near))
                }
                _ => "name other questions of this file".to_owned(),
            };
            report.refuse(rules::META009, node.span, fault, hint);
        }
        if let Some(id) = *id {
            edges.entry(id).or_insert(targets);
        }
    }
    if let Some(cycle) = super::super::graph::first_cycle(&edges) {
        let cycle: Vec<String> = cycle.into_iter().map(shown).collect();
        let message = format!("`requires` goes in a circle: {}", cycle.join(" -> "));
        report.refuse(rules::META009, at, message, "break the circle");
    }
}

/// The id of a question as written, whether it is a valid one or not.
fn written_id(item: &Node) -> Option<&str> {
    text_of(present(item.as_map()?, "id")?)
}

fn text_of(node: &Node) -> Option<&str> {
    node.as_scalar().filter(|scalar| scalar.kind == ScalarKind::Text).map(|it| it.text.as_str())
}

/// What an id looks like, and the one that was probably meant.
fn id_hint(text: &str) -> String {
    let shape = "a small letter first, then small letters, digits and `_`, at most 64";
    let folded: String = text
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    match folded.parse::<QuestionId>() {
        Ok(id) => format!("write `{id}`: {shape}"),
        Err(_) => format!("use {shape}"),
    }
}
