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
use crate::daemon::secrets::NOT_DECRYPTABLE;
use crate::daemon::{Daemon, Platform};
use crate::model::{
    Build, BuildKey, BuildState, Caller, Challenge, ChallengeId, Condition, ConditionType,
    Instance, InstancePhase, InstanceStatus, Membership, QuestionMode, Scope, StopReason,
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
use super::show::{Answers, Mask, Progress};
use super::vigil::Vigil;

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
    start_deadline: Duration,
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
        let start_deadline = Duration::from_secs(config.limits.start_deadline_secs.into());
        let clock = PlayClock::default();
        let started = wiring::start_private(config, data, engine, Arc::new(clock.clone())).await;
        let wiring::Private { daemon, engine } = started.map_err(|error| start_failed(&error))?;
        let platform = daemon.platform();
        // The team must exist; its token is for nobody.
        let (team, _token) = platform.create_team_token("play", "").await.map_err(refused)?;
        let (team, competition) = (team.id, team.competition);
        Ok(Self {
            platform,
            daemon,
            engine,
            key,
            clock,
            start_deadline,
            player: Caller::of_team(Membership { competition, team }, "play".to_owned()),
            operator: Caller::administrator("play"),
            wanted: BTreeSet::new(),
        })
    }

    /// Builds `version`, which is published already, and starts an instance of it.
    pub(super) async fn start(
        &mut self,
        version: Version,
        shown: Answers,
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
            repeats: crate::daemon::platform::Repeats::Another,
        };
        let asked = Instant::now();
        let started = self.platform.start(&self.player, request).await.map_err(refused)?;
        let mask = Mask::new(shown, &self.answers_of(&version.challenge, &started));
        let mut instance = self.wait_ready(&started, &mask, progress).await?;
        let behind = self.platform.behind_gateway(&instance).await.map_err(refused)?;
        if !behind.is_empty() {
            // An author is on this machine, so no VPN is needed.
            instance.surface = behind;
        }
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
            if state.builds.iter().all(|build| build.state == BuildState::Built)
                && let Some(why) = self.why_withheld(id).await
            {
                let next = "name your identity in `secrets.identity_file`, then play again";
                return Err(Failure::failed(format!("it does not go live: {why}"), next));
            }
            progress.say(&describe(&state.builds));
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Why a version whose images are there stays back all the same.
    async fn why_withheld(&self, id: &ChallengeId) -> Option<String> {
        let conditions = self.platform.conditions().await.unwrap_or_default();
        let scope = Scope::Challenge(id.clone());
        let is_it = |it: &Condition| it.scope == scope && it.reason == NOT_DECRYPTABLE;
        conditions.into_iter().find(is_it).map(|condition| condition.message)
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
        mask: &Mask,
        progress: &mut Progress,
    ) -> Result<Instance, Failure> {
        let id = instance.id.to_string();
        let begin = Instant::now();
        let mut vigil = Vigil::new(self.start_deadline);
        loop {
            let seen = self.platform.instance(&self.player, &id).await.map_err(refused)?;
            match seen.status() {
                InstanceStatus::Ready => return Ok(seen),
                InstanceStatus::Starting => (),
                // The error waits until everything is taken down: then the logs are in it.
                InstanceStatus::Error if seen.phase != InstancePhase::Failed => (),
                InstanceStatus::Error | InstanceStatus::Stopped => {
                    let why = mask.apply(&self.why_failed(&seen).await);
                    self.stop(&id).await;
                    // The last probe is not begun when it could not end in time.
                    let is_late = begin.elapsed() + Duration::from_secs(1) >= self.start_deadline;
                    return Err(start_failed(&why, is_late.then_some(self.start_deadline)));
                }
            }
            let phase = seen.phase.as_str();
            progress.say(&match self.platform.obstacle(&seen) {
                Some(obstacle) => format!("{phase}: {obstacle}"),
                None => phase.to_owned(),
            });
            let doubts = self.platform.doubts(&self.operator, instance.id);
            for line in vigil.look(begin.elapsed(), phase, &doubts) {
                progress.tell(&mask.apply(&line));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Why `instance` failed, with what its probes and containers said last: its author may read
    /// what the condition says to operators.
    async fn why_failed(&self, instance: &Instance) -> String {
        let why = instance.error.clone().unwrap_or_else(|| "it was stopped".to_owned());
        let conditions = self.platform.conditions().await.unwrap_or_default();
        let scope = Scope::Instance(instance.id);
        let is_about_it =
            |kind, scope_of: &Scope| kind == ConditionType::Healthy && *scope_of == scope;
        let told = conditions.into_iter().find(|it| is_about_it(it.kind, &it.scope));
        told.map(|it| it.message).filter(|message| message.starts_with(&why)).unwrap_or(why)
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
        self.answers_of(&running.version.challenge, &running.instance)
    }

    fn answers_of(&self, challenge: &Challenge, row: &Instance) -> Vec<(String, String)> {
        let questions = &challenge.metadata.questions;
        let minted = questions.iter().filter_map(|question| {
            let format = match question.mode {
                QuestionMode::Dynamic { format } => format,
                QuestionMode::Static { .. }
                | QuestionMode::SingleSelect { .. }
                | QuestionMode::MultiSelect { .. } => return None,
            };
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

/// Why it did not start; `late` is its deadline when that is over.
fn start_failed(why: &str, late: Option<Duration>) -> Failure {
    let why = output::clean_block(why);
    // What was printed last stands apart from what to do.
    let end = if why.contains('\n') { "\n" } else { "" };
    let next = match late {
        Some(late) => format!(
            "mend the service or its health check; a start may take {} s, `--timeout SECONDS` gives it longer",
            late.as_secs()
        ),
        None => "mend the service, then play again".to_owned(),
    };
    Failure::failed(format!("the instance did not start: {why}{end}"), next)
}

fn refused(error: PlatformError) -> Failure {
    let next = match &error {
        PlatformError::Capacity { .. } => "raise the limits in flagops.toml",
        _ => "start again with `--verbose`",
    };
    Failure::failed(Chain(&error).to_string(), next)
}

/// Removes what earlier plays left in the engine, images too; how many objects there were.
pub(super) async fn clear(config: &Config, data: &DataDir) -> Result<usize, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::failed(Chain(error).to_string(), "`flagops doctor` checks what a play needs")
    };
    let engine = wiring::private_engine(config, data).map_err(|error| failed(&error))?;
    engine.info().await.map_err(|error| failed(&error))?;
    let n_objects = sweep(engine.as_ref()).await?;
    let n_images = engine.images().await.map_err(|error| failed(&error))?.len();
    prune_images(engine.as_ref(), &BTreeSet::new()).await;
    Ok(n_objects + n_images)
}

/// Removes every container, volume and network of ours and looks again until nothing is left; how
/// many there were.
async fn sweep(engine: &dyn Engine) -> Result<usize, Failure> {
    let begin = Instant::now();
    let mut n_removed = 0;
    loop {
        let error = match sweep_once(engine).await {
            Ok(0) => return Ok(n_removed),
            Ok(n) if begin.elapsed() < SWEEP_PATIENCE => {
                n_removed += n;
                continue;
            }
            Ok(n) => format!("{n} objects come back again and again"),
            Err(error) => Chain(&error).to_string(),
        };
        if begin.elapsed() >= SWEEP_PATIENCE {
            return Err(Failure::failed(
                format!("not everything of this play could be removed: {error}"),
                "`flagops play CHALLENGE --clean` removes what is left; so does the next play",
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
    fn a_failed_start_shows_what_was_said_last_and_what_to_do() {
        let why = "service `rotator` exited with code 2\nlast output of `rotator`:\n/r.sh: 4: no";
        insta::assert_snapshot!(start_failed(why, None), @r"
        error: the instance did not start: service `rotator` exited with code 2
        last output of `rotator`:
        /r.sh: 4: no

         next: mend the service, then play again
        ");
        insta::assert_snapshot!(start_failed("too late", Some(Duration::from_secs(120))), @r"
        error: the instance did not start: too late
         next: mend the service or its health check; a start may take 120 s, `--timeout SECONDS` gives it longer
        ");
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
