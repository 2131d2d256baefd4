//! A registry of a story's own, which wants a password.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::http::web;
use super::{PATIENCE, until};

/// What it knows [`OwnRegistry::USERNAME`] by: bcrypt of [`OwnRegistry::PASSWORD`].
const HASH: &str = "$2b$04$3PxibG0TlnFdK3/58A2.3.FqpfKGoEHJYDB7EVOdIK83ZgbdSjftu";
/// Its port.
const PORT: u16 = 5000;

/// A registry on an address of its own of this machine; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnRegistry {
    address: String,
    log: PathBuf,
    process: Child,
}

impl OwnRegistry {
    /// Where they are: addresses for tests of equipment (RFC 2544).
    pub(crate) const SUBNET: &str = "198.18.0.0/15";
    /// Who may use it.
    pub(crate) const USERNAME: &str = "flagops";
    /// Their password.
    pub(crate) const PASSWORD: &str = "a-token-of-a-test";

    /// Starts one that keeps everything below `folder`.
    ///
    /// # Panics
    /// With the way out, when there is none to start.
    pub(crate) async fn start(folder: &Path) -> Self {
        let program = std::env::var_os("FLAGOPS_TEST_REGISTRY").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".run/registry/usr/bin/docker-registry"),
            PathBuf::from,
        );
        assert!(
            program.is_file(),
            "{} is missing: `scripts/test` fetches it, or name one in FLAGOPS_TEST_REGISTRY",
            program.display()
        );
        let n = std::process::id();
        // Laptops of other stories are below 198.19.250.
        let address = format!("198.19.{}.{}", 250 + (n / 254) % 6, 1 + n % 254);
        let added = Command::new("ip").args(["address", "add", &address, "dev", "lo"]).status();
        assert!(added.expect("`ip` is installed").success(), "{address} cannot be added");
        fs::create_dir_all(folder).expect("a folder can be made");
        let (htpasswd, config) = (folder.join("htpasswd"), folder.join("config.yml"));
        fs::write(&htpasswd, format!("{}:{HASH}\n", Self::USERNAME)).expect("it can be written");
        let text = serde_json::json!({
            "version": 0.1,
            "storage": { "filesystem": { "rootdirectory": folder.join("data") } },
            "http": { "addr": format!("{address}:{PORT}") },
            "auth": { "htpasswd": { "realm": "flagops", "path": htpasswd } },
        });
        fs::write(&config, text.to_string()).expect("it can be written");
        let log_file = folder.join("log");
        let log = File::create(&log_file).expect("the log can be written");
        let log_too = log.try_clone().expect("a file can be shared");
        let mut command = Command::new(program);
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(log).stderr(log_too);
        let process = command.spawn().expect("it can be started");
        let registry = Self { address, log: log_file, process };
        until("the registry answers", PATIENCE, || registry.get("/v2/")).await;
        registry
    }

    /// The address that machines have to reach.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A repository of it.
    pub(crate) fn repository(&self) -> String {
        format!("{}:{PORT}/ctf/flagops", self.address)
    }

    /// The tags of that repository.
    pub(crate) async fn tags(&self) -> Vec<String> {
        let tags = self.get("/v2/ctf/flagops/tags/list").await.expect("it lists its tags");
        let tags = tags["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
    }

    /// How often an image was given by its digest.
    pub(crate) fn n_pulls(&self) -> usize {
        let log = fs::read_to_string(&self.log).expect("it writes a log");
        let is_one = |line: &&str| {
            line.contains("\"GET /v2/ctf/flagops/manifests/sha256:")
                && line.contains(" HTTP/1.1\" 200 ")
        };
        log.lines().filter(is_one).count()
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let request = web().get(format!("http://{}:{PORT}{path}", self.address));
        let request = request.basic_auth(Self::USERNAME, Some(Self::PASSWORD));
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = Command::new("ip").args(["address", "delete", &self.address, "dev", "lo"]).output();
    }
}
