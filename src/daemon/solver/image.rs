//! The image that exploits run in: ours, built once, or the one that operators name.

use crate::daemon::own_image::{self, OwnImage};
use crate::daemon::shared::Shared;
use crate::proof::program::DOCKERFILE;
use crate::runtime::EngineError;
use crate::telemetry::Chain;

/// Ours.
const SOLVER: OwnImage = OwnImage {
    purpose: b"flagops-solver-v1",
    challenge: "solver",
    service: "python",
    what: "the image that exploits run in",
    files: &[("Dockerfile", DOCKERFILE)],
    fix: "mend what it says, or name an image with Python as `solver.image`",
};

/// The engine's id of the image; builds or pulls it when it is not there.
///
/// # Errors
/// Says why there is none, and what to do.
pub(super) async fn ensure(shared: &Shared) -> Result<String, String> {
    let _turn = shared.solver.image_turn.acquire().await;
    match &shared.config.solver.image {
        Some(reference) => named(shared, reference).await.map_err(|error| {
            format!("the image `{reference}` of `solver.image` cannot be had: {}", Chain(&error))
        }),
        None => own_image::ensure(shared, &SOLVER).await,
    }
}

async fn named(shared: &Shared, reference: &str) -> Result<String, EngineError> {
    match shared.engine.image(reference).await? {
        Some(seen) => Ok(seen.id),
        None => Ok(shared.engine.pull(reference).await?.id),
    }
}
