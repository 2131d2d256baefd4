//! Where notices go: one POST to the address in a file, as our JSON or as a chat's.
//!
//! # Invariants
//! * The address is read anew for every delivery, so that a mended file needs no restart, and it is
//!   in no error, log or answer.
//! * A delivery is one request of `wire`: bounded, and no redirect is followed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use thiserror::Error;

use super::wire::{self, Answer};
use crate::config::{NoticeFormat, NotifyConfig, Secret, SecretError};
use crate::model::{Disposition, Notice, RetryClass, Timestamp};

/// One webhook or chat.
#[derive(Debug)]
pub struct Receiver {
    url_file: PathBuf,
    format: NoticeFormat,
    /// The client for the address that it was made for.
    client: Mutex<Option<(Secret<String>, reqwest::Client)>>,
}

/// It took the notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of its answer; hostile text in one line.
    pub answer: String,
}

/// Why a notice did not get through.
#[derive(Debug, Error)]
pub enum SendError {
    /// The file with the address cannot be read.
    #[error("the address of the receiver is not there")]
    Address(#[from] SecretError),
    /// What is in the file is no address. It is not shown.
    #[error("`{}` holds no URL that begins with `https://` or `http://`", .path.display())]
    NotAnAddress {
        /// The file.
        path: PathBuf,
    },
    /// TLS could not be set up: usually, there are no root certificates.
    #[error("could not set up TLS ({reason}); install `ca-certificates`")]
    Tls {
        /// The library's words.
        reason: String,
    },
    /// Nobody answered.
    #[error("the receiver did not answer ({reason})")]
    Unreachable {
        /// The transport's words, without the address.
        reason: String,
    },
    /// It answered and did not take it.
    #[error("the receiver answered HTTP {status}: {answer}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of its answer.
        answer: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl SendError {
    /// Whether trying again can help: always, unless the receiver says that the notice is wrong.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Refused { status: 400..=407 | 409..=428 | 430..=499, .. } => {
                Disposition::Terminal
            }
            Self::Refused { .. }
            | Self::Address(_)
            | Self::NotAnAddress { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. } => Disposition::Retry(RetryClass::Notice),
        }
    }

    /// When the receiver wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Address(_)
            | Self::NotAnAddress { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. } => None,
        }
    }
}

impl Receiver {
    /// The receiver that is configured, if any. Nothing is read or sent yet.
    pub fn new(config: &NotifyConfig) -> Option<Self> {
        let url_file = config.url_file.clone()?;
        Some(Self { url_file, format: config.format, client: Mutex::default() })
    }

    /// The word of its format.
    pub fn format(&self) -> &'static str {
        self.format.as_str()
    }

    /// Delivers `notice`, numbered `seq` unless it is a test. Dropping the future may deliver it.
    ///
    /// # Errors
    /// When it did not arrive, or the receiver did not take it.
    pub async fn send(
        &self,
        seq: Option<i64>,
        notice: &Notice,
        now: Timestamp,
    ) -> Result<Delivered, SendError> {
        let url = Secret::read(&self.url_file)?;
        let parsed = parse(&url, &self.url_file)?;
        let http = self.client(&url, &parsed)?;
        let request = http.post(parsed.clone()).json(&body(self.format, seq, notice));
        let Answer { status, text, silence } =
            wire::send(request, now, |text| redacted(text, &parsed))
                .await
                .map_err(|reason| SendError::Unreachable { reason })?;
        if status.is_success() {
            return Ok(Delivered { status: status.as_u16(), answer: text });
        }
        let answer = explain(status, text);
        Err(SendError::Refused { status: status.as_u16(), answer, retry_after: silence })
    }

    fn client(&self, url: &Secret<String>, parsed: &Url) -> Result<reqwest::Client, SendError> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = kept.as_ref()
            && of == url
        {
            return Ok(client.clone());
        }
        let client = wire::client(parsed).map_err(|reason| SendError::Tls { reason })?;
        *kept = Some((url.clone(), client.clone()));
        Ok(client)
    }
}

fn parse(url: &Secret<String>, path: &Path) -> Result<Url, SendError> {
    wire::parse(url.reveal()).ok_or_else(|| SendError::NotAnAddress { path: path.to_owned() })
}

/// What is sent.
pub(super) fn body(format: NoticeFormat, seq: Option<i64>, notice: &Notice) -> Value {
    match format {
        NoticeFormat::Json => {
            // Texts, numbers and words can always be written.
            let mut body = serde_json::to_value(notice).unwrap_or_default();
            body["since"] = notice.since.rfc3339().into();
            body["id"] = json!(seq);
            body
        }
        NoticeFormat::Slack => json!({ "text": escaped(&notice.text) }),
    }
}

/// `text` as chats want it: no tag, no link, no shout to everybody.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Chats that only speak Slack's format may still obey `@all` inside of a text.
    text.replace('@', "@\u{200b}")
}

/// `text` without the address, should a receiver echo it.
fn redacted(text: &str, url: &Url) -> String {
    let mut text = text.replace(url.as_str(), "…");
    for part in [url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default()] {
        // A short part is no secret, and would cut words.
        if part.len() > 8 {
            text = text.replace(part, "…");
        }
    }
    text
}

fn explain(status: StatusCode, answer: String) -> String {
    if status.is_redirection() {
        return "a redirect, which is not followed; put the final address into the file".to_owned();
    }
    if answer.is_empty() {
        status.canonical_reason().unwrap_or("no words").to_owned()
    } else {
        answer
    }
}
