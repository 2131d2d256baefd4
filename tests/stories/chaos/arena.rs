//! A small contest that goes on while things break, and everything that must hold of it afterwards.
//!
//! One team plays an instance through all of it (the resident); another one starts, resets, submits
//! and stops. What the daemon said yes to is kept as a promise, and [`Arena::look`] compares all
//! promises, the rows, the engine and the packet filter in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Challenge, Client, Daemon, Disk, OwnEngine, PATIENCE, Ready, Stage, fetch, until,
};

/// The one challenge: two services, two networks, a volume and one port.
pub(super) const CHALLENGE: &str = "WEB-950";
const N_SERVICES: usize = 2;
const N_NETWORKS: usize = 2;

/// How long a contest may take to be in order again after the worst of it. A build that failed is
/// tried again after 15 s, then 60 s; an engine that failed, after 30 s at most.
pub(super) const DEADLINE: Duration = Duration::from_secs(180);

/// How long a player waits for an answer while something is broken.
const SHORT: Duration = Duration::from_secs(4);

/// Which engine the contest runs on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ground {
    /// The machine's, which nobody hurts.
    Shared,
    /// One of its own, on a small disk.
    Own,
}

/// How something ended that the daemon may not have lived through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was done, and all is in order.
    Done,
    /// The daemon died of its trap.
    Died,
}

/// What the daemon said yes to.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Instances that are to be usable.
    pub(super) live: BTreeSet<String>,
    /// Instances that are to be gone.
    pub(super) gone: BTreeSet<String>,
    /// Submissions that were graded, by id.
    pub(super) submissions: BTreeSet<String>,
    /// Resets of an instance.
    pub(super) resets: BTreeMap<String, u64>,
    /// Ends of leases, in seconds since 1970.
    pub(super) leases: BTreeMap<String, f64>,
    /// The newest push.
    pub(super) pushed: Option<String>,
}

/// See the file's header. Dropped in this order: the daemon before its engine.
pub(super) struct Arena {
    pub(super) daemon: Daemon,
    pub(super) own: Option<OwnEngine>,
    pub(super) stage: Stage,
    /// The team that acts.
    pub(super) red: Client,
    blue: Client,
    resident: Ready,
    resident_flag: String,
    wall: String,
    pub(super) promises: Promises,
    n_versions: u32,
}

impl Arena {
    /// A contest that is in order: the challenge is live, and the resident plays.
    pub(super) async fn open(ground: Ground) -> Self {
        let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "version 0")]).await;
        let own = match ground {
            Ground::Shared => None,
            Ground::Own => Some(OwnEngine::start(&stage.path(""), Disk::Loop(768)).await),
        };
        let mut settings = stage.settings();
        if let Some(own) = &own {
            settings = settings
                .elsewhere(own.engine(), own.runner(), &own.address())
                .text("engine.endpoint", &format!("unix://{}", own.socket().display()));
        }
        let at = |name: &str| stage.path(name).display().to_string();
        let settings = settings
            .text("network.wall", "auto")
            .number("network.check_secs", 0)
            .variable("FLAGOPS_TEST_TRACE", &at("trace"))
            .variable("FLAGOPS_TEST_KILL", &format!("@{}", at("trap")))
            .variable("FLAGOPS_TEST_CLOCK", &at("clock"));
        let daemon = Daemon::start(settings).await;
        daemon.live(CHALLENGE).await;
        let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
        let resident = blue.play(CHALLENGE).await;
        let resident_flag = resident.flag("/cgi-bin/flag").await;
        let wall = wall(&daemon, own.as_ref()).expect("the wall of the contest is up");
        let promises = Promises::default();
        Self {
            daemon,
            own,
            stage,
            red,
            blue,
            resident,
            resident_flag,
            wall,
            promises,
            n_versions: 0,
        }
    }

    /// A file of the contest, beside the data directory.
    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.stage.path(name)
    }

    /// The engine that may be hurt.
    pub(super) fn engine_of_its_own(&mut self) -> &mut OwnEngine {
        self.own.as_mut().expect("what hurts an engine has one of its own")
    }

    /// The containers of the resident: other ids are other containers.
    pub(super) fn containers_of_resident(&self) -> Vec<String> {
        self.daemon.engine().ids_of(&self.resident.id)
    }

    // ----------------------------------------------------------------------------- what players do

    /// An instance of red's that is usable; the one it has, or a new one.
    pub(super) async fn instance(&mut self) -> Ready {
        let id = match self.promises.live.first() {
            Some(id) => id.clone(),
            None => self.red.start(CHALLENGE).await,
        };
        self.promises.live.insert(id.clone());
        self.red.ready(&id).await
    }

    /// Sends an answer of red's to `instance`; `None` when nobody answered. A graded one is kept.
    pub(super) async fn submit(&mut self, instance: &str, answer: &str) -> Option<Value> {
        let body = json!({ "instance_id": instance, "question_id": "flag", "answer": answer });
        let asked = self.red.try_post("/submissions", body);
        let reply = tokio::time::timeout(SHORT, asked).await.ok()?.ok()?;
        if reply.status != 200 {
            return None;
        }
        self.promises.submissions.insert(reply.text("id"));
        Some(reply.body)
    }

    /// Pushes a version: of the image of a service, or of the words about it only.
    pub(super) fn push(&mut self, what: Version) {
        self.n_versions += 1;
        let (path, text) = match what {
            Version::OfImage => ("services/web/version", format!("version {}", self.n_versions)),
            Version::OfWords => ("metadata.yaml", {
                let files = Challenge::web_and_db(CHALLENGE, "").files;
                let said = format!("It is told for the {}th time.", self.n_versions);
                files["metadata.yaml"].replace("Says its flag to whoever asks.", &said)
            }),
        };
        self.stage.remote.write(&format!("WEB/{CHALLENGE}/{path}"), text);
        self.promises.pushed = Some(self.stage.remote.push(&format!("push {}", self.n_versions)));
    }

    /// What goes on while something is broken: a player submits and asks for another instance, an
    /// author pushes. Only what is acknowledged counts.
    pub(super) async fn goes_on(&mut self) {
        let live: Vec<_> = self.promises.live.iter().cloned().collect();
        for id in live {
            self.submit(&id, "not the flag").await;
        }
        self.push(Version::OfImage);
        // It becomes usable or fails with a reason; which of them depends on what is broken.
        let asked = self.red.try_post("/instances", json!({ "challenge_id": CHALLENGE }));
        let _ = tokio::time::timeout(SHORT, asked).await;
    }

    /// Stops all that red has, and waits until nothing of it is left.
    pub(super) async fn tidy(&mut self) {
        for (id, _) in self.daemon.rows().live {
            if id != self.resident.id {
                self.red.delete(&format!("/instances/{id}")).await;
                self.promises.live.remove(&id);
                self.promises.gone.insert(id);
            }
        }
        self.converged(DEADLINE).await;
    }

    // ------------------------------------------------------------------------------ what must hold

    /// Waits until everything is as it was asked for; how long that took. The promises that ended
    /// with it are forgotten.
    pub(super) async fn converged(&mut self, within: Duration) -> Duration {
        let begin = Instant::now();
        until("everything is as it was asked for", within, || self.look()).await;
        self.promises.gone.clear();
        begin.elapsed()
    }

    /// Waits until a player can start an instance again; how long that took.
    pub(super) async fn plays_again(&mut self, within: Duration) -> Duration {
        let begin = Instant::now();
        let id = until("a player can start an instance again", within, || async {
            let body = json!({ "challenge_id": CHALLENGE });
            let reply = self.red.try_post("/instances", body).await?;
            if reply.status != 202 {
                return Err(format!("{reply:?}"));
            }
            let path = format!("/instances/{}/status", reply.text("id"));
            until("the start has ended", PATIENCE, || async {
                let state = self.red.try_get(&path).await?.body;
                match state["status"].as_str() {
                    Some("ready") => Ok(Ok(reply.text("id"))),
                    Some("error") => Ok(Err(state.to_string())),
                    _ => Err(state.to_string()),
                }
            })
            .await
        })
        .await;
        self.promises.live.insert(id);
        begin.elapsed()
    }

    /// Waits until the daemon has died of its trap, or everything is as it was asked for.
    pub(super) async fn dead_or_converged(&mut self) -> End {
        let pid = self.daemon.pid();
        let end = until("the daemon is dead, or all is as it was asked for", DEADLINE, || async {
            let seen = self.look().await;
            if is_dead(pid) { Ok(End::Died) } else { seen.map(|()| End::Done) }
        })
        .await;
        if end == End::Done {
            self.promises.gone.clear();
        }
        end
    }

    /// Waits until the daemon, which broke a connection off, has died.
    pub(super) async fn must_have_died(&self) -> End {
        let pid = self.daemon.pid();
        until("the daemon that broke off is dead", PATIENCE, || {
            std::future::ready(if is_dead(pid) { Ok(End::Died) } else { Err("it runs".to_owned()) })
        })
        .await
    }

    /// One look at everything; `Err` is the first thing that is not as it has to be.
    pub(super) async fn look(&self) -> Result<(), String> {
        let live = self.rows_are_right()?;
        for id in &live {
            self.is_usable(id).await?;
        }
        self.promises_are_kept(&live).await?;
        self.nothing_leaked(&live)?;
        let wall = wall(&self.daemon, self.own.as_ref())?;
        if wall == self.wall { Ok(()) } else { Err(format!("the wall is another: {wall}")) }
    }

    /// The instances that are live; every row of one is a usable one.
    fn rows_are_right(&self) -> Result<BTreeSet<String>, String> {
        let rows = self.daemon.rows();
        if rows.live.iter().any(|(_, phase)| phase != "ready") || !rows.building.is_empty() {
            return Err(format!("something is under way: {rows:?}"));
        }
        let live: BTreeSet<_> = rows.live.into_iter().map(|(id, _)| id).collect();
        if rows.held.len() != N_NETWORKS * live.len() || rows.ports.len() != live.len() {
            let (held, ports) = (rows.held, rows.ports);
            return Err(format!("{live:?} hold networks {held:?} and ports {ports:?}"));
        }
        Ok(live)
    }

    /// Whether an instance says that it is ready, answers over the network, and what it answers is
    /// the flag that counts.
    async fn is_usable(&self, id: &str) -> Result<(), String> {
        let is_resident = id == self.resident.id;
        let team = if is_resident { &self.blue } else { &self.red };
        let state = team.try_get(&format!("/instances/{id}/status")).await?.body;
        let service = &state["attack_surface"]["services"][0];
        let (Some(host), Some(port)) = (service["host"].as_str(), service["port"].as_u64()) else {
            return Err(format!("{id} has no surface: {state}"));
        };
        let flag = fetch(&format!("http://{host}:{port}/cgi-bin/flag")).await?;
        if is_resident && flag != self.resident_flag {
            return Err(format!("the resident's flag is {flag:?} now"));
        }
        let path = format!("/instances/{id}/verify-answer");
        let checked = team.try_post(&path, json!({ "answer": flag })).await?.body;
        if checked["correct"] == true { Ok(()) } else { Err(format!("{id}: {flag:?} {checked}")) }
    }

    async fn promises_are_kept(&self, live: &BTreeSet<String>) -> Result<(), String> {
        let promised = &self.promises;
        if !live.contains(&self.resident.id) || !promised.live.is_subset(live) {
            return Err(format!("of {:?}, only {live:?} are live", promised.live));
        }
        if let Some(id) = promised.gone.iter().find(|id| live.contains(*id)) {
            return Err(format!("{id} is to be gone"));
        }
        let page = self.red.try_get("/submissions?limit=1000").await?.body;
        let rows = page["items"].as_array().ok_or_else(|| page.to_string())?;
        let known: BTreeSet<_> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        let lost: Vec<_> =
            promised.submissions.iter().filter(|id| !known.contains(id.as_str())).collect();
        if !lost.is_empty() {
            return Err(format!("acknowledged submissions are lost: {lost:?}"));
        }
        for id in &promised.live {
            let shown = self.red.try_get(&format!("/instances/{id}")).await?.body;
            let n_resets = promised.resets.get(id).copied().unwrap_or(0);
            let end = promised.leases.get(id).copied().unwrap_or(0.0);
            if shown["resets"].as_u64() < Some(n_resets) || shown["expires_at"].as_f64() < Some(end)
            {
                return Err(format!("{n_resets} resets and a lease until {end}: {shown}"));
            }
        }
        let row = self.daemon.admin().challenge(CHALLENGE).await?;
        let is_live = row["state"] == "live"
            && promised.pushed.as_ref().is_none_or(|pushed| row["live"]["revision"] == **pushed);
        if is_live { Ok(()) } else { Err(row.to_string()) }
    }

    /// Whether everything in the engine that bears our label belongs to a live instance, or to the
    /// stock of networks.
    fn nothing_leaked(&self, live: &BTreeSet<String>) -> Result<(), String> {
        let ours = format!("label=flagops.installation={}", self.daemon.installation());
        let list = |what: &[&str], format: &str| {
            let wish = [what, &["--filter", &ours, "--format", format]].concat();
            let text = self.daemon.engine().docker(&wish)?;
            Ok::<_, String>(text.lines().map(str::to_owned).collect::<Vec<_>>())
        };
        let kind = r#"{{.Label "flagops.kind"}} {{.Label "flagops.instance"}} "#;
        let containers = list(&["ps", "--all"], &format!("{kind}{{{{.Names}}}}"))?;
        let volumes = list(&["volume", "ls"], &format!("{kind}{{{{.Name}}}}"))?;
        let unused = list(&["volume", "ls", "--filter", "dangling=true"], "{{.Name}}")?;
        let networks = list(&["network", "ls"], "{{.Name}}")?;

        // The engine's own proof makes and removes a container now and then.
        let containers: Vec<_> =
            containers.iter().filter(|line| !line.starts_with("probe ")).collect();
        let is_known = |line: &str| live.iter().any(|id| line.contains(id.as_str()));
        let rows = self.daemon.rows();
        let strays: Vec<&String> = containers
            .iter()
            .copied()
            .filter(|line| !is_known(line))
            .chain(volumes.iter().filter(|line| line.starts_with("volume ") && !is_known(line)))
            .chain(&unused)
            .chain(
                networks.iter().filter(|it| !rows.stocked.contains(it) && !rows.held.contains(it)),
            )
            .collect();
        if !strays.is_empty() {
            return Err(format!("left over: {strays:?} beside {live:?}"));
        }
        let n_wanted = N_SERVICES * live.len();
        let n_there = containers.len();
        if n_there == n_wanted { Ok(()) } else { Err(format!("{n_wanted} wanted: {containers:?}")) }
    }

    /// Sends packets from inside of an instance: to its own service, and to the resident's.
    ///
    /// # Panics
    /// When the second arrives.
    pub(super) async fn prove_isolation(&mut self) {
        let own = self.instance().await;
        let engine = self.daemon.engine();
        let web = |id: &str| {
            let containers = engine.containers_of(id);
            let web = containers.iter().find(|name| name.ends_with("-web"));
            web.expect("it has a container `web`").clone()
        };
        let (from, to) = (web(&own.id), web(&self.resident.id));
        let other = engine.address_of(&to);
        assert!(engine.reaches(&from, "db", 6379), "an instance reaches its own service");
        assert!(engine.reaches(&to, &other, 8080), "that is the resident's address");
        assert!(!engine.reaches(&from, &other, 8080), "an instance reaches another at {other}");
    }
}

/// What an author changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    /// A file that is part of an image.
    OfImage,
    /// A description: no image changes, and the version goes live at once.
    OfWords,
}

/// The wall as the kernel has it.
fn wall(daemon: &Daemon, own: Option<&OwnEngine>) -> Result<String, String> {
    let mut words = own.map(OwnEngine::runner).unwrap_or_default();
    let table = format!("flagops_{}", &daemon.installation()[..8]);
    let nft = ["nft", "--stateless", "list", "table", "inet", &table];
    words.extend(nft.map(str::to_owned));
    let output = Command::new(&words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("nft: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Whether a child has ended; nobody has waited for it yet.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // The name of the program stands in parentheses before the state.
    stat.map_or(true, |text| text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}
