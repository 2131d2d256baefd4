//! Answers: submit, verify, history; and quizzes, which need no instance.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{ChallengesRead, Signed, SubmissionsRead, SubmissionsWrite};
use super::catalogue::QuestionPublicInfo;
use super::challenges::{snapshot, viewer_in};
use super::error::{Answer, ApiError, Envelope, cut};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::{Answer as Sent, Graded, Platform, PlatformError};
use crate::model::Submission;

/// Routes that only read.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(quizzes))
}

/// Routes that record an answer; limited.
pub(crate) fn submit_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(submit)).routes(routes!(submit_quiz))
}

/// Routes that only grade; limited.
pub(crate) fn verify_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(verify))
}

/// An answer: a text, or a list of texts. Its `Debug` is not derived, so that it cannot be logged.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(crate) enum AnswerBody {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl From<AnswerBody> for Sent {
    fn from(answer: AnswerBody) -> Self {
        match answer {
            AnswerBody::One(text) => Self::One(text),
            AnswerBody::Many(texts) => Self::Many(texts),
        }
    }
}

/// An answer through an instance.
#[derive(Deserialize, ToSchema)]
struct SubmissionCreate {
    instance_id: String,
    #[serde(default = "flag")]
    question_id: String,
    answer: AnswerBody,
}

/// An answer to be graded only.
#[derive(Deserialize, ToSchema)]
struct VerifyBody {
    #[serde(default = "flag")]
    question_id: String,
    answer: AnswerBody,
}

/// An answer to a quiz.
#[derive(Deserialize, ToSchema)]
struct QuizSubmissionCreate {
    challenge_id: String,
    competition_id: String,
    #[serde(default = "answer")]
    question_id: String,
    answer: AnswerBody,
}

pub(super) fn flag() -> String {
    "flag".to_owned()
}

fn answer() -> String {
    "answer".to_owned()
}

/// The verdict.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct SubmissionResponse {
    id: String,
    correct: bool,
    /// Seconds since the instance was ready; 0 for wrong answers.
    solve_time_s: f64,
    /// 1 is first blood; 0 for wrong and repeated answers.
    solve_rank: u32,
    /// Null when wrong.
    question_id: Option<String>,
    /// Whether the team now has every question; the instance then stops by itself.
    challenge_fully_solved: bool,
    /// Wrong answers left; null when uncapped.
    attempts_remaining: Option<u32>,
}

impl From<Graded> for SubmissionResponse {
    fn from(graded: Graded) -> Self {
        let submission = graded.submission;
        let is_correct = submission.is_correct;
        Self {
            id: submission.id.to_string(),
            correct: is_correct,
            solve_time_s: if is_correct { submission.solve_time_secs } else { 0.0 },
            solve_rank: graded.solve_rank,
            question_id: is_correct.then(|| submission.question.to_string()),
            challenge_fully_solved: graded.is_fully_solved,
            attempts_remaining: graded.attempts_remaining,
        }
    }
}

/// The verdict, without a record.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct VerifyAnswerResponse {
    correct: bool,
    /// Null when wrong.
    question_id: Option<String>,
}

/// One attempt of the caller's team.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct SubmissionState {
    id: String,
    team_id: String,
    /// The team again, where a token of the team was used.
    user_id: String,
    challenge_id: String,
    /// The raw answer; lists as JSON text.
    claimed_flag: String,
    correct: bool,
    /// The question, right or wrong.
    flag_id: String,
    submitted_at: Option<String>,
    solve_time_s: f64,
}

impl From<Submission> for SubmissionState {
    fn from(submission: Submission) -> Self {
        Self {
            id: submission.id.to_string(),
            team_id: submission.team.to_string(),
            user_id: submission
                .user
                .map_or_else(|| submission.team.to_string(), |user| user.to_string()),
            challenge_id: submission.challenge.to_string(),
            claimed_flag: submission.claimed,
            correct: submission.is_correct,
            flag_id: submission.question.to_string(),
            submitted_at: Some(submission.submitted_at.rfc3339()),
            solve_time_s: submission.solve_time_secs,
        }
    }
}

/// A quiz, and how the team stands with it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct QaChallengeView {
    id: String,
    name: String,
    /// The id without its trailing number.
    bucket: String,
    description: String,
    difficulty: &'static str,
    tags: Vec<String>,
    questions: Vec<QuestionPublicInfo>,
    solved_question_ids: Vec<String>,
    attempted_wrong_question_ids: Vec<String>,
}

/// Which attempts are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfChallenge {
    #[param(required = false)]
    challenge_id: String,
}

impl FromParams for OfChallenge {
    fn read(params: &mut Params) -> Self {
        Self { challenge_id: params.text("challenge_id") }
    }
}

/// Which quizzes are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfCompetition {
    /// The competition that the quiz is played in.
    competition_id: String,
}

impl FromParams for OfCompetition {
    fn read(params: &mut Params) -> Self {
        Self { competition_id: params.required("competition_id") }
    }
}

/// Grades and records an answer.
#[utoipa::path(post, path = "/submissions", tag = "submissions", security(("bearer" = [])),
    request_body = SubmissionCreate,
    responses((status = 200, body = SubmissionResponse),
        (status = 403, body = Envelope, description = "`wrong_team_for_instance`, `question_locked`"),
        (status = 404, body = Envelope),
        (status = 422, body = Envelope, description = "`unknown_question_id`"),
        (status = 429, body = Envelope, description = "`question_attempt_cap_exceeded`")))]
async fn submit(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<SubmissionsWrite>,
    Body(body): Body<SubmissionCreate>,
) -> Answer<Json<SubmissionResponse>> {
    let sent = body.answer.into();
    match platform.submit(&caller, &body.instance_id, &body.question_id, sent).await {
        Ok(graded) => Ok(Json(graded.into())),
        Err(PlatformError::NotYours) => Err(wrong_team(&body.instance_id)),
        Err(error) => Err(error.into()),
    }
}

fn wrong_team(instance: &str) -> ApiError {
    let message = "This instance does not belong to your team";
    let detail = json!({"message": message, "instance_id": cut(instance)});
    ApiError::new(StatusCode::FORBIDDEN, "wrong_team_for_instance", detail)
}

/// Grades an answer without recording it. Questions with a cap count wrong answers here, too.
#[utoipa::path(post, path = "/instances/{instance_id}/verify-answer", tag = "submissions",
    security(("bearer" = [])), params(("instance_id" = String, Path)), request_body = VerifyBody,
    responses((status = 200, body = VerifyAnswerResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope),
        (status = 429, body = Envelope)))]
async fn verify(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
    Body(body): Body<VerifyBody>,
) -> Answer<Json<VerifyAnswerResponse>> {
    let sent = body.answer.into();
    let is_correct = platform.verify(&caller, &id, &body.question_id, sent).await?;
    let question_id = is_correct.then_some(body.question_id);
    Ok(Json(VerifyAnswerResponse { correct: is_correct, question_id }))
}

/// The attempts of the caller's team, oldest first.
#[utoipa::path(get, path = "/submissions", tag = "submissions", security(("bearer" = [])),
    params(OfChallenge, PageParams),
    responses((status = 200, body = Page<SubmissionState>), (status = 401, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<SubmissionsRead>,
    Query((wanted, page)): Query<(OfChallenge, PageParams)>,
) -> Answer<Json<Page<SubmissionState>>> {
    let mut rows = platform.submissions(&caller).await?;
    let id = wanted.challenge_id.as_str();
    rows.retain(|row| id.is_empty() || row.challenge.as_str() == id);
    Ok(Json(Page::of(rows.into_iter().map(SubmissionState::from).collect(), page)))
}

/// Grades and records an answer to a quiz.
#[utoipa::path(post, path = "/qa/submissions", tag = "submissions", security(("bearer" = [])),
    request_body = QuizSubmissionCreate,
    responses((status = 200, body = SubmissionResponse), (status = 403, body = Envelope),
        (status = 404, body = Envelope, description = "`unknown_challenge`"),
        (status = 422, body = Envelope, description = "`not_a_qa_challenge`, `unknown_question_id`"),
        (status = 429, body = Envelope)))]
async fn submit_quiz(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<SubmissionsWrite>,
    Body(body): Body<QuizSubmissionCreate>,
) -> Answer<Json<SubmissionResponse>> {
    let sent = body.answer.into();
    let place = (body.competition_id.as_str(), body.challenge_id.as_str());
    match platform.submit_quiz(&caller, place, &body.question_id, sent).await {
        Ok(graded) => Ok(Json(graded.into())),
        Err(PlatformError::ChallengeNotFound { id }) => {
            let detail = json!({"challenge_id": cut(&id)});
            Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_challenge", detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// Every quiz, by id, and how the caller's team stands with it.
#[utoipa::path(get, path = "/qa/challenges", tag = "submissions", security(("bearer" = [])),
    params(OfCompetition),
    responses((status = 200, body = Vec<QaChallengeView>), (status = 403, body = Envelope),
        (status = 422, body = Envelope)))]
async fn quizzes(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<ChallengesRead>,
    Query(wanted): Query<OfCompetition>,
) -> Answer<Json<Vec<QaChallengeView>>> {
    let contest = platform.contest(Some(&caller), &wanted.competition_id)?;
    let team = caller
        .team_in(&contest.id)
        .ok_or_else(|| super::error::not_registered(contest.id.as_str()))?;
    let live = platform.catalogue(Some(&caller), contest.id.as_str());
    let snapshot = snapshot(&platform, &live).await?;
    let mut views = Vec::new();
    for challenge in snapshot.visible().into_iter().filter(|challenge| challenge.is_qa_only()) {
        let solved = snapshot.solves.tally().captured_by(team, &challenge.id);
        let mut wrong = platform.wrong_attempts(team, &challenge.id).await?;
        wrong.retain(|question, n_wrong| *n_wrong > 0 && !solved.contains(question));
        views.push(QaChallengeView {
            id: challenge.id.to_string(),
            name: challenge.metadata.name.clone(),
            bucket: bucket_of(challenge.id.as_str()).to_owned(),
            description: challenge.metadata.description.clone(),
            difficulty: challenge.metadata.difficulty.as_str(),
            tags: challenge.metadata.tags.clone(),
            questions: snapshot.questions(challenge, &viewer_in(&caller, contest.id.as_str())),
            solved_question_ids: solved.iter().map(ToString::to_string).collect(),
            attempted_wrong_question_ids: wrong.keys().map(ToString::to_string).collect(),
        });
    }
    views.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(views))
}

/// `SECQA-0001` → `SECQA`.
fn bucket_of(id: &str) -> &str {
    match id.rsplit_once('-') {
        Some((bucket, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => bucket,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::submission;
    use super::*;

    #[test]
    fn a_wrong_answer_names_no_question_and_no_time() {
        let graded = |submission| Graded {
            submission,
            solve_rank: 0,
            is_fully_solved: false,
            attempts_remaining: Some(2),
        };
        let wrong = SubmissionResponse::from(graded(Submission {
            is_correct: false,
            ..submission("flag")
        }));
        assert_eq!((wrong.question_id, wrong.solve_time_s), (None, 0.0));
        let right = SubmissionResponse::from(graded(submission("flag")));
        assert_eq!((right.question_id.as_deref(), right.solve_time_s), (Some("flag"), 4.1));
    }

    #[test]
    fn an_answer_is_a_text_or_a_list_and_a_refused_one_is_not_repeated() {
        let check = |answer: &str| {
            let body = format!(r#"{{"instance_id":"x","answer":{answer}}}"#);
            match super::super::extract::parse::<SubmissionCreate>(body.as_bytes()) {
                Ok(body) => format!("{} {:?}", body.question_id, Sent::from(body.answer)),
                Err(issue) => format!("{}: {}", issue.location.join("."), issue.message),
            }
        };
        assert_eq!(check(r#""a""#), r#"flag One("a")"#);
        assert_eq!(check(r#"["a","b"]"#), r#"flag Many(["a", "b"])"#);
        let refusal = "body.answer: Input should be a string or a list of strings";
        assert_eq!(check("4711"), refusal);
        assert_eq!(check(r#"{"x":"FLAG{secret}"}"#), refusal);
    }

    #[test]
    fn a_bucket_is_the_id_without_its_number() {
        let cases =
            [("SECQA-0001", "SECQA"), ("CTI-MCQ-7", "CTI-MCQ"), ("QUIZ", "QUIZ"), ("A-b", "A-b")];
        for (id, bucket) in cases {
            assert_eq!(bucket_of(id), bucket);
        }
    }
}
