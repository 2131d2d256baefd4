//! Health checks (HEALTH).
//!
//! # Not here
//! What a health check says (`catalog::compose::health`): the rule wants one to be there.

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::model::compose::ROTATOR;

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) {
    for (service, map) in subject.services() {
        if map.get("healthcheck").is_some() {
            continue;
        }
        let message = format!("the service `{}` has no `healthcheck`", shown(&service.key));
        let hint = if service.key == ROTATOR {
            "add one that is true when the answer is written, such as \
             `healthcheck: {test: [\"CMD\", \"test\", \"-s\", \"/out/flag\"]}`"
        } else {
            "add one that asks the service itself, such as \
             `healthcheck: {test: [\"CMD\", \"nc\", \"-z\", \"127.0.0.1\", \"8080\"]}`"
        };
        let path = subject.path("docker-compose.yml");
        report.at(Weight::Error, rules::HEALTH001, path, service.key_span, message, hint);
    }
}
