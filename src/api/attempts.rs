//! Wrong attempts that are given back to a team.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use super::extract::{Body, Faults, Path};
use crate::daemon::platform::Platform;

/// Longest reason, in characters.
const MAX_REASON: usize = 500;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(reset))
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
struct ResetAttemptsBody {
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: String,
}

/// The attempts are given back.
#[derive(Debug, Serialize, ToSchema)]
struct QuestionAttemptResetInfo {
    team_id: String,
    challenge_id: String,
    question_id: String,
    reset_at: String,
    reset_by_user_id: String,
    reason: String,
    /// How many there were.
    wrong_attempts: u32,
}

/// Gives a team all its attempts at a question back. What it sent stays on record.
#[utoipa::path(post,
    path = "/admin/teams/{team_id}/questions/{challenge_id}/{question_id}/reset-attempts",
    tag = "admin", security(("bearer" = [])),
    params(("team_id" = String, Path), ("challenge_id" = String, Path),
        ("question_id" = String, Path)),
    request_body(content = ResetAttemptsBody),
    responses((status = 200, body = QuestionAttemptResetInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn reset(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path((team, challenge, question)): Path<(String, String, String)>,
    Body(body): Body<ResetAttemptsBody>,
) -> Answer<Json<QuestionAttemptResetInfo>> {
    let mut faults = Faults::default();
    faults.length("reason", &body.reason, 0..=MAX_REASON);
    faults.finish()?;
    let target = (team.as_str(), challenge.as_str(), question.as_str());
    let reset = platform.reset_attempts(&caller, target, body.reason).await?;
    Ok(Json(QuestionAttemptResetInfo {
        team_id: reset.team.to_string(),
        challenge_id: reset.challenge.to_string(),
        question_id: reset.question.to_string(),
        reset_at: reset.at.rfc3339(),
        reset_by_user_id: reset.by,
        reason: reset.reason,
        wrong_attempts: reset.n_wrong,
    }))
}
