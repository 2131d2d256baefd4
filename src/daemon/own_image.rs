//! Images of our own, from files that travel in this binary: built once, found again by their key.
//!
//! They bear labels like images of challenges, so what removes those removes these, and the next use
//! builds them again.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::build_network;
use super::shared::Shared;
use crate::builder::{image_tag, own_tar};
use crate::model::BuildKey;
use crate::runtime::BuildRequest;
use crate::telemetry::Chain;

/// One image of ours.
pub(crate) struct OwnImage {
    /// Separates its key from those of challenges, and versions it.
    pub(crate) purpose: &'static [u8],
    /// What it is filed under, in place of a challenge.
    pub(crate) challenge: &'static str,
    /// The same, in place of a service.
    pub(crate) service: &'static str,
    /// What it is, in a sentence: `the image that exploits run in`.
    pub(crate) what: &'static str,
    /// Path and content of each file; one is the `Dockerfile`.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// What to do when it cannot be built.
    pub(crate) fix: &'static str,
}

impl OwnImage {
    /// Everything that determines it.
    fn key(&self) -> BuildKey {
        let mut digest = Sha256::new().chain_update(self.purpose);
        for (_, content) in self.files {
            digest.update(content);
        }
        BuildKey::from_digest(digest.finalize().into())
    }
}

/// The engine's id of `image`; builds it when it is not there. One caller at a time for each image.
///
/// # Errors
/// Says why there is none, and what to do.
pub(crate) async fn ensure(shared: &Shared, image: &OwnImage) -> Result<String, String> {
    let key = image.key();
    let (challenge, service) = (image.challenge.parse(), image.service.parse());
    let (Ok(challenge), Ok(service)) = (challenge, service) else {
        return Err("its names are wrong".to_owned());
    };
    let tag = image_tag(shared.data.installation(), &challenge, &service, key);
    let found = shared.engine.image(&tag).await.map_err(|error| Chain(&error).to_string())?;
    if let Some(seen) = found.filter(|seen| seen.build_key == Some(key)) {
        return Ok(seen.id);
    }
    let what = image.what;
    if shared.builder.is_paused() {
        return Err(format!("{what} waits for room on the disk"));
    }
    let config = &shared.config.builder;
    let request = BuildRequest {
        key,
        challenge,
        service,
        tree: None,
        tag,
        context: own_tar(image.files).map_err(|error| Chain(&error).to_string())?,
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: [].into(),
        network: build_network(config.network),
        deadline: Duration::from_secs(u64::from(config.deadline_secs)),
    };
    // Nobody reads along; the error has the instruction that failed.
    let (log, _unread) = mpsc::unbounded_channel();
    tracing::info!(build.key = %key.short(), "building {what}");
    let built = tokio::select! {
        built = shared.engine.build(request, log) => built,
        () = shared.tasks.stopping().cancelled() => return Err("the server stops".to_owned()),
    };
    built
        .map(|seen| seen.id)
        .map_err(|error| format!("{what} was not built: {}; {}", Chain(&error), image.fix))
}
