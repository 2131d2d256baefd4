//! A file out of a container, or out of an image: then a container is made of it, never started, asked
//! for an archive of the path, and removed.
//!
//! A container that a crash left bears the label of proofs, and the next proof removes it. So the two
//! take turns.

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt;

use super::connect::Call;
use super::{Docker, errors};
use crate::runtime::archive::{self, OVERHEAD_BYTES};
use crate::runtime::{EngineError, ImageFile, NoFile, labels};

impl Docker {
    pub(super) async fn file_of_image(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        let _turn = self.proof.lock().await;
        let container = self.make_shelf(image).await?;
        let archive = self.archive(&container, path, limit_bytes).await;
        self.remove_probe(&container).await?;
        Ok(archive?.and_then(|archive| archive::one_file(&archive, limit_bytes)))
    }

    pub(super) async fn file_of_container(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        self.own_container(container).await?;
        let archive = self.archive(container, path, limit_bytes).await?;
        Ok(archive.and_then(|archive| archive::one_file(&archive, limit_bytes)))
    }

    /// A container that only has the files of `image`.
    async fn make_shelf(&self, image: &str) -> Result<String, EngineError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // It is never started; an image without a command needs one to be made.
            cmd: Some(vec!["/never".to_owned()]),
            labels: Some(labels::of_kind(&self.installation, labels::KIND_PROBE)),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let call = Call::within(60, format!("make a container of image {image}"));
        let made = self
            .connection
            .run(&call, |client| {
                let body = body.clone();
                async move { client.create_container(None, body).await }
            })
            .await?;
        Ok(made.id)
    }

    /// The engine's archive of `path`; never more than the file may have, and what is around it.
    async fn archive(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<Vec<u8>, NoFile>, EngineError> {
        let call = Call::within(120, format!("read `{path}` of a container"));
        let most = limit_bytes + OVERHEAD_BYTES;
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let read = self
            .connection
            .raw(&call, |client| {
                let options = options.clone();
                async move {
                    let mut stream =
                        std::pin::pin!(client.download_from_container(container, Some(options)));
                    let mut archive = Vec::new();
                    while let Some(chunk) = stream.next().await {
                        archive.extend_from_slice(&chunk?);
                        if archive.len() as u64 > most {
                            return Ok(None);
                        }
                    }
                    Ok(Some(archive))
                }
            })
            .await?;
        match read {
            Ok(Some(archive)) => Ok(Ok(archive)),
            Ok(None) => Ok(Err(NoFile::TooLarge)),
            Err(error) if errors::status(&error) == Some(404) => Ok(Err(NoFile::Missing)),
            Err(error) => Err(errors::map(&error, &call, self.connection.endpoint())),
        }
    }
}
