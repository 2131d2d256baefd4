//! The probe against the engine in memory, with time that does not pass by itself.

use super::*;
use crate::model::EndpointKind;
use crate::release::spec::{ContainerSpec, PortSpec};
use crate::runtime::fake::{FakeEngine, IsOom, Port, Verb};
use crate::runtime::suite::{self, Bench};
use crate::runtime::{ExecOutcome, ImageSeen};

struct Rig {
    engine: FakeEngine,
    target: ProbeTarget,
}

async fn rig(change: impl FnOnce(&mut ContainerSpec)) -> Rig {
    let engine = FakeEngine::new(suite::random_installation());
    let image = ImageSeen {
        id: "sha256:busybox".to_owned(),
        build_key: None,
        made_at: None,
        size_bytes: 1,
        health: None,
        volumes: Vec::new(),
    };
    engine.add_image("busybox", image);
    let bench = Bench { engine: &engine, other: &engine, image: "sha256:busybox".to_owned() };
    let (_, network) = bench.network().await;
    let mut spec = bench.web(&network);
    spec.service.ports = vec![PortSpec {
        target: 80,
        transport: Transport::Tcp,
        kind: EndpointKind::Http,
        is_hidden: false,
    }];
    spec.service.healthcheck = Some(Healthcheck::Command {
        test: HealthTest::Shell("true".to_owned()),
        interval_millis: 30_000,
        timeout_millis: 2000,
        retries: 3,
        start_period_millis: 0,
    });
    change(&mut spec);
    let id = engine.create_container(&spec).await.unwrap();
    let target = ProbeTarget::new(&id, &spec.service, None);
    Rig { engine, target }
}

async fn wait(rig: &Rig) -> (Result<(), String>, u128) {
    let began = Instant::now();
    let result = wait_usable(&rig.engine, &rig.target, Duration::from_secs(10)).await;
    (result.map_err(|failure| failure.to_string()), began.elapsed().as_millis())
}

fn outcome(code: i64, output: &str) -> ExecOutcome {
    ExecOutcome { code, output: output.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_usable_container_is_usable_at_once() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    assert_eq!(wait(&rig).await, (Ok(()), 0));
    probe_once(&rig.engine, &rig.target).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_soon_and_often() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.script_exec("web", [outcome(1, ""), outcome(1, ""), outcome(1, ""), outcome(0, "")]);
    assert_eq!(wait(&rig).await, (Ok(()), 20 + 30 + 50));
    // Inspected once: an attempt costs a connection and a command.
    let n_inspected = rig.engine.calls().iter().filter(|verb| **verb == Verb::Container).count();
    assert_eq!(n_inspected, 1);
}

#[tokio::test(start_paused = true)]
async fn the_check_that_failed_last_is_said() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.script_exec("web", [outcome(3, "no\u{1b} database\n\nyet\n")]);
    let (result, millis) = wait(&rig).await;
    insta::assert_snapshot!(result.unwrap_err(), @"not usable after 9860 ms: the health command ended with 3: no database yet");
    assert!((9500..=10_000).contains(&millis), "{millis}");

    rig.engine.set_port("web", 80, Port::Closed);
    insta::assert_snapshot!(wait(&rig).await.0.unwrap_err(), @"not usable after 9860 ms: port 80 does not accept connections (connection refused)");
    let once = probe_once(&rig.engine, &rig.target).await.unwrap_err();
    insta::assert_snapshot!(once, @"not usable after 0 ms: port 80 does not accept connections (connection refused)");
}

#[tokio::test(start_paused = true)]
async fn each_failed_probe_is_told_with_its_number() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.script_exec("web", [outcome(1, "a"), outcome(1, "b"), outcome(0, "")]);
    let mut told = Vec::new();
    let tell = |n: u32, check: &FailedCheck| told.push(format!("{n}: {check}"));
    let deadline = Duration::from_secs(10);
    wait_usable_telling(&rig.engine, &rig.target, deadline, tell).await.unwrap();
    let ended = |n: u32, said: &str| format!("{n}: the health command ended with 1: {said}");
    assert_eq!(told, [ended(1, "a"), ended(2, "b")]);
}

#[test]
fn a_command_that_cannot_be_run_is_told_from_one_that_fails() {
    let missing = "OCI runtime exec failed: exec failed: unable to start container process: \
                   exec: \"nc\": executable file not found in $PATH: unknown\r\n";
    for (code, output, told) in [
        (126, missing, "cannot be run: exec \"nc\": executable file not found in $PATH"),
        (127, "/bin/sh: nc: not found\n", "cannot be run: /bin/sh: nc: not found"),
        (127, "", "cannot be run: it ends with 127"),
        (1, "exec: \"x\"", "ended with 1: exec: \"x\""),
    ] {
        assert_eq!(command_failed(code, output).to_string(), format!("the health command {told}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_exit_is_said_at_once_and_how() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.script_exec("web", [outcome(1, "")]);
    let engine = rig.engine.clone();
    let id = rig.target.container.clone();
    let crash = async {
        tokio::time::sleep(Duration::from_millis(1234)).await;
        engine.crash(&id, 137, IsOom::Yes);
    };
    let ((result, millis), ()) = tokio::join!(wait(&rig), crash);
    insta::assert_snapshot!(result.unwrap_err(), @"the container exited with 137 (out of memory)");
    assert!(millis < 1234 + 1000, "{millis}");
    rig.engine.remove_by_hand(&rig.target.container);
    assert_eq!(wait(&rig).await, (Err("the container is gone".to_owned()), 0));
}

#[tokio::test(start_paused = true)]
async fn a_hung_command_is_bounded_by_its_timeout() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.hang(Verb::Exec);
    assert_eq!(wait(&rig).await, (Ok(()), 2000 + 20));
    rig.engine.hang(Verb::Exec);
    let once = probe_once(&rig.engine, &rig.target).await.unwrap_err();
    insta::assert_snapshot!(once, @"not usable after 2000 ms: the health command did not end within 2000 ms");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_comes_back_in_time_is_no_failure() {
    let rig = rig(|_| ()).await;
    rig.engine.start(&rig.target.container).await.unwrap();
    rig.engine.go_down();
    let engine = rig.engine.clone();
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        engine.come_up();
    };
    let ((result, _), ()) = tokio::join!(wait(&rig), back);
    assert_eq!(result, Ok(()));
    rig.engine.go_down();
    insta::assert_snapshot!(wait(&rig).await.0.unwrap_err(), @"the container engine at `fake` does not answer (connection refused)");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_started_is_waited_for() {
    let rig = rig(|_| ()).await;
    insta::assert_snapshot!(wait(&rig).await.0.unwrap_err(), @"not usable after 9860 ms: the container is not started");
}

#[tokio::test(start_paused = true)]
async fn the_images_command_counts_unless_the_service_says_otherwise() {
    let own = HealthTest::Shell("own".to_owned());
    let image = HealthTest::Shell("image".to_owned());
    let mut service = None;
    let _rig = rig(|spec| service = Some(spec.service.clone())).await;
    let mut service = service.unwrap();
    service.healthcheck = None;
    assert_eq!(ProbeTarget::new("x", &service, Some(&image)).test, Some(image.clone()));
    service.healthcheck = Some(Healthcheck::Disabled);
    assert_eq!(ProbeTarget::new("x", &service, Some(&image)).test, None);
    service.healthcheck = Some(Healthcheck::Command {
        test: own.clone(),
        interval_millis: 1,
        timeout_millis: 700,
        retries: 1,
        start_period_millis: 0,
    });
    let udp = PortSpec {
        target: 53,
        transport: Transport::Udp,
        kind: EndpointKind::Tcp,
        is_hidden: false,
    };
    service.ports.extend([udp, service.ports[0].clone()]);
    let target = ProbeTarget::new("x", &service, Some(&image));
    assert_eq!((target.test, target.timeout), (Some(own), Duration::from_millis(700)));
    assert_eq!(target.ports, [80]);
}
