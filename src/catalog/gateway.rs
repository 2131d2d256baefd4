//! Templates of the VPN gateway that a repository has of its own (NET005).
//!
//! In:  the tree. Out: the templates as they are written, and what is wrong with them.
//!
//! # Not here
//! What they may say (`render::vpn`).

use super::decode::Report;
use super::finding::{Finding, Weight};
use super::spanned::Span;
use super::{rules, snippet};
use crate::model::{Tree, TreeError};
use crate::render::attachments::MAX_SOURCE_BYTES;
use crate::render::vpn::{CLIENT_TEMPLATE, Own, Refusal, SERVER_TEMPLATE, Written};

/// Where they are.
const FOLDER: &str = "templates/openvpn";

/// The templates of the VPN gateway in `tree`, unjudged.
///
/// # Errors
/// Only when the store behind the tree fails.
pub fn gateway_templates(tree: &dyn Tree) -> Result<Own, TreeError> {
    let entries = match tree.entries(FOLDER) {
        Ok(entries) => entries,
        Err(TreeError::NotFound { .. } | TreeError::NotAFile { .. }) => return Ok(Own::default()),
        Err(error) => return Err(error),
    };
    let own = |path: &str| {
        let is_there = entries
            .iter()
            .any(|entry| path.strip_prefix(FOLDER) == Some(&format!("/{}", entry.name)));
        if is_there { written(tree, path) } else { Ok(None) }
    };
    Ok(Own { server: own(SERVER_TEMPLATE)?, client: own(CLIENT_TEMPLATE)? })
}

fn written(tree: &dyn Tree, path: &str) -> Result<Option<Written>, TreeError> {
    Ok(Some(match tree.read(path, MAX_SOURCE_BYTES as u64) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_or(Written::Unusable("the template is no UTF-8"), Written::Text),
        Err(TreeError::NotFound { .. }) => return Ok(None),
        Err(TreeError::NotAFile { .. }) => Written::Unusable("the template is no regular file"),
        Err(TreeError::TooLarge { .. }) => Written::Unusable("the template has more than 64 KiB"),
        Err(error @ TreeError::Unreadable { .. }) => return Err(error),
    }))
}

/// What is wrong with the templates of the gateway in `tree`.
///
/// # Errors
/// Only when the store behind the tree fails.
pub(super) fn check(tree: &dyn Tree) -> Result<Vec<Finding>, TreeError> {
    let own = gateway_templates(tree)?;
    if own == Own::default() {
        return Ok(Vec::new());
    }
    let refusals = own.judge().expect("our own templates fit a sample of ours");
    Ok(refusals.iter().flat_map(|refusal| findings(refusal, &own)).collect())
}

fn findings(refusal: &Refusal, own: &Own) -> Vec<Finding> {
    let written = if refusal.path == SERVER_TEMPLATE { &own.server } else { &own.client };
    let mut report = Report::new(None, refusal.path.to_owned());
    for fault in &refusal.faults {
        let at = Span { line: fault.line, column: u32::from(fault.line > 0), ..Span::default() };
        report.here(Weight::Error, rules::NET005, at, fault.message.clone(), fault.hint.clone());
    }
    let mut findings = report.into_findings();
    if let Some(Written::Text(text)) = written {
        for finding in findings.iter_mut().filter(|finding| finding.line > 0) {
            finding.snippet = snippet::quote(text, finding.line);
        }
    }
    findings
}
