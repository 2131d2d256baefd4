//! Files of players that are stored encrypted: opened when they are asked for, and looked at before
//! a version goes live.
//!
//! # Invariants
//! * What goes live can be handed out: a version with an attachment that this node cannot decrypt
//!   stays back, and its condition says which one and why.
//! * A plaintext is in memory only, while it is on its way.

use std::sync::Arc;

use thiserror::Error;

use super::shared::{Shared, Statement};
use crate::git::Mirror;
use crate::model::{
    Attachment, Challenge, ChallengeId, ConditionStatus, ConditionType, Revision, Scope, Tree,
    TreeError,
};
use crate::secrets::{DecryptError, Identities, MAX_FILE_BYTES};

/// Largest attachment that is served.
const MAX_ATTACHMENT_BYTES: u64 = 100 << 20;

/// Why an attachment could not be handed out.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The mirror did not give it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// None of our identities opens it.
    #[error("`{path}` cannot be decrypted")]
    Decrypt {
        /// The file in the repository.
        path: String,
        /// Why, and what to do.
        source: DecryptError,
    },
}

/// The bytes of `attachment`, decrypted when it is stored encrypted. Call it from a blocking task.
pub(crate) fn read(
    tree: &dyn Tree,
    challenge_path: &str,
    attachment: &Attachment,
    identities: &Identities,
) -> Result<Vec<u8>, ReadError> {
    let path = format!("{challenge_path}/attachments/{}", attachment.name);
    if !attachment.is_encrypted {
        return Ok(tree.read(&path, MAX_ATTACHMENT_BYTES)?);
    }
    let bytes = tree.read(&path, MAX_FILE_BYTES)?;
    match identities.decrypt(&bytes) {
        Ok(plain) => Ok(plain.as_ref().to_vec()),
        Err(source) => Err(ReadError::Decrypt { path, source }),
    }
}

/// Takes every challenge out of `promote` whose attachments at `revision` this node cannot decrypt,
/// and states why.
pub(crate) async fn withhold(
    shared: &Arc<Shared>,
    revision: Revision,
    promote: &mut Vec<ChallengeId>,
) {
    let head = shared.head.load();
    let challenges: Vec<Arc<Challenge>> = promote
        .iter()
        .filter_map(|id| head.catalog.folders.get(id)?.challenge.clone())
        .filter(|challenge| challenge.attachments.iter().any(|file| file.is_encrypted))
        .collect();
    if challenges.is_empty() {
        return;
    }
    let (mirror, identities) = (Arc::clone(&shared.mirror), Arc::clone(&shared.identities));
    let ids: Vec<ChallengeId> = challenges.iter().map(|challenge| challenge.id.clone()).collect();
    let look = move || closed(&mirror, revision, &challenges, &identities);
    let Ok(closed) = tokio::task::spawn_blocking(look).await else {
        // Nobody looked: they stay back until the next pass.
        promote.retain(|id| !ids.contains(id));
        return;
    };
    promote.retain(|id| closed.iter().all(|(closed, _)| closed != id));
    for (id, why) in closed {
        tracing::warn!(challenge.id = %id, "challenge {id} stays back: {why}");
        shared
            .state(Statement {
                scope: Scope::Challenge(id),
                kind: ConditionType::Released,
                status: ConditionStatus::False,
                reason: NOT_DECRYPTABLE,
                message: why,
                revision: Some(revision),
            })
            .await;
    }
}

/// The reason of a version that stays back.
pub(crate) const NOT_DECRYPTABLE: &str = "NotDecryptable";

/// Those of `challenges` with a file that cannot be handed out, and why.
fn closed(
    mirror: &Mirror,
    revision: Revision,
    challenges: &[Arc<Challenge>],
    identities: &Identities,
) -> Vec<(ChallengeId, String)> {
    let tree = mirror.tree(revision);
    let fault = |challenge: &Arc<Challenge>| {
        let why = match &tree {
            Ok(tree) => first_fault(tree, challenge, identities)?,
            Err(error) => error.to_string(),
        };
        Some((challenge.id.clone(), why))
    };
    challenges.iter().filter_map(fault).collect()
}

fn first_fault(tree: &dyn Tree, challenge: &Challenge, identities: &Identities) -> Option<String> {
    let encrypted = challenge.attachments.iter().filter(|file| file.is_encrypted);
    let mut faults =
        encrypted.filter_map(|file| read(tree, &challenge.path, file, identities).err());
    faults.next().map(|error| crate::telemetry::chain::Chain(&error).to_string())
}
