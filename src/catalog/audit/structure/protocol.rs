//! What services speak: the label `ctfy.service.protocol` (STRUCT012 to STRUCT014).

use super::super::Subject;
use super::super::compose::written::{self, PROTOCOL};
use super::COMPOSE;
use crate::catalog::decode::{Report, shown};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::Span;
use crate::model::Category;

/// Judges every service, then what the category wants of them together.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) {
    let Some(root) = subject.compose else { return };
    let file = subject.path(COMPOSE);
    let mut has_tcp = false;
    for (entry, service) in subject.services() {
        let Some((value, at)) = written::label(service, PROTOCOL) else { continue };
        has_tcp |= value == "tcp";
        let name = shown(&entry.key);
        if value != "http" && value != "tcp" {
            let message =
                format!("`{PROTOCOL}` of `{name}` cannot be `{}`; `http` is used", shown(value));
            let hint = "remove the label for HTTP, or write `tcp`";
            report.at(Weight::Error, rules::STRUCT012, file.clone(), at, message, hint);
        }
        if written::said(service, "ports").is_none() {
            let message = format!(
                "`{name}` has the label `{PROTOCOL}`, but publishes no port that speaks it"
            );
            let hint = "add `ports` with the port that players reach, or remove the label";
            report.at(Weight::Error, rules::STRUCT013, file.clone(), at, message, hint);
        }
    }
    if subject.category == Some(Category::Pwn) && !has_tcp {
        let service = subject.services().find(|(_, it)| written::said(it, "ports").is_some());
        let at = service
            .map(|(entry, _)| entry.key_span)
            .or_else(|| root.get("services").map(|entry| entry.key_span))
            .unwrap_or_else(Span::default);
        let message = format!(
            "a challenge of category `pwn` is reached by raw TCP, but no service has the label \
             `{PROTOCOL}: tcp`"
        );
        let hint = format!(
            "add `labels: {{{PROTOCOL}: tcp}}` to the service that players reach, or choose \
             another `category`"
        );
        report.at(Weight::Error, rules::STRUCT014, file, at, message, hint);
    }
}
