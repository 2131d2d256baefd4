//! Images on their way from one engine to another.

use std::io;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptions, ImportImageOptions, PushImageOptions, RemoveImageOptions, TagImageOptions,
};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::connect::Call;
use super::{Docker, errors, names};
use crate::model::BuildKey;
use crate::runtime::{EngineError, ImageBytes, ImageSeen, Registry, TAKEN, is_digest};

/// How long an image may take to come in or to go out, in seconds.
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
        self.tag(image, TAKEN.trim_end_matches(':'), version).await?;
        Ok(seen)
    }

    pub(super) async fn push_image(
        &self,
        image: &str,
        key: BuildKey,
        registry: &Registry,
    ) -> Result<String, EngineError> {
        let image = names::image(image)?;
        let (repository, version) = (registry.repository.as_str(), key.to_string());
        let passing = format!("{repository}:{version}");
        self.tag(image, repository, &version).await?;
        let call = Call::within(LOAD_SECS, format!("push image {image} to {repository}"));
        let options = PushImageOptions { tag: Some(version), platform: None };
        let pushed = self
            .connection
            .raw(&call, |client| {
                let (options, login) = (options.clone(), credentials(registry));
                async move {
                    client
                        .push_image(repository, Some(options), login)
                        .try_for_each(|_| std::future::ready(Ok(())))
                        .await
                }
            })
            .await;
        let digest = match pushed {
            Ok(Ok(())) => self.digest(image, repository).await,
            Ok(Err(error)) => Err(self.pull_error(&error, repository, &call)),
            Err(error) => Err(error),
        };
        // However that ended: an image with tags in two repositories cannot be removed by its id.
        self.untag(&passing).await?;
        digest
    }

    pub(super) async fn fetch_image(
        &self,
        image: &str,
        tag: &str,
        registry: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError> {
        let (image, version) = (names::image(image)?, version(tag)?);
        let repository = registry.repository.as_str();
        if !is_digest(digest) {
            let reason = "it has no digest, so the registry is not asked".to_owned();
            return Err(EngineError::Refused { what: format!("fetch image {image}"), reason });
        }
        let reference = format!("{repository}@{digest}");
        let call = Call::within(LOAD_SECS, format!("pull image {reference}"));
        let options =
            CreateImageOptions { from_image: Some(reference.clone()), ..Default::default() };
        let pulled = self
            .connection
            .raw(&call, |client| {
                let (options, login) = (options.clone(), credentials(registry));
                async move {
                    client
                        .create_image(Some(options), None, login)
                        .try_for_each(|_| std::future::ready(Ok(())))
                        .await
                }
            })
            .await?;
        if let Err(error) = pulled {
            return Err(self.pull_error(&error, &reference, &call));
        }
        let seen = match self.seen_image(image).await? {
            Some(seen) => {
                self.tag(image, TAKEN.trim_end_matches(':'), version).await.map(|()| seen)
            }
            None => Err(EngineError::Refused {
                what: call.what,
                reason: "what came in is another image".to_owned(),
            }),
        };
        self.untag(&reference).await?;
        seen
    }

    /// The digest that `image` has in `repository`, into which it was pushed.
    async fn digest(&self, image: &str, repository: &str) -> Result<String, EngineError> {
        let call = Call::read(format!("inspect image {image}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_image(image).await })
            .await?;
        let digests = found.repo_digests.unwrap_or_default();
        let of_it = |text: &String| {
            let (of, digest) = text.split_once('@')?;
            (of == repository && is_digest(digest)).then(|| digest.to_owned())
        };
        digests.iter().find_map(of_it).ok_or_else(|| EngineError::Refused {
            what: format!("push image {image} to {repository}"),
            reason: "the engine does not say which digest it has there".to_owned(),
        })
    }

    async fn tag(&self, image: &str, repository: &str, version: &str) -> Result<(), EngineError> {
        let options =
            TagImageOptions { repo: Some(repository.to_owned()), tag: Some(version.to_owned()) };
        let call = Call::within(30, format!("tag image {image}"));
        self.connection
            .run(&call, |client| {
                let options = options.clone();
                async move { client.tag_image(image, Some(options)).await }
            })
            .await
    }

    pub(super) async fn unload_image(&self, tag: &str) -> Result<(), EngineError> {
        version(tag)?;
        self.untag(tag).await
    }

    /// Takes one name of an image away, and the image with it where it has no other.
    async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        let call = Call::within(60, format!("remove image {reference}"));
        let removed = self
            .connection
            .run(&call, |client| async move {
                client.remove_image(reference, None::<RemoveImageOptions>, None).await
            })
            .await;
        match removed {
            Ok(_) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn credentials(registry: &Registry) -> Option<DockerCredentials> {
    let (username, password) = registry.login.clone()?;
    let host = registry.repository.split('/').next().unwrap_or_default().to_owned();
    Some(DockerCredentials {
        username: Some(username),
        password: Some(password),
        serveraddress: Some(host),
        ..Default::default()
    })
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
