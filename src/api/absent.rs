//! What the contract has and this server does not: a clear 501, never a 404 that looks like a row
//! that is missing.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::error::ApiError;
use crate::daemon::platform::Platform;

/// The methods of a path.
type Methods = MethodRouter<Platform>;

/// Paths below `/api/v1`, with their methods.
pub(crate) fn routes() -> Router<Platform> {
    let paths: [(&str, Methods); 19] = [
        ("/achievements/catalog", get(absent)),
        ("/achievements/recent-unlocks", get(absent)),
        ("/easter-eggs/{egg_id}/claim", post(absent)),
        ("/challenges/{challenge_id}/solve-attempts", get(absent)),
        ("/challenges/{challenge_id}/feedback/stats", get(absent)),
        ("/challenges/{challenge_id}/feedback/me", get(absent)),
        ("/challenges/{challenge_id}/feedback/{reaction}", put(absent).delete(absent)),
        ("/challenges/{challenge_id}/feedback", delete(absent)),
        ("/me/export", get(absent)),
        ("/me/achievements", get(absent)),
        ("/me/star-gazer/verify", post(absent)),
        ("/scoreboard/history", get(absent)),
        ("/teams/{team_id}/profile-stats", get(absent)),
        ("/teams/{team_id}/achievements", get(absent)),
        ("/users/{user_id}", get(absent)),
        ("/users/{user_id}/solve-trend", get(absent)),
        ("/users/{user_id}/profile-stats", get(absent)),
        ("/admin/teams/{team_id}/achievements/{achievement_id}", post(absent).delete(absent)),
        ("/admin/challenges/{challenge_id}/feedback", get(absent)),
    ];
    let router = Router::new();
    paths.into_iter().fold(router, |router, (path, methods)| router.route(path, methods))
}

async fn absent() -> ApiError {
    let text = "this server does not have this part of the API";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", text)
}
