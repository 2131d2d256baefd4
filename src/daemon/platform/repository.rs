//! The repository, its challenges and their images, and what is stated about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{ChallengeState, Counts, LiveChallenge, Outcome, Platform, PlatformError, SourceState};
use crate::catalog::Folder;
use crate::daemon::builds;
use crate::model::{Build, BuildState, ChallengeId, Condition, Duty, NodeId};
use crate::release::identity::build_units;

impl Platform {
    /// The repository.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn source(&self) -> Outcome<SourceState> {
        let row = self.shared.store.source().await?;
        let head = self.shared.head.load();
        Ok(SourceState {
            remote: self.shared.mirror.remote().masked(),
            branch: row.as_ref().map(|row| row.branch.clone()),
            revision: head.revision.or_else(|| row.as_ref().map(|row| row.revision)),
            fetched_at: row.map(|row| row.fetched_at),
            findings: head.catalog.findings.clone(),
        })
    }

    /// Every challenge of the newest revision and every live one, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn challenge_states(&self) -> Outcome<Vec<ChallengeState>> {
        let head = self.shared.head.load();
        let live = self.shared.live.load();
        let ids: BTreeSet<&ChallengeId> = head.catalog.folders.keys().chain(live.keys()).collect();
        let mut states = Vec::with_capacity(ids.len());
        for id in ids {
            states.push(self.state_of(id, head.catalog.folders.get(id), live.get(id)).await?);
        }
        Ok(states)
    }

    async fn state_of(
        &self,
        id: &ChallengeId,
        folder: Option<&Arc<Folder>>,
        live: Option<&LiveChallenge>,
    ) -> Outcome<ChallengeState> {
        let newest = folder.and_then(|folder| folder.challenge.as_ref());
        let builds = match newest {
            Some(challenge) => self.builds_of(challenge).await?,
            None => Vec::new(),
        };
        let n_wanted = newest.map_or(0, |challenge| {
            build_units(challenge).iter().map(|unit| unit.key).collect::<BTreeSet<_>>().len()
        });
        Ok(ChallengeState {
            id: id.clone(),
            live: live.cloned(),
            head_tree: folder.map(|folder| folder.tree),
            is_valid: newest.is_some(),
            build: aggregate(&builds, n_wanted),
            builds,
            findings: folder.map(|folder| folder.findings.clone()).unwrap_or_default(),
        })
    }

    /// Asks for the images of a challenge again, also when they failed for good.
    ///
    /// # Errors
    /// When there is no such valid challenge.
    pub async fn rebuild(&self, challenge: &str) -> Outcome<()> {
        let unknown =
            || PlatformError::ChallengeNotFound { id: challenge.chars().take(80).collect() };
        let id: ChallengeId = challenge.parse().map_err(|_| unknown())?;
        let head = self.shared.head.load();
        let folder = head.catalog.folders.get(&id).ok_or_else(unknown)?;
        let newest = folder.challenge.as_ref().ok_or_else(unknown)?;
        for build in self.builds_of(newest).await? {
            if build.state == BuildState::Failed {
                self.shared.store.requeue_build(build.key, self.now()).await?;
            }
        }
        builds::want(&self.shared).await;
        Ok(())
    }

    /// Every condition.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn conditions(&self) -> Outcome<Vec<Condition>> {
        Ok(self.shared.store.conditions().await?)
    }

    /// Looks at the remote at once and returns when that look is done.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn reconcile_now(&self) -> Outcome<SourceState> {
        let (done, looked) = oneshot::channel();
        let stopping = |_| PlatformError::EngineUnavailable;
        self.shared.looks.send(done).await.map_err(stopping)?;
        looked.await.map_err(|_| PlatformError::EngineUnavailable)?;
        self.source().await
    }

    /// Numbers of all nodes together; what is lost or off duty has no room.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn totals(&self) -> Outcome<Counts> {
        let own = self.counts().await?;
        let mut totals = match self.has_local_node() {
            true => own,
            false => Counts { running_instances: 0, live_instances: 0, max_instances: 0, ..own },
        };
        for state in self.nodes().await? {
            let on_node = self.shared.store.counts(&state.node.id).await?;
            totals.running_instances += on_node.running;
            totals.live_instances += on_node.live_or_failed;
            if state.is_healthy && state.node.duty == Duty::Active {
                totals.max_instances += state.node.capacity;
            }
        }
        Ok(totals)
    }

    /// Numbers of this machine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self) -> Outcome<Counts> {
        let store = &self.shared.store;
        let node = NodeId::local();
        let instances = store.counts(&node).await?;
        Ok(Counts {
            running_instances: instances.running,
            live_instances: instances.live_or_failed,
            max_instances: self.shared.config.limits.instances_per_node,
            users: store.n_users().await?,
            teams: u32::try_from(store.teams().await?.len()).unwrap_or(u32::MAX),
            solves: u32::try_from(self.solves().await?.len()).unwrap_or(u32::MAX),
        })
    }
}

/// Failed, else building, else unbuilt, else built.
fn aggregate(builds: &[Build], n_wanted: usize) -> BuildState {
    let worst = [BuildState::Failed, BuildState::Building, BuildState::Unbuilt];
    let found = worst.into_iter().find(|state| builds.iter().any(|build| build.state == *state));
    match found {
        Some(state) => state,
        None if builds.len() < n_wanted => BuildState::Unbuilt,
        None => BuildState::Built,
    }
}
