//! What the API may ask of the daemon: one method per wish, typed answers, typed refusals.
//!
//! # Invariants
//! * A method returns when the intent is committed, never when the engine is done.
//! * A caller sees the instances of their own team; an administrator sees all.
//!
//! # Not here
//! Wire shapes and HTTP statuses (`api`).

mod accounts;
mod activities;
mod announcements;
mod answers;
mod attachments;
mod boards;
mod captures;
mod competition_admin;
mod competitions;
mod ctfd;
mod denial;
mod devices;
mod error;
mod events;
mod explain;
mod fairness;
mod fleet;
mod gc;
mod hooks;
mod instances;
mod isolation;
mod nodes;
mod pauses;
mod preview;
mod provenance;
mod records;
mod recover;
mod releases;
mod repository;
mod rosters;
mod settings;
mod shells;
mod sign_in;
mod solver;
mod statistics;
mod tokens;
mod verdicts;
mod vpn;
mod vpn_profiles;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::catalog::Finding;
use crate::model::{
    Build, BuildState, Challenge, ChallengeId, Revision, Submission, Timestamp, TreeId,
};

use super::shared::Shared;

pub use super::gc::GcReport;
pub use super::isolation::{Report as IsolationReport, Standing};
pub use crate::contest::Answer;
pub use crate::daemon::adoption::Unadoptable;
pub use crate::daemon::doubts::Doubt;
pub use crate::daemon::shells::{Onlooker, RecordingFile, ShellSession, Shown, Typed};
pub use crate::daemon::webhook::Headers;
pub use crate::store::{Repeats, Review, ReviewVerdict};
pub use accounts::wrong_competition;
pub use announcements::AnnouncementWish;
#[cfg(test)]
pub(crate) use attachments::static_file;
pub use attachments::{Content, Download, DownloadSlot, Downloads, ListedFile};
pub(crate) use boards::Tables;
pub use captures::{Audience, Packets};
pub use competition_admin::{CompetitionWish, Person};
pub use ctfd::{Front, FrontStart, IntegrationKeys, IntegrationWish};
pub use denial::{Denial, DenialKind};
pub use devices::{DEVICE_CODE_SECS, DeviceAnswer, DeviceCodes, DeviceVerdict};
pub use error::{Outcome, PlatformError};
pub use events::{Outbox, Tried};
pub use explain::Explained;
pub use fairness::Suspicion;
pub use fleet::Told;
pub use hooks::Called;
pub(in crate::daemon) use instances::remote_spec;
pub use nodes::NodeState;
pub use pauses::PauseRequest;
pub use preview::{ChallengePreview, Preview};
pub use recover::{Adopted, Owner, Unknown};
pub use releases::{CandidateState, Deed, ReleaseOverview, TagState};
pub use rosters::EntryWish;
pub use settings::{SettingSource, SettingState};
pub use shells::{EnteredShell, ShellWish};
pub use solver::{ProofProgress, ProofState, Which as ProofWhich};
pub use tokens::{Origin, TokenWish};
pub use verdicts::{Judged, Listening, Since, Verdict};
pub use vpn::{VpnHolder, VpnSession, VpnStatus, VpnTarget};
pub use waiting::{PlaceInLine, Seen};

/// The daemon as the API sees it. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

/// A platform that may be gone: for whoever must not keep it alive.
#[derive(Clone)]
pub struct WeakPlatform(Weak<Shared>);

impl WeakPlatform {
    /// The platform, if it is still there.
    pub fn upgrade(&self) -> Option<Platform> {
        Some(Platform { shared: self.0.upgrade()? })
    }
}

impl Platform {
    /// The same, without keeping it alive.
    pub fn downgrade(&self) -> WeakPlatform {
        WeakPlatform(Arc::downgrade(&self.shared))
    }

    /// What the loops share, for tests that play them.
    #[cfg(test)]
    pub(crate) fn shared_for_test(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What players can start now. Two atomic loads, unless something waits for its `release_at` or
    /// is disabled.
    pub fn live(&self) -> Arc<LiveSet> {
        let live = self.shared.live.load();
        let disabled = &self.settings().disabled;
        let now = self.shared.now();
        let is_offered = |live: &LiveChallenge| {
            let metadata = &live.challenge.metadata;
            metadata.release_at.is_none_or(|release_at| release_at <= now)
                && !disabled.contains(&live.challenge.id)
        };
        if live.values().all(is_offered) {
            return live;
        }
        let offered = live.iter().filter(|(_, live)| is_offered(live));
        Arc::new(offered.map(|(id, live)| (id.clone(), live.clone())).collect())
    }

    /// Whether this machine runs instances too.
    pub fn has_local_node(&self) -> bool {
        self.shared.config.nodes.local
    }

    /// Whether the engine answered its last real create.
    pub fn is_engine_ready(&self) -> bool {
        self.shared.is_engine_ready()
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        crate::telemetry::metrics::Metrics::install().render()
    }

    /// When the daemon started, by its clock.
    pub fn started_at(&self) -> Timestamp {
        self.shared.started_at
    }

    /// Now, by the daemon's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }
}

/// A challenge that players can start.
#[derive(Debug, Clone)]
pub struct LiveChallenge {
    /// The version that is live.
    pub challenge: Arc<Challenge>,
    /// The commit it comes from.
    pub revision: Revision,
    /// Since when this version is live.
    pub since: Timestamp,
}

/// The challenges that players can start, by id.
pub type LiveSet = BTreeMap<ChallengeId, LiveChallenge>;

/// A challenge as operators see it: also what is not live, and why.
#[derive(Debug, Clone)]
pub struct ChallengeState {
    /// Its id.
    pub id: ChallengeId,
    /// The version players get, if any.
    pub live: Option<LiveChallenge>,
    /// The tree at the newest revision; `None` when the folder is gone there.
    pub head_tree: Option<TreeId>,
    /// Whether the newest version is valid.
    pub is_valid: bool,
    /// Aggregated over the images of the newest valid version.
    pub build: BuildState,
    /// Those images.
    pub builds: Vec<Build>,
    /// Findings of the newest version.
    pub findings: Vec<Finding>,
}

/// The repository as operators see it.
#[derive(Debug, Clone)]
pub struct SourceState {
    /// The remote, credentials masked.
    pub remote: String,
    /// The branch that is followed, once known.
    pub branch: Option<String>,
    /// The newest revision read.
    pub revision: Option<Revision>,
    /// When the remote last answered.
    pub fetched_at: Option<Timestamp>,
    /// Findings that belong to no single challenge.
    pub findings: Vec<Finding>,
}

/// What a player asks for.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The challenge.
    pub challenge: String,
    /// The competition; empty is the one that the caller plays in, if there is one only.
    pub competition: String,
    /// Wanted lease in seconds.
    pub ttl_secs: Option<i64>,
    /// What happens when the team's instance of the challenge is starting already.
    pub repeats: Repeats,
}

/// The verdict on one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// What was recorded.
    pub submission: Submission,
    /// Rank of a first right answer; 0 for wrong and repeated ones.
    pub solve_rank: u32,
    /// Whether the team now has every question.
    pub is_fully_solved: bool,
    /// Wrong answers left; `None` when uncapped.
    pub attempts_remaining: Option<u32>,
}

/// Numbers for `/health`, `/meta` and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Instances that are starting or ready.
    pub running_instances: u32,
    /// Starting, ready or failed.
    pub live_instances: u32,
    /// The node's limit.
    pub max_instances: u32,
    /// Accounts.
    pub users: u32,
    /// Teams.
    pub teams: u32,
    /// Solved questions.
    pub solves: u32,
}
