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
    let last = facts.record.sightings.last().map(|it| it.object);
    if facts.record.current.or(last) != Some(live.object) {
        return None;
    }
    // What is called into question weighs more than what is only missing.
    Some(match (&facts.distrust, facts.record.current) {
        (Some(distrust), _) => Claim::Distrusted(distrust.clone()),
        (None, None) => Claim::Gone,
        (None, Some(_)) => Claim::Stands,
    })
}
