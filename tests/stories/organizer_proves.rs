//! An organizer has challenges proven by their own exploits: no player notices, nothing is left, and
//! an exploit is as shut in as a stranger.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Challenge, Daemon, Finished, PATIENCE, Stage, until};

/// An exploit whose `run` has `body`.
fn exploit(body: &str) -> String {
    let lines: Vec<_> = body.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "import os, pathlib, socket, time
from ctfy.challenge.exploit import ExploitBase, ExploitFailed, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
{}

if __name__ == \"__main__\":
    run_exploit(Exploit)
",
        lines.concat()
    )
}

/// A web challenge of `id` whose exploit has `body`.
fn web(id: &str, body: &str) -> Challenge {
    Challenge::web(id, id).with("solution/exploit.py", exploit(body))
}

/// Asks the web server for its flag.
const ASK: &str =
    "return {'flag': self.match_flag(self.session.get(self.base_url + '/answers/flag').text)}";

/// `flagops solve …`: how it ended, and its rows.
fn solve(daemon: &Daemon, arguments: &[&str]) -> (Finished, Vec<Value>) {
    let finished = daemon.cli(&[&["solve", "--json"], arguments].concat());
    let rows: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {finished:?}"));
    let rows = rows.as_array().expect("it is a list").clone();
    (finished, rows)
}

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    let found = rows.iter().find(|row| row["challenge_id"] == id);
    found.unwrap_or_else(|| panic!("no {id}: {rows:#?}"))
}

#[tokio::test]
async fn a_right_exploit_proves_a_wrong_one_does_not_and_none_is_told() {
    let mut without = web("WEB-903", "");
    without.files.remove("solution/exploit.py");
    let two = Challenge::web_and_db("WEB-904", "one")
        .with("solution/exploit.py", exploit(&ASK.replace("/answers/flag", "/cgi-bin/flag")));
    let stage = Stage::with(&[
        web("WEB-901", ASK),
        web("WEB-902", "return {'flag': 'FLAG{not-this-one}'}"),
        without,
        two,
        Challenge::tcp("PWN-905").with(
            "solution/exploit.py",
            exploit(
                "link = socket.create_connection((self.host, self.port), 10)
return {'flag': self.match_flag(link.makefile().read())}",
            ),
        ),
    ])
    .await;
    // A player has the only place, and keeps it.
    let settings = stage.settings().number("limits.instances_per_node", 1);
    let daemon = Daemon::start(settings).await;
    for id in ["WEB-901", "WEB-902", "WEB-903", "WEB-904", "PWN-905"] {
        daemon.live(id).await;
    }
    let red = daemon.team("red").await;
    let playing = red.play("WEB-901").await;

    let (finished, rows) = solve(&daemon, &["--all"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let states: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            (text("challenge_id"), text("version"), text("state"))
        })
        .collect();
    let wanted = [
        ("PWN-905", "proven"),
        ("WEB-901", "proven"),
        ("WEB-902", "failed"),
        ("WEB-903", "no_exploit"),
        ("WEB-904", "proven"),
    ]
    .map(|(id, state)| (id.to_owned(), "live".to_owned(), state.to_owned()));
    assert_eq!(states, wanted, "{rows:#?}");
    let why = row(&rows, "WEB-902")["why"].as_str().unwrap_or_default();
    assert!(why.contains("its answer to `flag` is wrong"), "{why}");
    assert!(row(&rows, "WEB-901")["took_ms"].as_u64().is_some_and(|took| took > 0), "{rows:#?}");

    let admin = daemon.admin();
    admin.stated("challenge/WEB-901", "Proven", "True", "Ok").await;
    admin.stated("challenge/WEB-902", "Proven", "False", "SolverFailed").await;
    admin.stated("challenge/WEB-903", "Proven", "Unknown", "NoExploit").await;
    let metrics = admin.at(&format!("{}/metrics", daemon.url())).await.expect("it answers");
    assert!(metrics.body.as_str().is_some_and(|text| {
        text.contains("flagops_solve_duration_seconds_count{outcome=\"ok\"}")
    }));
    // Without arguments it shows what is known.
    let table = daemon.cli(&["solve"]);
    assert_eq!(table.code, Some(1), "{table:?}");
    assert!(table.stdout.starts_with("CHALLENGE  VERSION  VERDICT"), "{}", table.stdout);

    // Nobody who plays noticed, and nothing is left.
    let listed = red.get("/challenges?limit=100").await.body.to_string();
    assert!(listed.contains("\"launch_count\":1") && !listed.contains("\"launch_count\":2"));
    assert!(playing.flag("/answers/flag").await.starts_with("FLAG{"));
    let flag = playing.flag("/answers/flag").await;
    assert!(!daemon.log().contains(&flag[5..37]) && !daemon.log().contains("not-this-one"));
    red.stop(&playing.id).await;
    daemon.nothing_left().await;
}

#[tokio::test]
async fn an_exploit_meets_its_target_and_nothing_else() {
    let stage = Stage::with(&[
        web("WEB-911", "time.sleep(3600)"),
        // It looks around, and tells by its answer whether it met nobody.
        Challenge::web_and_db("WEB-912", "one").with(
            "solution/exploit.py",
            exploit(
                r#"open_doors = []
def door(name, host, port):
    try:
        socket.create_connection((host, port), 2).close()
        open_doors.append(name)
    except OSError:
        pass
notes = dict(line.split("=", 1) for line in NOTES)
door("the internet", "1.1.1.1", 53)
door("the host", notes["gateway"], int(notes["listener"]))
door("another instance", notes["other"], 8080)
door("behind the target", "db", 6379)
for path in ["/answers", "/solve/challenge/x", "/etc/x", "/solve/x"]:
    try:
        pathlib.Path(path).write_text("x")
        open_doors.append("writes " + path)
    except OSError:
        pass
if pathlib.Path("/answers").exists() or any("ANSWER" in name for name in os.environ):
    open_doors.append("answers")
status = pathlib.Path("/proc/self/status").read_text()
if "CapEff:\t0000000000000000" not in status or "NoNewPrivs:\t1" not in status or os.getuid() == 0:
    open_doors.append("rights")
if open_doors:
    raise ExploitFailed(open_doors)
return {"flag": self.match_flag(self.session.get(self.base_url + "/cgi-bin/flag").text)}"#,
            ),
        ),
    ])
    .await;
    // The wall of the machine is part of this story.
    let settings = stage
        .settings()
        .number("solver.deadline_secs", 60)
        .text("network.wall", "auto")
        .number("network.check_secs", 0);
    let mut daemon = Daemon::start(settings).await;
    daemon.live("WEB-912").await;
    // What it is to look for is known now: a player's instance, and a port of this host.
    let red = daemon.team("red").await;
    let other = red.play("WEB-912").await;
    let listener = TcpListener::bind("0.0.0.0:0").expect("this host has free ports");
    let listener_port = listener.local_addr().expect("it is bound").port();
    let engine = daemon.engine();
    let names = engine.containers_of(&other.id);
    let name = names.iter().find(|name| name.ends_with("-web")).expect("it has a web server");
    let format = "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}";
    let gateways = engine.docker(&["inspect", "--format", format, name]);
    let gateways = gateways.expect("the container is there");
    let gateway = gateways.split_whitespace().next().expect("its network has a way out");
    let notes = format!(
        "NOTES = ['other={}', 'gateway={gateway}', 'listener={listener_port}']\n",
        engine.address_of(name)
    );
    let path = "WEB/WEB-912/solution/exploit.py";
    let text = std::fs::read_to_string(stage.remote.file(path)).expect("it was written");
    stage.remote.write(path, format!("{notes}{text}"));
    let pushed = stage.remote.push("what to look for");
    let admin = daemon.admin();
    until("the push is live", PATIENCE, || async {
        let row = admin.challenge("WEB-912").await?;
        if row["live"]["revision"] == pushed.as_str() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    let (finished, rows) = solve(&daemon, &["WEB-912"]);
    assert_eq!(row(&rows, "WEB-912")["state"], "proven", "{rows:#?}");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    red.stop(&other.id).await;

    // Killed while an exploit runs, the next start ends its canary.
    let wanted = admin.post("/gitops/solve", json!({ "challenges": ["WEB-911"] })).await;
    wanted.expect_status(202);
    until("the exploit runs", PATIENCE, || async {
        let listed = daemon.engine().docker(&["ps", "--no-trunc", "--format", "{{.Names}}"]);
        let names = listed.map_err(|error| format!("{error:?}"))?;
        let id = daemon.installation();
        let is_solver = |name: &&str| name.contains(&id[..8]) && name.ends_with("flagops-solver");
        let solver = names.lines().find(is_solver).ok_or_else(|| names.clone())?;
        let top = daemon.engine().docker(&["top", solver]).map_err(|error| format!("{error:?}"))?;
        if top.contains("exploit.py") { Ok(()) } else { Err(top) }
    })
    .await;
    let canaries = daemon.rows().live;
    assert_eq!(canaries.len(), 1, "{canaries:?}");
    daemon.kill9();
    daemon.restart().await;
    daemon.nothing_left().await;
    // An exploit that does not end is ended, and its canary with it.
    daemon.stop().await;
    daemon.relaunch_with("FLAGOPS_SOLVER__DEADLINE_SECS", "2");
    daemon.ready().await;
    let (_, rows) = solve(&daemon, &["WEB-911"]);
    let why = row(&rows, "WEB-911")["why"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("it did not end within 2 s"), "{rows:#?}");
    daemon.nothing_left().await;
}
