//! Tells from its containers what an instance is that no row knows. Pure.
//!
//! In:  the containers and networks of one instance, the challenge at the commit that they name,
//!      the images of its services.
//! Out: the row as it was, or why it cannot be told.
//!
//! # Invariants
//! * What is adopted plans no action if nothing of it was broken: the specification that is worked
//!   out anew has the very hash that the containers bear.
//!
//! # Not here
//! Reading the challenge, writing the row (`platform::recover`, `store::adoption`).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::model::{
    Challenge, ChallengeId, Endpoint, Instance, InstanceId, InstancePhase, NodeId, Provenance,
    Revision, ServiceName, Timestamp, VpnProtocol,
};
use crate::release::identity::spec_hash;
use crate::release::spec::{InstanceSpec, SpecError, instance_spec};
use crate::runtime::{ContainerSeen, NetworkSeen};
use crate::store::{AdoptedNetwork, NetworkKind};

/// Why an instance that no row knows cannot be adopted. The words are for operators.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unadoptable {
    /// Nothing tells whose it is.
    #[error("only volumes of it are left")]
    NoContainer,
    /// Its row says that it ended.
    #[error("it is over: this is left of it, and goes by itself unless that is held")]
    Over,
    /// An older flagops made it.
    #[error("its containers were made by an older flagops and do not say whose they are")]
    NoProvenance,
    /// Its containers tell different stories.
    #[error("its containers contradict each other about where they come from")]
    Contradiction,
    /// The mirror has lost the commit, or the challenge is not in it.
    #[error(
        "challenge {challenge} cannot be read at commit {revision}: does the remote still have it?"
    )]
    NoChallenge {
        /// The challenge.
        challenge: ChallengeId,
        /// The commit.
        revision: Revision,
    },
    /// A service has no container, and its image is not known.
    #[error(transparent)]
    NoImage(#[from] SpecError),
    /// What would be made today is not what runs.
    #[error(
        "it runs something else than challenge {challenge} at commit {revision} is by this flagops"
    )]
    OtherSpec {
        /// The challenge.
        challenge: ChallengeId,
        /// The commit.
        revision: Revision,
    },
}

/// What the containers of one instance tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) challenge: ChallengeId,
    pub(crate) provenance: Provenance,
}

/// The story of the newest incarnation among `containers`, all of one instance.
pub(crate) fn story(containers: &[&ContainerSeen]) -> Result<Story, Unadoptable> {
    if containers.is_empty() {
        return Err(Unadoptable::NoContainer);
    }
    let mut stories: Vec<_> = containers
        .iter()
        .filter_map(|seen| {
            let (challenge, provenance) = (seen.challenge.clone()?, seen.provenance.clone()?);
            Some(Story { challenge, provenance })
        })
        .collect();
    stories.sort_by_key(|it| (it.provenance.n_resets, it.provenance.ttl_secs));
    let newest = stories.pop().ok_or(Unadoptable::NoProvenance)?;
    let is_of_it = |other: &Story| {
        // A renewal between two containers of one start is no contradiction.
        let ttl_secs = newest.provenance.ttl_secs;
        let other_provenance = Provenance { ttl_secs, ..other.provenance.clone() };
        other.challenge == newest.challenge && other_provenance == newest.provenance
    };
    let mut peers =
        stories.iter().filter(|it| it.provenance.n_resets == newest.provenance.n_resets);
    if peers.all(is_of_it) { Ok(newest) } else { Err(Unadoptable::Contradiction) }
}

/// The row that `story` tells of. Its lease begins anew, and it has to prove that it works.
pub(crate) fn row(id: InstanceId, story: &Story, now: Timestamp) -> Instance {
    let Provenance { team, competition, revision, tree, created_at, .. } = story.provenance.clone();
    Instance {
        id,
        challenge: story.challenge.clone(),
        team,
        competition,
        node: NodeId::local(),
        revision,
        tree,
        phase: InstancePhase::Probing,
        error: None,
        stop_reason: None,
        surface: Vec::new(),
        created_at,
        // It was usable before, as far as anybody knows: what fails now is repaired.
        started_at: created_at.plus_millis(1),
        stopped_at: None,
        ttl_secs: story.provenance.ttl_secs,
        expires_at: now.plus_secs(i64::from(story.provenance.ttl_secs)),
        n_restarts: 0,
        n_resets: story.provenance.n_resets,
        answer_epoch: story.provenance.answer_epoch,
        last_death: None,
    }
}

/// What the instance consists of: the challenge with the images that its containers run; `built`
/// for services without a container.
pub(crate) fn spec(
    story: &Story,
    containers: &[&ContainerSeen],
    challenge: &Challenge,
    built: BTreeMap<ServiceName, String>,
) -> Result<InstanceSpec, Unadoptable> {
    let current = || {
        let n_resets = story.provenance.n_resets;
        let is_current = move |seen: &&&ContainerSeen| {
            seen.provenance.as_ref().is_some_and(|it| it.n_resets == n_resets)
        };
        containers.iter().filter(is_current)
    };
    let mut images = built;
    images.extend(current().filter_map(|seen| Some((seen.service.clone()?, seen.image.clone()))));
    let spec = instance_spec(challenge, &images)?;
    let is_theirs = |spec: &InstanceSpec| {
        let hash = spec_hash(spec, story.provenance.n_resets);
        current().all(|seen| seen.spec_hash == hash.as_str())
    };
    // The hash says what its gateway speaks: the settings of today may be others.
    let mut spoken = VpnProtocol::ALL.into_iter().map(|it| spec.clone().speaking(it));
    spoken.find(is_theirs).ok_or_else(|| {
        let (challenge, revision) = (story.challenge.clone(), story.provenance.revision);
        Unadoptable::OtherSpec { challenge, revision }
    })
}

/// Gives each endpoint the port that its container publishes; 0 where there is none yet. What is
/// published for everybody, because it was started before there was an ingress, stays at `public_host`.
pub(crate) fn with_ports(
    surface: Vec<Endpoint>,
    public_host: &str,
    containers: &[&ContainerSeen],
) -> Vec<Endpoint> {
    let published_of = |endpoint: &Endpoint| {
        let of_service =
            containers.iter().filter(|seen| seen.service.as_ref() == Some(&endpoint.service));
        of_service
            .flat_map(|seen| &seen.published)
            .find(|it| it.target == endpoint.target && it.transport == endpoint.transport)
    };
    let with_port = |mut endpoint: Endpoint| {
        let published = published_of(&endpoint);
        endpoint.port = published.map_or(0, |it| it.port);
        if endpoint.door.is_some() && published.is_some_and(|it| !it.address.is_loopback()) {
            endpoint.door = None;
            public_host.clone_into(&mut endpoint.host);
        }
        endpoint
    };
    surface.into_iter().map(with_port).collect()
}

/// The networks that its containers say fulfil its wishes, as far as the engine has them.
pub(crate) fn networks(
    spec: &InstanceSpec,
    containers: &[&ContainerSeen],
    seen: &[NetworkSeen],
) -> Vec<AdoptedNetwork> {
    let find = |wish: &str| {
        let id = containers.iter().find_map(|container| container.wishes.get(wish))?;
        let network = seen.iter().find(|network| network.id == *id)?;
        let kind = NetworkKind::of(network.is_internal, spec.demands.egress);
        let subnet = network.subnet?;
        Some(AdoptedNetwork { wish: wish.to_owned(), engine_id: id.clone(), subnet, kind })
    };
    spec.networks.iter().filter_map(|wish| find(&wish.name)).collect()
}
