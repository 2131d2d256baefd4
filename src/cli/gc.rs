//! `flagops gc`: room on the disk of the engine, and why images stay.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::model::{Clock as _, Timestamp};
use crate::telemetry::SystemClock;

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Remove images that nothing needs, when the engine's disk is over the high mark
///
/// The server does the same by itself every few minutes; this does it now. Only images that this
/// installation built go, the longest unused first, until the low mark is reached. Images of live
/// and previous versions, of the newest revision and of instances stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops gc --dry-run                   what would go, and why the rest stays
  flagops gc
  flagops gc --dry-run --format json | jq '.held[] | select(.hold == \"spare\")'")]
pub(crate) struct GcArgs {
    /// Change nothing; show what would go and what stays
    #[arg(long)]
    dry_run: bool,
}

/// Shows the plan, or carries it out and shows what is gone.
pub(crate) async fn run(global: &Global, args: &GcArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let request = Request::to(&["gitops", "gc"]);
    let report =
        if args.dry_run { client.get(request).await? } else { client.post(request, None).await? };
    match global.format() {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&render(&report, SystemClock.now()))?,
    }
    Ok(Ending::Fine)
}

fn render(report: &Value, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "disk         {}", disk(report));
    let _ = writeln!(text, "build cache  {}", cache(&report["build_cache"]));
    if report.is("builds_paused") {
        let _ = writeln!(text, "builds       wait until there is room");
    }
    let parts = [("removed", "removed"), ("remove", "goes"), ("held", "stays")];
    let rows: Vec<_> = parts
        .iter()
        .flat_map(|(key, fate)| report.list(key).iter().map(|image| row(image, fate, now)))
        .collect();
    if rows.is_empty() {
        return text + "\nthis installation has no image on the engine";
    }
    let header = ["IMAGE", "FOR", "SIZE", "UNUSED", "FATE", "WHY"];
    let _ = write!(text, "\n{}", output::table(&header, &rows));
    let sum = |key: &str| {
        let images = report.list(key);
        // The sum of nothing is -0.0.
        let bytes = images.iter().fold(0.0, |sum, image| sum + image.number("size_bytes"));
        match images.len() {
            0 => "nothing".to_owned(),
            n => format!("{n} (up to {})", size(bytes)),
        }
    };
    let _ = write!(text, "\n\nremoved {}; to go {}", sum("removed"), sum("remove"));
    if !report.list("removed").is_empty() {
        let _ = write!(text, "; the disk has {} more room", size(report.number("freed_bytes")));
    }
    text
}

fn disk(report: &Value) -> String {
    let (high, low) = (report.number("high_percent"), report.number("low_percent"));
    let Some(disk) = report.get("disk").filter(|disk| disk.is_object()) else {
        return "not seen from the server, so no image goes".to_owned();
    };
    let word = match report.text("pressure") {
        "fine" => "no image goes below the high mark",
        "high_watermark" => "over the high mark",
        "nothing_to_free" => "over the high mark, and nothing is left that may go",
        _ => "",
    };
    format!(
        "{} % of {} used, marks {high} % and {low} %: {word}",
        disk.number("used_percent"),
        size(disk.number("capacity_bytes")),
    )
}

fn cache(cache: &Value) -> String {
    if !cache.is("trim") {
        return "left alone (`gc.build_cache`)".to_owned();
    }
    let mut text = match cache.get("bytes").and_then(Value::as_f64) {
        Some(bytes) => size(bytes),
        None => "the engine does not say how large it is".to_owned(),
    };
    if let Some(keep) = cache.get("trim_to_bytes").and_then(Value::as_f64) {
        let _ = write!(text, ", to be trimmed to {}", size(keep));
    }
    if let Some(freed) = cache.get("trimmed_bytes").and_then(Value::as_f64) {
        let _ = write!(text, ", trimmed by {}", size(freed));
    }
    text
}

fn row(image: &Value, fate: &str, now: Timestamp) -> Vec<String> {
    let id = image.text("id");
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    let built_for = match (image.text("challenge_id"), image.text("service")) {
        ("", _) => "not known".to_owned(),
        (challenge, service) => format!("{challenge}/{service}"),
    };
    let unused = image
        .time_millis("last_use")
        .map_or(String::new(), |at| output::span(now.as_millis().saturating_sub(at)));
    let why: Vec<_> =
        image.list("why").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    vec![
        id.chars().take(12).collect(),
        built_for,
        size(image.number("size_bytes")),
        unused,
        fate.to_owned(),
        output::cut(&why.join(", "), 100),
    ]
}

fn size(bytes: f64) -> String {
    let (gib, mib) = (f64::from(1 << 30), f64::from(1 << 20));
    if bytes >= gib { format!("{:.1} GiB", bytes / gib) } else { format!("{:.1} MiB", bytes / mib) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_and_what_stays_is_shown_with_its_reasons() {
        let now = Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap();
        let image = |id: &str, why: &[&str]| {
            json!({
                "id": format!("sha256:{id}"), "challenge_id": "WEB-001", "service": "web",
                "size_bytes": 5 << 20, "last_use": "2026-11-20T10:00:00Z", "why": why,
            })
        };
        let mut report = json!({
            "pressure": "high_watermark",
            "disk": {"capacity_bytes": 100_u64 << 30, "used_percent": 85},
            "high_percent": 80,
            "low_percent": 70,
            "build_cache": {"trim": true, "bytes": 30_u64 << 30, "trim_to_bytes": 20_u64 << 30},
            "remove": [image("0123456789abcdef", &[])],
            "held": [image("fedcba9876543210", &["live in WEB-001", "instance \u{1b}[2J"])],
        });
        insta::assert_snapshot!(render(&report, now), @r"
        disk         85 % of 100.0 GiB used, marks 80 % and 70 %: over the high mark
        build cache  30.0 GiB, to be trimmed to 20.0 GiB

        IMAGE         FOR          SIZE     UNUSED  FATE   WHY
        0123456789ab  WEB-001/web  5.0 MiB  2h0m    goes
        fedcba987654  WEB-001/web  5.0 MiB  2h0m    stays  live in WEB-001, instance �[2J

        removed nothing; to go 1 (up to 5.0 MiB)
        ");
        report["disk"] = Value::Null;
        report["builds_paused"] = true.into();
        report["build_cache"] = json!({"trim": false});
        report["removed"] = report["remove"].take();
        report["freed_bytes"] = (3 << 20).into();
        report["held"] = json!([]);
        insta::assert_snapshot!(render(&report, now), @r"
        disk         not seen from the server, so no image goes
        build cache  left alone (`gc.build_cache`)
        builds       wait until there is room

        IMAGE         FOR          SIZE     UNUSED  FATE     WHY
        0123456789ab  WEB-001/web  5.0 MiB  2h0m    removed

        removed 1 (up to 5.0 MiB); to go nothing; the disk has 3.0 MiB more room
        ");
        insta::assert_snapshot!(render(&Value::Null, now), @r"
        disk         not seen from the server, so no image goes
        build cache  left alone (`gc.build_cache`)

        this installation has no image on the engine
        ");
    }
}
