//! An author plays a challenge from the files on disk, before anybody else sees it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Challenge, Engine, Finished, Left, PATIENCE, Stage, command, fetch, python, until,
};

/// Reads the flag over HTTP, with what the module offers everywhere.
const EXPLOIT: &str = "\
from ctfy.challenge.exploit import ExploitBase, run_exploit

class Exploit(ExploitBase):
    def run(self):
        reply = self.session.get(self.base_url + '/answers/flag', timeout=10)
        return {'flag': self.match_flag(reply.text)}

if __name__ == '__main__':
    run_exploit(Exploit)
";

/// A web challenge with an exploit, whose server says two lines at its start.
fn challenge(version: &str) -> Challenge {
    Challenge::web("WEB-001", version).with("solution/exploit.py", EXPLOIT).with(
        "services/web/Dockerfile",
        "FROM busybox:latest
COPY version /www/version
CMD [\"sh\", \"-c\", \"echo hello; cat /answers/flag; echo; exec httpd -f -p 8080 -h /\"]
",
    )
}

/// A folder with challenges and no git.
fn folder(stage: &Stage, challenges: &[Challenge]) -> PathBuf {
    let root = stage.path("challenges");
    for challenge in challenges {
        for (name, content) in &challenge.files {
            let file = root.join(&challenge.folder).join(name);
            fs::create_dir_all(file.parent().expect("it is in a folder")).expect("it can be made");
            fs::write(file, content).expect("it can be written");
        }
    }
    root
}

/// The private data of one play, in the engine and on disk; goes away with the value.
struct Player {
    data_dir: PathBuf,
    repo: PathBuf,
}

/// A play that goes on.
struct Playing {
    child: Child,
    log: PathBuf,
}

impl Player {
    fn new(stage: &Stage, repo: PathBuf) -> Self {
        Self { data_dir: stage.path("play"), repo }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&[]);
        command.current_dir(&self.repo).arg("play").args(arguments);
        command.arg("--data-dir").arg(&self.data_dir).arg("--python").arg(python());
        command
    }

    fn play(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.command(arguments))
    }

    fn begin(&self, arguments: &[&str]) -> Playing {
        let log = self.data_dir.with_extension("log");
        let file = File::create(&log).expect("the log can be written");
        let too = file.try_clone().expect("a file can be shared");
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(file).stderr(too);
        Playing { child: command.spawn().expect("the binary can be run"), log }
    }

    /// What bears the label of this player in the engine.
    fn left(&self) -> Left {
        Engine::shared().left(&self.installation())
    }

    fn installation(&self) -> String {
        let text = fs::read_to_string(self.data_dir.join("installation"));
        text.expect("the play has written its installation id").trim().to_owned()
    }

    fn nothing_left(&self) {
        assert_eq!(self.left(), Left::default());
        for secret in ["answers.key", "admin.token", "flagops.db"] {
            assert!(!self.data_dir.join(secret).exists(), "{secret} stayed");
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if self.data_dir.join("installation").exists() {
            Engine::shared().sweep(&self.installation());
        }
    }
}

impl Playing {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it said `text` for the `nth` time; everything it said.
    async fn says(&mut self, text: &str, nth: usize) -> String {
        until(&format!("it says {text:?}"), PATIENCE, || {
            let log = self.log();
            let has_ended = self.child.try_wait().expect("a child can be asked").is_some();
            let is_said = log.matches(text).count() >= nth;
            assert!(is_said || !has_ended, "it ended: {log}");
            std::future::ready(if is_said { Ok(log) } else { Err(log) })
        })
        .await
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal was not sent");
    }

    async fn ended(&mut self) -> Option<i32> {
        until("the play ends", Duration::from_secs(60), || {
            let ended = self.child.try_wait().expect("a child can be asked");
            std::future::ready(ended.ok_or_else(|| self.log()))
        })
        .await
        .code()
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The newest endpoint that was shown.
fn endpoint(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.starts_with("web  ") && line.contains("http://"));
    let line = line.unwrap_or_else(|| panic!("no endpoint: {log}"));
    line.split_whitespace().last().expect("a line has words").to_owned()
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).expect("the work tree can be written");
}

#[tokio::test]
async fn a_folder_without_git_is_solved_and_nothing_is_left() {
    let stage = Stage::set().await;
    let player = Player::new(&stage, folder(&stage, &[challenge("one")]));
    let solved = player.play(&["WEB-001", "--once", "--solve"]);
    assert_eq!(solved.code, Some(0), "{solved:?}");
    assert!(solved.stdout.contains("flag      dynamic  correct"), "{solved:?}");
    assert!(!format!("{solved:?}").contains("FLAG{"), "an answer was shown: {solved:?}");
    player.nothing_left();
}

#[tokio::test]
async fn what_is_not_committed_is_what_is_played() {
    let stage = Stage::with(&[challenge("committed")]).await;
    let player = Player::new(&stage, stage.remote.file(""));
    // The committed exploit would find nothing any more: only the files on disk fit together.
    let moved = EXPLOIT.replace("/answers/flag", "/www/found");
    stage.remote.write("WEB/WEB-001/solution/exploit.py", moved);
    let dockerfile = challenge("").files["services/web/Dockerfile"]
        .replace("cat /answers/flag; echo", "cp /answers/flag /www/found");
    stage.remote.write("WEB/WEB-001/services/web/Dockerfile", dockerfile);
    let solved = player.play(&["WEB/WEB-001", "--solve", "--format", "json"]);
    assert_eq!(solved.code, Some(0), "{solved:?}");
    let document: Value = serde_json::from_str(&solved.stdout).expect("one JSON document");
    assert_eq!(document["solve"]["solved"], true, "{document}");
    assert_eq!(document["solve"]["questions"][0]["verdict"], "correct", "{document}");
    assert_eq!(document["endpoints"][0]["service"], "web", "{document}");
    assert!(!solved.stdout.contains("FLAG{"), "{document}");
    player.nothing_left();

    let shown = player.play(&["WEB-001", "--once", "--show-answers"]);
    assert!(shown.stdout.contains("FLAG{"), "{shown:?}");
    player.nothing_left();
}

#[tokio::test]
async fn an_exploit_that_finds_something_else_is_said_to_be_wrong() {
    let stage = Stage::set().await;
    let wrong = EXPLOIT.replace("self.match_flag(reply.text)", "'FLAG{guessed}'");
    let challenge = challenge("one").with("solution/exploit.py", wrong);
    let player = Player::new(&stage, folder(&stage, &[challenge]));
    let played = player.play(&["WEB-001", "--once", "--solve"]);
    assert_eq!(played.code, Some(1), "{played:?}");
    assert!(played.stdout.contains("flag      dynamic  WRONG"), "{played:?}");
    assert!(played.stderr.contains("Q[flag]: FLAG{guessed}"), "{played:?}");
    // The containers' last words hold the right answer.
    assert!(played.stderr.contains("web | hello"), "{played:?}");
    assert!(played.stderr.contains("FLAG{…}"), "{played:?}");
    player.nothing_left();
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_file_and_line() {
    let stage = Stage::set().await;
    let good = challenge("one");
    let metadata = good.files["metadata.yaml"].replace("difficulty: easy", "difficulty: mediun");
    let player = Player::new(&stage, folder(&stage, &[good.with("metadata.yaml", metadata)]));
    let refused = player.play(&["WEB-001", "--once"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("--> WEB/WEB-001/metadata.yaml:3:"), "{refused:?}");
    assert!(refused.stdout.contains("3 | difficulty: mediun"), "{refused:?}");
    player.nothing_left();
    let unknown = player.play(&["WEB-002"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}

#[tokio::test]
async fn a_build_that_fails_shows_its_last_lines() {
    let stage = Stage::set().await;
    let broken = "FROM busybox:latest\nRUN echo almost there && exit 7\n";
    let challenge = challenge("one").with("services/web/Dockerfile", broken);
    let player = Player::new(&stage, folder(&stage, &[challenge]));
    let failed = player.play(&["WEB-001", "--once"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("the image of `web` was not built"), "{failed:?}");
    assert!(failed.stderr.contains("almost there"), "{failed:?}");
    player.nothing_left();
}

#[tokio::test]
async fn a_service_that_dies_at_its_start_is_shown_with_its_last_words() {
    let stage = Stage::set().await;
    let dying = "FROM busybox:latest
CMD [\"sh\", \"-c\", \"cat /answers/flag; echo; echo ANSWER_FALG: parameter not set; exit 2\"]
";
    let compose = "services:
  web:
    build: services/web
    x-answers: [flag]
    depends_on: {job: {condition: service_completed_successfully}}
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
  job:
    build: services/job
    x-answers: [flag]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
";
    let challenge =
        challenge("one").with("services/job/Dockerfile", dying).with("docker-compose.yml", compose);
    let player = Player::new(&stage, folder(&stage, &[challenge]));
    let failed = player.play(&["WEB-001", "--once"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for said in [
        "service `job` exited with code 2",
        "last output of `job`:\n",
        "ANSWER_FALG: parameter not set",
        "next: mend the service",
    ] {
        assert!(failed.stderr.contains(said), "{said}: {failed:?}");
    }
    assert!(!failed.stderr.contains("FLAG{0") && failed.stderr.contains("[answer]"), "{failed:?}");
    player.nothing_left();
}

#[tokio::test]
async fn a_health_check_that_cannot_be_run_is_told_at_once_and_ends_the_play() {
    let stage = Stage::set().await;
    let good = challenge("one");
    let compose = good.files["docker-compose.yml"].replace("\"wget\"", "\"no-such-program\"");
    let good = good.with("docker-compose.yml", compose);
    let player = Player::new(&stage, folder(&stage, &[good]));
    let failed = player.play(&["WEB-001", "--once", "--timeout", "20"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let reason = "the health command cannot be run: exec \"no-such-program\": \
                  executable file not found in $PATH";
    for said in [
        &format!("web is not healthy yet: {reason} (probe "),
        "probing for 15 s of at most 20 s: web is not healthy yet",
        &format!("last probe of `web`: {reason}"),
        "`--timeout SECONDS` gives it longer",
    ] {
        assert!(failed.stderr.contains(said), "{said}: {failed:?}");
    }
    assert_eq!(failed.stderr.matches("(probe ").count(), 1, "{failed:?}");
    player.nothing_left();
}

#[tokio::test]
async fn two_signals_close_together_are_one() {
    let stage = Stage::set().await;
    let player = Player::new(&stage, folder(&stage, &[challenge("one")]));
    let mut playing = player.begin(&["WEB-001"]);
    playing.says("web | hello", 1).await;
    let both = format!("kill -INT {0}; sleep 0.02; kill -INT {0}", playing.child.id());
    assert!(Command::new("sh").args(["-c", &both]).status().is_ok_and(|it| it.success()));
    assert_eq!(playing.ended().await, Some(0), "{}", playing.log());
    player.nothing_left();
}

#[tokio::test]
async fn what_a_killed_play_left_is_removed_without_a_start() {
    let stage = Stage::set().await;
    let player = Player::new(&stage, folder(&stage, &[challenge("one")]));
    let unplayed = player.play(&["WEB-001", "--clean"]);
    assert!(unplayed.stdout.contains("no play of WEB-001 left anything"), "{unplayed:?}");
    let mut playing = player.begin(&["WEB-001", "--show-answers"]);
    playing.says("web | FLAG{", 1).await;
    // Nothing that runs, in a container or out of it, has the answer among its arguments.
    let log = playing.log();
    let (_, rest) = log.split_once("web | FLAG{").expect("it was said");
    let answer = rest.split('}').next().expect("it has an end").to_owned();
    assert!(answer.len() >= 16, "{log}");
    for process in fs::read_dir("/proc").expect("there are processes").flatten() {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(&answer), "{process:?}");
    }
    let during = player.play(&["WEB-001", "--clean"]);
    assert_eq!(during.code, Some(1), "{during:?}");
    playing.signal("-KILL");
    assert_eq!(playing.ended().await, None);
    assert_eq!(player.left().containers.len(), 1);
    let cleaned = player.play(&["WEB-001", "--clean", "--format", "json"]);
    assert_eq!(cleaned.code, Some(0), "{cleaned:?}");
    let document: Value = serde_json::from_str(&cleaned.stdout).expect("one JSON document");
    assert_eq!(document["removed"], 3, "a container, a network, an image: {document}");
    player.nothing_left();
}

#[tokio::test]
async fn an_interrupted_play_leaves_nothing() {
    let stage = Stage::set().await;
    let player = Player::new(&stage, folder(&stage, &[Challenge::web_and_db("WEB-001", "one")]));
    let mut playing = player.begin(&["WEB-001"]);
    let log = playing.says("is ready after", 1).await;
    until("the endpoint is shown", PATIENCE, || {
        let log = playing.log();
        std::future::ready(if log.contains("http://") { Ok(()) } else { Err(log) })
    })
    .await;
    assert!(fetch(&format!("{}/version", endpoint(&playing.log()))).await.is_ok(), "{log}");
    let left = player.left();
    assert_eq!((left.containers.len(), left.networks.len()), (2, 2), "{left:?}");
    assert!(!left.volumes.is_empty(), "{left:?}");

    let second = player.play(&["WEB-001", "--once"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("is being played already"), "{second:?}");

    playing.signal("-INT");
    assert_eq!(playing.ended().await, Some(0), "{}", playing.log());
    player.nothing_left();
}

#[tokio::test]
async fn a_killed_play_is_cleaned_up_by_the_next() {
    let stage = Stage::set().await;
    let player = Player::new(&stage, folder(&stage, &[challenge("one")]));
    let mut playing = player.begin(&["WEB-001"]);
    playing.says("web | hello", 1).await;
    playing.signal("-KILL");
    assert_eq!(playing.ended().await, None);
    assert_eq!(player.left().containers.len(), 1);
    let next = player.play(&["WEB-001", "--once"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    player.nothing_left();
}

#[tokio::test]
async fn a_watched_challenge_is_built_and_started_again() {
    let stage = Stage::set().await;
    let root = folder(&stage, &[challenge("one")]);
    let player = Player::new(&stage, root.clone());
    let mut playing = player.begin(&["WEB-001", "--watch"]);
    let log = playing.says("web | hello", 1).await;
    let first = endpoint(&log);
    let version = |url: String| async move { fetch(&format!("{url}/www/version")).await };
    assert_eq!(version(first.clone()).await.as_deref(), Ok("one"));
    assert!(log.contains("web | FLAG{…}") || playing.says("FLAG{…}", 1).await.contains("web |"));

    write(&root.join("WEB/WEB-001/services/web/version"), "two");
    let log = playing.says("is ready after", 2).await;
    assert!(log.contains("the files changed"), "{log}");
    let log = playing.says("web | hello", 2).await;
    assert_eq!(version(endpoint(&log)).await.as_deref(), Ok("two"));
    until("the version before is gone", PATIENCE, || async {
        let containers = player.left().containers;
        if containers.len() == 1 { Ok(()) } else { Err(format!("{containers:?}")) }
    })
    .await;

    // A version that cannot run changes nothing for whoever uses the one before.
    let metadata = root.join("WEB/WEB-001/metadata.yaml");
    let good = fs::read_to_string(&metadata).expect("it is there");
    write(&metadata, &good.replace("difficulty: easy", "difficulty: mediun"));
    let log = playing.says("the version before goes on running", 1).await;
    assert!(log.contains("WEB/WEB-001/metadata.yaml:3:"), "{log}");
    assert_eq!(version(endpoint(&log)).await.as_deref(), Ok("two"));

    playing.signal("-TERM");
    assert_eq!(playing.ended().await, Some(0), "{}", playing.log());
    assert!(!playing.log().lines().any(|line| line.contains("FLAG{") && !line.contains("FLAG{…}")));
    let ours = format!("label=flagops.installation={}", player.installation());
    let images = Engine::shared()
        .docker(&["images", "--filter", &ours, "--format", "{{.Repository}}"])
        .expect("the engine answers a listing");
    assert_eq!(images.matches("flagops/web-001-web").count(), 1, "only the last is kept: {images}");
    player.nothing_left();
}

#[tokio::test]
async fn a_quiz_has_nothing_to_start() {
    let stage = Stage::set().await;
    let solution = "\
from ctfy.challenge.exploit import ExploitBase, run_exploit

class Exploit(ExploitBase):
    def run(self):
        return {'port': '443', 'one': 'ssh', 'many': 'ntp, dns', 'last': PLACE}

run_exploit(Exploit)
";
    let quiz = Challenge::quiz("QUIZ-001");
    let right = quiz.clone().with("solution/exploit.py", solution.replace("PLACE", "'open'"));
    let root = folder(&stage, &[right]);
    let player = Player::new(&stage, root.clone());
    let told = player.play(&["QUIZ-001"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("QUIZ-001 is a quiz: there is nothing to start"), "{told:?}");
    assert!(told.stderr.contains("`flagops check MISC/QUIZ-001` judges"), "{told:?}");
    assert!(told.stderr.contains("`--solve` grades"), "{told:?}");
    let solved = player.play(&["QUIZ-001", "--solve"]);
    assert_eq!(solved.code, Some(0), "{solved:?}");
    write(&root.join("MISC/QUIZ-001/solution/exploit.py"), &solution.replace("PLACE", "'closed'"));
    let wrong = player.play(&["QUIZ-001", "--solve"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stdout.contains("last      static         WRONG"), "{wrong:?}");
}

#[tokio::test]
async fn an_exploit_that_is_interrupted_ends_with_the_play() {
    let stage = Stage::set().await;
    let slow = "import os, time
open('../../pid', 'w').write(f'{os.getpid()}\\n')
time.sleep(600)
";
    let root = folder(&stage, &[challenge("one").with("solution/exploit.py", slow)]);
    let player = Player::new(&stage, root.clone());
    let mut playing = player.begin(&["WEB-001", "--solve"]);
    let pid = until("the exploit runs", PATIENCE, || {
        let pid = fs::read_to_string(root.join("pid")).unwrap_or_default();
        std::future::ready(pid.strip_suffix('\n').map(str::to_owned).ok_or_else(|| playing.log()))
    })
    .await;
    playing.signal("-INT");
    assert_eq!(playing.ended().await, Some(130), "{}", playing.log());
    until("the exploit is gone", PATIENCE, || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_gone = state.is_empty() || state.contains(") Z");
        std::future::ready(if is_gone { Ok(()) } else { Err(state) })
    })
    .await;
    player.nothing_left();

    fs::remove_file(root.join("pid")).expect("it was written");
    let late = player.play(&["WEB-001", "--solve", "--timeout", "20"]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stdout.contains("not solved: it did not end within 20 s"), "{late:?}");
    player.nothing_left();
}

#[tokio::test]
async fn a_service_that_dies_is_heard_again_when_it_is_started_again() {
    let stage = Stage::set().await;
    let dying = "FROM busybox:latest
COPY version /www/version
CMD [\"sh\", \"-c\", \"echo born; httpd -p 8080 -h /; sleep 4; echo dying; exit 1\"]
";
    let challenge = challenge("one").with("services/web/Dockerfile", dying);
    let player = Player::new(&stage, folder(&stage, &[challenge]));
    let mut playing = player.begin(&["WEB-001"]);
    let log = playing.says("web | born", 2).await;
    assert_eq!(log.matches("web | dying").count(), 1, "{log}");
    playing.signal("-INT");
    assert_eq!(playing.ended().await, Some(0), "{}", playing.log());
    player.nothing_left();
}

#[tokio::test]
async fn two_challenges_are_played_at_once() {
    let stage = Stage::set().await;
    let other = Challenge::tcp("PWN-001");
    let root = folder(&stage, &[challenge("one"), other]);
    let web = Player::new(&stage, root.clone());
    let pwn = Player { data_dir: stage.path("play-too"), repo: root };
    let mut playing = web.begin(&["WEB-001"]);
    playing.says("web | hello", 1).await;
    let solved = pwn.play(&["PWN-001", "--once"]);
    assert_eq!(solved.code, Some(0), "{solved:?}");
    assert!(solved.stdout.contains("nc 127.0.0.1 "), "{solved:?}");
    pwn.nothing_left();
    assert_eq!(web.left().containers.len(), 1);
    assert!(fetch(&format!("{}/www/version", endpoint(&playing.log()))).await.is_ok());
    // The terminal is closed.
    playing.signal("-HUP");
    assert_eq!(playing.ended().await, Some(0), "{}", playing.log());
    web.nothing_left();
}

#[tokio::test]
async fn what_is_not_out_yet_can_be_played_and_what_is_behind_a_gateway() {
    let stage = Stage::set().await;
    let hidden = challenge("one");
    let metadata = format!("{}release_at: 2099-01-01T00:00:00Z\n", hidden.files["metadata.yaml"]);
    let hidden = hidden.with("metadata.yaml", metadata);
    let network = Challenge::tcp("LAB-001");
    let metadata = format!("{}network_topology: engagement\n", network.files["metadata.yaml"]);
    let compose = "services:
  openvpn:
    image: ctfy/openvpn-base:1
    ports: [\"1194/udp\"]
    healthcheck: {test: [\"CMD\", \"true\"]}
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
  chal:
    build: services/chal
    ports: [\"1337\"]
    labels: {ctfy.service.protocol: tcp}
    x-answers: [flag]
    healthcheck: {test: [\"CMD\", \"true\"]}
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 32M}}}
";
    let network = network.with("metadata.yaml", metadata).with("docker-compose.yml", compose);
    let player = Player::new(&stage, folder(&stage, &[hidden, network]));
    let played = player.play(&["WEB-001", "--once"]);
    assert_eq!(played.code, Some(0), "{played:?}");
    player.nothing_left();
    // Who plays on this machine needs no tunnel: the exploit of the author is told the service itself.
    let played = player.play(&["LAB-001", "--once"]);
    assert_eq!(played.code, Some(0), "{played:?}");
    assert!(played.stdout.contains("nc 10."), "{played:?}");
    player.nothing_left();
}
