//! The solver against an engine in memory: canaries that players never see, verdicts that are kept,
//! and nothing left whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::*;
use crate::config::SolverGate;
use crate::daemon::platform::{ProofProgress, ProofState, ProofWhich};
use crate::daemon::solver;
use crate::model::{ConditionStatus, ProofOutcome, ProofRecord, TeamId};
use crate::proof::Proof;
use crate::runtime::fake::{Fate, Verb, When};
use crate::runtime::{EngineError, ExecOutcome};

/// The service that the exploit runs in.
const SOLVER: &str = "flagops-solver";

const EXPLOIT: &str = "print('Q[flag]: found')\n";

/// The challenge of [`rig`], with an exploit.
fn solver_rig() -> Rig {
    let rig = Rig::new();
    rig.add_image("base:1");
    rig.push(&[ONE_FILES[0], ONE_FILES[1], ("WEB/WEB-001/solution/exploit.py", EXPLOIT)]);
    rig
}

/// What the exploit of every canary ends with.
fn exploit_says(rig: &Rig, code: i64, output: &str) {
    rig.engine.script_exec(SOLVER, [ExecOutcome { code, output: output.to_owned() }]);
}

async fn canaries(daemon: &Daemon, which: Which) -> Vec<Instance> {
    let filter = InstanceFilter { team: Some(TeamId::CANARY), which, ..InstanceFilter::default() };
    daemon.store().instances(filter).await.unwrap()
}

/// Waits until a canary runs, and its exploit too.
async fn under_attack(rig: &Rig, daemon: &Daemon) -> Instance {
    until("an exploit to run", async || {
        let live = canaries(daemon, Which::Live).await;
        let canary = live.into_iter().find(|row| row.phase == InstancePhase::Ready)?;
        let is_uploaded =
            |name: &String| name.ends_with(SOLVER) && !rig.engine.files(name).is_empty();
        objects_of(rig, canary.id).iter().any(is_uploaded).then_some(canary)
    })
    .await
}

/// Asks for a proof of `WEB-001`, and waits until nothing is tried any more.
async fn solved(platform: &Platform) -> ProofState {
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    settled(platform).await
}

async fn settled(platform: &Platform) -> ProofState {
    until("the proof to be over", async || {
        let states = platform.proofs().await.unwrap();
        let state = states.into_iter().find(|state| state.challenge.as_str() == "WEB-001")?;
        let is_over = !matches!(state.progress, ProofProgress::Queued(_) | ProofProgress::Running);
        is_over.then_some(state)
    })
    .await
}

async fn proven(platform: &Platform, reason: &str) -> Condition {
    let scope = Scope::Challenge(challenge_id("WEB-001"));
    until(&format!("Proven to be {reason}"), async || {
        let stated = condition(platform, &scope, ConditionType::Proven).await?;
        (stated.reason == reason).then_some(stated)
    })
    .await
}

#[tokio::test]
async fn an_exploit_that_finds_the_answers_of_its_canary_proves_the_challenge() {
    let rig = solver_rig();
    rig.engine.set_latency(Verb::Exec, Duration::from_millis(300));
    let (daemon, platform, red) = playing(&rig).await;
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    let canary = under_attack(&rig, &daemon).await;
    // A player sees nothing of it, and has every place.
    assert_eq!(platform.instances(&red).await.unwrap(), []);
    assert!(platform.instance(&red, &canary.id.to_string()).await.is_err());
    assert_eq!(platform.counts().await.unwrap().live_instances, 0);
    assert!(platform.launches().await.unwrap().is_empty());
    assert_eq!(canary.surface, [], "it has no host port");
    let flag = rig.engine.files(&container(&rig, canary.id, "web"))["/answers/flag"].clone();
    let flag = String::from_utf8(flag).unwrap();
    exploit_says(&rig, 0, &format!("Q[flag]: {flag}\n"));
    let files = rig.engine.files(&container(&rig, canary.id, SOLVER));
    assert_eq!(files["/solve/challenge/solution/exploit.py"], EXPLOIT.as_bytes());
    assert!(files.keys().all(|name| !name.starts_with("/answers")), "{:?}", files.keys());

    let record = settled(&platform).await.record.unwrap();
    assert_eq!(record.outcome, ProofOutcome::Proven);
    assert_eq!(proven(&platform, "Ok").await.status, ConditionStatus::True);
    nothing_is_left(&rig, &daemon).await;
    assert!(platform.launches().await.unwrap().is_empty());
    let conditions = platform.conditions().await.unwrap();
    let of_canary = |it: &&Condition| it.scope == Scope::Instance(canary.id);
    assert_eq!(conditions.iter().find(of_canary), None);
    daemon.stop().await;
}

#[tokio::test]
async fn an_exploit_that_fails_twice_is_a_failure_and_a_later_one_that_works_takes_it_back() {
    let rig = solver_rig();
    exploit_says(&rig, 1, "Q[flag]: FLAG{wrong}\n");
    let (daemon, platform, _) = playing(&rig).await;
    let record = solved(&platform).await.record.unwrap();
    assert_eq!(record.outcome, ProofOutcome::Failed);
    insta::assert_snapshot!(
        record.message,
        @"`solution/exploit.py` did not solve it: its answer to `flag` is wrong; it ended with exit code 1"
    );
    assert_eq!(proven(&platform, "SolverFailed").await.status, ConditionStatus::False);
    assert_eq!(canaries(&daemon, Which::All).await.len(), 2, "one failure may be bad luck");

    // A version without an exploit is told, and no failure.
    rig.push(ONE_FILES);
    platform.reconcile_now().await.unwrap();
    until("the push to be live", async || {
        let live = platform.live();
        live.values().all(|live| live.challenge.tree != record.tree).then_some(())
    })
    .await;
    proven(&platform, "NotTried").await;
    let record = solved(&platform).await.record.unwrap();
    assert_eq!(record.outcome, ProofOutcome::NoExploit);
    assert_eq!(proven(&platform, "NoExploit").await.status, ConditionStatus::Unknown);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_canary_that_does_not_start_is_a_failure_and_an_engine_that_fails_is_not() {
    let rig = solver_rig();
    rig.engine.exit_on_start("web", 3);
    let (daemon, platform, _) = playing(&rig).await;
    let record = solved(&platform).await.record.unwrap();
    assert_eq!(record.outcome, ProofOutcome::Failed);
    assert!(record.message.contains("service `web` exited with code 3"), "{}", record.message);
    rig.engine.stay_on_start("web");

    let down = || EngineError::Unavailable { endpoint: "x".to_owned(), reason: "away".to_owned() };
    rig.engine.fail_next(Verb::Exec, down());
    exploit_says(&rig, 0, "");
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    until("the engine's failure to be told", async || {
        let states = platform.proofs().await.unwrap();
        match &states[0].progress {
            ProofProgress::Queued(Some(why)) => why.contains("away").then_some(()),
            _ => None,
        }
    })
    .await;
    let record = settled(&platform).await.record.unwrap();
    assert!(record.message.contains("found no answer to `flag`"), "{}", record.message);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

/// Asks for a proof and lives on until it is there and nothing is left.
async fn prove_on(rig: &Rig) {
    let daemon = rig.start().await;
    let platform = daemon.platform();
    live(&platform, "WEB-001").await;
    until("the engine to be proved", async || platform.is_engine_ready().then_some(())).await;
    let record = solved(&platform).await.record.unwrap();
    assert!(record.message.contains("found no answer to `flag`"), "{}", record.message);
    nothing_is_left(rig, &daemon).await;
}

/// Kills the daemon at the `nth` call that changes something or runs an exploit. False when there
/// are not that many.
fn killed_at(nth: usize, when: When) -> bool {
    let rig = solver_rig();
    exploit_says(&rig, 0, "");
    let died = Arc::new(Notify::new());
    let n_calls = Arc::new(AtomicUsize::new(0));
    let bell = Arc::clone(&died);
    rig.engine.set_hook(Arc::new(move |verb, now| {
        let counts = now == when && (verb.changes() || matches!(verb, Verb::Exec | Verb::Build));
        if !counts || n_calls.fetch_add(1, Ordering::SeqCst) != nth {
            return Fate::GoOn;
        }
        // Shown when the test fails: where it was killed.
        println!("killed {now:?} call {nth}, {verb:?}");
        bell.notify_one();
        Fate::Die
    }));
    let life = || Builder::new_current_thread().enable_all().build().unwrap();
    let first = life();
    let was_killed = first.block_on(async {
        tokio::select! {
            () = died.notified() => true,
            () = prove_on(&rig) => false,
        }
    });
    // Every task ends where it stands, as in a killed process.
    drop(first);
    if was_killed {
        rig.engine.revive();
        life().block_on(async {
            let daemon = rig.start().await;
            nothing_is_left(&rig, &daemon).await;
            let is_said = |row: &ProofRecord| row.message.contains("found no answer");
            let proofs = daemon.store().proofs().await.unwrap();
            assert!(proofs.iter().all(is_said), "a kill says nothing about a challenge");
            daemon.stop().await;
        });
    }
    was_killed
}

#[test]
fn killed_anywhere_the_next_start_leaves_nothing_of_a_canary() {
    for when in [When::Before, When::After] {
        let n_points = (0..).take_while(|nth| killed_at(*nth, when)).count();
        assert!(n_points >= 10, "only {n_points} points");
    }
}

#[tokio::test]
async fn a_canary_waits_while_players_starts_use_every_slot() {
    let mut rig = solver_rig();
    rig.config.limits.n_start_slots = 1;
    rig.engine.set_latency(Verb::Start, Duration::from_millis(400));
    exploit_says(&rig, 0, "");
    let (daemon, platform, red) = playing(&rig).await;
    let started = platform.start(&red, start_request("WEB-001")).await.unwrap();
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    until("the player's instance to be ready", async || {
        let (player, canaries) =
            (row(&daemon, started.id).await, canaries(&daemon, Which::All).await);
        let is_ready = player.phase == InstancePhase::Ready;
        assert!(is_ready || canaries.is_empty(), "a canary came first");
        is_ready.then_some(())
    })
    .await;
    settled(&platform).await;
    assert!(!canaries(&daemon, Which::All).await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn where_proofs_are_required_the_newest_version_is_tried_by_itself() {
    let mut rig = solver_rig();
    rig.config.solver.gate = SolverGate::Required;
    exploit_says(&rig, 2, "");
    let daemon = rig.start().await;
    let platform = daemon.platform();
    proven(&platform, "SolverFailed").await;
    let head = daemon.shared.head.load();
    let proofs = solver::proofs_of(&daemon.shared, &head.catalog).await.unwrap();
    let id = challenge_id("WEB-001");
    assert!(
        matches!(&proofs[&id], Proof::Failed(why) if why.contains("exit code 2")),
        "{proofs:?}"
    );
    // A person who asks is told of a challenge that there is not.
    assert!(platform.solve(&["WEB-009".to_owned()]).await.is_err());
    daemon.stop().await;
}

#[tokio::test]
async fn a_live_challenge_is_tried_again_on_its_schedule() {
    let mut rig = solver_rig();
    rig.config.solver.every_secs = 3600;
    exploit_says(&rig, 1, "");
    let (daemon, platform, _) = playing(&rig).await;
    proven(&platform, "SolverFailed").await;
    let first = settled(&platform).await.record.unwrap();
    rig.clock.advance_millis(3_600_000);
    until("the next proof", async || {
        let record = settled(&platform).await.record.unwrap();
        (record.at > first.at).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_release_waits_for_its_proofs_and_a_failed_one_blocks_it() {
    let mut rig = solver_rig();
    rig.config.release.pattern = Some("^v(?<v>.+)$".to_owned());
    rig.config.solver.gate = SolverGate::Required;
    rig.tag("v1.0.0", crate::git::testing::TagOn::Tip);
    rig.engine.set_latency(Verb::Exec, Duration::from_millis(300));
    exploit_says(&rig, 1, "Q[flag]: FLAG{wrong}\n");
    let daemon = rig.start().await;
    let platform = daemon.platform();
    let scope = Scope::Release;
    let stated = until("the release to be blocked", async || {
        let stated = condition(&platform, &scope, ConditionType::Proven).await?;
        (stated.reason == "SolverFailed").then_some(stated)
    })
    .await;
    assert!(stated.message.contains("WEB-001"), "{}", stated.message);
    assert!(platform.live().is_empty());
    // Whatever is pushed since, somebody can look into it; the next attempt finds the answer.
    rig.push(&[ONE_FILES[0], ONE_FILES[1], ("README.md", "newer")]);
    platform.reconcile_now().await.unwrap();
    let tagged = platform.proofs().await.unwrap();
    let which: Vec<_> = tagged.iter().map(|state| state.which).collect();
    assert_eq!(which, [ProofWhich::Newest, ProofWhich::Tagged], "{tagged:?}");
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    let canary = under_attack(&rig, &daemon).await;
    let flag = rig.engine.files(&container(&rig, canary.id, "web"))["/answers/flag"].clone();
    exploit_says(&rig, 0, &format!("Q[flag]: {}\n", String::from_utf8(flag).unwrap()));
    live(&platform, "WEB-001").await;
    let stated = condition(&platform, &scope, ConditionType::Proven).await.unwrap();
    assert_eq!(stated.status, ConditionStatus::True);
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_branch_where_proofs_are_required_goes_live_only_solved() {
    let mut rig = solver_rig();
    rig.config.solver.gate = SolverGate::Required;
    rig.engine.set_latency(Verb::Exec, Duration::from_millis(300));
    exploit_says(&rig, 1, "Q[flag]: FLAG{wrong}\n");
    let daemon = rig.start().await;
    let platform = daemon.platform();
    proven(&platform, "SolverFailed").await;
    platform.reconcile_now().await.unwrap();
    assert!(platform.live().is_empty(), "nobody is sure that it can be solved");
    platform.solve(&["WEB-001".to_owned()]).await.unwrap();
    let canary = under_attack(&rig, &daemon).await;
    let flag = rig.engine.files(&container(&rig, canary.id, "web"))["/answers/flag"].clone();
    exploit_says(&rig, 0, &format!("Q[flag]: {}\n", String::from_utf8(flag).unwrap()));
    live(&platform, "WEB-001").await;
    nothing_is_left(&rig, &daemon).await;
    daemon.stop().await;
}
