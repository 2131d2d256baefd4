//! Where what players have comes from: the chain of an instance or a live version, and the statement
//! about a generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{LiveChallenge, Outcome, Platform, PlatformError};
use crate::daemon::releases::{self, flip};
use crate::daemon::specs;
use crate::model::{Challenge, Instance, ServiceName};
use crate::release::chain::{Origin, Released, ServiceImage, Signature};
use crate::release::identity::build_units;
use crate::release::manifest::{Generation, Manifest};
use crate::release::provenance::{Facts, Statement};

impl Platform {
    /// What players have now; `None` before anything went live.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn active(&self) -> Outcome<Option<(Generation, Manifest)>> {
        Ok(self.shared.store.active().await?)
    }

    /// The images that an instance was started with, in file order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn images_of_instance(&self, instance: &Instance) -> Outcome<Vec<ServiceImage>> {
        let stored = specs::of(&self.shared, instance).await?;
        let challenge = match self.challenge_of(instance).await {
            Ok(challenge) => Some(challenge),
            Err(PlatformError::ChallengeNotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let units = challenge.map(|it| build_units(&it)).unwrap_or_default();
        let keys: BTreeMap<_, _> = units.into_iter().map(|it| (it.service, it.key)).collect();
        let services = stored.iter().flat_map(|it| &it.spec.services);
        let image = |service: &crate::release::spec::ServiceSpec| ServiceImage {
            service: service.name.clone(),
            key: keys.get(&service.name).copied(),
            image: Some(service.image.clone()),
        };
        Ok(services.map(image).collect())
    }

    /// Where an instance comes from: its own version, whatever went live since.
    pub(super) async fn origin_of(&self, instance: &Instance) -> Outcome<Origin> {
        let store = &self.shared.store;
        let found =
            store.generation_of(&instance.challenge, instance.tree, instance.created_at).await?;
        Ok(Origin {
            instance: Some((instance.id, instance.created_at)),
            challenge: instance.challenge.clone(),
            released: self.released(found).await?,
            revision: instance.revision,
            tree: instance.tree,
            images: self.images_of_instance(instance).await?,
        })
    }

    /// Where the version of a challenge that players can start comes from.
    pub(super) async fn origin_of_live(&self, live: &LiveChallenge) -> Outcome<Origin> {
        let active = self.shared.store.active().await?;
        Ok(Origin {
            instance: None,
            challenge: live.challenge.id.clone(),
            released: self.released(active).await?,
            revision: live.revision,
            tree: live.challenge.tree,
            images: self.service_images(&live.challenge).await?,
        })
    }

    async fn service_images(&self, challenge: &Challenge) -> Outcome<Vec<ServiceImage>> {
        let mut images: BTreeMap<ServiceName, String> = self.images_of(challenge).await?;
        let image = |unit: crate::release::identity::BuildUnit| ServiceImage {
            image: images.remove(&unit.service),
            service: unit.service,
            key: Some(unit.key),
        };
        Ok(build_units(challenge).into_iter().map(image).collect())
    }

    async fn released(&self, found: Option<(Generation, Manifest)>) -> Outcome<Option<Released>> {
        let Some((generation, manifest)) = found else { return Ok(None) };
        let signature = match &manifest.tag {
            Some((name, object)) => releases::signature(&self.shared, name, *object).await?,
            None => Signature::NotAsked,
        };
        Ok(Some(Released { generation, manifest, signature }))
    }

    /// The statement about generation `number` that other programs verify: its text, always the
    /// same.
    ///
    /// # Errors
    /// When there is no such generation, or a version of it can be read no more.
    pub async fn provenance(&self, number: u32) -> Outcome<String> {
        let shared = &self.shared;
        let (generation, manifest) = self.generation(number).await?;
        let images = shared.store.generation_images(number).await?;
        let gone =
            |error: flip::Unresolved| PlatformError::BadRelease { reason: error.to_string() };
        let catalogs = vec![Arc::clone(&shared.head.load().catalog)];
        let challenges = flip::resolve(shared, &manifest, catalogs).await.map_err(gone)?;
        let units = challenges.iter().map(|(id, it)| (id.clone(), build_units(&it.challenge)));
        let facts = Facts {
            installation: shared.data.installation(),
            repository: &shared.mirror.remote().masked(),
            generation: &generation,
            manifest: &manifest,
            units: &units.collect(),
            images: &images,
        };
        Ok(Statement::of(&facts).text())
    }
}
