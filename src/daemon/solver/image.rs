//! The image that exploits run in: ours, built once, or the one that operators name.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::builder::{context_tar, image_tag};
use crate::daemon::build_network;
use crate::daemon::shared::Shared;
use crate::model::compose::BuildSpec;
use crate::model::{BuildKey, MemoryTree};
use crate::proof::program::DOCKERFILE;
use crate::runtime::{BuildRequest, EngineError};
use crate::secrets::Identities;
use crate::telemetry::Chain;

/// Separates the key of this image from those of challenges, and versions it.
const PURPOSE: &[u8] = b"flagops-solver-v1";

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
        None => ours(shared).await,
    }
}

async fn named(shared: &Shared, reference: &str) -> Result<String, EngineError> {
    match shared.engine.image(reference).await? {
        Some(seen) => Ok(seen.id),
        None => Ok(shared.engine.pull(reference).await?.id),
    }
}

async fn ours(shared: &Shared) -> Result<String, String> {
    let key = key();
    let (challenge, service) = ("solver".parse(), "python".parse());
    let (Ok(challenge), Ok(service)) = (challenge, service) else {
        return Err("its names are wrong".to_owned());
    };
    let tag = image_tag(shared.data.installation(), &challenge, &service, key);
    let found = shared.engine.image(&tag).await.map_err(|error| Chain(&error).to_string())?;
    if let Some(seen) = found.filter(|seen| seen.build_key == Some(key)) {
        return Ok(seen.id);
    }
    if shared.builder.is_paused() {
        return Err("the image that exploits run in waits for room on the disk".to_owned());
    }
    let config = &shared.config.builder;
    let request = BuildRequest {
        key,
        challenge,
        service,
        tree: None,
        tag,
        context: context()?,
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: [].into(),
        network: build_network(config.network),
        deadline: std::time::Duration::from_secs(u64::from(config.deadline_secs)),
    };
    // Nobody reads along; the error has the instruction that failed.
    let (log, _unread) = mpsc::unbounded_channel();
    tracing::info!(build.key = %key.short(), "building the image that exploits run in");
    let built = tokio::select! {
        built = shared.engine.build(request, log) => built,
        () = shared.tasks.stopping().cancelled() => return Err("the server stops".to_owned()),
    };
    built.map(|seen| seen.id).map_err(|error| {
        format!(
            "the image that exploits run in was not built: {}; mend what it says, or name an image with Python as `solver.image`",
            Chain(&error)
        )
    })
}

fn key() -> BuildKey {
    let digest = Sha256::new().chain_update(PURPOSE).chain_update(DOCKERFILE);
    BuildKey::from_digest(digest.finalize().into())
}

fn context() -> Result<Bytes, String> {
    let spec = BuildSpec {
        context: String::new(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: [].into(),
    };
    let tree = MemoryTree::new().with("Dockerfile", DOCKERFILE);
    context_tar(&tree, "", &spec, &Identities::none()).map_err(|error| Chain(&error).to_string())
}
