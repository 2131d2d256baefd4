//! Rendering of attachments: by children with limits of their own, beside the same in this process.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flagops::render::attachments::Facts;
use flagops::render::attachments::job::{Request, Source, answer, replies};

use crate::report::Report;

/// Attachments of a run.
const N: usize = 100;

/// Measures and reports.
pub(crate) fn run(report: &mut Report, runs: usize) -> Result<()> {
    for (name, n_each) in [
        ("render, 100 attachments of one instance", N),
        ("render, one of each of 100 instances", 1),
    ] {
        let bytes = request(n_each).encode();
        let (mut children, mut here) = (Vec::new(), Vec::new());
        for _ in 0..runs.min(10) {
            children.push(time(N / n_each, || by_child(&bytes, n_each))?);
            here.push(time(N / n_each, || in_process(&bytes, n_each))?);
        }
        report.ratio(name, &children, &here, f64::NAN);
    }
    Ok(())
}

fn request(n: usize) -> Request {
    let template = |nth| Source {
        name: format!("letter-{nth}.txt.tpl"),
        text: "To {{ team.name }} at {{ instance.id }}:\n{% for i in range(20) %}{{ i }} \
               {{ answer.flag|replace('FLAG', 'flag') }}\n{% endfor %}"
            .to_owned(),
    };
    let facts = Facts {
        answers: [("flag".to_owned(), format!("FLAG{{{}}}", "0".repeat(32)))].into(),
        ..Facts::default()
    };
    Request { templates: (0..n).map(template).collect(), files: Default::default(), facts }
}

fn time(n: usize, work: impl Fn() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    (0..n).try_for_each(|_| work())?;
    Ok(begin.elapsed())
}

fn in_process(request: &[u8], n: usize) -> Result<()> {
    let mut out = Vec::new();
    answer(request, &mut out)?;
    check(&out, n)
}

fn by_child(request: &[u8], n: usize) -> Result<()> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flagops"))
        .arg(flagops::daemon::RENDER_COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("it is a pipe")?.write_all(request)?;
    check(&child.wait_with_output()?.stdout, n)
}

fn check(out: &[u8], n: usize) -> Result<()> {
    let n_seen = replies(out, n + 1).len();
    ensure!(n_seen == n, "{n_seen} of {n} are rendered");
    Ok(())
}
