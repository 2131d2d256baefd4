//! The real binary as a child process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Client, Engine, Left, PATIENCE, Rows, until};
use crate::support::slot::Slot;

/// How long a daemon of a story that is over may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// What a daemon is started with.
#[derive(Debug)]
pub(crate) struct Settings {
    slot: Slot,
    data_dir: PathBuf,
    /// Dotted keys and their TOML values.
    keys: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    /// What runs the binary, e.g. `nsenter …`; empty is nothing.
    runner: Vec<String>,
    engine: Engine,
    address: String,
    /// What it is: `serve` or `node`.
    role: &'static str,
}

impl Settings {
    /// Settings that are quick and meet no other daemon; everything lies below `folder`.
    pub(crate) fn new(folder: &Path, repo: &str) -> Self {
        let slot = Slot::take();
        let (first, last) = slot.published();
        let listen = format!("127.0.0.1:{}", slot.listen_port());
        let pool = slot.pool();
        let settings = Self {
            slot,
            data_dir: folder.join("data"),
            keys: BTreeMap::new(),
            environment: BTreeMap::new(),
            runner: Vec::new(),
            engine: Engine::shared(),
            address: listen.clone(),
            role: "serve",
        };
        settings
            .text("source.repo", repo)
            .number("source.poll_secs", 1)
            .text("listen", &listen)
            .text("network.pool", &pool)
            .text("network.wall", "off")
            .number("network.n_ready", 2)
            .number("network.first_port", u32::from(first))
            .number("network.last_port", u32::from(last))
            .number("limits.instances_per_node", 40)
            .number("limits.start_deadline_secs", 60)
            // The disk of a machine that runs tests may be fuller than an operator would like.
            .number("gc.high_percent", 100)
            .text("log.filter", "info,flagops=debug,flagops::api=info")
    }

    /// Sets a key to a text.
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), format!("{value:?}"));
        self
    }

    /// Sets a key to a number.
    pub(crate) fn number(mut self, key: &str, value: u32) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets a key to yes.
    pub(crate) fn yes(mut self, key: &str) -> Self {
        self.keys.insert(key.to_owned(), "true".to_owned());
        self
    }

    /// Sets a key to a list of texts.
    pub(crate) fn list(mut self, key: &str, values: &[&str]) -> Self {
        self.keys.insert(key.to_owned(), format!("{values:?}"));
        self
    }

    /// Sets a variable of the daemon's environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Uses another data directory than the story's.
    pub(crate) fn data_dir(mut self, path: PathBuf) -> Self {
        self.data_dir = path;
        self
    }

    /// Uses an engine of the story's own, in a network namespace that `runner` enters, where
    /// `address` is reachable from here.
    pub(crate) fn elsewhere(mut self, engine: Engine, runner: Vec<String>, address: &str) -> Self {
        (self.engine, self.runner) = (engine, runner);
        self.address = format!("{address}:{}", self.slot.listen_port());
        let listen = self.address.clone();
        self.text("listen", &listen)
            .text("network.publish_address", address)
            .text("network.public_host", address)
    }

    /// A node that joins `platform` with `invite`.
    pub(crate) fn node_of(mut self, platform: &str, invite: &str) -> Self {
        self.role = "node";
        let own = format!("http://{}", self.address);
        self.variable("FLAGOPS_INVITE", invite)
            .text("node.platform", platform)
            .text("node.public_url", &own)
            .number("node.heartbeat_secs", 1)
            .number("node.capacity", 20)
    }

    /// Sets a key to no.
    pub(crate) fn no(mut self, key: &str) -> Self {
        self.keys.insert(key.to_owned(), "false".to_owned());
        self
    }

    /// Where the daemon will listen.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// `flagops serve` with these settings, not yet running.
    pub(crate) fn serve_command(&self) -> Command {
        let file =
            self.data_dir.with_file_name(format!("flagops-{}.toml", self.slot.listen_port()));
        let lines: Vec<_> = self.keys.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
        fs::write(&file, lines.concat()).expect("the settings can be written");
        let mut command = command(&self.runner);
        command.arg(self.role).arg("--config").arg(file).arg("--data-dir").arg(&self.data_dir);
        command.envs(&self.environment);
        command
    }
}

/// A daemon under test. Dropping it kills it and removes everything that bears its label.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: Settings,
    child: Option<Child>,
}

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(settings: Settings) -> Self {
        let mut daemon = Self::launch(settings);
        daemon.ready().await;
        daemon
    }

    /// Starts a daemon and does not wait.
    pub(crate) fn launch(settings: Settings) -> Self {
        let mut daemon = Self { settings, child: None };
        daemon.relaunch();
        daemon
    }

    /// Starts it again on the same data, without waiting.
    pub(crate) fn relaunch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("the log can be written");
        let mut command = self.settings.serve_command();
        let log_too = log.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(log_too).stderr(log);
        self.child = Some(command.spawn().expect("the binary under test can be run"));
    }

    /// Starts it again on the same data and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.relaunch();
        self.ready().await;
    }

    /// Starts it again with one more variable, without waiting.
    pub(crate) fn relaunch_with(&mut self, name: &str, value: &str) {
        self.settings.environment.insert(name.to_owned(), value.to_owned());
        self.relaunch();
        self.settings.environment.remove(name);
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let url = format!("http://{}/readyz", self.settings.address);
        let anonymous = Client::new(&self.settings.address, "");
        let child = self.child.as_mut().expect("it was started");
        let mut ended = None;
        until("the daemon is ready", PATIENCE, || {
            ended = child.try_wait().expect("a child can be asked");
            let (anonymous, url, ended) = (anonymous.clone(), url.clone(), ended);
            async move {
                assert!(ended.is_none(), "the daemon ended: {ended:?}");
                match anonymous.at(&url).await {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => Err(format!("{reply:?}")),
                    Err(error) => Err(error),
                }
            }
        })
        .await;
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Waits until it has ended by itself; its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it was started");
        let status = until("the daemon has ended by itself", PATIENCE, || {
            let ended = child.try_wait().expect("a child can be asked");
            std::future::ready(ended.ok_or_else(|| "still running".to_owned()))
        })
        .await;
        status.code()
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().expect("a child can be asked").is_none(),
            None => false,
        }
    }

    /// Ends it as a power cut would. It may have ended already.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Takes note that it was ended by its trap. Its first thread is dead; waits for the others.
    ///
    /// # Panics
    /// When it did not end by the trap's signal.
    pub(crate) fn buried(&mut self) {
        let mut child = self.child.take().expect("it was started");
        let status = child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(9), "only the trap ends it: {status:?}");
    }

    /// SIGTERM; waits for the end. Instances keep running.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it was started");
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal was not sent");
        let status = until("the daemon ends after SIGTERM", Duration::from_secs(40), || {
            let ended = child.try_wait().expect("a child can be asked");
            std::future::ready(ended.ok_or_else(|| "still running".to_owned()))
        })
        .await;
        status.code()
    }

    /// Ends it, however. First by asking: then nothing that it asked of the engine appears later.
    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let begin = std::time::Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < END_PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.kill9();
    }

    /// A client with the administrator's token.
    pub(crate) fn admin(&self) -> Client {
        let token = fs::read_to_string(self.settings.data_dir.join("admin.token"));
        let token = token.expect("the daemon has written the administrator's token");
        Client::new(&self.settings.address, token.trim())
    }

    /// A client with nobody's token.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.settings.address, "")
    }

    /// A client with a new token of team `name`.
    pub(crate) async fn team(&self, name: &str) -> Client {
        let body = serde_json::json!({ "team": name });
        let reply = self.admin().post("/admin/tokens", body).await;
        let token = reply.expect_status(201).text("token");
        Client::new(&self.settings.address, &token)
    }

    /// A client with a session of a new account.
    pub(crate) async fn account(&self, name: &str) -> Client {
        let body = serde_json::json!({
            "email": format!("{name}@example.org"), "password": "a dozen of characters",
            "display_name": name,
        });
        let reply = self.anonymous().post("/auth/register", body).await;
        Client::new(&self.settings.address, &reply.expect_status(200).text("token"))
    }

    /// `http://…` of the daemon.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.settings.address)
    }

    /// Runs `flagops …` against this daemon, as the administrator of this machine would.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Finished {
        let mut command = command(&self.settings.runner);
        command.env("FLAGOPS_URL", self.url()).arg("--data-dir").arg(&self.settings.data_dir);
        Finished::of(command.args(arguments))
    }

    /// The database's rows.
    pub(crate) fn rows(&self) -> Rows {
        Rows::of(&self.settings.data_dir)
    }

    /// Takes every instance out of the database of a daemon that does not run, as an old copy has it.
    pub(crate) fn forget_instances(&self) {
        assert!(self.child.is_none(), "it runs");
        Rows::forget_instances(&self.settings.data_dir);
    }

    /// What bears its label in the engine.
    pub(crate) fn left(&self) -> Left {
        self.settings.engine.left(&self.installation())
    }

    /// Its engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.settings.engine
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    /// Who it is in the engine.
    pub(crate) fn installation(&self) -> String {
        let text = fs::read_to_string(self.settings.data_dir.join("installation"));
        text.expect("the daemon has written its installation id").trim().to_owned()
    }

    /// Everything it logged so far, over all its lives.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Shows the end of its log, beside the panic of a story that failed.
    #[expect(clippy::print_stderr, reason = "the test harness shows it for failed tests only")]
    pub(crate) fn tell(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(80)..].join("\n");
        eprintln!("--- the end of the daemon's log ---\n{tail}\n---");
    }

    fn log_path(&self) -> PathBuf {
        self.settings.data_dir.with_extension("log")
    }

    /// Waits until `id` is live in a version whose tree or revision is new enough: players can
    /// start it.
    pub(crate) async fn live(&self, id: &str) {
        let admin = self.admin();
        until(&format!("{id} is live"), PATIENCE, || async {
            let row = admin.challenge(id).await?;
            if row["state"] == "live" { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }

    /// Waits until nothing of any instance is left: no container, no volume, no network but the
    /// empty ones of the stock, no row that is live, no port that is held.
    pub(crate) async fn nothing_left(&self) {
        until("nothing of any instance is left", PATIENCE, || async {
            let (rows, left) = (self.rows(), self.left());
            // The engine's own proof makes and removes a container now and then.
            let containers: Vec<_> =
                left.containers.iter().filter(|name| !name.contains("-probe")).collect();
            let strays: Vec<_> =
                left.networks.iter().filter(|name| !rows.stocked.contains(name)).collect();
            let is_clean = containers.is_empty()
                && left.volumes.is_empty()
                && strays.is_empty()
                && rows.live.is_empty()
                && rows.held.is_empty()
                && rows.ports.is_empty();
            if is_clean { Ok(()) } else { Err(format!("{left:?} {rows:?}")) }
        })
        .await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            self.tell();
        }
        if let Ok(installation) = fs::read_to_string(self.settings.data_dir.join("installation")) {
            let installation = installation.trim();
            self.settings.engine.sweep(installation);
            // The wall stays up while the daemon is down; only a story that ends takes it away.
            let table = format!("flagops_{}", installation.get(..8).unwrap_or_default());
            let _ = Command::new("nft").args(["delete", "table", "inet", &table]).output();
        }
    }
}

impl Finished {
    /// Runs `command` to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program can be run");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// # Panics
    /// Unless it ended with exit code 0.
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// The binary under test below `runner`, with none of our own `FLAGOPS_…` variables.
pub(crate) fn command(runner: &[String]) -> Command {
    let binary = env!("CARGO_BIN_EXE_flagops");
    let mut command = match runner.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLAGOPS_")) {
        command.env_remove(name);
    }
    command
}
