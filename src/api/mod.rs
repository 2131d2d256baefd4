//! The HTTP API: the wire shapes of `contract/http-api.md`, and our own routes beside them.
//!
//! In:  requests, all hostile.
//! Out: calls of [`Platform`], and its answers as JSON.
//!
//! # Invariants
//! * Handlers extract, call and answer; what is shown is decided by pure functions beside them.
//! * No answer, token or path of ours leaves through a header, a log line or an error.
//! * Every refusal has the contract's envelope; only 404 and 405 of the router and 429 of the
//!   limits are bare, as the contract wants.
//!
//! # Not here
//! What is allowed and what happens (`daemon`); TLS (a reverse proxy).

mod absent;
mod accounts;
mod activities;
mod admin;
mod announcements;
mod attachments;
mod attempts;
mod auth;
mod boards;
mod builds;
mod catalogue;
mod challenge_stats;
mod challenges;
mod chart;
mod competition_admin;
mod competitions;
mod ctfd;
mod devices;
mod docs;
mod download;
mod error;
mod events;
mod extract;
mod fairness;
mod gc;
mod gitops;
mod health;
mod hooks;
mod html;
mod inbox;
mod instance_view;
mod instances;
mod integrations;
mod invites;
mod isolation;
mod limits;
#[cfg(feature = "mcp")]
mod mcp;
mod me;
mod node;
mod nodes;
mod observability;
mod openapi;
mod page;
mod records;
mod recount;
mod request;
mod serve;
mod settings;
mod shell_socket;
mod shells;
mod standings;
mod submissions;
mod teams;
#[cfg(test)]
mod tests;
mod tokens;
mod users;
mod vpn;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

pub use node::node_router;
pub use serve::{serve, serve_node};

use self::limits::Limiter;
use crate::contest::Rate;
use crate::contest::settings::Bucket;
use crate::daemon::platform::Platform;

/// Requests a minute of the limited groups of routes (`contract/http-api.md` §1).
const PER_MINUTE: u32 = 600;

/// Everything we answer, with its middleware.
pub fn router(platform: Platform) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = openapi::finish(document);
    let serve_document = move || std::future::ready(document.clone());
    let app = routes
        .merge(Router::new().nest("/api/v1", absent::routes()))
        .merge(docs::routes())
        .route("/openapi.json", get(serve_document))
        .fallback(request::not_found)
        .method_not_allowed_fallback(request::method_not_allowed)
        .layer(DefaultBodyLimit::max(extract::MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(middleware::from_fn_with_state(platform.clone(), request::finish))
        .with_state(platform);
    #[cfg(feature = "mcp")]
    let app = mcp::beside(app);
    app.layer(cors())
}

/// Routes and their documentation, in one place.
fn routes() -> OpenApiRouter<Platform> {
    let often = Rate::per_minute(PER_MINUTE);
    let scoreboards = boards::global_routes().merge(standings::routes());
    let less = accounts::change_routes().merge(tokens::revoke_routes());
    let under_v1 = OpenApiRouter::new()
        .merge(health::routes())
        .merge(accounts::routes())
        .merge(by_address(Bucket::Login, Rate::per_minute(60), accounts::login_routes()))
        .merge(by_address(Bucket::Register, Rate::per_hour(600), accounts::register_routes()))
        .merge(by_address(Bucket::DeviceCode, Rate::per_minute(60), devices::code_routes()))
        .merge(by_address(Bucket::DeviceToken, often, devices::token_routes()))
        .merge(by_token(Bucket::DeviceApprove, Rate::per_minute(60), devices::answer_routes()))
        .merge(by_token(Bucket::PasswordChange, Rate::per_minute(60), accounts::password_routes()))
        .merge(by_token(Bucket::AuthMutation, Rate::per_hour(600), less))
        .merge(by_token(Bucket::TokenCreate, Rate::per_hour(600), tokens::mint_routes()))
        .merge(tokens::routes())
        .merge(users::routes())
        .merge(nodes::routes())
        .merge(recount::routes())
        .merge(fairness::routes())
        .merge(me::routes())
        .merge(competitions::routes())
        .merge(teams::routes())
        .merge(invites::routes())
        .merge(inbox::routes())
        .merge(announcements::routes())
        .merge(activities::routes())
        .merge(competition_admin::routes())
        .merge(boards::routes())
        .merge(by_token(Bucket::Scoreboard, often, scoreboards))
        .merge(challenges::routes())
        .merge(attachments::routes())
        .merge(instances::routes())
        .merge(by_token(Bucket::InstanceStart, often, instances::start_routes()))
        .merge(submissions::routes())
        .merge(by_token(Bucket::Submission, often, submissions::submit_routes()))
        .merge(by_token(Bucket::VerifyFlag, often, submissions::verify_routes()))
        .merge(integrations::routes())
        .merge(ctfd::routes())
        .merge(by_token(Bucket::InstanceStart, often, ctfd::start_routes()))
        .merge(by_token(Bucket::VerifyFlag, often, ctfd::verify_routes()))
        .merge(vpn::routes())
        .merge(events::routes())
        .merge(by_token(Bucket::InstanceStart, often, vpn::rotate_routes()))
        .merge(admin::routes())
        .merge(attempts::routes())
        .merge(settings::routes())
        .merge(shells::routes())
        .merge(by_token(Bucket::AdminShell, Rate::per_minute(10), shells::ask_routes()))
        .merge(records::routes())
        .merge(observability::routes())
        .merge(challenge_stats::routes())
        .merge(builds::routes())
        .merge(gitops::routes());
    let device_page = devices::page_routes();
    OpenApiRouter::with_openapi(openapi::document())
        .merge(health::probes())
        .merge(hooks::routes())
        .merge(by_address(Bucket::DeviceApprove, Rate::per_minute(60), device_page))
        .nest("/api/v1", under_v1)
}

/// `routes` with a bucket of their own for every caller: a token before an address. Its rate is
/// `built_in` unless administrators want another.
fn by_token(
    bucket: Bucket,
    built_in: Rate,
    routes: OpenApiRouter<Platform>,
) -> OpenApiRouter<Platform> {
    let limiter = Limiter::of(bucket, built_in);
    routes.route_layer(middleware::from_fn_with_state(limiter, limits::enforce))
}

/// As [`by_token`], for every address, whatever token a request claims to have.
fn by_address(
    bucket: Bucket,
    built_in: Rate,
    routes: OpenApiRouter<Platform>,
) -> OpenApiRouter<Platform> {
    let limiter = Limiter::of(bucket, built_in);
    routes.route_layer(middleware::from_fn_with_state(limiter, limits::enforce_by_address))
}

/// Any origin may read: the bearer is no cookie, so no browser sends it by itself.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
}
