//! The caller: who they are, what they solved.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Player, Signed};
use super::competitions::{COMPETITION, Membership, membership};
use super::error::{Answer, Envelope};
use super::standings::as_u32;
use crate::daemon::platform::{LiveSet, Platform};
use crate::model::{ChallengeId, QuestionId, Solve, TeamId, Timestamp};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(solves)).routes(routes!(milestones))
}

/// The holder of a token: a team, or an administrator.
#[derive(Debug, Default, Serialize, ToSchema)]
struct MeResponse {
    id: String,
    display_name: String,
    avatar_url: String,
    created_at: Option<String>,
    bio: Option<String>,
    country: Option<String>,
    website_url: Option<String>,
    timezone: Option<String>,
    social_links: BTreeMap<String, String>,
    /// Questions captured.
    solves: u32,
    /// Answers given, right and wrong.
    attempts: u32,
    last_active_at: Option<String>,
    email: String,
    is_admin: bool,
    /// `user` or `admin`.
    role: &'static str,
    providers: Vec<String>,
    /// Always `user`.
    token_kind: &'static str,
    profile_visibility: BTreeMap<String, bool>,
    competition_teams: Vec<Membership>,
    competition_admin_ids: Vec<String>,
}

/// What the team got of one challenge.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct MySolveSummary {
    challenge_id: String,
    /// The best among its questions; 1 is first blood.
    best_rank: u32,
    /// The earliest.
    solved_at: Option<String>,
}

/// The team's questions of one challenge.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct MilestoneProgress {
    challenge_id: String,
    solved_question_ids: Vec<String>,
    total_questions: u32,
}

/// Who holds the token.
#[utoipa::path(get, path = "/me", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = MeResponse), (status = 401, body = Envelope),
        (status = 403, body = Envelope)))]
async fn me(State(platform): State<Platform>, Signed(caller): Signed) -> Answer<Json<MeResponse>> {
    let Some(team) = caller.team() else { return Ok(Json(administrator())) };
    let membership = membership(&platform, &caller, team).await?;
    let submissions = platform.submissions(&caller).await?;
    let solves = platform.solves().await?;
    Ok(Json(MeResponse {
        id: team.to_string(),
        display_name: membership.team.name.clone(),
        created_at: Some(membership.team.created_at.rfc3339()),
        solves: as_u32(solves.iter().filter(|solve| solve.team == team).count()),
        attempts: as_u32(submissions.len()),
        last_active_at: submissions.last().map(|last| last.submitted_at.rfc3339()),
        role: "user",
        token_kind: "user",
        competition_teams: vec![membership.row],
        ..MeResponse::default()
    }))
}

fn administrator() -> MeResponse {
    MeResponse {
        id: "admin".to_owned(),
        display_name: "Administrator".to_owned(),
        is_admin: true,
        role: "admin",
        token_kind: "user",
        competition_admin_ids: vec![COMPETITION.to_owned()],
        ..MeResponse::default()
    }
}

/// What the caller's team got of each challenge.
#[utoipa::path(get, path = "/me/solves", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = Vec<MySolveSummary>), (status = 403, body = Envelope)))]
async fn solves(
    State(platform): State<Platform>,
    Player { team, .. }: Player,
) -> Answer<Json<Vec<MySolveSummary>>> {
    Ok(Json(summaries(&platform.solves().await?, team)))
}

/// Which questions the caller's team has of each challenge it has any of.
#[utoipa::path(get, path = "/me/milestone-progress", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = Vec<MilestoneProgress>), (status = 403, body = Envelope)))]
async fn milestones(
    State(platform): State<Platform>,
    Player { team, .. }: Player,
) -> Answer<Json<Vec<MilestoneProgress>>> {
    Ok(Json(progress(&platform.solves().await?, team, &platform.live())))
}

fn summaries(solves: &[Solve], team: TeamId) -> Vec<MySolveSummary> {
    let mut best: BTreeMap<&ChallengeId, (u32, Timestamp)> = BTreeMap::new();
    for solve in solves.iter().filter(|solve| solve.team == team) {
        let so_far = best.entry(&solve.challenge).or_insert((solve.rank, solve.solved_at));
        *so_far = (so_far.0.min(solve.rank), so_far.1.min(solve.solved_at));
    }
    let row = |(challenge, (best_rank, at)): (&ChallengeId, (u32, Timestamp))| MySolveSummary {
        challenge_id: challenge.to_string(),
        best_rank,
        solved_at: Some(at.rfc3339()),
    };
    best.into_iter().map(row).collect()
}

fn progress(solves: &[Solve], team: TeamId, live: &LiveSet) -> Vec<MilestoneProgress> {
    let mut captured: BTreeMap<&ChallengeId, BTreeSet<&QuestionId>> = BTreeMap::new();
    for solve in solves.iter().filter(|solve| solve.team == team) {
        captured.entry(&solve.challenge).or_default().insert(&solve.question);
    }
    let row = |(id, questions): (&ChallengeId, BTreeSet<&QuestionId>)| MilestoneProgress {
        challenge_id: id.to_string(),
        solved_question_ids: questions.iter().map(ToString::to_string).collect(),
        total_questions: live
            .get(id)
            .map_or(0, |live| as_u32(live.challenge.metadata.questions.len())),
    };
    captured.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{challenge, live, question, solve, team};
    use super::*;

    #[test]
    fn my_solves_are_the_best_rank_and_the_earliest_time_of_my_team_only() {
        let mut second = solve(1, "WEB-001", "root", 9);
        second.rank = 3;
        let mut first = solve(1, "WEB-001", "flag", 12);
        first.rank = 1;
        let solves = [second, first, solve(2, "WEB-001", "flag", 2)];
        insta::assert_json_snapshot!(summaries(&solves, team(1).id), @r#"
        [
          {
            "challenge_id": "WEB-001",
            "best_rank": 1,
            "solved_at": "1970-01-01T00:00:09Z"
          }
        ]
        "#);
        let web = challenge("WEB-001", vec![question("flag"), question("root"), question("end")]);
        insta::assert_json_snapshot!(progress(&solves, team(1).id, &live(vec![web])), @r#"
        [
          {
            "challenge_id": "WEB-001",
            "solved_question_ids": [
              "flag",
              "root"
            ],
            "total_questions": 3
          }
        ]
        "#);
    }
}
