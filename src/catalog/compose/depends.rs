//! `depends_on`: which services must have come how far before this one starts.

use std::collections::BTreeMap;

use super::service::Draft;
use crate::catalog::decode::{Report, shown, suggestion};
use crate::catalog::graph;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Node, Span};
use crate::model::compose::DependsCondition;

/// One dependency as written.
#[derive(Debug)]
pub(super) struct Wish {
    name: String,
    condition: DependsCondition,
    /// `required: false`: the service may be missing from the file.
    is_optional: bool,
    at: Span,
}

/// Reads the list or mapping.
pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Wish> {
    if let Some(map) = node.as_map() {
        return map.entries.iter().filter_map(|entry| long(entry, report)).collect();
    }
    let Some(items) = report.list(rules::COMPOSE007, "depends_on", node) else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            Some(Wish {
                name: report.loose_text(rules::COMPOSE007, "depends_on", item)?,
                condition: DependsCondition::Started,
                is_optional: false,
                at: item.span,
            })
        })
        .collect()
}

fn long(entry: &Entry, report: &mut Report) -> Option<Wish> {
    let mut wish = Wish {
        name: entry.key.clone(),
        condition: DependsCondition::Started,
        is_optional: false,
        at: entry.key_span,
    };
    if entry.value.is_null() {
        return Some(wish);
    }
    let map = report.map(rules::COMPOSE007, "depends_on", &entry.value)?;
    report.only_keys(rules::COMPOSE008, "a dependency", map, &["condition", "required", "restart"]);
    for field in &map.entries {
        match field.key.as_str() {
            "condition" => {
                let (words, parse) = (DependsCondition::WORDS, DependsCondition::from_word);
                let word = report.word(rules::COMPOSE007, "condition", &field.value, words, parse);
                wish.condition = word.unwrap_or(wish.condition);
            }
            "required" => {
                let is_required = report.boolean(rules::COMPOSE007, "required", &field.value);
                wish.is_optional = is_required == Some(false);
            }
            "restart" => check_restart(field, report),
            _ => (),
        }
    }
    Some(wish)
}

fn check_restart(field: &Entry, report: &mut Report) {
    if report.boolean(rules::COMPOSE007, "restart", &field.value) == Some(true) {
        let message = "`restart` of a dependency has no effect";
        report.warning(rules::HARDEN022, field.key_span, message, "remove it");
    }
}

/// Resolves the wishes of all services; reports unknown ones and circles.
pub(super) fn check(drafts: &mut [Draft], report: &mut Report) {
    let names: Vec<_> = drafts.iter().map(|draft| draft.service.name.clone()).collect();
    let words: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    for draft in drafts.iter_mut() {
        for wish in std::mem::take(&mut draft.depends) {
            match names.iter().find(|name| name.as_str() == wish.name) {
                Some(name) => {
                    draft.service.depends_on.insert(name.clone(), wish.condition);
                }
                None if wish.is_optional => {
                    let message =
                        format!("the optional service `{}` is missing", shown(&wish.name));
                    report.warning(rules::COMPOSE009, wish.at, message, "remove the dependency");
                }
                None => {
                    let message = format!("there is no service `{}`", shown(&wish.name));
                    let hint = suggestion(&wish.name, &words);
                    report.refuse(rules::COMPOSE009, wish.at, message, hint);
                }
            }
        }
    }
    let edges: BTreeMap<&str, Vec<&str>> = drafts
        .iter()
        .map(|draft| {
            let targets = draft.service.depends_on.keys().map(|name| name.as_str()).collect();
            (draft.service.name.as_str(), targets)
        })
        .collect();
    if let Some(cycle) = graph::first_cycle(&edges) {
        let at = drafts
            .iter()
            .find(|draft| cycle.first() == Some(&draft.service.name.as_str()))
            .map_or(Span::default(), |draft| draft.depends_at);
        let message = format!("`depends_on` goes in a circle: {}", cycle.join(" -> "));
        report.refuse(rules::COMPOSE009, at, message, "break the circle");
    }
}
