//! `flagops play`: one challenge of a work tree, built, started, tried and taken away again.
//!
//! In:  a challenge folder on disk, committed or not. Out: where it answers, what it says, whether
//! its own exploit solves it; exit code 0 fine, 1 refused or not solved, 2 usage, 130 interrupted.
//!
//! The very daemon of `serve` runs in this process, on a private data directory and a snapshot of
//! the folder: what is played is what an event would run.
//!
//! # Invariants
//! * However a play ends, nothing of it stays in the engine but images; after a kill the next play
//!   of the challenge removes what is left.
//! * No minted answer is shown or written without `--show-answers`.

mod clock;
mod exploit;
mod house;
mod private;
mod python;
mod reading;
mod session;
mod show;
mod stream;
mod target;
mod vigil;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::catalog::Finding;
use crate::config::{Config, Need, Overrides};
use crate::git::Snapshots;
use crate::store::DataDir;
use crate::telemetry::{self, Chain};

use super::failure::{Ending, Failure};
use super::new;
use super::output::{self, Format};
use super::serve::Signals;
use super::settings::Global;
use exploit::Exploit;
use house::House;
use private::Private;
use reading::{Reader, Reading, Version};
use session::Session;
use show::Answers;
use target::Target;
use watch::Watch;

/// How long a start may take, unless `--timeout` or the configuration says something else: nobody
/// looks at a terminal for as long as a server may try.
const START_SECS: u64 = 120;
/// How long an exploit may take, unless `--timeout` says something else.
const EXPLOIT_SECS: u64 = 300;
/// A signal so soon after another is an echo of it: `timeout` and terminals send it to the group, too.
const ECHO: Duration = Duration::from_secs(1);

/// Play one challenge as it is on disk
///
/// Builds and starts the challenge with fresh answers on the local container engine, exactly as a
/// server would; nothing need be committed. Shows where it answers and what its containers say until
/// Ctrl-C, then removes everything but the images. `--solve` runs `solution/exploit.py` against it
/// and grades what it prints. Needs no server.
///
/// The exploit is told the host and port of the first published port, and nothing else: its
/// environment is empty but for PATH. `ctfy.challenge.exploit` is there without any package; an
/// installed `requests` is used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops play WEB-001                   start it, follow its logs, stop with Ctrl-C
  flagops play ./WEB/WEB-001 --watch     build and start again whenever a file changes
  flagops play WEB-001 --solve           does the reference exploit solve it?
  flagops play WEB-001 --show-answers    print the answers of this instance
  flagops play WEB-001 --once --solve --format json | jq .solve.solved
  flagops play WEB-001 --clean           remove what a killed play left, start nothing

Exit codes: 0 fine, also where there is nothing to start (a quiz); 1 it is refused, does not start or
is not solved; 2 wrong usage; 130 ended by a signal before it was done.")]
pub(crate) struct PlayArgs {
    /// Id of a challenge, or its folder
    challenge: String,

    /// Repository in which ids are looked up
    #[arg(long, value_name = "PATH", default_value = ".")]
    repo: PathBuf,

    /// Run solution/exploit.py, grade what it prints, and stop
    #[arg(long)]
    solve: bool,

    /// Stop as soon as it was ready (and solved): for CI
    #[arg(long, conflicts_with = "watch")]
    once: bool,

    /// Build and start again when a file of the challenge changes
    #[arg(long)]
    watch: bool,

    /// Show the minted answers; without it they are struck out of every output
    #[arg(long)]
    show_answers: bool,

    /// Interpreter that runs the exploit
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,

    /// Remove what earlier plays of this challenge left in the engine, images too, and start nothing
    #[arg(long, conflicts_with_all = ["solve", "once", "watch", "show_answers"])]
    clean: bool,

    // In the place of the global option of this name: no server is asked here.
    /// Seconds that the start may take once the images are there, and seconds that the exploit may
    /// take [default: 120 for the start, 300 for the exploit]
    #[arg(
        id = "timeout",
        long = "timeout",
        value_name = "SECONDS",
        // A value of its own, else that of the global option would be handed down.
        default_value_t = 0,
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(0..=86_400)
    )]
    deadline: u64,

    /// Socket of the container engine [default: DOCKER_HOST or unix:///var/run/docker.sock]
    #[arg(long, value_name = "ENDPOINT")]
    engine: Option<String>,

    /// Show what the daemon of this play logs, too
    #[arg(long)]
    verbose: bool,
}

impl PlayArgs {
    /// What `--timeout` asks for, in seconds.
    fn asked(&self) -> Option<u64> {
        (self.deadline > 0).then_some(self.deadline)
    }
}

/// Everything that is known before anything is started.
struct Plan {
    config: Config,
    target: Target,
    private: Private,
    /// Whether the exploit is to be run, if the challenge needs one.
    solve: bool,
    exploit: Option<Exploit>,
    watch: Option<Watch>,
    answers: Answers,
    once: bool,
    format: Format,
    /// The command that removes what a play leaves that was not let to clean up.
    clean_up: String,
}

/// What the first look at the files leads to.
enum Course {
    /// Something is to be run.
    Run(Reader, Version),
    /// Nothing is: a quiz, or files only.
    Files(Version),
    /// It cannot be played.
    Refused { findings: Vec<Finding>, text: String },
}

/// Plays until the author, the exploit or `--once` ends it.
pub(crate) async fn run(global: &Global, args: PlayArgs) -> Result<Ending, Failure> {
    let mut signals = Ends::new()
        .map_err(|error| Failure::failed(format!("could not listen for signals ({error})"), ""))?;
    let plan = plan(global, &args).await?;
    if args.clean {
        return clean(&plan).await;
    }
    let data = plan.private.open()?;
    let course = match choose(&plan) {
        Ok(Course::Run(reader, version)) => {
            return inhabit(plan, data, reader, version, &mut signals).await;
        }
        other => other,
    };
    wipe(&plan.private, data)?;
    match course? {
        Course::Refused { findings, text } => {
            match plan.format {
                Format::Json => output::print_json(&json!({ "issues": findings }))?,
                Format::Table => output::print(&text)?,
            }
            Ok(Ending::Findings)
        }
        Course::Run(_, version) | Course::Files(version) => tokio::select! {
            // Dropped by a signal: an exploit that runs is killed.
            played = session::without_instance(&plan, &version) => played,
            () = signals.next() => Ok(Ending::Interrupted),
        },
    }
}

/// Removes what earlier plays left, and says how much that was.
async fn clean(plan: &Plan) -> Result<Ending, Failure> {
    let n_removed = if plan.private.was_used() {
        let data = plan.private.open()?;
        let cleared = house::clear(&plan.config, &data).await;
        wipe(&plan.private, data)?;
        cleared?
    } else {
        0
    };
    match plan.format {
        Format::Json => output::print_json(&json!({ "removed": n_removed }))?,
        Format::Table => {
            let id = &plan.target.id;
            output::print(&match n_removed {
                0 => format!("no play of {id} left anything"),
                1 => format!("removed 1 object that a play of {id} left"),
                n => format!("removed {n} objects that plays of {id} left"),
            })?;
        }
    }
    Ok(Ending::Fine)
}

/// What ends a play: the signals of a daemon, and a terminal that is closed.
struct Ends {
    signals: Signals,
    hangup: Signal,
    echo: Echo,
}

/// Tells signals that a person means from their echoes.
#[derive(Debug, Default)]
struct Echo {
    heard_at: Option<Instant>,
}

impl Echo {
    /// Whether a signal at `now` is meant; it is remembered then.
    fn is_meant(&mut self, now: Instant) -> bool {
        let is_meant = self.heard_at.is_none_or(|at| now.saturating_duration_since(at) >= ECHO);
        if is_meant {
            self.heard_at = Some(now);
        }
        is_meant
    }
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { signals: Signals::new()?, hangup, echo: Echo::default() })
    }

    /// Waits for the next one that is meant. Cancel-safe.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.signals.next() => (),
                _ = self.hangup.recv() => (),
            }
            if self.echo.is_meant(Instant::now()) {
                return;
            }
        }
    }
}

/// Finds out what is wanted; the order is that of the mistakes an author makes.
async fn plan(global: &Global, args: &PlayArgs) -> Result<Plan, Failure> {
    let flags = Overrides::new().with("engine.endpoint", "--engine", args.engine.as_ref());
    let mut config = global.load(Need::Client, flags)?;
    config.limits.start_deadline_secs =
        start_deadline(args.asked(), config.limits.start_deadline_secs);
    if args.verbose {
        telemetry::init(&config.log)
            .map_err(|error| Failure::failed(Chain(&error).to_string(), "correct `log.filter`"))?;
    }
    let target = Target::find(&args.challenge, &args.repo)?;
    // A quiz needs none; what does is known when its files are read.
    let exploit = if args.solve && Exploit::is_in(&target) {
        let deadline = Duration::from_secs(args.asked().unwrap_or(EXPLOIT_SECS));
        Some(Exploit::of(&target, &args.python, deadline).await?)
    } else {
        None
    };
    let private = Private::of(&target.folder, global.data_dir.as_deref())?;
    Ok(Plan {
        config: private.configure(config),
        clean_up: clean_up(&target, global.data_dir.as_deref(), args.engine.as_deref()),
        // Before the first look at the files, so that no change falls between.
        watch: if args.watch { Some(Watch::start(&target.folder)?) } else { None },
        target,
        private,
        solve: args.solve,
        exploit,
        answers: if args.show_answers { Answers::Shown } else { Answers::Hidden },
        once: args.once,
        format: global.format(),
    })
}

/// How long a start may take: as asked, else not longer than a person waits.
fn start_deadline(asked: Option<u64>, configured: u32) -> u32 {
    match asked {
        Some(secs) => u32::try_from(secs).unwrap_or(u32::MAX),
        None => configured.min(u32::try_from(START_SECS).unwrap_or(u32::MAX)),
    }
}

/// The command that removes what is left, as it can be typed here.
fn clean_up(target: &Target, data_dir: Option<&Path>, engine: Option<&str>) -> String {
    let challenge = new::shown(&target.root, &target.inside);
    let data_dir = data_dir.map_or_else(String::new, |path| {
        format!(" --data-dir {}", new::shown(Path::new(""), &path.to_string_lossy()))
    });
    let engine = engine.map_or_else(String::new, |endpoint| format!(" --engine {endpoint}"));
    format!("flagops play {challenge} --clean{data_dir}{engine}")
}

/// Reads the files and says at once what would fail after a long build.
fn choose(plan: &Plan) -> Result<Course, Failure> {
    let snapshots = Snapshots::create(&plan.private.snapshots()).map_err(|error| {
        Failure::failed(Chain(&error).to_string(), "free it, or use another `--data-dir`")
    })?;
    let policy = plan.config.limits.policy();
    let reader = Reader { target: plan.target.clone(), snapshots, policy };
    let version = match tokio::task::block_in_place(|| reader.read())? {
        Reading::Playable(version) => version,
        Reading::Refused { findings, text } => return Ok(Course::Refused { findings, text }),
    };
    if let Some(more) = version.more() {
        output::note(&more);
    }
    if plan.solve && plan.exploit.is_none() && !version.challenge.is_qa_only() {
        return Err(Failure::failed(
            format!("`{}/{}` does not exist", plan.target.inside, exploit::PATH),
            "write the reference exploit, or leave `--solve` out",
        ));
    }
    Ok(match version.challenge.compose {
        Some(_) => Course::Run(reader, version),
        None => Course::Files(version),
    })
}

/// Empties the directory, then lets another play in.
fn wipe(private: &Private, data: DataDir) -> Result<(), Failure> {
    let wiped = private.wipe();
    drop(data);
    wiped.map_err(|error| {
        Failure::failed(format!("could not clean up ({error})"), "the next play tries again")
    })
}

/// Opens the house, plays in it, and leaves nothing behind.
async fn inhabit(
    mut plan: Plan,
    data: DataDir,
    reader: Reader,
    version: Version,
    signals: &mut Ends,
) -> Result<Ending, Failure> {
    let watch = plan.watch.take();
    let clean_up = plan.clean_up.clone();
    let mut house = House::open(plan.config.clone(), data).await?;
    let is_up = AtomicBool::new(false);
    let played = {
        let session = Session::new(&plan, &mut house, &reader, &is_up);
        let mut playing = std::pin::pin!(session.play(version, watch));
        tokio::select! {
            // Dropped by a signal: an exploit that runs is killed, what was started is removed below.
            played = &mut playing => played,
            () = signals.next() => Ok(if is_up.load(Ordering::Relaxed) {
                // This is how a play that goes well ends.
                Ending::Fine
            } else {
                Ending::Interrupted
            }),
        }
    };
    output::note("removing everything but the images; Ctrl-C again leaves it where it is");
    tokio::select! {
        closed = house.close(&plan.private) => closed?,
        () = signals.next() => {
            output::note(&format!(
                "the clean-up was given up: containers, networks and keys of this play may be left; remove them:\n  {clean_up}"
            ));
            return Ok(Ending::Interrupted);
        }
    }
    played
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        global: Global,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Play(PlayArgs),
    }

    #[test]
    fn an_echo_of_a_signal_is_no_second_one() {
        let (mut echo, start) = (Echo::default(), Instant::now());
        let heard = [0, 1, 999, 1000, 1001, 2500]
            .map(|millis| (millis, echo.is_meant(start + Duration::from_millis(millis))));
        let meant: Vec<_> = heard.iter().filter(|(_, is_meant)| *is_meant).map(|it| it.0).collect();
        assert_eq!(meant, [0, 1000, 2500]);
    }

    #[test]
    fn what_is_left_can_be_removed_by_the_command_that_is_named() {
        let target = Target {
            id: "WEB-001".parse().unwrap(),
            root: PathBuf::from("/a repo"),
            folder: PathBuf::from("/a repo/WEB/WEB-001"),
            inside: "WEB/WEB-001".to_owned(),
        };
        let command = clean_up(&target, Some(Path::new("/x")), Some("unix:///run/d.sock"));
        let wanted =
            "flagops play '/a repo/WEB/WEB-001' --clean --data-dir /x --engine unix:///run/d.sock";
        assert_eq!(command, wanted);
    }

    #[test]
    fn nobody_waits_for_a_start_as_long_as_a_server() {
        for (asked, configured, secs) in
            [(None, 300, 120), (None, 60, 60), (Some(400), 300, 400), (Some(5), 300, 5)]
        {
            assert_eq!(start_deadline(asked, configured), secs);
        }
    }

    #[test]
    fn the_timeout_of_a_play_is_not_that_of_a_client() {
        Cli::command().debug_assert();
        let deadline = |arguments: &[&str]| {
            let all = ["flagops"].iter().chain(arguments);
            let matches = Cli::command().try_get_matches_from(all).unwrap();
            let Command::Play(args) = Cli::from_arg_matches(&matches).unwrap().command;
            args.asked()
        };
        assert_eq!(deadline(&["play", "WEB-001"]), None);
        assert_eq!(deadline(&["play", "WEB-001", "--timeout", "7"]), Some(7));
        assert_eq!(deadline(&["play", "--timeout", "7", "--data-dir", "/x", "WEB-001"]), Some(7));
    }
}
