//! A container engine of a story's own, to be restarted, stopped and filled up.
//!
//! It lives in a network namespace of its own, so its address pools and packet filter rules never
//! meet those of the machine's engine. One pair of virtual interfaces leads there: what the daemon
//! and its instances publish on [`OwnEngine::address`] is reachable from the story.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{Engine, OwnRegistry, until};

/// How long an engine may take to answer after its start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What the engine keeps its data on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// The folder of the story.
    Ample,
    /// A file system in memory with this many MiB.
    Small(u32),
    /// A file system in a file, by a loop device, with this many MiB.
    Loop(u32),
}

/// An engine that ends, with everything in it, when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnEngine {
    folder: PathBuf,
    namespace: String,
    subnet: String,
    disk: Disk,
    /// gVisor, where it has it.
    sandbox: Option<PathBuf>,
    process: Option<Child>,
}

impl OwnEngine {
    /// Starts an engine below `folder` that has the image `busybox:latest`.
    ///
    /// # Panics
    /// With the way out, when this is not root.
    pub(crate) async fn start(folder: &Path, disk: Disk) -> Self {
        Self::start_with(folder, disk, None).await
    }

    /// The same, with gVisor as the container runtime `runsc`.
    ///
    /// # Panics
    /// With the way out, when there is none.
    pub(crate) async fn with_gvisor(folder: &Path) -> Self {
        let program = std::env::var_os("FLAGOPS_TEST_GVISOR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".run/gvisor/runsc"),
            PathBuf::from,
        );
        assert!(
            program.is_file(),
            "{} is missing: `scripts/test` fetches it, or name one in FLAGOPS_TEST_GVISOR",
            program.display()
        );
        Self::start_with(folder, Disk::Ample, Some(program)).await
    }

    async fn start_with(folder: &Path, disk: Disk, sandbox: Option<PathBuf>) -> Self {
        assert!(
            rustix::process::getuid().is_root(),
            "this story starts an engine of its own, which needs root: run it with sudo"
        );
        // Stories of parallel processes differ in their process, those of one process in their turn.
        static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let n = (std::process::id() * 7 + turn) % 60_000;
        let mut engine = Self {
            folder: folder.join("engine"),
            namespace: format!("fost{n}"),
            subnet: format!("10.{}.{}", 100 + n / 256 % 16, n % 256),
            disk,
            sandbox,
            process: None,
        };
        fs::create_dir_all(&engine.folder).expect("a folder can be made");
        engine.make_network();
        engine.boot().await;
        engine.load("busybox:latest");
        engine
    }

    fn make_network(&self) {
        let (name, subnet) = (&self.namespace, &self.subnet);
        let (near, far) = (format!("{name}a"), format!("{name}b"));
        let (here, there) = (format!("{subnet}.1/30"), format!("{}/30", self.address()));
        for arguments in [
            vec!["netns", "add", name],
            vec!["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name],
            vec!["address", "add", &here, "dev", &near],
            vec!["link", "set", &near, "up"],
            vec!["-n", name, "address", "add", &there, "dev", &far],
            vec!["-n", name, "link", "set", &far, "up"],
            vec!["-n", name, "link", "set", "lo", "up"],
        ] {
            run(Command::new("ip").args(arguments));
        }
    }

    /// Starts the engine, again or for the first time, and waits until it answers. One that ends
    /// instead is started again, as a service manager does: after a kill a dockerd may wait for the
    /// containerd of the one before it, which is just dying, and then gives up.
    pub(crate) async fn boot(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let data = self.folder.join("data");
        fs::create_dir_all(&data).expect("a folder can be made");
        if !is_mounted(&data) {
            self.mount(&data);
        }
        let engine = self.engine();
        until("the story's own engine answers", START_PATIENCE, || {
            let is_over = match &mut self.process {
                Some(child) => child.try_wait().expect("a child can be asked").is_some(),
                None => true,
            };
            if is_over {
                self.process = Some(self.spawn());
            }
            std::future::ready(engine.docker(&["version"]))
        })
        .await;
    }

    /// Starts the engine's process.
    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.folder.join("dockerd.log"));
        let log = log.expect("the log can be written");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        command.args(["unshare", "--mount", "--propagation", "slave", "dockerd"]);
        for (option, name) in
            [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            command.arg(option).arg(self.folder.join(name));
        }
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.args(["--insecure-registry", OwnRegistry::SUBNET]);
        if let Some(program) = &self.sandbox {
            command.arg("--add-runtime").arg(format!("runsc={}", program.display()));
        }
        let log_too = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(log_too).stderr(log).spawn();
        child.expect("dockerd is installed")
    }

    /// Mounts what the engine keeps its data on.
    fn mount(&self, data: &Path) {
        match self.disk {
            Disk::Ample => {}
            Disk::Small(mib) => {
                let size = format!("size={mib}m");
                run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(data));
            }
            Disk::Loop(mib) => {
                let image = self.folder.join("disk.ext4");
                let file = File::create(&image).expect("a file can be made");
                file.set_len(u64::from(mib) << 20).expect("a file can have holes");
                run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
                run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(data));
            }
        }
    }

    /// Leaves no byte free on the disk of the engine.
    pub(crate) fn fill_disk(&self) {
        let filler = File::create(self.filler()).expect("a file can be made");
        let block = vec![0x5a; 1 << 20];
        let mut n_bytes = block.len();
        // Ever smaller pieces, until not even one byte fits.
        while n_bytes > 0 {
            if (&filler).write_all(&block[..n_bytes]).is_err() {
                n_bytes /= 2;
            }
        }
    }

    /// Frees what [`Self::fill_disk`] took.
    pub(crate) fn free_disk(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("data/filler")
    }

    /// Sends `signal` to the engine.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("it runs");
        // It has not been waited for, so the number is still its own.
        rustix::process::kill_process(Pid::from_child(child), signal)
            .expect("a child can be sent a signal");
    }

    /// The containerd that the engine runs; the one before it while it starts another.
    pub(crate) fn containerd(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("exec/containerd/containerd.pid"));
        Pid::from_raw(text.ok()?.trim().parse().ok()?)
    }

    /// Ends the engine as a crash of it would, and waits for the end.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Loads what images that we bring are built from.
    pub(crate) fn has_debian(&self) {
        self.load("debian:bookworm-slim");
    }

    fn load(&self, image: &str) {
        let archive = self.folder.join("image.tar").display().to_string();
        let saved = Engine::shared().docker(&["save", "--output", &archive, image]);
        saved.expect("the shared engine has the image");
        self.engine().docker(&["load", "--input", &archive]).expect("the image can be loaded");
    }

    /// Stops the engine; its containers end with it.
    pub(crate) async fn halt(&mut self) {
        let mut child = self.process.take().expect("it runs");
        run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        until("the story's own engine has ended", START_PATIENCE, || {
            let ended = child.try_wait().expect("a child can be asked");
            std::future::ready(ended.ok_or_else(|| "still running".to_owned()))
        })
        .await;
    }

    /// Changes the size of a small disk.
    pub(crate) fn resize(&self, mib: u32) {
        let data = self.folder.join("data");
        let size = format!("remount,size={mib}m");
        run(Command::new("mount").args(["-o", &size]).arg(&data));
        // The engine has a mount namespace of its own, but it is the same file system.
    }

    /// Its command line.
    pub(crate) fn engine(&self) -> Engine {
        Engine::at(&self.socket())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// The address in its network namespace that is reachable from here.
    pub(crate) fn address(&self) -> String {
        format!("{}.2", self.subnet)
    }

    /// The address of this machine that is reachable from there.
    pub(crate) fn host(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// Leads what goes to `address` to this machine.
    pub(crate) fn route(&self, address: &str) {
        let (name, host) = (&self.namespace, self.host());
        run(Command::new("ip").args(["-n", name, "route", "add", address, "via", &host]));
    }

    /// Cuts the cable that leads there.
    pub(crate) fn cut(&self) {
        run(Command::new("ip").args(["link", "set", &format!("{}a", self.namespace), "down"]));
    }

    /// Mends the cable that [`Self::cut`] has cut.
    pub(crate) fn mend(&self) {
        run(Command::new("ip").args(["link", "set", &format!("{}a", self.namespace), "up"]));
    }

    /// Drops what comes in for `port` there: nobody here reaches it any more, and it reaches us.
    pub(crate) fn deafen(&self, port: &str) {
        self.filter("input", port);
    }

    /// Drops what goes out to `port` from there: it reaches nobody here any more, and is reached.
    pub(crate) fn mute(&self, port: &str) {
        self.filter("output", port);
    }

    fn filter(&self, hook: &str, port: &str) {
        let rules = format!(
            "add table inet story; \
             add chain inet story c {{ type filter hook {hook} priority -350 ; }}; \
             add rule inet story c tcp dport {port} drop"
        );
        let name = format!("--net=/run/netns/{}", self.namespace);
        run(Command::new("nsenter").args([&name, "nft", &rules]));
    }

    /// Takes away what [`Self::deafen`] and [`Self::mute`] did.
    pub(crate) fn unblock(&self) {
        let name = format!("--net=/run/netns/{}", self.namespace);
        run(Command::new("nsenter").args([&name, "nft", "delete table inet story"]));
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What runs a program in its network namespace.
    pub(crate) fn runner(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace)]
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let engine = self.engine();
        if self.process.is_some() {
            // A story that failed may have left them stopped.
            self.signal(Signal::CONT);
            if let Some(pid) = self.containerd() {
                let _ = rustix::process::kill_process(pid, Signal::CONT);
            }
        }
        if let Some(mut child) = self.process.take() {
            let ids = engine.docker(&["ps", "-aq"]).unwrap_or_default();
            let ids: Vec<_> = ids.split_whitespace().collect();
            let _ = engine.docker(&[&["rm", "-fv"], ids.as_slice()].concat());
            let pid = child.id().to_string();
            // It ends its containerd itself when it is asked to end.
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let _ = child.wait();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
        let _ =
            Command::new("ip").args(["link", "delete", &format!("{}a", self.namespace)]).output();
        let _ = Command::new("umount").args(["--lazy"]).arg(self.folder.join("data")).output();
    }
}

fn is_mounted(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").expect("Linux lists mounts");
    mounts.lines().any(|line| line.split(' ').nth(1) == folder.to_str())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
