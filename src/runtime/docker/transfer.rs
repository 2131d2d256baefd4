//! Images on their way from one engine to another.

use std::io;

use bollard::query_parameters::ImportImageOptions;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::connect::Call;
use super::{Docker, errors, names};
use crate::runtime::{EngineError, ImageBytes, ImageSeen};

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
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        let image = names::image(image)?;
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
        self.seen_image(image).await?.ok_or_else(|| EngineError::Refused {
            what: call.what,
            reason: "what came in is another image".to_owned(),
        })
    }
}
