//! Suspending and holding: who keeps us from what, why, and until when.

use super::{Outcome, Platform, PlatformError};
use crate::daemon::pauses;
use crate::model::{Pause, PauseKind, Scope};

/// Longest pause. Whoever forgets one finds it over some day.
const MAX_PAUSE_SECS: u32 = 30 * 86_400;

/// A pause that is wanted.
#[derive(Debug, Clone)]
pub struct PauseRequest {
    /// The object.
    pub scope: Scope,
    /// What is kept from happening.
    pub kind: PauseKind,
    /// Who says so.
    pub who: String,
    /// Why.
    pub why: String,
    /// For how long, in seconds.
    pub secs: u32,
}

impl Platform {
    /// Every pause there is.
    pub fn pauses(&self) -> Vec<Pause> {
        self.shared.pauses.load().0.clone()
    }

    /// Begins a pause, in place of an earlier one of that kind and object.
    ///
    /// # Errors
    /// When there is no such object, the kind does not fit it, it has no reason, or is too long.
    pub async fn pause(&self, wish: PauseRequest) -> Outcome<Pause> {
        let bad = |reason: String| PlatformError::BadPause { reason };
        match (&wish.scope, wish.kind) {
            (_, PauseKind::Freeze) if wish.scope != Scope::Repo => {
                return Err(bad("only the repository is frozen: give `repo`".to_owned()));
            }
            (Scope::Repo, PauseKind::Hold) => {
                return Err(bad(
                    "the repository cannot be held; suspend it, or hold challenges".to_owned()
                ));
            }
            (Scope::Node(_), _) => {
                return Err(bad("a node cannot be suspended or held".to_owned()));
            }
            (Scope::Challenge(id), _) => {
                let is_known = self.shared.live.load().contains_key(id)
                    || self.shared.head.load().catalog.folders.contains_key(id);
                if !is_known {
                    return Err(PlatformError::ChallengeNotFound { id: id.to_string() });
                }
            }
            (Scope::Instance(id), _) => {
                let row = self.shared.store.instance(*id).await?;
                if row.is_none_or(|row| !row.phase.is_live()) {
                    return Err(PlatformError::InstanceNotFound { id: id.to_string() });
                }
            }
            (Scope::Release, _) => {
                return Err(bad("give `repo` to keep everything from going live".to_owned()));
            }
            (Scope::Repo, PauseKind::Suspend | PauseKind::Freeze) => (),
        }
        let text = |what: &str, text: &str| {
            let text = text.trim();
            let is_fine =
                (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            if is_fine {
                Ok(text.to_owned())
            } else {
                Err(bad(format!("`{what}` must be 1 to 200 characters on one line")))
            }
        };
        if !(1..=MAX_PAUSE_SECS).contains(&wish.secs) {
            return Err(bad(format!("`secs` must be 1 to {MAX_PAUSE_SECS} (30 days)")));
        }
        let since = self.now();
        let pause = Pause {
            who: text("who", &wish.who)?,
            why: text("why", &wish.why)?,
            scope: wish.scope,
            kind: wish.kind,
            since,
            until: since.plus_secs(i64::from(wish.secs)),
        };
        pauses::begin(&self.shared, pause.clone()).await?;
        Ok(pause)
    }

    /// Ends a pause before its time; whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self, kind: PauseKind, scope: Scope) -> Outcome<bool> {
        Ok(pauses::end(&self.shared, kind, scope).await?)
    }
}
