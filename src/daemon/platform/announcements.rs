//! Announcements: written by administrators, read by everybody.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Denial, Outcome, Platform, PlatformError};
use crate::daemon::activities;
use crate::model::{Account, Announcement, Caller, Happening, Severity, Timestamp};

/// Announcements that there may be; the oldest have to go before there can be more.
const MAX_ANNOUNCEMENTS: usize = 1000;

/// What an announcement becomes; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct AnnouncementWish {
    /// Its title, checked.
    pub title: Option<String>,
    /// Its text, checked.
    pub body: Option<String>,
    /// How much it matters.
    pub severity: Option<Severity>,
    /// From when on, or from now on.
    pub starts_at: Option<Option<Timestamp>>,
    /// Until when, or for ever.
    pub ends_at: Option<Option<Timestamp>>,
}

impl AnnouncementWish {
    fn apply(self, row: &mut Announcement, now: Timestamp) -> Result<(), Denial> {
        row.title = self.title.unwrap_or_else(|| row.title.clone());
        row.body = self.body.unwrap_or_else(|| row.body.clone());
        row.severity = self.severity.unwrap_or(row.severity);
        row.starts_at = self.starts_at.unwrap_or(row.starts_at);
        row.ends_at = self.ends_at.unwrap_or(row.ends_at);
        row.updated_at = now;
        match (row.starts_at, row.ends_at) {
            (Some(start), Some(end)) if end <= start => {
                Err(Denial::invalid("", "ends_at must be later than starts_at"))
            }
            _ => Ok(()),
        }
    }
}

impl Platform {
    /// Every announcement, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn announcements(&self) -> Outcome<Vec<Announcement>> {
        Ok(self.shared.store.announcements().await?)
    }

    /// Writes one; players are told when it is shown to them.
    ///
    /// # Errors
    /// When it ends before it begins, or there are too many.
    pub async fn announce(&self, caller: &Caller, wish: AnnouncementWish) -> Outcome<Announcement> {
        if self.announcements().await?.len() >= MAX_ANNOUNCEMENTS {
            let message = format!("there are {MAX_ANNOUNCEMENTS} announcements: delete old ones");
            return Err(Denial::conflict("too_many_announcements", message).into());
        }
        let (actor, now) = (activities::actor_of(caller), self.now());
        let mut new = Announcement {
            id: Uuid::new_v4().to_string(),
            title: String::new(),
            body: String::new(),
            severity: Severity::Info,
            starts_at: None,
            ends_at: None,
            created_by: actor.id,
            created_by_name: actor.name,
            created_at: now,
            updated_at: now,
        };
        wish.apply(&mut new, now)?;
        self.shared.store.add_announcement(new.clone()).await?;
        let announcement_id = new.id.clone();
        activities::of_platform(
            &self.shared,
            caller,
            Happening::AnnouncementCreated { announcement_id },
        );
        Ok(new)
    }

    /// Changes one.
    ///
    /// # Errors
    /// When there is none, or it would end before it begins.
    pub async fn change_announcement(
        &self,
        caller: &Caller,
        id: &str,
        wish: AnnouncementWish,
    ) -> Outcome<Announcement> {
        let now = self.now();
        let change = move |row: &mut Announcement| wish.apply(row, now);
        let changed = self.shared.store.change_announcement(id.to_owned(), change).await?;
        let changed = changed.ok_or_else(no_announcement)??;
        let announcement_id = changed.id.clone();
        activities::of_platform(
            &self.shared,
            caller,
            Happening::AnnouncementUpdated { announcement_id },
        );
        Ok(changed)
    }

    /// Takes one back.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_announcement(&self, caller: &Caller, id: &str) -> Outcome<()> {
        if !self.shared.store.delete_announcement(id.to_owned()).await? {
            return Err(no_announcement());
        }
        let announcement_id = id.to_owned();
        activities::of_platform(
            &self.shared,
            caller,
            Happening::AnnouncementDeleted { announcement_id },
        );
        Ok(())
    }

    /// What an account is told now, the newest first; and the ids of what it has read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn announcements_for(
        &self,
        account: &Account,
    ) -> Outcome<(Vec<Announcement>, BTreeSet<String>)> {
        let now = self.now();
        let mut shown = self.announcements().await?;
        shown.retain(|one| one.is_shown(now));
        Ok((shown, self.shared.store.announcements_read(account.id).await?))
    }

    /// Notes that somebody has read one; whether they had not.
    ///
    /// # Errors
    /// When there is none that they are shown.
    pub async fn read_announcement(&self, account: &Account, id: &str) -> Outcome<bool> {
        let (shown, _) = self.announcements_for(account).await?;
        if !shown.iter().any(|one| one.id == id) {
            return Err(no_announcement());
        }
        let ids = vec![id.to_owned()];
        let n_new = self.shared.store.read_announcements(account.id, ids, self.now()).await?;
        Ok(n_new > 0)
    }

    /// Notes that somebody has read everything that they are shown; how much of it they had not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read_all_announcements(&self, account: &Account) -> Outcome<usize> {
        let (shown, _) = self.announcements_for(account).await?;
        let ids = shown.into_iter().map(|one| one.id).collect();
        Ok(self.shared.store.read_announcements(account.id, ids, self.now()).await?)
    }
}

fn no_announcement() -> PlatformError {
    Denial::not_found("announcement_not_found", "there is no such announcement").into()
}
