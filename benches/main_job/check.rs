//! `flagops check` as a whole process, beside the reference's audit of the same folders.
//!
//! The reference is `ctfy-admin challenge audit --all --json` next to `FLAGOPS_TEST_PYTHON`;
//! `scripts/bench` installs it. Without it our own times are shown alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flagops::catalog::rules::{Base, What};

use crate::platform::push;
use crate::report::Report;

#[path = "../../tests/fuzz/hostile.rs"]
mod hostile;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

/// A page of source as a web challenge has it: what the rules have to read.
const PAGE: &str =
    "<!doctype html>\n<p>Welcome to the shop. Look around, and take what you like.</p>\n";

/// Measures and reports.
pub(crate) fn run(report: &mut Report, runs: usize) -> Result<()> {
    for n in [100, 1000] {
        let dir = tempfile::tempdir()?;
        let work = dir.path().join("work");
        (0..n).try_for_each(|nth| write(&work, nth))?;
        push(&work, &dir.path().join("remote.git"))?;
        let goal = if n == 1000 { "< 500 ms" } else { "" };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(time(Command::new(flagops()).arg("check").arg(&work).args(JSON))?);
            if let Some(reference) = reference() {
                let audit = ["challenge", "audit", "--all", "--json", "--challenges-dir"];
                theirs.push(time(Command::new(reference).args(audit).arg(&work))?);
            }
        }
        report.time(&format!("check, {n} challenges, whole process"), &ours, goal);
        if !theirs.is_empty() {
            report.ratio(
                &format!("check, {n} challenges, beside the audit"),
                &ours,
                &theirs,
                f64::NAN,
            );
        }
        let mut changed = Vec::new();
        let mut single = Vec::new();
        for nth in 0..runs {
            let folder = folder(&work, nth % n);
            let page = folder.join("services/web/page.html");
            if page.exists() {
                fs::write(&page, format!("{PAGE}<p>{nth}</p>\n"))?;
            } else {
                fs::write(folder.join("notes.txt"), nth.to_string())?;
            }
            let since = ["--since", "HEAD"];
            changed.push(time(
                Command::new(flagops()).arg("check").arg(&work).args(since).args(JSON),
            )?);
            single.push(time(Command::new(flagops()).arg("check").arg(&folder).args(JSON))?);
            push(&work, &dir.path().join("remote.git"))?;
        }
        let goal = if n == 1000 { "< 50 ms" } else { "" };
        report.time(&format!("check --since HEAD, one of {n} changed"), &changed, goal);
        report.time(&format!("check of one folder among {n}"), &single, goal);
    }
    Ok(())
}

/// The slowest of the inputs that were made to be slow.
pub(crate) fn hostile(report: &mut Report) {
    let mut slowest = (Duration::ZERO, "none");
    for (name, target, bytes) in hostile::inputs() {
        let begin = Instant::now();
        targets::check(targets::named(target), &bytes);
        slowest = slowest.max((begin.elapsed(), name));
    }
    report.time(&format!("check, slowest hostile file ({})", slowest.1), &[slowest.0], "< 1000 ms");
}

const JSON: [&str; 2] = ["--format", "json"];

fn flagops() -> &'static str {
    env!("CARGO_BIN_EXE_flagops")
}

fn reference() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("FLAGOPS_TEST_PYTHON")?);
    Some(python.parent()?.join("ctfy-admin")).filter(|path| path.is_file())
}

/// How long `command` takes; it must find nothing wrong.
fn time(command: &mut Command) -> Result<Duration> {
    let begin = Instant::now();
    let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let took = begin.elapsed();
    if !done.status.success() {
        let (out, err) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        bail!("{command:?} ended with {}: {:.2000}{err}", done.status, out);
    }
    Ok(took)
}

fn folder(work: &Path, nth: usize) -> PathBuf {
    work.join(["WEB", "PWN", "MISC"][nth % 3]).join(format!("BENCH-{nth:04}"))
}

/// A clean challenge: web, pwn and quiz by turns.
fn write(work: &Path, nth: usize) -> Result<()> {
    let base = [Base::Web, Base::Pwn, Base::Quiz][nth % 3];
    let folder = folder(work, nth);
    let add = |name: &str, text: &str| -> Result<()> {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        Ok(fs::write(path, text)?)
    };
    for file in base.files() {
        if let What::Text(text) = file.what {
            add(file.path, text)?;
        }
    }
    if base == Base::Web {
        for name in ["page.html", "www/a.html", "www/b.html"] {
            add(&format!("services/web/{name}"), &PAGE.repeat(20))?;
        }
        add(
            "services/web/app.py",
            &"def handle(request):\n    return request.path\n\n".repeat(60),
        )?;
    }
    Ok(())
}
