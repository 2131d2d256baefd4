//! The pool against an engine that does what a test tells it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::catalog::context::ContextError;
use crate::model::compose::{BuildSpec, HealthTest};
use crate::model::{BuildKey, Clock, Disk, InstanceId, ObjectId, Timestamp, TreeId};
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::{
    BuildError, BuildNetwork, BuildRequest, ContainerSeen, Engine, EngineError, EngineEvent,
    EngineInfo, ExecOutcome, ImageBytes, ImageFile, ImageSeen, LogLine, LogSink, NetworkSeen,
    NoFile, Registry, Terminal, VolumeSeen,
};

/// Builds what it is let: one permit per build. Everything else is refused.
#[derive(Debug)]
struct Workshop {
    permits: Semaphore,
    images: Mutex<BTreeMap<String, ImageSeen>>,
    started: Mutex<Vec<String>>,
    n_now: AtomicUsize,
    n_most: AtomicUsize,
}

impl Workshop {
    fn new(n_permits: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(n_permits),
            images: Mutex::default(),
            started: Mutex::default(),
            n_now: AtomicUsize::new(0),
            n_most: AtomicUsize::new(0),
        })
    }

    fn started(&self) -> Vec<String> {
        self.started.lock().unwrap().clone()
    }
}

fn seen(key: Option<BuildKey>) -> ImageSeen {
    let id = key.map_or("sha256:pulled".to_owned(), |key| format!("sha256:{key}"));
    ImageSeen {
        id,
        build_key: key,
        made_at: None,
        size_bytes: 1,
        health: None,
        volumes: Vec::new(),
    }
}

fn refused<T>() -> Result<T, EngineError> {
    Err(EngineError::Refused { what: "this".to_owned(), reason: "only images here".to_owned() })
}

#[async_trait]
impl Engine for Workshop {
    async fn image(&self, reference: &str) -> Result<Option<ImageSeen>, EngineError> {
        Ok(self.images.lock().unwrap().get(reference).cloned())
    }

    async fn images(&self) -> Result<Vec<ImageSeen>, EngineError> {
        Ok(self.images.lock().unwrap().values().cloned().collect())
    }

    async fn push(&self, _: &str, _: BuildKey, _: &Registry) -> Result<String, EngineError> {
        refused()
    }

    async fn fetch(
        &self,
        _: &str,
        _: &str,
        _: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError> {
        match digest {
            "sha256:there" => Ok(seen(None)),
            _ => Err(EngineError::NotFound { what: digest.to_owned() }),
        }
    }

    async fn pull(&self, reference: &str) -> Result<ImageSeen, EngineError> {
        match reference {
            "there:1" => Ok(seen(None)),
            "slow:1" => std::future::pending().await,
            _ => Err(EngineError::NotFound { what: format!("image `{reference}`") }),
        }
    }

    async fn build(&self, request: BuildRequest, log: LogSink) -> Result<ImageSeen, BuildError> {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.started.lock().unwrap().push(request.tag.clone());
        let n_now = self.n_now.fetch_add(1, Ordering::SeqCst) + 1;
        let _leave = Leave(&self.n_now);
        self.n_most.fetch_max(n_now, Ordering::SeqCst);
        let _ = log.send(format!("Step 1/2 : FROM {}", request.tag));
        let _ = log.send("Step 2/2 : RUN make".to_owned());
        self.permits.acquire().await.unwrap().forget();
        match request.tag.as_str() {
            "broken" => Err(BuildError::Failed { message: "exit code 2".to_owned() }),
            "away" => Err(BuildError::Engine(EngineError::Unavailable {
                endpoint: "unix:///x".to_owned(),
                reason: "closed".to_owned(),
            })),
            "panics" => panic!("a fault of the engine room"),
            _ => Ok(seen(Some(request.key))),
        }
    }

    async fn disk_use(
        &self,
        _enough_bytes: u64,
    ) -> Result<Option<BTreeMap<crate::model::InstanceId, u64>>, EngineError> {
        refused()
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        refused()
    }
    async fn prove(&self) -> Result<(), EngineError> {
        refused()
    }
    async fn save(&self, _: &str) -> Result<ImageBytes, EngineError> {
        refused()
    }
    async fn unload(&self, _: &str) -> Result<(), EngineError> {
        Ok(())
    }
    async fn load(
        &self,
        image: &str,
        _: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        let parts: Result<Vec<_>, _> = bytes.collect::<Vec<_>>().await.into_iter().collect();
        match parts {
            Ok(_) => Ok(ImageSeen { id: image.to_owned(), ..seen(None) }),
            Err(error) => {
                let (what, reason) = ("load".to_owned(), error.to_string());
                Err(EngineError::Refused { what, reason })
            }
        }
    }
    async fn image_file(
        &self,
        _: &str,
        _: &str,
        _: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        refused()
    }

    async fn remove_image(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        refused()
    }
    async fn build_cache_bytes(&self) -> Result<u64, EngineError> {
        refused()
    }
    async fn trim_build_cache(&self, _: u64) -> Result<u64, EngineError> {
        refused()
    }
    async fn create_network(&self, _: &NetworkSpec) -> Result<String, EngineError> {
        refused()
    }
    async fn remove_network(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn connect_network(&self, _: &str, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn disconnect_network(&self, _: &str, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        refused()
    }
    async fn create_volume(&self, _: &str, _: InstanceId) -> Result<(), EngineError> {
        refused()
    }
    async fn remove_volume(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        refused()
    }
    async fn create_container(&self, _: &ContainerSpec) -> Result<String, EngineError> {
        refused()
    }
    async fn upload(&self, _: &str, _: &str, _: Bytes) -> Result<(), EngineError> {
        refused()
    }
    async fn container_file(
        &self,
        _: &str,
        _: &str,
        _: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        refused()
    }
    async fn start(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn stop(&self, _: &str, _: Duration) -> Result<(), EngineError> {
        refused()
    }
    async fn remove_container(&self, _: &str) -> Result<(), EngineError> {
        refused()
    }
    async fn container(&self, _: &str) -> Result<Option<ContainerSeen>, EngineError> {
        refused()
    }
    async fn containers(&self, _: Option<InstanceId>) -> Result<Vec<ContainerSeen>, EngineError> {
        refused()
    }
    async fn exec(&self, _: &str, _: &HealthTest, _: Duration) -> Result<ExecOutcome, EngineError> {
        refused()
    }
    async fn shell(&self, _: &str, _: &[String]) -> Result<Terminal, EngineError> {
        unreachable!()
    }
    async fn logs(&self, _: &str, _: u32) -> Result<String, EngineError> {
        refused()
    }
    async fn follow_logs(
        &self,
        _: &str,
        _: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError> {
        refused()
    }
    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        refused()
    }
}

/// One millisecond more at every look.
#[derive(Debug, Default)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.monotonic_millis())
    }

    fn monotonic_millis(&self) -> i64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

struct Lab {
    engine: Arc<Workshop>,
    builder: Builder,
    reports: mpsc::UnboundedReceiver<BuildReport>,
}

impl Lab {
    fn new(n_slots: usize, n_permits: usize) -> Self {
        let engine = Workshop::new(n_permits);
        let (sender, reports) = mpsc::unbounded_channel();
        let settings = BuilderSettings {
            n_slots,
            deadline: Duration::from_secs(60),
            network: BuildNetwork::None,
        };
        let clock = Arc::new(Ticks::default());
        let builder = Builder::new(Arc::<Workshop>::clone(&engine), settings, clock, sender);
        Self { engine, builder, reports }
    }

    /// Drives the pool while `act` runs.
    async fn during<T>(&mut self, act: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let builder = self.builder.clone();
        tokio::select! {
            done = act(self) => done,
            () = builder.run() => unreachable!("the pool runs for ever"),
        }
    }

    async fn report(&mut self) -> BuildReport {
        tokio::time::timeout(Duration::from_secs(600), self.reports.recv()).await.unwrap().unwrap()
    }
}

fn key(byte: u8) -> BuildKey {
    BuildKey::from_digest([byte; 32])
}

fn job(byte: u8, tag: &str, priority: i32) -> BuildJob {
    with_context(byte, tag, priority, Arc::new(|| Ok(Bytes::from_static(b"tar"))))
}

fn with_context(byte: u8, tag: &str, priority: i32, context: ContextSource) -> BuildJob {
    let spec = BuildSpec {
        context: String::new(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
    };
    let tag = tag.to_owned();
    BuildJob {
        key: key(byte),
        challenge: "WEB-1".parse().unwrap(),
        service: "web".parse().unwrap(),
        tree: TreeId(ObjectId::from_bytes([byte; 20])),
        priority,
        wish: ImageWish::Dockerfile { context, spec, tag },
    }
}

fn reference(byte: u8, reference: &str) -> BuildJob {
    BuildJob { wish: ImageWish::Reference(reference.to_owned()), ..job(byte, "", 0) }
}

/// Lets everything that can run, run.
async fn settle() {
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_build_reports_its_image_its_log_and_its_times() {
    let mut lab = Lab::new(1, 1);
    assert_eq!(lab.builder.submit(job(1, "a", 0)), Submitted::Queued);
    assert_eq!(lab.builder.state(key(1)), Some(JobState::Queued));
    let report = lab.during(async |lab| lab.report().await).await;
    assert_eq!(report.result, Ok(seen(Some(key(1)))));
    assert_eq!(report.log_tail, "Step 1/2 : FROM a\nStep 2/2 : RUN make\n");
    assert!(report.started_at < report.finished_at);
    assert_eq!(lab.builder.state(key(1)), None);
}

#[tokio::test]
async fn slots_bound_the_builds_and_the_most_wanted_goes_first() {
    let mut lab = Lab::new(2, 0);
    for (byte, tag, priority) in
        [(1, "low", -10), (2, "first", 20), (3, "second", 20), (4, "high", 80)]
    {
        lab.builder.submit(job(byte, tag, priority));
    }
    lab.during(async |lab| {
        settle().await;
        // Both have a slot; which reaches the engine first is nobody's promise.
        let mut started = lab.engine.started();
        started.sort();
        assert_eq!(started, ["first", "high"]);
        for _ in 0..4 {
            lab.engine.permits.add_permits(1);
            lab.report().await;
            settle().await;
        }
    })
    .await;
    assert_eq!(lab.engine.started()[2..], ["second", "low"]);
    assert_eq!(lab.engine.n_most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_key_is_built_once_and_a_joining_job_can_raise_it() {
    let mut lab = Lab::new(1, 0);
    lab.builder.submit(job(1, "running", 0));
    lab.during(async |lab| {
        settle().await;
        assert_eq!(lab.builder.submit(job(1, "running", 0)), Submitted::Running);
        lab.builder.submit(job(2, "two", 0));
        lab.builder.submit(job(3, "three", 0));
        assert_eq!(lab.builder.submit(job(3, "three", 80)), Submitted::Joined);
        lab.engine.permits.add_permits(3);
        for _ in 0..3 {
            lab.report().await;
        }
        settle().await;
    })
    .await;
    assert_eq!(lab.engine.started(), ["running", "three", "two"]);
    assert!(lab.reports.try_recv().is_err());
}

#[tokio::test]
async fn progress_can_be_read_while_it_builds() {
    let mut lab = Lab::new(1, 0);
    lab.builder.submit(job(1, "a", 0));
    assert_eq!(lab.builder.progress(key(1)), None);
    lab.during(async |lab| {
        settle().await;
        let progress = lab.builder.progress(key(1)).unwrap();
        assert_eq!(
            (progress.step.as_str(), progress.line.as_str()),
            ("2/2", "Step 2/2 : RUN make")
        );
        assert_eq!(lab.builder.state(key(1)), Some(JobState::Building));
        assert!(lab.builder.log_tail(key(1)).unwrap().starts_with("Step 1/2"));
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_run_built_is_adopted_and_a_foreign_image_of_that_tag_is_not() {
    let mut lab = Lab::new(1, 1);
    lab.engine.images.lock().unwrap().insert("other-tag".to_owned(), seen(Some(key(1))));
    lab.engine.images.lock().unwrap().insert("b".to_owned(), seen(Some(key(9))));
    lab.builder.submit(job(1, "a", 0));
    lab.builder.submit(job(2, "b", 0));
    let (first, second) = lab.during(async |lab| (lab.report().await, lab.report().await)).await;
    assert_eq!(first.result, Ok(seen(Some(key(1)))));
    assert_eq!(second.result, Ok(seen(Some(key(2)))));
    assert_eq!(lab.engine.started(), ["b"]);
}

#[tokio::test]
async fn failures_say_what_failed_and_whether_to_try_again() {
    let mut lab = Lab::new(1, 9);
    let error = || ContextError::NoDockerfile { path: "web/Dockerfile".to_owned() };
    let jobs = [
        (job(1, "broken", 0), "`RUN make` (step 2/2) failed: exit code 2", false),
        (job(2, "away", 0), "does not answer", true),
        (job(3, "panics", 0), "a fault of flagops", true),
        (
            with_context(4, "x", 0, Arc::new(move || Err(error()))),
            "`web/Dockerfile` is missing",
            false,
        ),
        (with_context(5, "x", 0, Arc::new(|| panic!("odb"))), "context could not be read", true),
        (reference(6, "nope:1"), "image `nope:1` is not on this node", false),
    ];
    for (job, wanted, is_retryable) in jobs {
        lab.builder.submit(job);
        let report = lab.during(async |lab| lab.report().await).await;
        let failure = report.result.unwrap_err();
        assert!(failure.error.contains(wanted), "{failure}");
        assert_eq!(failure.is_retryable, is_retryable, "{failure}");
    }
}

#[tokio::test]
async fn a_reference_is_taken_from_the_engine_or_pulled() {
    let mut lab = Lab::new(1, 0);
    lab.engine.images.lock().unwrap().insert("local:1".to_owned(), seen(Some(key(7))));
    for (byte, text, wanted) in [(1, "local:1", Some(key(7))), (2, "there:1", None)] {
        lab.builder.submit(reference(byte, text));
        let report = lab.during(async |lab| lab.report().await).await;
        assert_eq!(report.result, Ok(seen(wanted)));
    }
    assert_eq!(lab.engine.started(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_never_answers_is_given_up_after_the_deadline() {
    let mut lab = Lab::new(2, 0);
    lab.builder.submit(job(1, "stuck", 0));
    lab.builder.submit(reference(2, "slow:1"));
    let (pull, build) = lab.during(async |lab| (lab.report().await, lab.report().await)).await;
    assert!(pull.result.unwrap_err().error.contains("`slow:1` did not finish within 60 s"));
    assert!(build.result.unwrap_err().error.contains("did not finish within 60 s"));
}

#[tokio::test]
async fn a_withdrawn_job_ends_without_a_report_and_frees_its_slot() {
    let mut lab = Lab::new(1, 0);
    lab.builder.submit(job(1, "running", 0));
    lab.builder.submit(job(2, "waiting", 0));
    lab.builder.submit(job(3, "last", 0));
    lab.during(async |lab| {
        settle().await;
        assert_eq!(lab.builder.withdraw(key(2)), Some(JobState::Queued));
        assert_eq!(lab.builder.withdraw(key(1)), Some(JobState::Building));
        assert_eq!(lab.builder.withdraw(key(9)), None);
        lab.engine.permits.add_permits(1);
        assert_eq!(lab.report().await.key, key(3));
        assert_eq!(lab.builder.state(key(1)), None);
    })
    .await;
    assert_eq!(lab.engine.started(), ["running", "last"]);
}

#[tokio::test]
async fn a_paused_pool_finishes_what_runs_and_begins_nothing() {
    let mut lab = Lab::new(1, 0);
    lab.builder.submit(job(1, "running", 0));
    lab.during(async |lab| {
        settle().await;
        lab.builder.pause();
        lab.builder.submit(job(2, "waiting", 0));
        lab.engine.permits.add_permits(2);
        assert_eq!(lab.report().await.key, key(1));
        settle().await;
        assert_eq!(lab.builder.state(key(2)), Some(JobState::Queued));
        lab.builder.resume();
        assert_eq!(lab.report().await.key, key(2));
    })
    .await;
    assert_eq!(lab.engine.started(), ["running", "waiting"]);
}

#[tokio::test]
async fn a_dropped_pool_ends_its_builds_and_a_new_one_takes_them_again() {
    let mut lab = Lab::new(1, 0);
    lab.builder.submit(job(1, "a", 0));
    lab.during(async |_| settle().await).await;
    assert_eq!(lab.engine.n_now.load(Ordering::SeqCst), 0);
    assert_eq!(lab.builder.state(key(1)), None);
    assert_eq!(lab.builder.submit(job(1, "a", 0)), Submitted::Queued);
    lab.engine.permits.add_permits(1);
    let report = lab.during(async |lab| lab.report().await).await;
    assert!(report.result.is_ok());
}

/// Has what it is told to have.
struct Neighbour(fn(BuildKey) -> Result<Option<Supplied>, String>);

#[async_trait]
impl Supplier for Neighbour {
    fn registry(&self) -> Result<Option<Registry>, String> {
        Ok(None)
    }

    async fn supply(&self, key: BuildKey, _: Option<&str>) -> Result<Option<Supplied>, String> {
        (self.0)(key)
    }
}

fn image(parts: Vec<std::io::Result<Bytes>>) -> Option<Supplied> {
    let bytes = futures_util::stream::iter(parts).boxed();
    Some(Supplied { id: "sha256:theirs".to_owned(), carrier: Carrier::Bytes(bytes) })
}

#[tokio::test]
async fn what_a_neighbour_has_is_taken_over_and_what_nobody_has_is_built() {
    for (supply, said) in [
        (
            (|_| Ok(image(vec![Ok(Bytes::from_static(b"tar"))]))) as fn(BuildKey) -> _,
            "asking the platform for the image\ntaking sha256:theirs over\nStep 1/2 : FROM a",
        ),
        (|_| Ok(None), "nobody has it: building it\nStep 1/2 : FROM a"),
        (
            |_| Ok(image(vec![Ok(Bytes::new()), Err(std::io::Error::other("the cable was cut"))])),
            "could not be taken over: the container engine refused `load`: the cable was cut",
        ),
        (|_| Err("it is away".to_owned()), "could not be taken over: it is away\nStep 1/2"),
    ] {
        let mut lab = Lab::new(1, 1);
        lab.builder.supply_by(Arc::new(Neighbour(supply)));
        lab.builder.submit(job(1, "a", 0));
        let report = lab.during(async |lab| lab.report().await).await;
        assert_eq!(report.result, Ok(seen(Some(key(1)))), "it has our key either way");
        assert!(report.log_tail.contains(said), "{said}: {}", report.log_tail);
    }
}

#[tokio::test]
async fn what_is_here_already_is_not_asked_for() {
    let mut lab = Lab::new(1, 1);
    lab.engine.images.lock().unwrap().insert("a".to_owned(), seen(Some(key(1))));
    lab.builder.supply_by(Arc::new(Neighbour(|_| panic!("nobody is to be asked"))));
    lab.builder.submit(job(1, "a", 0));
    let report = lab.during(async |lab| lab.report().await).await;
    assert_eq!(report.result, Ok(seen(Some(key(1)))));
    assert_eq!(lab.engine.started(), [""; 0]);
}

/// Has what it is told to have in a registry, and as bytes too.
struct Registrar(&'static str);

#[async_trait]
impl Supplier for Registrar {
    fn registry(&self) -> Result<Option<Registry>, String> {
        match self.0 {
            "locked" => Err("could not read the secret in `/etc/token`".to_owned()),
            _ => Ok(Some(Registry { repository: "r.test/a".to_owned(), login: None })),
        }
    }

    async fn supply(
        &self,
        _: BuildKey,
        repository: Option<&str>,
    ) -> Result<Option<Supplied>, String> {
        let id = "sha256:theirs".to_owned();
        let carrier = match repository {
            Some(_) => Carrier::Registry(format!("sha256:{}", self.0)),
            None => return Ok(image(vec![Ok(Bytes::from_static(b"tar"))])),
        };
        Ok(Some(Supplied { id, carrier }))
    }
}

#[tokio::test]
async fn what_a_registry_does_not_give_comes_from_the_platform() {
    for (registry, said) in [
        (
            "there",
            "asking the platform for the image\nfetching sha256:theirs from r.test/a@sha256:there\n\
             Step 1/2",
        ),
        (
            "lost",
            "asking the platform for it, because that failed: sha256:lost does not exist on the \
             container engine\ntaking sha256:theirs over\nStep 1/2",
        ),
        (
            "locked",
            "the registry cannot be used: could not read the secret in `/etc/token`\n\
             taking sha256:theirs over\nStep 1/2",
        ),
    ] {
        let mut lab = Lab::new(1, 1);
        lab.builder.supply_by(Arc::new(Registrar(registry)));
        lab.builder.submit(job(1, "a", 0));
        let report = lab.during(async |lab| lab.report().await).await;
        assert_eq!(report.result, Ok(seen(Some(key(1)))), "it has our key either way");
        assert!(report.log_tail.contains(said), "{said}: {}", report.log_tail);
    }
}
