//! The program as people run it: arguments in, text and exit code out.

#[path = "cli/secrets.rs"]
mod secrets;

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const INSTANCE: &str = "3f2a0000-0000-4000-8000-000000000001";

/// The program in folder `dir`, without any setting of the machine.
fn flagops(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flagops"));
    command.current_dir(dir).env_clear().timeout(Duration::from_secs(60));
    command
}

/// A folder whose data directory holds the token of an administrator.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a test may write to its folder, run and read");
    std::fs::create_dir(folder.path().join("flagops-data"))
        .expect("a test may write to its folder, run and read");
    std::fs::write(folder.path().join("flagops-data/admin.token"), "pt_admin\n")
        .expect("a test may write to its folder, run and read");
    folder
}

/// Runs `arguments` against `server` in an installed folder.
async fn ask(server: &MockServer, arguments: &[&str]) -> Assert {
    let folder = installed();
    let mut command = flagops(folder.path());
    command.env("FLAGOPS_URL", server.uri()).args(arguments);
    tokio::task::spawn_blocking(move || command.assert())
        .await
        .expect("a test may write to its folder, run and read")
}

fn stdout_json(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout)
        .expect("a test may write to its folder, run and read")
}

async fn on(server: &MockServer, verb: &str, route: &str, token: &str, answer: Value) {
    Mock::given(method(verb))
        .and(path(format!("/api/v1{route}")))
        .and(header("authorization", format!("Bearer {token}")))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(server)
        .await;
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    flagops(folder.path())
        .arg("--help")
        .assert()
        .code(0)
        .stdout(predicate::str::contains("Start here:").and(predicate::str::contains("instances")));
    flagops(folder.path())
        .arg("--version")
        .assert()
        .code(0)
        .stdout(predicate::str::starts_with("flagops "));
    for command in ["serve", "check", "status", "builds", "instances", "token", "doctor"] {
        flagops(folder.path()).args([command, "--help"]).assert().code(0);
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["instances", "stop"],
        &["instances", "start", "../x"],
        &["check", "/nonexistent"],
        &["status", "--url", "nonsense"],
        &["status", "--token", "a", "--token-file", "b"],
        &["status", "--token-file", "/nonexistent"],
    ] {
        flagops(folder.path()).args(arguments).assert().code(2);
    }
}

#[test]
fn serve_reports_every_fault_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flagops.toml"), "[source]\npol_secs = 1\n").unwrap();
    flagops(folder.path())
        .args(["serve", "--log-format", "xml"])
        .env("FLAGOPS_LIMITS__MAX_PIDS", "0")
        .assert()
        .code(2)
        .stdout("")
        .stderr(
            predicate::str::contains("the configuration has 4 faults:")
                .and(predicate::str::contains("flagops.toml:2: `source.pol_secs`"))
                .and(predicate::str::contains("variable `FLAGOPS_LIMITS__MAX_PIDS`"))
                .and(predicate::str::contains("flag `--log-format`"))
                .and(predicate::str::contains("give `--repo PATH_OR_URL`")),
        );
}

#[test]
fn an_absent_server_is_a_failure_with_the_next_command() {
    let folder = installed();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    flagops(folder.path()).args(["status", "--url", &url]).assert().code(1).stderr(
        predicate::str::contains(format!("no server answers at {url}"))
            .and(predicate::str::contains("next: start one with `flagops serve")),
    );
}

#[test]
fn a_folder_without_challenges_is_not_taken_for_a_clean_one() {
    let folder = tempfile::tempdir().unwrap();
    flagops(folder.path()).args(["check", "--format", "json"]).assert().code(2).stderr(
        predicate::str::contains("no challenge was found")
            .and(predicate::str::contains("`metadata.yaml`")),
    );
    flagops(folder.path())
        .args(["check", "--rev", "HEAD"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("could not read revision `HEAD`"));
}

/// Copies the repository of typical mistakes to `to`; it has to be outside of our own.
fn mistakes(to: &Path) {
    fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                copy(&from, &to)?;
            } else {
                std::fs::copy(from, to)?;
            }
        }
        Ok(())
    }
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/repository"), to)
        .expect("a test may write to its folder, run and read");
}

/// What `check` says of typical mistakes, in every format, is checked in: a change of words is seen
/// in the review. `FLAGOPS_UPDATE=1` writes it anew.
#[test]
fn typical_mistakes_are_shown_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    mistakes(folder.path());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (format, file) in [
        ("table", "check.txt"),
        ("json", "check.json"),
        ("sarif", "check.sarif"),
        ("github", "check.github.txt"),
        ("junit", "check.junit.xml"),
    ] {
        let assert = flagops(folder.path()).args(["check", "--format", format]).assert().code(1);
        let shown = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(!shown.contains('\u{1b}'), "no colours in a pipe");
        assert!(!shown.contains("telnet"), "an answer is in the report as {format}: {shown}");
        let shown = shown.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let file = golden.join(file);
        if std::env::var_os("FLAGOPS_UPDATE").is_some() {
            std::fs::write(&file, &shown).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(shown, wanted, "{}: FLAGOPS_UPDATE=1 writes it anew", file.display());
    }
}

#[test]
fn a_check_can_be_narrowed_made_strict_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    mistakes(folder.path());
    let check = |arguments: &[&str]| flagops(folder.path()).arg("check").args(arguments).assert();
    check(&["WEB/WEB-001"]).code(0).stdout(predicate::str::contains("1 challenge checked"));
    check(&["WEB/WEB-002/metadata.yaml", "WEB/WEB-001/services/web/Dockerfile"])
        .code(1)
        .stdout(predicate::str::contains("2 challenges checked"));
    let rules = check(&["WEB", "--format", "json"]).code(1);
    let issues = stdout_json(&rules)["issues"].clone();
    let is_web = |issue: &Value| issue["path"].as_str().unwrap().starts_with("WEB-00");
    assert!(issues.as_array().unwrap().iter().all(is_web), "{issues}");
    check(&["--since", "main"]).code(2).stderr(predicate::str::contains("`main`"));
    check(&["--explain", "NOTHING"]).code(2).stderr(predicate::str::contains("--explain"));
    check(&["--explain"]).code(0).stdout(predicate::str::contains("WHAT IT FINDS"));
    check(&["--format", "xml"]).code(2);
    flagops(folder.path())
        .args(["status", "--format", "sarif"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("[possible values: table, json]"));
}

#[tokio::test]
async fn the_provenance_of_a_generation_is_printed_or_written_as_the_server_says_it() {
    let server = MockServer::start().await;
    let text = "{\n  \"_type\": \"https://in-toto.io/Statement/v1\",\n  \"subject\": []\n}\n";
    Mock::given(method("GET"))
        .and(path("/api/v1/gitops/releases/12/provenance"))
        .and(header("authorization", "Bearer pt_admin"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(text, "application/vnd.in-toto+json"))
        .mount(&server)
        .await;
    ask(&server, &["releases", "provenance", "12"]).await.code(0).stdout(text);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("12.json");
    let out = file.to_str().unwrap();
    ask(&server, &["releases", "provenance", "12", "--out", out]).await.code(0).stdout("");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let nowhere = folder.path().join("none/12.json");
    ask(&server, &["releases", "provenance", "12", "--out", nowhere.to_str().unwrap()])
        .await
        .code(1)
        .stderr(predicate::str::contains("could not write").and(predicate::str::contains("--out")));
}

/// Runs git in `folder`, with nobody's configuration.
fn git(folder: &Path, arguments: &[&str]) {
    let run = std::process::Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.invalid"])
        .args(arguments)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .output()
        .expect("a test may write to its folder, run and read");
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn since_shows_what_changed_and_a_shallow_clone_says_what_to_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    mistakes(&origin);
    git(&origin, &["init", "-q"]);
    git(&origin, &["add", "-A"]);
    git(&origin, &["commit", "-qm", "one"]);
    let unchanged = flagops(&origin).args(["check", "--since", "HEAD"]).assert().code(0);
    unchanged.stdout(predicate::str::starts_with("0 challenges checked that differ from `HEAD`"));

    let metadata = origin.join("MISC/QUIZ-002/metadata.yaml");
    let text = std::fs::read_to_string(&metadata).unwrap();
    std::fs::write(&metadata, format!("{text}colour: red\n")).unwrap();
    let rules = |arguments: &[&str]| -> Vec<(String, String)> {
        let json = ["--format", "json"];
        let assert = flagops(&origin).arg("check").args(arguments).args(json).assert().code(1);
        let issues = stdout_json(&assert)["issues"].clone();
        let text = |issue: &Value, key: &str| issue[key].as_str().unwrap_or_default().to_owned();
        let rows = issues.as_array().into_iter().flatten();
        rows.map(|issue| (text(issue, "rule"), text(issue, "challenge"))).collect()
    };
    let wanted = vec![("META005".to_owned(), "QUIZ-002".to_owned())];
    assert_eq!(rules(&["--since", "HEAD"]), wanted, "also what is not committed");
    git(&origin, &["commit", "-qam", "two"]);
    assert_eq!(rules(&["--since", "HEAD~1"]), wanted);
    assert_eq!(rules(&["--since", "HEAD~1", "--rev", "HEAD", "MISC"]), wanted);

    let url = format!("file://{}", origin.display());
    git(folder.path(), &["clone", "-q", "--depth=1", &url, "clone"]);
    let clone = folder.path().join("clone");
    flagops(&clone).args(["check", "--since", "HEAD~1"]).assert().code(2).stderr(
        predicate::str::contains("shallow").and(predicate::str::contains("fetch-depth: 0")),
    );
}

#[test]
fn warnings_fail_only_a_strict_check() {
    let folder = tempfile::tempdir().unwrap();
    mistakes(folder.path());
    let challenge = folder.path().join("WEB/WEB-001");
    // The template takes the place of the file: a warning.
    let attachment = challenge.join("attachments");
    std::fs::create_dir(&attachment).unwrap();
    std::fs::write(attachment.join("note.txt"), "x\n").unwrap();
    std::fs::write(attachment.join("note.txt.tpl"), "x\n").unwrap();
    let found = flagops(&challenge).args(["check", "--format", "json"]).assert();
    let found = stdout_json(&found)["issues"].clone();
    let is_warning = |issue: &Value| issue["severity"] == "warning";
    assert!(found.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_warning)));
    flagops(&challenge).arg("check").assert().code(0);
    flagops(&challenge).args(["check", "--strict"]).assert().code(1);
}

#[test]
fn doctor_names_an_absent_engine_and_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    let assert = flagops(folder.path())
        .args(["doctor", "--format", "json"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .assert()
        .code(1);
    let report = stdout_json(&assert);
    assert_eq!(report["verdict"], "broken");
    let checks = report["checks"].as_array().unwrap();
    let engine = checks.iter().find(|check| check["name"] == "engine").unwrap();
    assert_eq!(engine["verdict"], "broken");
    assert!(engine["found"].as_str().unwrap().contains("/nonexistent/docker.sock"), "{engine}");
    assert!(engine["fix"].as_str().unwrap().contains("engine.endpoint"), "{engine}");
    for name in ["data directory", "address pool", "packet filter", "kernel.dmesg_restrict"] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name} is missing");
    }
}

#[test]
fn completions_are_scripts() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        flagops(folder.path())
            .args(["completions", shell])
            .assert()
            .code(0)
            .stdout(predicate::str::contains("reconcile"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_token_is_found_in_the_data_directory() {
    let server = MockServer::start().await;
    let status = json!({"source": {"remote": "/srv/ctf"}, "counts": {"teams": 3}});
    on(&server, "GET", "/gitops/status", "pt_admin", status.clone()).await;
    let assert = ask(&server, &["status", "--format", "json"]).await.code(0);
    assert_eq!(stdout_json(&assert), status);
    ask(&server, &["status"])
        .await
        .code(0)
        .stdout(predicate::str::contains("/srv/ctf").and(predicate::str::contains("3 teams")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_wins_over_every_variable_with_a_token() {
    let server = MockServer::start().await;
    on(&server, "GET", "/gitops/status", "pt_file", json!({"source": {}})).await;
    let folder = installed();
    std::fs::write(folder.path().join("other.token"), "pt_file").unwrap();
    let mut command = flagops(folder.path());
    command.env("FLAGOPS_URL", server.uri()).env("FLAGOPS_TOKEN", "pt_variable");
    command.args(["status", "--token-file", "other.token"]);
    tokio::task::spawn_blocking(move || command.assert().code(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_starts_an_instance_for_a_team() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/admin/tokens"))
        .and(body_json(json!({"team": "blue"})))
        .and(header("authorization", "Bearer pt_admin"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": "pt_blue"})))
        .expect(1)
        .mount(&server)
        .await;
    let started = json!({"id": INSTANCE, "status": "starting"});
    on(&server, "POST", "/instances", "pt_blue", started).await;
    let route = format!("/instances/{INSTANCE}/status");
    let starting = json!({"status": "starting",
        "progress": {"step": 3, "of": 5, "message": "creating containers"}});
    Mock::given(path(format!("/api/v1{route}")))
        .respond_with(ResponseTemplate::new(200).set_body_json(starting))
        .up_to_n_times(2)
        .with_priority(1)
        .mount(&server)
        .await;
    let ready = json!({"status": "ready", "attack_surface": {"services": [
        {"service_type": "http", "host": "127.0.0.1", "port": 20001, "path": "/", "label": "web"}]}});
    on(&server, "GET", &route, "pt_blue", ready).await;
    ask(&server, &["instances", "start", "WEB-001", "--team", "blue"])
        .await
        .code(0)
        .stdout(predicate::str::contains("http://127.0.0.1:20001/"))
        .stderr(
            predicate::str::contains("3/5 creating containers\n")
                .count(1)
                .and(predicate::str::contains("WEB-001 is ready after"))
                .and(predicate::str::contains("pt_blue").not()),
        );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_says_why_and_what_next() {
    let server = MockServer::start().await;
    on(&server, "POST", "/instances", "pt_admin", json!({"id": INSTANCE})).await;
    let failed = json!({"status": "error", "error": "`web` ended with code 3"});
    on(&server, "GET", &format!("/instances/{INSTANCE}/status"), "pt_admin", failed).await;
    ask(&server, &["instances", "start", "WEB-001"]).await.code(1).stderr(
        predicate::str::contains("did not start: `web` ended with code 3")
            .and(predicate::str::contains(format!("flagops instances logs {INSTANCE}"))),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_without_team_is_told_to_name_one() {
    let server = MockServer::start().await;
    let refusal = json!({"code": "not_registered", "detail": {"message": "not registered"}});
    Mock::given(path("/api/v1/instances"))
        .respond_with(ResponseTemplate::new(403).set_body_json(refusal))
        .mount(&server)
        .await;
    ask(&server, &["instances", "start", "WEB-001"]).await.code(2).stderr(
        predicate::str::contains("next: name a team: `flagops instances start CHALLENGE --team"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_stopped_by_the_beginning_of_its_id() {
    let server = MockServer::start().await;
    let rows = json!({"items": [{"id": INSTANCE, "challenge_id": "WEB-001"}], "total": 1});
    on(&server, "GET", "/admin/instances", "pt_admin", rows).await;
    on(&server, "DELETE", &format!("/instances/{INSTANCE}"), "pt_admin", json!({})).await;
    ask(&server, &["instances", "stop", "3f2a"])
        .await
        .code(0)
        .stdout(predicate::str::contains(INSTANCE));
    ask(&server, &["instances", "stop", "--all"]).await.code(2);
    ask(&server, &["instances", "stop", "--all", "--yes"]).await.code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_sees_the_instances_of_the_team() {
    let server = MockServer::start().await;
    let refusal = json!({"code": "http_403", "detail": "Admin privileges required"});
    Mock::given(path("/api/v1/admin/instances"))
        .respond_with(ResponseTemplate::new(403).set_body_json(refusal))
        .mount(&server)
        .await;
    let rows = json!({"items": [{"id": INSTANCE}], "total": 1});
    on(&server, "GET", "/instances", "pt_player", rows).await;
    let list = ask(&server, &["--token", "pt_player", "instances", "ls", "--format", "json"]).await;
    assert_eq!(stdout_json(&list.code(0)), json!({"items": [{"id": INSTANCE}], "total": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_cannot_drive_the_terminal() {
    let server = MockServer::start().await;
    let route = format!("/admin/instances/{INSTANCE}/logs");
    on(&server, "GET", &route, "pt_admin", json!({"logs": "web: \u{1b}[2Jhi\nbye"})).await;
    let assert = ask(&server, &["instances", "logs", INSTANCE]).await.code(0);
    assert_eq!(assert.get_output().stdout, "web: \u{fffd}[2Jhi\nbye\n".as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_builds_ends_with_1_when_one_failed() {
    let server = MockServer::start().await;
    let build = |status: &str| {
        json!({"items": [{"key": "k", "challenge_id": "WEB-001", "service": "web",
            "status": status, "error": "exit code 2", "log_tail": "cc: no such file"}], "total": 1})
    };
    Mock::given(path("/api/v1/gitops/builds"))
        .respond_with(ResponseTemplate::new(200).set_body_json(build("building")))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    on(&server, "GET", "/gitops/builds", "pt_admin", build("failed")).await;
    ask(&server, &["builds", "--watch"]).await.code(1).stdout(
        predicate::str::contains("WEB-001/web building")
            .and(predicate::str::contains("WEB-001/web failed exit code 2")),
    );
    ask(&server, &["builds", "log", "WEB-001"])
        .await
        .code(0)
        .stdout(predicate::str::contains("cc: no such file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_the_only_thing_on_standard_output() {
    let server = MockServer::start().await;
    let answer = json!({"token": "pt_blue", "team_id": "9b01", "team_name": "blue"});
    on(&server, "POST", "/admin/tokens", "pt_admin", answer.clone()).await;
    ask(&server, &["token", "create", "--team", "blue"]).await.code(0).stdout("pt_blue\n");
    let json = ask(&server, &["token", "create", "--team", "blue", "--format", "json"]).await;
    assert_eq!(stdout_json(&json.code(0)), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_this_machine_is_not_sent_to_another() {
    // The name is not one of this machine, whatever it resolves to.
    let folder = installed();
    let mut command = flagops(folder.path());
    command.args(["status", "--url", "http://flagops.invalid:1", "--timeout", "5"]);
    command.assert().code(1).stderr(predicate::str::contains("pt_admin").not());
}

#[tokio::test]
async fn events_are_narrowed_by_the_server_and_a_wrong_type_never_leaves() {
    let server = MockServer::start().await;
    let event = json!({
        "seq": 7, "at": "2026-11-20T12:00:00Z", "scope": "node/local", "type": "DockerAvailable",
        "status": "False", "reason": "Unreachable", "message": "no answer", "revision": null,
    });
    Mock::given(method("GET"))
        .and(path("/api/v1/gitops/events/log"))
        .and(query_param("scope", "node/local"))
        .and(query_param("kind", "DockerAvailable"))
        .and(query_param("after", "3"))
        .and(query_param("limit", "9"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"items": [event], "next": 7})),
        )
        .mount(&server)
        .await;
    let narrowed = "events --scope node/local --kind DockerAvailable --since-seq 3 --limit 9";
    let arguments: Vec<&str> = narrowed.split(' ').collect();
    ask(&server, &arguments).await.success().stdout(predicate::str::contains(
        "7    2026-11-20T12:00:00Z  node/local  DockerAvailable=False  Unreachable  no answer",
    ));
    ask(&server, &["events", "--kind", "Dokcer"])
        .await
        .code(2)
        .stderr(predicate::str::contains("is not a type of conditions"));
}

#[tokio::test]
async fn a_followed_event_is_one_line_of_json_and_waits_for_the_next() {
    let server = MockServer::start().await;
    let page = |seq: i64| json!({"items": [{"seq": seq, "message": "a\nb"}], "next": seq});
    let log = || Mock::given(path("/api/v1/gitops/events/log"));
    log()
        .and(query_param("after", "8"))
        .respond_with(ResponseTemplate::new(403).set_body_json(json!({"detail": "enough"})))
        .with_priority(1)
        .mount(&server)
        .await;
    for (priority, after, seq) in [(2, Some("7"), 8), (3, None, 7)] {
        let answer = ResponseTemplate::new(200).set_body_json(page(seq));
        let mock = match after {
            Some(after) => log().and(query_param("after", after)),
            None => log(),
        };
        mock.respond_with(answer).with_priority(priority).mount(&server).await;
    }
    let assert = ask(&server, &["events", "--follow", "--format", "json"]).await.code(1);
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let seqs: Vec<i64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seq"].as_i64())
        .collect();
    assert_eq!(seqs, [7, 8], "{text}");
}

#[tokio::test]
async fn a_test_notice_that_fails_says_why_and_what_next() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/gitops/notices/test"))
        .respond_with(ResponseTemplate::new(502).set_body_json(json!({
            "code": "notice_not_delivered", "detail": "the receiver answered HTTP 404: no_team",
        })))
        .mount(&server)
        .await;
    ask(&server, &["notify", "test"]).await.code(1).stderr(
        predicate::str::contains("the receiver answered HTTP 404: no_team")
            .and(predicate::str::contains("next: correct the address")),
    );
}
