//! What breaks around the daemon: one small type each, behind one trait.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::arena::{Arena, CHALLENGE, DEADLINE};
use crate::support::{PATIENCE, until};

/// How long what is broken stays so: longer than a busy timeout of ours (5 s), and than the engine
/// needs to find out that its containerd does not answer.
const BROKEN: Duration = Duration::from_secs(6);
/// Hours that a clock is set back: further than a lease has begun.
const BACK_HOURS: i64 = -30;
/// Hours that it is set forward: past the end of every lease.
const FORWARD_HOURS: i64 = 30;
/// Descriptors that a daemon without any has left, and connections that want one each.
const N_DESCRIPTORS_LEFT: u64 = 2;
const N_CONNECTIONS: usize = 48;

/// Something that breaks, and how it is mended.
#[async_trait(?Send)]
pub(super) trait Fault {
    /// How it is called in the table.
    fn name(&self) -> &'static str;

    /// Breaks it.
    async fn inject(&mut self, arena: &mut Arena);

    /// Mends it. What is to be repaired by the daemon alone needs nothing.
    async fn heal(&mut self, _arena: &mut Arena) {}
}

/// Every fault once, in a fixed order.
pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(KillEngine),
        Box::new(StopEngine),
        Box::new(KillContainerd),
        Box::new(StopContainerd),
        Box::new(RemoveContainer),
        Box::new(RemoveNetworks),
        Box::new(RemoveVolume),
        Box::new(RemoveImages),
        Box::new(FillDisk),
        Box::new(SetClock { name: "clock set back", hours: BACK_HOURS }),
        Box::new(SetClock { name: "clock set forward", hours: FORWARD_HOURS }),
        Box::new(LockDatabase { holder: None }),
        Box::new(TruncateDatabase),
        Box::new(ExhaustDescriptors { before: None, connections: Vec::new() }),
    ]
}

/// One round: a contest in order, the fault while players and authors go on, and the contest in
/// order again. How long that took from when it was mended.
pub(super) async fn trial(arena: &mut Arena, fault: &mut dyn Fault) -> Duration {
    let own = arena.instance().await;
    arena.submit(&own.id, "not the flag").await.expect("nothing is broken yet");
    arena.converged(DEADLINE).await;
    fault.inject(arena).await;
    arena.goes_on().await;
    fault.heal(arena).await;
    let recovery = arena.converged(DEADLINE).await + arena.plays_again(DEADLINE).await;
    arena.prove_isolation().await;
    arena.tidy().await;
    recovery
}

/// Lets what is broken be broken for a while: here a time, and not a fact, is what is wanted.
async fn broken() {
    tokio::time::sleep(BROKEN).await;
}

/// What an operator does by hand at the engine of the contest.
fn by_hand(arena: &Arena, arguments: &[&str]) -> String {
    arena.daemon.engine().docker(arguments).expect("the operator may do that")
}

/// The container `web` of red's instance.
fn web(arena: &Arena) -> String {
    let id = arena.promises.live.first().expect("red plays");
    let containers = arena.daemon.engine().containers_of(id);
    containers.into_iter().find(|name| name.ends_with("-web")).expect("it has a container `web`")
}

/// `kill -9` of dockerd, with its containerd and without a word to its containers.
struct KillEngine;

#[async_trait(?Send)]
impl Fault for KillEngine {
    fn name(&self) -> &'static str {
        "dockerd killed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        arena.engine_of_its_own().kill9();
    }

    async fn heal(&mut self, arena: &mut Arena) {
        arena.engine_of_its_own().boot().await;
    }
}

/// SIGSTOP of dockerd: its socket takes calls and never answers them.
struct StopEngine;

#[async_trait(?Send)]
impl Fault for StopEngine {
    fn name(&self) -> &'static str {
        "dockerd stopped"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        arena.engine_of_its_own().signal(Signal::STOP);
    }

    async fn heal(&mut self, arena: &mut Arena) {
        broken().await;
        arena.engine_of_its_own().signal(Signal::CONT);
    }
}

/// `kill -9` of containerd; dockerd starts another by itself.
struct KillContainerd;

#[async_trait(?Send)]
impl Fault for KillContainerd {
    fn name(&self) -> &'static str {
        "containerd killed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let pid = arena.engine_of_its_own().containerd().expect("the engine runs one");
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    }
}

/// SIGSTOP of containerd; dockerd kills it when it notices, unless it goes on before that.
struct StopContainerd;

#[async_trait(?Send)]
impl Fault for StopContainerd {
    fn name(&self) -> &'static str {
        "containerd stopped"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let pid = arena.engine_of_its_own().containerd().expect("the engine runs one");
        rustix::process::kill_process(pid, Signal::STOP).expect("it runs");
    }

    async fn heal(&mut self, arena: &mut Arena) {
        broken().await;
        if let Some(pid) = arena.engine_of_its_own().containerd() {
            // Dockerd may have replaced it.
            let _ = rustix::process::kill_process(pid, Signal::CONT);
        }
    }
}

/// `docker rm -f` of a container that players use.
struct RemoveContainer;

#[async_trait(?Send)]
impl Fault for RemoveContainer {
    fn name(&self) -> &'static str {
        "container removed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        by_hand(arena, &["rm", "--force", &web(arena)]);
    }
}

/// The networks of an instance: its containers run on, cut off.
struct RemoveNetworks;

#[async_trait(?Send)]
impl Fault for RemoveNetworks {
    fn name(&self) -> &'static str {
        "networks removed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        let networks = by_hand(arena, &["inspect", "--format", format, &web(arena)]);
        for network in networks.split_whitespace() {
            let format = "{{range .Containers}}{{.Name}} {{end}}";
            let there = by_hand(arena, &["network", "inspect", "--format", format, network]);
            for container in there.split_whitespace() {
                by_hand(arena, &["network", "disconnect", "--force", network, container]);
            }
            by_hand(arena, &["network", "rm", network]);
        }
    }
}

/// A volume of an instance, and the container that uses it: the engine refuses one without the
/// other.
struct RemoveVolume;

#[async_trait(?Send)]
impl Fault for RemoveVolume {
    fn name(&self) -> &'static str {
        "volume removed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let id = arena.promises.live.first().expect("red plays").clone();
        let label = format!("label=flagops.instance={id}");
        let listed = by_hand(arena, &["volume", "ls", "-q", "--filter", &label]);
        let volume = listed.lines().next().expect("the challenge has a volume").to_owned();
        let engine = arena.daemon.engine();
        // The daemon may be quicker than the operator; then both are tried again.
        until("the volume is removed", PATIENCE, || {
            let users = engine.docker(&["ps", "-aq", "--filter", &format!("volume={volume}")]);
            let removed = users.and_then(|users| {
                let users: Vec<_> = users.split_whitespace().collect();
                engine.docker(&[&["rm", "--force"], users.as_slice()].concat())?;
                engine.docker(&["volume", "rm", &volume])
            });
            std::future::ready(removed)
        })
        .await;
    }
}

/// The images of the version that is live, while the engine lets them go.
struct RemoveImages;

#[async_trait(?Send)]
impl Fault for RemoveImages {
    fn name(&self) -> &'static str {
        "images removed"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        // Of a version that nobody plays: the engine keeps what a container uses.
        arena.push(super::arena::Version::OfImage);
        arena.converged(DEADLINE).await;
        let row = arena.daemon.admin().challenge(CHALLENGE).await.expect("it is live");
        let images = row["images"].as_array().expect("a version has images");
        let n_removed = images
            .iter()
            .filter_map(|image| image["image"].as_str())
            .filter(|image| arena.daemon.engine().docker(&["rmi", "--force", image]).is_ok())
            .count();
        assert!(n_removed > 0, "no image could be removed: {row}");
    }
}

/// Not a byte is left where the engine keeps its data.
struct FillDisk;

#[async_trait(?Send)]
impl Fault for FillDisk {
    fn name(&self) -> &'static str {
        "disk full"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        arena.engine_of_its_own().fill_disk();
    }

    async fn heal(&mut self, arena: &mut Arena) {
        broken().await;
        arena.engine_of_its_own().free_disk();
    }
}

/// The wall clock jumps, and later back to the right time. A lease has as much left as before.
struct SetClock {
    name: &'static str,
    hours: i64,
}

impl SetClock {
    /// Sets the clock of the daemon ahead, and waits until a lease has `left` seconds.
    async fn set(arena: &Arena, ahead_millis: i64, left: f64) {
        let whole = arena.file("clock.whole");
        fs::write(&whole, ahead_millis.to_string()).expect("the clock can be written");
        fs::rename(&whole, arena.file("clock")).expect("the clock can be set");
        until("the lease has as much left as before", PATIENCE, || async {
            let now = left_of_lease(arena, ahead_millis).await?;
            // What passed meanwhile has passed.
            let is_kept = (left - 60.0..left + 1.0).contains(&now);
            if is_kept { Ok(()) } else { Err(format!("{now} s, and it was {left} s")) }
        })
        .await;
    }
}

/// What a lease of red's has left in seconds, with a clock that is ahead.
async fn left_of_lease(arena: &Arena, ahead_millis: i64) -> Result<f64, String> {
    let id = arena.promises.live.first().expect("red plays");
    let shown = arena.red.try_get(&format!("/instances/{id}")).await?.body;
    let end = shown["expires_at"].as_f64().ok_or_else(|| shown.to_string())?;
    #[expect(clippy::disallowed_methods, reason = "the time itself is what is tested")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    Ok(end - now.as_secs_f64() - ahead_millis as f64 / 1000.0)
}

#[async_trait(?Send)]
impl Fault for SetClock {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let left = left_of_lease(arena, 0).await.expect("it is there");
        Self::set(arena, self.hours * 3_600_000, left).await;
    }

    async fn heal(&mut self, arena: &mut Arena) {
        let left = left_of_lease(arena, self.hours * 3_600_000).await.expect("it is there");
        Self::set(arena, 0, left).await;
    }
}

/// Another program holds the database for longer than we wait for it.
struct LockDatabase {
    holder: Option<Connection>,
}

#[async_trait(?Send)]
impl Fault for LockDatabase {
    fn name(&self) -> &'static str {
        "database locked"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let path = arena.daemon.data_dir().join("flagops.db");
        let holder = Connection::open(path).expect("the database can be opened");
        holder.busy_timeout(PATIENCE).expect("a connection can wait");
        holder.execute_batch("BEGIN EXCLUSIVE").expect("the database can be locked");
        self.holder = Some(holder);
    }

    async fn heal(&mut self, _arena: &mut Arena) {
        broken().await;
        let holder = self.holder.take().expect("it was locked");
        holder.execute_batch("ROLLBACK").expect("a lock can be given up");
    }
}

/// Half of the database is gone while no daemon runs. The next one comes up all the same, or ends
/// with words about the file and what to do; what runs goes on; and the file as it was brings
/// everything back.
struct TruncateDatabase;

impl TruncateDatabase {
    const FILES: [&str; 3] = ["flagops.db", "flagops.db-wal", "flagops.db-shm"];

    fn copy(from: PathBuf, to: PathBuf) {
        for name in Self::FILES {
            let _ = fs::remove_file(to.join(name));
            if from.join(name).exists() {
                fs::copy(from.join(name), to.join(name)).expect("a file can be copied");
            }
        }
    }
}

#[async_trait(?Send)]
impl Fault for TruncateDatabase {
    fn name(&self) -> &'static str {
        "database truncated"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        arena.daemon.kill9();
        let (data, aside) = (arena.daemon.data_dir().to_owned(), arena.file("aside"));
        // The last one to close it folds the log in: else all that matters would be in there.
        let folded = Connection::open(data.join("flagops.db"))
            .and_then(|database| database.pragma_query_value(None, "user_version", |_| Ok(())));
        folded.expect("the database can be read");
        fs::create_dir_all(&aside).expect("a folder can be made");
        Self::copy(data.clone(), aside);
        let file = fs::File::options().write(true).open(data.join("flagops.db"));
        let file = file.expect("the database is there");
        let n_bytes = file.metadata().expect("a file has a size").len();
        file.set_len(n_bytes / 2).expect("a file can be cut");
        let resident = arena.containers_of_resident();
        let n_logged = arena.daemon.log().len();
        arena.daemon.relaunch();
        let url = format!("{}/readyz", arena.daemon.url());
        let anonymous = arena.daemon.anonymous();
        let daemon = &mut arena.daemon;
        let is_up = until("the daemon serves or has ended", PATIENCE, || {
            let (anonymous, url, is_running) =
                (anonymous.clone(), url.clone(), daemon.is_running());
            async move {
                match anonymous.at(&url).await {
                    _ if !is_running => Ok(false),
                    Ok(reply) if reply.status == 200 => Ok(true),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        if !is_up {
            let code = arena.daemon.ended().await;
            assert!(code.is_some_and(|code| code != 0), "it ends with an error: {code:?}");
            let log = arena.daemon.log();
            let said = &log[n_logged..];
            assert!(said.contains("flagops.db"), "the refusal names the file: {said}");
            assert!(said.contains("backup"), "the refusal names the next step: {said}");
        }
        assert_eq!(arena.containers_of_resident(), resident, "who plays is not disturbed");
    }

    async fn heal(&mut self, arena: &mut Arena) {
        arena.daemon.kill9();
        Self::copy(arena.file("aside"), arena.daemon.data_dir().to_owned());
        arena.daemon.restart().await;
    }
}

/// The daemon may open nothing more, and many connections wait.
struct ExhaustDescriptors {
    before: Option<Rlimit>,
    connections: Vec<TcpStream>,
}

impl ExhaustDescriptors {
    fn limit(arena: &Arena, limit: Rlimit) -> Rlimit {
        let pid = i32::try_from(arena.daemon.pid()).ok().and_then(Pid::from_raw);
        rustix::process::prlimit(pid, Resource::Nofile, limit).expect("root may set limits")
    }
}

#[async_trait(?Send)]
impl Fault for ExhaustDescriptors {
    fn name(&self) -> &'static str {
        "descriptors exhausted"
    }

    async fn inject(&mut self, arena: &mut Arena) {
        let process = PathBuf::from(format!("/proc/{}", arena.daemon.pid()));
        let n_open = fs::read_dir(process.join("fd")).expect("the daemon runs").count();
        let limits = fs::read_to_string(process.join("limits")).expect("the daemon runs");
        let line = limits.lines().find(|line| line.starts_with("Max open files"));
        let hard = line.and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
        let few = Rlimit { current: Some(n_open as u64 + N_DESCRIPTORS_LEFT), maximum: hard };
        self.before = Some(Self::limit(arena, few));
        let address = arena.daemon.url().replace("http://", "");
        self.connections =
            (0..N_CONNECTIONS).filter_map(|_| TcpStream::connect(&address).ok()).collect();
        assert!(!self.connections.is_empty(), "nobody could connect");
    }

    async fn heal(&mut self, arena: &mut Arena) {
        broken().await;
        self.connections.clear();
        Self::limit(arena, self.before.take().expect("the limit was set"));
    }
}
