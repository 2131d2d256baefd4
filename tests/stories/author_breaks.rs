//! An author pushes something broken: it is said where, nothing is lost, and nobody else notices.

use serde_json::Value;

use crate::support::{Challenge, Client, Compose, PATIENCE, Stage, until};

/// Waits until `id` has a finding of `rule`; all its findings as `rule path:line message`.
async fn findings(admin: &Client, id: &str, rule: &str) -> Vec<String> {
    until(&format!("{id} has a finding {rule}"), PATIENCE, || async {
        let row = admin.challenge(id).await?;
        let found = said(&row["findings"]);
        let has_it = found.iter().any(|finding| finding.starts_with(rule));
        if has_it { Ok(found) } else { Err(row.to_string()) }
    })
    .await
}

fn said(findings: &Value) -> Vec<String> {
    let text = |finding: &Value, key: &str| match &finding[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows = findings.as_array().expect("findings are a list").iter();
    rows.map(|row| {
        let [rule, path, line, message] = ["rule", "path", "line", "message"].map(|k| text(row, k));
        format!("{rule} {path}:{line} {message}")
    })
    .collect()
}

#[tokio::test]
async fn a_broken_metadata_yaml_keeps_the_old_version_and_names_file_and_line() {
    let stage = Stage::with(&[Challenge::web("WEB-201", "one"), Challenge::tcp("PWN-201")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-201").await;
    daemon.live("PWN-201").await;
    let (admin, red) = (daemon.admin(), daemon.team("red").await);
    let live_before = admin.challenge("WEB-201").await.expect("it is there")["live"].clone();

    let path = "WEB/WEB-201/metadata.yaml";
    let good = std::fs::read_to_string(stage.remote.file(path)).expect("the author's file");
    let broken = good.replace("difficulty: easy", "difficulty: impossible\ncolour: red");
    stage.remote.write(path, &broken);
    stage.remote.put(&Challenge::web("WEB-202", "new"));
    stage.remote.push("break one, add another");

    let found = findings(&admin, "WEB-201", "META003").await;
    let line =
        1 + broken.lines().position(|line| line.contains("impossible")).expect("it is there");
    let has = |wanted: &str| found.iter().any(|finding| finding.starts_with(wanted));
    assert!(has(&format!("META003 WEB/WEB-201/metadata.yaml:{line} ")), "{found:?}");
    assert!(
        has(&format!("META005 WEB/WEB-201/metadata.yaml:{} ", line + 1)),
        "all at once: {found:?}"
    );
    let condition = admin.stated("challenge/WEB-201", "Validated", "False", "Invalid").await;
    let message = condition["message"].as_str().expect("a condition has a message");
    assert!(message.contains(&format!("metadata.yaml:{line}")), "{message}");

    // The others of the same push go on.
    daemon.live("WEB-202").await;
    let row = admin.challenge("WEB-201").await.expect("it is there");
    assert_eq!(row["live"], live_before, "the last valid version stays live");
    assert_eq!(row["valid"], false);
    let instance = red.play("WEB-201").await;
    instance.flag("/answers/flag").await;
    red.play("PWN-201").await;

    stage.remote.write(path, good);
    stage.remote.push("mend it");
    daemon.live("WEB-201").await;
    admin.stated("challenge/WEB-201", "Validated", "True", "Ok").await;
}

/// One bad input: the file that is broken, what it holds, the rule that says so, and a word of
/// what is said.
struct Bad {
    id: &'static str,
    file: &'static str,
    content: String,
    rule: &'static str,
    word: &'static str,
}

fn bad_inputs() -> Vec<Bad> {
    let bad = |id, file, content: String, rule, word| Bad { id, file, content, rule, word };
    let compose = |line: &str| Compose::web(&[line]);
    let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned()];
    for n in 1..9 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push(format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let bomb = bomb.concat();
    let file = "docker-compose.yml";
    vec![
        bad("BAD-01", "metadata.yaml", bomb, "META000", "alias"),
        bad(
            "BAD-02",
            "metadata.yaml",
            "name: x\n".repeat(100 * 1024 * 1024 / 8),
            "META000",
            "bytes",
        ),
        bad("BAD-03", "metadata.yaml", "name: [\n".to_owned(), "META000", ""),
        bad("BAD-04", file, compose("privileged: true"), "HARDEN001", "privileged"),
        bad("BAD-05", file, compose("volumes: [\"/:/host\"]"), "HARDEN006", "path of the node"),
        bad("BAD-06", file, compose("volumes: [\"/var/run/docker.sock:/s\"]"), "HARDEN006", ""),
        bad("BAD-07", file, compose("colour: red"), "COMPOSE008", "colour"),
        bad("BAD-08", file, compose("network_mode: host"), "HARDEN003", "network_mode"),
        bad("BAD-09", file, compose("cap_add: [SYS_ADMIN]"), "HARDEN002", "SYS_ADMIN"),
        bad(
            "BAD-10",
            file,
            Compose::web(&[]).replace("\"8080\"]", "\"1-65535\"]"),
            "COMPOSE011",
            "range",
        ),
        bad(
            "BAD-11",
            file,
            Compose::web(&[]).replace("\"8080\"]", "\"99999\"]"),
            "COMPOSE011",
            "99999",
        ),
        bad(
            "BAD-12",
            file,
            Compose::web(&[]).replace("services/web", "services/nowhere"),
            "STRUCT004",
            "nowhere",
        ),
        bad("BAD-13", file, compose("pid: host"), "HARDEN003", "pid"),
        bad("BAD-14", file, compose("devices: [/dev/kmsg]"), "HARDEN004", "devices"),
        bad("BAD-15", file, compose("env_file: /etc/passwd"), "HARDEN009", "env_file"),
    ]
}

#[tokio::test]
async fn every_bad_input_is_named_and_hinders_nobody() {
    let stage = Stage::with(&[Challenge::web("WEB-203", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-203").await;
    let admin = daemon.admin();

    let bad = bad_inputs();
    for case in &bad {
        let web = Challenge::web(case.id, "one").with(case.file, case.content.clone());
        stage.remote.put(&web);
    }
    // A port range, a link out of the tree, and two folders with one id.
    stage.remote.put(&Challenge::web("BAD-16", "one"));
    std::os::unix::fs::symlink("/etc/passwd", stage.remote.file("WEB/BAD-16/services/web/passwd"))
        .expect("a link can be made");
    let twin = Challenge::web("BAD-17", "one");
    stage.remote.put(&twin);
    stage.remote.put(&Challenge { folder: "PWN/BAD-17".to_owned(), ..twin });
    stage.remote.put(&Challenge::tcp("PWN-203"));
    stage.remote.push("everything that can be wrong");

    for case in &bad {
        let found = findings(&admin, case.id, case.rule).await;
        let about = found.iter().find(|finding| finding.starts_with(case.rule));
        let about = about.expect("that is what was waited for");
        assert!(about.contains(&format!("WEB/{}/", case.id)), "{}: {found:?}", case.id);
        assert!(about.contains(case.word), "{} does not name `{}`: {found:?}", case.id, case.word);
    }
    findings(&admin, "BAD-16", "STRUCT020").await;
    let status = admin.get("/gitops/status").await.body;
    let twins = said(&status["source"]["findings"]);
    let of_twins: Vec<_> = twins
        .into_iter()
        .chain(said(
            &admin
                .challenge("BAD-17")
                .await
                .map_or_else(|_| Value::Array(Vec::new()), |row| row["findings"].clone()),
        ))
        .collect();
    assert!(of_twins.iter().any(|finding| finding.starts_with("REPO002")), "{of_twins:?}");

    // Nobody else noticed: one is live from before, one was pushed with them.
    daemon.live("PWN-203").await;
    let listed = admin.get("/challenges").await.body;
    let ids: Vec<_> = listed["items"]
        .as_array()
        .expect("a page has items")
        .iter()
        .map(|row| row["id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(ids, ["PWN-203", "WEB-203"], "nothing broken can be started");
    let red = daemon.team("red").await;
    red.play("WEB-203").await.flag("/answers/flag").await;
}

#[tokio::test]
async fn a_dockerfile_that_fails_says_which_step_and_keeps_the_old_version() {
    let stage = Stage::with(&[Challenge::web("WEB-204", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-204").await;
    let (admin, red) = (daemon.admin(), daemon.team("red").await);
    let failing = "FROM busybox:latest\nRUN echo counting to seven && exit 7\n";
    stage.remote.write("WEB/WEB-204/services/web/Dockerfile", failing);
    stage.remote.push("a step that fails");

    let row = until("the build has failed", PATIENCE, || async {
        let row = admin.challenge("WEB-204").await?;
        if row["state"] == "failed" { Ok(row) } else { Err(row.to_string()) }
    })
    .await;
    assert_ne!(row["live"], Value::Null, "the old version stays live: {row}");
    let image = &row["images"][0];
    assert_eq!(
        (image["status"].as_str(), image["retryable"].as_bool()),
        (Some("failed"), Some(false))
    );
    let error = image["error"].as_str().expect("a failed build has an error");
    assert!(error.contains('7'), "the exit code is named: {error}");
    let builds = admin.get("/gitops/builds?challenge_id=WEB-204").await.body;
    let log = builds["items"][0]["log_tail"].as_str().expect("a build has a log");
    assert!(log.contains("counting to seven"), "{log}");
    red.play("WEB-204").await.flag("/answers/flag").await;
}

#[tokio::test]
async fn an_image_that_never_becomes_healthy_fails_with_its_reason_and_leaves_nothing() {
    let sick = Challenge::web("WEB-205", "one")
        .with("docker-compose.yml", Compose::web(&[]).replace("/www/version", "/www/nowhere"));
    let dying = Challenge::web("WEB-206", "one").with(
        "services/web/Dockerfile",
        "FROM busybox:latest\nCMD [\"sh\", \"-c\", \"echo no luck; exit 3\"]\n",
    );
    let stage = Stage::with(&[sick, dying]).await;
    let daemon =
        crate::support::Daemon::start(stage.settings().number("limits.start_deadline_secs", 16))
            .await;
    daemon.live("WEB-205").await;
    daemon.live("WEB-206").await;
    let (admin, red) = (daemon.admin(), daemon.team("red").await);
    let (sick, dying) = (red.start("WEB-205").await, red.start("WEB-206").await);

    let error = red.failed(&dying).await;
    assert!(error.contains("web") && error.contains("code 3"), "{error}");
    let error = red.failed(&sick).await;
    assert!(error.contains("usable"), "{error}");
    // Operators read the container's last words; players do not.
    let condition = admin.stated(&format!("instance/{dying}"), "Healthy", "False", "Failing").await;
    assert!(condition["message"].to_string().contains("no luck"), "{condition}");
    daemon.nothing_left().await;

    // The error stays readable until its owner stops it.
    assert_eq!(red.get(&format!("/instances/{sick}/status")).await.body["status"], "error");
    red.stop(&sick).await;
    red.stop(&dying).await;
}
