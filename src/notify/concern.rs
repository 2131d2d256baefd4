//! Which conditions people are told about: one table.
//!
//! A status that is unwanted by its polarity is worth a notice unless it is work that goes on by
//! itself, the wish of a person, or said by another condition that is told already. Two notices for
//! one cause are one too many.

use crate::model::{Condition, ConditionType};

/// How much people are told about a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Nothing.
    Silent,
    /// When it turns bad and when it is good again; it is no use to repeat it.
    Once,
    /// Also while it lasts.
    Lasting,
}

/// How much people are told about `condition` as it is now.
pub fn concern(condition: &Condition) -> Concern {
    if !condition.kind.is_bad(condition.status) {
        return Concern::Silent;
    }
    match (condition.kind, condition.reason.as_str()) {
        // Work, and the sum of conditions that are told themselves.
        (ConditionType::Reconciling | ConditionType::Ready, _) => Concern::Silent,
        // `SourceReachable` was told at the first failure.
        (ConditionType::SourceStale, _) => Concern::Silent,
        // Somebody wanted it, or another condition says so.
        (ConditionType::Suspended, _)
        | (
            ConditionType::Held,
            "FreezeWindow" | "ByOperator" | "RolledBack" | "Soaking" | "Recovering",
        ) => Concern::Silent,
        // On its way.
        (ConditionType::Built, "Building")
        | (ConditionType::Released, "NotReleased" | "Superseded")
        | (ConditionType::Recovering, "UncleanStop")
        | (ConditionType::PruneHeld, "SourceNotReady" | "Recovering") => Concern::Silent,
        // `Validated` and `Built` say so.
        (ConditionType::Stalled, "InvalidManifest" | "BuildFailedPermanent") => Concern::Silent,
        // Players can make a service end or fail its check: it is put right at once, and a crash
        // loop is told as `Healthy`.
        (ConditionType::Drifted, "ContainerExited" | "Unhealthy") => Concern::Silent,
        // The next looks go on.
        (ConditionType::PruneHeld, "BudgetExceeded") => Concern::Silent,
        // A lack, not a failure.
        (ConditionType::Healthy, "NoHealthcheck") => Concern::Silent,
        // `Isolated` or `DockerAvailable` of that node says so.
        (ConditionType::Healthy, "Closed") => Concern::Silent,
        // The operator wants it so.
        (ConditionType::Isolated, "WithoutWall") => Concern::Silent,
        // Until the next start nothing changes.
        (ConditionType::StatusesPosted, _) => Concern::Once,
        // It happened, and lasts by name only: until the next push.
        (ConditionType::Held, "HistoryRewritten") => Concern::Once,
        // Players notice nothing, and whoever deleted it may have meant to.
        (ConditionType::SourceVerified, "TagMissing") => Concern::Once,
        (
            ConditionType::Stalled
            | ConditionType::SourceReachable
            | ConditionType::SourceVerified
            | ConditionType::Held
            | ConditionType::Validated
            | ConditionType::Built
            | ConditionType::Proven
            | ConditionType::Released
            | ConditionType::Healthy
            | ConditionType::Drifted
            | ConditionType::PruneHeld
            | ConditionType::DockerAvailable
            | ConditionType::NodeConnected
            | ConditionType::Isolated
            | ConditionType::CertificateValid
            | ConditionType::DiskPressure
            | ConditionType::Recovering,
            _,
        ) => Concern::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConditionStatus, Scope, Timestamp};

    #[test]
    fn work_wishes_and_echoes_are_no_alarms() {
        let check = |kind: &str, status, reason: &str| {
            concern(&Condition {
                scope: Scope::Repo,
                kind: kind.parse().unwrap(),
                status,
                reason: reason.to_owned(),
                message: String::new(),
                since: Timestamp::from_millis(0),
                revision: None,
            })
        };
        let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
        for (kind, status, reason, wanted) in [
            ("DockerAvailable", no, "Unreachable", Concern::Lasting),
            ("DockerAvailable", yes, "Ok", Concern::Silent),
            ("DockerAvailable", ConditionStatus::Unknown, "Timeout", Concern::Silent),
            ("Isolated", no, "RowsMissed", Concern::Lasting),
            ("Isolated", no, "WithoutWall", Concern::Silent),
            ("Healthy", no, "Closed", Concern::Silent),
            ("Healthy", no, "CrashLooping", Concern::Lasting),
            ("PruneHeld", yes, "AllWouldBeRemoved", Concern::Lasting),
            ("PruneHeld", yes, "Recovering", Concern::Silent),
            ("PruneHeld", yes, "BudgetExceeded", Concern::Silent),
            ("Drifted", yes, "ContainerExited", Concern::Silent),
            ("Drifted", yes, "ChangedByHand", Concern::Lasting),
            ("PruneHeld", no, "Ok", Concern::Silent),
            ("Reconciling", yes, "Building", Concern::Silent),
            ("Ready", no, "Degraded", Concern::Silent),
            ("Released", no, "NotReleased", Concern::Silent),
            ("Released", no, "GateTimeout", Concern::Lasting),
            ("SourceReachable", no, "AuthFailed", Concern::Lasting),
            ("SourceStale", yes, "NoSuccessfulPoll", Concern::Silent),
            ("Held", yes, "HistoryRewritten", Concern::Once),
            ("SourceVerified", no, "TagMissing", Concern::Once),
            ("SourceVerified", no, "SignerRevoked", Concern::Lasting),
            ("Held", yes, "AwaitingApproval", Concern::Lasting),
            ("StatusesPosted", no, "AuthFailed", Concern::Once),
            ("CertificateValid", no, "Expiring", Concern::Lasting),
            ("CertificateValid", yes, "RenewalFailed", Concern::Silent),
            ("Suspended", yes, "ByOperator", Concern::Silent),
            ("Recovering", yes, "DatabaseLost", Concern::Lasting),
        ] {
            assert_eq!(check(kind, status, reason), wanted, "{kind}={status:?} {reason}");
        }
    }
}
