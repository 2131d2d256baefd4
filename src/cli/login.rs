//! `flagops login`, `logout` and `whoami`: a token of one's own, kept for each server.
//!
//! # Invariants
//! * The token is in a file of mode 0600 in the user's own configuration, and never shown.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::client::{Client, ClientError, DeviceCode, DeviceStatus, Me, TokenOrigin};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use crate::config::Secret;

/// Failed questions in a row after which waiting ends.
const MAX_SILENCES: u32 = 10;

/// Sign in: a person lets this program in, on a page of the server
///
/// The token is kept in the user's configuration ($XDG_CONFIG_HOME/flagops/logins, or
/// ~/.config/flagops/logins), one for each server, and is used by every command that is told of no other
/// token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops login --url https://ctf.example.org
  flagops --url https://ctf.example.org instances start WEB-001
  flagops login --url https://ctf.example.org --format json | jq -r .email")]
pub(crate) struct LoginArgs {}

/// Sign out: take the token of `flagops login` back and forget it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops logout --url https://ctf.example.org")]
pub(crate) struct LogoutArgs {}

/// Show who the server takes this program for
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops whoami --url https://ctf.example.org
  flagops whoami --format json | jq -r .role")]
pub(crate) struct WhoamiArgs {}

/// Signs in.
pub(crate) async fn login(global: &Global, _: LoginArgs) -> Result<Ending, Failure> {
    let path = path_for(&global.url)?;
    let nobody = TokenOrigin::None("signing in needs none".to_owned());
    let client = global.client_with(None, nobody)?;
    let code = client.device_code().await?;
    output::note(&invitation(&code));
    let token = wait(&client, &code).await?;
    let client = global.client_with(Some(token.clone()), TokenOrigin::Login(path.clone()))?;
    let me = client.me().await?;
    keep(&path, &token).map_err(|error| {
        Failure::failed(
            format!("the token cannot be kept in `{}` ({error})", path.display()),
            "make that folder writable, or set XDG_CONFIG_HOME; then sign in again",
        )
    })?;
    match global.format() {
        Format::Json => {
            let mut answer = json!(me);
            answer["url"] = client.url().into();
            answer["token_file"] = path.display().to_string().into();
            output::print_json(&answer)?;
        }
        Format::Table => output::print(&output::clean(&format!(
            "signed in to {} as {}; the token is in {}",
            client.url(),
            name(&me),
            path.display()
        )))?,
    }
    Ok(Ending::Fine)
}

/// What a person is asked to do.
fn invitation(code: &DeviceCode) -> String {
    let address = match code.verification_uri_complete.as_str() {
        "" => &code.verification_uri,
        complete => complete,
    };
    output::clean(&format!(
        "open {address} within {}, and let the code {} in",
        output::span(i64::try_from(code.expires_in).unwrap_or(i64::MAX / 1000) * 1000),
        code.user_code
    ))
}

/// The token, once a person let us in.
async fn wait(client: &Client, code: &DeviceCode) -> Result<Secret<String>, Failure> {
    let end = Instant::now() + Duration::from_secs(code.expires_in.min(3600));
    let mut n_silences = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(code.interval.clamp(1, 60))).await;
        let answer = match client.device_answer(code).await {
            Ok(answer) => answer,
            // The server may be restarting; it keeps the code.
            Err(error) if error.status().is_none() && n_silences < MAX_SILENCES => {
                n_silences += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        n_silences = 0;
        match answer.status {
            DeviceStatus::Pending => {}
            DeviceStatus::Denied => {
                let problem = "whoever opened the page did not let this program in";
                return Err(Failure::failed(problem, "`flagops login` asks again"));
            }
            DeviceStatus::Expired => break,
            DeviceStatus::Approved => {
                return answer.into_token().ok_or_else(|| {
                    Failure::failed("the server let us in without a token", "`flagops login`")
                });
            }
        }
    }
    Err(Failure::failed("nobody let this program in in time", "`flagops login` asks again"))
}

/// Signs out.
pub(crate) async fn logout(global: &Global, _: LogoutArgs) -> Result<Ending, Failure> {
    let path = path_for(&global.url)?;
    let Some(token) = token_in(&path)? else {
        return Err(Failure::failed(
            format!("nobody is signed in to {}", output::clean(&global.url)),
            "`flagops login` signs in",
        ));
    };
    let client = global.client_with(Some(token), TokenOrigin::Login(path.clone()))?;
    let note = match client.sign_out().await {
        Ok(()) => "signed out of",
        // Somebody else took it back, or it has ended.
        Err(ClientError::Denied { .. }) => "the token was not good any more; forgot it for",
        Err(error) => {
            let next = format!(
                "the token goes on: try again, or forget it here only with `rm {}`",
                path.display()
            );
            return Err(Failure::failed(output::clean(&error.to_string()), next));
        }
    };
    fs::remove_file(&path).map_err(|error| {
        let problem = format!("`{}` cannot be removed ({error})", path.display());
        Failure::failed(problem, "remove it; its token is good for nothing any more")
    })?;
    match global.format() {
        Format::Json => output::print_json(&json!({"url": client.url(), "signed_out": true}))?,
        Format::Table => output::print(&format!("{note} {}", client.url()))?,
    }
    Ok(Ending::Fine)
}

/// Shows who we are.
pub(crate) async fn whoami(global: &Global, _: WhoamiArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let me = client.me().await?;
    match global.format() {
        Format::Json => output::print_json(&json!(me))?,
        Format::Table => output::print(&render(&me, client.origin()))?,
    }
    Ok(Ending::Fine)
}

fn render(me: &Me, origin: &TokenOrigin) -> String {
    let mut lines = vec![format!("{} ({}), by {origin}", name(me), me.role)];
    let team = |team: &crate::client::Membership| {
        vec![team.competition_id.clone(), team.team_name.clone(), team.role.clone()]
    };
    let teams: Vec<_> = me.competition_teams.iter().map(team).collect();
    lines[0] = output::clean(&lines[0]);
    if !teams.is_empty() {
        lines.push(String::new());
        lines.push(output::table(&["COMPETITION", "TEAM", "AS"], &teams));
    }
    lines.join("\n")
}

fn name(me: &Me) -> &str {
    if me.email.is_empty() { &me.display_name } else { &me.email }
}

/// The token that was kept for the server at `url`, and the file it is in.
pub(super) fn kept_for(url: &str) -> Result<Option<(Secret<String>, PathBuf)>, Failure> {
    // Without a home there is nothing that was kept.
    let Ok(path) = path_for(url) else { return Ok(None) };
    Ok(token_in(&path)?.map(|token| (token, path)))
}

fn token_in(path: &Path) -> Result<Option<Secret<String>>, Failure> {
    if !path.try_exists().unwrap_or(false) {
        return Ok(None);
    }
    Ok(Some(Secret::read(path)?))
}

/// Where the token for the server at `url` is kept.
fn path_for(url: &str) -> Result<PathBuf, Failure> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_CONFIG_HOME").or_else(|| Some(named("HOME")?.join(".config")));
    let folder = folder.filter(|path| path.is_absolute()).ok_or_else(|| {
        Failure::usage("neither HOME nor XDG_CONFIG_HOME is set", "use `--token-file`")
    })?;
    Ok(folder.join("flagops/logins").join(file_name(url)))
}

/// A file name for a server: another one for every address and scheme.
fn file_name(url: &str) -> String {
    let url = url.trim().trim_end_matches('/').to_ascii_lowercase();
    let mut name = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
            other => {
                let _ = write!(name, "_{other:02x}");
            }
        }
    }
    name
}

/// Writes `token` where only we read it, whole or not at all.
fn keep(path: &Path, token: &Secret<String>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(token.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_server_has_a_file_of_its_own() {
        assert_eq!(file_name("https://ctf.example.org/"), "https_3a_2f_2fctf.example.org");
        assert_eq!(file_name("HTTPS://ctf.example.org"), file_name("https://ctf.example.org/"));
        let urls = ["http://a", "https://a", "https://a:8443", "https://a/b", "https://a_b"];
        let names: std::collections::BTreeSet<_> = urls.map(file_name).into();
        assert_eq!(names.len(), urls.len());
        assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')));
    }

    #[test]
    fn a_token_is_kept_for_its_owner_alone_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flagops/logins/a");
        for token in ["pt_one", "pt_two"] {
            keep(&path, &Secret::new(token.to_owned())).unwrap();
            assert_eq!(token_in(&path).unwrap().unwrap().reveal(), token);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(token_in(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_person_is_told_where_to_go_and_for_how_long() {
        let code = DeviceCode {
            device_code: "secret".to_owned(),
            user_code: "NRQY-7XPB".to_owned(),
            verification_uri: "https://ctf.test/device".to_owned(),
            verification_uri_complete: String::new(),
            expires_in: 600,
            interval: 5,
        };
        insta::assert_snapshot!(
            invitation(&code),
            @"open https://ctf.test/device within 10m0s, and let the code NRQY-7XPB in"
        );
    }
}
