//! Who may do what: names, principals and fingerprints, with their roles.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::Role;

/// Roles by principal, name or fingerprint. Who is not listed may nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Roles(BTreeMap<String, BTreeSet<Role>>);

impl Roles {
    /// Adds roles of `who`.
    pub(super) fn grant(&mut self, who: &str, roles: impl IntoIterator<Item = Role>) {
        self.0.entry(who.to_owned()).or_default().extend(roles);
    }

    /// The first of `names` that has `role`.
    pub(super) fn holder<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        role: Role,
    ) -> Option<&'a str> {
        names.into_iter().find(|name| self.0.get(*name).is_some_and(|roles| roles.contains(&role)))
    }

    /// Everybody with their roles, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<Role>)> {
        self.0.iter().map(|(who, roles)| (who.as_str(), roles))
    }
}
