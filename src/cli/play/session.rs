//! The course of one play: start, tell, solve, follow, start again when files change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::Challenge;
use crate::proof::verdict::Report;

use super::super::failure::{Ending, Failure};
use super::super::output::{self, Format};
use super::Plan;
use super::house::{House, Running};
use super::reading::{Reader, Reading, Version};
use super::show::{self, Mask, Palette, Progress};
use super::stream::Follower;
use super::watch::Watch;

/// How often we look whether the instance still lives.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Lines of a failed exploit that are shown.
const OUTPUT_LINES: usize = 40;

/// A play in a house.
pub(super) struct Session<'a> {
    plan: &'a Plan,
    house: &'a mut House,
    reader: &'a Reader,
    /// Set when everything that was asked for is there, and only the author ends the play.
    is_up: &'a AtomicBool,
}

/// Why following ended.
enum Event {
    /// Files may have changed.
    Changed,
    /// The instance can be used no more.
    Lost(String),
}

/// What became of a change.
enum Update {
    /// Another version runs.
    Replaced(Box<Running>),
    /// What ran goes on.
    Kept,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        house: &'a mut House,
        reader: &'a Reader,
        is_up: &'a AtomicBool,
    ) -> Self {
        Self { plan, house, reader, is_up }
    }

    /// Plays `version` and what follows it.
    pub(super) async fn play(
        mut self,
        version: Version,
        watch: Option<Watch>,
    ) -> Result<Ending, Failure> {
        let running = self.start(version).await?;
        let ending = self.present(&running).await?;
        match watch {
            Some(watch) => {
                self.is_up.store(true, Ordering::Relaxed);
                self.follow_changes(running, watch).await
            }
            None if self.plan.once || self.plan.exploit.is_some() => Ok(ending),
            None => {
                self.is_up.store(true, Ordering::Relaxed);
                let why = self.follow(&running, None).await?;
                let Event::Lost(why) = why else { return Ok(Ending::Fine) };
                let id = &running.version.challenge.id;
                Err(Failure::failed(
                    format!("{id} runs no more: {}", output::clean_block(&why)),
                    "play it again",
                ))
            }
        }
    }

    async fn start(&mut self, version: Version) -> Result<Running, Failure> {
        self.reader.snapshots.publish(version.revision).map_err(|error| {
            Failure::failed(crate::telemetry::Chain(&error).to_string(), "play it again")
        })?;
        let mut progress = Progress::new();
        self.house.start(version, self.plan.answers, &mut progress).await
    }

    /// Tells that it is ready, and runs the exploit if that is wanted.
    async fn present(&self, running: &Running) -> Result<Ending, Failure> {
        let shown = self.plan.answers;
        let answers = self.house.answers(running);
        let is_table = self.plan.format == Format::Table;
        if is_table {
            output::print(&show::ready(running, &answers, shown))?;
        }
        let report = match &self.plan.exploit {
            Some(exploit) => {
                let mut progress = Progress::new();
                progress.say("running solution/exploit.py");
                let first = running.instance.surface.first();
                let at = first.map(|endpoint| (endpoint.host.as_str(), endpoint.port));
                let challenge = &running.version.challenge;
                Some(exploit.run(at, challenge, &answers).await?)
            }
            None => None,
        };
        let challenge = &running.version.challenge;
        if !is_table {
            let some = Some(running);
            let document = show::document(challenge, some, &answers, shown, report.as_ref());
            output::print_json(&document)?;
        }
        let Some(report) = report else { return Ok(Ending::Fine) };
        if is_table {
            output::print(&format!("\n{}", show::report(&report)))?;
        }
        if report.is_solved() {
            return Ok(Ending::Fine);
        }
        let mask = Mask::new(shown, &answers);
        tell_output(&report, &mask);
        let said = self.house.last_lines(running).await;
        if !said.is_empty() {
            output::note(&format!("\nthe containers said last:\n{}", tidy(&said, &mask)));
        }
        Ok(Ending::Findings)
    }

    /// Follows the logs until something happens.
    async fn follow(
        &self,
        running: &Running,
        mut watch: Option<&mut Watch>,
    ) -> Result<Event, Failure> {
        let mask = Mask::new(self.plan.answers, &self.house.answers(running));
        let (format, palette) = (self.plan.format, Palette::of_stdout());
        let tell = |service: &str, text: &str| match format {
            Format::Table => output::print(&show::log_line(service, &mask.apply(text), palette)),
            // Standard output belongs to the document.
            Format::Json => {
                output::note(&show::log_line(service, &mask.apply(text), Palette::None));
                Ok(())
            }
        };
        let follower = Follower::new(self.house.engine.as_ref(), running.instance.id);
        tokio::select! {
            told = follower.run(tell) => told.map(|()| Event::Changed),
            why = self.until_lost(running) => Ok(Event::Lost(why)),
            () = changed(&mut watch) => Ok(Event::Changed),
        }
    }

    async fn until_lost(&self, running: &Running) -> String {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(why) = self.house.lost(running).await {
                return why;
            }
        }
    }

    /// Follows logs and files, and replaces what runs, until the author ends it.
    async fn follow_changes(
        &mut self,
        mut running: Running,
        mut watch: Watch,
    ) -> Result<Ending, Failure> {
        output::note("watching for changes; Ctrl-C ends the play");
        loop {
            if let Event::Lost(why) = self.follow(&running, Some(&mut watch)).await? {
                let why = output::clean_block(&why);
                output::note(&format!("it runs no more: {why}\nwaiting for a change"));
                watch.changed().await;
            }
            if let Update::Replaced(next) = self.update(&running).await? {
                self.house.stop(&running.instance.id.to_string()).await;
                running = *next;
                self.present(&running).await?;
            }
        }
    }

    /// Builds and starts what is on disk now, if it is something else and can be played.
    async fn update(&mut self, running: &Running) -> Result<Update, Failure> {
        let old = &running.version.challenge;
        let version = match tokio::task::block_in_place(|| self.reader.read()) {
            Ok(Reading::Playable(version)) => version,
            Ok(Reading::Refused { text, .. }) => return Ok(keep(&text)),
            // A file may be gone between listing and reading; the next change is looked at again.
            Err(failure) => return Ok(keep(&failure.to_string())),
        };
        if version.challenge.tree == old.tree && version.revision == running.version.revision {
            return Ok(Update::Kept);
        }
        if version.challenge.compose.is_none() {
            return Ok(keep("the challenge has nothing to run any more"));
        }
        output::note("the files changed");
        if let Some(more) = version.more() {
            output::note(&more);
        }
        match self.start(version).await {
            Ok(next) => Ok(Update::Replaced(Box::new(next))),
            Err(failure) => Ok(keep(&failure.to_string())),
        }
    }
}

fn keep(why: &str) -> Update {
    output::note(&format!("{why}\n\nthe version before goes on running"));
    Update::Kept
}

async fn changed(watch: &mut Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Plays a challenge that has nothing to run: its exploit needs no instance.
pub(super) async fn without_instance(plan: &Plan, version: &Version) -> Result<Ending, Failure> {
    let challenge = &version.challenge;
    let kind = if challenge.is_qa_only() { "is a quiz" } else { "has files only" };
    output::note(&format!("{} {kind}: there is nothing to start", challenge.id));
    output::note(&advice(challenge, plan));
    let report = match &plan.exploit {
        Some(exploit) => Some(exploit.run(None, challenge, &[]).await?),
        None if plan.solve => {
            output::note("it has no exploit either: there is nothing to solve");
            None
        }
        None => None,
    };
    match (plan.format, &report) {
        (Format::Json, report) => {
            let report = report.as_ref();
            output::print_json(&show::document(challenge, None, &[], plan.answers, report))?;
        }
        (Format::Table, Some(report)) => output::print(&show::report(report))?,
        (Format::Table, None) => (),
    }
    match report {
        Some(report) if !report.is_solved() => {
            tell_output(&report, &Mask::default());
            Ok(Ending::Findings)
        }
        _ => Ok(Ending::Fine),
    }
}

/// What an author can do with a challenge that has nothing to start.
fn advice(challenge: &Challenge, plan: &Plan) -> String {
    let check = format!("`flagops check {}`", plan.target.inside);
    let whole = if challenge.is_qa_only() {
        format!("{check} judges its questions, choices and answers")
    } else {
        format!("{check} judges its files and questions")
    };
    match (&plan.exploit, plan.solve) {
        (None, false) if super::Exploit::is_in(&plan.target) => {
            format!("{whole}; `--solve` grades what {} prints", super::exploit::PATH)
        }
        _ => whole,
    }
}

/// What a failed exploit printed last.
fn tell_output(report: &Report, mask: &Mask) {
    let lines: Vec<&str> = report.output.lines().collect();
    let tail = lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n");
    if !tail.trim().is_empty() {
        output::note(&format!("\nsolution/exploit.py said:\n{}", tidy(&tail, mask)));
    }
}

/// Text of others, safe to show.
fn tidy(text: &str, mask: &Mask) -> String {
    output::clean_block(mask.apply(text).trim_end())
}
