//! `challenges`: which challenges are played, and what is there of them at this revision.

use std::collections::BTreeMap;

use super::fields::{At, number, optional_time, present};
use crate::catalog::decode::{Report, nearest, shown};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, Span};
use crate::catalog::{Catalog, Folder};
use crate::model::competition::{Selection, Selector};
use crate::model::{ChallengeId, Timestamp};

const KEYS: &[&str] = &["id", "bucket", "tag", "value", "release_at"];
const SELECTORS: &[&str] = &["id", "bucket", "tag"];
const MAX_SELECTIONS: usize = 1_000;
const MAX_POINTS: u32 = 1_000_000;
const MAX_TEXT_CHARS: usize = 200;
/// For how many unknown ids of one file the nearest known one is looked for.
const MAX_SUGGESTIONS: usize = 20;

/// A selection and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// What is selected.
    pub selection: Selection,
    /// Where its selector is written.
    pub at: Span,
}

/// Reads the list.
pub(super) fn read(
    node: &Node,
    ends_at: Option<At<Timestamp>>,
    report: &mut Report,
) -> Vec<Chosen> {
    let Some(items) = report.list(rules::EVENT001, "challenges", node) else { return Vec::new() };
    if items.is_empty() {
        let hint = "name challenges by id, pattern, bucket or tag, such as `[\"WEB-*\"]`";
        report.error(rules::EVENT001, node.span, "`challenges` is an empty list", hint);
    }
    if items.len() > MAX_SELECTIONS {
        let message = format!("`challenges` has {} items, more than {MAX_SELECTIONS}", items.len());
        report.error(rules::EVENT008, node.span, message, "select by pattern, bucket or tag");
    }
    items
        .iter()
        .take(MAX_SELECTIONS)
        .filter_map(|item| match item.as_map() {
            Some(map) => from_map(item, map, ends_at, report),
            None => {
                let selector = by_id(item, "challenges", report)?;
                let selection = Selection { selector, value: None, release_at: None };
                Some(Chosen { selection, at: item.span })
            }
        })
        .collect()
}

fn from_map(
    item: &Node,
    map: &Map,
    ends_at: Option<At<Timestamp>>,
    report: &mut Report,
) -> Option<Chosen> {
    report.only_keys(rules::EVENT002, "a selection", map, KEYS);
    let value =
        present(map, "value").and_then(|entry| number(entry, "value", 0..=MAX_POINTS, report));
    let release_at = optional_time(map, "release_at", "", report);
    if let (Some(release), Some(end)) = (release_at, ends_at)
        && release.value >= end.value
    {
        let message = format!("`release_at` is not before `ends_at` ({})", end.value);
        report.error(rules::EVENT003, release.at, message, "release it while the event runs");
    }
    let given: Vec<&Entry> = SELECTORS.iter().filter_map(|key| present(map, key)).collect();
    let [entry] = given.as_slice() else {
        let message = "a selection needs exactly one of `id`, `bucket` and `tag`";
        let hint = "write for example `{id: WEB-001, value: 300}`";
        report.error(rules::EVENT001, item.span, message, hint);
        return None;
    };
    let selector = match entry.key.as_str() {
        "bucket" => Selector::Bucket(name(&entry.value, "bucket", report)?),
        "tag" => Selector::Tag(name(&entry.value, "tag", report)?),
        _ => by_id(&entry.value, "id", report)?,
    };
    let selection = Selection { selector, value, release_at: release_at.map(|it| it.value) };
    Some(Chosen { selection, at: entry.value.span })
}

fn name(node: &Node, what: &str, report: &mut Report) -> Option<String> {
    let text = report.text(rules::EVENT001, what, node)?;
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARS {
        let message = format!("`{what}` is blank, or has more than {MAX_TEXT_CHARS} characters");
        report.error(rules::EVENT001, node.span, message, "write the name");
        return None;
    }
    Some(text)
}

/// A challenge id, or a pattern of ids.
fn by_id(node: &Node, what: &str, report: &mut Report) -> Option<Selector> {
    let text = report.text(rules::EVENT001, what, node)?;
    let is_pattern = text.contains(['*', '?']);
    let plain = text.replace(['*', '?'], "x");
    let is_fine = plain.parse::<ChallengeId>().is_ok();
    match text.parse() {
        Ok(id) => Some(Selector::Id(id)),
        Err(_) if is_pattern && is_fine => Some(Selector::Glob(text)),
        Err(_) => {
            let message = format!("`{}` is neither a challenge id nor a pattern", shown(&text));
            let hint = "write an id such as `WEB-001`, or a pattern such as `WEB-*`";
            report.error(rules::EVENT001, node.span, message, hint);
            None
        }
    }
}

/// Compares what is selected with the challenges of this revision.
pub(super) fn compare(chosen: &[Chosen], catalog: &Catalog, report: &mut Report) {
    let mut first_of = vec![None; chosen.len()];
    let mut overlaps = BTreeMap::new();
    for (id, folder) in &catalog.folders {
        // The one that counts: exact before many, then in the order of the file.
        let mut counts: Option<usize> = None;
        for (nth, candidate) in by_precision(chosen) {
            if !selects(&candidate.selection.selector, id, folder) {
                continue;
            }
            first_of[nth].get_or_insert(id);
            let Some(winner) = counts else {
                counts = Some(nth);
                if folder.challenge.is_none() {
                    invalid(id, candidate, report);
                }
                continue;
            };
            let is_rival = chosen[winner].selection.selector.is_exact()
                == candidate.selection.selector.is_exact();
            if is_rival && differs(&chosen[winner].selection, &candidate.selection) {
                overlaps.entry((nth, winner)).or_insert(id);
            }
        }
    }
    for ((nth, earlier), id) in overlaps {
        overlap(id, &chosen[earlier], &chosen[nth], report);
    }
    let mut n_suggestions = 0;
    for (candidate, first) in chosen.iter().zip(&first_of) {
        if first.is_none() {
            n_suggestions += 1;
            let catalog = (n_suggestions <= MAX_SUGGESTIONS).then_some(catalog);
            selects_nothing(candidate, catalog, report);
        }
    }
}

/// The selections that name one id, then the others.
fn by_precision(chosen: &[Chosen]) -> impl Iterator<Item = (usize, &Chosen)> {
    let exact = |it: &(usize, &Chosen)| it.1.selection.selector.is_exact();
    let all = chosen.iter().enumerate();
    all.clone().filter(exact).chain(all.filter(move |it| !exact(it)))
}

fn selects(selector: &Selector, id: &ChallengeId, folder: &Folder) -> bool {
    let bucket = folder.path.rsplit_once('/').map(|(bucket, _)| bucket);
    let tags = folder.challenge.as_ref().map(|it| it.metadata.tags.as_slice());
    selector.matches(id, bucket, tags.unwrap_or_default())
}

fn differs(left: &Selection, right: &Selection) -> bool {
    (left.value, left.release_at) != (right.value, right.release_at)
}

fn invalid(id: &ChallengeId, chosen: &Chosen, report: &mut Report) {
    let message = format!("the selected challenge `{id}` is invalid at this revision");
    let hint = format!("mend it: `flagops check` shows what is wrong with `{id}`");
    report.warning(rules::EVENT005, chosen.at, message, hint);
}

fn overlap(id: &ChallengeId, first: &Chosen, second: &Chosen, report: &mut Report) {
    let message = format!(
        "`{id}` is selected by `{}` at {}:{} already, with another value or release; that one counts",
        shown(&first.selection.selector.to_string()),
        first.at.line,
        first.at.column
    );
    let hint = "select it once, or give both the same `value` and `release_at`";
    report.error(rules::EVENT007, second.at, message, hint);
}

fn selects_nothing(chosen: &Chosen, catalog: Option<&Catalog>, report: &mut Report) {
    let Selector::Id(id) = &chosen.selection.selector else {
        let selector = chosen.selection.selector.to_string();
        let message = format!("`{}` selects no challenge of this revision", shown(&selector));
        let hint = "correct it, unless the challenges are still to come";
        report.warning(rules::EVENT004, chosen.at, message, hint);
        return;
    };
    let known: Vec<&str> = catalog
        .into_iter()
        .flat_map(|catalog| catalog.folders.keys())
        .map(ChallengeId::as_str)
        .collect();
    let hint = match nearest(id.as_str(), &known) {
        Some((known, _)) => format!("did you mean `{known}`?"),
        None => "correct the id, or add the challenge first".to_owned(),
    };
    report.error(rules::EVENT004, chosen.at, format!("there is no challenge `{id}`"), hint);
}
