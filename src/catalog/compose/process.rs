//! What runs inside a container and how: command, user, names, signals, capabilities, labels.

use super::{Place, health, networks, one_or_many, pairs, volumes, words};
use crate::catalog::decode::{Report, parse_integer, shown, suggestion};
use crate::catalog::quantity::shown_millis;
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Node, ScalarKind};
use crate::model::compose::{Restart, ServiceProtocol};

/// The capabilities that every container has unless it drops them, and all that `cap_add` may
/// name. Sorted.
pub const CAPABILITIES: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];
/// Longest time to stop, and the default.
pub(super) const MAX_GRACE_MILLIS: u32 = 10_000;
const PROTOCOL_LABEL: &str = "ctfy.service.protocol";
const SIGNALS: &[&str] = &[
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
    "SIGRTMIN",
];

/// Reads `command` or `entrypoint`: one line that is split into words, or a list of them.
pub(super) fn command(entry: &Entry, report: &mut Report) -> Option<Vec<String>> {
    if let Some(items) = entry.value.as_list() {
        let words: Vec<String> = items
            .iter()
            .filter_map(|item| report.loose_text(rules::COMPOSE007, &entry.key, item))
            .collect();
        return (words.len() == items.len()).then_some(words);
    }
    let line = report.loose_text(rules::COMPOSE007, &entry.key, &entry.value)?;
    let words = words::split(&line);
    if words.is_none() {
        let message = format!("`{}` has a quote or backslash that nothing closes", entry.key);
        report.refuse(rules::COMPOSE007, entry.value.span, message, "close it, or write a list");
    }
    words
}

/// Reads `user`.
pub(super) fn user(node: &Node, report: &mut Report) -> Option<String> {
    let text = report.loose_text(rules::COMPOSE007, "user", node)?;
    let is_part = |part: &str| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        (1..=32).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !part.starts_with('-')
            && (!is_number || part.parse::<u32>().is_ok_and(|id| id <= i32::MAX.unsigned_abs()))
    };
    let (name, group) = text.split_once(':').unwrap_or((&text, "0"));
    if is_part(name) && is_part(group) {
        return Some(text);
    }
    let message = format!("`{}` is no user", shown(&text));
    report.refuse(rules::COMPOSE007, node.span, message, "write `name`, `1000` or `1000:1000`");
    None
}

/// Reads `working_dir`.
pub(super) fn working_dir(node: &Node, report: &mut Report) -> Option<String> {
    let text = report.loose_text(rules::COMPOSE007, "working_dir", node)?;
    let is_kernel = ["/proc", "/sys", "/dev"]
        .iter()
        .any(|top| text == *top || text.starts_with(&format!("{top}/")));
    if text == "/" {
        return Some(text);
    }
    match volumes::container_path(&text) {
        Ok(path) => Some(path),
        Err(fault) => {
            let rule = if is_kernel { rules::HARDEN006 } else { rules::COMPOSE007 };
            let message = format!("the working directory `{}` {fault}", shown(&text));
            report.refuse(rule, node.span, message, "write e.g. `/app`");
            None
        }
    }
}

/// Reads `hostname`.
pub(super) fn hostname(node: &Node, report: &mut Report) -> Option<String> {
    let text = report.loose_text(rules::COMPOSE007, "hostname", node)?;
    if networks::is_host(&text) && text.len() <= 63 {
        return Some(text);
    }
    let message = format!("`{}` is no host name", shown(&text));
    let hint = "use at most 63 letters, digits and `-`";
    report.refuse(rules::HARDEN007, node.span, message, hint);
    None
}

/// Reads `stop_signal` and gives it its full name.
pub(super) fn stop_signal(node: &Node, report: &mut Report) -> Option<String> {
    let text = report.loose_text(rules::COMPOSE007, "stop_signal", node)?;
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if SIGNALS.contains(&name.as_str()) {
        return Some(name);
    }
    let message = format!("`{}` is no name of a signal", shown(&text));
    report.refuse(rules::COMPOSE007, node.span, message, suggestion(&name, SIGNALS));
    None
}

/// Reads `stop_grace_period`.
pub(super) fn stop_grace(entry: &Entry, report: &mut Report) -> u32 {
    let Some(millis) = health::read_duration(entry, report) else { return MAX_GRACE_MILLIS };
    if millis > u64::from(MAX_GRACE_MILLIS) {
        let limit = shown_millis(MAX_GRACE_MILLIS.into());
        let message = format!("`stop_grace_period` is above its ceiling; {limit} is used");
        report.warning(rules::HARDEN020, entry.value.span, message, "write at most `10s`");
    }
    u32::try_from(millis).unwrap_or(MAX_GRACE_MILLIS).min(MAX_GRACE_MILLIS)
}

/// Reads `restart`.
pub(super) fn restart(node: &Node, report: &mut Report) -> Option<Restart> {
    let text = report.loose_text(rules::COMPOSE007, "restart", node)?;
    let (policy, attempts) = text.split_once(':').unwrap_or((&text, "1"));
    let fault = match policy {
        "no" if text == policy => return Some(Restart::No),
        // Readers of YAML 1.1 make a boolean of an unquoted `no`.
        "false" if text == policy => {
            let message = "`restart: false` is read as `no`";
            report.warning(rules::COMPOSE007, node.span, message, "write `restart: \"no\"`");
            return Some(Restart::No);
        }
        "on-failure" if parse_integer(attempts).is_some_and(|n| (0..=1000).contains(&n)) => {
            return Some(Restart::OnFailure);
        }
        "always" | "unless-stopped" if text == policy => {
            let message = format!("`restart: {policy}` is read as `on-failure`");
            let hint = "a service that should go on running must not exit";
            report.warning(rules::HARDEN020, node.span, message, hint);
            return Some(Restart::OnFailure);
        }
        _ => format!("`restart` cannot be `{}`", shown(&text)),
    };
    report.refuse(rules::COMPOSE007, node.span, fault, "write `\"no\"` or `on-failure`");
    None
}

/// Reads `cap_add` and `cap_drop`: the complete set that is left.
pub(super) fn capabilities(
    add: Option<&Entry>,
    drop: Option<&Entry>,
    place: Place<'_>,
    report: &mut Report,
) -> Vec<String> {
    let dropped = capability_names(drop, report);
    let mut kept: Vec<&str> = CAPABILITIES.to_vec();
    for (_, name) in &dropped {
        kept.retain(|kept| name != "ALL" && kept != name);
    }
    for (item, name) in capability_names(add, report) {
        if let Some(known) = CAPABILITIES.iter().find(|known| **known == name) {
            kept.push(known);
        } else if place.is_gateway() && name == "NET_ADMIN" {
            // Our own gateway has it; the author's service is replaced.
        } else {
            let message = format!("the capability `{}` is not allowed", shown(&name));
            let hint = format!("these are: {}", CAPABILITIES.join(", "));
            report.refuse(rules::HARDEN002, item.span, message, hint);
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(str::to_owned).collect()
}

fn capability_names<'n>(entry: Option<&'n Entry>, report: &mut Report) -> Vec<(&'n Node, String)> {
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    one_or_many(&entry.key, &entry.value, report)
        .into_iter()
        .map(|(node, text)| {
            let upper = text.to_ascii_uppercase();
            (node, upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned())
        })
        .collect()
}

/// Reads `labels`, of which one means something.
pub(super) fn protocol(node: &Node, report: &mut Report) -> ServiceProtocol {
    let mut protocol = None;
    for pair in pairs("labels", node, report) {
        if pair.key != PROTOCOL_LABEL {
            let message = format!("the label `{}` is dropped", shown(&pair.key));
            report.warning(rules::HARDEN022, pair.at, message, "remove it");
            continue;
        }
        let is_text = pair.node.as_scalar().is_some_and(|it| it.kind == ScalarKind::Text);
        match pair.value.filter(|_| is_text) {
            // A word that is none is judged by `audit::structure` (STRUCT012).
            Some(value) => {
                let known = ServiceProtocol::from_word(&value).unwrap_or(ServiceProtocol::Http);
                protocol.get_or_insert(known);
            }
            None => {
                let message = format!("the label `{PROTOCOL_LABEL}` has no text, so no effect");
                let hint = format!("write `{PROTOCOL_LABEL}: tcp`, or remove it");
                report.warning(rules::HARDEN022, pair.at, message, hint);
            }
        }
    }
    protocol.unwrap_or(ServiceProtocol::Http)
}

/// Checks `sysctls`: one is harmless and always in force, all others are refused.
pub(super) fn check_sysctls(node: &Node, place: Place<'_>, report: &mut Report) {
    for pair in pairs("sysctls", node, report) {
        match pair.key.as_str() {
            "net.ipv4.ip_unprivileged_port_start" => {
                let message = "this sysctl has no effect: services may bind low ports anyway";
                report.warning(rules::HARDEN022, pair.at, message, "remove it");
            }
            "net.ipv4.ip_forward" if place.is_gateway() => (),
            key => {
                let message = format!("the sysctl `{}` is not allowed", shown(key));
                report.refuse(rules::HARDEN005, pair.at, message, "remove it");
            }
        }
    }
}

/// Checks `devices`: none, but for the tunnel of the gateway that ours takes the place of.
pub(super) fn devices_are_tunnel(node: &Node, place: Place<'_>) -> bool {
    place.is_gateway()
        && node.as_list().is_some_and(|items| {
            items.iter().all(|item| {
                item.as_scalar().is_some_and(|scalar| {
                    scalar.text.split(':').all(|part| {
                        part == "/dev/net/tun" || (part.len() <= 3 && !part.contains('/'))
                    })
                })
            })
        })
}
