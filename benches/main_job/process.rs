//! A process of the binary that belongs to this benchmark: a platform or a node, on the real engine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Runs until it is dropped, and then nothing is left of what it made.
pub(crate) struct Process {
    command: Command,
    child: Child,
    data: PathBuf,
    port: u16,
}

impl Process {
    /// `flagops serve` on the bare repository `remote`, which keeps its things in `data`.
    pub(crate) fn serve(remote: &Path, data: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let defaults = [
            ("FLAGOPS_NETWORK__POOL", "10.93.0.0/16"),
            ("FLAGOPS_NETWORK__FIRST_PORT", "30000"),
            ("FLAGOPS_NETWORK__LAST_PORT", "30999"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_flagops"));
        command.args(["serve", "--repo"]).arg(remote).envs(defaults);
        Self::start(command, data, variables)
    }

    /// `flagops node` of the platform at `platform`.
    pub(crate) fn node(
        platform: &str,
        invite: &str,
        data: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flagops"));
        command.args(["node", "--platform", platform]).env("FLAGOPS_INVITE", invite);
        Self::start(command, data, variables)
    }

    fn start(mut command: Command, data: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .env("FLAGOPS_NETWORK__N_READY", "12")
            .envs(variables.iter().copied());
        let child = spawn(&mut command, data)?;
        Ok(Self { command, child, data: data.to_owned(), port })
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The administrator's token.
    pub(crate) fn admin_token(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.data.join("admin.token"));
        Ok(text.context("the platform has begun")?.trim().to_owned())
    }

    /// Ends it; what it started keeps running.
    pub(crate) async fn end(&mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        while self.child.try_wait()?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts it again on the same data, without waiting.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&mut self.command, &self.data)?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        sweep(&self.data);
    }
}

fn spawn(command: &mut Command, data: &Path) -> Result<Child> {
    let log = std::fs::File::create(data.with_extension("log"))?;
    Ok(command.stdout(Stdio::null()).stderr(log).spawn()?)
}

/// Removes everything that the daemon with this data directory made and left.
fn sweep(data: &Path) {
    let Ok(installation) = std::fs::read_to_string(data.join("installation")) else { return };
    let installation = installation.trim();
    let label = format!("label=flagops.installation={installation}");
    let table = installation.get(..8).unwrap_or_default();
    let script = format!(
        "docker ps -aq --filter {label} | xargs -r docker rm -fv; \
         docker network ls -q --filter {label} | xargs -r docker network rm; \
         docker images -q --filter {label} | sort -u | xargs -r docker rmi -f; \
         nft delete table inet flagops_{table}"
    );
    let _ = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
