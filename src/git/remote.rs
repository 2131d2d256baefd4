//! Where the challenge repository is, as the operator wrote it, and how to get in.
//!
//! In:  one line of configuration. Out: a [`Remote`] that is safe to show and to hand to libgit2.
//! Only local folders, `https` and `ssh` are spoken; everything else is refused by name and reason.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// A repository that can be fetched from. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A folder on this machine.
    Local(PathBuf),
    /// `https://host[:port]/path`.
    Https { url: String },
    /// `ssh://[user@]host[:port]/path` or `[user@]host:path`.
    Ssh { url: String, port: u16 },
}

/// Why a text is no usable remote. No variant shows a credential.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// Nothing was written.
    #[error("the repository is empty; write a folder, an `https://` or an `ssh://` address")]
    Empty,
    /// It could be taken for an option, or hides something.
    #[error("`{shown}` is no repository: {why}")]
    Suspicious {
        /// The text, cut and cleaned.
        shown: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A transport that we do not speak.
    #[error("`{scheme}` is not spoken: {why}")]
    Scheme {
        /// The transport.
        scheme: String,
        /// Why, and what to write instead.
        why: &'static str,
    },
    /// A password or token stands in the address, where logs and process lists would show it.
    #[error(
        "the address of `{host}` holds credentials; remove them from the address and put the \
         token into a file that only flagops can read, named by `source.token_file`"
    )]
    Credentials {
        /// The host alone.
        host: String,
    },
}

const SPOKEN: &str = "write a folder, `file://`, `https://`, `ssh://` or `user@host:path`";
const PLAIN: &str =
    "anyone on the way could change the challenges; use `https://` or `ssh://` instead";
const HELPER: &str = "remote helpers run programs; use `https://` or `ssh://` instead";

impl Remote {
    /// Reads what the operator wrote. A relative folder is taken from `base`. Touches no file.
    ///
    /// # Errors
    /// When the transport is not on the allowlist, the text could be taken for an option, or it
    /// holds a credential.
    pub fn parse(text: &str, base: &Path) -> Result<Self, RemoteError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RemoteError::Empty);
        }
        if text.len() > 2000 {
            return Err(suspicious(text, "it is longer than 2000 characters"));
        }
        if text.starts_with('-') {
            return Err(suspicious(text, "it begins with `-`, like an option"));
        }
        if text.chars().any(char::is_control) {
            return Err(suspicious(text, "it holds control characters"));
        }
        if let Some((scheme, _)) = text.split_once("::")
            && !scheme.contains(['/', '@', '['])
        {
            return Err(RemoteError::Scheme {
                scheme: format!("{}::", super::one_line(scheme, 40)),
                why: HELPER,
            });
        }
        match text.split_once("://") {
            Some((scheme, rest)) => parse_url(scheme, rest),
            None => match text.split_once(':') {
                Some((host, path)) if !host.contains('/') => parse_scp(text, host, path),
                _ => Ok(Self(Place::Local(base.join(text)))),
            },
        }
    }

    /// An address that no operator may write: a server without TLS in our own tests.
    #[cfg(test)]
    pub(super) fn unchecked(url: &str) -> Self {
        Self(Place::Https { url: url.to_owned() })
    }

    /// The folder, if the remote is on this machine.
    pub fn is_local(&self) -> Option<&Path> {
        match &self.0 {
            Place::Local(path) => Some(path),
            Place::Https { .. } | Place::Ssh { .. } => None,
        }
    }

    /// The address as it may be shown anywhere.
    pub fn masked(&self) -> String {
        self.to_string()
    }

    /// What libgit2 is given; `None` for a folder, which we read ourselves.
    pub(super) fn url(&self) -> Option<&str> {
        match &self.0 {
            Place::Local(_) => None,
            Place::Https { url } | Place::Ssh { url, .. } => Some(url),
        }
    }

    /// The port of the host key, for `known_hosts`.
    pub(super) fn ssh_port(&self) -> u16 {
        match self.0 {
            Place::Ssh { port, .. } => port,
            Place::Local(_) | Place::Https { .. } => 22,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Local(path) => path.display().fmt(f),
            Place::Https { url } | Place::Ssh { url, .. } => f.write_str(url),
        }
    }
}

fn suspicious(text: &str, why: &'static str) -> RemoteError {
    RemoteError::Suspicious { shown: shown(text), why }
}

/// `text` cut and cleaned, without anything before an `@`: a password could stand there.
fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{}", super::one_line(rest, 80)),
        None => super::one_line(text, 80),
    }
}

fn parse_url(scheme: &str, rest: &str) -> Result<Remote, RemoteError> {
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "file" => parse_file(rest),
        "https" => {
            let (user, host, _, path) = split_authority(rest)?;
            if user.is_some() || path.contains(['?', '#']) {
                return Err(RemoteError::Credentials { host: host.to_owned() });
            }
            Ok(Remote(Place::Https { url: format!("https://{rest}") }))
        }
        "ssh" | "git+ssh" | "ssh+git" => {
            let (user, host, port, path) = split_authority(rest)?;
            if user.is_some_and(|user| user.contains(':')) {
                return Err(RemoteError::Credentials { host: host.to_owned() });
            }
            check_user(user)?;
            check_ssh_path(path.trim_start_matches('/'))?;
            Ok(Remote(Place::Ssh { url: format!("ssh://{rest}"), port: port.unwrap_or(22) }))
        }
        "http" | "git" => Err(RemoteError::Scheme { scheme: format!("{scheme}://"), why: PLAIN }),
        _ => Err(RemoteError::Scheme {
            scheme: format!("{}://", super::one_line(&scheme, 40)),
            why: SPOKEN,
        }),
    }
}

fn parse_file(rest: &str) -> Result<Remote, RemoteError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(suspicious(rest, "`file://` wants an absolute path: `file:///srv/repo.git`"));
    }
    let path = percent_decode(path)
        .ok_or_else(|| suspicious(rest, "its `%` sequences do not make a path"))?;
    Ok(Remote(Place::Local(PathBuf::from(path))))
}

/// `a%20b` to `a b`; `None` when a sequence is broken or makes NUL or non-UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

type Authority<'a> = (Option<&'a str>, &'a str, Option<u16>, &'a str);

/// `user@host:port/path` into its parts, the host checked.
fn split_authority(rest: &str) -> Result<Authority<'_>, RemoteError> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host_port) = match authority.rsplit_once('@') {
        Some((user, host_port)) => (Some(user), host_port),
        None => (None, authority),
    };
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().map_err(|_| suspicious(rest, "its port is no number"))?;
            (host, Some(port))
        }
        _ => (host_port, None),
    };
    check_host(host)?;
    if path.len() < 2 {
        return Err(suspicious(rest, "it has no path to a repository"));
    }
    Ok((user, host, port, path))
}

fn parse_scp(text: &str, host: &str, path: &str) -> Result<Remote, RemoteError> {
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, host),
    };
    if user.is_none()
        && let Some((_, rest)) = path.split_once('@')
    {
        // `user:password@host:path`.
        return Err(RemoteError::Credentials { host: super::one_line(rest, 80) });
    }
    check_host(host)?;
    check_user(user)?;
    check_ssh_path(path)?;
    Ok(Remote(Place::Ssh { url: text.to_owned(), port: 22 }))
}

fn check_host(host: &str) -> Result<(), RemoteError> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_fine = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    if is_fine { Ok(()) } else { Err(suspicious(host, "its host is no host name")) }
}

fn check_user(user: Option<&str>) -> Result<(), RemoteError> {
    let is_fine = user.is_none_or(|user| {
        user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    });
    // The user is not shown: `user:password` would be caught here too.
    if is_fine { Ok(()) } else { Err(suspicious("", "the user before `@` is no user name")) }
}

fn check_ssh_path(path: &str) -> Result<(), RemoteError> {
    if path.is_empty() || path.starts_with('-') {
        return Err(suspicious(path, "its path is empty or begins with `-`, like an option"));
    }
    Ok(())
}

/// A branch, checked: no text that git, a path or a refspec could misread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

/// Why a text is no branch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no branch name; letters, digits and `. _ - / + @ # =` are allowed, beginning with a \
     letter, digit or `_`"
)]
pub struct BranchNameError(String);

impl BranchName {
    /// The name without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BranchName {
    type Err = BranchNameError;
    fn from_str(text: &str) -> Result<Self, BranchNameError> {
        let name = text.strip_prefix("refs/heads/").unwrap_or(text);
        let is_fine = name.len() <= 200
            && name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || "._-/+@#=".contains(c))
            && git2::Reference::is_valid_name(&format!("refs/heads/{name}"));
        if is_fine {
            Ok(Self(name.to_owned()))
        } else {
            Err(BranchNameError(super::one_line(text, 80)))
        }
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to get into a remote. Paths only: a secret is read when it is needed and not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Private key for `ssh`; without one the agent at `SSH_AUTH_SOCK` is asked.
    pub ssh_key: Option<PathBuf>,
    /// The only host keys that are trusted; without one `~/.ssh/known_hosts` decides. A key that
    /// is not there is refused, never learnt.
    pub known_hosts: Option<PathBuf>,
    /// Token for `https`: `token`, or `user:token` where the forge wants a user.
    pub token_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Remote, RemoteError> {
        Remote::parse(text, Path::new("/base"))
    }

    #[test]
    fn folders_and_two_transports_are_spoken() {
        for (text, shown) in [
            ("repo.git", "/base/repo.git"),
            ("/srv/repo", "/srv/repo"),
            ("./odd:name", "/base/./odd:name"),
            ("file:///srv/a%20b.git", "/srv/a b.git"),
            ("https://forge.example:8443/ctf/repo.git", "https://forge.example:8443/ctf/repo.git"),
            ("ssh://git@forge.example:2222/ctf.git", "ssh://git@forge.example:2222/ctf.git"),
            ("git@forge.example:ctf/repo.git", "git@forge.example:ctf/repo.git"),
            ("ssh://git@[::1]:2222/ctf.git", "ssh://git@[::1]:2222/ctf.git"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(parse("file:///srv/x").unwrap().is_local(), Some(Path::new("/srv/x")));
        assert_eq!(parse("ssh://forge.example:2222/x").unwrap().ssh_port(), 2222);
    }

    #[test]
    fn what_could_run_or_leak_is_refused_with_its_reason() {
        for (text, wanted) in [
            ("", "empty"),
            ("--upload-pack=touch /tmp/x", "like an option"),
            ("ext::sh -c touch% /tmp/x", "remote helpers"),
            ("fd::7", "remote helpers"),
            ("git://forge.example/x", "anyone on the way"),
            ("http://forge.example/x", "anyone on the way"),
            ("ftp://forge.example/x", "not spoken"),
            ("https://user:hunter2@forge.example/x", "holds credentials"),
            ("https://ghp_hunter2@forge.example/x", "holds credentials"),
            ("https://forge.example/x?private_token=hunter2", "holds credentials"),
            ("ssh://git:hunter2@forge.example/x", "holds credentials"),
            ("ssh://-oProxyCommand=hunter2/x", "no host name"),
            ("ssh://forge.example/-x", "like an option"),
            ("git@-oProxyCommand=x:y", "no host name"),
            ("git:hunter2@forge.example:x", "holds credentials"),
            ("forge.example:-x", "like an option"),
            ("file://etc", "absolute path"),
            ("file:///a%00b", "`%` sequences"),
            ("https://forge.example", "no path"),
            ("a\nb", "control characters"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains("hunter2") || text.contains("Proxy"), "{text}: {error}");
        }
    }

    #[test]
    fn branch_names_cannot_become_options_or_refspecs() {
        for text in
            ["main", "feature/x-1", "größe", "release_1.0", "refs/heads/main", "a@b", "v1+2"]
        {
            assert!(text.parse::<BranchName>().is_ok(), "{text}");
        }
        for text in [
            "",
            "-x",
            "--upload-pack=touch /tmp/x",
            "refs/heads/-",
            "a;id",
            "$(id)",
            "a\nb",
            "a..b",
            "a.lock",
            "/a",
            "a//b",
            "a*",
            "a:b",
            "a@{1}",
            "a\\b",
            ".a",
        ] {
            assert!(text.parse::<BranchName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,80}") {
            let _ = parse(&text);
            let _ = text.parse::<BranchName>();
        }

        #[test]
        fn what_is_shown_is_read_back_as_the_same_remote(text in "[a-z@:/.%-]{0,30}") {
            if let Ok(remote) = parse(&text) {
                prop_assert_eq!(parse(&remote.to_string()), Ok(remote));
            }
        }
    }
}
