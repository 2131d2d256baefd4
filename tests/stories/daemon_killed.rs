//! The daemon dies at a time that nobody chose, and the next one brings everything to order: what was
//! asked for is ready or gone, and nothing is left behind.
//!
//! One data directory lives through all of it, so every life also has to cope with what the lives
//! before it left. Deaths at named points are `chaos`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Challenge, Client, Daemon, PATIENCE, Ready, Stage, until};

const CHALLENGE: &str = "WEB-301";
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

    /// The next life: everything that was asked for becomes ready and shows a
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
