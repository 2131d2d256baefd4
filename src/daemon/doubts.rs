//! What the probes of services that are not usable yet said last.
//!
//! In:  each failed probe. Out: per service the newest reason, and since which probe it is given.
//!
//! # Invariants
//! * For operators only: what a health command printed could hold an answer.
//! * Nothing is kept of a service that became usable, nor of an instance that needs nothing more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::{InstanceId, ServiceName};
use crate::runtime::probe::FailedCheck;

/// Why a service is not usable yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What failed; holds hostile text.
    pub check: FailedCheck,
    /// The probe, counted from 1, since which this is the reason.
    pub since_probe: u32,
}

/// The doubts about every instance.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<BTreeMap<InstanceId, BTreeMap<ServiceName, Doubt>>>);

impl Doubts {
    /// Probe number `n_probe` of a service failed.
    pub(crate) fn note(&self, id: InstanceId, name: &ServiceName, n_probe: u32, it: &FailedCheck) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let doubts = all.entry(id).or_default();
        if doubts.get(name).is_none_or(|doubt| doubt.check != *it) {
            let doubt = Doubt { check: it.clone(), since_probe: n_probe };
            doubts.insert(name.clone(), doubt);
        }
    }

    /// A service is usable.
    pub(crate) fn clear(&self, id: InstanceId, name: &ServiceName) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(doubts) = all.get_mut(&id) {
            doubts.remove(name);
            if doubts.is_empty() {
                all.remove(&id);
            }
        }
    }

    /// Nobody waits for this instance any more.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// The doubts about one instance.
    pub(crate) fn of(&self, id: InstanceId) -> BTreeMap<ServiceName, Doubt> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_kept_with_the_probe_that_gave_it_first_and_nothing_stays() {
        let doubts = Doubts::default();
        let (id, web): (InstanceId, ServiceName) =
            ("00000000-0000-4000-8000-000000000007".parse().unwrap(), "web".parse().unwrap());
        let port = |reason: &str| FailedCheck::Port { port: 80, reason: reason.to_owned() };
        for (n_probe, reason) in [(1, "refused"), (2, "refused"), (3, "reset"), (4, "reset")] {
            doubts.note(id, &web, n_probe, &port(reason));
        }
        let newest = Doubt { check: port("reset"), since_probe: 3 };
        assert_eq!(doubts.of(id), BTreeMap::from([(web.clone(), newest)]));
        doubts.clear(id, &web);
        assert!(doubts.0.lock().unwrap().is_empty());
        doubts.note(id, &web, 1, &port("refused"));
        doubts.forget(id);
        assert!(doubts.of(id).is_empty());
    }
}
