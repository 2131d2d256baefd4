//! What a release tag says about its place among the others.
//!
//! In:  the name of a tag, the organizers' pattern and order.
//! Out: a key that sorts, or why the name has none.
//!
//! # Invariants
//! * Equal keys are equal claims: nobody breaks the tie (`contract/gitops.md` §4.12 rule 1).

use std::cmp::Ordering;

use regex::Regex;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::challenge::word_enum;
use crate::model::{TagName, Timestamp};

/// The group of the pattern that is ordered; without one the whole name is.
const ORDERED_GROUP: &str = "v";

/// Longest pattern, and longest number as text.
const MAX_PATTERN_BYTES: usize = 300;

word_enum!(
    /// How tags are ordered.
    TagOrder {
        /// `1.2.3`, `1.2.3-rc.1`; build metadata counts for nothing.
        Semver = "semver",
        /// Whole numbers of any length: `2` before `10`.
        Numeric = "numeric",
        /// As text, byte by byte: `2026-06-20T10` before `2026-06-20T11`.
        Lexical = "lexical",
        /// By the date in the tag object, which whoever signs vouches for.
        Date = "date",
    }
);

/// Why `[release]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is no regular expression.
    #[error("it is no regular expression: {reason}")]
    Syntax {
        /// The words of the parser.
        reason: String,
    },
    /// It could match in the middle of a name.
    #[error("write it from `^` to `$`, so that it names whole tags: `^event-(?<v>[0-9.]+)$`")]
    NotAnchored,
    /// It is too long to be read by people.
    #[error("it is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

/// Which names are release tags.
#[derive(Debug, Clone)]
pub struct TagPattern(Regex);

impl TagPattern {
    /// Reads an anchored regular expression.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let is_anchored = text.starts_with('^') && text.ends_with('$') && !text.ends_with("\\$");
        let regex = Regex::new(text).map_err(|error| PatternError::Syntax {
            reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        if is_anchored { Ok(Self(regex)) } else { Err(PatternError::NotAnchored) }
    }

    /// No name at all.
    pub fn nothing() -> Self {
        Self(Regex::new("[^\\s\\S]").expect("a class without members is one"))
    }

    /// The part of the name that is ordered; `None` when it is no release tag.
    pub fn ordered_part<'a>(&self, name: &'a TagName) -> Option<&'a str> {
        let found = self.0.captures(name.as_str())?;
        let whole = found.get(0)?;
        // `^a|b$` is anchored on one side only.
        let is_whole = whole.start() == 0 && whole.end() == name.as_str().len();
        is_whole.then(|| found.name(ORDERED_GROUP).unwrap_or(whole).as_str())
    }
}

/// The place of a tag among those of the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderKey {
    /// By version.
    Semver(Version),
    /// By number: the digits without leading zeros.
    Numeric(String),
    /// By text.
    Lexical(String),
    /// By date.
    Date(Timestamp),
}

impl OrderKey {
    /// Compares two keys of one policy; `None` when they are of different orders, as after a change
    /// of the policy.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Semver(a), Self::Semver(b)) => Some(a.cmp_precedence(b)),
            (Self::Numeric(a), Self::Numeric(b)) => Some((a.len(), a).cmp(&(b.len(), b))),
            (Self::Lexical(a), Self::Lexical(b)) => Some(a.cmp(b)),
            (Self::Date(a), Self::Date(b)) => Some(a.cmp(b)),
            (Self::Semver(_) | Self::Numeric(_) | Self::Lexical(_) | Self::Date(_), _) => None,
        }
    }
}

/// Why a release tag has no place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unordered {
    /// Its ordered part is no version.
    #[error("`{part}` is no version (like 1.2.3)")]
    NoVersion {
        /// The part.
        part: String,
    },
    /// Its ordered part is no number.
    #[error("`{part}` is no whole number")]
    NoNumber {
        /// The part.
        part: String,
    },
    /// It has no date, because it is no tag object.
    #[error("it has no date: make it with `git tag -a` or `git tag -s`")]
    NoDate,
    /// It is before or after the wanted range.
    #[error("it is outside of `release.range`")]
    OutOfRange,
    /// It is a pre-release.
    #[error("it is a pre-release, and `release.prerelease` is off")]
    PreRelease,
}

/// Works out the key of a tag whose ordered part is `part`.
///
/// # Errors
/// [`Unordered`] when the policy has no place for it.
pub fn key(
    order: TagOrder,
    part: &str,
    tagged_at: Option<Timestamp>,
    range: Option<&VersionReq>,
    allows_prerelease: AllowsPrerelease,
) -> Result<OrderKey, Unordered> {
    match order {
        TagOrder::Semver => {
            let text = part.strip_prefix('v').unwrap_or(part);
            let version =
                Version::parse(text).map_err(|_| Unordered::NoVersion { part: part.to_owned() })?;
            if !version.pre.is_empty() && !allows_prerelease {
                return Err(Unordered::PreRelease);
            }
            // A range says nothing about pre-releases unless it names one: compare their release.
            let release = Version { pre: semver::Prerelease::EMPTY, ..version.clone() };
            match range {
                Some(range) if !range.matches(&version) && !range.matches(&release) => {
                    Err(Unordered::OutOfRange)
                }
                Some(_) | None => Ok(OrderKey::Semver(version)),
            }
        }
        TagOrder::Numeric => {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let digits = part.trim_start_matches('0').to_owned();
            let no_number = || Unordered::NoNumber { part: part.to_owned() };
            is_number.then_some(OrderKey::Numeric(digits)).ok_or_else(no_number)
        }
        TagOrder::Lexical => Ok(OrderKey::Lexical(part.to_owned())),
        TagOrder::Date => tagged_at.map(OrderKey::Date).ok_or(Unordered::NoDate),
    }
}

/// Whether pre-releases have a place.
pub type AllowsPrerelease = bool;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn semver_key(part: &str) -> Result<OrderKey, Unordered> {
        key(TagOrder::Semver, part, None, None, false)
    }

    fn name(text: &str) -> TagName {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_names_whole_tags_only() {
        let pattern = TagPattern::parse(r"^event-(?<v>\d+\.\d+\.\d+)$").unwrap();
        assert_eq!(pattern.ordered_part(&name("event-1.2.3")), Some("1.2.3"));
        for other in ["event-1.2", "my-event-1.2.3", "event-1.2.3-rc.1", "Event-1.2.3"] {
            assert_eq!(pattern.ordered_part(&name(other)), None, "{other}");
        }
        let whole = TagPattern::parse("^[0-9]+$").unwrap();
        assert_eq!(whole.ordered_part(&name("42")), Some("42"));
        let either = TagPattern::parse("^a|b$").unwrap();
        assert_eq!(either.ordered_part(&name("ax")), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_way_out() {
        assert_eq!(TagPattern::parse("v.*").unwrap_err(), PatternError::NotAnchored);
        assert!(matches!(TagPattern::parse("^(v$"), Err(PatternError::Syntax { .. })));
        let long = format!("^{}$", "a".repeat(400));
        assert_eq!(TagPattern::parse(&long).unwrap_err(), PatternError::TooLong);
    }

    #[test]
    fn versions_are_ordered_as_semver_says() {
        let sorted = ["0.9.0", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"];
        for pair in sorted.windows(2) {
            let (a, b) = (semver_key(pair[0]).unwrap(), semver_key(pair[1]).unwrap());
            assert_eq!(a.compare(&b), Some(Ordering::Less), "{pair:?}");
        }
        let (plain, prefixed) = (semver_key("1.0.0").unwrap(), semver_key("v1.0.0").unwrap());
        assert_eq!(plain.compare(&prefixed), Some(Ordering::Equal));
        let built = semver_key("1.0.0+linux").unwrap();
        assert_eq!(plain.compare(&built), Some(Ordering::Equal), "build metadata breaks no tie");
    }

    #[test]
    fn what_has_no_place_says_why() {
        assert!(matches!(semver_key("1.0"), Err(Unordered::NoVersion { .. })));
        assert_eq!(semver_key("1.0.0-rc.1"), Err(Unordered::PreRelease));
        let range = VersionReq::parse(">=1.0.0, <2.0.0").unwrap();
        let ranged = |part| key(TagOrder::Semver, part, None, Some(&range), true);
        assert_eq!(ranged("2.0.0"), Err(Unordered::OutOfRange));
        assert!(ranged("1.9.9").is_ok() && ranged("1.1.0-rc.1").is_ok());
        assert_eq!(key(TagOrder::Date, "x", None, None, false), Err(Unordered::NoDate));
        let numeric = |part| key(TagOrder::Numeric, part, None, None, false);
        assert!(matches!(numeric("1a"), Err(Unordered::NoNumber { .. })));
        assert_eq!(numeric("007").unwrap().compare(&numeric("7").unwrap()), Some(Ordering::Equal));
    }

    proptest! {
        #[test]
        fn numbers_are_ordered_as_numbers(a in any::<u128>(), b in any::<u128>()) {
            let of = |n: u128| key(TagOrder::Numeric, &n.to_string(), None, None, false).unwrap();
            prop_assert_eq!(of(a).compare(&of(b)), Some(a.cmp(&b)));
        }

        #[test]
        fn no_name_makes_it_panic(text in "\\PC{0,40}") {
            let pattern = TagPattern::parse("^(?<v>.*)$").unwrap();
            if let Ok(tag) = text.parse::<TagName>() {
                let part = pattern.ordered_part(&tag).unwrap();
                for order in [TagOrder::Semver, TagOrder::Numeric, TagOrder::Lexical] {
                    let _ = key(order, part, None, None, true);
                }
            }
        }
    }
}
