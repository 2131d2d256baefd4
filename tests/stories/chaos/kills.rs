//! The daemon is killed at every named point of what it does.
//!
//! An operation is done once while the names of the points it passes are written down; then it is
//! done again for each of them, with a trap there. Whatever was acknowledged before the daemon died
//! is promised, and has to hold after its next start.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::arena::{Arena, CHALLENGE, DEADLINE, End, Version};
use crate::support::until;

/// A probe is repeated until a service is up, so how often it runs is no property of an operation.
const REPEATED: &[&str] = &["engine.exec."];
/// How often what is repeated counts.
const MAX_REPEATS: u32 = 2;

/// How long what comes after an answer may still take.
const REST: Duration = Duration::from_secs(2);

/// What the daemon is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// To come up again after it was killed, with instances to adopt.
    Boot,
    /// To start an instance.
    Start,
    /// To stop one.
    Stop,
    /// To make one anew.
    Reset,
    /// To renew its lease.
    Renew,
    /// To grade a wrong answer and the right one, which ends the instance.
    Submit,
    /// To build what was pushed, and let it go live.
    Build,
    /// To let go live what was pushed and needs no image.
    Release,
}

/// A point, and which time that it is passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boundary {
    name: String,
    nth: u32,
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.nth)
    }
}

impl Boundary {
    /// Whether this is a side of an engine call.
    pub(super) fn is_of_engine(&self) -> bool {
        self.name.starts_with("engine.")
    }
}

impl Operation {
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::Boot,
        Self::Start,
        Self::Stop,
        Self::Reset,
        Self::Renew,
        Self::Submit,
        Self::Build,
        Self::Release,
    ];

    /// How it is called in the table.
    pub(super) fn name(self) -> String {
        format!("kill at {self:?}").to_lowercase()
    }

    /// Sees to what the operation is done to.
    async fn prepare(self, arena: &mut Arena) {
        match self {
            Self::Stop | Self::Reset | Self::Renew | Self::Submit => {
                arena.instance().await;
                arena.converged(DEADLINE).await;
            }
            Self::Boot => arena.daemon.kill9(),
            Self::Start | Self::Build | Self::Release => {}
        }
    }

    /// Does it; what is answered is promised.
    async fn perform(self, arena: &mut Arena) -> End {
        let id = arena.promises.live.first().cloned().unwrap_or_default();
        let path = format!("/instances/{id}");
        let is_answered = match self {
            Self::Boot => {
                arena.daemon.relaunch();
                true
            }
            Self::Start => {
                let body = json!({ "challenge_id": CHALLENGE });
                let reply = arena.red.try_post("/instances", body).await;
                reply.is_ok_and(|reply| {
                    arena.promises.live.insert(reply.expect_status(202).text("id"))
                })
            }
            Self::Stop => {
                // Without an answer nobody knows whether the wish was heard; both is right.
                arena.promises.live.remove(&id);
                let reply = arena.red.try_delete(&path).await;
                reply.is_ok_and(|reply| {
                    reply.expect_status(200);
                    arena.promises.gone.insert(id)
                })
            }
            Self::Reset => {
                let reply = arena.red.try_post(&format!("{path}/reset"), json!({})).await;
                reply.is_ok_and(|reply| {
                    let n_resets = reply.expect_status(202).body["resets"].as_u64();
                    arena.promises.resets.insert(id, n_resets.expect("resets are counted"));
                    true
                })
            }
            Self::Renew => {
                let reply = arena.red.try_post(&format!("{path}/renew"), json!({})).await;
                reply.is_ok_and(|reply| {
                    let end = reply.expect_status(200).body["expires_at"].as_f64();
                    arena.promises.leases.insert(id, end.expect("a lease has an end"));
                    true
                })
            }
            Self::Submit => submit(arena, &id).await,
            Self::Build => {
                arena.push(Version::OfImage);
                true
            }
            Self::Release => {
                arena.push(Version::OfWords);
                true
            }
        };
        if is_answered { arena.dead_or_converged().await } else { arena.must_have_died().await }
    }
}

/// Whether the daemon answered both times.
async fn submit(arena: &mut Arena, id: &str) -> bool {
    if arena.submit(id, "FLAG{of nobody}").await.is_none() {
        return false;
    }
    let ready = arena.red.try_get(&format!("/instances/{id}/status")).await;
    let Ok(state) = ready.map(|reply| reply.body) else { return false };
    let service = &state["attack_surface"]["services"][0];
    let (host, port) = (service["host"].as_str(), service["port"].as_u64());
    let (host, port) = (host.expect("it is usable"), port.expect("it is usable"));
    let url = format!("http://{host}:{port}/cgi-bin/flag");
    let flag = crate::support::fetch(&url).await.expect("a usable instance answers");
    // With its last question the instance ends; without an answer both is right.
    arena.promises.live.remove(id);
    let Some(verdict) = arena.submit(id, &flag).await else { return false };
    assert_eq!(verdict["correct"], true, "{verdict}");
    arena.promises.gone.insert(id.to_owned());
    true
}

/// Does the operation once and says which points it passes, in order.
pub(super) async fn trace(arena: &mut Arena, operation: Operation) -> Vec<Boundary> {
    operation.prepare(arena).await;
    let read = |arena: &Arena| fs::read_to_string(arena.file("trace")).unwrap_or_default();
    let before = read(arena).len();
    assert_eq!(operation.perform(arena).await, End::Done, "there is no trap");
    let passed = read(arena)[before..].to_owned();
    arena.tidy().await;
    let mut n_passed = BTreeMap::new();
    let mut boundaries = Vec::new();
    for name in passed.lines() {
        let nth = n_passed.entry(name).or_insert(0);
        *nth += 1;
        let is_repeated = REPEATED.iter().any(|prefix| name.starts_with(prefix));
        if !is_repeated || *nth <= MAX_REPEATS {
            boundaries.push(Boundary { name: name.to_owned(), nth: *nth });
        }
    }
    boundaries
}

/// Kills the daemon at `boundary` of the operation and starts it again; how long everything then
/// took to be in order. `None` when the operation came to its end without passing it.
pub(super) async fn kill_at(
    arena: &mut Arena,
    operation: Operation,
    boundary: &Boundary,
) -> Option<Duration> {
    operation.prepare(arena).await;
    let resident = arena.containers_of_resident();
    let trap = arena.file("trap");
    // Whole from its first moment: the daemon may read it at any time.
    let whole = arena.file("trap.whole");
    fs::write(&whole, boundary.to_string()).expect("the trap can be written");
    fs::rename(&whole, &trap).expect("the trap can be set");
    let mut end = operation.perform(arena).await;
    // What was asked for is there before its look ends, and the point may be in the rest of it.
    let closed = until("the trap closes", DEADLINE, || {
        std::future::ready(if trap.exists() { Err("it is open".to_owned()) } else { Ok(()) })
    });
    let _ = tokio::time::timeout(REST, closed).await;
    // It may close in this very moment: whoever takes the trap knows what comes next.
    if fs::remove_file(&trap).is_err() {
        end = arena.must_have_died().await;
    }
    if end == End::Done {
        arena.tidy().await;
        return None;
    }
    arena.daemon.buried();
    let begin = Instant::now();
    arena.daemon.restart().await;
    arena.converged(DEADLINE).await;
    let recovery = begin.elapsed();
    let kept = arena.containers_of_resident();
    assert_eq!(kept, resident, "who plays is not disturbed by a daemon that dies");
    arena.tidy().await;
    Some(recovery)
}
