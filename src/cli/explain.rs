//! `flagops plan` and `flagops explain`: what the server would do now, and why it does not do more.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format, Paint, Style};
use super::settings::Global;
use super::wire::Fields as _;

/// Show everything that the server would do now; nothing is done
///
/// It looks at the engine and runs the planner of the daemon. What happens by itself is gone from
/// the plan a moment later; what stays says what it waits for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops plan
  flagops plan --tag v1.3.0
  flagops plan --format json | jq '.items[] | select(.held)'

Exit codes: 0 nothing to do, 2 changes are under way or wanted, 3 a person holds something back;
1 when the server or its engine cannot be asked.")]
pub(crate) struct PlanArgs {
    /// What this release tag would change if it went live now, instead
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

/// Explain an instance, a challenge or the node
///
/// Says what is wanted, what is seen, what happens next, and why nothing happens if nothing does.
/// Then the way back, each link with the command that shows more: instance, generation, tag and who
/// signed it, commit, tree, and for each service what determines its image and the image itself. An
/// instance is shown with the version it was started from, whatever went live since. The `git`
/// commands are for a clone of the repository.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops explain WEB-001
  flagops explain 3f2a0000-0000-4000-8000-000000000001
  flagops explain WEB-001 --format json | jq -r '.chain[].id'
  flagops explain node")]
pub(crate) struct ExplainArgs {
    /// A challenge, the id of an instance (or how it begins), or `node`
    #[arg(value_name = "OBJECT")]
    object: String,
}

/// Shows the plan.
pub(crate) async fn plan(global: &Global, args: &PlanArgs) -> Result<Ending, Failure> {
    if let Some(tag) = &args.tag {
        return super::releases::plan_tag(global, tag).await;
    }
    let plan = global.client()?.get(Request::to(&["gitops", "plan"])).await?;
    let items = plan.list("items");
    match global.format() {
        Format::Json => output::print_json(&plan)?,
        Format::Table if items.is_empty() => {
            output::print("nothing to do: everything is as wanted")?;
        }
        Format::Table => output::print(&render_plan(items, Paint::of_output()))?,
    }
    let is_held = items.iter().any(|item| item["held"] == Value::Bool(true));
    Ok(match (items.is_empty(), is_held) {
        (true, _) => Ending::Fine,
        (false, false) => Ending::Changes,
        (false, true) => Ending::Held,
    })
}

/// Explains one object.
pub(crate) async fn explain(global: &Global, args: &ExplainArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let object = args.object.strip_prefix("instance/").unwrap_or(&args.object);
    let object = object.strip_prefix("challenge/").unwrap_or(object);
    let explained = match object {
        "node" | "node/local" => {
            client.get(Request::to(&["gitops", "explain", "node", "local"])).await?
        }
        id => match client.get(Request::to(&["gitops", "explain", "challenge", id])).await {
            Err(error) if error.status() == Some(404) => {
                let id = super::instances::resolve(&client, id).await?.to_string();
                client.get(Request::to(&["gitops", "explain", "instance", &id])).await?
            }
            other => other?,
        },
    };
    match global.format() {
        Format::Json => output::print_json(&explained)?,
        Format::Table => output::print(&render(&explained, Paint::of_output()))?,
    }
    Ok(Ending::Fine)
}

fn render_plan(items: &[Value], paint: Paint) -> String {
    let texts: Vec<_> = items.iter().map(|item| render(item, paint)).collect();
    texts.join("\n\n")
}

fn render(item: &Value, paint: Paint) -> String {
    let mut text = paint.put(Style::Strong, &output::clean(item.text("scope")));
    let _ = write!(text, "\n  wanted   {}", output::clean(item.text("wanted")));
    for (heading, key) in [("seen", "seen"), ("next", "next"), ("because", "because")] {
        for (nth, line) in item.list(key).iter().filter_map(Value::as_str).enumerate() {
            let heading = if nth == 0 { heading } else { "" };
            let _ = write!(text, "\n  {heading:<8} {}", output::clean(line));
        }
    }
    if item["held"] == Value::Bool(true) {
        let _ = write!(text, "\n  {}", paint.put(Style::Doubtful, "held by a person"));
    }
    text + &render_chain(item.list("chain"), paint)
}

/// The way back: what each link is, what is known of it, and what shows more.
fn render_chain(chain: &[Value], paint: Paint) -> String {
    let mut text = String::new();
    for (nth, link) in chain.iter().enumerate() {
        let heading = if nth == 0 { "\n  from     " } else { "\n           " };
        let kind = output::clean(&link.text("kind").replace('_', " "));
        let id = match link.text("id") {
            "" => "not known".to_owned(),
            id => output::clean(id),
        };
        let _ = write!(text, "{heading}{kind:<10} {id}");
        let _ = write!(text, "\n{:22}{}", "", output::clean(link.text("words")));
        if !link.text("more").is_empty() {
            let more = paint.put(Style::Quiet, &output::clean(link.text("more")));
            let _ = write!(text, "\n{:22}$ {more}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_reads_from_the_instance_back_to_the_signer() {
        let link = |kind: &str, id: &str, words: &str, more: &str| json!({"kind": kind, "id": id, "words": words, "more": more});
        let item = json!({
            "scope": "instance/3f2a", "wanted": "that it runs", "seen": [], "next": [],
            "because": [], "held": false,
            "chain": [
                link("instance", "3f2a", "of WEB-001", "flagops instances show 3f2a"),
                link("tag", "v1\u{1b}[2J", "object 0909, signed by `ada`", "git verify-tag 0909"),
                link("build_key", "", "of `web`: the files can be read no more", ""),
            ],
        });
        insta::assert_snapshot!(render(&item, Paint::Plain));
    }

    #[test]
    fn a_report_reads_from_wish_to_reason() {
        let item = json!({
            "scope": "instance/3f2a", "wanted": "that it runs", "seen": ["network `default`: there",
            "service `web`: exited with code 3"], "next": [],
            "because": ["a service that died waits"], "held": true,
        });
        insta::assert_snapshot!(render(&item, Paint::Plain), @"
        instance/3f2a
          wanted   that it runs
          seen     network `default`: there
                   service `web`: exited with code 3
          because  a service that died waits
          held by a person
        ");
    }
}
