//! The engine in memory passes the shared suite, and its faults do what they say.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt as _};

use super::*;
use crate::model::compose::HealthTest;
use crate::runtime::suite::{self, Bench};
use crate::runtime::{ContainerState, Engine};

fn image(name: &str) -> ImageSeen {
    ImageSeen {
        id: format!("sha256:{name}"),
        build_key: None,
        made_at: None,
        size_bytes: 1,
        health: None,
        volumes: Vec::new(),
    }
}

fn engines() -> (FakeEngine, FakeEngine) {
    let engine = FakeEngine::new(suite::random_installation());
    engine.add_image("busybox", image("busybox"));
    let other = engine.as_installation(suite::random_installation());
    (engine, other)
}

fn bench<'a>(engine: &'a FakeEngine, other: &'a FakeEngine) -> Bench<'a> {
    Bench { engine, other, image: "sha256:busybox".to_owned() }
}

fn down() -> EngineError {
    EngineError::Unavailable { endpoint: "fake".into(), reason: "gone".into() }
}

#[tokio::test]
async fn it_passes_the_suite_of_every_engine() {
    let (engine, other) = engines();
    suite::everything(&bench(&engine, &other)).await;
    assert_eq!(engine.object_names(), BTreeSet::new(), "the suite cleans up");
    let bad = suite::build_request("FROM scratch\n", &[]);
    let good = suite::build_request("FROM scratch\nCOPY a /a\n", &[("a", b"1")]);
    let bad = crate::runtime::BuildRequest { service: "bad".parse().unwrap(), ..bad };
    engine.set_build_failure("bad", Some("`RUN exit 3` ended with exit code 3"));
    suite::builds(&engine, good, bad).await;
    let used = suite::build_request("FROM scratch\n", &[]);
    suite::a_used_image_stays(&bench(&engine, &other), used).await;
}

#[tokio::test]
async fn a_fault_hits_one_call_and_leaves_nothing() {
    let (engine, other) = engines();
    let bench = bench(&engine, &other);
    engine.fail_next(Verb::CreateNetwork, down());
    let spec = suite::random_network("fi");
    assert_eq!(engine.create_network(&spec).await, Err(down()));
    assert_eq!(engine.networks().await.unwrap(), []);
    engine.create_network(&spec).await.unwrap();
    let (_, network) = bench.network().await;

    engine.fail_after_effect(Verb::CreateContainer, down());
    let web = bench.web(&network);
    assert_eq!(engine.create_container(&web).await, Err(down()));
    let seen = engine.container(&web.name).await.unwrap().expect("the effect is there");
    assert_eq!(engine.create_container(&web).await.unwrap(), seen.id);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_ends_at_its_deadline() {
    let (engine, other) = engines();
    let bench = bench(&engine, &other);
    let (_, network) = bench.network().await;
    let id = engine.create_container(&bench.web(&network)).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.hang(Verb::Exec);
    let test = HealthTest::Shell("true".into());
    let ended = engine.exec(&id, &test, Duration::from_secs(3)).await;
    assert_eq!(ended, Err(EngineError::TimedOut { what: "Exec".into(), secs: 3 }));
    assert_eq!(engine.exec(&id, &test, Duration::from_secs(3)).await.unwrap().code, 0);
}

#[tokio::test]
async fn a_dead_daemon_never_hears_back_and_its_effect_stays() {
    for (when, n_networks) in [(When::Before, 0), (When::After, 1)] {
        let (engine, _) = engines();
        let n_asked = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&n_asked);
        engine.set_hook(Arc::new(move |verb, at| {
            asked.fetch_add(1, Ordering::Relaxed);
            if verb == Verb::CreateNetwork && at == when { Fate::Die } else { Fate::GoOn }
        }));
        engine.info().await.unwrap();
        let spec = suite::random_network("fi");
        let mut pending = engine.create_network(&spec);
        assert!(pending.as_mut().now_or_never().is_none());
        assert!(engine.info().now_or_never().is_none(), "a dead daemon does nothing more");
        engine.revive();
        assert_eq!(engine.networks().await.unwrap().len(), n_networks, "{when:?}");
        assert!(pending.now_or_never().is_none(), "its pending call stays so");
        assert!(n_asked.load(Ordering::Relaxed) >= 3);
    }
}

#[tokio::test]
async fn a_restart_ends_everything_with_137_and_the_events() {
    use futures_util::StreamExt;
    let (engine, other) = engines();
    let bench = bench(&engine, &other);
    let (_, network) = bench.network().await;
    let id = engine.create_container(&bench.web(&network)).await.unwrap();
    engine.start(&id).await.unwrap();
    let mut events = engine.events().await.unwrap();
    engine.go_down();
    assert!(matches!(engine.prove().await, Err(EngineError::Unavailable { .. })));
    engine.restart();
    assert_eq!(events.next().await, None);
    let seen = engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Exited { code: 137, is_oom: false });
}

#[tokio::test]
async fn scripts_decide_how_services_behave() {
    let (engine, other) = engines();
    let bench = bench(&engine, &other);
    let (_, network) = bench.network().await;
    let web = bench.web(&network);
    let id = engine.create_container(&web).await.unwrap();
    engine.start(&id).await.unwrap();

    let outcome = |code| ExecOutcome { code, output: String::new() };
    engine.script_exec("web", [outcome(1), outcome(0)]);
    let test = HealthTest::Shell("true".into());
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(engine.exec(&id, &test, Duration::from_secs(1)).await.unwrap().code);
    }
    assert_eq!(codes, [1, 0, 0]);

    let seen = engine.container(&id).await.unwrap().unwrap();
    let address = std::net::SocketAddrV4::new(seen.addresses[&network], 80);
    engine.reach(address, Duration::from_secs(1)).await.unwrap();
    engine.set_port("web", 80, Port::Closed);
    assert!(engine.reach(address, Duration::from_secs(1)).await.is_err());
    engine.set_port("web", 80, Port::Open);
    engine.set_log(&id, "a\nb\nc\n");
    assert_eq!(engine.logs(&id, 2).await.unwrap(), "b\nc\n");
    let followed: Vec<_> = engine.follow_logs(&id, None).await.unwrap().collect().await;
    assert_eq!(followed.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let later = engine.follow_logs(&id, Some(&followed[1].at)).await.unwrap();
    assert_eq!(later.collect::<Vec<_>>().await, &followed[2..]);
    engine.make_unhealthy(&id);
    assert!(engine.container(&id).await.unwrap().unwrap().is_unhealthy);
    engine.crash(&web.name, 1, IsOom::Yes);
    let seen = engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Exited { code: 1, is_oom: true });
    engine.remove_by_hand(&id);
    assert_eq!(engine.container(&id).await.unwrap(), None);

    let mut rotator = bench.web(&network);
    rotator.service.name = crate::model::compose::ROTATOR.parse().unwrap();
    let id = engine.create_container(&rotator).await.unwrap();
    engine.start(&id).await.unwrap();
    let seen = engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Exited { code: 0, is_oom: false });

    engine.occupy_port(7777);
    let mut taken = bench.web(&network);
    suite::publish(&mut taken, 7777);
    let id = engine.create_container(&taken).await.unwrap();
    assert!(matches!(engine.start(&id).await, Err(EngineError::PortTaken { .. })));
    let spec = suite::random_network("fi");
    engine.occupy_subnet(spec.subnet.supernet().unwrap());
    let refused = engine.create_network(&spec).await;
    assert!(matches!(refused, Err(EngineError::SubnetTaken { .. })), "{refused:?}");

    engine.add_to_registry("alpine:3", image("alpine"));
    assert_eq!(engine.pull("alpine:3").await.unwrap(), image("alpine"));
    assert!(matches!(engine.pull("alpine:4").await, Err(EngineError::NotFound { .. })));
}
