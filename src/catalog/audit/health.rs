//! Health checks (HEALTH).
//!
//! # Not here
//! What a health check says (`catalog::compose::health`): the rule wants one to be there.

use super::Subject;
use super::network::from::base_of;
use crate::catalog::decode::{Report, misspelt, shown};
use crate::catalog::finding::Weight;
use crate::catalog::fix::tcp_port;
use crate::catalog::folder::join;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node, ScalarKind};
use crate::model::TreeError;
use crate::model::compose::ROTATOR;

/// The key of a check.
const HEALTH_KEY: &str = "healthcheck";

/// Judges the family.
///
/// # Errors
/// Only when the store fails.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    for (service, map) in subject.services() {
        let path = subject.path("docker-compose.yml");
        let Some(entry) = map.get(HEALTH_KEY) else {
            let message = format!("the service `{}` has no `healthcheck`", shown(&service.key));
            let hint = hint(subject, service, map)?;
            report.at(Weight::Error, rules::HEALTH001, path, service.key_span, message, hint);
            continue;
        };
        if let Some(how) = switched_off(&entry.value) {
            let name = shown(&service.key);
            let message = format!("the service `{name}` has no health check: {how}");
            let hint = "write a `test` that asks the service itself: without one it is ready as \
                        soon as its process runs";
            report.at(Weight::Warning, rules::HEALTH020, path, entry.key_span, message, hint);
        }
    }
    Ok(())
}

/// How a `healthcheck` says that there is none, if it does.
fn switched_off(node: &Node) -> Option<&'static str> {
    if node.is_null() {
        return Some("nothing stands behind `healthcheck`");
    }
    let map = node.as_map()?;
    let is_true =
        |entry: &Entry| entry.value.as_scalar().is_some_and(|it| it.kind == ScalarKind::Bool(true));
    if map.get("disable").is_some_and(is_true) {
        return Some("`disable` switches it off");
    }
    let first = map.get("test")?.value.as_list()?.first()?.as_scalar()?;
    (first.text == "NONE").then_some("`NONE` switches it off")
}

/// What the image of a service has to ask a port with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tools {
    /// `nc` of busybox.
    Busybox,
    /// `bash`, and no `nc`: what Debian has, and most of what stands on it.
    Bash,
    /// Not even a shell.
    Nothing,
}

/// What to write for a service without a check.
fn hint(subject: &Subject<'_>, service: &Entry, map: &Map) -> Result<String, TreeError> {
    if let Some(entry) = misspelt(map, HEALTH_KEY) {
        let (key, line) = (shown(&entry.key), entry.key_span.line);
        return Ok(format!("you wrote `{key}:` in line {line}: rename it to `{HEALTH_KEY}:`"));
    }
    if service.key == ROTATOR {
        let hint = "add one that is true when the answer is written, such as \
                    `healthcheck: {test: [\"CMD\", \"test\", \"-s\", \"/out/flag\"]}`";
        return Ok(hint.to_owned());
    }
    let ports = map.get("ports").and_then(|entry| entry.value.as_list()).unwrap_or_default();
    let port = ports.iter().find_map(tcp_port);
    let (port, more) = match port {
        Some(port) => (port.to_string(), ""),
        None => ("PORT".to_owned(), ", with the port that it listens on for `PORT`"),
    };
    let test = match tools(subject, &service.key, map)? {
        Tools::Busybox => format!("[\"CMD\", \"nc\", \"-z\", \"127.0.0.1\", \"{port}\"]"),
        Tools::Bash => {
            format!("[\"CMD\", \"bash\", \"-c\", \"exec 3<>/dev/tcp/127.0.0.1/{port}\"]")
        }
        Tools::Nothing => {
            let hint = "add one that starts a program of the image, such as `healthcheck: {test: \
                        [\"CMD\", \"/server\", \"--healthy\"]}`: there is no shell in it";
            return Ok(hint.to_owned());
        }
    };
    Ok(format!(
        "add one that asks the service itself, such as `healthcheck: {{test: {test}}}`{more}"
    ))
}

/// What is in the image of service `name`, by what it is made from.
fn tools(subject: &Subject<'_>, name: &str, map: &Map) -> Result<Tools, TreeError> {
    if let Some(build) = subject.builds.iter().find(|build| build.service.as_str() == name) {
        let path = join(&build.spec.context, &build.spec.dockerfile);
        let Some(text) = subject.text(&path)? else { return Ok(Tools::Bash) };
        if text.contains("apk add") {
            return Ok(Tools::Busybox);
        }
        let base = base_of(&text, build.spec.target.as_deref());
        return Ok(base.map_or(Tools::Bash, |base| tools_of(&base.image)));
    }
    let image = map.get("image").and_then(|entry| entry.value.as_scalar());
    Ok(image.map_or(Tools::Bash, |scalar| tools_of(&scalar.text)))
}

/// What everybody knows of `image`; the usual, where nothing is known.
fn tools_of(image: &str) -> Tools {
    let image = image.to_ascii_lowercase();
    if image == "scratch" || image.contains("distroless") {
        Tools::Nothing
    } else if image.contains("alpine") || image.contains("busybox") {
        Tools::Busybox
    } else {
        Tools::Bash
    }
}
