//! What the remote says now of the tag that is live. Whatever that is, its release stays live until
//! a person or a later tag decides otherwise.

use super::{Distrust, LiveTag, TagFacts};

/// It.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// What it said when it went live.
    Stands,
    /// The remote does not have the tag any more.
    Gone,
    /// Its signature does not count any more.
    Distrusted(Distrust),
}

/// `None` when that is not known, or the tag moved, which [`super::Hold`] says.
pub fn claim(tags: &[TagFacts], live: &LiveTag) -> Option<Claim> {
    let facts = tags.iter().find(|tag| tag.record.name == live.name)?;
    // Without the tag, its signature is that of what it named last: of another object, if it moved.
    let judged = facts.record.current.or(facts.record.sightings.last().map(|it| it.object));
    let distrust = facts.distrust.as_ref().filter(|_| judged == Some(live.object));
    match (facts.record.current, distrust) {
        (Some(object), _) if object != live.object => None,
        // What is called into question weighs more than what is only missing.
        (_, Some(distrust)) => Some(Claim::Distrusted(distrust.clone())),
        (None, None) => Some(Claim::Gone),
        (Some(_), None) => Some(Claim::Stands),
    }
}
