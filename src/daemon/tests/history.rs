//! Many clients at once, while the engine fails and the daemon is killed: what each was told holds
//! together.
//!
//! Every wish is written down as it is made and as it is answered; a wish that a kill cut off has
//! no answer, and may have happened or not. Afterwards the history is held against the rows.
//!
//! # What must hold
//! * An instance whose stop was acknowledged was not reset or renewed by a wish made after that.
//! * A reset that was acknowledged happened, once; one that was refused did not.
//! * The lease is that of an acknowledged renewal which no other followed, or of the start.
//! * A submission that was acknowledged is there; none is there twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Builder;

use super::*;
use crate::planner::lifecycle::Answers;
use crate::runtime::EngineError;
use crate::runtime::fake::Verb;

/// What a client wants of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stop,
    Reset,
    Renew(i64),
    Submit(u32),
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Ok,
    Refused,
    /// Nobody answered: it may have happened.
    Unknown,
}

/// One wish, between two ticks of a clock that everybody sees.
#[derive(Debug, Clone)]
struct Entry {
    wish: Wish,
    asked: u64,
    answered: u64,
    reply: Reply,
}

#[derive(Debug, Default)]
struct History {
    ticks: AtomicU64,
    entries: Mutex<Vec<Entry>>,
}

impl History {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes a wish without an answer; gives its place.
    fn ask(&self, wish: Wish) -> usize {
        let asked = self.tick();
        let mut entries = self.entries.lock().unwrap();
        entries.push(Entry { wish, asked, answered: u64::MAX, reply: Reply::Unknown });
        entries.len() - 1
    }

    fn answer(&self, nth: usize, reply: Reply) {
        let answered = self.tick();
        let entry = &mut self.entries.lock().unwrap()[nth];
        entry.answered = answered;
        entry.reply = reply;
    }
}

async fn wish(platform: &Platform, red: &Caller, id: InstanceId, history: &History, wish: Wish) {
    let name = id.to_string();
    let nth = history.ask(wish);
    let is_ok = match wish {
        Wish::Stop => platform.stop(red, &name, StopReason::User).await.is_ok(),
        Wish::Reset => platform.reset(red, &name, Answers::Keep).await.is_ok(),
        Wish::Renew(ttl) => platform.renew(red, &name, Some(ttl)).await.is_ok(),
        Wish::Submit(n) => {
            let answer = Answer::One(format!("FLAG{{wrong-{n}}}"));
            platform.submit(red, &name, "flag", answer).await.is_ok()
        }
    };
    history.answer(nth, if is_ok { Reply::Ok } else { Reply::Refused });
}

/// The wishes of one client, in its own order; the same for the same seed.
fn wishes_of(client: u32, seed: u32) -> Vec<Wish> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(client * 97 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut wishes = Vec::new();
    for nth in 0..6 {
        wishes.push(match next() % 8 {
            0 if nth > 3 => Wish::Stop,
            0..=2 => Wish::Reset,
            3 | 4 => Wish::Renew(i64::from(100 + client * 100 + nth)),
            _ => Wish::Submit(seed * 10_000 + client * 100 + nth),
        });
    }
    wishes
}

async fn clients(
    rig: &Rig,
    platform: &Platform,
    red: &Caller,
    id: InstanceId,
    history: &Arc<History>,
    seed: u32,
) {
    let disturb = async {
        for verb in [Verb::CreateContainer, Verb::Start, Verb::RemoveContainer, Verb::Containers] {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let fault =
                || EngineError::Unavailable { endpoint: "fake".into(), reason: "a fault".into() };
            rig.engine.fail_next(verb, fault());
            rig.engine.fail_after_effect(verb, fault());
        }
    };
    let each = (0..4).map(|client| {
        let history = Arc::clone(history);
        async move {
            for it in wishes_of(client, seed) {
                wish(platform, red, id, &history, it).await;
                tokio::time::sleep(Duration::from_millis(u64::from(client + 1))).await;
            }
        }
    });
    tokio::join!(disturb, futures_util::future::join_all(each));
}

fn check(history: &History, row: &Instance, submissions: &[String]) {
    let entries = history.entries.lock().unwrap();
    let ok = |kind: fn(&Wish) -> bool| {
        entries.iter().filter(move |it| kind(&it.wish) && it.reply == Reply::Ok)
    };
    let told = format!("{entries:#?}");
    for stop in ok(|wish| *wish == Wish::Stop) {
        for later in ok(|wish| !matches!(wish, Wish::Submit(_))) {
            let is_after = later.asked > stop.answered;
            assert!(!is_after, "{later:?} was granted after {stop:?}\n{told}");
        }
    }
    let n_resets = ok(|wish| *wish == Wish::Reset).count() as u32;
    let is_open = |it: &&Entry| it.wish == Wish::Reset && it.reply == Reply::Unknown;
    let n_open = entries.iter().filter(is_open).count() as u32;
    assert!(
        (n_resets..=n_resets + n_open).contains(&row.n_resets),
        "{} resets happened\n{told}",
        row.n_resets
    );
    let renewals: Vec<&Entry> = entries
        .iter()
        .filter(|it| matches!(it.wish, Wish::Renew(_)) && it.reply != Reply::Refused)
        .collect();
    let is_last = |it: &&&Entry| {
        let follows = |other: &&&Entry| other.reply == Reply::Ok && other.asked > it.answered;
        !renewals.iter().any(|other| follows(&other))
    };
    let mut allowed: Vec<i64> = renewals
        .iter()
        .filter(is_last)
        .filter_map(|it| if let Wish::Renew(ttl) = it.wish { Some(ttl) } else { None })
        .collect();
    if renewals.iter().all(|it| it.reply == Reply::Unknown) {
        allowed.push(86_400);
    }
    assert!(allowed.contains(&i64::from(row.ttl_secs)), "a lease of {} s\n{told}", row.ttl_secs);
    for submitted in ok(|wish| matches!(wish, Wish::Submit(_))) {
        let Wish::Submit(n) = submitted.wish else { unreachable!() };
        let wanted = format!("FLAG{{wrong-{n}}}");
        let n_there = submissions.iter().filter(|claimed| **claimed == wanted).count();
        assert_eq!(n_there, 1, "{submitted:?} is there {n_there} times\n{told}");
    }
}

/// One history: a daemon that is killed in the middle, and another that lives on.
fn run(seed: u32) {
    let rig = full_rig();
    let history = Arc::new(History::default());
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let (red, id) = first.block_on(async {
        let (daemon, platform, red) = playing(&rig).await;
        let id = ready_instance(&daemon, &red).await.id;
        let pause = Duration::from_millis(u64::from(seed % 40));
        tokio::select! {
            () = clients(&rig, &platform, &red, id, &history, seed) => {}
            () = tokio::time::sleep(pause) => {}
        }
        (red, id)
    });
    // Every task ends where it stands, as in a killed process.
    drop(first);
    let second = Builder::new_current_thread().enable_all().build().unwrap();
    second.block_on(async {
        let daemon = rig.start().await;
        let platform = daemon.platform();
        live(&platform, "WEB-001").await;
        until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
        clients(&rig, &platform, &red, id, &history, seed + 1_000).await;
        until("the instance to come to rest", async || {
            daemon.relist().await;
            let now = row(&daemon, id).await;
            let is_settled = now.phase == InstancePhase::Ready || !now.phase.is_live();
            (is_settled && !daemon.is_busy(id)).then_some(())
        })
        .await;
        let now = row(&daemon, id).await;
        let submissions = daemon.store().submissions(now.team).await.unwrap();
        let claimed: Vec<String> = submissions.into_iter().map(|it| it.claimed).collect();
        check(&history, &now, &claimed);
        let n_objects = if now.phase.is_live() { 5 } else { 0 };
        until("one incarnation, or nothing, to be there", async || {
            daemon.relist().await;
            (objects_of(&rig, id).len() == n_objects).then_some(())
        })
        .await;
    });
}

#[test]
fn what_clients_are_told_holds_together_under_faults_and_kills() {
    (0..24).for_each(run);
}
