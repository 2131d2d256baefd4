//! Images on all nodes together: how far they are, which decides whether a version may go live, and how one
//! gets from the machine that built it to the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use super::super::shared::Shared;
use crate::builder::{Carrier, Supplied};
use crate::config::{RegistryConfig, Secret, SecretError};
use crate::model::{BuildKey, BuildState, Duty, NodeId};
use crate::node::client::ImageReply;
use crate::planner::supply::{self, Answer, ERRAND_SECS, Errand, Ground};
use crate::release::spread::{Reach, spread};
use crate::runtime::{EngineError, Registry};
use crate::store::StoreError;
use crate::telemetry::Chain;

/// Images that are on their way at a time; more wait.
const TRANSFERS: usize = 4;
/// Most errands that are remembered.
const MAX_ERRANDS: usize = 5_000;

/// Who builds what for the others, and what is on its way.
#[derive(Debug)]
pub(crate) struct Errands {
    told: Mutex<BTreeMap<BuildKey, Errand>>,
    transfers: Arc<Semaphore>,
    /// What was pushed: id and digest by key and repository. It outlives who pushed it.
    pushed: Mutex<BTreeMap<(BuildKey, String), (String, String)>>,
}

impl Errands {
    pub(super) fn new() -> Self {
        Self {
            told: Mutex::default(),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            pushed: Mutex::default(),
        }
    }

    /// Where an image is that was pushed to `repository`.
    pub(crate) fn pushed(&self, key: BuildKey, repository: &str) -> Option<Supplied> {
        let pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, digest) = pushed.get(&(key, repository.to_owned()))?.clone();
        Some(Supplied { id, carrier: Carrier::Registry(digest) })
    }

    fn remember(&self, key: BuildKey, repository: &str, id: &str, digest: &str) {
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        if pushed.len() >= MAX_ERRANDS {
            // Asking who has it costs a push of nothing new.
            pushed.clear();
        }
        pushed.insert((key, repository.to_owned()), (id.to_owned(), digest.to_owned()));
    }
}

/// The state of every image, as the gate of releases sees it: of this machine where it runs instances,
/// and of every node that is heard of and on duty. One that is silent or off duty holds nobody up.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn states(shared: &Shared) -> Result<BTreeMap<BuildKey, BuildState>, StoreError> {
    let own = shared.store.build_states().await?;
    let roster = shared.nodes.roster();
    if roster.is_empty() && shared.config.nodes.local {
        return Ok(own);
    }
    let now = shared.now();
    let patience = shared.config.nodes.lost_after_secs;
    let counts =
        |node: &crate::model::Node| node.duty == Duty::Active && node.is_heard(now, patience);
    let mut all: Vec<&BTreeMap<BuildKey, BuildState>> = roster
        .values()
        .filter(|known| counts(&known.node))
        .map(|known| &known.node.report.builds)
        .collect();
    if shared.config.nodes.local {
        all.push(&own);
    }
    Ok(spread(&all, Reach::of(shared.config.release.canary)))
}

/// The registry of `config` with the login in it, which is read anew.
///
/// # Errors
/// When the password cannot be read.
pub(crate) fn registry(config: &RegistryConfig) -> Result<Option<Registry>, SecretError> {
    let Some(repository) = config.repository.clone() else { return Ok(None) };
    let login = match (&config.username, &config.password_file) {
        (Some(name), Some(file)) => Some((name.clone(), Secret::read(file)?.reveal().clone())),
        _ => None,
    };
    Ok(Some(Registry { repository, login }))
}

/// Image `id` of this machine: pushed where `repository` is the one that we push to, else as bytes.
///
/// # Errors
/// When the engine does not give it.
pub(crate) async fn hand_over(
    shared: &Shared,
    key: BuildKey,
    id: String,
    repository: Option<&str>,
) -> Result<Supplied, EngineError> {
    let config = &shared.config.registry;
    // A repository that somebody else names is nothing that images or a password are sent to.
    if repository.is_some() && config.repository.as_deref() == repository {
        let pushed = match registry(config) {
            Ok(Some(registry)) => shared
                .engine
                .push(&id, key, &registry)
                .await
                .map_err(|error| Chain(&error).to_string()),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(Chain(&error).to_string()),
        };
        match pushed {
            Ok(digest) => return Ok(Supplied { id, carrier: Carrier::Registry(digest) }),
            Err(why) => tracing::warn!(
                build.key = %key.short(), error = %why,
                "an image goes by way of the platform, because it could not be pushed to the registry: {why}"
            ),
        }
    }
    let bytes = shared.engine.save(&id).await?;
    Ok(Supplied { id, carrier: Carrier::Bytes(bytes) })
}

/// What `asker` is told that wants the image of `key`.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn supply(
    shared: &Shared,
    asker: &NodeId,
    key: BuildKey,
    repository: Option<&str>,
) -> Result<ImageReply, StoreError> {
    if let Some(pushed) = repository.and_then(|name| shared.nodes.errands.pushed(key, name)) {
        return Ok(ImageReply::Image(pushed));
    }
    let now = shared.now();
    let own = shared.store.build(key).await?;
    let roster = shared.nodes.roster();
    let patience = shared.config.nodes.lost_after_secs;
    let heard = roster.values().filter(|known| known.node.is_heard(now, patience));
    let of = |known: &Arc<super::Known>| {
        Some((known.node.id.clone(), *known.node.report.builds.get(&key)?))
    };
    let nodes = heard.filter_map(of).collect();
    let answer = {
        let mut told = shared.nodes.errands.told.lock().unwrap_or_else(PoisonError::into_inner);
        let own = own.as_ref().filter(|_| shared.config.nodes.local).map(|build| build.state);
        let ground = Ground { own, nodes, errand: told.get(&key).cloned() };
        let answer = supply::answer(&ground, asker, now);
        if answer == Answer::Build {
            // Whoever was told longest ago builds it by now, or never will.
            while told.len() >= MAX_ERRANDS {
                let oldest = told.iter().min_by_key(|(_, errand)| errand.until);
                let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
                told.remove(&oldest);
            }
            let errand = Errand { node: asker.clone(), until: now.plus_secs(ERRAND_SECS) };
            told.insert(key, errand);
        }
        answer
    };
    let holder = match answer {
        Answer::Build => return Ok(ImageReply::Build),
        Answer::Wait => return Ok(ImageReply::Wait),
        Answer::Own => None,
        Answer::From(node) => Some(node),
    };
    let Ok(permit) = Arc::clone(&shared.nodes.errands.transfers).try_acquire_owned() else {
        return Ok(ImageReply::Wait);
    };
    let found = match holder {
        None => {
            let Some(id) = own.and_then(|build| build.image) else { return Ok(ImageReply::Wait) };
            let handed = hand_over(shared, key, id, repository).await;
            handed.map_err(|error| Chain(&error).to_string())
        }
        Some(node) => match roster.get(&node) {
            Some(known) => {
                known.link.image(key, repository).await.map_err(|error| Chain(&error).to_string())
            }
            None => return Ok(ImageReply::Wait),
        },
    };
    match found {
        Ok(Supplied { id, carrier: Carrier::Bytes(bytes) }) => {
            let bytes = bytes.inspect(move |_| {
                // Until the last byte.
                let _ = &permit;
            });
            Ok(ImageReply::Image(Supplied { id, carrier: Carrier::Bytes(bytes.boxed()) }))
        }
        Ok(Supplied { id, carrier: Carrier::Registry(digest) }) => {
            if let Some(repository) = repository {
                shared.nodes.errands.remember(key, repository, &id, &digest);
            }
            Ok(ImageReply::Image(Supplied { id, carrier: Carrier::Registry(digest) }))
        }
        Err(why) => {
            tracing::warn!(
                build.key = %key.short(), node.id = %asker, error = %why,
                "an image cannot be handed to node {asker}, which builds it: {why}"
            );
            Ok(ImageReply::Build)
        }
    }
}
