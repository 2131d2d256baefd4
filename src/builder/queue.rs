//! The pool of builds: bounded, one per key, with progress that can be read while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::context::ContextError;
use crate::model::compose::BuildSpec;
use crate::model::{BuildKey, ChallengeId, Clock, Disposition, ServiceName, Timestamp};
use crate::runtime::{BuildError, BuildNetwork, BuildRequest, Engine, EngineError, ImageSeen};

/// How much of a build's output is kept, in bytes.
const TAIL_BYTES: usize = 16 << 10;

/// Bounds on builds.
#[derive(Debug, Clone, Copy)]
pub struct BuildPolicy {
    /// Builds at once.
    pub n_slots: usize,
    /// How long one may take.
    pub deadline: Duration,
    /// Whether `RUN` may use the network.
    pub network: BuildNetwork,
}

/// One image that is wanted.
#[derive(Debug)]
pub struct BuildJob {
    /// What determines it.
    pub key: BuildKey,
    /// For the tag and labels.
    pub challenge: ChallengeId,
    /// For the tag and labels.
    pub service: ServiceName,
    /// Where it comes from.
    pub source: BuildSource,
}

/// Makes a context when a slot is free.
pub type ContextMaker = Arc<dyn Fn() -> Result<Bytes, ContextError> + Send + Sync>;

/// Where an image comes from.
pub enum BuildSource {
    /// Built from a context.
    Dockerfile {
        /// How.
        spec: BuildSpec,
        /// Called on a blocking thread.
        context: ContextMaker,
    },
    /// Present on the engine under this name, or pulled.
    Reference(String),
}

impl fmt::Debug for BuildSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dockerfile { spec, .. } => f.debug_tuple("Dockerfile").field(spec).finish(),
            Self::Reference(reference) => f.debug_tuple("Reference").field(reference).finish(),
        }
    }
}

/// How a build ended.
#[derive(Debug)]
pub struct BuildReport {
    /// Which one.
    pub key: BuildKey,
    /// The image, or why there is none.
    pub result: Result<ImageSeen, BuildFailure>,
    /// The end of its output; hostile text.
    pub log_tail: String,
    /// When it got its slot.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFailure {
    /// One line.
    pub error: String,
    /// Whether the same input could succeed later.
    pub is_retryable: bool,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn Engine>,
    policy: BuildPolicy,
    clock: Arc<dyn Clock>,
    reports: mpsc::UnboundedSender<BuildReport>,
    slots: Semaphore,
    running: Mutex<BTreeMap<BuildKey, Output>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a running build has said so far.
#[derive(Debug, Default)]
struct Output {
    tail: String,
}

impl Output {
    fn add(&mut self, line: &str) {
        self.tail.push_str(line);
        self.tail.push('\n');
        if self.tail.len() > TAIL_BYTES {
            let cut = self.tail.len() - TAIL_BYTES;
            let cut =
                (cut..self.tail.len()).find(|at| self.tail.is_char_boundary(*at)).unwrap_or(0);
            self.tail.drain(..cut);
        }
    }
}

/// The tag of an image: `flagops/<challenge>-<service>:<key>`, a valid reference for any ids.
pub fn image_tag(challenge: &ChallengeId, service: &ServiceName, key: &BuildKey) -> String {
    let mut name = String::new();
    for c in format!("{challenge}-{service}").to_lowercase().chars() {
        let is_separator = !c.is_ascii_alphanumeric();
        // A reference has no two separators in a row and does not end with one.
        if !is_separator {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    format!("flagops/{}:{}", name.trim_end_matches('-'), key.short())
}

impl Builder {
    /// A pool that reports to `reports`.
    pub fn new(
        engine: Arc<dyn Engine>,
        policy: BuildPolicy,
        clock: Arc<dyn Clock>,
        reports: mpsc::UnboundedSender<BuildReport>,
    ) -> Self {
        let inner = Inner {
            engine,
            policy,
            clock,
            reports,
            slots: Semaphore::new(policy.n_slots.max(1)),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Queues a job; one whose key is queued or running already is that one.
    pub fn submit(&self, job: BuildJob) {
        let mut running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(&job.key) || self.inner.stop.is_cancelled() {
            return;
        }
        running.insert(job.key, Output::default());
        drop(running);
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move { inner.run(job).await });
    }

    /// What a queued or running build has said, the end of it.
    pub fn log_tail(&self, key: &BuildKey) -> Option<String> {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(key).map(|output| output.tail.clone())
    }

    /// Ends every build; the next start begins them anew.
    pub fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }
}

impl Inner {
    async fn run(&self, job: BuildJob) {
        let slot = tokio::select! {
            slot = self.slots.acquire() => slot,
            () = self.stop.cancelled() => return,
        };
        let Ok(_slot) = slot else { return };
        let started_at = self.clock.now();
        let key = job.key;
        let result = tokio::select! {
            result = self.make(job) => result,
            () = self.stop.cancelled() => return,
        };
        let output = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let report = BuildReport {
            key,
            result,
            log_tail: output.map(|output| output.tail).unwrap_or_default(),
            started_at,
            finished_at: self.clock.now(),
        };
        // Nobody listens only when the daemon stops; the next start finds the image by its key.
        let _ = self.reports.send(report);
    }

    async fn make(&self, job: BuildJob) -> Result<ImageSeen, BuildFailure> {
        match job.source {
            BuildSource::Reference(reference) => self.fetch(&reference).await,
            BuildSource::Dockerfile { spec, context } => {
                let tag = image_tag(&job.challenge, &job.service, &job.key);
                if let Some(image) = self.existing(&tag, job.key).await? {
                    return Ok(image);
                }
                let context = tokio::task::spawn_blocking(move || context()).await;
                let context = context.map_err(|error| permanent(error.to_string()))?;
                let context = context.map_err(|error| permanent(error.to_string()))?;
                self.build(BuildRequest {
                    key: job.key,
                    challenge: job.challenge,
                    service: job.service,
                    tag,
                    context,
                    dockerfile: spec.dockerfile,
                    target: spec.target,
                    args: spec.args,
                    network: self.policy.network,
                    deadline: self.policy.deadline,
                })
                .await
            }
        }
    }

    /// The image of an earlier build with the same key, found again after a crash.
    async fn existing(&self, tag: &str, key: BuildKey) -> Result<Option<ImageSeen>, BuildFailure> {
        let image = self.engine.image(tag).await.map_err(|error| from_engine(&error))?;
        Ok(image.filter(|image| image.build_key == Some(key)))
    }

    async fn fetch(&self, reference: &str) -> Result<ImageSeen, BuildFailure> {
        match self.engine.image(reference).await {
            Ok(Some(image)) => return Ok(image),
            Ok(None) => {}
            Err(error) => return Err(from_engine(&error)),
        }
        self.engine.pull(reference).await.map_err(|error| BuildFailure {
            error: format!(
                "image `{reference}` is not on the node and could not be pulled ({error}); load it with `docker load`, or build it from a Dockerfile in the repository"
            ),
            is_retryable: true,
        })
    }

    async fn build(&self, request: BuildRequest) -> Result<ImageSeen, BuildFailure> {
        let key = request.key;
        let (log, mut lines) = mpsc::unbounded_channel::<String>();
        let build = self.engine.build(request, log);
        tokio::pin!(build);
        let result = loop {
            tokio::select! {
                result = &mut build => break result,
                Some(line) = lines.recv() => self.note(key, &line),
            }
        };
        while let Ok(line) = lines.try_recv() {
            self.note(key, &line);
        }
        result.map_err(|error| match error {
            BuildError::Failed { message } if self.ran_out_of_disk(key) => BuildFailure {
                error: format!(
                    "{message}, because no space was left: free some on the disk of the container engine; it is tried again by itself"
                ),
                is_retryable: true,
            },
            BuildError::Failed { message } => permanent(message),
            BuildError::TimedOut { .. } | BuildError::Engine(_) => BuildFailure {
                is_retryable: matches!(error.disposition(), Disposition::Retry(_)),
                error: error.to_string(),
            },
        })
    }

    /// Whether the last words of a build complain about a full disk. A command that runs into one
    /// fails like any other, and only its output says why.
    fn ran_out_of_disk(&self, key: BuildKey) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = running.get(&key).map(|output| output.tail.as_str()).unwrap_or_default();
        tail.lines().rev().take(20).any(|line| line.contains("No space left on device"))
    }

    fn note(&self, key: BuildKey, line: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(output) = running.get_mut(&key) {
            for line in line.lines() {
                output.add(line);
            }
        }
    }
}

fn permanent(error: String) -> BuildFailure {
    BuildFailure { error, is_retryable: false }
}

fn from_engine(error: &EngineError) -> BuildFailure {
    BuildFailure {
        error: error.to_string(),
        is_retryable: matches!(error.disposition(), Disposition::Retry(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_valid_references_for_odd_ids() {
        let key = BuildKey::from_digest([1; 32]);
        for (challenge, service, wanted) in [
            ("WEB-001", "web", "flagops/web-001-web:0101010101010101"),
            ("A..b__", "x-", "flagops/a-b-x:0101010101010101"),
        ] {
            let tag = image_tag(&challenge.parse().unwrap(), &service.parse().unwrap(), &key);
            assert_eq!(tag, wanted);
        }
    }

    #[test]
    fn the_tail_stays_bounded_and_valid() {
        let mut output = Output::default();
        for _ in 0..5000 {
            output.add("ä line that is not ascii");
        }
        assert!(output.tail.len() <= TAIL_BYTES);
    }
}
