//! What bears our label and belongs to no instance that the database knows: after a lost or older
//! database. It is held until a person has looked, who adopts or removes it.

use std::collections::BTreeMap;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::adoption::{self, Story, Unadoptable};
use crate::daemon::{queue, recovery};
use crate::model::{
    ChallengeId, ConditionStatus, ConditionType, Instance, InstanceId, TeamId, Timestamp,
};
use crate::runtime::{ContainerSeen, ContainerState, NetworkSeen, VolumeSeen};
use crate::store::{AdoptError, AdoptedInstance, PortRange};

/// What is left of an instance that no row knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Names of its containers.
    pub containers: Vec<String>,
    /// How many of them run.
    pub n_running: usize,
    /// Names of its volumes.
    pub volumes: Vec<String>,
    /// Whose it is, if it can be adopted; otherwise why not.
    pub owner: Result<Owner, Unadoptable>,
}

/// Whose instance it is that no row knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// What it is a copy of.
    pub challenge: ChallengeId,
    /// Whose it is.
    pub team: TeamId,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// What came of an adoption.
#[derive(Debug)]
pub struct Adopted {
    /// Those that have a row now.
    pub adopted: Vec<Instance>,
    /// Those that have none, and why.
    pub refused: BTreeMap<InstanceId, String>,
}

/// One listing of what the engine has.
struct Listing {
    containers: Vec<ContainerSeen>,
    volumes: Vec<VolumeSeen>,
    networks: Vec<NetworkSeen>,
}

impl Listing {
    fn containers_of(&self, id: InstanceId) -> Vec<&ContainerSeen> {
        self.containers.iter().filter(|seen| seen.instance == Some(id)).collect()
    }

    fn volumes_of(&self, id: InstanceId) -> Vec<String> {
        let of_it = self.volumes.iter().filter(|seen| seen.instance == Some(id));
        of_it.map(|seen| seen.name.clone()).collect()
    }

    fn instances(&self) -> impl Iterator<Item = InstanceId> {
        let of_containers = self.containers.iter().filter_map(|seen| seen.instance);
        of_containers.chain(self.volumes.iter().filter_map(|seen| seen.instance))
    }
}

impl Platform {
    /// What is said about a lost database, while nobody has accepted the loss.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn database_loss(&self) -> Outcome<Option<String>> {
        let lost = |it: &crate::model::Condition| {
            it.kind == ConditionType::Recovering && it.status == ConditionStatus::True
        };
        Ok(self.shared.store.conditions().await?.into_iter().find(lost).map(|it| it.message))
    }

    /// A person has seen what the database lost.
    pub async fn accept_loss(&self, who: &str) {
        recovery::accept(&self.shared, who).await;
    }

    /// Everything of ours that belongs to no live instance of this database, by instance.
    ///
    /// # Errors
    /// When the store fails, or the engine cannot be listed: then nothing is said about what it
    /// has.
    pub async fn unknown(&self) -> Outcome<BTreeMap<InstanceId, Unknown>> {
        let listing = self.list().await?;
        let mut unknown = BTreeMap::new();
        for id in listing.instances() {
            if unknown.contains_key(&id) {
                continue;
            }
            let containers = listing.containers_of(id);
            let owner = match self.shared.store.instance(id).await? {
                Some(row) if row.phase.is_live() => continue,
                Some(_) => Err(Unadoptable::Over),
                None => self.tell(id, &listing).await?.map(|told| Owner {
                    challenge: told.instance.challenge,
                    team: told.instance.team,
                    created_at: told.instance.created_at,
                }),
            };
            let is_running = |seen: &&&ContainerSeen| seen.state == ContainerState::Running;
            let left = Unknown {
                n_running: containers.iter().filter(is_running).count(),
                containers: containers.iter().map(|seen| seen.name.clone()).collect(),
                volumes: listing.volumes_of(id),
                owner,
            };
            unknown.insert(id, left);
        }
        Ok(unknown)
    }

    async fn list(&self) -> Outcome<Listing> {
        let engine = &self.shared.engine;
        // The engine first: a row is always older than what it stands for.
        let (containers, volumes, networks) =
            tokio::join!(engine.containers(None), engine.volumes(), engine.networks());
        let unavailable = |_| PlatformError::EngineUnavailable;
        Ok(Listing {
            containers: containers.map_err(unavailable)?,
            volumes: volumes.map_err(unavailable)?,
            networks: networks.map_err(unavailable)?,
        })
    }

    /// What instance `id` is, from what the engine shows.
    async fn tell(
        &self,
        id: InstanceId,
        listing: &Listing,
    ) -> Outcome<Result<AdoptedInstance, Unadoptable>> {
        let containers = listing.containers_of(id);
        let story = match adoption::story(&containers) {
            Ok(story) => story,
            Err(why) => return Ok(Err(why)),
        };
        let mut instance = adoption::row(id, &story, self.now());
        let Ok(challenge) = self.challenge_of(&instance).await else {
            let Story { challenge, provenance } = story;
            let revision = provenance.revision;
            return Ok(Err(Unadoptable::NoChallenge { challenge, revision }));
        };
        let built = self.images_of(&challenge).await?;
        let spec = match adoption::spec(&story, &containers, &challenge, built) {
            Ok(spec) => spec,
            Err(why) => return Ok(Err(why)),
        };
        let network = &self.shared.config.network;
        let surface = self.surface(id, &spec);
        instance.surface = adoption::with_ports(surface, &network.public_host, &containers);
        let networks = adoption::networks(&spec, &containers, &listing.networks);
        let ports = PortRange { first: network.first_port, last: network.last_port };
        Ok(Ok(AdoptedInstance { instance, spec, networks, ports }))
    }

    /// Gives these instances rows again, from what their containers tell. Nothing of them is
    /// touched, unless something of them is broken: then it is repaired as for any other.
    ///
    /// # Errors
    /// When the store fails or the engine cannot be listed; those adopted until then are.
    pub async fn adopt_unknown(&self, ids: &[InstanceId]) -> Outcome<Adopted> {
        let listing = self.list().await?;
        let mut outcome = Adopted { adopted: Vec::new(), refused: BTreeMap::new() };
        for id in ids {
            let told = match self.tell(*id, &listing).await? {
                Ok(told) => told,
                Err(why) => {
                    outcome.refused.insert(*id, why.to_string());
                    continue;
                }
            };
            let (ours, now) = (self.shared.data.installation(), self.now());
            match self.shared.store.adopt_instance(told, ours, now).await {
                Ok(instance) => {
                    tracing::info!(
                        instance.id = %id, challenge.id = %instance.challenge,
                        "instance {id} of {} is adopted: an operator said so", instance.challenge
                    );
                    queue::trigger(&self.shared, *id);
                    outcome.adopted.push(instance);
                }
                Err(AdoptError::Store(error)) => return Err(error.into()),
                Err(why) => {
                    outcome.refused.insert(*id, why.to_string());
                }
            }
        }
        // What was held is stated anew.
        self.shared.relist_due.notify_one();
        Ok(outcome)
    }

    /// Removes what is left of these instances, each of which a person has looked at. What has
    /// become known meanwhile, or is not there, is left out; gives what was removed.
    ///
    /// # Errors
    /// When the store or the engine fails; what was removed until then is gone, a repeat goes on.
    pub async fn remove_unknown(
        &self,
        ids: &[InstanceId],
    ) -> Outcome<BTreeMap<InstanceId, Unknown>> {
        let mut unknown = self.unknown().await?;
        unknown.retain(|id, _| ids.contains(id));
        let engine = &self.shared.engine;
        for (id, left) in &unknown {
            tracing::info!(
                instance.id = %id, container.n = left.containers.len(),
                "removing what is left of instance {id}, which no row knows: an operator said so"
            );
            for name in &left.containers {
                engine
                    .remove_container(name)
                    .await
                    .map_err(|_| PlatformError::EngineUnavailable)?;
            }
            for name in &left.volumes {
                engine.remove_volume(name).await.map_err(|_| PlatformError::EngineUnavailable)?;
            }
        }
        // Their networks are empty now, and what was held is stated anew.
        self.shared.relist_due.notify_one();
        Ok(unknown)
    }
}
