//! A player's machine: a network namespace of its own in which a real `openvpn` or `wg-quick` runs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Finished, until};

/// How long one try of a client may take.
const HAND_WINDOW_SECS: &str = "6";
/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// The machine. It ends, with its tunnel, when it is dropped.
#[derive(Debug)]
pub(crate) struct Laptop {
    name: String,
    /// The first three numbers of the network between it and this host.
    subnet: String,
    folder: PathBuf,
    openvpn: Option<Child>,
    /// The profile that `wg-quick` made a tunnel of.
    wireguard: Option<PathBuf>,
}

impl Laptop {
    /// A machine that reaches this host, and nothing else, at [`Laptop::host`].
    ///
    /// # Panics
    /// With the way out, when this is not root.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::made(folder, |name| Finished::of(Command::new("ip").args(["netns", "add", name])))
    }

    /// As [`Laptop::new`], in the network namespace that process `pid` has.
    pub(crate) fn of(folder: &Path, pid: &str) -> Self {
        let attach =
            |name: &str| Finished::of(Command::new("ip").args(["netns", "attach", name, pid]));
        Self::made(folder, attach)
    }

    fn made(folder: &Path, make_namespace: impl FnOnce(&str) -> Finished) -> Self {
        assert!(
            rustix::process::getuid().is_root(),
            "this story makes a network namespace, which needs root: run it with sudo"
        );
        static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let n = (std::process::id() * 7 + turn) % 500;
        let laptop = Self {
            name: format!("folap{}-{turn}", std::process::id() % 100_000),
            subnet: format!("198.{}.{}", 18 + n / 250, n % 250),
            folder: folder.join(format!("laptop{turn}")),
            openvpn: None,
            wireguard: None,
        };
        fs::create_dir_all(&laptop.folder).expect("a folder can be made");
        make_namespace(&laptop.name).fine();
        laptop.plug_in();
        laptop
    }

    fn plug_in(&self) {
        let name = &self.name;
        let far = format!("{name}b");
        let (near, here, there) =
            (self.interface(), format!("{}/30", self.host()), format!("{}.2/30", self.subnet));
        for arguments in [
            vec!["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name],
            vec!["address", "add", &here, "dev", &near],
            vec!["link", "set", &near, "up"],
            vec!["-n", name, "address", "add", &there, "dev", &far],
            vec!["-n", name, "link", "set", &far, "up"],
            vec!["-n", name, "link", "set", "lo", "up"],
            vec!["-n", name, "route", "add", "default", "via", &self.host()],
        ] {
            Finished::of(Command::new("ip").args(arguments)).fine();
        }
    }

    fn interface(&self) -> String {
        format!("{}a", self.name)
    }

    /// The address of this host that it reaches.
    pub(crate) fn host(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// Runs a program on it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        Finished::of(&mut command)
    }

    /// A program on it, to be completed.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name));
        command
    }

    /// What it gets from `http://host:port/path`, if it gets anything within 3 s.
    pub(crate) fn get(&self, host: &str, port: u16, path: &str) -> Option<String> {
        let url = format!("http://{host}:{port}{path}");
        let done = self.run(&["curl", "--silent", "--fail", "--max-time", "3", &url]);
        (done.code == Some(0)).then_some(done.stdout)
    }

    /// Begins to connect with `profile`.
    pub(crate) fn dial(&mut self, profile: &str) {
        self.hang_up();
        let file = self.folder.join("profile.ovpn");
        fs::write(&file, profile).expect("a profile can be written");
        let log = File::create(self.log_file()).expect("the log can be written");
        let mut command = self.command();
        command.args(["openvpn", "--config"]).arg(&file);
        // A player's tunnel that fails is tried again soon.
        command.args(["--connect-retry", "1", "2", "--dev", "tun0"]);
        command.args(["--hand-window", HAND_WINDOW_SECS]);
        let log_too = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(log_too).stderr(log).spawn();
        self.openvpn = Some(child.expect("openvpn is installed"));
    }

    /// Connects with `profile`.
    ///
    /// # Panics
    /// With the client's log, when it does not.
    pub(crate) async fn connect(&mut self, profile: &str) {
        self.dial(profile);
        self.connected(1).await;
    }

    /// Makes a tunnel of a WireGuard profile; it is there before anybody answers.
    ///
    /// # Panics
    /// With what `wg-quick` says, when it does not take the profile.
    pub(crate) fn tunnel(&mut self, profile: &str) {
        self.hang_up();
        let file = self.folder.join(format!("{}.conf", self.tunnel_name()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut open = options.open(&file).expect("a profile can be written");
        open.write_all(profile.as_bytes()).expect("a profile can be written");
        self.wg_quick("up", &file).fine();
        self.wireguard = Some(file);
    }

    /// The interface of the tunnel that [`Self::tunnel`] makes.
    pub(crate) fn tunnel_name(&self) -> String {
        // The program that stands in for the kernel has a socket of this name for the whole machine.
        format!("{}w", self.name)
    }

    fn wg_quick(&self, what: &str, profile: &Path) -> Finished {
        let mut command = self.command();
        // What stays in the background must not keep our pipe open.
        command.args([
            "sh",
            "-c",
            r#"wg-quick "$0" "$1" >"$1.log" 2>&1 || { cat "$1.log" >&2; exit 1; }"#,
        ]);
        Finished::of(command.arg(what).arg(profile))
    }

    /// Waits until it has connected `n` times since it began.
    pub(crate) async fn connected(&self, n: usize) {
        until("the player is connected", CONNECT_PATIENCE, || {
            let n_now = self.n_connected();
            std::future::ready(if n_now >= n { Ok(()) } else { Err(self.log()) })
        })
        .await;
    }

    /// Waits until a try ended without a connection: refused, or never answered.
    ///
    /// # Panics
    /// With the client's log, when it got in.
    pub(crate) async fn refused(&self) {
        until("the player is refused", CONNECT_PATIENCE, || {
            let log = self.log();
            assert_eq!(self.n_connected(), 0, "{log}");
            let ends = ["AUTH_FAILED", "TLS key negotiation failed to occur"];
            let is_over = ends.iter().any(|end| log.contains(end));
            std::future::ready(if is_over { Ok(()) } else { Err(log) })
        })
        .await;
    }

    /// How often it connected since it began.
    pub(crate) fn n_connected(&self) -> usize {
        self.log().matches("Initialization Sequence Completed").count()
    }

    /// What the client says.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("openvpn.log")
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&mut self) {
        if let Some(mut child) = self.openvpn.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(profile) = self.wireguard.take() {
            let _ = self.wg_quick("down", &profile);
        }
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        self.hang_up();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = Command::new("ip").args(["link", "del", &self.interface()]).output();
    }
}
