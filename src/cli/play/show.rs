//! What a play says: progress, where the instance answers, and the verdict on the exploit.
//!
//! # Invariants
//! * A minted answer is shown only to an author who asked with `--show-answers`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::model::{Challenge, Endpoint, EndpointKind};
use crate::proof::verdict::{Report, Verdict};

use super::super::output;
use super::house::Running;

/// Shows what is going on: a moving line to a person, one line per step to a file.
pub(super) struct Progress {
    spinner: Option<ProgressBar>,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let spinner = output::is_watched().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { spinner, last: String::new() }
    }

    /// Tells `line` unless it was told last. Hostile text is cleaned.
    pub(super) fn say(&mut self, line: &str) {
        if line == self.last {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.set_message(output::clean(line)),
            None => output::note(&output::clean(line)),
        }
        line.clone_into(&mut self.last);
    }
}

impl Progress {
    /// Tells `line` above what is going on. Hostile text is cleaned.
    pub(super) fn tell(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.println(output::clean(line)),
            None => output::note(&output::clean(line)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Whether minted answers may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Shown,
    Hidden,
}

/// Replaces minted answers in text of others.
#[derive(Debug, Clone, Default)]
pub(super) struct Mask(Vec<String>);

impl Mask {
    /// Hides `answers`, whole and without their `FLAG{…}`.
    pub(super) fn new(shown: Answers, answers: &[(String, String)]) -> Self {
        if shown == Answers::Shown {
            return Self::default();
        }
        let bodies = answers.iter().map(|(_, answer)| {
            let body = answer.strip_prefix("FLAG{").and_then(|rest| rest.strip_suffix('}'));
            body.unwrap_or(answer).to_owned()
        });
        Self(bodies.filter(|body| !body.is_empty()).collect())
    }

    /// `text` with every answer struck out.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for body in self.0.iter().filter(|body| !body.is_empty()) {
            if text.contains(body.as_str()) {
                text = text.replace(body.as_str(), "…");
            }
        }
        text
    }
}

/// `http://127.0.0.1:30000`, or the command that connects to it.
pub(super) fn address(endpoint: &Endpoint) -> String {
    let Endpoint { kind, host, port, .. } = endpoint;
    match kind {
        EndpointKind::Http | EndpointKind::Https => format!("{}://{host}:{port}", kind.as_str()),
        EndpointKind::Ssh => format!("ssh -p {port} {host}"),
        _ => format!("nc {host} {port}"),
    }
}

/// What a person is told when the instance can be used.
pub(super) fn ready(running: &Running, answers: &[(String, String)], shown: Answers) -> String {
    let challenge = &running.version.challenge;
    let mut text = format!(
        "{} is ready after {} (images {}, start {})\n",
        challenge.id,
        span(running.built_after + running.ready_after),
        span(running.built_after),
        span(running.ready_after)
    );
    let endpoints: Vec<_> = running
        .instance
        .surface
        .iter()
        .map(|endpoint| vec![endpoint.service.to_string(), address(endpoint)])
        .collect();
    // Writing to a String cannot fail.
    if endpoints.is_empty() {
        let _ = write!(text, "\nno service publishes a port");
    } else {
        let _ = write!(text, "\n{}", output::table(&["SERVICE", "ENDPOINT"], &endpoints));
    }
    let _ = write!(text, "\n\n{}", questions(challenge, answers, shown));
    text
}

fn questions(challenge: &Challenge, answers: &[(String, String)], shown: Answers) -> String {
    let rows: Vec<_> = challenge
        .metadata
        .questions
        .iter()
        .map(|question| {
            let id = question.id.to_string();
            let minted = answers.iter().find(|(name, _)| *name == id);
            let mut row = vec![id, question.mode.as_str().to_owned()];
            if shown == Answers::Shown {
                row.push(minted.map(|(_, answer)| answer.clone()).unwrap_or_default());
            }
            row
        })
        .collect();
    match shown {
        Answers::Shown => output::table(&["QUESTION", "MODE", "ANSWER"], &rows),
        Answers::Hidden => output::table(&["QUESTION", "MODE"], &rows),
    }
}

/// The verdict on the exploit, for people.
pub(super) fn report(report: &Report) -> String {
    let rows: Vec<_> = report
        .verdicts
        .iter()
        .map(|(question, mode, verdict)| {
            vec![question.clone(), mode.clone(), verdict.words().to_owned()]
        })
        .collect();
    let took = span(report.took);
    let end = match (report.is_solved(), &report.fault) {
        (true, _) => format!("solved after {took}"),
        (false, Some(fault)) => format!("not solved: {fault} ({took})"),
        (false, None) => format!("not solved after {took}"),
    };
    if rows.is_empty() {
        return end;
    }
    format!("{}\n\n{end}", output::table(&["QUESTION", "MODE", "VERDICT"], &rows))
}

/// Everything about a play, for programs.
pub(super) fn document(
    challenge: &Challenge,
    running: Option<&Running>,
    answers: &[(String, String)],
    shown: Answers,
    report: Option<&Report>,
) -> Value {
    let questions: Vec<_> = challenge
        .metadata
        .questions
        .iter()
        .map(|question| {
            let id = question.id.as_str();
            let mut row = json!({ "id": id, "mode": question.mode.as_str() });
            let minted = answers.iter().find(|(name, _)| name == id);
            if let (Answers::Shown, Some((_, answer))) = (shown, minted) {
                row["answer"] = json!(answer);
            }
            row
        })
        .collect();
    let endpoint = |endpoint: &Endpoint| {
        json!({
            "service": endpoint.service, "protocol": endpoint.kind.as_str(),
            "host": endpoint.host, "port": endpoint.port, "address": address(endpoint),
        })
    };
    let endpoints: Vec<_> =
        running.iter().flat_map(|running| &running.instance.surface).map(endpoint).collect();
    json!({
        "challenge": challenge.id,
        "path": challenge.path,
        "build_ms": running.map(|running| millis(running.built_after)),
        "start_ms": running.map(|running| millis(running.ready_after)),
        "endpoints": endpoints,
        "questions": questions,
        "solve": report.map(report_json),
    })
}

fn report_json(report: &Report) -> Value {
    let verdicts: Vec<_> = report
        .verdicts
        .iter()
        .map(|(question, mode, verdict)| {
            json!({ "id": question, "mode": mode, "verdict": verdict.word() })
        })
        .collect();
    json!({
        "solved": report.is_solved(),
        "fault": report.fault,
        "duration_ms": millis(report.took),
        "questions": verdicts,
    })
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong => "WRONG",
            Self::Missing => "NOT PRINTED",
            Self::Skipped => "not printed",
            Self::Unknown => "NO SUCH QUESTION",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong => "wrong",
            Self::Missing | Self::Skipped => "not_printed",
            Self::Unknown => "unknown",
        }
    }
}

/// `service | line`, the service in a colour of its own on a terminal.
pub(super) fn log_line(service: &str, text: &str, palette: Palette) -> String {
    let service = output::clean(service);
    let text = output::clean(&text.replace('\t', "    "));
    match palette {
        Palette::None => format!("{service} | {text}"),
        Palette::Terminal => {
            let sum: u32 = service.bytes().map(u32::from).sum();
            format!("\u{1b}[3{}m{service} |\u{1b}[0m {text}", 1 + sum % 6)
        }
    }
}

/// Whether lines may be coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    None,
    Terminal,
}

impl Palette {
    /// Colours for a terminal whose owner does not mind them.
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !unwanted { Self::Terminal } else { Self::None }
    }
}

/// A span of time for people.
pub(super) fn span(duration: Duration) -> String {
    output::span(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_shown_as_they_are_typed() {
        for (kind, shown) in [
            (EndpointKind::Http, "http://127.0.0.1:30001"),
            (EndpointKind::Https, "https://127.0.0.1:30001"),
            (EndpointKind::Tcp, "nc 127.0.0.1 30001"),
            (EndpointKind::Ssh, "ssh -p 30001 127.0.0.1"),
        ] {
            let endpoint = Endpoint {
                service: "web".parse().unwrap(),
                kind,
                host: "127.0.0.1".to_owned(),
                port: 30001,
                target: 80,
                transport: crate::model::compose::Transport::Tcp,
                door: None,
            };
            assert_eq!(address(&endpoint), shown);
        }
    }

    #[test]
    fn answers_are_struck_out_unless_the_author_wants_them() {
        let answers = [("flag".to_owned(), "FLAG{00ff}".to_owned())];
        let said = "got FLAG{00ff} and 00ff";
        assert_eq!(Mask::new(Answers::Hidden, &answers).apply(said), "got FLAG{…} and …");
        assert_eq!(Mask::new(Answers::Shown, &answers).apply(said), said);
    }

    #[test]
    fn a_log_line_cannot_drive_the_terminal() {
        assert_eq!(log_line("web", "a\u{1b}[2J\tb", Palette::None), "web | a\u{fffd}[2J    b");
        let coloured = log_line("web", "x", Palette::Terminal);
        assert!(coloured.starts_with("\u{1b}[3") && coloured.ends_with("m x"), "{coloured:?}");
    }

    #[test]
    fn a_verdict_names_each_question() {
        let row = |id: &str, verdict| (id.to_owned(), "dynamic".to_owned(), verdict);
        let wrong = Report {
            verdicts: vec![row("flag", Verdict::Wrong), row("root", Verdict::Missing)],
            fault: None,
            took: Duration::from_millis(1234),
            output: String::new(),
        };
        insta::assert_snapshot!(report(&wrong), @r"
        QUESTION  MODE     VERDICT
        flag      dynamic  WRONG
        root      dynamic  NOT PRINTED

        not solved after 1.2s
        ");
    }
}
