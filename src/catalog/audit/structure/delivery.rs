//! How answers reach the services: `flag-rotator`, mounts and `x-answers` (STRUCT006 to STRUCT009).
//!
//! The platform delivers answers by itself, so nothing here keeps a challenge from running, except
//! an `x-answers` that asks for what does not exist.

use super::super::Subject;
use super::super::compose::written;
use super::COMPOSE;
use super::asked::{Asked, Source, asked, claimed, variable};
use crate::catalog::decode::{Report, shown, suggestion};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::model::QuestionId;
use crate::model::compose::ROTATOR;

const ANSWERS: &str = "/answers/";
const WAIT: &str = "depends_on: {flag-rotator: {condition: service_completed_successfully}}";

/// Judges every service.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) {
    let Some(root) = subject.compose else { return };
    let asked = asked(subject);
    let claimed = claimed(subject);
    let mut judge = Judge { subject, asked: asked.as_deref(), claimed, report };
    match subject.rotator() {
        Some((entry, service)) => {
            judge.environment(entry, service);
            judge.is_awaited(entry, service);
            judge.ports(service);
        }
        None => judge.missing(root),
    }
    for (entry, service) in subject.services().filter(|(entry, _)| entry.key != ROTATOR) {
        judge.mounts(entry, service);
        judge.wishes(service);
    }
}

struct Judge<'a, 'r> {
    subject: &'a Subject<'a>,
    /// The questions; `None` when there is no metadata.
    asked: Option<&'a [Asked<'a>]>,
    /// The ids of all questions, also of those with a fault; `None` when they cannot be told.
    claimed: Option<Vec<&'a str>>,
    report: &'r mut Report,
}

impl<'a> Judge<'a, '_> {
    fn error(&mut self, rule: &str, at: Span, message: String, hint: impl Into<String>) {
        let path = self.subject.path(COMPOSE);
        self.report.at(Weight::Error, rule, path, at, message, hint);
    }

    /// The ids of the questions whose answers are minted.
    fn minted(&self) -> Vec<&'a str> {
        let questions = self.asked.unwrap_or_default().iter();
        questions.filter(|question| question.is_minted()).map(|question| question.id).collect()
    }

    /// STRUCT006: nobody says who gets the answers.
    fn missing(&mut self, root: &Map) {
        let says = |service: &Map| service.get("x-answers").is_some_and(|it| is_list(&it.value));
        if self.subject.services().any(|(_, service)| says(service)) {
            return;
        }
        let at = root.get("services").map_or(Span::default(), |entry| entry.key_span);
        let minted = self.minted();
        let message =
            format!("no service says which answers it needs, and there is no `{ROTATOR}`");
        let has_all = self.claimed.as_ref().map(Vec::len) == self.asked.map(<[Asked<'_>]>::len);
        let hint = if let Some(entry) = self.subject.renamed(ROTATOR) {
            format!("rename `{}` to `{ROTATOR}`", shown(&entry.key))
        } else if self.asked.is_some() && minted.is_empty() && has_all {
            "no answer is minted here: add `x-answers: []` to a service to say so".to_owned()
        } else {
            let ids: Vec<String> = minted.iter().map(|id| shown(id)).collect();
            let ids = if ids.is_empty() { "flag".to_owned() } else { ids.join(", ") };
            format!(
                "add `x-answers: [{ids}]` to the service that reads `/answers/<id>`, or add the \
                 sidecar `{ROTATOR}`"
            )
        };
        self.error(rules::STRUCT006, at, message, hint);
    }

    /// STRUCT006: the rotator's variables are those of the minted answers.
    fn environment(&mut self, entry: &Entry, service: &Map) {
        let Some(asked) = self.asked else { return };
        let environment = service.get("environment");
        let keys = environment.map(|entry| written::keys(&entry.value)).unwrap_or_default();
        let is_lacking =
            |it: &&Asked<'_>| it.is_minted() && keys.iter().all(|(key, _)| *key != it.variable());
        let (lacking, misnamed): (Vec<&Asked<'_>>, Vec<&Asked<'_>>) =
            asked.iter().filter(is_lacking).partition(|it| is_id(it.id));
        let lacking: Vec<String> = lacking.into_iter().map(Asked::variable).collect();
        let at = environment.map_or(entry.key_span, |entry| entry.key_span);
        if let (true, Some(question)) = (lacking.is_empty(), misnamed.first()) {
            let id = shown(question.id);
            let message = format!("`{ROTATOR}` lacks the answer of `{id}`, which is no id");
            let hint = "mend the id in `metadata.yaml` first: its variable is `ANSWER_` and the id \
                        in capital letters";
            self.error(rules::STRUCT006, at, message, hint);
        }
        if !lacking.is_empty() {
            let names: Vec<String> = lacking.iter().map(|it| format!("`{}`", shown(it))).collect();
            let message = format!("the environment of `{ROTATOR}` lacks {}", names.join(", "));
            let lines: Vec<String> =
                lacking.iter().map(|it| format!("`- {}`", shown(it))).collect();
            let hint = format!("add {} to its `environment`, without a value", lines.join(", "));
            self.error(rules::STRUCT006, at, message, hint);
        }
        for (key, at) in keys.iter().filter(|(key, _)| key.starts_with("ANSWER_")) {
            self.variable(key, *at, asked);
        }
    }

    fn variable(&mut self, key: &str, at: Span, asked: &[Asked<'_>]) {
        let mut questions = asked.iter().filter(|question| question.variable() == key);
        let Some(first) = questions.clone().next() else {
            let claims = |claimed: &Vec<&str>| claimed.iter().any(|id| variable(id) == key);
            if self.claimed.as_ref().is_none_or(claims) {
                // The question has a fault of its own, or all of them have.
                return;
            }
            let known = asked.iter().filter(|it| it.is_minted() && is_id(it.id));
            let known: Vec<String> = known.map(Asked::variable).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let message = format!("`{}` belongs to no question", shown(key));
            let hint = match suggestion(key, &known) {
                near if near.starts_with("did you mean") => near,
                _ => "declare the question in `metadata.yaml`, or remove the variable".to_owned(),
            };
            self.error(rules::STRUCT006, at, message, hint);
            return;
        };
        if !questions.any(Asked::is_minted) {
            let message = format!(
                "`{}` is the answer of `{}`, which is not minted",
                shown(key),
                shown(first.id)
            );
            let hint = "remove the variable: players find out what stands in `metadata.yaml`";
            self.error(rules::STRUCT006, at, message, hint);
        }
    }

    /// STRUCT007: somebody waits for the rotator, or at least shares its volume.
    fn is_awaited(&mut self, entry: &Entry, service: &Map) {
        let written: Vec<&str> = written::mounts(service).filter_map(|it| it.volume()).collect();
        let shares = |other: &Map| {
            written::mounts(other).filter_map(|it| it.volume()).any(|it| written.contains(&it))
        };
        let mut others = self.subject.services().filter(|(other, _)| other.key != ROTATOR);
        if !others.any(|(_, other)| written::depends_on(other, ROTATOR) || shares(other)) {
            let message = format!(
                "no service waits for `{ROTATOR}`, and none shares a volume with it, so nobody \
                 reads what it writes"
            );
            let hint = format!("add `{WAIT}` to the service that reads the answers");
            self.error(rules::STRUCT007, entry.key_span, message, hint);
        }
    }

    /// STRUCT008: the rotator is not for players.
    fn ports(&mut self, service: &Map) {
        if let Some(ports) = written::said(service, "ports") {
            let message = format!(
                "`{ROTATOR}` publishes ports, but it only writes answers and exits; they are not \
                 published"
            );
            self.error(rules::STRUCT008, ports.key_span, message, "remove `ports` here");
        }
    }

    /// STRUCT009: a mount of an answer that is never delivered.
    fn mounts(&mut self, entry: &Entry, service: &Map) {
        for mount in written::mounts(service) {
            if let Some(id) = mount.target.and_then(answer_id) {
                let at = mount.at;
                self.delivered(&id, at, &entry.key, Weight::Error, "remove the mount");
            }
        }
    }

    /// STRUCT009: `x-answers` of an answer that is never delivered.
    fn wishes(&mut self, service: &Map) {
        // Without the questions nobody can say what may be wished for.
        if self.subject.questions.is_none() {
            return;
        }
        let items = service.get("x-answers").and_then(|entry| entry.value.as_list());
        for item in items.unwrap_or_default() {
            if let Some(id) = item.as_scalar() {
                let hint = "remove it from `x-answers`";
                self.delivered(&id.text, item.span, "x-answers", Weight::Refusal, hint);
            }
        }
    }

    fn delivered(&mut self, id: &str, at: Span, place: &str, weight: Weight, remove: &str) {
        let Some(asked) = self.asked else { return };
        let place = shown(place);
        let mut questions = asked.iter().filter(|question| question.id == id);
        let (message, hint) = match questions.clone().next() {
            None if self.claimed.as_ref().is_none_or(|claimed| claimed.contains(&id)) => return,
            None => {
                let minted = self.minted();
                let message = format!(
                    "`{place}` wants the answer of `{}`, but there is no such \
                                       question",
                    shown(id)
                );
                (
                    message,
                    match suggestion(id, &minted) {
                        near if minted.is_empty() || near == "remove it" => remove.to_owned(),
                        near => near,
                    },
                )
            }
            Some(_) if questions.any(Asked::is_minted) => return,
            Some(question) => {
                let why = match question.source {
                    Source::Written => "stands in `metadata.yaml` and is never delivered",
                    Source::Minted | Source::Nowhere => "is never delivered",
                };
                let message = format!("`{place}` wants the answer of `{}`, which {why}", shown(id));
                (message, remove.to_owned())
            }
        };
        let path = self.subject.path(COMPOSE);
        self.report.at(weight, rules::STRUCT009, path, at, message, hint);
    }
}

fn is_id(text: &str) -> bool {
    text.parse::<QuestionId>().is_ok()
}

fn is_list(node: &Node) -> bool {
    node.as_list().is_some()
}

/// The question of a target such as `/answers/flag`; what could never be the id of a question is
/// refused by reading (HARDEN006).
fn answer_id(target: &str) -> Option<String> {
    let path = format!("/{}", written::inside(target.trim_start_matches('/'))?);
    let id = path.strip_prefix(ANSWERS)?;
    let is_id = id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (target.starts_with('/') && is_id).then(|| id.to_owned())
}
