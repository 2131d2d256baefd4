//! The archive of instances, for administrators.

use super::{Outcome, Platform};
use crate::daemon::records;
use crate::model::{Activity, InstanceId, Submission};
use crate::store::{RecordFilter, RecordRow};

impl Platform {
    /// The records meant by `filter`, the newest start first; and how many before paging.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archive(&self, filter: RecordFilter) -> Outcome<(Vec<RecordRow>, usize)> {
        Ok(self.shared.store.instance_records(filter).await?)
    }

    /// The record of an instance; what is known of one that is not over; `None` for any other id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archived(&self, id: &str) -> Outcome<Option<RecordRow>> {
        let Ok(id) = id.parse::<InstanceId>() else { return Ok(None) };
        // In this order: one that ends between the two looks has its record by then.
        let row = self.shared.store.instance(id).await?;
        if let Some(instance) = row.filter(|row| row.phase.is_live()) {
            return Ok(Some(RecordRow { instance, error_detail: String::new() }));
        }
        Ok(self.shared.store.instance_record(id).await?)
    }

    /// What was kept of the output of its containers, answers masked; empty when nothing was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archived_log(&self, id: InstanceId) -> Outcome<String> {
        Ok(records::log_of(&self.shared, id).await?)
    }

    /// What happened to it, the oldest first; and how much before paging.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archived_events(
        &self,
        record: &RecordRow,
        page: (usize, usize),
    ) -> Outcome<(Vec<Activity>, usize)> {
        let (id, team) = (record.instance.id, record.instance.team);
        Ok(self.shared.store.activities_of_instance(id, team, page).await?)
    }

    /// The answers that were given through it, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archived_submissions(&self, record: &RecordRow) -> Outcome<Vec<Submission>> {
        let (id, team) = (record.instance.id, record.instance.team);
        Ok(self.shared.store.submissions_through(id, team).await?)
    }
}
