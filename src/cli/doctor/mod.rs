//! `flagops doctor`: whether this machine has what the daemon needs, and how to mend what it lacks.
//!
//! # Invariants
//! * Looks and changes nothing, but for one container of our own that is made and removed to prove
//!   that the engine works; the image of that container, a few bytes, stays for the next time.
//! * One check that cannot look does not hide the others; "could not look" is never "fine".

mod capacity;
mod disk;
mod engine;
mod host;
mod images;
mod isolation;
mod routes;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{Need, Overrides};

use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;

/// Check that this machine can run challenges
///
/// Looks at the container engine (with a real create), disk space, the address pool, kernel
/// settings, the packet filter and the data directory, with the settings that `serve` would use.
/// Run it as the user that runs the daemon, on the machine that runs it.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  flagops doctor
  flagops doctor --config /etc/flagops/flagops.toml
  flagops doctor --challenges ./challenges     are the base images present, too?
  flagops doctor --teams 60                    is there room for all of them?
  flagops doctor isolation                     what does an instance reach? (asks the server)
  flagops doctor --format json | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes: 0 nothing is broken (warnings are fine), 1 something is, 2 wrong usage."
)]
pub(crate) struct DoctorArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Repository of challenges whose base images must be present [default: source.repo, if it is
    /// a folder]
    #[arg(long, value_name = "PATH")]
    challenges: Option<PathBuf>,
    /// How many teams are expected: is there room for all of them, playing everything at once?
    #[arg(long, value_name = "N")]
    teams: Option<u32>,
}

/// What else there is to look at.
#[derive(Debug, Subcommand)]
enum What {
    Isolation(isolation::IsolationArgs),
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    /// What was looked at, e.g. `engine`.
    name: String,
    verdict: Verdict,
    /// What is so.
    found: String,
    /// What to do; empty when nothing needs to be done.
    fix: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but less well or less safely than it could.
    Warning,
    /// Nobody could look.
    Unknown,
    /// The daemon will not work.
    Broken,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, name, found, "")
    }

    fn new(
        verdict: Verdict,
        name: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), verdict, found: found.into(), fix: fix.into() }
    }
}

/// Runs every check and shows what was found.
pub(crate) async fn run(global: &Global, args: &DoctorArgs) -> Result<Ending, Failure> {
    if let Some(What::Isolation(args)) = &args.what {
        return isolation::run(global, args).await;
    }
    let config = global.load(Need::Client, Overrides::new())?;
    let mut checks = disk::check_data_dir(&config.data_dir);
    let (engine_checks, engine) = engine::check(&config).await;
    checks.extend(engine_checks);
    if let Some(engine) = &engine {
        let local = PathBuf::from(&config.source.repo);
        let challenges = args.challenges.clone().or_else(|| local.is_dir().then_some(local));
        checks.extend(images::check(engine.as_ref(), challenges.as_deref()).await);
        let info = engine.info().await.ok();
        let challenges = challenges.as_deref();
        checks.extend(capacity::check(&config, info.as_ref(), challenges, args.teams));
    }
    checks.extend(routes::check(config.network.pool));
    checks.extend(host::check(config.network.wall, config.capture.mode));
    let ending = match worst(&checks) {
        Verdict::Broken => Ending::Findings,
        Verdict::Ok | Verdict::Warning | Verdict::Unknown => Ending::Fine,
    };
    match global.format() {
        Format::Json => output::print_json(&json(&checks))?,
        Format::Table => output::print(&render(&checks))?,
    }
    Ok(ending)
}

fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

fn json(checks: &[Check]) -> serde_json::Value {
    let row = |check: &Check| {
        json!({
            "name": check.name,
            "verdict": check.verdict.as_str(),
            "found": check.found,
            "fix": check.fix,
        })
    };
    json!({
        "verdict": worst(checks).as_str(),
        "checks": checks.iter().map(row).collect::<Vec<_>>(),
    })
}

fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, name) = (check.verdict.as_str(), output::clean(&check.name));
        let _ = writeln!(text, "{word:<8} {name:<width$}  {}", output::clean(&check.found));
        if !check.fix.is_empty() {
            let _ = writeln!(text, "{:<8} {:<width$}  fix: {}", "", "", output::clean(&check.fix));
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    text + &format!(
        "\n{} checks: {} ok, {} warnings, {} unknown, {} broken",
        checks.len(),
        count(Verdict::Ok),
        count(Verdict::Warning),
        count(Verdict::Unknown),
        count(Verdict::Broken),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_with_its_fix() {
        let checks = [
            Check::ok("engine", "20.10.24 answers"),
            Check::new(Verdict::Warning, "kernel.dmesg_restrict", "is 0", "sysctl -w x=1"),
            Check::new(Verdict::Broken, "address pool", "overlaps eth0", "set `network.pool`"),
        ];
        insta::assert_snapshot!(render(&checks), @r"
        ok       engine                 20.10.24 answers
        warning  kernel.dmesg_restrict  is 0
                                        fix: sysctl -w x=1
        broken   address pool           overlaps eth0
                                        fix: set `network.pool`

        3 checks: 1 ok, 1 warnings, 0 unknown, 1 broken
        ");
        assert_eq!(json(&checks)["verdict"], "broken");
        assert_eq!(json(&checks)["checks"][1]["fix"], "sysctl -w x=1");
    }
}
