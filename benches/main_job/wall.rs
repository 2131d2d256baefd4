//! How long the wall takes to go up, with no instance behind it and with the networks of 500.
//!
//! In a network namespace of its own, which needs root: the bench runs itself again inside of it. What
//! the inside found comes back as a line of microseconds.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flagops::runtime::wall::{Wall, WallState};

use crate::report::Report;

/// Set for the bench inside of the namespace.
const INSIDE: &str = "FLAGOPS_BENCH_WALL";
/// Networks of instances.
const N: usize = 500;
/// Loads of the table.
const RUNS: usize = 20;

/// Whether this process is the one inside.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Measures and reports.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let own = std::env::current_exe()?;
    let output = Command::new("unshare").arg("--net").arg(own).env(INSIDE, "1").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    for (name, line) in
        ["wall apply, 0 instances", "wall apply, 500 instances"].iter().zip(said.lines())
    {
        let micros: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let times: Vec<_> = micros?.into_iter().map(Duration::from_micros).collect();
        report.time(name, &times, "< 50 ms");
    }
    Ok(())
}

/// Loads the wall again and again, before and after there are networks.
pub(crate) async fn inside() -> Result<()> {
    println!("{}", loads().await?);
    for n in 0..N {
        // Named as those of instances are.
        let name = format!("fi0a50{n:04x}1c");
        let made = Command::new("ip").args(["link", "add", &name, "type", "bridge"]).status()?;
        ensure!(made.success(), "the bridge {name} was not made");
    }
    println!("{}", loads().await?);
    Ok(())
}

async fn loads() -> Result<String> {
    let mut micros = Vec::new();
    for n in 0..RUNS {
        // Another installation each time: nothing is found to be as it was made.
        let installation = format!("{n:016x}").parse().context("16 hex digits")?;
        let wall = Wall::new(&installation, "10.80.0.0/15".parse()?);
        let begin = Instant::now();
        ensure!(wall.ensure().await? == WallState::Up, "there is no wall");
        micros.push(begin.elapsed().as_micros().to_string());
        wall.remove().await?;
    }
    Ok(micros.join(" "))
}
