//! The time of the tests of both outboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::{Clock, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug, Clone, Default)]
pub(in crate::notify) struct Still(Arc<AtomicI64>);

impl Still {
    pub(in crate::notify) fn advance(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.monotonic_millis())
    }

    fn monotonic_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
