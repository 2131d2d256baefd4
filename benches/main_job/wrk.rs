//! The load generator `wrk`, and what it saw.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What `wrk` saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) per_sec: f64,
    pub(crate) median_ms: f64,
    pub(crate) slow_ms: f64,
}

/// Asks `url` over so many connections for so long; `script` is in Lua.
pub(crate) async fn load(
    url: &str,
    connections: u32,
    secs: u32,
    script: Option<&Path>,
) -> Result<Seen> {
    let threads = connections.min(2).to_string();
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["--latency", "-t", &threads, "-c", &connections.to_string()]);
    wrk.args(["-d", &format!("{secs}s")]);
    if let Some(script) = script {
        wrk.arg("-s").arg(script);
    }
    let output = wrk.arg(url).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(!text.contains("Non-2xx"), "not every answer was good: {text}");
    let word = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.map(str::trim).with_context(|| format!("`{label}` is missing: {text}"))
    };
    Ok(Seen {
        per_sec: word("Requests/sec:")?.parse()?,
        median_ms: millis(word("50%")?)?,
        slow_ms: millis(word("99%")?)?,
    })
}

/// `1.20ms`, `350.00us` or `1.02s` in milliseconds.
fn millis(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            return Ok(number * factor);
        }
    }
    bail!("`{text}` is no time")
}
