//! What looks as if it were not a team's own work, and what organizers made of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::page::{Page, PageParams};
use crate::daemon::platform::{Platform, Review, ReviewVerdict, Suspicion};
use crate::model::{Instance, TeamId, Timestamp};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(review))
}

/// A piece of evidence. Nothing follows from it by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SuspicionView {
    /// Its name, which stays.
    id: String,
    /// `foreign_answer`, `never_started`, `never_downloaded`, `too_fast` or `shared_profile`.
    kind: &'static str,
    /// How much it weighs, of 100.
    weight: u8,
    /// For people.
    message: String,
    /// When the answer was given, or the profile was seen first, RFC 3339.
    at: String,
    team_id: String,
    team_name: String,
    /// The account that gave it; null for a token of the team.
    user_id: Option<String>,
    /// From where; empty when that is not known any more, and for a profile.
    address: String,
    /// Where a VPN profile was connected from.
    connected_from: Vec<String>,
    competition_id: String,
    challenge_id: String,
    /// Empty for a profile.
    question_id: String,
    /// The instance that it was given through; null for a quiz.
    instance: Option<InstanceAge>,
    /// Whose answer it is, or who plays from one of the addresses; null unless it is another team.
    owner: Option<OwnerView>,
    /// `open`, `dismissed` or `confirmed`.
    verdict: &'static str,
    note: String,
    reviewed_by: String,
    /// RFC 3339; null while open.
    reviewed_at: Option<String>,
}

/// How old an instance was.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceAge {
    id: String,
    /// Seconds from the moment it was usable to the answer; null when it was not by then.
    usable_secs: Option<f64>,
    /// Whether it had ended by then.
    had_ended: bool,
}

impl InstanceAge {
    fn of(row: &Instance, at: Timestamp) -> Self {
        let was_usable = row.started_at != row.created_at && row.started_at <= at;
        let usable_secs = was_usable.then(|| at.as_secs_f64() - row.started_at.as_secs_f64());
        let had_ended = row.stopped_at.is_some_and(|stopped| stopped <= at);
        Self { id: row.id.to_string(), usable_secs, had_ended }
    }
}

/// The other team.
#[derive(Debug, Serialize, ToSchema)]
struct OwnerView {
    team_id: String,
    team_name: String,
    /// Whose answer it is; null for a profile.
    instance: Option<InstanceAge>,
    /// Where its own right answers to the question came from: the same place explains much. Of a
    /// profile: which of the addresses are its.
    addresses: Vec<String>,
}

impl SuspicionView {
    fn of(found: Suspicion, names: &BTreeMap<TeamId, String>) -> Self {
        let name = |team: &TeamId| names.get(team).cloned().unwrap_or_default();
        let evidence = found.evidence;
        let owner = evidence.signal.other_team().map(|team| OwnerView {
            team_id: team.to_string(),
            team_name: name(&team),
            instance: found.other.as_ref().map(|row| InstanceAge::of(row, evidence.at)),
            addresses: found.other_addresses.into_iter().collect(),
        });
        let review = found.review;
        let text = |of: fn(&Review) -> String| review.as_ref().map(of).unwrap_or_default();
        Self {
            id: evidence.id(),
            kind: evidence.signal.as_str(),
            weight: evidence.signal.weight(),
            message: evidence.signal.to_string(),
            at: evidence.at.rfc3339(),
            team_id: evidence.team.to_string(),
            team_name: name(&evidence.team),
            user_id: evidence.user.map(|user| user.to_string()),
            address: found.address,
            connected_from: found.connected_from.into_iter().collect(),
            competition_id: found
                .instance
                .as_ref()
                .map(|row| row.competition.clone())
                .unwrap_or_default(),
            challenge_id: evidence.challenge.to_string(),
            question_id: evidence.question().map(ToString::to_string).unwrap_or_default(),
            instance: found.instance.as_ref().map(|row| InstanceAge::of(row, evidence.at)),
            owner,
            verdict: review.as_ref().map_or("open", |review| review.verdict.as_str()),
            note: text(|review| review.note.clone()),
            reviewed_by: text(|review| review.reviewed_by.clone()),
            reviewed_at: review.as_ref().map(|review| review.reviewed_at.rfc3339()),
        }
    }
}

/// Which evidence is wanted.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// `foreign_answer`, `never_started`, `never_downloaded`, `too_fast` or `shared_profile`.
    #[param(required = false)]
    kind: String,
    /// `open`, `dismissed` or `confirmed`.
    #[param(required = false)]
    verdict: String,
    /// By or of this team.
    #[param(required = false)]
    team_id: String,
    #[param(required = false)]
    challenge_id: String,
    #[param(required = false)]
    competition_id: String,
}

impl FromParams for Filter {
    fn read(params: &mut Params) -> Self {
        Self {
            kind: params.text("kind"),
            verdict: params.text("verdict"),
            team_id: params.text("team_id"),
            challenge_id: params.text("challenge_id"),
            competition_id: params.text("competition_id"),
        }
    }
}

impl Filter {
    fn admits(&self, row: &SuspicionView) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let of_owner = row.owner.as_ref().is_some_and(|owner| owner.team_id == self.team_id);
        is(&self.kind, row.kind)
            && is(&self.verdict, row.verdict)
            && (is(&self.team_id, &row.team_id) || of_owner)
            && is(&self.challenge_id, &row.challenge_id)
            && is(&self.competition_id, &row.competition_id)
    }
}

/// A verdict.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReviewBody {
    verdict: WantedVerdict,
    /// Why, for other organizers.
    #[serde(default)]
    #[schema(max_length = 500)]
    note: String,
}

/// What an organizer makes of it.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WantedVerdict {
    /// Nothing yet.
    Open,
    /// There is an innocent explanation.
    Dismissed,
    /// It is what it looks like.
    Confirmed,
}

async fn rows(platform: &Platform, filter: &Filter) -> Answer<Vec<SuspicionView>> {
    let names = names(platform).await?;
    let found = platform.suspicions().await?.into_iter();
    Ok(found.map(|it| SuspicionView::of(it, &names)).filter(|row| filter.admits(row)).collect())
}

async fn names(platform: &Platform) -> Answer<BTreeMap<TeamId, String>> {
    Ok(platform.teams().await?.into_iter().map(|team| (team.id, team.name)).collect())
}

/// What looks odd in the answers on record, the newest first (administrators). It is worked out anew
/// each time, and nothing follows from it by itself.
#[utoipa::path(get, path = "/admin/fairness", tag = "admin", security(("bearer" = [])),
    params(Filter, PageParams),
    responses((status = 200, body = Page<SuspicionView>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
    Query((filter, page)): Query<(Filter, PageParams)>,
) -> Answer<Json<Page<SuspicionView>>> {
    Ok(Json(Page::of(rows(&platform, &filter).await?, page)))
}

/// The same as one object of JSON a line, to keep or to look at elsewhere.
#[utoipa::path(get, path = "/admin/fairness/export", tag = "admin", security(("bearer" = [])),
    params(Filter),
    responses((status = 200, content_type = "application/x-ndjson"),
        (status = 403, body = Envelope)))]
async fn export(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(filter): Query<Filter>,
) -> Answer<Response> {
    let mut lines = String::new();
    for row in rows(&platform, &filter).await? {
        lines.push_str(&serde_json::to_string(&row).unwrap_or_default());
        lines.push('\n');
    }
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"fairness.ndjson\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, lines).into_response())
}

/// Says what an organizer makes of it, for other organizers. It changes no points and stops nobody.
#[utoipa::path(put, path = "/admin/fairness/{evidence_id}", tag = "admin",
    security(("bearer" = [])), params(("evidence_id" = String, Path)), request_body = ReviewBody,
    responses((status = 200, body = SuspicionView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 422, body = Envelope)))]
async fn review(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(body): Body<ReviewBody>,
) -> Answer<Json<SuspicionView>> {
    let verdict = match body.verdict {
        WantedVerdict::Open => None,
        WantedVerdict::Dismissed => Some(ReviewVerdict::Dismissed),
        WantedVerdict::Confirmed => Some(ReviewVerdict::Confirmed),
    };
    let found = platform.review(&caller, &id, verdict, &body.note).await?;
    Ok(Json(SuspicionView::of(found, &names(&platform).await?)))
}
