//! Files that the services of an instance wrote when they started, for its players: a binary with the
//! team's own answers, the very one that runs.
//!
//! In:  the containers of an instance that is usable. Out: copies on disk (`folder`), of one
//! incarnation and of these containers.
//!
//! # Invariants
//! * An instance is not ready before they are there, and a container that is made anew gives them anew.
//! * What a container holds is bytes to us: its size is bounded, no link of it is followed, and its
//!   names are the author's.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::folder::{RenderedFile, Target};
use super::{AttachmentError, blocking};
use crate::daemon::shared::Shared;
use crate::model::{Instance, ServiceName};
use crate::planner::{Observed, ServiceSeen};
use crate::release::spec::{ExportWish, InstanceSpec};
use crate::runtime::{EngineError, NoFile};
use crate::telemetry::failpoint;

/// Largest file, in MiB.
const MAX_MIB: u64 = 64;

/// Why they are not there.
#[derive(Debug, Error)]
pub(crate) enum CollectError {
    /// A service did not write one. The text is for the owner.
    #[error("{0}")]
    Missing(String),
    /// This machine cannot keep them now.
    #[error(transparent)]
    Io(#[from] AttachmentError),
    /// The engine does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Takes what `row` asks for out of its containers, in the place of what was there.
///
/// # Errors
/// When a file is not there, the engine does not give it or the disk does not take it. Then what was
/// there stays.
pub(crate) async fn take(
    shared: &Arc<Shared>,
    row: &Instance,
    spec: &InstanceSpec,
    observed: &Observed,
) -> Result<(), CollectError> {
    let mut files = Vec::new();
    for wish in &spec.exports {
        let ExportWish { service, path, name } = wish;
        let container = container_of(&observed.services, service);
        let found = shared.engine.container_file(container, path, MAX_MIB << 20).await?;
        let file = found.map_err(|why| CollectError::Missing(missing(wish, why)))?;
        let target = Target { name: name.clone(), is_executable: file.is_executable };
        files.push((target, file.bytes.to_vec()));
    }
    let key = key(spec, &observed.services);
    let (folder, id, n_resets) = (shared.collected.clone(), row.id, row.n_resets);
    failpoint::before("daemon", "keep_collected");
    let written = blocking(move || folder.replace(id, n_resets, &key, &files)).await?;
    failpoint::after("daemon", "keep_collected");
    let failed = |source| AttachmentError::Io { what: "write", source };
    Ok(written.map_err(failed)?)
}

/// Whether those of these containers are on disk, whole. Nothing is looked at where none are wanted.
pub(crate) fn is_there(
    shared: &Shared,
    row: &Instance,
    spec: &InstanceSpec,
    services: &BTreeMap<ServiceName, ServiceSeen>,
) -> bool {
    !spec.exports.is_empty()
        && shared.collected.files(row.id, row.n_resets, Some(&key(spec, services))).is_some()
}

/// Those that players of `row` have; while a container is made anew, those of the one before it.
pub(crate) fn files(shared: &Shared, row: &Instance, spec: &InstanceSpec) -> Vec<RenderedFile> {
    if spec.exports.is_empty() || !row.phase.is_live() {
        return Vec::new();
    }
    shared.collected.files(row.id, row.n_resets, None).unwrap_or_default()
}

/// Opens the one that players of `row` call `name`, if there is one.
pub(crate) fn open(
    shared: &Shared,
    row: &Instance,
    spec: &InstanceSpec,
    name: &str,
) -> Option<(RenderedFile, std::fs::File)> {
    if spec.exports.is_empty() || !row.phase.is_live() {
        return None;
    }
    shared.collected.open(row.id, row.n_resets, None, name)
}

/// What they are made from, as one word: which files, of which containers.
fn key(spec: &InstanceSpec, services: &BTreeMap<ServiceName, ServiceSeen>) -> String {
    let word = |wish: &ExportWish| {
        let container = container_of(services, &wish.service);
        format!("{container} {} {}", wish.path, wish.name)
    };
    spec.exports.iter().map(word).collect::<Vec<_>>().join("\n")
}

fn container_of<'a>(
    services: &'a BTreeMap<ServiceName, ServiceSeen>,
    service: &ServiceName,
) -> &'a str {
    services.get(service).map(|seen| seen.container.as_str()).unwrap_or_default()
}

fn missing(wish: &ExportWish, why: NoFile) -> String {
    let ExportWish { service, path, name } = wish;
    match why {
        NoFile::Missing => format!(
            "the file `{name}`: service `{service}` was usable and had not written {path}: write it before the health check passes, and not to a tmpfs"
        ),
        NoFile::NotRegular => {
            format!("the file `{name}`: {path} of service `{service}` is no regular file")
        }
        NoFile::TooLarge => {
            format!("the file `{name}`: {path} of service `{service}` is larger than {MAX_MIB} MiB")
        }
    }
}
