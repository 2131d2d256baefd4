//! `flagops nodes`: who runs instances for the platform, and what operators do with them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Invite, list, empty and remove nodes
///
/// A node is a machine that runs instances for this platform. It joins with an invite, pulls the
/// repository itself and builds every image ahead. A release goes live when every node that is heard of
/// and on duty has its images (`release.canary` changes that).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops nodes invite                     an invite for one node, good for an hour
  flagops nodes                            who is there, and how busy
  flagops nodes drain n1.example.org_8101 --why new-kernel
  flagops nodes show n1.example.org_8101   with its last heartbeats and events")]
pub(crate) struct NodesArgs {
    #[command(subcommand)]
    command: Option<NodesCommand>,
}

#[derive(Debug, Subcommand)]
enum NodesCommand {
    /// List the nodes
    #[command(after_help = "\
Examples:
  flagops nodes ls
  flagops nodes ls --format json | jq '.[] | select(.is_healthy | not)'")]
    Ls,
    /// Show one node with its last events
    #[command(after_help = "\
Examples:
  flagops nodes show 10.0.0.5_8101")]
    Show {
        /// Id of the node
        id: String,
    },
    /// Make an invite for one node; it is shown once
    #[command(after_help = "\
Examples:
  flagops nodes invite > invite
  flagops nodes invite --ttl 86400 --format json")]
    Invite {
        /// Seconds for which it is good, from a minute to a week
        #[arg(long, value_name = "SECONDS", default_value_t = 3600,
            value_parser = clap::value_parser!(u32).range(60..=604_800))]
        ttl: u32,
    },
    /// List the invites
    #[command(after_help = "\
Examples:
  flagops nodes invites")]
    Invites,
    /// Take an invite back
    #[command(after_help = "\
Examples:
  flagops nodes revoke 401c956477fb4227")]
    Revoke {
        /// Id of the invite
        id: String,
    },
    /// Give a node no new instances; those that it has stay
    #[command(after_help = "\
Examples:
  flagops nodes cordon 10.0.0.5_8101 --why disk-is-slow")]
    Cordon(DutyArgs),
    /// Give a node instances again
    #[command(after_help = "\
Examples:
  flagops nodes uncordon 10.0.0.5_8101")]
    Uncordon(DutyArgs),
    /// Empty a node: what may move is made anew elsewhere, the rest runs out
    ///
    /// An instance may move when its challenge says `instance: {on_node_loss: move}`. It gets new
    /// containers with the same answers; what players changed in it is gone.
    #[command(after_help = "\
Examples:
  flagops nodes drain 10.0.0.5_8101 --why new-kernel")]
    Drain(DutyArgs),
    /// Forget a node; its instances fail, or are made anew elsewhere
    #[command(after_help = "\
Examples:
  flagops nodes remove 10.0.0.5_8101")]
    Remove {
        /// Id of the node
        id: String,
    },
}

#[derive(Debug, Args)]
struct DutyArgs {
    /// Id of the node
    id: String,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

/// Does what is asked with nodes.
pub(crate) async fn run(global: &Global, args: NodesArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    match args.command.unwrap_or(NodesCommand::Ls) {
        NodesCommand::Ls => {
            let nodes = client.list(Request::to(&["nodes"])).await?;
            match global.format() {
                Format::Json => output::print_json(&Value::Array(nodes))?,
                Format::Table => output::print(&table(&nodes))?,
            }
        }
        NodesCommand::Show { id } => {
            let node = client.get(Request::to(&["admin", "nodes", &id])).await?;
            let events = client.get(Request::to(&["admin", "nodes", &id, "events"])).await?;
            match global.format() {
                Format::Json => output::print_json(&json!({"node": node, "events": events}))?,
                Format::Table => output::print(&sheet(&node, &events))?,
            }
        }
        NodesCommand::Invite { ttl } => {
            let body = json!({"ttl_seconds": ttl});
            let invite = client.post(Request::to(&["nodes", "invites"]), Some(&body)).await?;
            match global.format() {
                Format::Json => output::print_json(&invite)?,
                // The token alone goes to standard output, so that it can be stored without editing.
                Format::Table => {
                    let until = output::clean(invite.text("expires_at"));
                    output::note(&format!(
                        "invite for one node, good until {until}; there: flagops node --platform URL --invite-file FILE"
                    ));
                    output::print(&output::clean(invite.text("registration_token")))?;
                }
            }
        }
        NodesCommand::Invites => {
            let invites = client.list(Request::to(&["nodes", "invites"])).await?;
            match global.format() {
                Format::Json => output::print_json(&Value::Array(invites))?,
                Format::Table => output::print(&invites_table(&invites))?,
            }
        }
        NodesCommand::Revoke { id } => {
            let revoked = client.delete(Request::to(&["nodes", "invites", &id])).await?;
            tell(global, &revoked, "the invite is worth nothing now")?;
        }
        NodesCommand::Cordon(args) => duty(global, &args, "cordoned").await?,
        NodesCommand::Uncordon(args) => duty(global, &args, "active").await?,
        NodesCommand::Drain(args) => duty(global, &args, "draining").await?,
        NodesCommand::Remove { id } => {
            let removed = client.delete(Request::to(&["nodes", &id])).await?;
            tell(global, &removed, "the node is forgotten; stop it there with SIGTERM")?;
        }
    }
    Ok(Ending::Fine)
}

async fn duty(global: &Global, args: &DutyArgs, duty: &str) -> Result<(), Failure> {
    let body = json!({"duty": duty, "why": args.why});
    let client = global.client()?;
    let node = client.patch(Request::to(&["admin", "nodes", &args.id]), &body).await?;
    let words = match duty {
        "active" => "it gets instances".to_owned(),
        "cordoned" => format!("it gets no new instances; {} stay", node.number("instances")),
        _ => format!("it is being emptied of {} instances", node.number("instances")),
    };
    tell(global, &node, &words)
}

fn tell(global: &Global, answer: &Value, words: &str) -> Result<(), Failure> {
    match global.format() {
        Format::Json => output::print_json(answer),
        Format::Table => output::print(words),
    }
}

/// How a node stands, in a word or two.
fn standing(node: &Value) -> String {
    let duty = node.text("duty");
    if !node.is("is_healthy") {
        return "lost".to_owned();
    }
    if !node.text("mismatch").is_empty() {
        return "mismatch".to_owned();
    }
    if !node.text("closed").is_empty() {
        return "closed".to_owned();
    }
    if duty == "active" { "ready".to_owned() } else { output::clean(duty) }
}

fn table(nodes: &[Value]) -> String {
    if nodes.is_empty() {
        return "no node has joined: `flagops nodes invite` makes an invite".to_owned();
    }
    let row = |node: &Value| {
        let percent = |name: &str| format!("{:.0}%", node[name].as_f64().unwrap_or(0.0));
        vec![
            output::clean(node.text("id")),
            standing(node),
            format!("{}/{}", node.number("instances"), node.number("capacity")),
            percent("cpu_percent"),
            percent("memory_percent"),
            percent("disk_percent"),
            format!(
                "{} built, {} failed",
                node.number("images_built"),
                node.number("images_failed")
            ),
            node.number("generation").to_string(),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    let header = ["NODE", "STATE", "INSTANCES", "CPU", "MEMORY", "DISK", "IMAGES", "GENERATION"];
    output::table(&header, &rows)
}

fn sheet(node: &Value, events: &Value) -> String {
    let mut lines = vec![table(std::slice::from_ref(node)), String::new()];
    let mut fact = |name: &str, text: &str| {
        if !text.is_empty() {
            lines.push(format!("{name:<12} {}", output::clean(text)));
        }
    };
    fact("name", node.text("display_name"));
    fact("url", node.text("url"));
    fact("version", node.text("version"));
    fact("last heard", node.text("last_heartbeat"));
    fact("closed", node.text("closed"));
    fact("mismatch", node.text("mismatch"));
    if let Some(labels) = node["labels"].as_object().filter(|labels| !labels.is_empty()) {
        let pairs: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        fact("labels", &pairs.join(", "));
    }
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    if !events.is_empty() {
        lines.push(String::new());
        let row = |event: &Value| {
            vec![output::clean(event.text("timestamp")), output::clean(event.text("event"))]
        };
        let rows: Vec<_> = events.iter().take(10).map(row).collect();
        lines.push(output::table(&["WHEN", "WHAT"], &rows));
    }
    lines.join("\n")
}

fn invites_table(invites: &[Value]) -> String {
    if invites.is_empty() {
        return "there is no invite".to_owned();
    }
    let row = |invite: &Value| {
        vec![
            output::clean(invite.text("id")),
            output::clean(invite.text("status")),
            output::clean(invite.text("expires_at")),
            output::clean(invite.text("consumed_by_node_id")),
        ]
    };
    let rows: Vec<_> = invites.iter().map(row).collect();
    output::table(&["INVITE", "STATUS", "UNTIL", "USED BY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Value {
        json!({
            "id": "10.0.0.5_8101", "url": "https://10.0.0.5:8101", "display_name": "rack 1",
            "capacity": 40, "instances": 3, "is_healthy": true, "duty": "active", "closed": "",
            "mismatch": "", "cpu_percent": 12.4, "memory_percent": 50.0, "disk_percent": 7.0,
            "images_built": 9, "images_failed": 0, "generation": 4, "version": "0.1.0",
            "last_heartbeat": "2026-11-29T09:00:00Z", "labels": {"zone": "a"},
        })
    }

    #[test]
    fn a_listing_reads_like_this() {
        let mut lost = node();
        lost["id"] = "10.0.0.6_8101".into();
        lost["is_healthy"] = false.into();
        insta::assert_snapshot!(table(&[node(), lost]));
        assert!(table(&[]).contains("flagops nodes invite"));
    }

    #[test]
    fn a_sheet_reads_like_this() {
        let events = json!([{"timestamp": "2026-11-29T08:00:00Z", "event": "node_registered"}]);
        insta::assert_snapshot!(sheet(&node(), &events));
    }
}
