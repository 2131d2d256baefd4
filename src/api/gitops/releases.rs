//! Releases, for organizers: what is live, what goes live next, and the verbs about it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, ApiError, Envelope};
use crate::api::extract::{Body, FromParams, Params, Query};
use crate::daemon::platform::{
    ChallengePreview, Deed, Platform, PlatformError, Preview, ReleaseOverview, TagState,
};
use crate::model::ObjectId;
use crate::release::manifest::{Generation, Manifest};
use crate::release::preview::ChangeKind;
use crate::store::{AuditRow, DecisionKind};

/// Generations and deeds in one answer.
const MAX_ROWS: u32 = 500;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(overview))
        .routes(routes!(generations))
        .routes(routes!(generation))
        .routes(routes!(decide))
        .routes(routes!(rollback))
        .routes(routes!(force))
        .routes(routes!(preview))
        .routes(routes!(diff))
        .routes(routes!(audit))
}

/// What is live, and what goes live next.
#[derive(Debug, Serialize, ToSchema)]
struct OverviewView {
    /// `tags`: tags go live whole; `branch`: each challenge of the branch as soon as it is built.
    channel: &'static str,
    active: Option<GenerationView>,
    candidate: Option<CandidateView>,
    /// Every tag that is or was a release tag, by name.
    tags: Vec<TagView>,
    /// Until when nothing goes live, and why.
    frozen: Option<String>,
    /// Versions that never go live again.
    quarantined: Vec<QuarantinedView>,
}

/// One going live.
#[derive(Debug, Serialize, ToSchema)]
struct GenerationView {
    /// Only ever grows.
    number: u32,
    /// The hash of the manifest.
    release: String,
    /// `branch`, `tag`, `rollback` or `revert`.
    cause: &'static str,
    who: String,
    why: String,
    /// RFC 3339.
    at: String,
    tag: Option<String>,
    /// The commit; absent in lists.
    revision: Option<String>,
    /// How many challenges it has; absent in lists.
    challenges: Option<usize>,
}

/// The tag that goes live next.
#[derive(Debug, Serialize, ToSchema)]
struct CandidateView {
    tag: String,
    revision: String,
    /// RFC 3339.
    since: String,
    /// Challenges whose images or proofs are on their way.
    waiting: Vec<String>,
    /// What is wrong.
    faults: Vec<String>,
}

/// Where a tag stands.
#[derive(Debug, Serialize, ToSchema)]
struct TagView {
    name: String,
    object: Option<String>,
    revision: Option<String>,
    /// RFC 3339.
    first_seen: Option<String>,
    /// How many objects it ever named; more than one: it moved.
    objects: usize,
    /// `live`, `candidate`, `held`, `superseded`, `quarantined`, `gone` or `unordered`.
    standing: &'static str,
    /// What that means, and what to do.
    why: String,
}

/// A version that never goes live again.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantinedView {
    challenge: String,
    tree: String,
    who: String,
    why: String,
}

/// A generation and everything in it.
#[derive(Debug, Serialize, ToSchema)]
struct ManifestView {
    generation: GenerationView,
    items: Vec<EntryView>,
}

/// One challenge of a release.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    challenge: String,
    path: String,
    revision: String,
    tree: String,
    images: Vec<String>,
    /// `include`, or `lkg` for a version that was kept.
    disposition: &'static str,
}

/// The newest first.
#[derive(Debug, Serialize, ToSchema)]
struct GenerationList {
    total: usize,
    items: Vec<GenerationView>,
}

/// What people did, the newest first.
#[derive(Debug, Serialize, ToSchema)]
struct AuditList {
    total: usize,
    items: Vec<DeedView>,
}

/// One thing that somebody did.
#[derive(Debug, Serialize, ToSchema)]
struct DeedView {
    /// RFC 3339.
    at: String,
    who: String,
    /// A stable word.
    what: String,
    object: String,
    why: String,
}

/// A decision about a tag.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecisionBody {
    /// `approve`, `accept_move` or `quarantine`.
    kind: String,
    /// What the tag must name now; without it, whatever it names.
    #[serde(default)]
    object: Option<String>,
    who: String,
    why: String,
}

/// Where to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// The generation; without it, the last one that differs.
    #[serde(default)]
    to: Option<u32>,
    /// Of one challenge only.
    #[serde(default)]
    challenge: Option<String>,
    who: String,
    why: String,
}

/// Why, for the players too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForceBody {
    challenge: String,
    who: String,
    why: String,
}

/// How many instances end.
#[derive(Debug, Serialize, ToSchema)]
struct Forced {
    ended: usize,
}

/// What changes, and for whom.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewView {
    before: String,
    after: String,
    /// Why it does not go live; empty when it would.
    held: Vec<String>,
    items: Vec<ChangeView>,
}

/// One challenge that differs.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeView {
    challenge: String,
    /// `added`, `changed` or `removed`.
    change: &'static str,
    from: Option<String>,
    to: Option<String>,
    images: Vec<ReleaseImageView>,
    attachments: Vec<PartView>,
    questions: Vec<PartView>,
    /// `on_next_start`, `drain` or `force`.
    update: &'static str,
    /// Running instances of another version, and their teams.
    stale: Vec<StaleView>,
}

/// An image that is new.
#[derive(Debug, Serialize, ToSchema)]
struct ReleaseImageView {
    service: String,
    key: String,
    /// `unbuilt`, `building`, `built` or `failed`.
    state: &'static str,
}

/// An attachment or a question.
#[derive(Debug, Serialize, ToSchema)]
struct PartView {
    name: String,
    change: &'static str,
}

/// A running instance of another version.
#[derive(Debug, Serialize, ToSchema)]
struct StaleView {
    instance: String,
    team: String,
}

/// Two generations.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffParams {
    /// The older one.
    before: u32,
    /// The newer one.
    after: u32,
}

impl FromParams for DiffParams {
    fn read(params: &mut Params) -> Self {
        Self { before: params.required_number("before"), after: params.required_number("after") }
    }
}

fn generation_view(generation: Generation, manifest: Option<&Manifest>) -> GenerationView {
    GenerationView {
        number: generation.number,
        release: generation.release.to_string(),
        cause: generation.cause.as_str(),
        who: generation.who,
        why: generation.why,
        at: generation.at.rfc3339(),
        tag: manifest.and_then(|it| it.tag.as_ref()).map(|(name, _)| name.to_string()),
        revision: manifest.map(|it| it.revision.to_string()),
        challenges: manifest.map(|it| it.challenges.len()),
    }
}

fn overview_view(overview: ReleaseOverview, frozen: Option<String>) -> OverviewView {
    let tag_view = |tag: TagState| TagView {
        name: tag.name.to_string(),
        object: tag.object.map(|it| it.to_string()),
        revision: tag.revision.map(|it| it.to_string()),
        first_seen: tag.first_seen.map(|it| it.rfc3339()),
        objects: tag.n_objects,
        standing: tag.standing,
        why: tag.words,
    };
    OverviewView {
        channel: if overview.has_tags { "tags" } else { "branch" },
        active: overview.active.map(|(it, manifest)| generation_view(it, Some(&manifest))),
        candidate: overview.candidate.map(|it| CandidateView {
            tag: it.tag.to_string(),
            revision: it.revision.to_string(),
            since: it.since.rfc3339(),
            waiting: it.waiting.iter().map(ToString::to_string).collect(),
            faults: it.faults,
        }),
        tags: overview.tags.into_iter().map(tag_view).collect(),
        frozen,
        quarantined: overview
            .quarantined
            .into_iter()
            .map(|it| QuarantinedView {
                challenge: it.challenge.to_string(),
                tree: it.tree.to_string(),
                who: it.who,
                why: it.why,
            })
            .collect(),
    }
}

fn preview_view(preview: Preview) -> PreviewView {
    let parts = |all: &[(String, ChangeKind)]| {
        let part = |(name, kind): &(String, ChangeKind)| PartView {
            name: name.clone(),
            change: kind.as_str(),
        };
        all.iter().map(part).collect()
    };
    let change = |it: ChallengePreview| ChangeView {
        challenge: it.change.id.to_string(),
        change: it.change.kind.as_str(),
        from: it.change.from.map(|tree| tree.to_string()),
        to: it.change.to.map(|tree| tree.to_string()),
        images: it
            .change
            .images
            .iter()
            .zip(&it.builds)
            .map(|((service, key), state)| ReleaseImageView {
                service: service.to_string(),
                key: key.to_string(),
                state: state.as_str(),
            })
            .collect(),
        attachments: parts(&it.change.attachments),
        questions: parts(&it.change.questions),
        update: it.change.update.as_str(),
        stale: it
            .stale
            .iter()
            .map(|(id, team)| StaleView { instance: id.to_string(), team: team.to_string() })
            .collect(),
    };
    PreviewView {
        before: preview.before,
        after: preview.after,
        held: preview.held,
        items: preview.changes.into_iter().map(change).collect(),
    }
}

/// What is live, what goes live next, and where every release tag stands.
#[utoipa::path(get, path = "/gitops/releases", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = OverviewView), (status = 403, body = Envelope)))]
async fn overview(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<OverviewView>> {
    let frozen = platform.frozen().map(|pause| pause.to_string());
    Ok(Json(overview_view(platform.releases().await?, frozen)))
}

/// The newest generations, the newest first.
#[utoipa::path(get, path = "/gitops/generations", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = GenerationList), (status = 403, body = Envelope)))]
async fn generations(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<GenerationList>> {
    let all = platform.generations(MAX_ROWS).await?;
    let items: Vec<_> = all.into_iter().map(|it| generation_view(it, None)).collect();
    Ok(Json(GenerationList { total: items.len(), items }))
}

/// One generation and everything in it.
#[utoipa::path(get, path = "/gitops/generations/{number}", tag = "gitops",
    security(("bearer" = [])), params(("number" = u32, Path)),
    responses((status = 200, body = ManifestView), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn generation(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(number): Path<String>,
) -> Answer<Json<ManifestView>> {
    let number = super::provenance::number(&number)?;
    let (generation, manifest) = platform.generation(number).await?;
    let items = manifest.challenges.iter().map(|(id, entry)| EntryView {
        challenge: id.to_string(),
        path: entry.path.clone(),
        revision: entry.revision.to_string(),
        tree: entry.tree.to_string(),
        images: entry.images.iter().map(ToString::to_string).collect(),
        disposition: entry.disposition.as_str(),
    });
    let items = items.collect();
    let generation = generation_view(generation, Some(&manifest));
    Ok(Json(ManifestView { generation, items }))
}

/// Approves a tag, accepts that it moved, or takes it out; then looks at once what goes live.
#[utoipa::path(post, path = "/gitops/tags/{tag}/decisions", tag = "gitops",
    security(("bearer" = [])), params(("tag" = String, Path)), request_body = DecisionBody,
    responses((status = 200, body = OverviewView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope)))]
async fn decide(
    State(platform): State<Platform>,
    admin: Admin,
    Path(tag): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Answer<Json<OverviewView>> {
    let bad = |reason: &str| ApiError::from(PlatformError::BadRelease { reason: reason.into() });
    let kind = DecisionKind::from_word(&body.kind)
        .ok_or_else(|| bad("`kind` must be `approve`, `accept_move` or `quarantine`"))?;
    let object = body.object.as_deref().map(str::parse::<ObjectId>).transpose();
    let object = object.map_err(|_| bad("`object` must be 40 hex digits"))?;
    let DecisionBody { who, why, .. } = body;
    platform.decide_tag(&tag, object, kind, Deed { who, why }).await?;
    overview(State(platform), admin).await
}

/// Goes back to an earlier generation, as a whole or of one challenge. What is gone back from never
/// goes live again by itself. While images have to be built first the answer is `409
/// images_missing`: ask again.
#[utoipa::path(post, path = "/gitops/rollback", tag = "gitops", security(("bearer" = [])),
    request_body = RollbackBody,
    responses((status = 200, body = GenerationView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope)))]
async fn rollback(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<RollbackBody>,
) -> Answer<Json<GenerationView>> {
    let RollbackBody { to, challenge, who, why } = body;
    let done = platform.rollback(to, challenge.as_deref(), Deed { who, why }).await?;
    Ok(Json(generation_view(done, None)))
}

/// Ends every instance of a challenge that is of another version than the live one; their players
/// read why.
#[utoipa::path(post, path = "/gitops/force", tag = "gitops", security(("bearer" = [])),
    request_body = ForceBody,
    responses((status = 200, body = Forced), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn force(
    State(platform): State<Platform>,
    _admin: Admin,
    Body(body): Body<ForceBody>,
) -> Answer<Json<Forced>> {
    let ForceBody { challenge, who, why } = body;
    Ok(Json(Forced { ended: platform.force(&challenge, Deed { who, why }).await? }))
}

/// What a tag would change if it went live now.
#[utoipa::path(get, path = "/gitops/tags/{tag}/plan", tag = "gitops", security(("bearer" = [])),
    params(("tag" = String, Path)),
    responses((status = 200, body = PreviewView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope)))]
async fn preview(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(tag): Path<String>,
) -> Answer<Json<PreviewView>> {
    Ok(Json(preview_view(platform.preview_tag(&tag).await?)))
}

/// What differs between two generations.
#[utoipa::path(get, path = "/gitops/diff", tag = "gitops", security(("bearer" = [])),
    params(DiffParams),
    responses((status = 200, body = PreviewView), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope),
        (status = 422, body = Envelope)))]
async fn diff(
    State(platform): State<Platform>,
    _admin: Admin,
    Query(params): Query<DiffParams>,
) -> Answer<Json<PreviewView>> {
    Ok(Json(preview_view(platform.diff(params.before, params.after).await?)))
}

/// What people did to what is live: who, what, why and when.
#[utoipa::path(get, path = "/gitops/audit", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = AuditList), (status = 403, body = Envelope)))]
async fn audit(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<AuditList>> {
    let view = |row: AuditRow| DeedView {
        at: row.at.rfc3339(),
        who: row.who,
        what: row.what,
        object: row.object,
        why: row.why,
    };
    let items: Vec<_> = platform.audit(MAX_ROWS).await?.into_iter().map(view).collect();
    Ok(Json(AuditList { total: items.len(), items }))
}
