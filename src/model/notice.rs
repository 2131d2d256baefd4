//! What people are told about conditions: an alarm that is kept, and a notice that is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::challenge::word_enum;
use super::{Condition, ConditionStatus, ConditionType, Timestamp};

word_enum!(
    /// Why a notice is sent.
    NoticeKind {
        /// Something turned bad, or is bad for another reason than was told.
        Failure = "failure",
        /// It still is.
        Reminder = "reminder",
        /// It is good again, or is no more.
        Recovery = "recovery",
        /// Somebody tries whether notices arrive.
        Test = "test",
    }
);

word_enum!(
    /// Where an alarm is.
    AlarmPhase {
        /// The condition is bad. Left when it turns good, or its object is gone.
        Failing = "failing",
        /// Good again, and people who were told of the failure are still to be told so.
        Recovered = "recovered",
        /// Nothing is owed. Kept until what was told may be told again, then forgotten.
        Over = "over",
    }
);

/// What was told about one condition. There is one per scope and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Where it is.
    pub phase: AlarmPhase,
    /// The condition as it was last looked at.
    pub condition: Condition,
    /// The reason of the failure.
    pub failed: String,
    /// Since when it fails, or failed.
    pub failing_since: Timestamp,
    /// Notices of this episode; 0 when nobody was told.
    pub n_told: u32,
    /// What was told, by reason; outlives the episode, so that nothing is told twice.
    pub told: BTreeMap<String, Told>,
}

/// When a reason was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The last time.
    pub at: Timestamp,
    /// How often in this episode.
    pub n: u32,
}

/// One message to people. Holds no secret: its texts are those of conditions, cut to one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Why it is sent.
    pub kind: NoticeKind,
    /// One line: what and where.
    pub title: String,
    /// What, where, why and the next command, in a few lines.
    pub text: String,
    /// The object; the first one when `count` is more than 1.
    pub scope: String,
    /// Up to ten of the objects.
    pub scopes: Vec<String>,
    /// What is stated about it.
    pub r#type: ConditionType,
    /// Its status now.
    pub status: ConditionStatus,
    /// The reason for that.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// Since when the status is so.
    pub since: Timestamp,
    /// The revision it was observed at.
    pub revision: Option<String>,
    /// How many objects it is about.
    pub count: u32,
    /// What to do or to look at next.
    pub next_command: String,
}
