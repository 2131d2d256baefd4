//! Images that the platform has, in place of building them here: where `builder.build` is `once`.

use std::time::Duration;

use async_trait::async_trait;

use super::super::nodes::images;
use super::link::Bond;
use crate::builder::{Supplied, Supplier};
use crate::config::RegistryConfig;
use crate::model::BuildKey;
use crate::node::NodeError;
use crate::node::client::{HttpPlatform, ImageReply};
use crate::runtime::Registry;
use crate::telemetry::Chain;

/// Between two questions for an image that somebody builds.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two questions to a platform that does not answer.
const AWAY: Duration = Duration::from_secs(5);
/// How often that is asked before this node goes on alone.
const TRIES: u32 = 6;

/// The platform of this node.
pub(crate) struct OfPlatform {
    platform: HttpPlatform,
    token: String,
    registry: RegistryConfig,
}

impl OfPlatform {
    pub(crate) fn new(bond: &Bond, registry: RegistryConfig) -> Self {
        let (platform, token) = (bond.platform.clone(), bond.identity.token.clone());
        Self { platform, token, registry }
    }
}

#[async_trait]
impl Supplier for OfPlatform {
    fn registry(&self) -> Result<Option<Registry>, String> {
        images::registry(&self.registry).map_err(|error| Chain(&error).to_string())
    }

    async fn supply(
        &self,
        key: BuildKey,
        repository: Option<&str>,
    ) -> Result<Option<Supplied>, String> {
        let mut n_silent = 0;
        loop {
            match self.platform.image(&self.token, key, repository).await {
                Ok(ImageReply::Image(image)) => return Ok(Some(image)),
                Ok(ImageReply::Build) => return Ok(None),
                Ok(ImageReply::Wait) => {
                    n_silent = 0;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(NodeError::Unreachable(_)) if n_silent < TRIES => {
                    n_silent += 1;
                    tokio::time::sleep(AWAY).await;
                }
                Err(error) => return Err(Chain(&error).to_string()),
            }
        }
    }
}
