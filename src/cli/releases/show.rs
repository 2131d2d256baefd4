//! Releases as text.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::output;
use crate::cli::wire::Fields as _;

/// Generations that a list shows.
const SHOWN: usize = 20;

fn short(text: &str) -> String {
    output::clean(text.get(..10).unwrap_or(text))
}

/// What is live, what comes, tags and generations.
pub(super) fn render_list(overview: &Value, generations: &[Value]) -> String {
    let mut text = match &overview["active"] {
        Value::Null => "nothing is live yet".to_owned(),
        active => {
            let tag = match active.text("tag") {
                "" => String::new(),
                tag => format!("tag {tag}, "),
            };
            let line = format!(
                "live        generation {}: {tag}revision {}, {} challenges, since {}",
                active["number"],
                short(active.text("revision")),
                active["challenges"],
                active.text("at"),
            );
            output::clean(&line)
        }
    };
    if overview.text("channel") == "branch" {
        text += "\nchannel     the branch itself: no `release.pattern` is configured";
    }
    if !overview.text("frozen").is_empty() {
        let _ = write!(text, "\nfrozen      {}", output::clean(overview.text("frozen")));
    }
    text += &render_candidate(&overview["candidate"]);
    for out in overview.list("quarantined") {
        let line = format!(
            "\nout         {} {} by {}: {}",
            out.text("challenge"),
            short(out.text("tree")),
            out.text("who"),
            out.text("why")
        );
        let _ = write!(text, "\n{}", output::clean(line.trim_start()));
    }
    if !overview.list("tags").is_empty() {
        let _ = write!(text, "\n\n{}", render_tags(overview.list("tags")));
    }
    if !generations.is_empty() {
        let _ = write!(text, "\n\n{}", render_generations(generations));
    }
    text
}

fn render_candidate(candidate: &Value) -> String {
    if candidate.is_null() {
        return String::new();
    }
    let mut text = format!(
        "\nnext        tag {} at {}",
        output::clean(candidate.text("tag")),
        short(candidate.text("revision"))
    );
    let waiting: Vec<_> = candidate.list("waiting").iter().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        let _ = write!(text, "\n            waits for {}", output::clean(&waiting.join(", ")));
    }
    for fault in candidate.list("faults").iter().filter_map(Value::as_str) {
        let _ = write!(text, "\n            {}", output::clean(fault));
    }
    text
}

fn render_tags(tags: &[Value]) -> String {
    let cells: Vec<_> = tags
        .iter()
        .rev()
        .map(|tag| {
            vec![
                tag.text("name").to_owned(),
                tag.text("standing").to_owned(),
                short(tag.text("revision")),
                tag.text("why").to_owned(),
            ]
        })
        .collect();
    output::table(&["TAG", "STANDING", "REVISION", "WHY"], &cells)
}

fn render_generations(generations: &[Value]) -> String {
    let cells: Vec<_> = generations
        .iter()
        .take(SHOWN)
        .map(|it| {
            vec![
                it["number"].to_string(),
                it.text("at").to_owned(),
                it.text("cause").to_owned(),
                it.text("who").to_owned(),
                it.text("why").to_owned(),
            ]
        })
        .collect();
    output::table(&["GENERATION", "AT", "CAUSE", "WHO", "WHY"], &cells)
}

/// Everything in one generation.
pub(super) fn render_generation(found: &Value) -> String {
    let generation = &found["generation"];
    let line = format!(
        "generation {} ({}) at {} by {}: {}\nrelease {}",
        generation["number"],
        generation.text("cause"),
        generation.text("at"),
        generation.text("who"),
        generation.text("why"),
        generation.text("release"),
    );
    let cells: Vec<_> = found
        .list("items")
        .iter()
        .map(|it| {
            let kept = if it.text("disposition") == "lkg" { "kept" } else { "" };
            vec![
                it.text("challenge").to_owned(),
                short(it.text("tree")),
                short(it.text("revision")),
                it.text("path").to_owned(),
                kept.to_owned(),
            ]
        })
        .collect();
    let table = output::table(&["CHALLENGE", "TREE", "REVISION", "FOLDER", ""], &cells);
    format!("{}\n\n{table}", output::clean_block(&line))
}

/// Who did what.
pub(super) fn render_audit(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nobody did anything yet".to_owned();
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            ["at", "who", "what", "object", "why"].map(|key| row.text(key).to_owned()).to_vec()
        })
        .collect();
    output::table(&["AT", "WHO", "WHAT", "OBJECT", "WHY"], &cells)
}

/// What changes, and for whom.
pub(in crate::cli) fn render_preview(preview: &Value) -> String {
    let mut text =
        output::clean(&format!("{} after {}", preview.text("after"), preview.text("before")));
    for why in preview.list("held").iter().filter_map(Value::as_str) {
        let _ = write!(text, "\nwaits: {}", output::clean(why));
    }
    if preview.list("items").is_empty() {
        return text + "\nnothing changes for players";
    }
    for item in preview.list("items") {
        let _ =
            write!(text, "\n\n{} {}", item.text("change"), output::clean(item.text("challenge")));
        for image in item.list("images") {
            let line = format!("image {} ({})", image.text("service"), image.text("state"));
            let _ = write!(text, "\n  {}", output::clean(&line));
        }
        for (what, key) in [("attachment", "attachments"), ("question", "questions")] {
            for part in item.list(key) {
                let line = format!("{what} {} {}", part.text("name"), part.text("change"));
                let _ = write!(text, "\n  {}", output::clean(&line));
            }
        }
        text += &render_stale(item);
    }
    text
}

fn render_stale(item: &Value) -> String {
    let stale = item.list("stale");
    if stale.is_empty() {
        return String::new();
    }
    let mut teams: Vec<_> = stale.iter().map(|it| it.text("team")).collect();
    teams.sort_unstable();
    teams.dedup();
    let what = match item.text("update") {
        "force" => "end",
        "drain" => "are not renewed any more",
        _ => "keep what they were started from until their lease ends",
    };
    format!("\n  {} instances of {} teams {what}", stale.len(), teams.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_what_is_live_what_comes_and_why_not() {
        let overview = json!({
            "channel": "tags",
            "active": {"number": 4, "tag": "v1.0.0", "revision": "aaaaaaaaaaaaaaaa",
                       "challenges": 12, "at": "2026-11-28T12:00:00Z"},
            "candidate": {"tag": "v1.1.0", "revision": "bbbbbbbbbbbbbbbb", "waiting": ["WEB-001"],
                          "faults": ["PWN-001 is not valid: x"]},
            "frozen": "by ada until 2026-11-29T12:00:00Z: the event",
            "quarantined": [{"challenge": "WEB-004", "tree": "cccccccccccc", "who": "ada", "why": "leaks"}],
            "tags": [{"name": "v1.0.0", "standing": "live", "revision": "aaaaaaaaaaaaaaaa",
                      "why": "players have it"}],
        });
        let generations = [json!({"number": 4, "at": "2026-11-28T12:00:00Z", "cause": "tag",
            "who": "flagops", "why": "tag `v1.0.0`"})];
        insta::assert_snapshot!(render_list(&overview, &generations));
    }

    #[test]
    fn a_preview_says_what_changes_and_for_whom() {
        let preview = json!({
            "before": "generation 4, which is live", "after": "tag `v1.1.0`",
            "held": ["images of WEB-001 are not built yet"],
            "items": [{"challenge": "WEB-001", "change": "changed", "update": "force",
                "images": [{"service": "web", "state": "building"}],
                "attachments": [{"name": "note.txt", "change": "changed"}],
                "questions": [{"name": "flag", "change": "added"}],
                "stale": [{"instance": "i1", "team": "t1"}, {"instance": "i2", "team": "t1"}]}],
        });
        insta::assert_snapshot!(render_preview(&preview), @"
        tag `v1.1.0` after generation 4, which is live
        waits: images of WEB-001 are not built yet

        changed WEB-001
          image web (building)
          attachment note.txt changed
          question flag added
          2 instances of 1 teams end
        ");
    }
}
