//! Images: inspected, listed, pulled, removed. Building is next door.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::{StreamExt, TryStreamExt};

use super::connect::Call;
use super::{Docker, errors, names};
use crate::model::Timestamp;
use crate::model::compose::HealthTest;
use crate::runtime::{EngineError, ImageSeen, labels};

/// Most images whose volume paths are remembered.
const REMEMBERED: usize = 4096;

/// The volume paths of images by id. An id names fixed content, so an entry is never wrong.
#[derive(Debug, Default)]
pub(super) struct VolumePaths(Mutex<BTreeMap<String, Vec<String>>>);

impl VolumePaths {
    fn find(&self, id: &str) -> Option<Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn remember(&self, id: &str, volumes: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id.to_owned(), volumes.to_vec());
    }
}

impl Docker {
    pub(super) async fn seen_image(
        &self,
        reference: &str,
    ) -> Result<Option<ImageSeen>, EngineError> {
        let reference = names::image(reference)?;
        let call = Call::read(format!("inspect image {reference}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_image(reference).await })
            .await;
        match found {
            Ok(found) => Ok(self.as_seen_image(found)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn seen_images(&self) -> Result<Vec<ImageSeen>, EngineError> {
        let options = ListImagesOptions {
            filters: Some(labels::filter(&self.installation, labels::KIND_IMAGE, &[])),
            ..Default::default()
        };
        let listed = self
            .connection
            .run(&Call::read("list images"), |client| {
                let options = options.clone();
                async move { client.list_images(Some(options)).await }
            })
            .await?;
        let found: Vec<_> = futures_util::stream::iter(listed)
            .map(|image| async move { self.seen_image(&image.id).await })
            .buffered(8)
            .try_collect()
            .await?;
        let mut seen: Vec<_> = found.into_iter().flatten().collect();
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(seen)
    }

    /// The volume paths of an image; an unknown image is [`EngineError::NotFound`].
    pub(super) async fn image_volumes(&self, image: &str) -> Result<Vec<String>, EngineError> {
        if let Some(volumes) = self.volume_paths.find(image) {
            return Ok(volumes);
        }
        match self.seen_image(image).await? {
            Some(seen) => Ok(seen.volumes),
            None => Err(EngineError::NotFound { what: format!("image `{image}`") }),
        }
    }

    pub(super) async fn pull_image(&self, reference: &str) -> Result<ImageSeen, EngineError> {
        let reference = names::image(reference)?;
        let full = with_tag(reference);
        let call = Call::within(600, format!("pull image {reference}"));
        let options = CreateImageOptions { from_image: Some(full.clone()), ..Default::default() };
        let pulled = self
            .connection
            .raw(&call, |client| {
                let options = options.clone();
                async move {
                    client
                        .create_image(Some(options), None, None)
                        .try_for_each(|_| async { Ok(()) })
                        .await
                }
            })
            .await?;
        if let Err(error) = pulled {
            return Err(self.pull_error(&error, reference, &call));
        }
        let gone = || EngineError::NotFound { what: format!("image `{full}`") };
        self.seen_image(&full).await?.ok_or_else(gone)
    }

    pub(super) fn pull_error(
        &self,
        error: &bollard::errors::Error,
        reference: &str,
        call: &Call,
    ) -> EngineError {
        let reason = errors::reason(error);
        let is_answer = errors::status(error).is_some()
            || matches!(error, bollard::errors::Error::DockerStreamError { .. });
        if is_answer && errors::is_registry_unreachable(&reason) {
            return EngineError::Registry { reference: reference.to_owned(), reason };
        }
        match errors::map(error, call, self.connection.endpoint()) {
            EngineError::NotFound { .. } => {
                EngineError::NotFound { what: format!("image `{reference}` ({reason})") }
            }
            other => other,
        }
    }

    pub(super) async fn drop_image(&self, reference: &str) -> Result<(), EngineError> {
        let reference = names::image(reference)?;
        match self.own_image(reference).await? {
            None => return Ok(()),
            Some(false) => {
                return Err(EngineError::NotOurs { what: format!("image `{reference}`") });
            }
            Some(true) => (),
        }
        let call = Call::within(60, format!("remove image {reference}"));
        let options = RemoveImageOptions { force: false, noprune: false, platforms: None };
        let removed = self
            .connection
            .run(&call, |client| {
                let options = options.clone();
                async move { client.remove_image(reference, Some(options), None).await }
            })
            .await;
        match removed {
            Ok(_) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether an image is ours; `None` when there is none.
    async fn own_image(&self, reference: &str) -> Result<Option<bool>, EngineError> {
        let call = Call::read(format!("inspect image {reference}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_image(reference).await })
            .await;
        match found {
            Ok(found) => {
                let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
                Ok(Some(labels::is_ours(&self.installation, labels)))
            }
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn as_seen_image(&self, found: ImageInspect) -> Option<ImageSeen> {
        let id = found.id?;
        let config = found.config.unwrap_or_default();
        let labels = config.labels.as_ref();
        let volumes = config.volumes.unwrap_or_default();
        self.volume_paths.remember(&id, &volumes);
        let is_ours = labels::is_ours(&self.installation, labels);
        // A build out of the cache keeps the time of its last step, but the tag is new. The engine
        // says year 1 for an image that was never tagged here.
        let tagged_at = found.metadata.and_then(|metadata| metadata.last_tag_time);
        let made_at = found.created.max(tagged_at).filter(|at| at.year() > 1);
        Some(ImageSeen {
            id,
            build_key: if is_ours { labels::build_key(labels) } else { None },
            made_at: made_at
                .map(|at| Timestamp::from_millis(at.unix_timestamp().saturating_mul(1000))),
            size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            health: config.healthcheck.and_then(|health| health.test).and_then(health_test),
            volumes,
        })
    }
}

/// `reference` with the tag `latest` when it names neither tag nor digest: the engine would pull
/// every tag there is.
fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn health_test(words: Vec<String>) -> Option<HealthTest> {
    let mut words = words.into_iter();
    match words.next().as_deref() {
        Some("CMD") => Some(HealthTest::Exec(words.collect())),
        Some("CMD-SHELL") => words.next().map(HealthTest::Shell),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        assert_eq!(with_tag("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(with_tag("a:1"), "a:1");
        assert_eq!(with_tag("b/a@sha256:00"), "b/a@sha256:00");
    }

    #[test]
    fn health_words_of_an_image_become_a_test() {
        let check = |words: &[&str]| health_test(words.iter().map(|&w| w.to_owned()).collect());
        assert_eq!(
            check(&["CMD", "/ok", "x"]),
            Some(HealthTest::Exec(vec!["/ok".into(), "x".into()]))
        );
        assert_eq!(check(&["CMD-SHELL", "a b"]), Some(HealthTest::Shell("a b".into())));
        assert_eq!(check(&["NONE"]), None);
        assert_eq!(check(&[]), None);
    }
}
