//! What many nodes cost their platform: starts over fifty of them, a heartbeat with what each runs, and
//! how soon everybody who listens hears that an instance is ready.
//!
//! The nodes are simulated: they answer at once, so that what is measured is the platform. That one is
//! real, with its database on the disk and its HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use flagops::node::wire::StartOrder;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::platform::Platform;
use crate::report::Report;

const CHALLENGE: &str = "SIM-001";
const N_NODES: usize = 50;
const N_INSTANCES: usize = 1_000;
/// A team has a hundred instances at most.
const N_TEAMS: usize = 20;
/// Requests at a time.
const AT_ONCE: usize = 16;
const N_ROUNDS: u64 = 5;
/// Streams with one token are 16 at most.
const N_TOKENS: usize = 13;
const N_STREAMS: usize = 16;
const N_EVENTS: usize = 20;

/// Measures and reports.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    let labels = "instance: {node: {kind: simulated}}\n";
    // It builds what goes live, and lacks the label: nothing is started on it.
    let platform = Platform::start_saying(CHALLENGE, labels).await?;
    let builds = platform.builds().await?;
    let mut nodes = Vec::new();
    for nth in 0..N_NODES {
        nodes.push(Simulated::join(&platform, nth, &builds).await?);
    }
    for node in &mut nodes {
        node.beat().await?;
    }
    starts(report, &platform).await?;
    heartbeats(report, &platform, &mut nodes).await?;
    fan_out(report, &platform, &nodes).await
}

/// Starts everything, some at a time.
async fn starts(report: &mut Report, platform: &Platform) -> Result<()> {
    let tokens = try_join_all((0..N_TEAMS).map(|nth| platform.token_of(format!("t{nth}")))).await?;
    let begin = Instant::now();
    let mut answers = futures_util::stream::iter(0..N_INSTANCES)
        .map(|nth| {
            let token = &tokens[nth % N_TEAMS];
            async move {
                let begin = Instant::now();
                let order = json!({"challenge_id": CHALLENGE, "another": true});
                platform.ask_as(token, "/api/v1/instances", &order).await?;
                anyhow::Ok(begin.elapsed())
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut took = Vec::new();
    while let Some(one) = answers.next().await {
        took.push(one?);
    }
    report.time(&format!("nodes, a start answered, {N_NODES} nodes"), &took, "");
    platform
        .until("all to be ready", || async { Ok(platform.n_ready().await? == N_INSTANCES) })
        .await?;
    let per_second = N_INSTANCES as f64 / begin.elapsed().as_secs_f64();
    report.number(
        "nodes, starts placed, ordered and ready, per second",
        format!("{per_second:.0}"),
        "",
    );
    Ok(())
}

/// Heartbeats of all, one after another: what each costs, seen from outside and in processor time.
async fn heartbeats(
    report: &mut Report,
    platform: &Platform,
    nodes: &mut [Simulated],
) -> Result<()> {
    let per_node = nodes.iter().map(Simulated::n_instances).max().unwrap_or_default();
    let (mut took, mut n) = (Vec::new(), 0_u32);
    let before = platform.cpu_time()?;
    for _ in 0..N_ROUNDS {
        for node in &mut *nodes {
            let begin = Instant::now();
            node.beat().await?;
            took.push(begin.elapsed());
            n += 1;
        }
    }
    let spent = platform.cpu_time()?.saturating_sub(before) / n;
    report.time(&format!("nodes, a heartbeat with {per_node} instances"), &took, "");
    let spent = format!("{:.2}", spent.as_secs_f64() * 1000.0);
    report.number("nodes, processor time of a heartbeat, ms", spent, "");
    Ok(())
}

/// From a node's answer until the last of many listeners has the event.
async fn fan_out(report: &mut Report, platform: &Platform, nodes: &[Simulated]) -> Result<()> {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let mut token = String::new();
    for _ in 0..N_TOKENS {
        token = platform.token_of("fans".to_owned()).await?;
        for _ in 0..N_STREAMS {
            listen(platform, &token, heard.clone()).await?;
        }
    }
    let mut took = Vec::new();
    for _ in 0..N_EVENTS {
        let order = json!({"challenge_id": CHALLENGE, "another": true});
        let started = platform.ask_as(&token, "/api/v1/instances", &order).await?;
        let id = started["id"].as_str().context("it has an id")?.to_owned();
        for _ in 0..N_TOKENS * N_STREAMS {
            let late = tokio::time::timeout(Duration::from_secs(20), hears.recv());
            late.await.context("somebody did not hear")?.context("somebody listens")?;
        }
        let last = Instant::now();
        let answered = nodes.iter().find_map(|node| node.answered_at(&id));
        took.push(last - answered.context("a node has it")?);
    }
    let n = N_TOKENS * N_STREAMS;
    report.time(&format!("nodes, from a node's answer to the last of {n} listeners"), &took, "");
    Ok(())
}

/// Follows the events of a token, and tells of each instance that is ready.
async fn listen(platform: &Platform, token: &str, heard: mpsc::UnboundedSender<()>) -> Result<()> {
    let url = format!("{}/api/v1/events?token={token}", platform.url());
    let stream = reqwest::Client::new().get(url).send().await?.error_for_status()?;
    let mut stream = stream.bytes_stream();
    tokio::spawn(async move {
        let mut text = String::new();
        while let Some(Ok(part)) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&part));
            while let Some((frame, rest)) = text.split_once("\n\n") {
                if frame.contains("event: instance_ready") && heard.send(()).is_err() {
                    return;
                }
                text = rest.to_owned();
            }
        }
    });
    Ok(())
}

/// A node that says of everything that it runs.
struct Simulated {
    client: reqwest::Client,
    platform: String,
    token: String,
    /// What it says; its instances are added.
    report: Value,
    n_beats: u64,
    kept: Kept,
}

/// When each order was answered, by the id of the instance.
type Kept = Arc<Mutex<BTreeMap<String, Instant>>>;

impl Simulated {
    async fn join(platform: &Platform, nth: usize, builds: &Value) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let order = json!({"url": url, "display_name": format!("sim-{nth}"), "capacity": 100,
            "labels": {"kind": "simulated"}});
        let admin = platform.admin_token()?;
        let joined = platform.ask_as(&admin, "/api/v1/nodes/register", &order).await?;
        let word = |key: &str| joined[key].as_str().map(str::to_owned).context("an identity");
        let kept = Kept::default();
        let routes = Router::new()
            .route("/api/v1/instances", post(start))
            .route("/api/v1/instances/{id}/status", get(status))
            .with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self {
            client: reqwest::Client::new(),
            platform: platform.url().to_owned(),
            token: word("node_token")?,
            report: json!({"node_id": word("node_id")?, "capacity": 100, "life": "one",
                "version": env!("CARGO_PKG_VERSION"), "architecture": "amd64", "runtimes": ["runc"],
                "memory_bytes": 1_u64 << 40, "cpu_millis": 64_000, "n_ports": 10_000, "builds": builds}),
            n_beats: 0,
            kept,
        })
    }

    fn n_instances(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn answered_at(&self, id: &str) -> Option<Instant> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    async fn beat(&mut self) -> Result<()> {
        self.n_beats += 1;
        let instances: Vec<_> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let said = |id| json!({"id": id, "status": "ready", "n_resets": 0, "n_restarts": 0});
            kept.keys().map(said).collect()
        };
        let mut beat = self.report.clone();
        beat["beat"] = self.n_beats.into();
        beat["instances"] = instances.into();
        let url = format!("{}/api/v1/nodes/heartbeat", self.platform);
        let answer = self.client.post(url).bearer_auth(&self.token).json(&beat).send().await?;
        if !answer.status().is_success() {
            bail!("a heartbeat was refused: {}", answer.text().await?);
        }
        Ok(())
    }
}

async fn start(State(kept): State<Kept>, Json(order): Json<StartOrder>) -> Json<Value> {
    let state = ready(&order.instance_id);
    kept.lock().unwrap_or_else(PoisonError::into_inner).insert(order.instance_id, Instant::now());
    Json(state)
}

async fn status(Path(id): Path<String>) -> Json<Value> {
    Json(ready(&id))
}

fn ready(id: &str) -> Value {
    let service =
        json!({"service_type": "http", "host": "127.0.0.1", "port": 30_000, "label": "web0"});
    json!({"instance_id": id, "status": "ready", "attack_surface": {"services": [service]}})
}
