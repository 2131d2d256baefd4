//! Against the Docker engine of this machine. Without one these tests fail, and say so.

mod kernel;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::*;
use crate::model::compose::{Healthcheck, Tmpfs, VolumeMount};
use crate::runtime::suite::{self, Bench, end};
use crate::runtime::{ContainerState, ImageSeen, LogLine};

/// The engine that these tests use.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// Two installations on the real engine. What they made is removed at the end, whatever happens.
pub(in crate::runtime) struct Rig {
    pub(in crate::runtime) engine: Docker,
    other: Docker,
    image: ImageSeen,
}

impl Rig {
    pub(in crate::runtime) async fn new() -> Self {
        let engine = Docker::connect(SOCKET, suite::random_installation()).unwrap();
        let other = Docker::connect(SOCKET, suite::random_installation()).unwrap();
        if let Err(error) = engine.info().await {
            panic!("these tests need a Docker engine at {SOCKET}: {error}");
        }
        let image = build(&engine, BUSYBOX, &[("busybox", &busybox())]).await;
        Self { engine, other, image }
    }

    pub(in crate::runtime) fn bench(&self) -> Bench<'_> {
        Bench { engine: &self.engine, other: &self.other, image: self.image.id.clone() }
    }

    /// Runs `line` by a shell in a fresh container of `spec`; returns what it said.
    async fn say(&self, id: &str, line: &str) -> ExecOutcome {
        let test = HealthTest::Shell(line.to_owned());
        self.engine.exec(id, &test, Duration::from_secs(20)).await.unwrap()
    }

    pub(in crate::runtime) async fn started(&self, spec: &ContainerSpec) -> String {
        let id = self.engine.create_container(spec).await.unwrap();
        self.engine.start(&id).await.unwrap();
        id
    }
}

impl Drop for Rig {
    /// By the command line, because a test that panicked has no runtime any more.
    fn drop(&mut self) {
        for installation in [&self.engine.installation, &self.other.installation] {
            let label = format!("label={}={installation}", crate::runtime::labels::INSTALLATION);
            let script = format!(
                "docker ps -aq --filter {label} | xargs -r docker rm -fv
                 docker network ls -q --filter {label} | xargs -r docker network rm
                 docker volume ls -q --filter {label} | xargs -r docker volume rm
                 docker images -q --filter {label} | sort -u | xargs -r docker rmi -f"
            );
            let _ = std::process::Command::new("sh").args(["-c", &script]).output();
        }
    }
}

const BUSYBOX: &str = "FROM scratch
COPY busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
RUN mkdir -p /data /www && echo hello > /www/index.html && echo old > /data/old
VOLUME /data
ENTRYPOINT [\"/bin/httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]
";

fn busybox() -> Vec<u8> {
    std::fs::read("/bin/busybox").expect("these tests need `busybox-static`")
}

async fn build(engine: &Docker, dockerfile: &str, files: &[(&str, &[u8])]) -> ImageSeen {
    let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let built = engine.build(suite::build_request(dockerfile, files), log).await;
    built.unwrap_or_else(|error| {
        let said: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        panic!("{error}\n{}", said.join("\n"))
    })
}

/// The first line that a web server answers on `address`.
pub(in crate::runtime) async fn fetch(
    address: (std::net::Ipv4Addr, u16),
) -> std::io::Result<String> {
    tokio::task::spawn_blocking(move || {
        let mut stream =
            std::net::TcpStream::connect_timeout(&address.into(), Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn it_passes_the_suite_of_every_engine() {
    let rig = Rig::new().await;
    suite::everything(&rig.bench()).await;
    let good = suite::build_request("FROM scratch\nCOPY a /a\n", &[("a", b"1")]);
    let bad = suite::build_request("FROM scratch\nCOPY missing /a\n", &[]);
    suite::builds(&rig.engine, good, bad).await;
    let dockerfile = "FROM scratch\nCOPY a /a\nCMD [\"/a\"]\n";
    let used = suite::build_request(dockerfile, &[("a", b"3")]);
    suite::a_used_image_stays(&rig.bench(), used).await;
}

#[tokio::test]
async fn a_service_has_no_rights_it_was_not_given() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.limits.pids = 20;
    let id = rig.started(&spec).await;
    let status = rig.say(&id, "cat /proc/1/status").await.output;
    for line in
        ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    {
        assert!(status.contains(line), "no `{line}` in\n{status}");
    }
    let refused = rig.say(&id, "echo x > /x").await;
    assert!(refused.output.contains("Read-only"), "{refused:?}");
    let limits = rig.say(&id, "ulimit -Hn; ulimit -c; ulimit -l").await.output;
    assert_eq!(limits.split_whitespace().collect::<Vec<_>>(), ["16384", "0", "64"]);
    let forks = "for i in $(seq 1 60); do sleep 5 & done; wait";
    let said = rig.say(&id, forks).await;
    assert!(said.output.contains("can't fork"), "{said:?}");

    let mut allowed = rig.bench().web(&network);
    allowed.service.capabilities = vec!["CHOWN".to_owned(), "SETUID".to_owned()];
    let id = rig.started(&allowed).await;
    let status = rig.say(&id, "cat /proc/1/status").await.output;
    assert!(status.contains("CapEff:\t0000000000000081"), "{status}");
}

#[tokio::test]
async fn no_write_reaches_the_disk_of_the_host_unbounded() {
    let rig = Rig::new().await;
    assert_eq!(rig.image.volumes, ["/data"]);
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.tmpfs = vec![Tmpfs { target: "/small/".to_owned(), size_bytes: 1 << 20 }];
    let id = rig.started(&spec).await;
    let mounts = rig.say(&id, "cat /proc/mounts").await.output;
    for path in ["/data", "/tmp", "/small"] {
        assert!(
            mounts.contains(&format!("tmpfs {path} tmpfs rw,nosuid,nodev")),
            "{path}\n{mounts}"
        );
    }
    let full = rig.say(&id, "dd if=/dev/zero of=/small/x bs=1k count=2048").await;
    assert!(full.code != 0 && full.output.contains("No space left"), "{full:?}");
    let usable =
        "cp /bin/busybox /tmp/true && /tmp/true && echo x > /data/x && stat -c %a /tmp /data";
    assert_eq!(rig.say(&id, usable).await.output, "1777\n1777\n");

    let mut kept = rig.bench().web(&network);
    let volume = format!("fo-test-{}", suite::random_hex(6));
    rig.engine.create_volume(&volume, kept.instance).await.unwrap();
    kept.volume_names.insert("data".to_owned(), volume.clone());
    kept.service.volumes = vec![VolumeMount {
        source: Some("data".to_owned()),
        target: "/data".to_owned(),
        is_read_only: false,
    }];
    let id = rig.started(&kept).await;
    let mounts = rig.say(&id, "grep ' /data ' /proc/mounts").await.output;
    assert!(!mounts.contains("tmpfs"), "the author's volume wins: {mounts}");
    let refused = rig.engine.remove_volume(&volume).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused { .. }), "{refused:?}");
}

#[tokio::test]
async fn answers_are_files_that_go_with_the_container() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.has_answers = true;
    spec.service.answer_environment = vec![crate::model::compose::AnswerVariable {
        name: "ANSWER_ROOT".to_owned(),
        question: "root".to_owned(),
    }];
    spec.answer_values = vec!["FLAG{env}".to_owned()];
    let id = rig.engine.create_container(&spec).await.unwrap();
    let tar = suite::tar_of(&[("root", b"FLAG{file}".as_slice())]);
    rig.engine.upload(&id, "/answers", tar).await.unwrap();
    rig.engine.start(&id).await.unwrap();
    assert_eq!(
        rig.say(&id, "cat /answers/root; echo; echo $ANSWER_ROOT").await.output,
        "FLAG{file}\nFLAG{env}\n"
    );
    let label = format!("label=flagops.instance={}", spec.instance);
    let volumes = || {
        let listed = std::process::Command::new("docker")
            .args(["volume", "ls", "-q", "--filter", &label])
            .output()
            .unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    assert_eq!(volumes(), 2, "one for the answers, one over the image's volume path");
    rig.engine.remove_container(&id).await.unwrap();
    assert_eq!(volumes(), 0);
}

#[tokio::test]
async fn services_find_each_other_by_name_and_players_find_the_port() {
    let rig = Rig::new().await;
    let bench = rig.bench();
    let (_, front) = bench.network().await;
    let (_, back) = bench.network().await;
    let mut web = bench.web(&front);
    let port = suite::free_port();
    suite::publish(&mut web, port);
    web.more_networks = vec![end("back", &back)];
    let mut db = bench.web(&back);
    db.service.name = "db".parse().unwrap();
    db.network.aliases = vec!["db".to_owned(), "mysql".to_owned()];
    let web = rig.started(&web).await;
    rig.started(&db).await;
    for name in ["db", "mysql"] {
        let said = rig.say(&web, &format!("wget -qO- http://{name}:8080/")).await;
        assert_eq!(said.output, "hello\n", "{name}");
    }
    let began = std::time::Instant::now();
    let outside = rig.say(&web, "wget -T 20 http://example.org/").await;
    assert_ne!(outside.code, 0, "a name outside is not looked up: {outside:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it fails soon: {:?}", began.elapsed());
    assert_eq!(fetch((std::net::Ipv4Addr::LOCALHOST, port)).await.unwrap(), "hello");
    let seen = rig.engine.container(&web).await.unwrap().unwrap();
    assert_eq!(fetch((seen.addresses[&back], 8080)).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_published_port_that_nobody_serves_yet_is_not_usable() {
    use crate::runtime::probe::{ProbeTarget, wait_usable};
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    suite::publish(&mut spec, suite::free_port());
    spec.service.entrypoint = Some(vec!["/bin/sh".into(), "-c".into()]);
    let late = "sleep 1; touch /tmp/serves; exec httpd -f -p 8080 -h /www";
    spec.service.command = Some(vec![late.into()]);
    let id = rig.started(&spec).await;
    let target = ProbeTarget::new(&id, &spec.service, None);
    assert_eq!(target.ports, [8080]);
    wait_usable(&rig.engine, &target, Duration::from_secs(20)).await.unwrap();
    assert_eq!(rig.say(&id, "test -e /tmp/serves").await.code, 0, "it was called usable too soon");
}

#[tokio::test]
async fn commands_end_with_their_code_or_at_their_deadline() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let id = rig.started(&rig.bench().web(&network)).await;
    assert_eq!(rig.say(&id, "echo out; echo err >&2; exit 7").await.code, 7);
    let long = rig.say(&id, "yes | head -c 100000; echo end").await;
    assert!(long.output.len() <= 4096 && long.output.ends_with("end\n"), "{}", long.output.len());
    let absent = HealthTest::Exec(vec!["/no/such".to_owned()]);
    let ran = rig.engine.exec(&id, &absent, Duration::from_secs(10)).await.unwrap();
    assert!(ran.code == 126 || ran.code == 127, "{ran:?}");

    let slow = HealthTest::Exec(vec!["/bin/sleep".to_owned(), "987".to_owned()]);
    let ended = rig.engine.exec(&id, &slow, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(ended, EngineError::TimedOut { secs: 1, .. }), "{ended:?}");
    let left = rig.say(&id, "ps | grep -c '[s]leep 987'").await;
    assert_eq!(left.output, "0\n", "a hung command is ended");
}

#[tokio::test]
async fn the_engines_health_verdict_and_logs_are_passed_on() {
    let rig = Rig::new().await;
    let (_, network) = rig.bench().network().await;
    let mut spec = rig.bench().web(&network);
    spec.service.healthcheck = Some(Healthcheck::Command {
        test: HealthTest::Shell("exit 1".to_owned()),
        interval_millis: 100,
        timeout_millis: 1000,
        retries: 1,
        start_period_millis: 0,
    });
    spec.service.entrypoint = Some(vec!["/bin/sh".into(), "-c".into()]);
    spec.service.command =
        Some(vec!["for i in 1 2 3; do echo line $i; done; printf '\\377\\n'; sleep 60".into()]);
    let mut events = rig.engine.events().await.unwrap();
    let id = rig.started(&spec).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let verdict = async {
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            if event.action == "health_status: unhealthy" {
                return event.instance;
            }
        }
        None
    };
    assert_eq!(tokio::time::timeout_at(deadline, verdict).await.unwrap(), Some(spec.instance));
    while !rig.engine.container(&id).await.unwrap().unwrap().is_unhealthy {
        assert!(tokio::time::Instant::now() < deadline, "it never became unhealthy");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.engine.logs(&id, 2).await.unwrap(), "line 3\n\u{fffd}\n");
    let lines: Vec<_> = rig.engine.follow_logs(&id, None).await.unwrap().take(4).collect().await;
    let texts = |lines: &[LogLine]| lines.iter().map(|l| l.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&lines), ["line 1", "line 2", "line 3", "\u{fffd}"]);
    let later = rig.engine.follow_logs(&id, Some(&lines[1].at)).await.unwrap();
    assert_eq!(later.take(2).collect::<Vec<_>>().await, &lines[2..]);
    rig.engine.stop(&id, Duration::from_secs(1)).await.unwrap();
    let seen = rig.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(seen.state, ContainerState::Exited { code: 137, is_oom: false });
}

#[tokio::test]
async fn a_local_base_image_is_enough_for_a_build() {
    let rig = Rig::new().await;
    let base = format!("flagops/test-base-{}:latest", suite::random_hex(4));
    let request = suite::build_request("FROM scratch\nCOPY a /a\n", &[("a", b"1")]);
    let request = BuildRequest { tag: base.clone(), ..request };
    let (log, _lines) = tokio::sync::mpsc::unbounded_channel();
    rig.engine.build(request, log).await.unwrap();
    let dockerfile =
        format!("# syntax=docker/dockerfile:1\nFROM {base}\nARG BUILDKIT_SYNTAX\nCOPY b /b\n");
    let mut request = suite::build_request(&dockerfile, &[("b", b"2")]);
    request.args.insert("BUILDKIT_SYNTAX".to_owned(), "evil/frontend".to_owned());
    let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
    rig.engine.build(request, log).await.unwrap();
    assert_eq!(
        lines.recv().await.unwrap(),
        "ignored `# syntax=docker/dockerfile:1`: built with the engine's own frontend"
    );
    rig.engine.remove_image(&base).await.unwrap();
}

#[tokio::test]
async fn a_failed_build_names_the_instruction() {
    let rig = Rig::new().await;
    let base = "FROM scratch\nCOPY busybox /bin/sh\n";
    let verdict = async |last: &str| {
        let request = suite::build_request(&format!("{base}{last}\n"), &[("busybox", &busybox())]);
        let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let failed = rig.engine.build(request, log).await.unwrap_err();
        let said: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        assert!(matches!(failed, BuildError::Failed { .. }), "{failed:?}\n{said:#?}");
        (failed.to_string(), said)
    };
    let (text, said) = verdict("RUN echo to the log; exit 3").await;
    assert_eq!(text, "the build failed: `RUN echo to the log; exit 3` ended with exit code 3");
    assert!(said.iter().any(|line| line == "to the log"), "{said:#?}");
    let (text, _) = verdict("COPY nope /").await;
    assert!(text.contains("COPY nope /") && text.contains("nope"), "{text}");
    let (text, _) = verdict("RUNN x").await;
    assert!(text.to_lowercase().contains("unknown instruction: runn"), "{text}");
    let (text, _) = verdict("RUN [ $(ls /sys/class/net | wc -l) = 1 ] && exit 9").await;
    assert!(text.ends_with("exit code 9"), "no network but loopback: {text}");
}

#[tokio::test]
async fn the_classic_builder_does_the_same() {
    let rig = Rig::new().await;
    let attempt = async |dockerfile: &str| {
        let request = suite::build_request(dockerfile, &[("busybox", &busybox())]);
        let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let mut log = build_log::BuildLog::new(log);
        let classic = build::Builder::Classic;
        let built = rig.engine.attempt(&request, &request.context, classic, &mut log).await;
        let said: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        (built.map_err(|error| error.to_string()), said, request)
    };
    let good = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo to the log\n";
    let (built, said, request) = attempt(good).await;
    assert_eq!(built, Ok(()), "{said:#?}");
    assert!(said.iter().any(|line| line == "to the log"), "{said:#?}");
    let seen = rig.engine.image(&request.tag).await.unwrap().unwrap();
    assert_eq!(seen.build_key, Some(request.key));
    let (built, _, _) = attempt(&format!("{good}RUN exit 3\n")).await;
    let text = "the build failed: `RUN exit 3` ended with exit code 3";
    assert_eq!(built, Err(text.to_owned()));
}

#[tokio::test]
async fn a_dropped_build_ends() {
    let rig = Rig::new().await;
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN while :; do sleep 7531; done\n";
    let request = suite::build_request(dockerfile, &[("busybox", &busybox())]);
    let slow = BuildRequest { deadline: Duration::from_secs(4), ..request };
    let (log, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let ended = rig.engine.build(slow, log).await.unwrap_err();
    assert!(matches!(ended, BuildError::TimedOut { secs: 4 }), "{ended:?}");
    let said: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
    assert!(said.iter().any(|line| line.contains("sleep 7531")), "it had begun: {said:#?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let ps = std::process::Command::new("pgrep").args(["-f", "sleep 7531"]).output().unwrap();
        if ps.stdout.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the build still runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_proof_leaves_nothing_and_sweeps_what_others_left() {
    let rig = Rig::new().await;
    let leftover = ["create", "--label", "flagops.kind=probe", "--label"];
    let ours = format!("flagops.installation={}", rig.engine.installation);
    rig.engine.prove().await.unwrap();
    let image = format!("flagops/probe:{}", rig.engine.installation);
    let made = std::process::Command::new("docker")
        .args(leftover)
        .args([&ours, &image, "/probe"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    rig.engine.prove().await.unwrap();
    let listed = std::process::Command::new("docker")
        .args(["ps", "-aq", "--filter", &format!("label={ours}")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "");
    assert_eq!(
        rig.engine.images().await.unwrap().len(),
        1,
        "the probe's image is not one we built"
    );
}

#[tokio::test]
async fn an_absent_engine_is_unavailable_and_may_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let endpoint = format!("unix://{}", socket.display());
    let docker = Docker::connect(&endpoint, suite::random_installation()).unwrap();
    let error = docker.info().await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    docker.info().await.expect("the engine is there now");
    std::fs::remove_file(&socket).unwrap();
    let error = docker.containers(None).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_engine_that_takes_the_call_and_says_nothing_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let connection = Connection::new(&format!("unix://{}", socket.display())).unwrap();
    let call = Call { what: "wait".to_owned(), deadline: Duration::from_millis(50) };
    let error = connection.run(&call, |client| async move { client.info().await }).await;
    assert!(matches!(error, Err(EngineError::TimedOut { .. })), "{error:?}");
}
