//! The caller: who they are, what they solved.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{ProfileRead, Signed, SubmissionsRead};
use super::competitions::{own_row, role_of};
use super::error::{Answer, Envelope};
use super::extract::{FromParams, Params, Query};
use super::standings::{as_u32, of};
use crate::contest::competition::Phase;
use crate::daemon::platform::{LiveSet, Platform};
use crate::model::{
    Account, AccountRole, Caller, ChallengeId, InstanceStatus, QuestionId, Solve, TeamId, Timestamp,
};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(solves)).routes(routes!(milestones))
}

/// The holder of a token: a team, or an administrator.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MeResponse {
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
    /// `user`, `admin` or `super_admin`.
    role: &'static str,
    providers: Vec<String>,
    /// `user` or `fine_grained`.
    token_kind: &'static str,
    profile_visibility: BTreeMap<String, bool>,
    competition_teams: Vec<CompetitionMembershipInfo>,
    competition_admin_ids: Vec<String>,
}

/// The caller's team in a competition.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct CompetitionMembershipInfo {
    competition_id: String,
    competition_title: String,
    /// `upcoming`, `running` or `past`.
    competition_phase: &'static str,
    team_id: String,
    team_name: String,
    /// `captain` or `member`.
    role: &'static str,
    /// Instances that are starting or ready.
    running_instances: u32,
    starts_at: Option<String>,
    ends_at: Option<String>,
    /// −1 before the beginning.
    my_rank: i64,
    competition_team_count: u32,
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

/// In which competition.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfCompetition {
    /// Every one when empty.
    #[param(required = false)]
    competition_id: String,
}

impl FromParams for OfCompetition {
    fn read(params: &mut Params) -> Self {
        Self { competition_id: params.text("competition_id") }
    }
}

/// Who holds the token.
#[utoipa::path(get, path = "/me", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = MeResponse), (status = 401, body = Envelope),
        (status = 403, body = Envelope)))]
async fn me(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ProfileRead>,
) -> Answer<Json<MeResponse>> {
    view(&platform, &caller).await
}

/// Who the caller is, to themselves.
pub(crate) async fn view(platform: &Platform, caller: &Caller) -> Answer<Json<MeResponse>> {
    match &caller.account {
        Some(account) => of_account(platform, caller, account).await.map(Json),
        None => match caller.team() {
            Some(team) => of_team(platform, caller, team).await.map(Json),
            None => Ok(Json(administrator())),
        },
    }
}

async fn of_account(platform: &Platform, caller: &Caller, account: &Account) -> Answer<MeResponse> {
    let work = platform.work_of(account).await?;
    let profile = account.profile.clone();
    let has_password = platform.has_password(account).await?;
    let is_admin = account.role >= AccountRole::Admin;
    Ok(MeResponse {
        id: account.id.to_string(),
        display_name: account.name.clone(),
        created_at: Some(account.created_at.rfc3339()),
        bio: profile.bio,
        country: profile.country,
        website_url: profile.website_url,
        timezone: profile.timezone,
        social_links: profile.social_links,
        solves: work.solves,
        attempts: work.attempts,
        last_active_at: work.last_at.map(|at| at.rfc3339()),
        email: account.email.clone(),
        is_admin,
        role: account.role.as_str(),
        providers: if has_password { vec!["password".to_owned()] } else { Vec::new() },
        token_kind: if caller.grant.is_some() { "fine_grained" } else { "user" },
        profile_visibility: profile.visibility,
        competition_teams: memberships(platform, caller).await?,
        competition_admin_ids: own_competitions(platform, caller),
        ..MeResponse::default()
    })
}

/// The holder of a token of a team.
async fn of_team(platform: &Platform, caller: &Caller, team: TeamId) -> Answer<MeResponse> {
    let found = platform.team(team).await?;
    let submissions = platform.submissions(caller).await?;
    let solves = platform.solves().await?;
    Ok(MeResponse {
        id: team.to_string(),
        display_name: found.name,
        created_at: Some(found.created_at.rfc3339()),
        solves: as_u32(solves.iter().filter(|solve| solve.team == team).count()),
        attempts: as_u32(submissions.len()),
        last_active_at: submissions.last().map(|last| last.submitted_at.rfc3339()),
        role: "user",
        token_kind: "user",
        competition_teams: memberships(platform, caller).await?,
        ..MeResponse::default()
    })
}

/// The competitions that the caller runs without being an administrator of everything.
fn own_competitions(platform: &Platform, caller: &Caller) -> Vec<String> {
    platform.runs_own(caller).into_iter().map(|id| id.to_string()).collect()
}

/// The teams of the caller.
async fn memberships(
    platform: &Platform,
    caller: &Caller,
) -> Answer<Vec<CompetitionMembershipInfo>> {
    let (mut rows, now) = (Vec::new(), platform.now());
    let instances = platform.instances(caller).await?;
    for membership in &caller.memberships {
        // A competition that was taken away leaves teams behind that nobody plays for.
        let id = membership.competition.as_str();
        let Ok(contest) = platform.contest(Some(caller), id) else { continue };
        let team = platform.team(membership.team).await?;
        let table = of(platform, &contest).await?;
        let is_running = |status: InstanceStatus| {
            [InstanceStatus::Starting, InstanceStatus::Ready].contains(&status)
        };
        let n_running =
            instances.iter().filter(|one| one.team == team.id && is_running(one.status()));
        let phase = contest.phase(now);
        let row = own_row(&table, team.id).filter(|_| phase != Phase::Upcoming);
        rows.push(CompetitionMembershipInfo {
            competition_id: contest.id.to_string(),
            competition_title: contest.title.clone(),
            competition_phase: phase.as_str(),
            team_id: team.id.to_string(),
            team_name: team.name.clone(),
            role: role_of(caller, &team),
            running_instances: as_u32(n_running.count()),
            starts_at: contest.starts_at.map(|at| at.rfc3339()),
            ends_at: contest.ends_at.map(|at| at.rfc3339()),
            my_rank: row.map_or(-1, |row| i64::from(row.rank)),
            competition_team_count: as_u32(table.len()),
        });
    }
    Ok(rows)
}

fn administrator() -> MeResponse {
    MeResponse {
        id: "admin".to_owned(),
        display_name: "Administrator".to_owned(),
        is_admin: true,
        role: "super_admin",
        token_kind: "user",
        ..MeResponse::default()
    }
}

/// What the caller's team got of each challenge.
#[utoipa::path(get, path = "/me/solves", tag = "me", security(("bearer" = [])),
    responses((status = 200, body = Vec<MySolveSummary>), (status = 403, body = Envelope)))]
async fn solves(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<SubmissionsRead>,
) -> Answer<Json<Vec<MySolveSummary>>> {
    Ok(Json(summaries(&platform.solves().await?, &caller.teams())))
}

/// Which questions the caller's team has of each challenge it has any of.
#[utoipa::path(get, path = "/me/milestone-progress", tag = "me", security(("bearer" = [])),
    params(OfCompetition),
    responses((status = 200, body = Vec<MilestoneProgress>), (status = 403, body = Envelope)))]
async fn milestones(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<SubmissionsRead>,
    Query(wanted): Query<OfCompetition>,
) -> Answer<Json<Vec<MilestoneProgress>>> {
    let teams = match wanted.competition_id.as_str() {
        "" => caller.teams(),
        id => {
            let contest = platform.contest(Some(&caller), id)?;
            caller.team_in(&contest.id).into_iter().collect()
        }
    };
    Ok(Json(progress(&platform.solves().await?, &teams, &platform.live())))
}

fn summaries(solves: &[Solve], teams: &[TeamId]) -> Vec<MySolveSummary> {
    let mut best: BTreeMap<&ChallengeId, (u32, Timestamp)> = BTreeMap::new();
    for solve in solves.iter().filter(|solve| teams.contains(&solve.team)) {
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

fn progress(solves: &[Solve], teams: &[TeamId], live: &LiveSet) -> Vec<MilestoneProgress> {
    let mut captured: BTreeMap<&ChallengeId, BTreeSet<&QuestionId>> = BTreeMap::new();
    for solve in solves.iter().filter(|solve| teams.contains(&solve.team)) {
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
        insta::assert_json_snapshot!(summaries(&solves, &[team(1).id]), @r#"
        [
          {
            "challenge_id": "WEB-001",
            "best_rank": 1,
            "solved_at": "1970-01-01T00:00:09Z"
          }
        ]
        "#);
        let web = challenge("WEB-001", vec![question("flag"), question("root"), question("end")]);
        insta::assert_json_snapshot!(progress(&solves, &[team(1).id], &live(vec![web])), @r#"
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
