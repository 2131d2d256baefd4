//! The daemon dies at any instruction, and the next one brings everything to order: what was asked
//! for is ready or gone, and nothing is left behind.
//!
//! In a debug build `FLAGOPS_TEST_KILL=before:N` (or `after:N`) ends the daemon like a power cut at
//! its nth changing engine call of that life. One data directory lives through all of it, so every
//! point also has to cope with what the points before it left.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Challenge, Client, Daemon, PATIENCE, Ready, Stage, until};

/// The variable of the trap.
const TRAP: &str = "FLAGOPS_TEST_KILL";
const CHALLENGE: &str = "WEB-301";
/// More changing engine calls than one start and one stop of two services have.
const MAX_CALLS: u32 = 40;
/// Kills at times nobody chose, of each kind.
const N_RANDOM: u32 = 4;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    /// From `FLAGOPS_TEST_SEED`, or always the same.
    fn seeded() -> Self {
        let seed = std::env::var("FLAGOPS_TEST_SEED").ok().and_then(|text| text.parse().ok());
        Self(seed.unwrap_or(20_261_121))
    }

    /// A time up to `most`.
    fn delay(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        most.mul_f64((self.0 % 1000) as f64 / 1000.0)
    }
}

/// The daemon that dies again and again, and a team that plays meanwhile.
struct Victim {
    daemon: Daemon,
    red: Client,
    n_kills: u32,
}

impl Victim {
    async fn new(stage: &Stage) -> Self {
        let daemon = stage.serve().await;
        daemon.live(CHALLENGE).await;
        let red = daemon.team("red").await;
        Self { daemon, red, n_kills: 0 }
    }

    /// Asks for an instance; `None` when the daemon died before it answered.
    async fn ask(&self) -> Option<String> {
        let body = json!({ "challenge_id": CHALLENGE });
        let reply = self.red.try_post("/instances", body).await.ok()?;
        Some(reply.expect_status(202).text("id"))
    }

    /// Waits until the daemon is dead, or instance `id` is ready.
    async fn dead_or_ready(&mut self, id: &str) -> Seen {
        let red = self.red.clone();
        let daemon = &mut self.daemon;
        until(&format!("the daemon is dead or {id} is ready"), PATIENCE, || {
            let (red, is_running) = (red.clone(), daemon.is_running());
            async move {
                if !is_running {
                    return Ok(Seen::Dead);
                }
                let reply = red.try_get(&format!("/instances/{id}/status")).await?;
                let is_ready = reply.body["status"] == "ready";
                if is_ready { Ok(Seen::Alive) } else { Err(reply.body.to_string()) }
            }
        })
        .await
    }

    /// The next life, without a trap: everything that was asked for becomes ready and shows a
    /// flag that is right, then is stopped, and nothing is left.
    async fn recover(&mut self) {
        self.n_kills += 1;
        self.daemon.restart().await;
        let rows = self.daemon.rows();
        for (id, phase) in &rows.live {
            if phase == "removing" {
                self.red.gone(id).await;
                continue;
            }
            let instance = self.red.ready(id).await;
            self.prove(&instance).await;
            self.red.stop(id).await;
        }
        self.daemon.nothing_left().await;
    }

    /// Its flag is there, and is the one that counts.
    async fn prove(&self, instance: &Ready) {
        let flag = instance.flag("/cgi-bin/flag").await;
        let body = json!({ "answer": flag });
        let path = format!("/instances/{}/verify-answer", instance.id);
        let checked = self.red.post(&path, body).await;
        assert_eq!(checked.body["correct"], true, "the answer survived the crash");
    }

    /// One life with the trap at `point`: a start and a stop. Whether the trap closed.
    async fn live_with(&mut self, point: &str) -> bool {
        self.daemon.stop().await;
        self.daemon.relaunch_with(TRAP, point);
        let address = self.daemon.url();
        let anonymous = self.daemon.anonymous();
        let daemon = &mut self.daemon;
        // It may die before it is ready: filling the stock are changing calls, too.
        let begun = until("the daemon is dead or ready", PATIENCE, || {
            let (anonymous, url) = (anonymous.clone(), format!("{address}/readyz"));
            let is_running = daemon.is_running();
            async move {
                if !is_running {
                    return Ok(Seen::Dead);
                }
                match anonymous.at(&url).await {
                    Ok(reply) if reply.status == 200 => Ok(Seen::Alive),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        let seen = match begun {
            Seen::Dead => Seen::Dead,
            Seen::Alive => self.start_and_stop().await,
        };
        if seen == Seen::Dead {
            self.daemon.buried();
        }
        seen == Seen::Dead
    }

    async fn start_and_stop(&mut self) -> Seen {
        let Some(id) = self.ask().await else { return self.must_be_dead().await };
        if self.dead_or_ready(&id).await == Seen::Dead {
            return Seen::Dead;
        }
        if self.red.try_delete(&format!("/instances/{id}")).await.is_err() {
            return self.must_be_dead().await;
        }
        // Gone for its owner is not gone from the engine: the last calls come after it.
        let daemon = &mut self.daemon;
        until("the daemon is dead or the instance's row has ended", PATIENCE, || {
            let seen = if !daemon.is_running() {
                Ok(Seen::Dead)
            } else if daemon.rows().live.is_empty() {
                Ok(Seen::Alive)
            } else {
                Err(format!("{:?}", daemon.rows()))
            };
            std::future::ready(seen)
        })
        .await
    }

    async fn must_be_dead(&mut self) -> Seen {
        let daemon = &mut self.daemon;
        until("the daemon that broke off is dead", PATIENCE, || {
            let is_running = daemon.is_running();
            std::future::ready(if is_running { Err("it runs".to_owned()) } else { Ok(Seen::Dead) })
        })
        .await
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Dead,
    Alive,
}

#[tokio::test]
async fn a_daemon_killed_before_or_after_any_engine_call_converges() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let mut victim = Victim::new(&stage).await;
    let mut n_closed = 0;
    for n in 1..=MAX_CALLS {
        let mut has_closed = false;
        for moment in ["before", "after"] {
            let point = format!("{moment}:{n}");
            if victim.live_with(&point).await {
                has_closed = true;
                n_closed += 1;
                victim.recover().await;
            }
        }
        if !has_closed {
            break;
        }
    }
    // Two services, a volume, two networks: fewer calls would mean that the trap is broken. With
    // the kills of the other stories of this file, there are more than forty points.
    assert!(n_closed >= 20, "only {n_closed} kill points; is this a debug build?");
}

#[tokio::test]
async fn a_daemon_killed_while_building_builds_again_and_serves_the_old_version_meanwhile() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let mut victim = Victim::new(&stage).await;
    for (n, point) in ["before:1", "after:1", "before:2", "after:2"].iter().enumerate() {
        let version = format!("version {n}");
        stage.remote.put(&Challenge::web_and_db(CHALLENGE, &version));
        // The push happens while nobody looks, so the trap is set for the build.
        victim.daemon.stop().await;
        let pushed = stage.remote.push(&version);
        victim.daemon.relaunch_with(TRAP, point);
        let admin = victim.daemon.admin();
        let daemon = &mut victim.daemon;
        let seen = until("the daemon is dead or the push is live", PATIENCE, || {
            let (admin, is_running, pushed) = (admin.clone(), daemon.is_running(), pushed.clone());
            async move {
                if !is_running {
                    return Ok(Seen::Dead);
                }
                let row = admin.challenge(CHALLENGE).await?;
                let is_live = row["live"]["revision"] == pushed.as_str();
                if is_live { Ok(Seen::Alive) } else { Err(row.to_string()) }
            }
        })
        .await;
        if seen == Seen::Alive {
            assert!(n >= 2, "one image is one changing call at least: {point}");
            continue;
        }
        victim.daemon.buried();
        victim.daemon.restart().await;
        victim.n_kills += 1;
        victim.red.play(CHALLENGE).await;
        until("the interrupted build is finished", PATIENCE, || async {
            let row = victim.daemon.admin().challenge(CHALLENGE).await?;
            let is_live = row["live"]["revision"] == pushed.as_str();
            if is_live { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        assert_eq!(victim.daemon.rows().building, Vec::<String>::new());
        for (id, _) in victim.daemon.rows().live {
            victim.red.stop(&id).await;
        }
        victim.daemon.nothing_left().await;
    }
    assert!(victim.n_kills >= 2);
}

#[tokio::test]
async fn a_daemon_killed_at_any_time_converges() {
    let stage = Stage::with(&[Challenge::web_and_db(CHALLENGE, "one")]).await;
    let mut victim = Victim::new(&stage).await;
    let mut dice = Dice::seeded();

    // While fetching and building: a push, a start of the daemon, and a kill soon after.
    for n in 0..N_RANDOM * 2 {
        victim.daemon.kill9();
        let version = format!("version {n}");
        stage.remote.put(&Challenge::web_and_db(CHALLENGE, &version));
        let pushed = stage.remote.push(&version);
        victim.daemon.relaunch();
        let most =
            if n % 2 == 0 { Duration::from_millis(300) } else { Duration::from_millis(1500) };
        sleep_until(Instant::now() + dice.delay(most)).await;
        victim.daemon.kill9();
        victim.recover().await;
        until("the push is live after all", PATIENCE, || async {
            let row = victim.daemon.admin().challenge(CHALLENGE).await?;
            let is_live = row["live"]["revision"] == pushed.as_str();
            if is_live { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }

    // While starting, two at a time.
    for _ in 0..N_RANDOM {
        let (first, second) = tokio::join!(victim.ask(), victim.ask());
        assert!(first.is_some() && second.is_some(), "nobody has killed it yet");
        sleep_until(Instant::now() + dice.delay(Duration::from_millis(1500))).await;
        victim.daemon.kill9();
        victim.recover().await;
    }

    // While ready: the containers run on without a daemon, and are adopted, not made anew.
    for _ in 0..2 {
        let instance = victim.red.play(CHALLENGE).await;
        let before = victim.daemon.engine().ids_of(&instance.id);
        victim.daemon.kill9();
        instance.flag("/cgi-bin/flag").await;
        victim.daemon.restart().await;
        let again = victim.red.ready(&instance.id).await;
        assert_eq!(again.services, instance.services, "it answers where it did");
        assert_eq!(victim.daemon.engine().ids_of(&instance.id), before, "nothing was restarted");
        victim.prove(&again).await;
        victim.daemon.kill9();
        victim.recover().await;
    }

    // While stopping.
    for _ in 0..N_RANDOM {
        let instance = victim.red.play(CHALLENGE).await;
        victim.red.delete(&format!("/instances/{}", instance.id)).await.expect_status(200);
        sleep_until(Instant::now() + dice.delay(Duration::from_millis(600))).await;
        victim.daemon.kill9();
        victim.recover().await;
        victim.red.gone(&instance.id).await;
    }
    assert!(victim.n_kills >= 3 * N_RANDOM + 2);
}

/// Until a moment of the dice: the one place where a time, and not a fact, is what is wanted.
async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}
