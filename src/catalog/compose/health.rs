//! `healthcheck`: the command that says whether a service is usable, and how often it runs.

use crate::catalog::decode::{Report, shown};
use crate::catalog::quantity::{duration_millis, shown_millis};
use crate::catalog::rules;
use crate::catalog::spanned::{Entry, Map, Node};
use crate::model::compose::{HealthTest, Healthcheck};

const KEYS: &[&str] =
    &["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"];
const MIN_INTERVAL: u64 = 100;
const HOUR: u64 = 3_600_000;
const MAX_START_PERIOD: u64 = 600_000;
const MAX_RETRIES: i64 = 1000;

/// Reads `healthcheck`; `None` leaves the image's own in force.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<Healthcheck> {
    let map = report.map(rules::COMPOSE007, "healthcheck", node)?;
    report.only_keys(rules::COMPOSE008, "`healthcheck`", map, KEYS);
    let is_disabled = map
        .get("disable")
        .and_then(|entry| report.boolean(rules::COMPOSE007, "disable", &entry.value))
        .unwrap_or(false);
    // Read even when disabled: a fault is a fault.
    let interval_millis = duration(map, "interval", 30_000, MIN_INTERVAL, HOUR, report);
    let timeout_millis = duration(map, "timeout", 30_000, MIN_INTERVAL, HOUR, report);
    let start_period_millis = duration(map, "start_period", 0, 0, MAX_START_PERIOD, report);
    let retries = retries(map, report);
    duration(map, "start_interval", 5000, MIN_INTERVAL, HOUR, report);
    let test = map.get("test").filter(|entry| !entry.value.is_null());
    let test = match test {
        Some(entry) => Some(read_test(&entry.value, report)?),
        None => None,
    };
    match test {
        _ if is_disabled => Some(Healthcheck::Disabled),
        Some(Test::Never) => Some(Healthcheck::Disabled),
        Some(Test::Run(test)) => Some(Healthcheck::Command {
            test,
            interval_millis,
            timeout_millis,
            retries,
            start_period_millis,
        }),
        None => {
            let message = "a `healthcheck` without `test` has no effect";
            report.warning(rules::HARDEN022, node.span, message, "add `test`");
            None
        }
    }
}

enum Test {
    Never,
    Run(HealthTest),
}

fn read_test(node: &Node, report: &mut Report) -> Option<Test> {
    let Some(items) = node.as_list() else {
        let line = report.loose_text(rules::COMPOSE007, "test", node)?;
        if line.trim().is_empty() {
            report.refuse(rules::COMPOSE007, node.span, "`test` is blank", "write a command");
            return None;
        }
        return Some(Test::Run(HealthTest::Shell(line)));
    };
    let words: Vec<String> = items
        .iter()
        .filter_map(|item| report.loose_text(rules::COMPOSE007, "test", item))
        .collect();
    if words.len() != items.len() {
        return None;
    }
    match words.split_first() {
        Some((kind, [])) if kind == "NONE" => Some(Test::Never),
        Some((kind, arguments)) if kind == "CMD" && !arguments.is_empty() => {
            Some(Test::Run(HealthTest::Exec(arguments.to_vec())))
        }
        Some((kind, [line])) if kind == "CMD-SHELL" => {
            Some(Test::Run(HealthTest::Shell(line.clone())))
        }
        _ => {
            let message = "a list as `test` begins with `CMD`, `CMD-SHELL` or `NONE`";
            let hint = "write `[\"CMD\", \"curl\", …]` or `[\"CMD-SHELL\", \"one line\"]`";
            report.refuse(rules::COMPOSE007, node.span, message, hint);
            None
        }
    }
}

fn duration(map: &Map, key: &str, default: u32, min: u64, max: u64, report: &mut Report) -> u32 {
    let Some(entry) = map.get(key).filter(|entry| !entry.value.is_null()) else { return default };
    let Some(millis) = read_duration(entry, report) else { return default };
    // Zero means the default for the engine, too.
    if millis == 0 {
        return default;
    }
    let effective = millis.clamp(min, max);
    if effective != millis {
        let message = format!(
            "`{key}` is outside of {} to {}; {} is used",
            shown_millis(min),
            shown_millis(max),
            shown_millis(effective)
        );
        report.warning(rules::HARDEN020, entry.value.span, message, "write a value inside");
    }
    u32::try_from(effective).unwrap_or(default)
}

/// The milliseconds of `entry`.
pub(super) fn read_duration(entry: &Entry, report: &mut Report) -> Option<u64> {
    let text = report.loose_text(rules::COMPOSE007, &entry.key, &entry.value)?;
    let millis = duration_millis(&text);
    if millis.is_none() {
        let message = format!("`{}` cannot be `{}`", shown(&entry.key), shown(&text));
        let hint = "write a duration such as `500ms`, `10s` or `1m30s`";
        report.refuse(rules::COMPOSE007, entry.value.span, message, hint);
    }
    millis
}

fn retries(map: &Map, report: &mut Report) -> u32 {
    const DEFAULT: u32 = 3;
    let Some(entry) = map.get("retries").filter(|entry| !entry.value.is_null()) else {
        return DEFAULT;
    };
    match report.integer(rules::COMPOSE007, "retries", &entry.value) {
        Some(0) | None => DEFAULT,
        Some(number) if (1..=MAX_RETRIES).contains(&number) => {
            u32::try_from(number).unwrap_or(DEFAULT)
        }
        Some(_) => {
            let message = format!("`retries` is not between 1 and {MAX_RETRIES}");
            report.refuse(rules::COMPOSE007, entry.value.span, message, "write e.g. `30`");
            DEFAULT
        }
    }
}
