//! What authors get wrong, one change each.

mod compose;
mod metadata;
mod sources;

use crate::rng::Rng;
use crate::specimen::Specimen;

/// One way to break, or nearly break, a challenge.
pub(crate) struct Mutation {
    /// Its name; the differences refer to it.
    pub(crate) name: &'static str,
    /// Changes the challenge; `None` when it does not fit this kind.
    pub(crate) apply: fn(&mut Specimen, &mut Rng) -> Option<()>,
}

/// Every mutation.
pub(crate) fn all() -> impl Iterator<Item = &'static Mutation> {
    metadata::ALL.iter().chain(compose::ALL).chain(sources::ALL)
}

/// A mutation by its name and what it does.
const fn change(name: &'static str, apply: fn(&mut Specimen, &mut Rng) -> Option<()>) -> Mutation {
    Mutation { name, apply }
}
