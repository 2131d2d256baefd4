//! `flagops instances start`: asks for an instance and waits until it can be used.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use crate::model::{ChallengeId, InstanceStatus};

use super::super::client::{Client, ClientError, InstanceView, StartWish, TokenOrigin};
use super::super::failure::{Ending, Failure};
use super::super::output::{self, Format};
use super::super::settings::Global;
use super::super::wire::Fields as _;
use super::{parse_span, show};

/// How often the server is asked.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Failed questions in a row after which waiting ends.
const MAX_SILENCES: u32 = 10;

/// Start an instance and wait until it can be used
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops instances start WEB-001 --team blue
  flagops instances start WEB-001 --ttl 2h --token-file ./blue.token
  flagops instances start WEB-001 --team blue --format json | jq .attack_surface.services
  flagops instances start WEB-001 --team blue --no-wait")]
pub(crate) struct StartArgs {
    /// Id of the challenge
    challenge: ChallengeId,

    /// Length of the lease: seconds, or with s, m, h or d [default: the challenge's]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    ttl: Option<u32>,

    /// Print the id and do not wait
    #[arg(long)]
    no_wait: bool,

    /// How long to wait: seconds, or with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    wait: u32,
}

/// Starts an instance as the holder of the client's token.
pub(super) async fn run(
    global: &Global,
    client: &Client,
    args: &StartArgs,
    team: Option<&str>,
) -> Result<Ending, Failure> {
    let wish = StartWish { challenge_id: args.challenge.clone(), ttl: args.ttl };
    let started = client.start(&wish).await.map_err(|error| explain(error, team))?;
    let id = started.id.clone();
    if args.no_wait {
        match global.format() {
            Format::Json => output::print_json(&json!(started))?,
            Format::Table => output::print(&output::clean(&id))?,
        }
        return Ok(Ending::Fine);
    }
    let began = Instant::now();
    let deadline = began + Duration::from_secs(args.wait.into());
    let status = wait(client, &id, deadline).await?;
    match global.format() {
        Format::Json => output::print_json(&json!(status))?,
        Format::Table => {
            let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
            output::note(&format!("{} is ready after {}", args.challenge, output::span(took)));
            output::print(&render_ready(&id, &status))?;
        }
    }
    Ok(Ending::Fine)
}

/// An operator plays for no team; the answer is not another token but `--team`.
fn explain(error: ClientError, team: Option<&str>) -> Failure {
    match &error {
        ClientError::Denied { origin: TokenOrigin::DataDir(_), detail, .. } if team.is_none() => {
            Failure::usage(
                format!("the operator's token plays for no team ({})", output::clean(detail)),
                "name a team: `flagops instances start CHALLENGE --team NAME`",
            )
        }
        _ => error.into(),
    }
}

/// Waits until the instance is ready; its status then.
async fn wait(client: &Client, id: &str, deadline: Instant) -> Result<InstanceView, Failure> {
    let mut progress = Progress::new();
    let mut n_silences = 0;
    while Instant::now() < deadline {
        match client.instance(id).await {
            Ok(status) => {
                n_silences = 0;
                progress.show(&status);
                match Verdict::of(&status) {
                    Verdict::Ready => return Ok(status),
                    Verdict::Ended => return Err(ended(id, &status)),
                    Verdict::Starting => (),
                }
            }
            // The server may be restarting; it adopts the start and goes on.
            Err(error) if error.status().is_none() && n_silences < MAX_SILENCES => n_silences += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
    Err(Failure::failed(
        format!("{} was not ready in time; it goes on starting", output::clean(id)),
        format!("`flagops instances show {}`, or wait longer with `--wait`", output::clean(id)),
    ))
}

fn ended(id: &str, status: &InstanceView) -> Failure {
    let error = match status.error.as_str() {
        "" => "it was stopped",
        error => error,
    };
    let id = output::clean(id);
    Failure::failed(
        format!("{id} did not start: {}", output::clean(error)),
        format!("`flagops instances logs {id}`, then `flagops instances stop {id}`"),
    )
}

/// What one look says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Starting,
    Ready,
    Ended,
}

impl Verdict {
    fn of(status: &InstanceView) -> Self {
        match status.known_status() {
            Some(InstanceStatus::Ready) => Self::Ready,
            Some(InstanceStatus::Error | InstanceStatus::Stopped) => Self::Ended,
            Some(InstanceStatus::Starting) | None => Self::Starting,
        }
    }
}

/// Shows the phases: a moving line to a person, one line per phase to a file.
struct Progress {
    spinner: Option<ProgressBar>,
    last: String,
}

impl Progress {
    fn new() -> Self {
        let spinner = output::is_watched().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { spinner, last: String::new() }
    }

    fn show(&mut self, status: &InstanceView) {
        let line = describe(status);
        if line == self.last {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.set_message(line.clone()),
            None => output::note(&line),
        }
        self.last = line;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// `3/5 creating containers`, the place in the line, or the phase, or the status: what the server tells.
fn describe(status: &InstanceView) -> String {
    let text = match (&status.progress, status.queue) {
        (Some(step), _) => format!("{}/{} {}", step.step, step.of, step.message),
        (None, Some(place)) => {
            format!("waiting for room: place {} of {}", place.position, place.length)
        }
        (None, None) if status.phase.is_empty() => status.status.clone(),
        (None, None) => status.phase.clone(),
    };
    output::clean(&text)
}

fn render_ready(id: &str, status: &InstanceView) -> String {
    let mut text = format!("instance {}", output::clean(id));
    let surface = &status.attack_surface;
    let services = surface.list("services");
    if !services.is_empty() {
        let _ = write!(text, "\n\n{}", show::render_endpoints(services));
    }
    let files: Vec<_> = surface
        .list("provided_files")
        .iter()
        .map(|file| vec![file.text("name").to_owned()])
        .collect();
    if !files.is_empty() {
        let _ = write!(text, "\n\n{}", output::table(&["FILE"], &files));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn view(status: &Value) -> InstanceView {
        serde_json::from_value(status.clone()).unwrap()
    }

    #[test]
    fn the_server_tells_how_far_it_is() {
        for (status, shown) in [
            (
                json!({"status": "starting",
                    "progress": {"step": 3, "of": 5, "message": "creating"}}),
                "3/5 creating",
            ),
            (
                json!({"status": "starting", "phase": "waiting",
                    "queue": {"position": 2, "length": 7}}),
                "waiting for room: place 2 of 7",
            ),
            (json!({"status": "starting", "phase": "probing", "progress": null}), "probing"),
            (json!({"status": "starting"}), "starting"),
        ] {
            assert_eq!(describe(&view(&status)), shown);
        }
    }

    #[test]
    fn only_ready_ends_well() {
        let verdict = |word: &str| Verdict::of(&view(&json!({ "status": word })));
        assert_eq!(verdict("ready"), Verdict::Ready);
        assert_eq!(verdict("error"), Verdict::Ended);
        assert_eq!(verdict("stopped"), Verdict::Ended);
        assert_eq!(verdict("starting"), Verdict::Starting);
        assert_eq!(verdict("something new"), Verdict::Starting);
    }

    #[test]
    fn a_ready_instance_shows_endpoints_and_files() {
        let status = json!({"status": "ready", "attack_surface": {
            "services": [{"service_type": "http", "host": "h", "port": 20001, "path": "/",
                          "label": "web"}],
            "provided_files": [{"name": "readme.txt", "size": 6}]}});
        insta::assert_snapshot!(render_ready("3f2a", &view(&status)), @r"
        instance 3f2a

        SERVICE  ENDPOINT
        web      http://h:20001/

        FILE
        readme.txt
        ");
    }
}
