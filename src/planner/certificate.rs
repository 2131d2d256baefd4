//! Decides when a certificate is ordered, and what people are told about the one that is held. Pure.
//!
//! In:  how long the certificate is valid, the last failures to get another, the time.
//! Out: whether to order now or when to look again ([`next`]); how it stands ([`standing`]).
//!
//! # Invariants
//! * A certificate with more than a third of its life before it is never ordered anew.
//! * Failures are never answered faster than [`FIRST_PAUSE_MILLIS`] after one another, whatever the clock does:
//!   an authority that refuses five times within an hour refuses everything for hours
//!   (Let's Encrypt, "Rate Limits", authorization failures).
//! * A certificate that players would be warned of is never told as a good one.

#[cfg(test)]
mod tests;

use crate::model::{ConditionStatus, Timestamp};

/// The pause after one failure, doubled with each further one: 0, 2, 6, 14 and 30 minutes are five tries
/// within the first hour.
const FIRST_PAUSE_MILLIS: i64 = 2 * 60 * 1000;

/// The longest pause between two tries.
const LONGEST_PAUSE_MILLIS: i64 = 6 * 3600 * 1000;

/// However long a certificate lives: nobody is told earlier than this before its end.
const EARLIEST_WORD_MILLIS: i64 = 21 * 86_400 * 1000;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

impl Validity {
    fn life_millis(self) -> i64 {
        self.until.millis_since(self.from).max(0)
    }

    /// When another one should be there: a third of its life before its end, as the authorities advise.
    pub fn renewal(self) -> Timestamp {
        self.until.plus_millis(-(self.life_millis() / 3))
    }

    /// From when on people are told: renewals failed for half of the time that they had.
    fn word(self) -> Timestamp {
        self.until.plus_millis(-(self.life_millis() / 6).min(EARLIEST_WORD_MILLIS))
    }
}

/// The tries since the last one that worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many; at least one.
    pub n: u32,
    /// When the last of them ended.
    pub last: Timestamp,
}

impl Failures {
    /// One more, at `now`.
    pub fn another(before: Option<Self>, now: Timestamp) -> Self {
        Self { n: before.map_or(1, |it| it.n.saturating_add(1)), last: now }
    }

    /// When it is tried again.
    pub fn again(self) -> Timestamp {
        let doublings = self.n.saturating_sub(1).min(16);
        self.last.plus_millis((FIRST_PAUSE_MILLIS << doublings).min(LONGEST_PAUSE_MILLIS))
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Order one.
    Order,
    /// Nothing before then.
    Wait(Timestamp),
}

/// What to do about a certificate that is got by ourselves.
pub fn next(held: Option<Validity>, failures: Option<Failures>, now: Timestamp) -> Next {
    let due = held.map_or(now, Validity::renewal);
    // A clock that was set back must not turn a pause of minutes into one of years.
    let paused = failures.filter(|it| it.last <= now).map_or(now, Failures::again);
    let at = due.max(paused);
    if at <= now { Next::Order } else { Next::Wait(at) }
}

/// Where certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody brings files.
    Files,
    /// We order them.
    Authority,
}

/// What is stated about the certificate that is served; `why` are the words of the last failure to get
/// another one, if there was one since the last success.
pub fn standing(
    origin: Origin,
    held: Option<Validity>,
    why: Option<&str>,
    now: Timestamp,
) -> (ConditionStatus, &'static str, String) {
    let failed = why.map(|why| format!("ordering one fails: {why}"));
    let advice = match (origin, &failed) {
        (Origin::Authority, Some(failed)) => failed.clone(),
        (Origin::Authority, None) => "another one is being ordered".to_owned(),
        (Origin::Files, _) => {
            "put another one where `ingress.certificate` and `ingress.key` say".to_owned()
        }
    };
    let Some(held) = held else {
        return match failed {
            Some(failed) => {
                let message =
                    format!("players reach no instance: there is no certificate yet; {failed}");
                (ConditionStatus::False, "OrderFailed", message)
            }
            None => (
                ConditionStatus::Unknown,
                "Ordering",
                "the first certificate is being ordered; until then players reach no instance"
                    .into(),
            ),
        };
    };
    let until = held.until;
    if now >= until {
        let message =
            format!("the certificate ended at {until}, so players are warned of it; {advice}");
        return (ConditionStatus::False, "Expired", message);
    }
    if now < held.from {
        let message = format!(
            "the certificate is valid from {} on, so players are warned of it; is the clock of this machine right?",
            held.from
        );
        return (ConditionStatus::False, "NotYetValid", message);
    }
    if now >= held.word() {
        let message = format!("the certificate ends at {until}; {advice}");
        return (ConditionStatus::False, "Expiring", message);
    }
    match failed {
        Some(failed) => {
            let message = format!("the certificate is valid until {until}; {failed}");
            (ConditionStatus::True, "RenewalFailed", message)
        }
        None => (ConditionStatus::True, "Ok", format!("the certificate is valid until {until}")),
    }
}
