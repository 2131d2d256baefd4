//! The words of a notice: what, where, why, since when, and what to do next. Pure.
//!
//! # Invariants
//! * A text has one line per fact, and no character that a terminal or a chat would obey.
//! * Of a message only its first line is told: what follows is output of containers, which may hold
//!   answers.
//! * Every next command is one of ours that can be pasted.

use super::decide::Draft;
use super::throttle::word;
use crate::model::{
    Alarm, Condition, ConditionStatus, ConditionType, NodeId, Notice, NoticeKind, Scope, Timestamp,
};

/// Longest message that is told, in characters.
const MAX_MESSAGE: usize = 600;
/// Objects that one notice names.
const MAX_NAMED: usize = 10;

/// The notice of `draft`, or nothing when it is about nothing.
pub fn render(draft: &Draft) -> Option<Notice> {
    let first = draft.members.first()?;
    let condition = &first.condition;
    let objects = draft.members.iter().map(|alarm| alarm.condition.scope.to_string());
    let count = draft.members.len();
    let title = title(draft.kind, first, count);
    let next_command = if count == 1 {
        next_command(draft.kind, condition.kind, &condition.scope)
    } else {
        format!("flagops events --kind {}", condition.kind)
    };
    let mut notice = Notice {
        kind: draft.kind,
        title,
        text: String::new(),
        scope: condition.scope.to_string(),
        scopes: objects.take(MAX_NAMED).collect(),
        r#type: condition.kind,
        status: condition.status,
        reason: condition.reason.clone(),
        message: message(condition),
        since: condition.since,
        revision: condition.revision.map(|revision| revision.to_string()),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        next_command,
    };
    notice.text = text(&notice, first);
    Some(notice)
}

/// The notice that somebody asked for, to see whether it arrives.
pub fn test_notice(now: Timestamp) -> Notice {
    let scope = Scope::Node(NodeId::local()).to_string();
    let message = "notices of this flagops arrive here";
    let next_command = "flagops status".to_owned();
    Notice {
        kind: NoticeKind::Test,
        title: "flagops test notice: nothing is wrong".to_owned(),
        text: format!(
            "flagops test notice: nothing is wrong\nwhere: {scope}\nwhy: {message}\nnext: `{next_command}`"
        ),
        scopes: vec![scope.clone()],
        scope,
        r#type: ConditionType::Ready,
        status: ConditionStatus::Unknown,
        reason: "Test".to_owned(),
        message: message.to_owned(),
        since: now,
        revision: None,
        count: 1,
        next_command,
    }
}

/// One line: what and where.
fn title(kind: NoticeKind, first: &Alarm, count: usize) -> String {
    let Condition { scope, kind: about, status, reason, .. } = &first.condition;
    let objects = match count {
        1 => scope.to_string(),
        n => format!("{n} {}s", word(scope)),
    };
    match kind {
        NoticeKind::Failure | NoticeKind::Test => format!("{objects}: {about}={status} ({reason})"),
        NoticeKind::Reminder => format!("{objects}: still {about}={status} ({reason})"),
        NoticeKind::Recovery if *status == ConditionStatus::Unknown => {
            format!("{objects}: {about} is over ({reason}, was {})", first.failed)
        }
        NoticeKind::Recovery => format!("{objects}: {about} is well again (was {})", first.failed),
    }
}

fn text(notice: &Notice, first: &Alarm) -> String {
    let mut places = notice.scopes.join(", ");
    let n_more = (notice.count as usize).saturating_sub(notice.scopes.len());
    if n_more > 0 {
        places = format!("{places} and {n_more} more");
    }
    let span = match notice.kind {
        NoticeKind::Recovery => format!("from {} to {}", first.failing_since, notice.since),
        NoticeKind::Failure | NoticeKind::Reminder | NoticeKind::Test => {
            format!("since {}", first.failing_since)
        }
    };
    let at = notice.revision.as_ref().map_or(String::new(), |revision| {
        format!(", revision {}", revision.get(..10).unwrap_or(revision))
    });
    format!(
        "{}\nwhere: {places}\nwhy: {}\nwhen: {span}{at}\nnext: `{}`",
        notice.title, notice.message, notice.next_command
    )
}

/// The first line of the message, without anything that a reader would obey.
fn message(condition: &Condition) -> String {
    let line = condition.message.lines().next().unwrap_or_default().trim();
    let mut text: String = line
        .chars()
        .take(MAX_MESSAGE)
        .map(|c| if is_hostile(c) { '\u{fffd}' } else { c })
        .collect();
    if line.chars().count() > MAX_MESSAGE {
        text.push('…');
    }
    text
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What to do, or to look at, next.
pub fn next_command(kind: NoticeKind, about: ConditionType, scope: &Scope) -> String {
    if kind == NoticeKind::Recovery {
        return format!("flagops events --scope {scope}");
    }
    match (about, scope) {
        (_, Scope::Node(id)) if *id != NodeId::local() => format!("flagops nodes show {id}"),
        (
            ConditionType::DockerAvailable
            | ConditionType::NodeConnected
            | ConditionType::DiskPressure,
            _,
        ) => "flagops doctor".to_owned(),
        (ConditionType::SourceReachable | ConditionType::SourceStale, _) => {
            "flagops reconcile".to_owned()
        }
        (ConditionType::Built, Scope::Challenge(id)) => format!("flagops builds log {id}"),
        (ConditionType::Proven, Scope::Challenge(id)) => format!("flagops play {id} --solve"),
        (_, Scope::Challenge(id)) => format!("flagops challenges show {id}"),
        (_, Scope::Instance(id)) => format!("flagops instances logs {id}"),
        (_, Scope::Release) => "flagops releases".to_owned(),
        (_, Scope::Repo | Scope::Node(_)) => "flagops status".to_owned(),
    }
}
