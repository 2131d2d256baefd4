//! Files of players that are stored encrypted: opened when they are asked for, and looked at before
//! a version goes live.
//!
//! # Invariants
//! * What goes live can be handed out: a version with an attachment that this node cannot decrypt
//!   stays back, and its condition says which one and why.
//! * A plaintext is in memory only, while it is on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::shared::{Shared, Statement};
use crate::catalog::Catalog;
use crate::model::{
    Attachment, Challenge, ChallengeId, ConditionStatus, ConditionType, Revision, Scope, Tree,
    TreeError, TreeId,
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
    let challenges =
        promote.iter().filter_map(|id| head.catalog.folders.get(id)?.challenge.clone());
    let sealed = look(shared, revision, challenges).await;
    promote.retain(|id| sealed.iter().all(|(sealed, _)| sealed.id != *id));
    for (challenge, why) in sealed {
        let id = challenge.id.clone();
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

/// Every version of `catalog`, which `revision` declares, with a file that cannot be handed out, and
/// why.
pub(crate) async fn sealed(
    shared: &Arc<Shared>,
    revision: Revision,
    catalog: &Catalog,
) -> BTreeMap<(ChallengeId, TreeId), String> {
    let challenges = catalog.folders.values().filter_map(|folder| folder.challenge.clone());
    let sealed = look(shared, revision, challenges).await.into_iter();
    sealed.map(|(challenge, why)| ((challenge.id.clone(), challenge.tree), why)).collect()
}

/// Those of `challenges` with a file that cannot be handed out, and why.
async fn look(
    shared: &Arc<Shared>,
    revision: Revision,
    challenges: impl Iterator<Item = Arc<Challenge>>,
) -> Vec<(Arc<Challenge>, String)> {
    let is_secret =
        |it: &Arc<Challenge>| it.attachments.iter().any(|attachment| attachment.is_encrypted);
    let challenges: Vec<_> = challenges.filter(is_secret).collect();
    if challenges.is_empty() {
        return Vec::new();
    }
    let (mirror, identities) = (Arc::clone(&shared.mirror), Arc::clone(&shared.identities));
    let wanted = challenges.clone();
    let look = move || {
        let tree = mirror.tree(revision);
        let fault = |challenge: Arc<Challenge>| {
            let why = match &tree {
                Ok(tree) => first_fault(tree, &challenge, &identities)?,
                Err(error) => error.to_string(),
            };
            Some((challenge, why))
        };
        wanted.into_iter().filter_map(fault).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| {
        let nobody_looked = "its files could not be looked at".to_owned();
        challenges.into_iter().map(|challenge| (challenge, nobody_looked.clone())).collect()
    })
}

fn first_fault(tree: &dyn Tree, challenge: &Challenge, identities: &Identities) -> Option<String> {
    let encrypted = challenge.attachments.iter().filter(|file| file.is_encrypted);
    let mut faults =
        encrypted.filter_map(|file| read(tree, &challenge.path, file, identities).err());
    faults.next().map(|error| crate::telemetry::chain::Chain(&error).to_string())
}
