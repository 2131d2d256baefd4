//! What a refusal looks like on the wire: status, stable code, detail, time.
//!
//! In:  a [`PlatformError`], or a refusal of the API itself.
//! Out: `{"code", "detail", "timestamp"}` with the right status (`contract/http-api.md` §1).
//!
//! # Invariants
//! * The cause of an internal failure is logged once and never shown.
//! * Text of a client is echoed only inside JSON, cut at 80 characters.
//!
//! # Not here
//! The clock: [`ApiError`] travels as a response extension, `request::finish` adds the time.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::daemon::platform::{Denial, DenialKind, PlatformError};
use crate::model::Timestamp;

/// Answer of a handler.
pub(crate) type Answer<T> = Result<T, ApiError>;

/// A refusal, complete but for the time.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Stable word that clients branch on.
    pub(crate) code: Cow<'static, str>,
    /// Text, or an object with `message` and context.
    pub(crate) detail: Value,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after_secs: Option<u32>,
    /// What really happened; for the log.
    pub(crate) cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// A refusal with a code of its own.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Value>) -> Self {
        let (code, detail) = (Cow::Borrowed(code), detail.into());
        Self { status, code, detail, retry_after_secs: None, cause: None }
    }

    /// A refusal that is named by its status only: `http_404` and the like.
    pub(crate) fn plain(status: StatusCode, detail: &str) -> Self {
        let code = Cow::Owned(format!("http_{}", status.as_u16()));
        Self { status, code, detail: detail.into(), retry_after_secs: None, cause: None }
    }

    /// One or more faults of the input.
    pub(crate) fn invalid(issues: &[Issue]) -> Self {
        let message = issues.iter().map(Issue::sentence).collect::<Vec<_>>().join("; ");
        let issues: Vec<Value> = issues.iter().map(Issue::as_json).collect();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_error",
            json!({"message": message, "issues": issues}),
        )
    }

    /// The body on the wire.
    pub(crate) fn body(&self, now: Timestamp) -> Envelope {
        let mut timestamp = now.rfc3339();
        if timestamp.ends_with('Z') {
            // The contract spells UTC as an offset here, and only here.
            timestamp.truncate(timestamp.len() - 1);
            timestamp.push_str("+00:00");
        }
        Envelope { code: self.code.to_string(), detail: self.detail.clone(), timestamp }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Body of every refusal.
#[derive(Debug, serde::Serialize, ToSchema)]
pub(crate) struct Envelope {
    /// Stable snake_case word.
    #[schema(example = "instance_not_found")]
    pub(crate) code: String,
    /// A text, or an object with `message` and context.
    pub(crate) detail: Value,
    /// When it happened, ISO 8601 with offset.
    pub(crate) timestamp: String,
}

/// One fault of the input, in the words of the contract.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Issue {
    /// Stable word, e.g. `missing`.
    pub(crate) kind: &'static str,
    /// `body`, `query` or `path`, then the members down to the fault.
    pub(crate) location: Vec<String>,
    /// What is wrong.
    pub(crate) message: String,
    /// What was sent, if it is short.
    pub(crate) input: Value,
    /// The violated bounds.
    pub(crate) context: Option<Value>,
}

impl Issue {
    /// `limit: Input should be …`.
    fn sentence(&self) -> String {
        let place = self.location.iter().skip(1).map(String::as_str).collect::<Vec<_>>().join(".");
        if place.is_empty() { self.message.clone() } else { format!("{place}: {}", self.message) }
    }

    fn as_json(&self) -> Value {
        let mut value = json!({
            "type": self.kind, "loc": self.location, "msg": self.message, "input": self.input,
        });
        if let Some(context) = &self.context {
            value["ctx"] = context.clone();
        }
        value
    }
}

/// The first 80 characters of what a client sent.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl From<PlatformError> for ApiError {
    fn from(error: PlatformError) -> Self {
        let message = error.to_string();
        match error {
            PlatformError::InstanceNotFound { id } => Self::new(
                StatusCode::NOT_FOUND,
                "instance_not_found",
                format!("Instance {} not found", cut(&id)),
            ),
            PlatformError::ChallengeNotFound { id } => Self::new(
                StatusCode::NOT_FOUND,
                "challenge_not_found",
                format!("Challenge {} not found", cut(&id)),
            ),
            PlatformError::NotYours => Self::new(StatusCode::FORBIDDEN, "forbidden", message),
            PlatformError::NotRegistered { competition } => not_registered(&competition),
            PlatformError::Capacity { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "capacity_exceeded", message)
            }
            PlatformError::Waits { .. } => {
                Self::new(StatusCode::CONFLICT, "instance_waiting", message)
            }
            PlatformError::NotRunning { .. } => {
                Self::new(StatusCode::CONFLICT, "instance_not_running", message)
            }
            PlatformError::NoVpnProfile { .. } => {
                Self::new(StatusCode::NOT_FOUND, "openvpn_config_not_available", message)
            }
            PlatformError::VpnRevoked { .. } => {
                Self::new(StatusCode::FORBIDDEN, "openvpn_config_revoked", message)
            }
            PlatformError::Drained { .. } => {
                Self::new(StatusCode::CONFLICT, "instance_outdated", message)
            }
            PlatformError::EvidenceNotFound { .. } => Self::plain(StatusCode::NOT_FOUND, &message),
            PlatformError::NoCapture { .. } => Self::plain(StatusCode::NOT_FOUND, &message),
            PlatformError::NodeNotFound { .. } => Self::plain(StatusCode::NOT_FOUND, &message),
            PlatformError::NodeRefused { .. } => Self::plain(StatusCode::FORBIDDEN, &message),
            PlatformError::NodeUnavailable { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "node_unavailable", message)
            }
            PlatformError::BadNode { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_node", message)
            }
            PlatformError::TagNotFound { .. } => {
                Self::new(StatusCode::NOT_FOUND, "tag_not_found", message)
            }
            PlatformError::GenerationNotFound { .. } => {
                Self::new(StatusCode::NOT_FOUND, "generation_not_found", message)
            }
            PlatformError::BadRelease { .. } => {
                Self::new(StatusCode::CONFLICT, "release_refused", message)
            }
            PlatformError::ImagesMissing { missing } => {
                let detail = json!({"message": message, "challenges": missing});
                let refusal = Self::new(StatusCode::CONFLICT, "images_missing", detail);
                Self { retry_after_secs: Some(2), ..refusal }
            }
            PlatformError::UnknownQuestion { question, known } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "unknown_question_id",
                json!({"question_id": cut(&question), "known": known}),
            ),
            PlatformError::QuestionLocked { question, requires } => Self::new(
                StatusCode::FORBIDDEN,
                "question_locked",
                json!({"message": message, "question_id": question, "requires": requires}),
            ),
            PlatformError::AttemptCap { mode, wrong_attempts, cap } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "question_attempt_cap_exceeded",
                json!({
                    "mode": mode, "wrong_attempts": wrong_attempts, "cap": cap, "message": message,
                }),
            ),
            PlatformError::TooManyDownloads { .. } => Self {
                retry_after_secs: Some(2),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_downloads", message)
            },
            PlatformError::NotAQuiz { id } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not_a_qa_challenge",
                json!({
                    "challenge_id": id,
                    "message": format!("{message}: start an instance and use /submissions"),
                }),
            ),
            PlatformError::NotStartable { id, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "challenge_not_startable",
                json!({"message": message, "challenge_id": id}),
            ),
            PlatformError::BadTeamName { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_team_name", message)
            }
            PlatformError::NoReceiver => Self::new(StatusCode::CONFLICT, "no_receiver", message),
            PlatformError::NotDelivered { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "notice_not_delivered", message)
            }
            PlatformError::RevisionNotFound { .. } => {
                Self::new(StatusCode::NOT_FOUND, "revision_not_found", message)
            }
            PlatformError::StillJudging { .. } => {
                let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "still_judging", message);
                Self { retry_after_secs: Some(5), ..refusal }
            }
            PlatformError::BadPause { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pause", message)
            }
            PlatformError::Held { .. } => Self::new(StatusCode::CONFLICT, "held", message),
            PlatformError::AttachmentNotFound => Self::plain(StatusCode::NOT_FOUND, &message),
            PlatformError::BadToken | PlatformError::TokenExpired => {
                Self::plain(StatusCode::FORBIDDEN, &message)
            }
            PlatformError::Denied(denial) => denied(*denial),
            PlatformError::NotIsolated { .. } => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let refusal = Self::new(status, "node_not_isolated", message);
                Self { retry_after_secs: Some(60), ..refusal }
            }
            PlatformError::EngineUnavailable => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let refusal = Self::new(status, "engine_unavailable", message);
                Self { retry_after_secs: Some(5), ..refusal }
            }
            PlatformError::Internal(source) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let refusal = Self::new(status, "internal_error", message);
                Self { cause: Some(Arc::from(source)), ..refusal }
            }
        }
    }
}

/// The rules say no.
fn denied(denial: Denial) -> ApiError {
    let status = match denial.kind {
        DenialKind::BadRequest => StatusCode::BAD_REQUEST,
        DenialKind::Unauthorized => StatusCode::UNAUTHORIZED,
        DenialKind::Forbidden => StatusCode::FORBIDDEN,
        DenialKind::NotFound => StatusCode::NOT_FOUND,
        DenialKind::Conflict => StatusCode::CONFLICT,
        DenialKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        DenialKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        DenialKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
    };
    if denial.code.is_empty() {
        return ApiError::plain(status, &denial.message);
    }
    if denial.context.is_empty() {
        return ApiError::new(status, denial.code, denial.message);
    }
    let mut detail = json!({"message": denial.message});
    for (name, value) in denial.context {
        detail[name] = value;
    }
    ApiError::new(status, denial.code, detail)
}

/// The caller plays in no team of this competition.
pub(crate) fn not_registered(competition: &str) -> ApiError {
    let competition = cut(competition);
    let message = format!("You are not registered in competition {competition}");
    ApiError::new(
        StatusCode::FORBIDDEN,
        "not_registered",
        json!({"message": message, "competition_id": competition}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QuestionId;

    fn check(error: PlatformError) -> String {
        let refusal = ApiError::from(error);
        format!("{} {} {}", refusal.status.as_u16(), refusal.code, refusal.detail)
    }

    #[test]
    fn every_refusal_of_the_platform_has_its_status_code_and_detail() {
        let flag = "flag".parse().unwrap();
        let second = "second".parse().unwrap();
        let quiz = "WEB-001".parse().unwrap();
        let cases = [
            check(PlatformError::InstanceNotFound { id: "zz".into() }),
            check(PlatformError::ChallengeNotFound { id: "NO".into() }),
            check(PlatformError::NotYours),
            check(PlatformError::NotRegistered { competition: "x".into() }),
            check(PlatformError::Capacity { message: "Node at capacity".into() }),
            check(PlatformError::UnknownQuestion {
                question: "main".into(),
                known: vec![QuestionId::clone(&flag)],
            }),
            check(PlatformError::QuestionLocked { question: second, requires: vec![flag] }),
            check(PlatformError::AttemptCap { mode: "static", wrong_attempts: 10, cap: 10 }),
            check(PlatformError::TooManyDownloads { limit: 8 }),
            check(PlatformError::NotAQuiz { id: quiz }),
            check(PlatformError::RevisionNotFound { name: "abc".into() }),
            check(PlatformError::StillJudging {
                revision: crate::model::Revision(crate::model::ObjectId::from_bytes([7; 20])),
            }),
            check(PlatformError::NoReceiver),
            check(PlatformError::NotDelivered {
                reason: "the receiver answered HTTP 404: x".into(),
            }),
            check(PlatformError::AttachmentNotFound),
            check(PlatformError::BadToken),
            check(PlatformError::EngineUnavailable),
            check(PlatformError::Internal("disk full at /secret".into())),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r#"
        404 instance_not_found "Instance zz not found"
        404 challenge_not_found "Challenge NO not found"
        403 forbidden "Not your instance"
        403 not_registered {"competition_id":"x","message":"You are not registered in competition x"}
        503 capacity_exceeded "Node at capacity"
        422 unknown_question_id {"known":["flag"],"question_id":"main"}
        403 question_locked {"message":"question `second` is locked: solve flag first","question_id":"second","requires":["flag"]}
        429 question_attempt_cap_exceeded {"cap":10,"message":"no attempts left for this question (10 wrong answers)","mode":"static","wrong_attempts":10}
        429 too_many_downloads "Max 8 concurrent downloads per team"
        422 not_a_qa_challenge {"challenge_id":"WEB-001","message":"Challenge WEB-001 is not a quiz: start an instance and use /submissions"}
        404 revision_not_found "Revision abc not found: give 40 hex digits, or at least 7 that begin one commit only; what was pushed a moment ago is there after the next look (`flagops reconcile`)"
        503 still_judging "revision 0707070707070707070707070707070707070707 is still being read, ask again in a moment"
        409 no_receiver "no receiver of notices is configured: put its address into a file and set `notify.url_file`"
        502 notice_not_delivered "the receiver answered HTTP 404: x"
        404 http_404 "attachment not found"
        403 http_403 "Invalid or revoked token"
        503 engine_unavailable "the container engine is not available, try again in a moment"
        500 internal_error "internal error"
        "#);
    }

    #[test]
    fn the_envelope_spells_utc_as_an_offset() {
        let refusal = ApiError::plain(StatusCode::NOT_FOUND, "x");
        let body = serde_json::to_string(&refusal.body(Timestamp::from_millis(1_795_184_190_820)));
        insta::assert_snapshot!(
            body.unwrap(),
            @r#"{"code":"http_404","detail":"x","timestamp":"2026-11-20T14:16:30.82+00:00"}"#
        );
    }

    #[test]
    fn faults_of_the_input_are_listed_with_their_place() {
        let issue = Issue {
            kind: "missing",
            location: vec!["body".into(), "challenge_id".into()],
            message: "Field required".into(),
            input: Value::Null,
            context: None,
        };
        let refusal = ApiError::invalid(&[issue]);
        insta::assert_snapshot!(
            refusal.detail.to_string(),
            @r#"{"issues":[{"input":null,"loc":["body","challenge_id"],"msg":"Field required","type":"missing"}],"message":"challenge_id: Field required"}"#
        );
    }
}
