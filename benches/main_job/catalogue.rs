//! A repository of a thousand challenges: a commit that changes nothing, one that changes one,
//! and the memory of a daemon that serves it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flagops::catalog::{self, Policy};
use flagops::git::{Credentials, Mirror, Remote};

use crate::platform::push;
use crate::process::Process;
use crate::report::Report;

/// Challenges in the repository.
const N: usize = 1000;

/// Commits of each kind.
const RUNS: usize = 15;

/// Measures and reports.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (work, remote) = (dir.path().join("work"), dir.path().join("remote.git"));
    for nth in 0..N {
        write(&work, nth, "first")?;
    }
    push(&work, &remote)?;
    let url = remote.to_str().context("a path in UTF-8")?;
    let parsed = Remote::parse(url, Path::new("."))?;
    let mirror = Mirror::open(&dir.path().join("mirror"), parsed, Credentials::default())?;
    let policy = Policy::default();

    let begin = Instant::now();
    let fetched = mirror.fetch(None)?;
    let mut known = catalog::load(&mirror.tree(fetched.revision)?, None, &policy)?;
    report.time("reconcile, first look at 1,000", &[begin.elapsed()], "");
    let n_valid = known.folders.values().filter(|folder| folder.challenge.is_some()).count();
    if n_valid != N {
        bail!(
            "{n_valid} of {N} challenges are valid: {:?}",
            known.folders.values().flat_map(|f| &f.findings).next()
        );
    }

    let mut unchanged = Vec::new();
    for _ in 0..RUNS {
        push(&work, &remote)?;
        let begin = Instant::now();
        let fetched = mirror.fetch(None)?;
        known = catalog::load(&mirror.tree(fetched.revision)?, Some(&known), &policy)?;
        unchanged.push(begin.elapsed());
    }
    report.time("reconcile, no-change commit (with fetch)", &unchanged, "< 20 ms");

    let mut changed = Vec::new();
    for nth in 0..RUNS {
        write(&work, nth, "second")?;
        push(&work, &remote)?;
        let fetched = mirror.fetch(None)?;
        let begin = Instant::now();
        known = catalog::load(&mirror.tree(fetched.revision)?, Some(&known), &policy)?;
        changed.push(begin.elapsed());
    }
    report.time("reconcile, one change: verdict after the fetch", &changed, "< 100 ms");
    drop(known);
    whole_daemon(report, dir.path(), &work, &remote)
}

/// A daemon that has read the whole repository: its memory, and a whole look at the remote.
fn whole_daemon(report: &mut Report, dir: &Path, work: &Path, remote: &Path) -> Result<()> {
    let process = Process::serve(remote, &dir.join("data"), &[])?;
    let begin = Instant::now();
    let mut seen = 0;
    while begin.elapsed() < Duration::from_secs(120) && seen < N {
        std::thread::sleep(Duration::from_millis(500));
        seen = count_live(process.port()).unwrap_or(0);
    }
    let token = process.admin_token()?;
    let mut looks = Vec::new();
    for _ in 0..RUNS {
        push(work, remote)?;
        looks.push(reconcile(process.port(), &token)?);
    }
    report.time("reconcile, no-change commit through the API", &looks, "< 20 ms");
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    drop(process);
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<f64>().ok())
        .context("no VmRSS")?;
    report.number(
        &format!("rss with {seen} live challenges, MiB"),
        format!("{:.1}", kib / 1024.0),
        "< 80",
    );
    Ok(())
}

/// Asks the daemon to look now; the time until it has.
fn reconcile(port: u16, token: &str) -> Result<Duration> {
    use std::io::{Read, Write};
    let begin = Instant::now();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let request = format!(
        "POST /api/v1/gitops/reconcile HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.0 200") {
        bail!("the daemon refused to look: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(begin.elapsed())
}

fn count_live(port: u16) -> Result<usize> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /api/v1/challenges?limit=1 HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).context("no body")?;
    let page: serde_json::Value = serde_json::from_str(body)?;
    Ok(usize::try_from(page["total"].as_u64().unwrap_or(0))?)
}

fn write(work: &Path, nth: usize, words: &str) -> Result<()> {
    let folder = work.join("BENCH").join(format!("BENCH-{nth:04}"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("metadata.yaml"),
        format!(
            "name: Bench {nth}\ndescription: The {words} version of number {nth}.\ndifficulty: easy\ntags: [bench]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What is the flag?\n"
        ),
    )?;
    std::fs::write(
        folder.join("docker-compose.yml"),
        "services:\n  web:\n    image: busybox:latest\n    command: [httpd, -f, -p, '8080']\n    ports: ['8080']\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n  db:\n    image: busybox:latest\n    command: [sleep, infinity]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n",
    )?;
    Ok(())
}
