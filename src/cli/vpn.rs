//! `flagops vpn`: profiles of engagements, who is connected, and taking a profile back.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::instances::resolve;
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Download, look at, rotate or revoke the VPN profiles of engagements
///
/// A profile is for `openvpn`, or for WireGuard where the organizers chose that (`vpn.protocol`): its first
/// lines say so. Each instance of an engagement has a gateway of its own. A profile lets its holder into that
/// instance and nowhere else. Each member of a team has their own; a team without members has one
/// that all use at the same time. An instance may be named by the first letters of its id, at least
/// four.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops vpn profile 3f2a --team blue --out blue.ovpn
  flagops vpn status 3f2a                 who is connected, since when
  flagops vpn rotate 3f2a --why posted    another profile; the old one is worth nothing
  flagops vpn revoke 3f2a --holder ada --why shared
  flagops vpn revoke 3f2a --why shared    no profile until an organizer rotates")]
pub(crate) struct VpnArgs {
    #[command(subcommand)]
    command: VpnCommand,

    /// Act for this team (operators only)
    #[arg(long, global = true, value_name = "NAME")]
    team: Option<String>,
}

#[derive(Debug, Subcommand)]
enum VpnCommand {
    /// Download the profile for `openvpn` or `wg-quick`, NetworkManager or a phone
    ///
    /// It holds a private key: whoever has the file gets into the instance.
    #[command(after_help = "\
Examples:
  flagops vpn profile 3f2a --out lab.ovpn
  openvpn --config lab.ovpn
  flagops vpn profile 3f2a --out lab.conf     where WireGuard is spoken
  wg-quick up ./lab.conf")]
    Profile {
        /// Id of the instance, or how it begins
        id: String,
        /// Write it to this file, which only you may read
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Id or name of the member whose profile is meant (operators only)
        #[arg(long, value_name = "MEMBER")]
        holder: Option<String>,
    },
    /// Download the profile for all engagements of a team, as they come and go
    ///
    /// Where `vpn.mode` of the server is `team`. Whoever is connected gets the ways to engagements that
    /// start later without another download.
    #[command(after_help = "\
Examples:
  flagops vpn team Blue --out blue.ovpn
  flagops vpn team Blue --rotate          another one; the old one is worth nothing")]
    Team {
        /// Name or id of the team
        name: String,
        /// Write it to this file, which only you may read
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Id or name of the member whose profile is meant (operators only)
        #[arg(long, value_name = "MEMBER")]
        holder: Option<String>,
        /// Make the profile worthless instead; the next download is another one
        #[arg(long, conflicts_with = "out")]
        rotate: bool,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "", requires = "rotate")]
        why: String,
    },
    /// Show who may connect, who does, since when, and from where (operators only)
    #[command(after_help = "\
Examples:
  flagops vpn status 3f2a
  flagops vpn status 3f2a --format json")]
    Status {
        /// Id of the instance, or how it begins
        id: String,
    },
    /// Give yourself another profile; sessions with the old one end within seconds
    ///
    /// An operator gives everybody of the instance another one, or one member.
    #[command(after_help = "\
Examples:
  flagops vpn rotate 3f2a --why posted-in-the-chat")]
    Rotate {
        /// Id of the instance, or how it begins
        id: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
        /// Id or name of the member whose profile is meant (operators only)
        #[arg(long, value_name = "MEMBER")]
        holder: Option<String>,
    },
    /// Take profiles back and throw out who is connected (operators only)
    ///
    /// Those of everybody, or that of one member.
    #[command(after_help = "\
Examples:
  flagops vpn revoke 3f2a --why shared-with-another-team")]
    Revoke {
        /// Id of the instance, or how it begins
        id: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Id or name of the member whose profile is meant; everybody's when left out
        #[arg(long, value_name = "MEMBER")]
        holder: Option<String>,
    },
}

/// Carries out the wish.
pub(crate) async fn run(global: &Global, args: VpnArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let client = match args.team.as_deref() {
        Some(team) => client.for_team(team).await?,
        None => client,
    };
    match args.command {
        VpnCommand::Profile { id, out, holder } => {
            profile(&client, &id, out.as_deref(), holder).await
        }
        VpnCommand::Team { name, holder, rotate: true, why, .. } => {
            let team = team_id(&client, &name).await?;
            let path = ["teams", &team, "openvpn-config", "rotate"];
            let state = client.post(Request::to(&path), Some(&change(why, holder))).await?;
            tell(global, &state)
        }
        VpnCommand::Team { name, out, holder, rotate: false, .. } => {
            let team = team_id(&client, &name).await?;
            fetch(&client, &["teams", &team, "openvpn-config"], out.as_deref(), holder).await
        }
        VpnCommand::Status { id } => status(global, &client, &id).await,
        VpnCommand::Rotate { id, why, holder } => {
            let id = resolve(&client, &id).await?.to_string();
            let path = ["instances", &id, "openvpn-config", "rotate"];
            let state = client.post(Request::to(&path), Some(&change(why, holder))).await?;
            tell(global, &state)
        }
        VpnCommand::Revoke { id, why, holder } => {
            let id = resolve(&client, &id).await?.to_string();
            let path = ["admin", "instances", &id, "vpn", "revoke"];
            let state = client.post(Request::to(&path), Some(&change(why, holder))).await?;
            tell(global, &state)
        }
    }
}

fn change(why: String, holder: Option<String>) -> Value {
    match holder {
        Some(holder) => json!({"why": why, "holder": holder}),
        None => json!({"why": why}),
    }
}

async fn profile(
    client: &Client,
    id: &str,
    out: Option<&Path>,
    holder: Option<String>,
) -> Result<Ending, Failure> {
    let id = resolve(client, id).await?.to_string();
    fetch(client, &["instances", &id, "openvpn-config"], out, holder).await
}

/// The id of the team with this name or id.
async fn team_id(client: &Client, name: &str) -> Result<String, Failure> {
    let teams = client.list(Request::to(&["teams"])).await?;
    let found = teams.iter().find(|it| it.text("id") == name || it.text("name") == name);
    let id = found.map(|it| it.text("id").to_owned());
    id.ok_or_else(|| {
        let problem = format!("there is no team `{name}`");
        Failure::failed(problem, "write its whole name, or its id")
    })
}

async fn fetch(
    client: &Client,
    path: &[&str],
    out: Option<&Path>,
    holder: Option<String>,
) -> Result<Ending, Failure> {
    let query: Vec<_> = holder.into_iter().map(|holder| ("holder", holder)).collect();
    let text = client.get_text(Request { path, query: &query }).await?;
    let Some(file) = out else {
        output::print(text.trim_end())?;
        return Ok(Ending::Fine);
    };
    write_private(file, &text).map_err(|error| {
        let problem = format!("could not write `{}`: {error}", file.display());
        Failure::failed(problem, "give a file in a folder that you may write to with --out")
    })?;
    output::note(&format!("wrote {}; keep it to yourself", file.display()));
    Ok(Ending::Fine)
}

/// Writes a file that nobody else reads, in place of what it held.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    // One that exists keeps its mode, so it goes first.
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

async fn status(global: &Global, client: &Client, id: &str) -> Result<Ending, Failure> {
    let id = resolve(client, id).await?.to_string();
    let status = client.get(Request::to(&["admin", "instances", &id, "vpn"])).await?;
    match global.format() {
        Format::Json => output::print_json(&status)?,
        Format::Table => output::print(&render(&status))?,
    }
    Ok(Ending::Fine)
}

fn tell(global: &Global, changed: &Value) -> Result<Ending, Failure> {
    match global.format() {
        Format::Json => output::print_json(changed)?,
        Format::Table => output::print(&holders(changed))?,
    }
    Ok(Ending::Fine)
}

/// How each holder stands, a line each.
fn holders(status: &Value) -> String {
    let row = |holder: &Value| {
        let mut notes = Vec::new();
        if !holder.is("applied") {
            notes.push("the gateway is being told".to_owned());
        }
        if holder.is("shared") {
            let from: Vec<_> =
                holder.list("connected_from").iter().filter_map(Value::as_str).collect();
            notes.push(format!("one profile at once from {}", from.join(", ")));
        }
        vec![
            holder.text("name").to_owned(),
            holder.text("kind").to_owned(),
            holder.number("serial").to_string(),
            if holder.is("revoked") { "revoked" } else { "valid" }.to_owned(),
            holder.text("holder_id").to_owned(),
            notes.join("; "),
        ]
    };
    let rows: Vec<_> = status.list("holders").iter().map(row).collect();
    output::table(&["HOLDER", "KIND", "PROFILE", "STATE", "ID", "NOTE"], &rows)
}

fn render(status: &Value) -> String {
    let holders = holders(status);
    if !status["sessions"].is_array() {
        return format!(
            "{holders}\n\nthe gateway does not answer, so nobody knows who is connected"
        );
    }
    let sessions = status.list("sessions");
    if sessions.is_empty() {
        return format!("{holders}\n\nnobody is connected");
    }
    let name_of = |certificate: &str| {
        let known = status.list("holders").iter().find(|it| it.text("certificate") == certificate);
        known.map_or(certificate, |it| it.text("name")).to_owned()
    };
    let row = |session: &Value| {
        vec![
            name_of(session.text("certificate")),
            session.text("from").to_owned(),
            session.text("address").to_owned(),
            session.number("bytes_received").to_string(),
            session.number("bytes_sent").to_string(),
            match session["since"].as_str() {
                Some(since) => since.to_owned(),
                None => format!("seen {}", session.text("last_handshake")),
            },
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let header = ["CONNECTED", "FROM", "ADDRESS", "RECEIVED", "SENT", "SINCE"];
    format!("{holders}\n\n{}", output::table(&header, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_like_this() {
        let holder = |id: &str, name: &str, from: Value| {
            json!({
                "holder_id": id, "name": name, "kind": "member", "serial": 2,
                "certificate": format!("{id}.2"), "revoked": false, "applied": true,
                "shared": from.as_array().is_some_and(|it| it.len() > 1), "connected_from": from,
            })
        };
        let session = |from: &str, certificate: &str| {
            json!({
                "certificate": certificate, "from": from, "address": "10.82.0.2",
                "bytes_received": 3000, "bytes_sent": 4000, "since": "2026-11-29T09:00:00Z",
            })
        };
        let mut wireguard = session("203.0.113.9:51820", "00b2.2");
        wireguard["since"] = Value::Null;
        wireguard["last_handshake"] = json!("2026-11-29T09:01:00Z");
        let status = json!({
            "holders": [
                holder("00b1", "ada", json!(["198.51.100.7", "203.0.113.9"])),
                holder("00b2", "bob", json!([])),
            ],
            "sessions": [
                session("198.51.100.7:40000", "00b1.2"),
                session("203.0.113.9:1194", "00b1.2"),
                session("203.0.113.9:1195", "00b1.1"),
                wireguard,
            ],
        });
        insta::assert_snapshot!(render(&status));
        let mut revoked = holder("00b1", "ada", json!([]));
        revoked["revoked"] = json!(true);
        revoked["applied"] = json!(false);
        let revoked = render(&json!({"holders": [revoked]}));
        assert!(revoked.contains("revoked  00b1  the gateway is being told"), "{revoked}");
        assert!(revoked.ends_with("so nobody knows who is connected"), "{revoked}");
    }

    #[test]
    fn a_profile_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.ovpn");
        std::fs::write(&file, "old and open").unwrap();
        write_private(&file, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
