//! How much it costs to look after what is as it should be, and how soon a daemon that comes back
//! has everything in hand again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flagops::config::Config;
use flagops::daemon::platform::{Repeats, StartRequest};
use flagops::daemon::{Daemon, Parts};
use flagops::git::{Credentials, Mirror, Remote};
use flagops::model::{Caller, InstanceStatus};
use flagops::runtime::ImageSeen;
use flagops::runtime::fake::FakeEngine;
use flagops::store::{DataDir, Store};
use flagops::telemetry::clock::SystemClock;

use crate::platform::{METADATA, Platform, push};
use crate::report::Report;

/// Challenges of the look that finds nothing to do.
const N_CHALLENGES: usize = 500;
/// Instances of each.
const N_EACH: usize = 2;
/// Looks that are measured; one comes every 15 s.
const N_LOOKS: f64 = 3.0;
/// Instances that run while the daemon is away, of two services each.
const N_RUNNING: usize = 100;

const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// The look at 500 challenges and 1,000 instances that are all as wanted, on an engine in memory:
/// what is measured is ours alone.
pub(crate) async fn no_op(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let remote = dir.path().join("remote.git");
    commit(&remote, dir.path())?;
    let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    config.source.repo = remote.display().to_string();
    config.limits.instances_per_team = 10_000;
    config.limits.instances_per_node = 10_000;
    let (daemon, engine) = embedded(config).await?;
    let platform = daemon.platform();
    wait("the challenges to be live", || async { Ok(platform.live().len() == N_CHALLENGES) })
        .await?;
    wait("the engine to be proved", || async { Ok(platform.is_engine_ready()) }).await?;
    let (_, token) = platform.create_team_token("bench", "").await?;
    let caller: Caller = platform.authenticate(&token).await?;
    for nth in 0..N_CHALLENGES * N_EACH {
        let challenge = format!("BENCH-{:03}", nth % N_CHALLENGES);
        let request = StartRequest {
            challenge,
            competition: String::new(),
            ttl_secs: None,
            repeats: Repeats::Another,
        };
        platform.start(&caller, request).await?;
    }
    wait("every instance to be ready", || async {
        let instances = platform.instances(&caller).await?;
        let n_ready = instances.iter().filter(|it| it.status() == InstanceStatus::Ready).count();
        Ok(n_ready == N_CHALLENGES * N_EACH)
    })
    .await?;
    // The looks that saw them on their way do not count.
    let begun = looks(&platform.metrics()).0;
    wait("a look at what is converged", || async {
        Ok(looks(&platform.metrics()).0 > begun + 1.0)
    })
    .await?;
    let (n_before, secs_before) = looks(&platform.metrics());
    let n_calls = engine.calls().len();
    wait("more looks", || async { Ok(looks(&platform.metrics()).0 >= n_before + N_LOOKS) }).await?;
    let (n_after, secs_after) = looks(&platform.metrics());
    let mean = (secs_after - secs_before) / (n_after - n_before);
    let n_writes = engine.calls().into_iter().skip(n_calls).filter(|verb| verb.changes()).count();
    report.time(
        "no-op pass, 500 challenges, 1000 instances",
        &[Duration::from_secs_f64(mean)],
        "< 200 ms",
    );
    report.number("no-op pass, engine writes", n_writes.to_string(), "0");
    daemon.stop().await;
    Ok(())
}

/// A daemon over an engine in memory, which has the image `base:1`.
pub(crate) async fn embedded(config: Config) -> Result<(Daemon, FakeEngine)> {
    let data = DataDir::open(&config.data_dir)?;
    let engine = FakeEngine::new(data.installation().clone());
    let image = ImageSeen {
        id: "sha256:base".to_owned(),
        build_key: None,
        made_at: None,
        size_bytes: 1,
        health: None,
        volumes: Vec::new(),
    };
    engine.add_image("base:1", image);
    let remote = Remote::parse(&config.source.repo, Path::new("/"))?;
    let credentials = Credentials {
        ssh_key: config.source.ssh_key.clone(),
        known_hosts: config.source.known_hosts.clone(),
        token_file: config.source.token_file.clone(),
    };
    let mirror = Mirror::open(&data.path().join("mirror"), remote, credentials)?
        .with_tags(flagops::daemon::tag_wish(&config.release));
    let store = Store::open(&data.database_path())?;
    let clock = Arc::new(SystemClock);
    let renderer = flagops::daemon::Renderer::of_this_process();
    let (of_it, wall, loss) = (Arc::new(engine.clone()), None, None);
    let parts = Parts {
        config,
        clock,
        store,
        data,
        engine: of_it,
        wall,
        mirror,
        loss,
        renderer,
        bond: None,
    };
    Ok((Daemon::start(parts).await?, engine))
}

/// How many looks there were and how long they took together.
fn looks(metrics: &str) -> (f64, f64) {
    let sum_of = |suffix: &str| -> f64 {
        let name = format!("flagops_level_pass_duration_seconds_{suffix}");
        let lines = metrics.lines().filter(|line| line.starts_with(&name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    (sum_of("count"), sum_of("sum"))
}

fn commit(remote: &Path, dir: &Path) -> Result<()> {
    let work = dir.join("work");
    for nth in 0..N_CHALLENGES {
        let folder = work.join("BENCH").join(format!("BENCH-{nth:03}"));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("metadata.yaml"), METADATA)?;
        std::fs::write(folder.join("docker-compose.yml"), COMPOSE)?;
    }
    push(&work, remote)
}

/// A daemon that comes back to 200 running containers: until it serves, and until its plan is
/// empty, from the start of the process.
pub(crate) async fn recovery(report: &mut Report) -> Result<()> {
    let mut platform = Platform::start(&[("TWO-001", 2)]).await?;
    let mut ids = Vec::new();
    for _ in 0..N_RUNNING {
        ids.push(platform.start_instance("TWO-001").await?.id);
    }
    platform.stop_daemon().await?;
    let begin = Instant::now();
    platform.start_daemon_again()?;
    wait("the daemon to have everything in hand", || platform.is_converged()).await?;
    report.time("recovery, cold start with 200 containers", &[begin.elapsed()], "< 5 s");
    for id in ids {
        platform.stop_instance(&id).await?;
    }
    Ok(())
}

/// Waits until `look` says yes; an error with what was waited for after ten minutes.
pub(crate) async fn wait<F: Future<Output = Result<bool>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(600) {
        if look().await.with_context(|| what.to_owned())? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("waited too long for {what}")
}
