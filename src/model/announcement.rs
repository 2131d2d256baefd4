//! Words of the organizers to everybody.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::challenge::word_enum;

word_enum!(
    /// How much it matters.
    Severity {
        /// Good to know.
        Info = "info",
        /// Something is not as it should be.
        Warning = "warning",
        /// Everybody has to act.
        Critical = "critical",
    }
);

/// How long one that is over is still shown, in seconds.
const SHOWN_AFTER_SECS: i64 = 7 * 86_400;

/// One announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub id: String,
    /// On one line.
    pub title: String,
    /// Markdown, as it was written.
    pub body: String,
    /// How much it matters.
    pub severity: Severity,
    /// From when on players see it; at once without.
    pub starts_at: Option<Timestamp>,
    /// Until when it holds; for ever without.
    pub ends_at: Option<Timestamp>,
    /// Who wrote it.
    pub created_by: String,
    /// Their name then.
    pub created_by_name: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Announcement {
    /// Whether players see it: from its beginning until a week after its end. What is scheduled is the
    /// organizers' secret until then.
    pub fn is_shown(&self, now: Timestamp) -> bool {
        self.starts_at.is_none_or(|at| at <= now)
            && self.ends_at.is_none_or(|at| now < at.plus_secs(SHOWN_AFTER_SECS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_from_its_beginning_until_a_week_after_its_end() {
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        let mut one = Announcement {
            id: "a".into(),
            title: "t".into(),
            body: String::new(),
            severity: Severity::Info,
            starts_at: None,
            ends_at: None,
            created_by: String::new(),
            created_by_name: String::new(),
            created_at: at(0),
            updated_at: at(0),
        };
        assert!(one.is_shown(at(0)) && one.is_shown(at(i64::from(u32::MAX))));
        (one.starts_at, one.ends_at) = (Some(at(10)), Some(at(20)));
        let shown = [9, 10, 20, 19 + SHOWN_AFTER_SECS, 20 + SHOWN_AFTER_SECS];
        assert_eq!(shown.map(|secs| one.is_shown(at(secs))), [false, true, true, true, false]);
    }
}
