//! Whether the solves on record are what the answers on record make them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use super::standings::as_u32;
use crate::daemon::platform::Platform;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(recount))
}

/// What a recount found.
#[derive(Debug, Serialize, ToSchema)]
struct Recount {
    /// Answers that were counted.
    answers: u32,
    /// Solves on record.
    solves: u32,
    /// Nothing, if all is well.
    differences: Vec<RecountDifference>,
}

/// A solve that is not what it should be.
#[derive(Debug, Serialize, ToSchema)]
struct RecountDifference {
    team_id: String,
    challenge_id: String,
    question_id: String,
    problem: String,
}

/// Counts all answers anew and compares the solves on record with what comes out (administrators).
#[utoipa::path(get, path = "/admin/recount", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = Recount), (status = 403, body = Envelope)))]
async fn recount(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<Recount>> {
    let (answers, solves) = platform.records().await?;
    let differences = crate::contest::recount::recount(&answers, &solves).into_iter();
    let differences = differences.map(|it| RecountDifference {
        team_id: it.team.to_string(),
        challenge_id: it.challenge.to_string(),
        question_id: it.question.to_string(),
        problem: it.fault.to_string(),
    });
    Ok(Json(Recount {
        answers: as_u32(answers.len()),
        solves: as_u32(solves.len()),
        differences: differences.collect(),
    }))
}
