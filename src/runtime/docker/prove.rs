//! Proof that the engine can create, and the removal of what earlier work left behind.

use std::collections::BTreeSet;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateImageOptions, RemoveContainerOptions};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::Docker;
use super::connect::Call;
use crate::runtime::{EngineError, labels};

impl Docker {
    /// Makes and removes a container, never started. Asks for the version first: that call goes
    /// through to containerd, so a frozen one is seen here and not by the first player.
    pub(super) async fn prove_creation(&self) -> Result<(), EngineError> {
        // One proof at a time: each removes what others left behind.
        let mut dangling = self.proof.lock().await;
        self.connection
            .run(&Call::read("ask containerd for its version"), |client| async move {
                client.version().await
            })
            .await?;
        for leftover in self.container_ids(labels::KIND_PROBE, &[]).await? {
            self.remove_probe(&leftover).await?;
        }
        let image = self.probe_image().await?;
        let id = self.make_probe(&image).await?;
        self.remove_probe(&id).await?;
        *dangling = self.sweep_unnamed(&dangling).await?;
        Ok(())
    }

    async fn make_probe(&self, image: &str) -> Result<String, EngineError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["/probe".to_owned()]),
            labels: Some(labels::of_kind(&self.installation, labels::KIND_PROBE)),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                readonly_rootfs: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let made = self
            .connection
            .run(&Call::within(30, "create the probe container"), |client| {
                let body = body.clone();
                async move { client.create_container(None, body).await }
            })
            .await?;
        Ok(made.id)
    }

    pub(super) async fn remove_probe(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self
            .connection
            .run(&Call::within(30, "remove the probe container"), |client| {
                let options = options.clone();
                async move { client.remove_container(id, Some(options)).await }
            })
            .await;
        match removed {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The tiny image of the proof, imported once from a tar with one file.
    async fn probe_image(&self) -> Result<String, EngineError> {
        let repository = "flagops/probe";
        let tag = self.installation.as_str();
        let reference = format!("{repository}:{tag}");
        if let Some(seen) = self.seen_image(&reference).await? {
            return Ok(seen.id);
        }
        let labels = labels::of_kind(&self.installation, labels::KIND_PROBE);
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            changes: labels.iter().map(|(name, value)| format!("LABEL {name}={value}")).collect(),
            ..Default::default()
        };
        let tar = probe_tar(tag)?;
        self.connection
            .run(&Call::within(60, "import the probe image"), |client| {
                let (options, tar) = (options.clone(), tar.clone());
                async move {
                    let body = bollard::body_full(tar);
                    client
                        .create_image(Some(options), Some(body), None)
                        .try_for_each(|_| async { Ok(()) })
                        .await
                }
            })
            .await?;
        let gone = || EngineError::NotFound { what: format!("image `{reference}`") };
        Ok(self.seen_image(&reference).await?.ok_or_else(gone)?.id)
    }

    /// Removes unnamed volumes that no container used at two proofs in a row: a create that failed
    /// half-way leaves one. Once is not enough, for a create may be under way right now.
    async fn sweep_unnamed(
        &self,
        before: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, EngineError> {
        let mut once = BTreeSet::new();
        for volume in self.dangling_unnamed().await? {
            if !before.contains(&volume.name) {
                once.insert(volume.name);
                continue;
            }
            match self.drop_volume(&volume.name).await {
                // In use again: then it is not left over.
                Ok(()) | Err(EngineError::Refused { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(once)
    }
}

/// A tar with one small file; never executed. The text makes the image differ per installation.
fn probe_tar(text: &str) -> Result<Bytes, EngineError> {
    let content = format!("flagops probe {text}\n");
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o555);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    let packed = archive
        .append_data(&mut header, "probe", content.as_bytes())
        .and_then(|()| archive.into_inner());
    packed.map(Bytes::from).map_err(|error| EngineError::Refused {
        what: "pack the probe image".to_owned(),
        reason: error.to_string(),
    })
}
