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
/// Each instance of an engagement has a gateway of its own. Its profile lets a team into that
/// instance and nowhere else; all members use the same one, at the same time. An instance may be
/// named by the first letters of its id, at least four.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops vpn profile 3f2a --team blue --out blue.ovpn
  flagops vpn status 3f2a                 who is connected, since when
  flagops vpn rotate 3f2a --why posted    another profile; the old one is worth nothing
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
    /// Download the profile for `openvpn`, NetworkManager or a phone
    ///
    /// It holds a private key: whoever has the file gets into the instance.
    #[command(after_help = "\
Examples:
  flagops vpn profile 3f2a --out lab.ovpn
  openvpn --config lab.ovpn")]
    Profile {
        /// Id of the instance, or how it begins
        id: String,
        /// Write it to this file, which only you may read
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show who is connected, since when, and how much they sent (operators only)
    #[command(after_help = "\
Examples:
  flagops vpn status 3f2a
  flagops vpn status 3f2a --format json")]
    Status {
        /// Id of the instance, or how it begins
        id: String,
    },
    /// Give the team another profile; sessions with the old one end within seconds
    #[command(after_help = "\
Examples:
  flagops vpn rotate 3f2a --why posted-in-the-chat")]
    Rotate {
        /// Id of the instance, or how it begins
        id: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Take the profile back and throw out who is connected (operators only)
    #[command(after_help = "\
Examples:
  flagops vpn revoke 3f2a --why shared-with-another-team")]
    Revoke {
        /// Id of the instance, or how it begins
        id: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT")]
        why: String,
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
        VpnCommand::Profile { id, out } => profile(&client, &id, out.as_deref()).await,
        VpnCommand::Status { id } => status(global, &client, &id).await,
        VpnCommand::Rotate { id, why } => {
            let id = resolve(&client, &id).await?.to_string();
            let path = ["instances", &id, "openvpn-config", "rotate"];
            let state = client.post(Request::to(&path), Some(&json!({"why": why}))).await?;
            tell(global, &state)
        }
        VpnCommand::Revoke { id, why } => {
            let id = resolve(&client, &id).await?.to_string();
            let path = ["admin", "instances", &id, "vpn", "revoke"];
            let state = client.post(Request::to(&path), Some(&json!({"why": why}))).await?;
            tell(global, &state)
        }
    }
}

async fn profile(client: &Client, id: &str, out: Option<&Path>) -> Result<Ending, Failure> {
    let id = resolve(client, id).await?.to_string();
    let text = client.get_text(Request::to(&["instances", &id, "openvpn-config"])).await?;
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

fn tell(global: &Global, state: &Value) -> Result<Ending, Failure> {
    match global.format() {
        Format::Json => output::print_json(state)?,
        Format::Table => output::print(&sentence(state))?,
    }
    Ok(Ending::Fine)
}

/// How a profile stands.
fn sentence(state: &Value) -> String {
    let serial = state.number("serial");
    let known = if state.is("applied") { "" } else { "; the gateway is being told" };
    match state.is("revoked") {
        true => format!("profile {serial} is revoked, and nobody gets in{known}"),
        false => format!("profile {serial} is valid{known}"),
    }
}

fn render(status: &Value) -> String {
    let profile = sentence(&status["profile"]);
    if !status["sessions"].is_array() {
        return format!(
            "{profile}\n\nthe gateway does not answer, so nobody knows who is connected"
        );
    }
    let sessions = status.list("sessions");
    if sessions.is_empty() {
        return format!("{profile}\n\nnobody is connected");
    }
    let row = |session: &Value| {
        vec![
            session.text("certificate").to_owned(),
            session.text("from").to_owned(),
            session.text("address").to_owned(),
            session.number("bytes_received").to_string(),
            session.number("bytes_sent").to_string(),
            session.text("since").to_owned(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let header = ["CERTIFICATE", "FROM", "ADDRESS", "RECEIVED", "SENT", "SINCE"];
    format!("{profile}\n\n{}", output::table(&header, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_like_this() {
        let session = json!({
            "certificate": "00b1.1", "from": "198.51.100.7:40000", "address": "10.82.0.2",
            "bytes_received": 3000, "bytes_sent": 4000, "since": "2026-11-29T09:00:00Z",
        });
        let status = json!({
            "profile": {"serial": 2, "revoked": false, "applied": true}, "sessions": [session],
        });
        insta::assert_snapshot!(render(&status));
        let revoked = json!({"profile": {"serial": 2, "revoked": true, "applied": false}});
        insta::assert_snapshot!(render(&revoked), @r"
        profile 2 is revoked, and nobody gets in; the gateway is being told

        the gateway does not answer, so nobody knows who is connected
        ");
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
