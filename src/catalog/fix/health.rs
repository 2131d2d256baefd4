//! A health check for services that have none.
//!
//! A check that fails although the service works would keep the challenge from ever being ready,
//! so a stub is only written where it is known to be true: the sidecar's answer file, and, in
//! images that have a shell, the kernel's own list of listening sockets. That list needs no tool
//! that an image may lack, and no request that a service may log or count.
//!
//! # Not here
//! How readiness uses the check (`runtime::probe`), which images have a shell (`shell`).

use std::collections::BTreeSet;

use super::change::Change;
use super::compose::{Service, services};
use super::place::{New, Source};
use super::shell::Images;
use super::{Proposal, Proposals};
use crate::catalog::decode::shown;
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Node};

/// Most ports that a stub looks at.
const MAX_PORTS: usize = 4;

/// Whether the environment of the sidecar names what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sidecar {
    /// It names the answers of the questions.
    Fits,
    /// It does not (STRUCT006): which files it will write, nobody knows yet.
    Unclear,
}

/// Proposes a check for every service without one.
pub(super) fn propose(
    source: Source<'_>,
    root: &Node,
    images: &Images<'_>,
    sidecar: Sidecar,
    proposals: &mut Proposals,
) {
    for service in services(root) {
        if service.map.get("healthcheck").is_some() {
            continue;
        }
        let about = service.about(&[rules::HEALTH001]);
        let stub = match (service.is_rotator(), sidecar) {
            (true, Sidecar::Fits) => answer_file(&service),
            (true, Sidecar::Unclear) => {
                Err("its environment does not fit the questions: mend STRUCT006 first".to_owned())
            }
            (false, _) => socket(&service, images),
        };
        let new = match stub {
            Ok(new) => new,
            Err(why) => {
                proposals.unable.push((about, why));
                continue;
            }
        };
        let changes = vec![Change { at: service.at(&["healthcheck"]), to: Some(new.meaning()) }];
        let ways = source.add(&service.entry.value, &[("healthcheck", new)], service.step);
        let what = format!("gave `{}` a health check", shown(&service.entry.key));
        proposals.able.push(Proposal { about, what, ways, changes });
    }
}

fn stub(remark: Option<String>, test: String, times: [&str; 3]) -> New {
    let [interval, timeout, retries] = times.map(|text| New::Raw(text.to_owned()));
    New::Map(
        remark,
        vec![
            ("test", New::Raw(test)),
            ("interval", interval),
            ("timeout", timeout),
            ("retries", retries),
        ],
    )
}

/// The sidecar is done when the file of its first answer is there.
fn answer_file(service: &Service<'_>) -> Result<New, String> {
    if !mounts(service.map, "/out") {
        return Err("it mounts nothing at `/out`, where answers are written".to_owned());
    }
    let id = names(service.map, "environment")
        .into_iter()
        .filter_map(|name| Some(name.strip_prefix("ANSWER_")?.to_ascii_lowercase()))
        .find(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    match id.filter(|id| !id.is_empty()) {
        Some(id) => {
            let test = format!("[\"CMD\", \"test\", \"-s\", \"/out/{id}\"]");
            Ok(stub(None, test, ["1s", "1s", "30"]))
        }
        None => Err("its environment names no `ANSWER_…`".to_owned()),
    }
}

/// A service is usable when something listens on its ports.
fn socket(service: &Service<'_>, images: &Images<'_>) -> Result<New, String> {
    let ports = tcp_ports(service.map)?;
    images.have_shell(service.map)?;
    let tests: Vec<String> = ports
        .iter()
        .map(|port| format!("grep -q ':{port:04X} [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6"))
        .collect();
    let test = format!("[\"CMD-SHELL\", \"{}\"]", tests.join(" && "));
    let numbers: Vec<String> =
        ports.iter().map(|port| format!("{port} ({port:04X} in hex)")).collect();
    let remark = format!("True while something listens on {}.", numbers.join(" and "));
    Ok(stub(Some(remark), test, ["10s", "3s", "5"]))
}

/// The container ports that the service publishes, if all of them are TCP and plain numbers.
fn tcp_ports(service: &Map) -> Result<BTreeSet<u16>, String> {
    let items = service.get("ports").and_then(|entry| entry.value.as_list()).unwrap_or_default();
    let ports: Option<BTreeSet<u16>> = items.iter().map(tcp_port).collect();
    match ports {
        Some(ports) if ports.is_empty() => {
            Err("it publishes no port, so only you know when it is healthy".to_owned())
        }
        Some(ports) if ports.len() <= MAX_PORTS => Ok(ports),
        Some(_) => Err(format!("it publishes more than {MAX_PORTS} ports")),
        None => Err("it publishes something else than plain TCP ports".to_owned()),
    }
}

/// The container port that an item of `ports` publishes, if it is TCP and a plain number.
pub(in crate::catalog) fn tcp_port(node: &Node) -> Option<u16> {
    let scalar = |node: &Node| node.as_scalar().map(|scalar| scalar.text.clone());
    let (number, protocol) = match node.as_map() {
        Some(map) => {
            let protocol = match map.get("protocol") {
                Some(entry) => scalar(&entry.value)?,
                None => "tcp".to_owned(),
            };
            (scalar(&map.get("target")?.value)?, protocol)
        }
        None => {
            let text = scalar(node)?;
            let (port, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            let target = port.rsplit(':').next().unwrap_or(port);
            (target.to_owned(), protocol.to_owned())
        }
    };
    number.parse().ok().filter(|port| protocol == "tcp" && *port > 0)
}

/// Whether a volume is mounted at `target`.
fn mounts(service: &Map, target: &str) -> bool {
    let items = service.get("volumes").and_then(|entry| entry.value.as_list()).unwrap_or_default();
    items.iter().any(|item| match item.as_map() {
        Some(map) => {
            let at = map.get("target").and_then(|entry| entry.value.as_scalar());
            at.is_some_and(|scalar| scalar.text.trim_end_matches('/') == target)
        }
        None => item.as_scalar().is_some_and(|scalar| {
            let at = scalar.text.split(':').nth(1);
            at.is_some_and(|at| at.trim_end_matches('/') == target)
        }),
    })
}

/// The names of a mapping, or of a list of `name=value`.
fn names(service: &Map, key: &str) -> Vec<String> {
    let Some(value) = service.get(key).map(|entry| &entry.value) else { return Vec::new() };
    if let Some(map) = value.as_map() {
        return map.entries.iter().map(|entry| entry.key.clone()).collect();
    }
    let items = value.as_list().unwrap_or_default().iter();
    items.filter_map(|item| Some(item.as_scalar()?.text.split('=').next()?.to_owned())).collect()
}
