//! Files of built images that players may download (`exports` of `metadata.yaml`): taken out of the
//! image once it is built, kept by their digest, the same for everybody. Those that each instance has
//! of its own are taken out of its containers (`attachments::collected`).
//!
//! In:  a version with its images. Out: a file below `exports/` in the data directory and a row that
//! says which image has it; or why there is none.
//!
//! # Invariants
//! * No version goes live while a file of it is missing; it is told which, and why.
//! * A file is of exactly the image that an instance runs: an image that is built anew has its own.
//! * What no row names is removed; what a row names and is not on disk is taken out again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::builds;
use super::shared::{Shared, Statement};
use crate::catalog::Catalog;
use crate::model::id::hex;
use crate::model::{
    BuildKey, Challenge, ChallengeId, ConditionStatus, ConditionType, Export, NodeId, Revision,
    Scope, ServiceName, TreeId,
};
use crate::release::identity::build_units;
use crate::store::{ExportPlace, Exported, StoreError};
use crate::telemetry::failpoint;

/// Largest file that is taken out of an image.
const MAX_BYTES: u64 = 64 << 20;

/// Why there is no file yet: the engine, the disk or the database did not take part.
const UNREAD: &str = "could not be read now from the image";

/// When what could not be read is looked for again.
const AGAIN_MILLIS: i64 = 5_000;

/// The reason of a version that stays back.
const MISSING: &str = "ExportMissing";

/// A file of an image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportedFile {
    /// The name that players see.
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
}

/// Takes every challenge out of `promote` that has a file missing, and states which.
pub(crate) async fn withhold(
    shared: &Arc<Shared>,
    revision: Revision,
    promote: &mut Vec<ChallengeId>,
) {
    let head = shared.head.load();
    let mut ready = Vec::new();
    for id in promote.drain(..) {
        let challenge = head.catalog.folders.get(&id).and_then(|folder| folder.challenge.clone());
        let Some(why) = missing(shared, challenge.as_deref()).await else {
            ready.push(id);
            continue;
        };
        tracing::warn!(challenge.id = %id, "challenge {id} stays back: {why}");
        let statement = Statement {
            scope: Scope::Challenge(id),
            kind: ConditionType::Released,
            status: ConditionStatus::False,
            reason: MISSING,
            message: why,
            revision: Some(revision),
        };
        shared.state(statement).await;
    }
    *promote = ready;
}

/// Every version of `catalog` whose images are built and that has a file missing, and which.
pub(crate) async fn sealed(
    shared: &Arc<Shared>,
    catalog: &Catalog,
) -> BTreeMap<(ChallengeId, TreeId), String> {
    let mut sealed = BTreeMap::new();
    for challenge in catalog.folders.values().filter_map(|folder| folder.challenge.as_ref()) {
        if let Some(why) = missing(shared, Some(challenge)).await {
            sealed.insert((challenge.id.clone(), challenge.tree), why);
        }
    }
    sealed
}

/// The first file of `challenge` that is not there, and why. One that was never looked for is taken
/// out of its image now. `None` also while an image is not built: then that is what is missing.
async fn missing(shared: &Arc<Shared>, challenge: Option<&Challenge>) -> Option<String> {
    let challenge = challenge.filter(|it| common(it).next().is_some())?;
    let failed = |error: StoreError| Some(crate::telemetry::chain::Chain(&error).to_string());
    let images = match builds::images_of(shared, challenge).await {
        Ok(images) => images,
        Err(error) => return failed(error),
    };
    let known = match shared.store.exports(&NodeId::local()).await {
        Ok(known) => known,
        Err(error) => return failed(error),
    };
    if let Some(why) = diverging(shared, challenge).await {
        return Some(why);
    }
    for (nth, export) in common(challenge) {
        let image = images.get(&export.service)?;
        if let Err(why) = ensure(shared, challenge, export, image, &known).await {
            if why == UNREAD {
                // Nothing else may come that looks again.
                shared.releases.wake_by(shared.now().plus_millis(AGAIN_MILLIS));
            }
            let Export { service, path, .. } = export;
            return Some(format!("exports[{nth}]: {path} {why} of service {service}"));
        }
    }
    None
}

/// The first file of `challenge` that is not the same on all nodes: teams would attack different ones.
async fn diverging(shared: &Shared, challenge: &Challenge) -> Option<String> {
    let roster = shared.nodes.roster();
    if roster.is_empty() {
        return None;
    }
    let own = shared.store.exports_by_key(&NodeId::local()).await.unwrap_or_default();
    for (nth, export) in common(challenge) {
        let place = format!("{} {}", key_of(challenge, &export.service)?, export.path);
        let theirs = roster.iter().filter_map(|(id, known)| {
            Some((id.to_string(), known.node.report.exports.get(&place)?.clone()))
        });
        let ours = own.get(&place).map(|digest| (NodeId::local().to_string(), digest.clone()));
        let all: Vec<(String, String)> = theirs.chain(ours).collect();
        let (first, digest) = all.first()?;
        if let Some((other, _)) = all.iter().find(|(_, it)| it != digest) {
            let Export { service, path, .. } = export;
            return Some(format!(
                "exports[{nth}]: {path} of service {service} is another file on node {other} than on {first}: make the build reproducible (fixed versions, no times), or push what is built"
            ));
        }
    }
    None
}

/// Takes out what is live and what comes next, where a platform decides what goes live.
pub(crate) async fn take(shared: &Arc<Shared>) {
    let live = shared.live.load();
    let head = Arc::clone(&shared.head.load().catalog);
    let next = head.folders.values().filter_map(|folder| folder.challenge.as_ref());
    for challenge in live.values().map(|live| &live.challenge).chain(next) {
        if let Some(why) = missing(shared, Some(challenge)).await {
            tracing::warn!(challenge.id = %challenge.id, "a file of {} cannot be downloaded: {why}", challenge.id);
        }
    }
    // The platform compares it with what others have.
    shared.worker.poke.notify_one();
}

/// Makes sure that the file is there.
async fn ensure(
    shared: &Arc<Shared>,
    challenge: &Challenge,
    export: &Export,
    image: &str,
    known: &BTreeMap<ExportPlace, Exported>,
) -> Result<(), String> {
    let place = (image.to_owned(), export.path.clone());
    match known.get(&place) {
        Some(Exported::Fault(why)) => return Err(why.clone()),
        Some(Exported::File { sha256, size_bytes }) if is_kept(shared, sha256, *size_bytes) => {
            return Ok(());
        }
        Some(Exported::File { .. }) | None => {}
    }
    let Some(key) = key_of(challenge, &export.service) else {
        return Err("is not in the image".to_owned());
    };
    let exported = match shared.engine.image_file(image, &export.path, MAX_BYTES).await {
        Err(_) => return Err(UNREAD.to_owned()),
        Ok(Err(no_file)) => Exported::Fault(no_file.to_string()),
        Ok(Ok(file)) => {
            let (folder, size_bytes) = (folder(shared), file.bytes.len() as u64);
            failpoint::before("daemon", "keep_export");
            let kept = tokio::task::spawn_blocking(move || keep(&folder, &file.bytes)).await;
            failpoint::after("daemon", "keep_export");
            match kept {
                Ok(Ok(sha256)) => Exported::File { sha256, size_bytes },
                Ok(Err(_)) | Err(_) => return Err(UNREAD.to_owned()),
            }
        }
    };
    let noted = shared.store.note_export(&NodeId::local(), key, place, exported.clone()).await;
    match (noted, exported) {
        (Err(_), _) => Err(UNREAD.to_owned()),
        (Ok(()), Exported::Fault(why)) => Err(why),
        (Ok(()), Exported::File { .. }) => Ok(()),
    }
}

/// The files that are the same for everybody, with their places in the list.
fn common(challenge: &Challenge) -> impl Iterator<Item = (usize, &Export)> {
    challenge.metadata.exports.iter().enumerate().filter(|(_, export)| !export.is_per_team)
}

fn key_of(challenge: &Challenge, service: &ServiceName) -> Option<BuildKey> {
    build_units(challenge).into_iter().find(|unit| unit.service == *service).map(|unit| unit.key)
}

/// The files of a version whose services run `images`, as far as they are there.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn files_of(
    shared: &Shared,
    challenge: &Challenge,
    images: &BTreeMap<ServiceName, String>,
) -> Result<Vec<ExportedFile>, StoreError> {
    if common(challenge).next().is_none() {
        return Ok(Vec::new());
    }
    let known = shared.store.exports(&NodeId::local()).await?;
    let file = |(_, export): (usize, &Export)| {
        let image = images.get(&export.service)?.clone();
        match known.get(&(image, export.path.clone()))? {
            Exported::File { sha256, size_bytes } => Some(ExportedFile {
                name: export.name.clone(),
                size_bytes: *size_bytes,
                sha256: sha256.clone(),
            }),
            Exported::Fault(_) => None,
        }
    };
    Ok(common(challenge).filter_map(file).collect())
}

/// Opens a file that is there.
pub(crate) fn open(shared: &Shared, file: &ExportedFile) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(folder(shared).join(&file.sha256))
}

/// Takes out again what is live and got lost, and removes what no image has any more.
pub(crate) async fn heal(shared: &Arc<Shared>) {
    for live in shared.live.load().values() {
        if let Some(why) = missing(shared, Some(&live.challenge)).await {
            let id = &live.challenge.id;
            tracing::warn!(challenge.id = %id, "a file of {id} cannot be downloaded: {why}");
        }
    }
    let Ok(wanted) = shared.store.export_digests().await else { return };
    let folder = folder(shared);
    let swept = tokio::task::spawn_blocking(move || sweep(&folder, &wanted)).await;
    if let Ok(Err(error)) = swept {
        tracing::warn!(error = %error, "could not sweep the exported files");
    }
}

fn folder(shared: &Shared) -> PathBuf {
    shared.data.path().join("exports")
}

fn is_kept(shared: &Shared, sha256: &str, size_bytes: u64) -> bool {
    let found = fs::symlink_metadata(folder(shared).join(sha256));
    found.is_ok_and(|it| it.is_file() && it.len() == size_bytes)
}

/// Writes a file under its digest, whole or not at all; its digest.
fn keep(folder: &Path, bytes: &[u8]) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let sha256 = hex(&Sha256::digest(bytes));
    let partial = folder.join(format!("{sha256}.partial"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(&sha256))?;
    File::open(folder)?.sync_all()?;
    Ok(sha256)
}

fn sweep(folder: &Path, wanted: &BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_wanted = entry.file_name().to_str().is_some_and(|name| wanted.contains(name));
        // One that is being written is younger than this look.
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if !is_wanted && age > std::time::Duration::from_secs(600) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
