//! How often something may be asked for: `<count>/<unit>` or `<count>/<n> <units>`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use thiserror::Error;

/// Most requests of one rate.
const MAX_COUNT: u32 = 1_000_000;
/// Longest time of one rate, in units.
const MAX_UNITS: u32 = 10_000;

/// So many in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    n_units: NonZeroU32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn secs(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be a rate like `600/minute` or `10/30 seconds`: 1 to {MAX_COUNT} in 1 to {MAX_UNITS} \
     seconds, minutes, hours or days"
)]
pub struct BadRate;

impl Rate {
    /// `count` in a minute; at least one.
    pub const fn per_minute(count: u32) -> Self {
        Self::of(count, Unit::Minute)
    }

    /// `count` in an hour; at least one.
    pub const fn per_hour(count: u32) -> Self {
        Self::of(count, Unit::Hour)
    }

    const fn of(count: u32, unit: Unit) -> Self {
        let count = match NonZeroU32::new(count) {
            Some(count) => count,
            None => NonZeroU32::MIN,
        };
        Self { count, n_units: NonZeroU32::MIN, unit }
    }

    /// How many.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// As it is read: `600/minute`, `10/30 seconds`.
    pub fn spelled(self) -> String {
        let (count, unit) = (self.count, self.unit.as_str());
        match self.n_units.get() {
            1 => format!("{count}/{unit}"),
            n => format!("{count}/{n} {unit}s"),
        }
    }

    /// In how many seconds.
    pub fn secs(self) -> u32 {
        self.n_units.get().saturating_mul(self.unit.secs())
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let number = |text: &str, most: u32| -> Result<NonZeroU32, BadRate> {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number: u32 = text.parse().ok().filter(|_| is_plain).ok_or(BadRate)?;
            NonZeroU32::new(number).filter(|_| number <= most).ok_or(BadRate)
        };
        let (count, time) = text.split_once('/').ok_or(BadRate)?;
        let time = time.trim();
        let (n_units, unit) = time.rsplit_once(' ').unwrap_or(("1", time));
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let unit = Unit::ALL.into_iter().find(|it| it.as_str() == unit).ok_or(BadRate)?;
        let count = number(count.trim(), MAX_COUNT)?;
        Ok(Self { count, n_units: number(n_units.trim(), MAX_UNITS)?, unit })
    }
}

/// As refusals spell it: `600 per 1 minute`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, n_units, unit } = self;
        write!(f, "{count} per {n_units} {}", unit.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> String {
        match text.parse::<Rate>() {
            Ok(rate) => format!("{rate} ({} s)", rate.secs()),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn the_spellings_of_the_contract_are_read() {
        let texts = ["600/minute", "600/60 seconds", "1/day", "2 / 3 hours", "10/minutes"];
        insta::assert_snapshot!(texts.map(check).join("\n"), @"
        600 per 1 minute (60 s)
        600 per 60 second (60 s)
        1 per 1 day (86400 s)
        2 per 3 hour (10800 s)
        10 per 1 minute (60 s)
        ");
        for text in
            ["", "600", "0/minute", "-1/minute", "1/week", "1/0 hours", "+1/minute", "1/", "/"]
        {
            assert_eq!(check(text), "refused", "{text}");
        }
        assert_eq!(check("1000001/day"), "refused");
        assert_eq!(check("1/10001 days"), "refused");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert!(rate.secs() >= 1);
            }
        }

        #[test]
        fn what_is_in_bounds_is_read(count in 1..=MAX_COUNT, n in 1..=MAX_UNITS) {
            let rate: Rate = format!("{count}/{n} hours").parse().unwrap();
            prop_assert_eq!((rate.count().get(), rate.secs()), (count, n * 3600));
            prop_assert_eq!(rate.spelled().parse(), Ok(rate));
        }
    }
}
