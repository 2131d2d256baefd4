//! How soon players have what an organizer tags, and how soon an organizer sees what a tag would do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flagops::config::{Config, ReleaseConfig, WebhookConfig, WebhookKind};
use flagops::daemon::Daemon;
use flagops::daemon::platform::{Called, Headers, Platform};

use crate::converged::{embedded, wait};
use crate::platform::{METADATA, push};
use crate::report::Report;
use crate::ssh::Sshd;

/// Challenges of a release, every one of which changes.
const N_RELEASED: usize = 100;
/// Challenges of a preview, every one of which changes.
const N_PREVIEWED: usize = 1_000;
/// A tag that is pushed ends in the old or the new release within this time, or the bench fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Releases whose tag a webhook tells of; each waits until the calls before it are no storm any more.
const N_CALLED: usize = 10;
const SILENCE: Duration = Duration::from_secs(10);
const WEBHOOK: &str = "0123456789abcdef";
const SECRET: &str = "a secret of this bench";

const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

/// A remote with challenges, and a daemon over an engine in memory that follows its tags.
struct Scene {
    dir: tempfile::TempDir,
    n_challenges: usize,
    daemon: Daemon,
}

impl Scene {
    /// The remote is a folder, which the daemon watches.
    async fn new(n_challenges: usize, release: ReleaseConfig) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = Config::default();
        config.source.repo = remote(dir.path()).display().to_string();
        Self::open(dir, n_challenges, release, config).await
    }

    /// A daemon with the source and the rest of `config`, which hears nothing but what it is told.
    async fn open(
        dir: tempfile::TempDir,
        n_challenges: usize,
        release: ReleaseConfig,
        mut config: Config,
    ) -> Result<Self> {
        write(dir.path(), n_challenges, 0)?;
        config.data_dir = dir.path().join("data");
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
        self.is_read().await
    }

    /// Waits until the head of the branch is read.
    async fn is_read(&self) -> Result<()> {
        let head = self.git(&["rev-parse", "main"])?;
        let platform = self.platform();
        wait("the push to be read", || async {
            let seen = platform.source().await?.revision;
            Ok(seen.is_some_and(|seen| seen.to_string() == head))
        })
        .await
    }

    /// Waits until `tag`, which was pushed at `begin`, is what players have.
    async fn is_live(&self, tag: &str, begin: Instant) -> Result<()> {
        let platform = self.platform();
        loop {
            let active = platform.releases().await?.active.and_then(|(_, it)| it.tag);
            if active.is_some_and(|(name, _)| name.as_str() == tag) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!("{tag} does not go live");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The forge tells of a push.
    async fn call(&self) -> Result<()> {
        let headers = Headers::from([("x-gitlab-token".to_owned(), SECRET.into())]);
        match self.platform().webhook_called(WEBHOOK, &headers, b"{}").await {
            Called::Accepted => Ok(()),
            other => bail!("the webhook says {other:?}"),
        }
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
    let mut times = Vec::new();
    for nth in 1..=runs {
        scene.push(nth).await?;
        let name = format!("v1.{nth}.0");
        let begin = Instant::now();
        scene.tag(&name)?;
        scene.is_live(&name, begin).await?;
        times.push(begin.elapsed());
    }
    report.time("release, tag to live, 100 challenges", &times, "p95 < 500 ms");
    scene.daemon.stop().await;
    Ok(())
}

/// The same behind SSH: a forge calls the webhook after the tag, and nothing else tells of it. Beside
/// it what git itself takes to ask such a remote what it has.
pub(crate) async fn called(report: &mut Report, runs: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sshd = Sshd::start(&dir.path().join("sshd"))?;
    let secret_file = dir.path().join("webhook.secret");
    std::fs::write(&secret_file, SECRET)?;
    let mut config = Config::default();
    sshd.source(&remote(dir.path()), &mut config.source);
    config.source.webhook = WebhookConfig {
        kind: Some(WebhookKind::Gitlab),
        id: Some(WEBHOOK.to_owned()),
        secret_file: Some(secret_file),
        other_secret_file: None,
    };
    let url = config.source.repo.clone();
    let scene = Scene::open(dir, N_RELEASED, ReleaseConfig::default(), config).await?;
    let (mut times, mut floor) = (Vec::new(), Vec::new());
    for nth in 1..=runs.min(N_CALLED) {
        // Two calls in a row, as of a commit and its tag, after a silence.
        tokio::time::sleep(SILENCE).await;
        write(scene.dir.path(), N_RELEASED, nth)?;
        scene.call().await?;
        scene.is_read().await?;
        floor.push(sshd.list(&url)?);
        let name = format!("v1.{nth}.0");
        scene.tag(&name)?;
        let begin = Instant::now();
        scene.call().await?;
        scene.is_live(&name, begin).await?;
        times.push(begin.elapsed());
    }
    report.time("release, webhook to live over SSH, 100 challenges", &times, "p95 < 500 ms");
    report.time("  floor: git ls-remote over SSH", &floor, "");
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
