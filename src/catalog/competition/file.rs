//! One competition file, read and checked on its own.

use super::fields::{self, At, in_order, number, optional_time, present, required};
use super::selections::{self, Chosen};
use crate::catalog::decode::Report;
use crate::catalog::rules;
use crate::catalog::spanned::{Map, Parsed};
use crate::model::competition::{
    AttemptCaps, Competition, Registration, RegistrationMode, Scoring, ScoringFunction, TeamSize,
};
use crate::model::{CompetitionId, Timestamp};

pub(in crate::catalog) const KEYS: &[&str] = &[
    "title",
    "description",
    "starts_at",
    "ends_at",
    "freeze_at",
    "practice",
    "registration",
    "teams",
    "challenges",
    "scoring",
    "attempt_caps",
    "instances",
];
pub(in crate::catalog) const REGISTRATION_KEYS: &[&str] = &["mode", "opens_at", "closes_at"];
pub(in crate::catalog) const TEAMS_KEYS: &[&str] = &["min_size", "max_size"];
pub(in crate::catalog) const SCORING_KEYS: &[&str] =
    &["function", "value", "minimum", "decay", "first_blood"];
pub(in crate::catalog) const CAPS_KEYS: &[&str] = &["static", "single_select", "multi_select"];
pub(in crate::catalog) const INSTANCES_KEYS: &[&str] = &["per_team"];
const TIME: &str = "2027-03-01T12:00:00Z";
const END: &str = "2027-03-03T12:00:00Z";
/// The bounds of numbers; the schema has the same.
pub(in crate::catalog) const MAX_POINTS: u32 = 1_000_000;
pub(in crate::catalog) const MAX_TEAM_SIZE: u32 = 100;
pub(in crate::catalog) const MAX_CAP: u32 = 10_000;
pub(in crate::catalog) const MAX_PER_TEAM: u32 = 100;

/// What could be read of a file.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Everything, unless a field that must be there is not.
    pub competition: Option<Competition>,
    /// The selections that could be read.
    pub selections: Vec<Chosen>,
}

/// Reads the file.
pub(super) fn read(parsed: Parsed, id: CompetitionId, path: String, report: &mut Report) -> Draft {
    for fault in parsed.faults {
        report.error(rules::EVENT000, fault.at, fault.message, fault.hint);
    }
    let Some(root) = parsed.root else { return Draft::default() };
    let Some(map) = root.as_map() else {
        let message = format!("a competition must be a mapping, this is {}", root.kind());
        report.error(rules::EVENT000, root.span, message, "write `title: …` and so on");
        return Draft::default();
    };
    report.only_keys(rules::EVENT002, "a competition", map, KEYS);
    let title = required(map, "title", "Finals", report)
        .and_then(|entry| fields::line(entry, "title", report));
    let description = present(map, "description")
        .and_then(|entry| report.text(rules::EVENT001, "description", &entry.value));
    let times = Times::read(map, report);
    let registration = registration(map, &times, report);
    let selections = required(map, "challenges", "[\"WEB-*\"]", report)
        .map(|entry| selections::read(&entry.value, times.ends_at, report))
        .unwrap_or_default();
    let practice = present(map, "practice")
        .and_then(|entry| report.boolean(rules::EVENT001, "practice", &entry.value))
        .unwrap_or(false);
    let teams = teams(map, registration.mode, report);
    let scoring = scoring(map, report);
    let attempt_caps = attempt_caps(map, report);
    let instances_per_team = instances(map, report);
    let challenges = selections.iter().map(|chosen| chosen.selection.clone()).collect();
    let competition = (|| {
        Some(Competition {
            id,
            path,
            title: title?,
            description: description.unwrap_or_default(),
            starts_at: times.starts_at?.value,
            ends_at: times.ends_at?.value,
            freeze_at: times.freeze_at.map(|it| it.value),
            practice,
            registration,
            teams,
            challenges,
            scoring,
            attempt_caps,
            instances_per_team,
        })
    })();
    Draft { competition, selections }
}

/// The times of the whole competition.
struct Times {
    starts_at: Option<At<Timestamp>>,
    ends_at: Option<At<Timestamp>>,
    freeze_at: Option<At<Timestamp>>,
}

impl Times {
    fn read(map: &Map, report: &mut Report) -> Self {
        let mut needed = |key: &str| {
            let example = if key == "ends_at" { END } else { TIME };
            let entry = required(map, key, example, report)?;
            fields::time(entry, key, report)
        };
        let (starts_at, ends_at) = (needed("starts_at"), needed("ends_at"));
        let freeze_at = optional_time(map, "freeze_at", "", report);
        in_order(("starts_at", starts_at), ("ends_at", ends_at), report);
        in_order(("starts_at", starts_at), ("freeze_at", freeze_at), report);
        if let (Some(freeze), Some(end)) = (freeze_at, ends_at)
            && freeze.value >= end.value
        {
            let message = format!("`freeze_at` is not before `ends_at` ({})", end.value);
            report.error(rules::EVENT003, freeze.at, message, "freeze earlier, or not at all");
        }
        Self { starts_at, ends_at, freeze_at }
    }
}

/// The mapping behind an optional key, with only `known` keys in it.
fn section<'m>(map: &'m Map, key: &str, known: &[&str], report: &mut Report) -> Option<&'m Map> {
    let entry = present(map, key)?;
    let section = report.map(rules::EVENT001, key, &entry.value)?;
    report.only_keys(rules::EVENT002, &format!("`{key}`"), section, known);
    Some(section)
}

fn registration(map: &Map, times: &Times, report: &mut Report) -> Registration {
    let mut registration =
        Registration { mode: RegistrationMode::default(), opens_at: None, closes_at: None };
    let section = section(map, "registration", REGISTRATION_KEYS, report);
    let Some(section) = section else { return registration };
    if let Some(entry) = present(section, "mode") {
        let words = RegistrationMode::WORDS;
        let parse = RegistrationMode::from_word;
        let mode = report.word(rules::EVENT001, "registration.mode", &entry.value, words, parse);
        registration.mode = mode.unwrap_or_default();
    }
    let opens_at = optional_time(section, "opens_at", "registration.", report);
    let closes_at = optional_time(section, "closes_at", "registration.", report);
    let (opens, closes) = ("registration.opens_at", "registration.closes_at");
    in_order((opens, opens_at), (closes, closes_at), report);
    in_order((opens, opens_at), ("ends_at", times.ends_at), report);
    registration.opens_at = opens_at.map(|it| it.value);
    registration.closes_at = closes_at.map(|it| it.value);
    registration
}

fn teams(map: &Map, mode: RegistrationMode, report: &mut Report) -> TeamSize {
    let is_solo = mode == RegistrationMode::Solo;
    let default = if is_solo { TeamSize { min: 1, max: 1 } } else { TeamSize::default() };
    let Some(section) = section(map, "teams", TEAMS_KEYS, report) else {
        return default;
    };
    let mut size = |key: &str| {
        let entry = present(section, key)?;
        number(entry, &format!("teams.{key}"), 1..=MAX_TEAM_SIZE, report)
    };
    let (min, max) = (size("min_size"), size("max_size"));
    let sizes = TeamSize {
        min: min.unwrap_or(default.min),
        // Who asks for at least six means six, not the default of four.
        max: max.unwrap_or(default.max.max(min.unwrap_or_default())),
    };
    let at = present(section, "max_size").or_else(|| present(section, "min_size"));
    let at = at.map(|entry| entry.value.span).unwrap_or_default();
    if sizes.min > sizes.max {
        let message =
            format!("`teams.min_size` ({}) is above `teams.max_size` ({})", sizes.min, sizes.max);
        report.error(rules::EVENT008, at, message, "lower `min_size`, or raise `max_size`");
    }
    if is_solo && sizes.max > 1 {
        let message = "everybody plays alone (`mode: solo`), and `teams` asks for more than one";
        report.error(rules::EVENT008, at, message, "remove `teams`, or choose another mode");
    }
    sizes
}

fn scoring(map: &Map, report: &mut Report) -> Scoring {
    let mut scoring = Scoring::default();
    let Some(section) = section(map, "scoring", SCORING_KEYS, report) else { return scoring };
    if let Some(entry) = present(section, "function") {
        let words = ScoringFunction::WORDS;
        let parse = ScoringFunction::from_word;
        let function = report.word(rules::EVENT001, "scoring.function", &entry.value, words, parse);
        scoring.function = function.unwrap_or_default();
    }
    let mut points = |key: &str, least: u32| {
        let entry = present(section, key)?;
        number(entry, &format!("scoring.{key}"), least..=MAX_POINTS, report)
    };
    let (value, minimum) = (points("value", 0), points("minimum", 0));
    scoring.value = value.unwrap_or(scoring.value);
    // A value below the default minimum does not sink.
    scoring.minimum = minimum.unwrap_or(scoring.minimum.min(scoring.value));
    scoring.decay = points("decay", 1).unwrap_or(scoring.decay);
    scoring.first_blood = points("first_blood", 0).unwrap_or(scoring.first_blood);
    if scoring.minimum > scoring.value
        && let Some(entry) = present(section, "minimum")
    {
        let message = format!(
            "`scoring.minimum` ({}) is above `scoring.value` ({})",
            scoring.minimum, scoring.value
        );
        report.error(rules::EVENT008, entry.value.span, message, "lower it");
    }
    scoring
}

fn attempt_caps(map: &Map, report: &mut Report) -> AttemptCaps {
    let default = AttemptCaps::default();
    let Some(section) = section(map, "attempt_caps", CAPS_KEYS, report) else { return default };
    let mut cap = |key: &str| {
        let entry = present(section, key)?;
        number(entry, &format!("attempt_caps.{key}"), 1..=MAX_CAP, report)
    };
    AttemptCaps {
        static_text: cap("static").unwrap_or(default.static_text),
        single_select: cap("single_select").unwrap_or(default.single_select),
        multi_select: cap("multi_select").unwrap_or(default.multi_select),
    }
}

fn instances(map: &Map, report: &mut Report) -> Option<u32> {
    let section = section(map, "instances", INSTANCES_KEYS, report)?;
    let entry = present(section, "per_team")?;
    number(entry, "instances.per_team", 1..=MAX_PER_TEAM, report)
}

/// The keys of every mapping, for the schema to be compared with.
#[cfg(test)]
pub(in crate::catalog) mod keys {
    pub(in crate::catalog) use super::{
        CAPS_KEYS as ATTEMPT_CAPS, INSTANCES_KEYS as INSTANCES, KEYS as TOP,
        REGISTRATION_KEYS as REGISTRATION, SCORING_KEYS as SCORING, TEAMS_KEYS as TEAMS,
    };
}
