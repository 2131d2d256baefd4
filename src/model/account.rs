//! Accounts of people, what their tokens may do, and what a password must be.
//!
//! # Not here
//! Hashing and comparing passwords (`daemon::passwords`), teams ([`super::team`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{CompetitionId, Timestamp, UserId};

/// A person who signed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// In lower case, unique.
    pub email: String,
    /// Display name.
    pub name: String,
    /// What they may do beside playing.
    pub role: AccountRole,
    /// When it was made.
    pub created_at: Timestamp,
    /// What they tell about themselves.
    pub profile: Profile,
}

/// What the holder of an account may do beside playing, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountRole {
    /// Play.
    User,
    /// Run the event.
    Admin,
    /// Also say who is an administrator.
    SuperAdmin,
}

impl AccountRole {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }

    /// The role that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::User, Self::Admin, Self::SuperAdmin].into_iter().find(|role| role.as_str() == word)
    }
}

/// What people tell about themselves; every part may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// A few words.
    pub bio: Option<String>,
    /// Two capital letters.
    pub country: Option<String>,
    /// A page of theirs.
    pub website_url: Option<String>,
    /// As IANA names it.
    pub timezone: Option<String>,
    /// Where else they are, by the name of the place.
    pub social_links: BTreeMap<String, String>,
    /// What of it others see, by the contract's words; what is not named is seen.
    pub visibility: BTreeMap<String, bool>,
}

/// A part of the API that a fine-grained token may be let into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// What can be played.
    Challenges,
    /// Answers.
    Submissions,
    /// Running copies.
    Instances,
    /// Teams and invitations.
    Teams,
    /// Standings.
    Scoreboard,
    /// The own account.
    Profile,
    /// Ways to sign in.
    Identities,
    /// The own tokens.
    Tokens,
}

impl Area {
    /// Every area, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Challenges,
        Self::Submissions,
        Self::Instances,
        Self::Teams,
        Self::Scoreboard,
        Self::Profile,
        Self::Identities,
        Self::Tokens,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Challenges => "challenges",
            Self::Submissions => "submissions",
            Self::Instances => "instances",
            Self::Teams => "teams",
            Self::Scoreboard => "scoreboard",
            Self::Profile => "profile",
            Self::Identities => "identities",
            Self::Tokens => "tokens",
        }
    }

    /// The most that a fine-grained token may have of it.
    pub fn max_level(self) -> Level {
        match self {
            Self::Submissions | Self::Instances | Self::Teams | Self::Profile => Level::Write,
            Self::Challenges | Self::Scoreboard | Self::Identities | Self::Tokens => Level::Read,
        }
    }

    /// Whether it is about one competition at a time.
    pub fn is_of_competitions(self) -> bool {
        match self {
            Self::Challenges
            | Self::Submissions
            | Self::Instances
            | Self::Teams
            | Self::Scoreboard => true,
            Self::Profile | Self::Identities | Self::Tokens => false,
        }
    }
}

/// How far a token is let into an area.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Not at all.
    #[default]
    None,
    /// Looking.
    Read,
    /// Doing.
    Write,
}

impl Level {
    /// Every level, from least to most.
    pub const ALL: [Self; 3] = [Self::None, Self::Read, Self::Write];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The level that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// Which competitions a fine-grained token is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// None.
    #[default]
    None,
    /// Every one.
    All,
    /// These; never empty.
    Selected(Vec<CompetitionId>),
}

impl Reach {
    /// The word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::Selected(_) => "selected",
        }
    }

    /// Whether `competition` is one of them.
    pub fn admits(&self, competition: &CompetitionId) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Selected(ids) => ids.contains(competition),
        }
    }
}

/// What a fine-grained token may do. What is not named it may not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grant {
    /// How far it is let into each area.
    pub levels: BTreeMap<Area, Level>,
    /// In which competitions.
    pub reach: Reach,
}

impl Grant {
    /// What a token gets whose maker asked for nothing in particular.
    pub fn for_play() -> Self {
        let level = |area: &Area| match area {
            Area::Identities => Level::None,
            other => other.max_level(),
        };
        let levels = Area::ALL.iter().map(|area| (*area, level(area))).collect();
        Self { levels, reach: Reach::All }
    }

    /// What the words of a wish grant: unknown areas and levels count for nothing, and nothing goes
    /// beyond the most that an area has.
    pub fn of_words(words: &BTreeMap<String, String>, reach: Reach) -> Self {
        let level = |area: Area| {
            let word = words.get(area.as_str()).map(String::as_str).unwrap_or_default();
            Level::from_word(word).unwrap_or_default().min(area.max_level())
        };
        Self { levels: Area::ALL.into_iter().map(|area| (area, level(area))).collect(), reach }
    }

    /// How far it is let into `area`.
    pub fn level(&self, area: Area) -> Level {
        self.levels.get(&area).copied().unwrap_or_default()
    }
}

/// A token of an account, without the token: of that there is only a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountToken {
    /// Public id.
    pub id: String,
    /// What it may do; `None` is everything that its account may.
    pub grant: Option<Grant>,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Where it was made from.
    pub address: String,
    /// With what.
    pub user_agent: String,
}

/// Fewest characters of a password.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// Most characters of a password.
pub const MAX_PASSWORD_CHARS: usize = 256;

/// Passwords of twelve characters and more that lists of stolen ones begin with.
const COMMON: &[&str] = &[
    "000000000000",
    "111111111111",
    "123123123123",
    "1234567890123",
    "123456789012",
    "12345678910111213",
    "123456789abc",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "abcdefghijkl",
    "administrator",
    "aaaaaaaaaaaa",
    "changemechangeme",
    "correcthorsebatterystaple",
    "iloveyouiloveyou",
    "letmeinletmein",
    "passwordpassword",
    "password1234",
    "password12345",
    "password123456",
    "password123!",
    "qwerty123456",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfghjkl",
    "trustno1trustno1",
    "welcome12345",
    "welcomewelcome",
];

/// Why a text is no good password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WeakPassword {
    /// Too short.
    #[error("a password has at least {MIN_PASSWORD_CHARS} characters")]
    Short,
    /// Too long.
    #[error("a password has at most {MAX_PASSWORD_CHARS} characters")]
    Long,
    /// Everybody tries it first.
    #[error("this password is on every list of common ones: take another")]
    Common,
}

/// Checks a new password.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_password(password: &str) -> Result<(), WeakPassword> {
    let n_chars = password.chars().count();
    if n_chars < MIN_PASSWORD_CHARS {
        return Err(WeakPassword::Short);
    }
    if n_chars > MAX_PASSWORD_CHARS {
        return Err(WeakPassword::Long);
    }
    let lower = password.to_lowercase();
    if COMMON.contains(&lower.as_str()) { Err(WeakPassword::Common) } else { Ok(()) }
}

/// An email address as it is kept: trimmed and in lower case; `None` when it cannot be one.
pub fn normal_email(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (local, domain) = text.rsplit_once('@')?;
    let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let is_sized = (3..=320).contains(&text.chars().count());
    (is_plain && is_sized && !local.is_empty() && !domain.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_is_long_and_not_on_every_list() {
        for (password, verdict) in [
            ("short", Err(WeakPassword::Short)),
            ("elevenchars", Err(WeakPassword::Short)),
            ("PassWord1234", Err(WeakPassword::Common)),
            ("correcthorsebatterystaple", Err(WeakPassword::Common)),
            ("a dozen of characters", Ok(())),
            ("ééééééééÉÉÉÉ", Ok(())),
        ] {
            assert_eq!(check_password(password), verdict, "{password}");
        }
        assert_eq!(check_password(&"x".repeat(257)), Err(WeakPassword::Long));
    }

    #[test]
    fn an_email_is_kept_in_one_spelling() {
        assert_eq!(normal_email("  Ada@Example.ORG ").as_deref(), Some("ada@example.org"));
        for text in ["", "ada", "@example.org", "ada@", "a b@c.d", "a\u{0}@b.c", "@"] {
            assert_eq!(normal_email(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_plain_wish_is_the_contract_s() {
        let grant = Grant::for_play();
        let text: Vec<_> = Area::ALL
            .into_iter()
            .map(|area| format!("{}:{}", area.as_str(), grant.level(area).as_str()))
            .collect();
        insta::assert_snapshot!(
            text.join(" "),
            @"challenges:read submissions:write instances:write teams:write scoreboard:read profile:write identities:none tokens:read"
        );
    }

    proptest! {
        #[test]
        fn a_wish_never_gets_more_than_an_area_has(
            words in proptest::collection::btree_map("[a-z]{1,12}|challenges|instances|tokens", "[a-z]{1,6}|read|write|none", 0..8),
        ) {
            let grant = Grant::of_words(&words, Reach::All);
            prop_assert_eq!(grant.levels.len(), Area::ALL.len());
            for area in Area::ALL {
                prop_assert!(grant.level(area) <= area.max_level());
                if !words.contains_key(area.as_str()) {
                    prop_assert_eq!(grant.level(area), Level::None);
                }
            }
        }
    }
}
