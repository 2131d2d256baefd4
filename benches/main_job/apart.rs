//! What it costs that a platform and a node are two: a start through both, beside the node's own.
//!
//! Both nodes run on the one engine of this machine, and both clients ask in the same way: they order, and
//! look every few milliseconds until the instance is ready and its port answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::platform::Platform;
use crate::process::Process;
use crate::report::Report;

const CHALLENGE: &str = "ONE-001";
/// Between two questions of a waiting client.
const POLL: Duration = Duration::from_millis(2);
const BEHIND: [(&str, &str); 3] = [
    ("FLAGOPS_NETWORK__POOL", "10.93.0.0/16"),
    ("FLAGOPS_NETWORK__FIRST_PORT", "30000"),
    ("FLAGOPS_NETWORK__LAST_PORT", "30999"),
];
const ALONE: [(&str, &str); 3] = [
    ("FLAGOPS_NETWORK__POOL", "10.97.0.0/16"),
    ("FLAGOPS_NETWORK__FIRST_PORT", "31000"),
    ("FLAGOPS_NETWORK__LAST_PORT", "31999"),
];

/// Measures and reports.
pub(crate) async fn run(report: &mut Report, runs: usize) -> Result<()> {
    let (platform, _behind, _) = Platform::start_apart(&[(CHALLENGE, 1)], &BEHIND).await?;
    let (mut other, process, token) = Platform::start_apart(&[(CHALLENGE, 1)], &ALONE).await?;
    // It would take on what is started behind its back.
    other.stop_daemon().await?;
    let alone = NodeAlone { process, token, client: reqwest::Client::new() };
    let (mut through, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let started = platform.start_and_look(CHALLENGE, POLL).await?;
        through.push(started.took);
        platform.stop_instance(&started.id).await?;
        bare.push(alone.start_and_stop().await?);
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    report.ratio("nodes, start through the platform, beside the node", &through, &bare, f64::NAN);
    let overhead = format!("{:.1}", median(&through) - median(&bare));
    report.number("nodes, what the platform adds to a start", overhead, "< 10 ms");
    Ok(())
}

/// A node without its platform, asked as a platform would.
struct NodeAlone {
    process: Process,
    token: String,
    client: reqwest::Client,
}

impl NodeAlone {
    async fn start_and_stop(&self) -> Result<Duration> {
        let id = Uuid::new_v4().to_string();
        let begin = Instant::now();
        let order = json!({"challenge_id": CHALLENGE, "instance_id": id, "ttl": 600,
            "answers": {"flag": "FLAG{bench}"}});
        let url = format!("{}/api/v1/instances", self.process.url());
        let ordered = self.client.post(url).bearer_auth(&self.token).json(&order).send();
        // It answers when the instance is ready; a platform looks meanwhile.
        let ordered = tokio::spawn(ordered);
        let port = self.ready(&id).await?;
        super::floor::answer(port).await?;
        let took = begin.elapsed();
        ordered.await??.error_for_status()?;
        let url = format!("{}/api/v1/instances/{id}", self.process.url());
        let stopped = self.client.delete(url).bearer_auth(&self.token).send();
        stopped.await?.error_for_status()?;
        Ok(took)
    }

    async fn ready(&self, id: &str) -> Result<u16> {
        loop {
            let url = format!("{}/api/v1/instances/{id}/status", self.process.url());
            let answer = self.client.get(url).bearer_auth(&self.token).send().await?;
            let state: Value = answer.json().await?;
            match state["status"].as_str() {
                Some("ready") => {
                    let port = state["attack_surface"]["services"][0]["port"].as_u64();
                    return Ok(u16::try_from(port.context("it has a port")?)?);
                }
                Some("error") => bail!("instance {id} failed: {}", state["error"]),
                // Not known yet, or under way.
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}
