//! Why a remote or the mirror did not do it, and whether trying again helps.

use std::path::PathBuf;

use git2::{ErrorClass, ErrorCode};
use thiserror::Error;

use super::one_line;
use super::remote::{BranchName, Remote};
use crate::model::{Disposition, ObjectId, RetryClass, Revision};

/// Why a remote could not be read. The last good revision stays in use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The host has no address.
    #[error("the host of `{remote}` was not found ({reason}); check the name and the resolver")]
    DnsFailed {
        /// The remote, masked.
        remote: String,
        /// The resolver's words.
        reason: String,
    },
    /// The host or folder does not answer.
    #[error("could not reach `{remote}` ({reason})")]
    Unreachable {
        /// The remote, masked.
        remote: String,
        /// The transport's words.
        reason: String,
    },
    /// It answered too late, or the transfer stalled.
    #[error("`{remote}` did not {what} within {secs} s")]
    Timeout {
        /// The remote, masked.
        remote: String,
        /// What was waited for, e.g. `answer`.
        what: &'static str,
        /// The deadline.
        secs: u64,
    },
    /// It refused our key or token, or wants one.
    #[error("`{remote}` refused us ({reason}); check `source.ssh_key` or `source.token_file`")]
    AuthFailed {
        /// The remote, masked.
        remote: String,
        /// What was offered and what it said.
        reason: String,
    },
    /// The host key is not the one we trust.
    #[error("the host key of `{remote}` is not trusted: {reason}")]
    HostKeyMismatch {
        /// The remote, masked.
        remote: String,
        /// What was compared, and what to do.
        reason: String,
    },
    /// The TLS certificate is not valid.
    #[error("the certificate of `{remote}` is not valid ({reason})")]
    CertificateInvalid {
        /// The remote, masked.
        remote: String,
        /// The library's words.
        reason: String,
    },
    /// There is something, but no git repository.
    #[error("`{remote}` is no git repository ({reason})")]
    NotARepository {
        /// The remote, masked.
        remote: String,
        /// What was found.
        reason: String,
    },
    /// The repository has no branch yet.
    #[error("`{remote}` has no commit yet; push one to it")]
    EmptyRepository {
        /// The remote, masked.
        remote: String,
    },
    /// The wanted branch is not there.
    #[error("`{remote}` has no branch `{branch}`; {}", hint(existing))]
    BranchMissing {
        /// The remote, masked.
        remote: String,
        /// The branch asked for, or `HEAD`.
        branch: String,
        /// Branches that exist, the most similar first; at most 10.
        existing: Vec<String>,
    },
    /// We may not read it.
    #[error("`{remote}` may not be read ({reason})")]
    PermissionDenied {
        /// The remote, masked.
        remote: String,
        /// Why, and the command that mends it.
        reason: String,
    },
    /// A key or token file of ours cannot be read.
    #[error("`{}` cannot be read ({reason}); it is needed to get into `{remote}`", path.display())]
    CredentialsUnreadable {
        /// The remote, masked.
        remote: String,
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The transfer is larger than the budget.
    #[error("`{remote}` sent more than {limit_bytes} bytes; remove large files from its history")]
    TooLarge {
        /// The remote, masked.
        remote: String,
        /// The budget.
        limit_bytes: u64,
    },
    /// The branch names something that is no commit.
    #[error("branch `{branch}` of `{remote}` names {oid}, which is no commit")]
    NotACommit {
        /// The remote, masked.
        remote: String,
        /// The branch.
        branch: String,
        /// The object.
        oid: ObjectId,
    },
    /// It answered with what we do not understand, or broke off.
    #[error("fetching `{remote}` failed ({reason})")]
    Failed {
        /// The remote, masked.
        remote: String,
        /// The library's words.
        reason: String,
    },
    /// Our mirror has lost objects. [`super::Mirror::repair`] clones it anew.
    #[error("the mirror at `{}` is damaged ({reason}); it is cloned anew", dir.display())]
    Corrupt {
        /// The mirror.
        dir: PathBuf,
        /// What was missing or broken.
        reason: String,
    },
    /// Our mirror cannot be written.
    #[error(
        "the mirror at `{}` cannot be written ({reason}); check the disk and its owner",
        dir.display()
    )]
    Unwritable {
        /// The mirror.
        dir: PathBuf,
        /// The system's words.
        reason: String,
    },
}

fn hint(existing: &[String]) -> String {
    format!("it has `{}`; push it, or set `branch`", existing.join("`, `"))
}

impl FetchError {
    /// Says whether trying again can help. `Terminal` needs a person (a key, an address, a smaller
    /// repository): only the regular poll looks again.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::DnsFailed { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NotARepository { .. }
            | Self::EmptyRepository { .. }
            | Self::BranchMissing { .. }
            | Self::Failed { .. }
            | Self::Corrupt { .. }
            | Self::Unwritable { .. } => Disposition::Retry(RetryClass::Network),
            Self::AuthFailed { .. }
            | Self::HostKeyMismatch { .. }
            | Self::CertificateInvalid { .. }
            | Self::PermissionDenied { .. }
            | Self::CredentialsUnreadable { .. }
            | Self::TooLarge { .. }
            | Self::NotACommit { .. } => Disposition::Terminal,
        }
    }

    /// The stable word for the condition `SourceReachable`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DnsFailed { .. } => "DnsFailed",
            Self::Unreachable { .. } => "Unreachable",
            Self::Timeout { .. } => "Timeout",
            Self::AuthFailed { .. } => "AuthFailed",
            Self::HostKeyMismatch { .. } => "HostKeyMismatch",
            Self::CertificateInvalid { .. } => "CertificateInvalid",
            Self::NotARepository { .. } => "NotARepository",
            Self::EmptyRepository { .. } => "EmptyRepository",
            Self::BranchMissing { .. } => "BranchMissing",
            Self::PermissionDenied { .. } => "PermissionDenied",
            Self::CredentialsUnreadable { .. } => "CredentialsUnreadable",
            Self::TooLarge { .. } => "TooLarge",
            Self::NotACommit { .. } => "NotACommit",
            Self::Failed { .. } => "FetchFailed",
            Self::Corrupt { .. } => "Corrupt",
            Self::Unwritable { .. } => "MirrorUnwritable",
        }
    }

    /// The branch `branch` (or `HEAD`) is not among `existing`.
    pub(super) fn branch_missing<'a>(
        remote: &Remote,
        branch: Option<&BranchName>,
        existing: impl Iterator<Item = &'a String>,
    ) -> Self {
        let branch = branch.map_or("HEAD", BranchName::as_str).to_owned();
        let mut existing: Vec<_> = existing.map(|name| one_line(name, 100)).collect();
        existing.sort_by_cached_key(|name| (distance(&branch, name), name.clone()));
        existing.truncate(10);
        Self::BranchMissing { remote: remote.masked(), branch, existing }
    }

    /// What libgit2 said while it spoke to `remote`.
    pub(super) fn from_git(remote: &Remote, error: &git2::Error) -> Self {
        let remote = remote.masked();
        let reason = one_line(error.message(), 300);
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        match (error.code(), error.class()) {
            (ErrorCode::Owner, _) => Self::PermissionDenied {
                reason: format!(
                    "it belongs to another user; `chown` it to ours, or trust it with `git config \
                     --system --add safe.directory '{remote}'`"
                ),
                remote,
            },
            (ErrorCode::Timeout, _) => Self::Unreachable { remote, reason },
            // Of the remote if it is a folder, or of our mirror, which is looked at then.
            (ErrorCode::NotFound, ErrorClass::Odb) => Self::Failed {
                remote,
                reason: format!("{reason}; an object is missing, `git fsck` there shows which"),
            },
            (ErrorCode::Certificate, ErrorClass::Ssh) => Self::HostKeyMismatch {
                remote,
                reason: format!(
                    "{reason}; add the key that you have checked to `~/.ssh/known_hosts`, or name \
                     a file with `source.known_hosts`"
                ),
            },
            (ErrorCode::Certificate, _) => Self::CertificateInvalid { remote, reason },
            _ if says(&["resolve address"]) => Self::DnsFailed { remote, reason },
            _ if says(&["failed to connect", "refused", "unreachable", "No route"]) => {
                Self::Unreachable { remote, reason }
            }
            (ErrorCode::Auth, _) => Self::AuthFailed { remote, reason },
            _ if says(&["status code: 401", "status code: 403", "authenticat"]) => {
                Self::AuthFailed { remote, reason }
            }
            _ if says(&["certificate"]) => Self::CertificateInvalid { remote, reason },
            _ if says(&["status code: 404", "not find repository", "ot found", "not exist"]) => {
                let hint = "check the address; without credentials a private one looks so too";
                Self::NotARepository { remote, reason: format!("{reason}; {hint}") }
            }
            _ if says(&["ermission denied"]) => Self::PermissionDenied { remote, reason },
            _ if says(&["cannot redirect"]) => Self::Failed {
                remote,
                reason: format!("{reason}; write the address that it redirects to"),
            },
            (_, ErrorClass::Net | ErrorClass::Ssl) => Self::Unreachable { remote, reason },
            _ => Self::Failed { remote, reason },
        }
    }
}

/// How many single-character edits make `b` of `a`, at most 100 characters of each.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().take(100).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, in_b) in b.iter().enumerate() {
            let change = diagonal + usize::from(in_a != *in_b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Why the mirror's folder cannot be used.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// The folder cannot be made, moved or locked.
    #[error("the mirror at `{}` cannot be set up; check the disk and its owner", dir.display())]
    Io {
        /// The mirror.
        dir: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The folder belongs to another user.
    #[error(
        "the mirror at `{}` belongs to uid {owner}, not to us ({ours}); run `chown -R {ours} '{}'`",
        dir.display(),
        dir.display()
    )]
    NotOwned {
        /// The mirror.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our user.
        ours: u32,
    },
    /// libgit2 refused.
    #[error("the mirror at `{}` did not do it", dir.display())]
    Git {
        /// The mirror.
        dir: PathBuf,
        /// The library's words.
        source: git2::Error,
    },
    /// A pin's name holds more than letters, digits, `.`, `_` and `-`.
    #[error("`{name}` is no name for a pin; letters, digits, `.`, `_` and `-` are allowed")]
    BadName {
        /// The name.
        name: String,
    },
    /// There is no such commit to pin.
    #[error("the mirror at `{}` does not hold commit {revision}; fetch it first", dir.display())]
    MissingCommit {
        /// The mirror.
        dir: PathBuf,
        /// The commit.
        revision: Revision,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, wanted) in [("", "", 0), ("main", "main", 0), ("mian", "main", 2), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), wanted, "{a} {b}");
        }
    }

    #[test]
    fn what_libgit2_says_becomes_a_situation() {
        let remote = Remote::parse("ssh://git@forge.example/x", std::path::Path::new("/")).unwrap();
        for (code, class, message, reason) in [
            (
                ErrorCode::GenericError,
                ErrorClass::Net,
                "failed to resolve address for forge.example: Name or service not known",
                "DnsFailed",
            ),
            (ErrorCode::GenericError, ErrorClass::Os, "failed to connect to x", "Unreachable"),
            (ErrorCode::Auth, ErrorClass::Http, "too many redirects", "AuthFailed"),
            (
                ErrorCode::GenericError,
                ErrorClass::Http,
                "unexpected http status code: 403",
                "AuthFailed",
            ),
            (
                ErrorCode::GenericError,
                ErrorClass::Http,
                "unexpected http status code: 404",
                "NotARepository",
            ),
            (ErrorCode::Certificate, ErrorClass::Ssh, "invalid hostkey", "HostKeyMismatch"),
            (ErrorCode::Certificate, ErrorClass::Ssl, "expired", "CertificateInvalid"),
            (ErrorCode::Owner, ErrorClass::Config, "not owned", "PermissionDenied"),
            (ErrorCode::GenericError, ErrorClass::Http, "cannot redirect from 'a'", "FetchFailed"),
            (ErrorCode::NotFound, ErrorClass::Odb, "object not found - no match", "FetchFailed"),
        ] {
            let error = FetchError::from_git(&remote, &git2::Error::new(code, class, message));
            assert_eq!(error.reason(), reason, "{message}");
        }
    }
}
