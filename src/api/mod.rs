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

mod admin;
mod attachments;
mod auth;
mod builds;
mod catalogue;
mod challenges;
mod competitions;
mod download;
mod error;
mod extract;
mod gc;
mod gitops;
mod health;
mod hooks;
mod instance_view;
mod instances;
mod isolation;
mod limits;
mod me;
mod node;
mod nodes;
mod openapi;
mod page;
mod request;
mod serve;
mod standings;
mod submissions;
mod teams;
#[cfg(test)]
mod tests;
mod vpn;

use std::num::NonZeroU32;

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
use crate::daemon::platform::Platform;

/// Requests a minute of the limited groups of routes (`contract/http-api.md` §1).
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(600).expect("600 is not zero");

/// Everything we answer, with its middleware.
pub fn router(platform: Platform) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = openapi::finish(document);
    let serve_document = move || std::future::ready(document.clone());
    routes
        .route("/openapi.json", get(serve_document))
        .fallback(request::not_found)
        .method_not_allowed_fallback(request::method_not_allowed)
        .layer(DefaultBodyLimit::max(extract::MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(middleware::from_fn_with_state(platform.clone(), request::finish))
        .layer(cors())
        .with_state(platform)
}

/// Routes and their documentation, in one place.
fn routes() -> OpenApiRouter<Platform> {
    let under_v1 = OpenApiRouter::new()
        .merge(health::routes())
        .merge(me::routes())
        .merge(competitions::routes())
        .merge(teams::routes())
        .merge(limited(standings::routes()))
        .merge(challenges::routes())
        .merge(attachments::routes())
        .merge(instances::routes())
        .merge(limited(instances::start_routes()))
        .merge(submissions::routes())
        .merge(limited(submissions::submit_routes()))
        .merge(limited(submissions::verify_routes()))
        .merge(vpn::routes())
        .merge(nodes::routes())
        .merge(limited(vpn::rotate_routes()))
        .merge(admin::routes())
        .merge(builds::routes())
        .merge(gitops::routes());
    OpenApiRouter::with_openapi(openapi::document())
        .merge(health::probes())
        .merge(hooks::routes())
        .nest("/api/v1", under_v1)
}

/// `routes` with a bucket of their own for every caller.
fn limited(routes: OpenApiRouter<Platform>) -> OpenApiRouter<Platform> {
    let limiter = Limiter::per_minute(PER_MINUTE);
    routes.route_layer(middleware::from_fn_with_state(limiter, limits::enforce))
}

/// Any origin may read: the bearer is no cookie, so no browser sends it by itself.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
}
