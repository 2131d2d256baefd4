//! `[release]`: which tags go live, and how.

use std::path::PathBuf;

use schemars::JsonSchema;
use semver::VersionReq;
use serde_json::{Value, json};

use super::layers::{Layers, Setting};
use crate::model::Timestamp;
use crate::release::gate::GateMode;
use crate::release::order::{TagOrder, TagPattern};
use crate::release::tag::{Freeze, OnDeleted, OnMoved, TagPolicy};

/// `[release]`: which tags go live, and how. Without `pattern` the branch itself is live: each
/// challenge as soon as its images are built.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReleaseConfig {
    /// Which tags are releases: a regular expression for the whole name, whose group `v` is what is
    /// ordered (default: none, and the branch itself is live).
    #[schemars(length(min = 1, max = 300))]
    pub pattern: Option<String>,
    /// How tags are ordered (default `semver`).
    #[schemars(with = "String", extend("enum" = TagOrder::WORDS))]
    pub order: TagOrder,
    /// Versions that count, e.g. `>=1.0.0, <2.0.0`; with `order = "semver"` only.
    #[schemars(length(min = 1))]
    pub range: Option<String>,
    /// Whether pre-releases such as `1.0.0-rc.1` go live (default false).
    pub prerelease: bool,
    /// Only tag objects, as `git tag -a` and `git tag -s` make them (default true).
    pub require_annotated: bool,
    /// Only tags that are signed by a key of `trust` (default false).
    pub require_signed: bool,
    /// The branch is followed only along commits that are signed by a key of `trust` with the role
    /// `commit`, and tags go live only on such commits (default false).
    pub require_signed_commits: bool,
    /// The trust file: who may sign. It lies outside of the challenge repository.
    #[schemars(length(min = 1))]
    pub trust: Option<PathBuf>,
    /// Branches, one of which must contain the tagged commit (default: none, any commit will do).
    pub ancestor_of: Vec<String>,
    /// How long a tag must have been seen before it goes live, in seconds (default 0).
    #[schemars(range(min = 0, max = MONTH_SECS))]
    pub soak_secs: u32,
    /// Whether a tag goes live without a person (default true); else `flagops releases approve`.
    pub auto: bool,
    /// What a moved tag means (default `hold`). It is never followed.
    #[schemars(with = "String", extend("enum" = OnMoved::WORDS))]
    pub on_moved: OnMoved,
    /// What it means that the live tag was deleted (default `keep`). It stays live in any case.
    #[schemars(with = "String", extend("enum" = OnDeleted::WORDS))]
    pub on_deleted: OnDeleted,
    /// What goes live when something of a release is not good (default `all`: nothing then).
    #[schemars(with = "String", extend("enum" = GateMode::WORDS))]
    pub gate: GateMode,
    /// On how many nodes the images of a release must be before it goes live; 0 is on every node that is
    /// heard of and on duty (default 0). Nodes without an image get no instance of it until they have it.
    #[schemars(range(min = 0, max = 1000))]
    pub canary: u32,
    /// When people are told that a release still waits for its images, in seconds (default 1800).
    #[schemars(range(min = 1, max = 86_400))]
    pub gate_deadline_secs: u32,
    /// Times in which nothing goes live: `FROM/UNTIL` in RFC 3339, then why.
    pub freeze: Vec<String>,
    /// Whether a challenge whose new version does not start goes back to its last good one
    /// (default true).
    pub auto_revert: bool,
}

/// Thirty days.
const MONTH_SECS: u32 = 30 * 86_400;

impl Default for ReleaseConfig {
    fn default() -> Self {
        Self {
            pattern: None,
            order: TagOrder::Semver,
            range: None,
            prerelease: false,
            require_annotated: true,
            require_signed: false,
            require_signed_commits: false,
            trust: None,
            ancestor_of: Vec::new(),
            soak_secs: 0,
            auto: true,
            on_moved: OnMoved::Hold,
            on_deleted: OnDeleted::Keep,
            gate: GateMode::All,
            canary: 0,
            gate_deadline_secs: 1800,
            freeze: Vec::new(),
            auto_revert: true,
        }
    }
}

/// What is wrong with one key: its name, the problem, the fix.
type Wrong = (&'static str, String, &'static str);

impl ReleaseConfig {
    /// The policy that the settings describe; `None` when the branch itself is live. Of settings that
    /// loading refuses it is one by which nothing goes live.
    pub fn policy(&self) -> Option<TagPolicy> {
        self.pattern.as_ref()?;
        let nothing = || self.build(TagPattern::nothing(), None, Vec::new());
        Some(self.parse().ok().flatten().unwrap_or_else(nothing))
    }

    /// The times in which nothing goes live.
    pub fn freezes(&self) -> Vec<Freeze> {
        self.freeze.iter().filter_map(|text| freeze(text).ok()).collect()
    }

    fn parse(&self) -> Result<Option<TagPolicy>, Wrong> {
        let freezes = self.freeze.iter().map(|text| freeze(text)).collect::<Result<_, _>>()?;
        for name in &self.ancestor_of {
            if name.contains(char::is_whitespace) || name.starts_with('-') {
                let problem = format!("names `{name}`, which is no branch");
                return Err(("release.ancestor_of", problem, "give short names, e.g. `main`"));
            }
        }
        let range = self.range()?;
        let Some(pattern) = &self.pattern else { return Ok(None) };
        let pattern = TagPattern::parse(pattern).map_err(|error| {
            let fix = "give an expression for the whole name, e.g. `^v(?<v>.+)$`";
            ("release.pattern", format!("is no pattern ({error})"), fix)
        })?;
        Ok(Some(self.build(pattern, range, freezes)))
    }

    fn build(
        &self,
        pattern: TagPattern,
        range: Option<VersionReq>,
        freezes: Vec<Freeze>,
    ) -> TagPolicy {
        TagPolicy {
            pattern,
            order: self.order,
            range,
            allows_prerelease: self.prerelease,
            needs_annotated: self.require_annotated || self.require_signed,
            needs_signed: self.require_signed,
            ancestor_of: self.ancestor_of.clone(),
            soak_millis: i64::from(self.soak_secs) * 1000,
            is_automatic: self.auto,
            on_moved: self.on_moved,
            on_deleted: self.on_deleted,
            freezes,
        }
    }

    fn range(&self) -> Result<Option<VersionReq>, Wrong> {
        let Some(range) = &self.range else { return Ok(None) };
        if self.order != TagOrder::Semver {
            let problem = format!("needs `order = \"semver\"`, and the order is `{}`", self.order);
            return Err(("release.range", problem, "remove it, or order by semver"));
        }
        let parsed = VersionReq::parse(range).map_err(|error| {
            let fix = "write it as cargo does, e.g. `>=1.0.0, <2.0.0`";
            ("release.range", format!("is no range ({error})"), fix)
        })?;
        Ok(Some(parsed))
    }
}

/// `FROM/UNTIL why`.
fn freeze(text: &str) -> Result<Freeze, Wrong> {
    let wrong = |problem: String| {
        let fix = "write `2027-03-01T18:00:00Z/2027-03-03T18:00:00Z the event`";
        ("release.freeze", problem, fix)
    };
    let (span, why) = text.trim().split_once(' ').unwrap_or((text.trim(), "a freeze window"));
    let ends = span.split_once('/').and_then(|(from, until)| {
        Some((Timestamp::parse_rfc3339(from).ok()?, Timestamp::parse_rfc3339(until).ok()?))
    });
    let Some((from, until)) = ends else {
        return Err(wrong(format!("has `{text}`, which is no time span")));
    };
    if until <= from {
        return Err(wrong(format!("has `{text}`, which ends before it begins")));
    }
    if why.chars().any(char::is_control) {
        return Err(wrong("has control characters".to_owned()));
    }
    Ok(Freeze { from, until, why: why.trim().to_owned() })
}

/// Takes the section out of `layers`.
pub(super) fn take(layers: &mut Layers) -> ReleaseConfig {
    let default = ReleaseConfig::default();
    ReleaseConfig {
        pattern: layers.take_optional("release.pattern"),
        order: layers.take("release.order", default.order),
        range: layers.take_optional("release.range"),
        prerelease: layers.take("release.prerelease", default.prerelease),
        require_annotated: layers.take("release.require_annotated", default.require_annotated),
        require_signed: layers.take("release.require_signed", default.require_signed),
        require_signed_commits: layers
            .take("release.require_signed_commits", default.require_signed_commits),
        trust: layers.take_optional("release.trust"),
        ancestor_of: layers.take("release.ancestor_of", default.ancestor_of),
        soak_secs: layers.take_in("release.soak_secs", default.soak_secs, 0..=MONTH_SECS),
        auto: layers.take("release.auto", default.auto),
        on_moved: layers.take("release.on_moved", default.on_moved),
        on_deleted: layers.take("release.on_deleted", default.on_deleted),
        gate: layers.take("release.gate", default.gate),
        canary: layers.take_in("release.canary", default.canary, 0..=1000),
        gate_deadline_secs: layers.take_in(
            "release.gate_deadline_secs",
            default.gate_deadline_secs,
            1..=86_400,
        ),
        freeze: layers.take("release.freeze", default.freeze),
        auto_revert: layers.take("release.auto_revert", default.auto_revert),
    }
}

/// Notes every contradiction in `layers`.
pub(super) fn check(layers: &mut Layers, release: &ReleaseConfig) {
    if let Err((key, problem, fix)) = release.parse() {
        layers.refuse(key, problem, fix);
    }
    let wishes = [
        ("release.require_signed", release.require_signed),
        ("release.require_signed_commits", release.require_signed_commits),
    ];
    for (key, _) in wishes.into_iter().filter(|(_, is_on)| *is_on && release.trust.is_none()) {
        layers.refuse(
            key,
            "needs to know who may sign, and `release.trust` is not set",
            "set `release.trust` to a trust file (docs/signing.md)",
        );
    }
    if release.require_signed && release.pattern.is_none() {
        layers.refuse(
            "release.require_signed",
            "is about tags, and `release.pattern` is not set: the branch itself is live",
            "set `release.pattern`, e.g. `^v(?<v>.+)$`",
        );
    }
}

/// `release` as its file would say it.
pub(super) fn defaults(release: &ReleaseConfig) -> Value {
    let ReleaseConfig {
        pattern,
        order,
        range,
        prerelease,
        require_annotated,
        require_signed,
        require_signed_commits,
        trust,
        ancestor_of,
        soak_secs,
        auto,
        on_moved,
        on_deleted,
        gate,
        canary,
        gate_deadline_secs,
        freeze,
        auto_revert,
    } = release;
    json!({
        "pattern": pattern,
        "order": order,
        "range": range,
        "prerelease": prerelease,
        "require_annotated": require_annotated,
        "require_signed": require_signed,
        "require_signed_commits": require_signed_commits,
        "trust": trust,
        "ancestor_of": ancestor_of,
        "soak_secs": soak_secs,
        "auto": auto,
        "on_moved": on_moved,
        "on_deleted": on_deleted,
        "gate": gate,
        "canary": canary,
        "gate_deadline_secs": gate_deadline_secs,
        "freeze": freeze,
        "auto_revert": auto_revert,
    })
}

/// Implements [`Setting`] for an enum of words.
macro_rules! word_setting {
    ($type:ty, $wanted:literal) => {
        impl Setting for $type {
            const WANTED: &'static str = $wanted;
            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_word(text).ok_or_else(String::new)
            }
        }
    };
}

word_setting!(TagOrder, "\"semver\", \"numeric\", \"lexical\" or \"date\"");
word_setting!(OnMoved, "\"hold\" or \"reject\"");
word_setting!(OnDeleted, "\"keep\" or \"hold\"");
word_setting!(GateMode, "\"all\" or \"partial\"");
