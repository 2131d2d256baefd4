//! How soon players have what an organizer tags, and how soon an organizer sees what a tag would do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flagops::config::{Config, ReleaseConfig};
use flagops::daemon::Daemon;
use flagops::daemon::platform::Platform;

use crate::converged::{embedded, wait};
use crate::platform::{METADATA, push};
use crate::report::Report;

/// Challenges of a release, every one of which changes.
const N_RELEASED: usize = 100;
/// Challenges of a preview, every one of which changes.
const N_PREVIEWED: usize = 1_000;
/// A tag that is pushed ends in the old or the new release within this time, or the bench fails.
const PATIENCE: Duration = Duration::from_secs(60);

const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// A remote with challenges, and a daemon over an engine in memory that follows its tags.
struct Scene {
    dir: tempfile::TempDir,
    n_challenges: usize,
    daemon: Daemon,
}

impl Scene {
    async fn new(n_challenges: usize, release: ReleaseConfig) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        write(dir.path(), n_challenges, 0)?;
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        config.source.repo = remote(dir.path()).display().to_string();
        // Nothing but the notice of the file system brings news.
        config.source.poll_secs = 3600;
        config.release = ReleaseConfig { pattern: Some("^v(?<v>.+)$".to_owned()), ..release };
        let (daemon, _) = embedded(config).await?;
        let scene = Self { dir, n_challenges, daemon };
        let platform = scene.platform();
        wait("the engine to be proved", || async { Ok(platform.is_engine_ready()) }).await?;
        Ok(scene)
    }

    fn platform(&self) -> Platform {
        self.daemon.platform()
    }

    /// Pushes another version of every challenge, and waits until it is read and built.
    async fn push(&self, nth: usize) -> Result<()> {
        write(self.dir.path(), self.n_challenges, nth)?;
        let head = self.git(&["rev-parse", "main"])?;
        let platform = self.platform();
        wait("the push to be read", || async {
            let seen = platform.source().await?.revision;
            Ok(seen.is_some_and(|seen| seen.to_string() == head))
        })
        .await
    }

    fn tag(&self, name: &str) -> Result<()> {
        self.git(&["tag", "-a", "-m", "release", name, "main"]).map(|_| ())
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .current_dir(remote(self.dir.path()))
            .args(["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"])
            .args(arguments)
            .stderr(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("git {} failed", arguments.join(" "));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// From `git tag` in the repository to players who have all of it.
pub(crate) async fn live(report: &mut Report, runs: usize) -> Result<()> {
    let scene = Scene::new(N_RELEASED, ReleaseConfig::default()).await?;
    let platform = scene.platform();
    let mut times = Vec::new();
    for nth in 1..=runs {
        scene.push(nth).await?;
        let name = format!("v1.{nth}.0");
        let begin = Instant::now();
        scene.tag(&name)?;
        loop {
            let active = platform.releases().await?.active.and_then(|(_, it)| it.tag);
            if active.is_some_and(|(tag, _)| tag.as_str() == name) {
                break;
            }
            if begin.elapsed() > PATIENCE {
                bail!("{name} does not go live");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(begin.elapsed());
    }
    report.time("release, tag to live, 100 challenges", &times, "p95 < 500 ms");
    scene.daemon.stop().await;
    Ok(())
}

/// `flagops plan --tag` for a release that changes everything and waits for a person.
pub(crate) async fn preview(report: &mut Report, runs: usize) -> Result<()> {
    let scene =
        Scene::new(N_PREVIEWED, ReleaseConfig { auto: false, ..ReleaseConfig::default() }).await?;
    let platform = scene.platform();
    scene.push(1).await?;
    scene.tag("v1.0.0")?;
    wait("the tag to be seen", || async { Ok(platform.preview_tag("v1.0.0").await.is_ok()) })
        .await?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let begin = Instant::now();
        let preview = platform.preview_tag("v1.0.0").await?;
        times.push(begin.elapsed());
        if preview.changes.len() != N_PREVIEWED {
            bail!("{} changes in a preview of {N_PREVIEWED}", preview.changes.len());
        }
    }
    report.time("release, plan --tag, 1000 challenges", &times, "< 300 ms");
    scene.daemon.stop().await;
    Ok(())
}

fn remote(dir: &Path) -> PathBuf {
    dir.join("remote.git")
}

/// Commits version `nth` of every challenge.
fn write(dir: &Path, n_challenges: usize, nth: usize) -> Result<()> {
    let work = dir.join("work");
    for n in 0..n_challenges {
        let folder = work.join("BENCH").join(format!("BENCH-{n:03}"));
        std::fs::create_dir_all(folder.join("attachments"))?;
        std::fs::write(folder.join("metadata.yaml"), METADATA)?;
        std::fs::write(folder.join("docker-compose.yml"), COMPOSE)?;
        std::fs::write(folder.join("attachments/note.txt"), format!("version {nth}\n"))?;
    }
    push(&work, &remote(dir))
}
