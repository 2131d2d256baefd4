//! A look at the container engine past the daemon: what is there, what was left, what an operator
//! does by hand.

use std::path::PathBuf;
use std::process::Command;

/// An engine, asked with its own command line.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// `None` is the engine that `docker` finds by itself.
    host: Option<String>,
}

/// What bears an installation's label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Names of containers, running or not.
    pub(crate) containers: Vec<String>,
    /// Names of networks.
    pub(crate) networks: Vec<String>,
    /// Names of volumes, the unnamed ones of answers among them.
    pub(crate) volumes: Vec<String>,
}

impl Engine {
    /// The engine of this machine.
    pub(crate) fn shared() -> Self {
        Self { host: None }
    }

    /// The socket of the engine of this machine.
    pub(crate) fn shared_socket() -> PathBuf {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        PathBuf::from(host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"))
    }

    /// The engine behind a socket.
    pub(crate) fn at(socket: &std::path::Path) -> Self {
        Self { host: Some(format!("unix://{}", socket.display())) }
    }

    /// Runs `docker …`; its standard output, or everything it said.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        let output =
            command.args(arguments).output().map_err(|error| format!("docker: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("docker {}: {}{}", arguments.join(" "), text.trim(), said.trim()))
    }

    /// # Panics
    /// With the way out, when the tests' base image is missing.
    pub(crate) fn require_busybox(&self) {
        if let Err(error) = self.docker(&["image", "inspect", "busybox:latest"]) {
            panic!(
                "stories need a container engine with the image `busybox:latest`; \
                 run `scripts/engine && scripts/base-images` first ({error})"
            );
        }
    }

    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let text = self.docker(arguments).expect("the engine answers a listing");
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Everything but images that bears the label of `installation`.
    pub(crate) fn left(&self, installation: &str) -> Left {
        let ours = format!("label=flagops.installation={installation}");
        let list = |what: &[&str], format: &str| {
            let mut arguments = what.to_vec();
            arguments.extend(["--filter", &ours, "--format", format]);
            self.lines(&arguments)
        };
        Left {
            containers: list(&["ps", "--all"], "{{.Names}}"),
            networks: list(&["network", "ls"], "{{.Name}}"),
            volumes: list(&["volume", "ls"], "{{.Name}}"),
        }
    }

    /// The names of the containers of one instance, running or not.
    pub(crate) fn containers_of(&self, instance: &str) -> Vec<String> {
        let label = format!("label=flagops.instance={instance}");
        self.lines(&["ps", "--all", "--filter", &label, "--format", "{{.Names}}"])
    }

    /// The ids of the containers of one instance: another id is another container.
    pub(crate) fn ids_of(&self, instance: &str) -> Vec<String> {
        let label = format!("label=flagops.instance={instance}");
        self.lines(&["ps", "--all", "--no-trunc", "--filter", &label, "--format", "{{.ID}}"])
    }

    /// Runs a program in a container: a player has a shell in it.
    pub(crate) fn inside(&self, container: &str, arguments: &[&str]) -> Result<String, String> {
        self.docker(&[&["exec", container], arguments].concat())
    }

    /// The address of a container on its network; on the first by name when there are several.
    pub(crate) fn address_of(&self, container: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let shown = self.docker(&["inspect", "--format", format, container]);
        let shown = shown.expect("the container is there");
        shown.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Whether a container can open a TCP connection.
    pub(crate) fn reaches(&self, container: &str, host: &str, port: u16) -> bool {
        let port = port.to_string();
        let call = ["timeout", "3", "nc", "-w", "2", host, &port, "-e", "true"];
        self.inside(container, &call).is_ok()
    }

    /// Removes everything that bears the label of `installation`, its images too.
    pub(crate) fn sweep(&self, installation: &str) {
        let ours = format!("label=flagops.installation={installation}");
        let sweeps: [(&[&str], &[&str]); 4] = [
            (&["ps", "-aq", "--filter"], &["rm", "-fv"]),
            (&["network", "ls", "-q", "--filter"], &["network", "rm"]),
            (&["volume", "ls", "-q", "--filter"], &["volume", "rm", "-f"]),
            (&["images", "-q", "--filter"], &["rmi", "-f"]),
        ];
        for (list, remove) in sweeps {
            let found = self.docker(&[list, &[ours.as_str()]].concat()).unwrap_or_default();
            let ids: Vec<_> = found.split_whitespace().collect();
            if !ids.is_empty() {
                // What cannot be removed now is shared with somebody; the label stays on it.
                let _ = self.docker(&[remove, ids.as_slice()].concat());
            }
        }
    }
}
