//! A repository behind an `sshd` of its own on loopback: a remote that tells nobody what changed.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flagops::config::SourceConfig;

/// How long an `sshd` may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// It. Ends with the value.
pub(crate) struct Sshd {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Sshd {
    /// Listens, with keys that it puts into `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Only an `sshd` of root wants it, and only a boot makes it.
        std::fs::create_dir_all("/run/sshd").ok();
        for name in ["client", "host"] {
            let key = folder.join(name);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"];
            let made = Command::new("ssh-keygen").args(arguments).arg(&key).status()?;
            if !made.success() {
                bail!("ssh-keygen failed");
            }
        }
        std::fs::copy(folder.join("client.pub"), folder.join("authorized_keys"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let lines = [
            format!("Port {port}"),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("HostKey {}", folder.join("host").display()),
            format!("AuthorizedKeysFile {}", folder.join("authorized_keys").display()),
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n".to_owned(),
        ];
        std::fs::write(folder.join("sshd_config"), lines.join("\n"))?;
        let host = std::fs::read_to_string(folder.join("host.pub"))?;
        std::fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {host}"))?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-q", "-f"])
            .arg(folder.join("sshd_config"))
            .stdin(Stdio::null())
            .spawn()
            .context("`sshd` cannot be started; `scripts/setup-host` installs it")?;
        let sshd = Self { process, folder: folder.to_owned(), port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > PATIENCE {
                bail!("sshd does not listen on port {port}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(sshd)
    }

    /// `bare` as a daemon's source.
    pub(crate) fn source(&self, bare: &Path, source: &mut SourceConfig) {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        source.repo = format!("ssh://{user}@127.0.0.1:{}{}", self.port, bare.display());
        source.ssh_key = Some(self.folder.join("client"));
        source.known_hosts = Some(self.folder.join("known_hosts"));
    }

    /// How long git itself takes to ask what `url` has.
    pub(crate) fn list(&self, url: &str) -> Result<Duration> {
        let shown = |name: &str| self.folder.join(name).display().to_string();
        let command = format!(
            "ssh -F /dev/null -i '{}' -o IdentitiesOnly=yes -o UserKnownHostsFile='{}' -o StrictHostKeyChecking=yes",
            shown("client"),
            shown("known_hosts")
        );
        let begin = Instant::now();
        let output = Command::new("git")
            .args(["ls-remote", url])
            .env("GIT_SSH_COMMAND", command)
            .stderr(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("git ls-remote {url} failed");
        }
        Ok(begin.elapsed())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
