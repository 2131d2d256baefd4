//! What administrators change while the platform runs: keys, bounds, and what holds now.
//!
//! In:  the values of the configuration, and the stored ones in their place.
//! Out: a [`Settings`] that everybody reads, and one sentence for each value that is refused.
//!
//! # Invariants
//! * A value that was accepted is in bounds for ever: [`Settings`] is made from accepted values only,
//!   and what is stored and not acceptable any more counts as absent.
//!
//! # Not here
//! Where they are stored (`store::settings`), who may change them (`api`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::lease::LeaseBounds;
use super::policy::AttemptCaps;
use super::rate::Rate;
use crate::model::ChallengeId;

/// Most challenges, origins or rates in one value.
const MAX_ENTRIES: usize = 1000;
/// Longest text in a value.
const MAX_TEXT: usize = 200;
/// The modes of questions with a cap.
const MODES: [&str; 3] = ["single_select", "multi_select", "static"];

/// A group of routes with a rate of its own, by the contract's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Answers.
    Submission,
    /// Answers that are only graded.
    VerifyFlag,
    /// Starts and resets of instances.
    InstanceStart,
    /// Standings of the whole platform.
    Scoreboard,
    /// Signing in.
    Login,
    /// Signing up.
    Register,
    /// Making tokens.
    TokenCreate,
    /// Changing the password.
    PasswordChange,
    /// Taking back tokens and identities.
    AuthMutation,
    /// Programs that ask to be let in.
    DeviceCode,
    /// Programs that ask whether they were.
    DeviceToken,
    /// People who let them in.
    DeviceApprove,
    /// Named by the contract; nothing has it.
    Default,
    /// Shells of administrators, which have a setting of their own.
    AdminShell,
}

impl Bucket {
    /// Every one whose rate is among the `rate_limits`.
    pub const ALL: [Self; 13] = [
        Self::Submission,
        Self::VerifyFlag,
        Self::InstanceStart,
        Self::Scoreboard,
        Self::Login,
        Self::Register,
        Self::TokenCreate,
        Self::PasswordChange,
        Self::AuthMutation,
        Self::DeviceCode,
        Self::DeviceToken,
        Self::DeviceApprove,
        Self::Default,
    ];

    /// The contract's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::VerifyFlag => "verify_flag",
            Self::InstanceStart => "instance_start",
            Self::Scoreboard => "scoreboard",
            Self::Login => "login",
            Self::Register => "register",
            Self::TokenCreate => "token_create",
            Self::PasswordChange => "password_change",
            Self::AuthMutation => "auth_mutation",
            Self::DeviceCode => "device_code",
            Self::DeviceToken => "device_token",
            Self::DeviceApprove => "device_approve",
            Self::Default => "default",
            Self::AdminShell => "admin_shell",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.as_str() == word)
    }
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingKey {
    /// All rates, on or off.
    RateLimitingEnabled,
    /// Other rates than the built-in ones.
    RateLimits,
    /// Challenges that nobody sees.
    DisabledChallenges,
    /// Wrong answers that a question allows.
    QuestionAttemptCaps,
    /// How long nobody may type into a shell and nothing be shown.
    AdminShellIdleTimeout,
    /// How long a shell may be open.
    AdminShellHardTimeout,
    /// Shells of one administrator.
    AdminShellMaxConcurrent,
    /// How often one may be asked for.
    AdminShellMintRate,
    /// How soon one has to be opened.
    AdminShellSessionTtl,
    /// Pages that may open one.
    AdminShellAllowedOrigins,
    /// How long a start may take.
    ComposeUpTimeout,
    /// The lease that nobody asked for.
    DefaultInstanceTtl,
    /// The longest lease.
    MaxInstanceTtl,
}

/// What a value looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Bool,
    Int(RangeInclusive<i64>),
    RateText,
    Rates,
    Challenges,
    Texts,
    Caps,
}

impl SettingKey {
    /// Every one, in the contract's order.
    pub const ALL: [Self; 13] = [
        Self::RateLimitingEnabled,
        Self::RateLimits,
        Self::DisabledChallenges,
        Self::QuestionAttemptCaps,
        Self::AdminShellIdleTimeout,
        Self::AdminShellHardTimeout,
        Self::AdminShellMaxConcurrent,
        Self::AdminShellMintRate,
        Self::AdminShellSessionTtl,
        Self::AdminShellAllowedOrigins,
        Self::ComposeUpTimeout,
        Self::DefaultInstanceTtl,
        Self::MaxInstanceTtl,
    ];

    /// The contract's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimitingEnabled => "rate_limiting_enabled",
            Self::RateLimits => "rate_limits",
            Self::DisabledChallenges => "disabled_challenges",
            Self::QuestionAttemptCaps => "question_attempt_caps",
            Self::AdminShellIdleTimeout => "admin_shell_idle_timeout_s",
            Self::AdminShellHardTimeout => "admin_shell_hard_timeout_s",
            Self::AdminShellMaxConcurrent => "admin_shell_max_concurrent_per_admin",
            Self::AdminShellMintRate => "admin_shell_mint_rate_limit",
            Self::AdminShellSessionTtl => "admin_shell_session_ttl_s",
            Self::AdminShellAllowedOrigins => "admin_shell_allowed_origins",
            Self::ComposeUpTimeout => "compose_up_timeout_s",
            Self::DefaultInstanceTtl => "default_instance_ttl_s",
            Self::MaxInstanceTtl => "max_instance_ttl_s",
        }
    }

    /// The key of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == word)
    }

    /// What kind of value it takes, in the contract's words.
    pub fn type_name(self) -> &'static str {
        match self.shape() {
            Shape::Bool => "bool",
            Shape::Int(_) => "int",
            Shape::RateText => "str",
            Shape::Rates => "dict[str,str]",
            Shape::Challenges | Shape::Texts => "list[str]",
            Shape::Caps => "dict[str,int]",
        }
    }

    /// What it does, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::RateLimitingEnabled => "Whether routes have rate limits at all.",
            Self::RateLimits => {
                "Other rates than the built-in ones, by group of routes (`login`, `submission`, …): \
                 `<count>/<unit>` or `<count>/<n> seconds`."
            }
            Self::DisabledChallenges => {
                "Challenges that are hidden everywhere and cannot be started; instances that run go on."
            }
            Self::QuestionAttemptCaps => {
                "Wrong answers that a question allows, by mode (`single_select`, `multi_select`, \
                 `static`), where its competition says nothing else."
            }
            Self::AdminShellIdleTimeout => {
                "Seconds after which a shell of an administrator is closed in which nothing was typed."
            }
            Self::AdminShellHardTimeout => {
                "Seconds after which a shell of an administrator is closed, whatever goes on in it."
            }
            Self::AdminShellMaxConcurrent => "Shells of one administrator at a time.",
            Self::AdminShellMintRate => "How often one administrator may ask for a shell.",
            Self::AdminShellSessionTtl => {
                "Seconds within which a shell that was asked for has to be opened."
            }
            Self::AdminShellAllowedOrigins => {
                "Origins of pages that may open a shell; without any only programs that are no \
                 browser may."
            }
            Self::ComposeUpTimeout => {
                "How long a start may take on this machine, in seconds (`limits.start_deadline_secs`); \
                 nodes have their own."
            }
            Self::DefaultInstanceTtl => {
                "Lease of an instance whose challenge and player name none, in seconds."
            }
            Self::MaxInstanceTtl => "Longest lease, in seconds; leases that were granted stay.",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::RateLimitingEnabled => Shape::Bool,
            Self::RateLimits => Shape::Rates,
            Self::DisabledChallenges => Shape::Challenges,
            Self::QuestionAttemptCaps => Shape::Caps,
            Self::AdminShellIdleTimeout => Shape::Int(30..=86_400),
            Self::AdminShellHardTimeout => Shape::Int(60..=604_800),
            Self::AdminShellMaxConcurrent => Shape::Int(1..=100),
            Self::AdminShellMintRate => Shape::RateText,
            Self::AdminShellSessionTtl => Shape::Int(5..=600),
            Self::AdminShellAllowedOrigins => Shape::Texts,
            Self::ComposeUpTimeout => Shape::Int(60..=21_600),
            Self::DefaultInstanceTtl | Self::MaxInstanceTtl => Shape::Int(60..=2_592_000),
        }
    }

    /// Refuses a value that it cannot have.
    ///
    /// # Errors
    /// With what it must be.
    pub fn check(self, value: &Value) -> Result<(), String> {
        match self.shape() {
            Shape::Bool => value.as_bool().map(drop).ok_or("must be a boolean".to_owned()),
            Shape::Int(range) => {
                let number = value.as_i64().ok_or("must be an integer")?;
                let (least, most) = (range.start(), range.end());
                let is_inside = range.contains(&number);
                is_inside.then_some(()).ok_or(format!("must be between {least} and {most}"))
            }
            Shape::RateText => rate(value).map(drop),
            Shape::Rates => rates(value).map(drop),
            Shape::Challenges => challenges(value).map(drop),
            Shape::Texts => texts(value).map(drop),
            Shape::Caps => caps(value).map(drop),
        }
    }
}

fn rate(value: &Value) -> Result<Rate, String> {
    let text = value.as_str().filter(|text| text.len() <= MAX_TEXT).ok_or("must be a string")?;
    text.parse::<Rate>().map_err(|error| error.to_string())
}

fn rates(value: &Value) -> Result<BTreeMap<Bucket, Rate>, String> {
    let entries = value.as_object().ok_or("must be an object of rates")?;
    let entry = |(name, value): (&String, &Value)| {
        let names = || Bucket::ALL.map(Bucket::as_str).join(", ");
        let bucket = Bucket::from_word(name)
            .ok_or_else(|| format!("unknown group `{}`: there are {}", cut(name), names()))?;
        Ok((bucket, rate(value).map_err(|why| format!("{}: {why}", bucket.as_str()))?))
    };
    entries.iter().map(entry).collect()
}

fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let items = value.as_array().ok_or("must be a list of strings")?;
    if items.len() > MAX_ENTRIES {
        return Err(format!("must have at most {MAX_ENTRIES} entries"));
    }
    let is_fine = |text: &&str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    let text = |item: &'_ Value| item.as_str().filter(is_fine).map(str::len);
    if items.iter().any(|item| text(item).is_none()) {
        return Err(format!("must be a list of strings of at most {MAX_TEXT} characters"));
    }
    Ok(items.iter().filter_map(Value::as_str).collect())
}

fn challenges(value: &Value) -> Result<BTreeSet<ChallengeId>, String> {
    let ids = texts(value)?.into_iter();
    ids.map(|id| id.parse().map_err(|_| format!("`{}` is no id of a challenge", cut(id)))).collect()
}

fn caps(value: &Value) -> Result<BTreeMap<&'static str, u32>, String> {
    let entries = value.as_object().ok_or("must be an object of numbers")?;
    let entry = |(name, value): (&String, &Value)| {
        let mode = MODES.into_iter().find(|mode| mode == name).ok_or_else(|| {
            format!("unknown mode `{}`: there are {}", cut(name), MODES.join(", "))
        })?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (1..=1_000_000).contains(number));
        Ok((mode, number.ok_or(format!("{mode}: must be an integer between 1 and 1000000"))?))
    };
    entries.iter().map(entry).collect()
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether there are rate limits.
    pub rate_limiting: RateLimiting,
    /// Challenges that nobody sees.
    pub disabled: BTreeSet<ChallengeId>,
    /// Wrong answers that questions allow.
    pub caps: AttemptCaps,
    /// How long a start may take, in seconds.
    pub start_deadline_secs: u32,
    /// Leases.
    pub lease: LeaseBounds,
    /// Shells of administrators.
    pub shell: ShellBounds,
}

/// What shells of administrators are bound by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellBounds {
    /// Longest silence of who types, in seconds.
    pub idle_secs: u32,
    /// Longest time in all, in seconds.
    pub hard_secs: u32,
    /// Of one administrator at a time.
    pub max_each: u32,
    /// How often one may be asked for.
    pub rate: Rate,
    /// Seconds until it has to be opened.
    pub session_secs: u32,
    /// Which pages may open one.
    pub origins: Vec<String>,
}

impl Default for ShellBounds {
    fn default() -> Self {
        Self {
            idle_secs: 1800,
            hard_secs: 14_400,
            max_each: 3,
            rate: Rate::per_minute(10),
            session_secs: 60,
            origins: Vec::new(),
        }
    }
}

/// Whether routes have rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateLimiting {
    /// The built-in ones, but for these.
    On(BTreeMap<Bucket, Rate>),
    /// None.
    Off,
}

impl Settings {
    /// These with the stored values in their place. What is not acceptable is passed over.
    #[must_use]
    pub fn with(&self, stored: &BTreeMap<SettingKey, Value>) -> Self {
        let found = |key: SettingKey| stored.get(&key).filter(|value| key.check(value).is_ok());
        let number = |key: SettingKey, otherwise: u32| {
            let number = found(key).and_then(Value::as_u64);
            number.and_then(|number| u32::try_from(number).ok()).unwrap_or(otherwise)
        };
        let is_on = found(SettingKey::RateLimitingEnabled).and_then(Value::as_bool);
        let rates = found(SettingKey::RateLimits).and_then(|value| rates(value).ok());
        let rate_limiting = match (is_on, &self.rate_limiting, rates) {
            (Some(false), _, _) | (None, RateLimiting::Off, _) => RateLimiting::Off,
            (_, _, Some(rates)) => RateLimiting::On(rates),
            (_, RateLimiting::On(rates), None) => RateLimiting::On(rates.clone()),
            (Some(true), RateLimiting::Off, None) => RateLimiting::On(BTreeMap::new()),
        };
        let disabled = found(SettingKey::DisabledChallenges).and_then(|it| challenges(it).ok());
        let caps = found(SettingKey::QuestionAttemptCaps).and_then(|value| caps(value).ok());
        let cap = |mode: &str, otherwise: u32| {
            caps.as_ref().and_then(|caps| caps.get(mode)).copied().unwrap_or(otherwise)
        };
        let lease = self.lease;
        Self {
            rate_limiting,
            disabled: disabled.unwrap_or_else(|| self.disabled.clone()),
            caps: AttemptCaps {
                single_select: cap("single_select", self.caps.single_select),
                multi_select: cap("multi_select", self.caps.multi_select),
                static_text: cap("static", self.caps.static_text),
            },
            start_deadline_secs: number(SettingKey::ComposeUpTimeout, self.start_deadline_secs),
            lease: LeaseBounds {
                default_secs: number(SettingKey::DefaultInstanceTtl, lease.default_secs),
                max_secs: number(SettingKey::MaxInstanceTtl, lease.max_secs),
            },
            shell: ShellBounds {
                idle_secs: number(SettingKey::AdminShellIdleTimeout, self.shell.idle_secs),
                hard_secs: number(SettingKey::AdminShellHardTimeout, self.shell.hard_secs),
                max_each: number(SettingKey::AdminShellMaxConcurrent, self.shell.max_each),
                rate: found(SettingKey::AdminShellMintRate)
                    .and_then(|value| rate(value).ok())
                    .unwrap_or(self.shell.rate),
                session_secs: number(SettingKey::AdminShellSessionTtl, self.shell.session_secs),
                origins: found(SettingKey::AdminShellAllowedOrigins)
                    .and_then(|value| texts(value).ok())
                    .map_or_else(
                        || self.shell.origins.clone(),
                        |texts| texts.into_iter().map(str::to_owned).collect(),
                    ),
            },
        }
    }

    /// The value of one key on the wire.
    pub fn value(&self, key: SettingKey) -> Value {
        match key {
            SettingKey::RateLimitingEnabled => {
                json!(matches!(self.rate_limiting, RateLimiting::On(_)))
            }
            SettingKey::RateLimits => match &self.rate_limiting {
                RateLimiting::Off => json!({}),
                RateLimiting::On(rates) => rates
                    .iter()
                    .map(|(bucket, rate)| (bucket.as_str().to_owned(), json!(rate.spelled())))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            },
            SettingKey::DisabledChallenges => {
                json!(self.disabled.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            SettingKey::QuestionAttemptCaps => json!({
                "single_select": self.caps.single_select,
                "multi_select": self.caps.multi_select,
                "static": self.caps.static_text,
            }),
            SettingKey::AdminShellIdleTimeout => json!(self.shell.idle_secs),
            SettingKey::AdminShellHardTimeout => json!(self.shell.hard_secs),
            SettingKey::AdminShellMaxConcurrent => json!(self.shell.max_each),
            SettingKey::AdminShellMintRate => json!(self.shell.rate.spelled()),
            SettingKey::AdminShellSessionTtl => json!(self.shell.session_secs),
            SettingKey::AdminShellAllowedOrigins => json!(self.shell.origins),
            SettingKey::ComposeUpTimeout => json!(self.start_deadline_secs),
            SettingKey::DefaultInstanceTtl => json!(self.lease.default_secs),
            SettingKey::MaxInstanceTtl => json!(self.lease.max_secs),
        }
    }

    /// The rate of a group of routes whose own is `built_in`; `None` when there are none.
    pub fn rate(&self, bucket: Bucket, built_in: Rate) -> Option<Rate> {
        match &self.rate_limiting {
            RateLimiting::Off => None,
            RateLimiting::On(_) if bucket == Bucket::AdminShell => Some(self.shell.rate),
            RateLimiting::On(others) => Some(others.get(&bucket).copied().unwrap_or(built_in)),
        }
    }
}

#[cfg(test)]
impl Settings {
    /// What holds where nobody said anything.
    pub(crate) fn for_test() -> Self {
        Self {
            rate_limiting: RateLimiting::On(BTreeMap::new()),
            disabled: BTreeSet::new(),
            caps: AttemptCaps::default(),
            start_deadline_secs: 300,
            lease: LeaseBounds::default(),
            shell: ShellBounds::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Settings {
        Settings::for_test()
    }

    fn check(key: &str, value: Value) -> String {
        let key = SettingKey::from_word(key).unwrap();
        key.check(&value).err().unwrap_or_else(|| "fine".to_owned())
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_what_it_must_be() {
        let answers = [
            check("max_instance_ttl_s", json!(60)),
            check("max_instance_ttl_s", json!(59)),
            check("max_instance_ttl_s", json!("60")),
            check("max_instance_ttl_s", json!(60.5)),
            check("rate_limiting_enabled", json!(1)),
            check("rate_limits", json!({"login": "5/minute"})),
            check("rate_limits", json!({"logins": "5/minute"})),
            check("rate_limits", json!({"login": "often"})),
            check("disabled_challenges", json!(["WEB-001"])),
            check("disabled_challenges", json!(["../x"])),
            check("disabled_challenges", json!("WEB-001")),
            check("question_attempt_caps", json!({"static": 5})),
            check("question_attempt_caps", json!({"static": 0})),
            check("question_attempt_caps", json!({"dynamic": 5})),
            check("admin_shell_mint_rate_limit", json!("10/minute")),
            check("admin_shell_allowed_origins", json!(["https://x", 1])),
            check("compose_up_timeout_s", Value::Null),
        ];
        insta::assert_snapshot!(answers.join("\n"), @"
        fine
        must be between 60 and 2592000
        must be an integer
        must be an integer
        must be a boolean
        fine
        unknown group `logins`: there are submission, verify_flag, instance_start, scoreboard, login, register, token_create, password_change, auth_mutation, device_code, device_token, device_approve, default
        login: must be a rate like `600/minute` or `10/30 seconds`: 1 to 1000000 in 1 to 10000 seconds, minutes, hours or days
        fine
        `../x` is no id of a challenge
        must be a list of strings
        fine
        static: must be an integer between 1 and 1000000
        unknown mode `dynamic`: there are single_select, multi_select, static
        fine
        must be a list of strings of at most 200 characters
        must be an integer
        ");
    }

    #[test]
    fn stored_values_take_the_place_of_configured_ones() {
        let stored = [
            (SettingKey::MaxInstanceTtl, json!(600)),
            (SettingKey::QuestionAttemptCaps, json!({"static": 2})),
            (SettingKey::RateLimits, json!({"login": "5/minute"})),
            (SettingKey::DisabledChallenges, json!(["WEB-001"])),
            // Of an older version, or by other hands.
            (SettingKey::DefaultInstanceTtl, json!("soon")),
        ];
        let settings = base().with(&stored.into());
        assert_eq!(settings.lease, LeaseBounds { default_secs: 86_400, max_secs: 600 });
        assert_eq!((settings.caps.static_text, settings.caps.single_select), (2, 3));
        let built_in = Rate::per_minute(60);
        let rate = settings.rate(Bucket::Login, built_in).unwrap();
        assert_eq!(rate.to_string(), "5 per 1 minute");
        assert_eq!(settings.rate(Bucket::Register, built_in), Some(built_in));
        assert_eq!(settings.disabled.len(), 1);
        let off = [(SettingKey::RateLimitingEnabled, json!(false))];
        assert_eq!(settings.with(&off.into()).rate(Bucket::Login, built_in), None);
    }

    #[test]
    fn every_key_shows_a_value_that_it_accepts() {
        for key in SettingKey::ALL {
            assert_eq!(key.check(&base().value(key)), Ok(()), "{}", key.as_str());
            assert_eq!(SettingKey::from_word(key.as_str()), Some(key));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z/0-9 ]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("(static|login|[a-z]{1,6})", inner, 0..4).prop_map(
                    |map| Value::from(map.into_iter().collect::<serde_json::Map<_, _>>())
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_stored_what_holds_is_in_bounds(
            values in proptest::collection::vec(any_json(), 13),
        ) {
            let stored = SettingKey::ALL.into_iter().zip(values).collect();
            let settings = base().with(&stored);
            prop_assert!(settings.lease.max_secs >= 60 && settings.lease.default_secs >= 60);
            prop_assert!((60..=21_600).contains(&settings.start_deadline_secs));
            prop_assert!(settings.caps.static_text >= 1);
            for key in SettingKey::ALL {
                prop_assert_eq!(key.check(&settings.value(key)), Ok(()));
            }
        }
    }
}
