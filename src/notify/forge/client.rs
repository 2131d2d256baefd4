//! Posts one status to one forge, in the shape that its kind wants.
//!
//! # Invariants
//! * The token is read anew for every status, goes to the configured address only, and is in no
//!   error.
//! * One request each, within the bounds of `wire`; redirects are not followed.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use thiserror::Error;

use crate::config::{ForgeKind, Secret, SecretError, StatusesConfig};
use crate::model::{CommitState, CommitStatus, Timestamp};
use crate::notify::courier::{Sent, Setback};
use crate::notify::wire::{self, Answer};

/// GitHub's second limit names no time: a minute is what it asks for.
const UNNAMED_SILENCE: Duration = Duration::from_secs(60);

/// One repository of one forge.
#[derive(Debug)]
pub struct Forge {
    kind: ForgeKind,
    api_url: String,
    repository: String,
    token_file: PathBuf,
    target_url: Option<String>,
    /// Made with the first status: TLS may not be there yet.
    client: Mutex<Option<reqwest::Client>>,
}

/// Why a status did not get through.
#[derive(Debug, Error)]
pub enum PostError {
    /// The file with the token cannot be read.
    #[error("the token for commit statuses is not there")]
    Token(#[from] SecretError),
    /// `statuses.api_url` is no address.
    #[error("`statuses.api_url` is no address that begins with `https://` or `http://`")]
    NotAnAddress,
    /// TLS could not be set up: usually, there are no root certificates.
    #[error("could not set up TLS ({reason}); install `ca-certificates`")]
    Tls {
        /// The library's words.
        reason: String,
    },
    /// Nobody answered.
    #[error("the forge did not answer ({reason})")]
    Unreachable {
        /// The transport's words.
        reason: String,
    },
    /// It answered that it is asked too often.
    #[error("the forge wants to be asked later (HTTP {status})")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// How long it wants to hear nothing.
        silence: Duration,
    },
    /// It does not take our token, or our token may not do this.
    #[error(
        "the forge refused the token (HTTP {status}: {answer}); put one that may post commit \
         statuses into `statuses.token_file` and restart flagops"
    )]
    Denied {
        /// The HTTP status.
        status: u16,
        /// The beginning of its answer.
        answer: String,
    },
    /// It answered and did not take it.
    #[error("the forge answered HTTP {status}: {answer}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of its answer.
        answer: String,
        /// How long it wants to hear nothing.
        silence: Option<Duration>,
    },
}

impl PostError {
    /// What follows from it.
    pub(super) fn setback(&self) -> Setback {
        match self {
            Self::Denied { .. } => Setback::Halt,
            Self::Busy { silence, .. } => Setback::Retry { silence: Some(*silence) },
            Self::Refused { status: 300..=407 | 409..=428 | 430..=499, .. } => Setback::GiveUp,
            Self::Refused { silence, .. } => Setback::Retry { silence: *silence },
            Self::Token(_) | Self::NotAnAddress | Self::Tls { .. } | Self::Unreachable { .. } => {
                Setback::Retry { silence: None }
            }
        }
    }
}

impl Forge {
    /// The forge that is configured, if any. Nothing is read or sent yet.
    pub fn new(config: &StatusesConfig) -> Option<Self> {
        let kind = config.kind?;
        let (repository, token_file) = (config.repository.clone()?, config.token_file.clone()?);
        let api_url = match (&config.api_url, kind) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, ForgeKind::Github) => "https://api.github.com".to_owned(),
            (None, ForgeKind::Gitlab) => "https://gitlab.com/api/v4".to_owned(),
            (None, ForgeKind::Gitea | ForgeKind::Forgejo) => return None,
        };
        let (target_url, client) = (config.target_url.clone(), Mutex::default());
        Some(Self { kind, api_url, repository, token_file, target_url, client })
    }

    /// Posts `status`. Dropping the future may have posted it.
    ///
    /// # Errors
    /// When it did not arrive, or the forge did not take it.
    pub(super) async fn post(
        &self,
        status: &CommitStatus,
        now: Timestamp,
    ) -> Result<Sent, PostError> {
        let token = Secret::read(&self.token_file)?;
        let url = self.address(status).ok_or(PostError::NotAnAddress)?;
        let request = self.client(&url)?.post(url).json(&self.body(status));
        let request = match self.kind {
            ForgeKind::Github => request
                .bearer_auth(token.reveal())
                .header("accept", "application/vnd.github+json")
                .header("x-github-api-version", "2022-11-28"),
            ForgeKind::Gitea | ForgeKind::Forgejo => {
                request.header("authorization", format!("token {}", token.reveal()))
            }
            ForgeKind::Gitlab => request.header("private-token", token.reveal()),
        };
        let hide = |text: &str| text.replace(token.reveal().as_str(), "…");
        let answer = wire::send(request, now, hide).await;
        self.judge(answer.map_err(|reason| PostError::Unreachable { reason })?)
    }

    fn judge(&self, answer: Answer) -> Result<Sent, PostError> {
        let Answer { status, text, silence } = answer;
        if status.is_success() || self.has_it_already(status, &text) {
            return Ok(Sent { silence });
        }
        let code = status.as_u16();
        let is_limit = silence.is_some() || text.to_ascii_lowercase().contains("rate limit");
        match status {
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS if is_limit => {
                let silence = silence.unwrap_or(UNNAMED_SILENCE);
                Err(PostError::Busy { status: code, silence })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(PostError::Denied { status: code, answer: explain(status, text) })
            }
            _ => {
                let answer = explain(status, text);
                Err(PostError::Refused { status: code, answer, silence })
            }
        }
    }

    /// GitLab refuses a status that changes nothing but its words.
    fn has_it_already(&self, status: StatusCode, text: &str) -> bool {
        self.kind == ForgeKind::Gitlab
            && status == StatusCode::BAD_REQUEST
            && text.contains("Cannot transition status")
    }

    fn address(&self, status: &CommitStatus) -> Option<Url> {
        let (api, repository, commit) = (&self.api_url, &self.repository, status.revision);
        wire::parse(&match self.kind {
            ForgeKind::Github | ForgeKind::Gitea | ForgeKind::Forgejo => {
                format!("{api}/repos/{repository}/statuses/{commit}")
            }
            ForgeKind::Gitlab => {
                let project = repository.replace('/', "%2F");
                format!("{api}/projects/{project}/statuses/{commit}")
            }
        })
    }

    fn body(&self, status: &CommitStatus) -> Value {
        let mut body = json!({
            "state": self.word(status.state),
            "description": status.description,
        });
        let name = if self.kind == ForgeKind::Gitlab { "name" } else { "context" };
        body[name] = status.context.as_str().into();
        if let Some(url) = &self.target_url {
            body["target_url"] = url.as_str().into();
        }
        body
    }

    fn word(&self, state: CommitState) -> &'static str {
        match (self.kind, state) {
            (ForgeKind::Gitlab, CommitState::Failure) => "failed",
            (ForgeKind::Gitlab, CommitState::Error) => "canceled",
            (_, state) => state.as_str(),
        }
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, PostError> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.as_ref() {
            return Ok(client.clone());
        }
        let client = wire::client(url).map_err(|reason| PostError::Tls { reason })?;
        *kept = Some(client.clone());
        Ok(client)
    }
}

fn explain(status: StatusCode, answer: String) -> String {
    if status.is_redirection() {
        return "a redirect, which is not followed; correct `statuses.api_url` and \
                `statuses.repository`"
            .to_owned();
    }
    if answer.is_empty() {
        status.canonical_reason().unwrap_or("no words").to_owned()
    } else {
        answer
    }
}
