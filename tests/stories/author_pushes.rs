//! An author pushes a challenge, and players play it a moment later.

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, PATIENCE, Ready, Stage, fetch, read_tcp, until};

#[tokio::test]
async fn a_pushed_challenge_is_built_started_read_and_solved() {
    let stage = Stage::with(&[Challenge::web("WEB-101", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-101").await;
    let red = daemon.team("red").await;
    let blue = daemon.team("blue").await;

    let (of_red, of_blue) = (red.play("WEB-101").await, blue.play("WEB-101").await);
    let (flag, other) = (of_red.flag("/answers/flag").await, of_blue.flag("/answers/flag").await);
    assert_ne!(flag, other, "every instance has a flag of its own");

    let wrong = red.submit(&of_red.id, "flag", json!(other)).await.expect_status(200);
    assert_eq!(wrong.body["correct"], false, "another team's flag is wrong");
    assert_eq!(wrong.body["question_id"], Value::Null);
    let strange = red.submit(&of_blue.id, "flag", json!(other)).await;
    strange.expect_refusal(403, "wrong_team_for_instance");

    let right = red.submit(&of_red.id, "flag", json!(flag)).await.expect_status(200);
    assert_eq!(right.body["correct"], true);
    assert_eq!(right.body["solve_rank"], 1);
    assert_eq!(right.body["challenge_fully_solved"], true);
    red.gone(&of_red.id).await;
    let second = blue.submit(&of_blue.id, "flag", json!(other)).await.expect_status(200);
    assert_eq!(second.body["solve_rank"], 2, "two teams have it now");
    blue.gone(&of_blue.id).await;
    daemon.nothing_left().await;

    let history = red.get("/submissions").await.body;
    let verdicts: Vec<_> = history["items"]
        .as_array()
        .expect("a page has items")
        .iter()
        .map(|row| (row["claimed_flag"].clone(), row["correct"].clone()))
        .collect();
    assert_eq!(verdicts, [(json!(other), json!(false)), (json!(flag), json!(true))]);
}

#[tokio::test]
async fn a_push_is_live_without_anybody_asking_and_running_instances_keep_their_version() {
    let stage = Stage::with(&[Challenge::web("WEB-102", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-102").await;
    let red = daemon.team("red").await;
    let old = red.play("WEB-102").await;
    assert_eq!(version(&old).await, "one");

    stage.remote.put(&Challenge::web("WEB-102", "two"));
    stage.remote.put(&Challenge::tcp("PWN-102"));
    let pushed = stage.remote.push("a second version, and another challenge");
    let admin = daemon.admin();
    until("both are live at the pushed commit", PATIENCE, || async {
        let (web, pwn) = (admin.challenge("WEB-102").await?, admin.challenge("PWN-102").await?);
        let at = |row: &Value| row["live"]["revision"].as_str().map(str::to_owned);
        let are_new = at(&web).as_ref() == Some(&pushed) && at(&pwn).as_ref() == Some(&pushed);
        if are_new { Ok(()) } else { Err(format!("{web} {pwn}")) }
    })
    .await;

    let new = red.play("WEB-102").await;
    assert_eq!(version(&new).await, "two");
    assert_eq!(version(&old).await, "one", "what runs is not touched");
    let tcp = red.play("PWN-102").await;
    let (host, port) = tcp.first();
    let flag = read_tcp(host, port).expect("the TCP service answers");
    assert_eq!(red.submit(&tcp.id, "flag", json!(flag)).await.body["correct"], true);
    // The old version's flag still counts, although that version is live no more.
    let flag = old.flag("/answers/flag").await;
    assert_eq!(red.submit(&old.id, "flag", json!(flag)).await.body["correct"], true);
}

async fn version(instance: &Ready) -> String {
    let (host, port) = instance.first();
    fetch(&format!("http://{host}:{port}/www/version")).await.expect("the web service answers")
}

#[tokio::test]
async fn a_push_to_a_repository_on_this_machine_is_noticed_without_polling() {
    let stage = Stage::with(&[Challenge::quiz("QUIZ-107")]).await;
    // Nobody would look for an hour.
    let daemon = Daemon::start(stage.settings().number("source.poll_secs", 3600)).await;
    daemon.live("QUIZ-107").await;
    stage.remote.put(&Challenge::quiz("QUIZ-108"));
    stage.remote.push("another quiz");
    daemon.live("QUIZ-108").await;
}

#[tokio::test]
async fn a_build_is_shown_while_it_runs() {
    let slow = Challenge::web("WEB-109", "one").with(
        "services/web/Dockerfile",
        "FROM busybox:latest
RUN echo warming up && sleep 4
COPY version /www/version
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/\"]
",
    );
    let stage = Stage::with(&[slow]).await;
    let daemon = stage.serve().await;
    let admin = daemon.admin();
    until("the step that runs is shown", PATIENCE, || async {
        let page = admin.try_get("/gitops/builds?challenge_id=WEB-109").await?.body;
        let build = &page["items"][0];
        let is_shown = build["status"] == "building"
            && build["log_tail"].as_str().is_some_and(|log| log.contains("warming up"))
            // One builder counts CMD as a step, the other does not.
            && build["progress"]["step"].as_str().is_some_and(|step| step.starts_with("2/"));
        if is_shown { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
    let red = daemon.team("red").await;
    let early = red.post("/instances", json!({ "challenge_id": "WEB-109" })).await;
    early.expect_refusal(404, "challenge_not_found");
    daemon.live("WEB-109").await;
    red.play("WEB-109").await.flag("/answers/flag").await;
}

#[tokio::test]
async fn two_services_talk_over_a_network_of_their_own() {
    let stage = Stage::with(&[Challenge::web_and_db("WEB-103", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-103").await;
    let (red, blue) = (daemon.team("red").await, daemon.team("blue").await);
    let (of_red, of_blue) = (red.start("WEB-103").await, blue.start("WEB-103").await);
    let (of_red, of_blue) = (red.ready(&of_red).await, blue.ready(&of_blue).await);

    // The name `db` leads each instance to its own database.
    let (flag, other) = (of_red.flag("/cgi-bin/flag").await, of_blue.flag("/cgi-bin/flag").await);
    assert_ne!(flag, other);
    assert_eq!(red.submit(&of_red.id, "flag", json!(flag)).await.body["correct"], true);
    blue.stop(&of_blue.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn a_conventional_flag_rotator_and_a_subpath_mount_work() {
    let stage = Stage::with(&[Challenge::rotated("WEB-104")]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-104").await;
    let red = daemon.team("red").await;
    let instance = red.play("WEB-104").await;
    let flag = instance.flag("/flag").await;
    assert_eq!(red.submit(&instance.id, "flag", json!(flag)).await.body["correct"], true);
    red.gone(&instance.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn the_images_of_an_unchanged_challenge_are_built_once() {
    let web = Challenge::web("WEB-105", "one");
    let stage = Stage::with(&[web]).await;
    let daemon = stage.serve().await;
    daemon.live("WEB-105").await;
    let admin = daemon.admin();
    let before = admin.challenge("WEB-105").await.expect("it is there");

    // Another description is another version of the same image.
    let path = "WEB/WEB-105/metadata.yaml";
    let text = std::fs::read_to_string(stage.remote.file(path)).expect("the author's file");
    stage.remote.write(path, text.replace("Says its flag", "Says its own flag"));
    let pushed = stage.remote.push("another description");
    let after = until("the new description is live", PATIENCE, || async {
        let row = admin.challenge("WEB-105").await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(row) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(after["images"], before["images"], "key, image, times and attempts are the same");
    assert_eq!(before["images"][0]["attempts"], 1);
}

#[tokio::test]
async fn a_quiz_is_graded_capped_and_unlocked_in_order() {
    let stage = Stage::with(&[Challenge::quiz("QUIZ-101")]).await;
    let daemon = stage.serve().await;
    daemon.live("QUIZ-101").await;
    let red = daemon.team("red").await;
    let answer = |question: &str, answer: Value| {
        red.post(
            "/qa/submissions",
            json!({"challenge_id": "QUIZ-101", "competition_id": "default",
                   "question_id": question, "answer": answer}),
        )
    };

    answer("last", json!("open")).await.expect_refusal(403, "question_locked");
    answer("nowhere", json!("x")).await.expect_refusal(422, "unknown_question_id");
    let wrong = answer("one", json!("ftp")).await.expect_status(200);
    assert_eq!(
        (&wrong.body["correct"], &wrong.body["attempts_remaining"]),
        (&json!(false), &json!(2))
    );
    answer("one", json!("nonsense")).await.expect_status(200);
    answer("one", json!("telnet")).await.expect_status(200);
    let refused = answer("one", json!("ssh")).await;
    let refused = refused.expect_refusal(429, "question_attempt_cap_exceeded");
    assert_eq!(refused.body["detail"]["cap"], 3, "a right answer is refused, too");

    for (question, sent, is_right) in [
        ("many", json!(["ntp"]), false),
        ("many", json!([]), false),
        ("many", json!("ntp, dns"), true),
        ("port", json!(" 443 "), true),
        ("last", json!("Open"), false),
        ("last", json!("open"), true),
    ] {
        let graded = answer(question, sent.clone()).await.expect_status(200);
        assert_eq!(graded.body["correct"], is_right, "{question}: {sent}");
        assert_eq!(graded.body["challenge_fully_solved"], false, "`one` is not solved");
    }

    // The cap belongs to the team and the question; another team begins anew, on an instance too.
    let blue = daemon.team("blue").await;
    let instance = blue.play("QUIZ-101").await;
    assert_eq!(instance.services, Vec::new(), "nothing runs for a quiz");
    let locked = blue.submit(&instance.id, "last", json!("open")).await;
    locked.expect_refusal(403, "question_locked");
    for (question, sent) in
        [("port", json!("443")), ("one", json!("ssh")), ("many", json!(["dns", "ntp"]))]
    {
        assert_eq!(blue.submit(&instance.id, question, sent).await.body["correct"], true);
    }
    let last = blue.submit(&instance.id, "last", json!("open")).await;
    assert_eq!(last.body["challenge_fully_solved"], true);
    blue.gone(&instance.id).await;
}

#[tokio::test]
async fn checking_an_answer_is_no_way_around_the_caps() {
    let stage = Stage::with(&[Challenge::quiz("QUIZ-102"), Challenge::web("WEB-106", "one")]).await;
    let daemon = stage.serve().await;
    daemon.live("QUIZ-102").await;
    daemon.live("WEB-106").await;
    let red = daemon.team("red").await;
    let quiz = red.play("QUIZ-102").await;
    let path = format!("/instances/{}/verify-answer", quiz.id);
    let check = |question: &str, answer: &str| {
        red.post(&path, json!({ "question_id": question, "answer": answer }))
    };
    for wrong in ["telnet", "ftp", "none"] {
        assert_eq!(check("one", wrong).await.expect_status(200).body["correct"], false);
    }
    check("one", "ssh").await.expect_refusal(429, "question_attempt_cap_exceeded");
    check("last", "open").await.expect_refusal(403, "question_locked");

    let web = red.play("WEB-106").await;
    let flag = web.flag("/answers/flag").await;
    let body = json!({ "answer": flag });
    let checked = red.post(&format!("/instances/{}/verify-answer", web.id), body).await;
    assert_eq!(checked.expect_status(200).body, json!({"correct": true, "question_id": "flag"}));
    assert_eq!(red.get("/submissions").await.body["total"], 0, "a check is not recorded");
}
