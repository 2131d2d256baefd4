//! States what became of the tag that is live: whether the remote still has it, and whether its
//! signature still counts.

use crate::daemon::shared::Shared;
use crate::model::{ConditionStatus, ConditionType};
use crate::release::tag::{Claim, LiveTag, TRUST_MISSING, TagFacts, TagPolicy, claim};

/// States it; says nothing where nothing is known.
pub(super) async fn state(
    shared: &Shared,
    policy: &TagPolicy,
    tags: &[TagFacts],
    live: Option<&LiveTag>,
) {
    let Some((live, claim)) = live.and_then(|live| Some((live, claim(tags, live)?))) else {
        return;
    };
    let name = &live.name;
    let (status, reason, words) = match claim {
        Claim::Stands if policy.needs_signed => {
            let words = format!("the signature of the live tag `{name}` counts");
            (ConditionStatus::True, "SignatureValid", words)
        }
        Claim::Stands => {
            (ConditionStatus::True, "Ok", format!("the remote has the live tag `{name}`"))
        }
        Claim::Gone => {
            let words = format!(
                "the remote does not have the live tag `{name}` any more: its release stays live; push it again, or make a later tag"
            );
            (ConditionStatus::False, "TagMissing", words)
        }
        // `Stalled` says that of all tags.
        Claim::Distrusted(distrust) if distrust.reason == TRUST_MISSING => return,
        Claim::Distrusted(distrust) => {
            let words = format!(
                "the live tag `{name}` is not trusted any more: {}. Its release stays live; make a later tag, or go back with `flagops rollback`",
                distrust.words.trim_end_matches('.')
            );
            (ConditionStatus::False, distrust.reason, words)
        }
    };
    super::state(shared, ConditionType::SourceVerified, status, reason, words, None).await;
}
