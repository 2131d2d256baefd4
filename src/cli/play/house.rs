//! A daemon of this process alone, and what a play asks of it: build, start, stop, leave nothing.
//!
//! # Invariants
//! * Everything in the engine bears the installation id of the play's directory; by that id it is
//!   found and removed, also after a kill.
//! * [`House::close`] says so when something could not be removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::daemon::platform::{PlatformError, StartRequest};
use crate::daemon::{Daemon, Platform};
use crate::model::{
    Build, BuildKey, BuildState, Caller, Instance, InstancePhase, InstanceStatus, QuestionMode,
    Role, StopReason,
};
use crate::release::identity::build_units;
use crate::render::answers::{AnswerKey, mint};
use crate::runtime::{Engine, EngineError};
use crate::store::DataDir;
use crate::telemetry::Chain;

use super::super::daemon as wiring;
use super::super::failure::Failure;
use super::super::output;
use super::clock::PlayClock;
use super::private::Private;
use super::reading::Version;
use super::show::Progress;

/// How often builds and instances are looked at while somebody waits.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// How long removing may take before it is given up.
const SWEEP_PATIENCE: Duration = Duration::from_secs(30);
/// Lines of a failed build that are shown.
const BUILD_LINES: usize = 30;

/// The daemon of a play.
pub(super) struct House {
    daemon: Daemon,
    platform: Platform,
    pub(super) engine: Arc<dyn Engine>,
    key: AnswerKey,
    clock: PlayClock,
    player: Caller,
    operator: Caller,
    /// Images of the version that runs: they make the next play quick.
    wanted: BTreeSet<BuildKey>,
}

/// An instance that players could use.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) version: Version,
    pub(super) instance: Instance,
    /// From the change until its images were there.
    pub(super) built_after: Duration,
    /// From then until it could be used.
    pub(super) ready_after: Duration,
}

impl House {
    /// Removes what a killed play left, and starts the daemon.
    pub(super) async fn open(config: Config, data: DataDir) -> Result<Self, Failure> {
        let start_failed = |error: &dyn std::error::Error| {
            Failure::failed(Chain(error).to_string(), "`flagops doctor` checks what a play needs")
        };
        let key = data.answer_key().clone();
        let engine =
            wiring::private_engine(&config, &data).map_err(|error| start_failed(&error))?;
        engine.info().await.map_err(|error| start_failed(&error))?;
        sweep(engine.as_ref()).await?;
        let clock = PlayClock::default();
        let started = wiring::start_private(config, data, engine, Arc::new(clock.clone())).await;
        let wiring::Private { daemon, engine } = started.map_err(|error| start_failed(&error))?;
        let platform = daemon.platform();
        // The team must exist; its token is for nobody.
        let (team, _token) = platform.create_team_token("play").await.map_err(refused)?;
        let team = team.id;
        Ok(Self {
            platform,
            daemon,
            engine,
            key,
            clock,
            player: Caller { role: Role::Player { team }, token_id: "play".to_owned() },
            operator: Caller { role: Role::Admin, token_id: "play".to_owned() },
            wanted: BTreeSet::new(),
        })
    }

    /// Builds `version`, which is published already, and starts an instance of it.
    pub(super) async fn start(
        &mut self,
        version: Version,
        progress: &mut Progress,
    ) -> Result<Running, Failure> {
        let begin = Instant::now();
        self.clock.pass(version.challenge.metadata.release_at);
        self.wait_live(&version, progress).await?;
        let built_after = begin.elapsed();
        let request = StartRequest {
            challenge: version.challenge.id.to_string(),
            competition: String::new(),
            ttl_secs: None,
        };
        let asked = Instant::now();
        let started = self.platform.start(&self.player, request).await.map_err(refused)?;
        let instance = self.wait_ready(&started, progress).await?;
        self.wanted = build_units(&version.challenge).into_iter().map(|unit| unit.key).collect();
        Ok(Running { version, instance, built_after, ready_after: asked.elapsed() })
    }

    /// Waits until `version` is what a player would get.
    async fn wait_live(&self, version: &Version, progress: &mut Progress) -> Result<(), Failure> {
        let (id, tree) = (&version.challenge.id, version.challenge.tree);
        progress.say("reading the files");
        self.platform.reconcile_now().await.map_err(refused)?;
        loop {
            let live = self.platform.live();
            if live.get(id).is_some_and(|live| live.challenge.tree == tree) {
                return Ok(());
            }
            let states = self.platform.challenge_states().await.map_err(refused)?;
            let state = states.into_iter().find(|state| state.id == *id);
            let Some(state) = state.filter(|state| state.head_tree == Some(tree)) else {
                // A store or mirror that fails says why in a condition.
                return Err(self.not_read().await);
            };
            if let Some(build) = state.builds.iter().find(|it| it.state == BuildState::Failed) {
                return Err(build_failed(build));
            }
            progress.say(&describe(&state.builds));
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn not_read(&self) -> Failure {
        let conditions = self.platform.conditions().await.unwrap_or_default();
        let why = conditions
            .into_iter()
            .find(|condition| condition.status == crate::model::ConditionStatus::False)
            .map_or_else(|| "it gives no reason".to_owned(), |condition| condition.message);
        Failure::failed(
            format!("the daemon of this play could not take over the files: {why}"),
            "start again with `--verbose`",
        )
    }

    /// Waits until `instance` can be used; stops it when that fails.
    async fn wait_ready(
        &self,
        instance: &Instance,
        progress: &mut Progress,
    ) -> Result<Instance, Failure> {
        let id = instance.id.to_string();
        loop {
            let seen = self.platform.instance(&self.player, &id).await.map_err(refused)?;
            match seen.status() {
                InstanceStatus::Ready => return Ok(seen),
                InstanceStatus::Starting => (),
                // The error waits until everything is taken down: then the logs are in it.
                InstanceStatus::Error if seen.phase != InstancePhase::Failed => (),
                InstanceStatus::Error | InstanceStatus::Stopped => {
                    let why = seen.error.unwrap_or_else(|| "it was stopped".to_owned());
                    self.stop(&id).await;
                    return Err(Failure::failed(
                        format!("the instance did not start: {}", output::clean_block(&why)),
                        "mend the service, then play again",
                    ));
                }
            }
            let phase = seen.phase.as_str();
            progress.say(&match self.platform.obstacle(&seen) {
                Some(obstacle) => format!("{phase}: {obstacle}"),
                None => phase.to_owned(),
            });
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Asks for the end of an instance. What cannot be stopped now is removed by [`House::close`].
    pub(super) async fn stop(&self, id: &str) {
        if let Err(error) = self.platform.stop(&self.operator, id, StopReason::User).await {
            tracing::debug!(error = %Chain(&error), "could not stop an instance");
        }
    }

    /// Why `running` can be used no more, if that is so.
    pub(super) async fn lost(&self, running: &Running) -> Option<String> {
        match self.platform.instance(&self.player, &running.instance.id.to_string()).await {
            Ok(seen) => match seen.status() {
                InstanceStatus::Ready | InstanceStatus::Starting => None,
                InstanceStatus::Error | InstanceStatus::Stopped => {
                    Some(seen.error.unwrap_or_else(|| "it was stopped".to_owned()))
                }
            },
            Err(PlatformError::InstanceNotFound { .. }) => Some("its lease ended".to_owned()),
            // A look that failed says nothing.
            Err(_) => None,
        }
    }

    /// The last lines of every container of `running`.
    pub(super) async fn last_lines(&self, running: &Running) -> String {
        let id = running.instance.id.to_string();
        self.platform.logs(&self.operator, &id, 20).await.unwrap_or_default()
    }

    /// The minted answers of `running` by question. Secret.
    pub(super) fn answers(&self, running: &Running) -> Vec<(String, String)> {
        let questions = &running.version.challenge.metadata.questions;
        let minted = questions.iter().filter_map(|question| {
            let format = match question.mode {
                QuestionMode::Dynamic { format } => format,
                QuestionMode::Static { .. }
                | QuestionMode::SingleSelect { .. }
                | QuestionMode::MultiSelect { .. } => return None,
            };
            let row = &running.instance;
            let answer = mint(&self.key, row.id, row.answer_epoch, &question.id, format);
            Some((question.id.to_string(), answer))
        });
        minted.collect()
    }

    /// Ends the daemon and removes everything of it from the engine but the images of the last
    /// version.
    pub(super) async fn close(self, private: &Private) -> Result<(), Failure> {
        self.daemon.stop().await;
        let swept = sweep(self.engine.as_ref()).await;
        if !self.wanted.is_empty() {
            prune_images(self.engine.as_ref(), &self.wanted).await;
        }
        // The platform holds the lock of the directory until here.
        let wiped = private.wipe();
        drop(self.platform);
        swept?;
        wiped.map_err(|error| {
            Failure::failed(
                format!("the keys of this play could not be removed ({error})"),
                "they open nothing any more; the next play removes them",
            )
        })
    }
}

/// What is being built, in one line.
fn describe(builds: &[Build]) -> String {
    let line = |build: &Build| {
        let last = build.log_tail.lines().rev().find(|line| !line.trim().is_empty());
        let service = &build.service;
        match last {
            Some(last) => format!("building {service}: {}", output::cut(&output::clean(last), 70)),
            None => format!("building {service}"),
        }
    };
    let building = builds.iter().find(|build| build.state == BuildState::Building);
    building.map_or_else(|| "waiting for the images".to_owned(), line)
}

fn build_failed(build: &Build) -> Failure {
    let lines: Vec<&str> = build.log_tail.lines().collect();
    let tail = lines[lines.len().saturating_sub(BUILD_LINES)..].join("\n");
    let log = if tail.is_empty() { String::new() } else { format!("\n\n{tail}\n") };
    let why = build.error.as_deref().unwrap_or("the engine gives no reason");
    Failure::failed(
        output::clean_block(&format!("the image of `{}` was not built: {why}{log}", build.service)),
        "mend the Dockerfile, then play again",
    )
}

fn refused(error: PlatformError) -> Failure {
    let next = match &error {
        PlatformError::Capacity { .. } => "raise the limits in flagops.toml",
        _ => "start again with `--verbose`",
    };
    Failure::failed(Chain(&error).to_string(), next)
}

/// Removes every container, volume and network of ours and looks again until nothing is left.
async fn sweep(engine: &dyn Engine) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let error = match sweep_once(engine).await {
            Ok(0) => return Ok(()),
            Ok(_) if begin.elapsed() < SWEEP_PATIENCE => continue,
            Ok(n) => format!("{n} objects come back again and again"),
            Err(error) => Chain(&error).to_string(),
        };
        if begin.elapsed() >= SWEEP_PATIENCE {
            return Err(Failure::failed(
                format!("not everything of this play could be removed: {error}"),
                "play this challenge again: the next play removes what is left",
            ));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One pass; how many objects there were.
async fn sweep_once(engine: &dyn Engine) -> Result<usize, EngineError> {
    let containers = engine.containers(None).await?;
    let removals = containers.iter().map(|container| engine.remove_container(&container.id));
    futures_util::future::try_join_all(removals).await?;
    let volumes = engine.volumes().await?;
    for volume in &volumes {
        engine.remove_volume(&volume.name).await?;
    }
    let networks = engine.networks().await?;
    for network in &networks {
        engine.remove_network(&network.id).await?;
    }
    Ok(containers.len() + volumes.len() + networks.len())
}

/// Removes our images of other versions. One that cannot be removed only takes room.
async fn prune_images(engine: &dyn Engine, wanted: &BTreeSet<BuildKey>) {
    for image in engine.images().await.unwrap_or_default() {
        if image.build_key.is_some_and(|key| !wanted.contains(&key))
            && let Err(error) = engine.remove_image(&image.id).await
        {
            tracing::debug!(image.id = image.id, error = %Chain(&error), "could not remove an image");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn build(state: BuildState, log_tail: &str) -> Build {
        Build {
            key: BuildKey::from_digest([1; 32]),
            challenge: "WEB-001".parse().unwrap(),
            service: "web".parse().unwrap(),
            state,
            image: None,
            error: Some("step 2 exited with 1".to_owned()),
            is_retryable: false,
            log_tail: log_tail.to_owned(),
            queued_at: Timestamp::from_millis(0),
            started_at: None,
            finished_at: None,
            n_attempts: 1,
        }
    }

    #[test]
    fn a_build_is_told_by_its_last_line() {
        let log = "Step 1/2 : FROM busybox\nStep 2/2 : RUN \u{1b}[31mmake\n\n";
        insta::assert_snapshot!(
            describe(&[build(BuildState::Built, ""), build(BuildState::Building, log)]),
            @"building web: Step 2/2 : RUN \u{fffd}[31mmake"
        );
        assert_eq!(describe(&[build(BuildState::Unbuilt, "")]), "waiting for the images");
    }

    #[test]
    fn a_failed_build_shows_its_end() {
        let failure = build_failed(&build(BuildState::Failed, "make: *** [all] Error 2\n"));
        insta::assert_snapshot!(failure, @r"
        error: the image of `web` was not built: step 2 exited with 1

        make: *** [all] Error 2

         next: mend the Dockerfile, then play again
        ");
    }
}
