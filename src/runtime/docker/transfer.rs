//! Images on their way from one engine to another.

use std::io;

use bollard::query_parameters::{ImportImageOptions, RemoveImageOptions, TagImageOptions};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::connect::Call;
use super::{Docker, errors, names};
use crate::runtime::{EngineError, ImageBytes, ImageSeen, TAKEN};

/// How long an image may take to come in, in seconds.
const LOAD_SECS: u64 = 3600;

impl Docker {
    pub(super) async fn save_image(&self, image: &str) -> Result<ImageBytes, EngineError> {
        let found = self.seen_image(image).await?;
        let found =
            found.ok_or_else(|| EngineError::NotFound { what: format!("image `{image}`") })?;
        let (_, client) = self.connection.pinned().await?;
        // By its id: what a tag names may be another one by now.
        Ok(client.export_image(&found.id).map_err(io::Error::other).boxed())
    }

    pub(super) async fn load_image(
        &self,
        image: &str,
        tag: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        let (image, version) = (names::image(image)?, version(tag)?);
        let call = Call::within(LOAD_SECS, format!("load image {image}"));
        let (_, client) = self.connection.pinned().await?;
        // Progress is asked for because the engine answers at the end only where it is not.
        let options = ImportImageOptions { quiet: false, ..Default::default() };
        let loading = client
            .import_image_stream(options, bytes, None)
            .try_for_each(|_| std::future::ready(Ok(())));
        let loaded = tokio::time::timeout(call.deadline, loading).await;
        loaded
            .map_err(|_| errors::timed_out(&call))?
            .map_err(|error| errors::map(&error, &call, self.connection.endpoint()))?;
        let seen = self.seen_image(image).await?.ok_or_else(|| EngineError::Refused {
            what: call.what,
            reason: "what came in is another image".to_owned(),
        })?;
        let options = TagImageOptions {
            repo: Some(TAKEN.trim_end_matches(':').to_owned()),
            tag: Some(version.to_owned()),
        };
        let call = Call::within(30, format!("tag image {image}"));
        self.connection
            .run(&call, |client| {
                let options = options.clone();
                async move { client.tag_image(image, Some(options)).await }
            })
            .await?;
        Ok(seen)
    }

    pub(super) async fn unload_image(&self, tag: &str) -> Result<(), EngineError> {
        version(tag)?;
        let call = Call::within(60, format!("remove image {tag}"));
        let removed = self
            .connection
            .run(&call, |client| async move {
                client.remove_image(tag, None::<RemoveImageOptions>, None).await
            })
            .await;
        match removed {
            Ok(_) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The part of `tag` after the name that tags of a moment have; others are nobody's to take away.
fn version(tag: &str) -> Result<&str, EngineError> {
    let version = names::image(tag)?.strip_prefix(TAKEN);
    version.filter(|it| !it.is_empty()).ok_or_else(|| EngineError::Refused {
        what: tag.to_owned(),
        reason: "it is no tag of an image that is taken over, so the engine is not asked"
            .to_owned(),
    })
}
