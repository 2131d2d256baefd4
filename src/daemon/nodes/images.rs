//! Images on all nodes together: how far they are, which decides whether a version may go live, and how one
//! gets from the machine that built it to the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use super::super::shared::Shared;
use crate::builder::Supplied;
use crate::model::{BuildKey, BuildState, Duty, NodeId};
use crate::node::client::ImageReply;
use crate::planner::supply::{self, Answer, ERRAND_SECS, Errand, Ground};
use crate::release::spread::{Reach, spread};
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
}

impl Errands {
    pub(super) fn new() -> Self {
        Self { told: Mutex::default(), transfers: Arc::new(Semaphore::new(TRANSFERS)) }
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

/// What `asker` is told that wants the image of `key`.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn supply(
    shared: &Shared,
    asker: &NodeId,
    key: BuildKey,
) -> Result<ImageReply, StoreError> {
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
            let saved = shared.engine.save(&id).await;
            saved.map(|bytes| Supplied { id, bytes }).map_err(|error| Chain(&error).to_string())
        }
        Some(node) => match roster.get(&node) {
            Some(known) => known.link.image(key).await.map_err(|error| Chain(&error).to_string()),
            None => return Ok(ImageReply::Wait),
        },
    };
    match found {
        Ok(Supplied { id, bytes }) => {
            let bytes = bytes.inspect(move |_| {
                // Until the last byte.
                let _ = &permit;
            });
            Ok(ImageReply::Image(Supplied { id, bytes: bytes.boxed() }))
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
