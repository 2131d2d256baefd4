//! The build pool: a bounded number of images at a time, one per key, the most wanted first.
//!
//! [`Builder::run`] is the pool itself: one future, driven by a task of the daemon, which runs the
//! builds side by side. Dropping it ends every build.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::AbortHandle;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, mpsc};

use super::job::{AGAIN, BuildFailure, BuildJob, ImageWish};
use super::log::LogTail;
use super::supply::{self, Carrier, Supplied, Supplier};
use crate::model::build::BuildProgress;
use crate::model::{BuildKey, Clock, Disposition, Timestamp};
use crate::runtime::{BuildError, BuildNetwork, BuildRequest, Engine, ImageSeen, taken_tag};
use crate::telemetry::Chain;

/// What an engine may take beyond the deadline before it is given up.
const GRACE: Duration = Duration::from_secs(30);
/// Waiting this long is worth one point of priority.
const AGEING_MILLIS: i64 = 10_000;

/// How a pool works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderSettings {
    /// Builds at the same time; at least one.
    pub n_slots: usize,
    /// How long one may take in all.
    pub deadline: Duration,
    /// Whether `RUN` may use the network.
    pub network: BuildNetwork,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildReport {
    /// The job.
    pub key: BuildKey,
    /// The image, or why there is none.
    pub result: Result<ImageSeen, BuildFailure>,
    /// The end of the output; hostile text.
    pub log_tail: String,
    /// When its turn came.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// What became of a submitted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It waits for a slot.
    Queued,
    /// One with its key waits already, now with the higher of the two priorities.
    Joined,
    /// One with its key runs already: its report will do.
    Running,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It waits for a slot.
    Queued,
    /// Its image is being got.
    Building,
}

/// The handle of a pool. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    settings: BuilderSettings,
    clock: Arc<dyn Clock>,
    reports: mpsc::UnboundedSender<BuildReport>,
    jobs: Mutex<Jobs>,
    has_work: Notify,
    /// Who may have images already.
    supplier: OnceLock<Arc<dyn Supplier>>,
}

#[derive(Default)]
struct Jobs {
    queued: BTreeMap<BuildKey, Queued>,
    running: BTreeMap<BuildKey, Running>,
    n_submitted: u64,
    /// Nothing new begins.
    is_paused: bool,
}

struct Queued {
    job: BuildJob,
    at: Timestamp,
    nth: u64,
}

struct Running {
    log: LogTail,
    abort: AbortHandle,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Builder {
    /// A pool in front of `engine` that does nothing until [`Builder::run`] is driven. Every job
    /// ends as one report in `reports`, unless it is withdrawn.
    pub fn new(
        engine: Arc<dyn Engine>,
        settings: BuilderSettings,
        clock: Arc<dyn Clock>,
        reports: mpsc::UnboundedSender<BuildReport>,
    ) -> Self {
        let (jobs, has_work, supplier) = (Mutex::default(), Notify::new(), OnceLock::new());
        let shared = Shared { engine, settings, clock, reports, jobs, has_work, supplier };
        Self { shared: Arc::new(shared) }
    }

    /// Asks `supplier` for each image before it is built here. The first one stays.
    pub fn supply_by(&self, supplier: Arc<dyn Supplier>) {
        let _ = self.shared.supplier.set(supplier);
    }

    /// Asks for an image. One job per key: another one for the same key joins it.
    pub fn submit(&self, job: BuildJob) -> Submitted {
        let at = self.shared.clock.now();
        let mut jobs = self.shared.jobs();
        if jobs.running.contains_key(&job.key) {
            return Submitted::Running;
        }
        if let Some(queued) = jobs.queued.get_mut(&job.key) {
            queued.job.priority = queued.job.priority.max(job.priority);
            return Submitted::Joined;
        }
        jobs.n_submitted += 1;
        let nth = jobs.n_submitted;
        jobs.queued.insert(job.key, Queued { job, at, nth });
        drop(jobs);
        self.shared.has_work.notify_one();
        Submitted::Queued
    }

    /// Gives a job up, waiting or running; it makes no report. `None` when there is no such job.
    pub fn withdraw(&self, key: BuildKey) -> Option<JobState> {
        let mut jobs = self.shared.jobs();
        if jobs.queued.remove(&key).is_some() {
            return Some(JobState::Queued);
        }
        let running = jobs.running.get(&key)?;
        running.abort.abort();
        Some(JobState::Building)
    }

    /// Begins no further job until [`Builder::resume`]. What runs goes on; jobs are taken and wait.
    pub fn pause(&self) {
        self.shared.jobs().is_paused = true;
    }

    /// Begins jobs again.
    pub fn resume(&self) {
        self.shared.jobs().is_paused = false;
        self.shared.has_work.notify_one();
    }

    /// Whether jobs wait for [`Builder::resume`].
    pub fn is_paused(&self) -> bool {
        self.shared.jobs().is_paused
    }

    /// Where the job of `key` is; `None` when there is none.
    pub fn state(&self, key: BuildKey) -> Option<JobState> {
        let jobs = self.shared.jobs();
        match () {
            () if jobs.running.contains_key(&key) => Some(JobState::Building),
            () if jobs.queued.contains_key(&key) => Some(JobState::Queued),
            () => None,
        }
    }

    /// How far the job of `key` is; `None` unless it runs.
    pub fn progress(&self, key: BuildKey) -> Option<BuildProgress> {
        self.shared.jobs().running.get(&key).map(|running| running.log.progress())
    }

    /// The last lines of the running job of `key`, at most 16 KiB; hostile text.
    pub fn log_tail(&self, key: BuildKey) -> Option<String> {
        self.shared.jobs().running.get(&key).map(|running| running.log.text())
    }

    /// Works off the queue for ever. Drive it once per pool; dropping it ends every build, and the
    /// jobs that ran are forgotten.
    pub async fn run(&self) {
        let _forget = ForgetRunning(&self.shared);
        let mut builds = FuturesUnordered::new();
        loop {
            while builds.len() < self.shared.settings.n_slots.max(1) {
                let Some((job, registration)) = self.shared.take_next() else { break };
                let build = Arc::clone(&self.shared).carry_out(job);
                builds.push(futures_util::future::Abortable::new(build, registration).boxed());
            }
            tokio::select! {
                // Cancel-safe: a permit that was not taken stays.
                () = self.shared.has_work.notified() => (),
                // Cancel-safe: a build that was not taken stays in the set.
                Some(_) = builds.next() => (),
            }
        }
    }
}

/// Empties the set of running jobs when the pool is dropped, so that they can be asked for again.
struct ForgetRunning<'a>(&'a Shared);

impl Drop for ForgetRunning<'_> {
    fn drop(&mut self) {
        self.0.jobs().running.clear();
    }
}

/// Takes a job out of the running ones however it ends, also when it is aborted.
struct Finish<'a> {
    shared: &'a Shared,
    key: BuildKey,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.shared.jobs().running.remove(&self.key);
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the most wanted job to the running ones.
    fn take_next(&self) -> Option<(BuildJob, futures_util::future::AbortRegistration)> {
        let mut jobs = self.jobs();
        if jobs.is_paused {
            return None;
        }
        // Priority grows with waiting, for all alike: so the order does not depend on the time now.
        let rank = |queued: &Queued| {
            let bonus = i64::from(queued.job.priority).saturating_mul(AGEING_MILLIS);
            (queued.at.as_millis().saturating_sub(bonus), queued.nth)
        };
        let key = *jobs.queued.iter().min_by_key(|(_, queued)| rank(queued))?.0;
        let queued = jobs.queued.remove(&key)?;
        let (abort, registration) = AbortHandle::new_pair();
        jobs.running.insert(key, Running { log: LogTail::default(), abort });
        Some((queued.job, registration))
    }

    async fn carry_out(self: Arc<Self>, job: BuildJob) {
        let key = job.key;
        let finish = Finish { shared: &self, key };
        let started_at = self.clock.now();
        // A panic is one job's failure, not the pool's end.
        let outcome = AssertUnwindSafe(self.get_image(job)).catch_unwind().await;
        let result = outcome.unwrap_or_else(|_| {
            Err(BuildFailure::new("the build stopped by a fault of flagops; see its log", AGAIN))
        });
        let log_tail = self.with_log(key, |log| log.text());
        // First out of the running ones: whoever gets the report may submit again.
        drop(finish);
        let finished_at = self.clock.now();
        let report = BuildReport { key, result, log_tail, started_at, finished_at };
        // Nobody listens any more during a shutdown.
        let _ = self.reports.send(report);
    }

    fn with_log<T: Default>(&self, key: BuildKey, look: impl FnOnce(&mut LogTail) -> T) -> T {
        self.jobs().running.get_mut(&key).map(|running| look(&mut running.log)).unwrap_or_default()
    }

    async fn get_image(&self, job: BuildJob) -> Result<ImageSeen, BuildFailure> {
        match &job.wish {
            ImageWish::Reference(reference) => {
                let found = self.engine.image(reference).await;
                if let Some(image) = found.map_err(|error| BuildFailure::from_engine(&error))? {
                    return Ok(image);
                }
                let line = format!("pulling {reference}");
                self.with_log(job.key, |log| log.push(&line));
                let pull =
                    tokio::time::timeout(self.settings.deadline, self.engine.pull(reference));
                match pull.await {
                    Ok(pulled) => {
                        pulled.map_err(|error| BuildFailure::from_pull(reference, &error))
                    }
                    Err(_) => Err(self.too_slow(&format!("the pull of `{reference}`"))),
                }
            }
            ImageWish::Dockerfile { tag, .. } => match self.adopt(job.key, tag).await? {
                Some(image) => Ok(image),
                None => match self.take_over(&job, tag).await {
                    Some(image) => Ok(image),
                    None => self.build(job).await,
                },
            },
        }
    }

    /// The image of this key, if somebody else has built it.
    async fn take_over(&self, job: &BuildJob, tag: &str) -> Option<ImageSeen> {
        let supplier = self.supplier.get()?;
        let say = |line: &str| self.with_log(job.key, |log| log.push(line));
        say("asking the platform for the image");
        let passing = taken_tag(tag);
        let taking = async {
            if !self.bring(job.key, supplier.as_ref(), &passing).await? {
                return Ok(None);
            }
            let wish = supply::ours(&passing, tag.to_owned());
            let made = self.build(BuildJob { wish, ..job.clone() }).await;
            made.map(Some).map_err(|failure| failure.error)
        };
        let taken = tokio::time::timeout(self.settings.deadline, taking).await;
        let taken = taken.unwrap_or_else(|_| Err("it took too long".to_owned()));
        // However that ended: a tag that is left keeps the layers on the disk.
        if taken != Ok(None)
            && let Err(error) = self.engine.unload(&passing).await
        {
            tracing::warn!(
                error = %Chain(&error),
                "the tag `{passing}` of an image that was taken over is left: `docker rmi {passing}`"
            );
        }
        match taken {
            Ok(Some(image)) => {
                tracing::info!(build.key = %job.key.short(), "took an image over from the platform");
                Some(image)
            }
            Ok(None) => {
                say("nobody has it: building it");
                None
            }
            Err(why) => {
                say(&format!("building it, because it could not be taken over: {why}"));
                tracing::warn!(
                    build.key = %job.key.short(), error = %why,
                    "an image could not be taken over from the platform, so it is built here: {why}"
                );
                None
            }
        }
    }

    /// Brings the image of `key` onto the engine under the tag `passing`: out of the registry where there is
    /// one, else or when that fails as bytes. `false` when nobody has it.
    async fn bring(
        &self,
        key: BuildKey,
        supplier: &dyn Supplier,
        passing: &str,
    ) -> Result<bool, String> {
        let say = |line: &str| self.with_log(key, |log| log.push(line));
        let registry = supplier.registry().unwrap_or_else(|why| {
            say(&format!("the registry cannot be used: {why}"));
            tracing::warn!(error = %why, "images come by way of the platform, because the registry cannot be used: {why}");
            None
        });
        let mut repository = registry.as_ref().map(|registry| registry.repository.as_str());
        loop {
            let Some(Supplied { id, carrier }) = supplier.supply(key, repository).await? else {
                return Ok(false);
            };
            let brought = match (carrier, &registry) {
                (Carrier::Bytes(bytes), _) => {
                    say(&format!("taking {id} over"));
                    self.engine.load(&id, passing, bytes).await
                }
                (Carrier::Registry(digest), Some(registry)) if repository.is_some() => {
                    say(&format!("fetching {id} from {}@{digest}", registry.repository));
                    self.engine.fetch(&id, passing, registry, &digest).await
                }
                (Carrier::Registry(_), _) => {
                    return Err("it is in a registry that was not asked for".to_owned());
                }
            };
            match brought {
                Ok(_) => return Ok(true),
                Err(error) if repository.is_some() => {
                    let why = Chain(&error).to_string();
                    say(&format!("asking the platform for it, because that failed: {why}"));
                    tracing::warn!(
                        build.key = %key.short(), error = %why,
                        "an image did not come from the registry, so the platform is asked for it: {why}"
                    );
                    repository = None;
                }
                Err(error) => return Err(Chain(&error).to_string()),
            }
        }
    }

    /// The image of this key, if an earlier run of ours left it on the engine.
    async fn adopt(&self, key: BuildKey, tag: &str) -> Result<Option<ImageSeen>, BuildFailure> {
        let failed = |error| BuildFailure::from_engine(&error);
        let is_it = |image: &ImageSeen| image.build_key == Some(key);
        if let Some(image) = self.engine.image(tag).await.map_err(failed)?.filter(is_it) {
            return Ok(Some(image));
        }
        Ok(self.engine.images().await.map_err(failed)?.into_iter().find(is_it))
    }

    async fn build(&self, job: BuildJob) -> Result<ImageSeen, BuildFailure> {
        let ImageWish::Dockerfile { context, spec, tag } = job.wish else {
            return Err(BuildFailure::new(
                "a reference is pulled, not built",
                Disposition::Terminal,
            ));
        };
        let context = tokio::task::spawn_blocking(move || context()).await;
        let context = context
            .map_err(|_| BuildFailure::new("the context could not be read; see the log", AGAIN))?
            .map_err(|error| BuildFailure::from_context(&error))?;
        let request = BuildRequest {
            key: job.key,
            challenge: job.challenge,
            service: job.service,
            tree: Some(job.tree),
            tag,
            context,
            dockerfile: spec.dockerfile,
            target: spec.target,
            args: spec.args,
            network: self.settings.network,
            deadline: self.settings.deadline,
        };
        let (sink, mut lines) = mpsc::unbounded_channel();
        let limit = self.settings.deadline.saturating_add(GRACE);
        let build = tokio::time::timeout(limit, self.engine.build(request, sink));
        tokio::pin!(build);
        let outcome = loop {
            tokio::select! {
                biased;
                // Cancel-safe: a line that was not taken stays in the channel.
                Some(line) = lines.recv() => self.with_log(job.key, |log| log.push(&line)),
                // Not cancelled by the other arm: it is polled through a pin.
                outcome = &mut build => break outcome,
            }
        };
        while let Ok(line) = lines.try_recv() {
            self.with_log(job.key, |log| log.push(&line));
        }
        let log = self.with_log(job.key, |log| log.clone());
        match outcome {
            Ok(Ok(image)) => Ok(image),
            Ok(Err(error)) => Err(BuildFailure::from_build(&error, &log, self.settings.network)),
            Err(_) => {
                let secs = self.settings.deadline.as_secs();
                Err(BuildFailure::from_build(
                    &BuildError::TimedOut { secs },
                    &log,
                    self.settings.network,
                ))
            }
        }
    }

    fn too_slow(&self, what: &str) -> BuildFailure {
        let secs = self.settings.deadline.as_secs();
        BuildFailure::new(&format!("{what} did not finish within {secs} s"), AGAIN)
    }
}
