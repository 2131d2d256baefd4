//! The files that players of one instance get: rendered from its templates, kept on this node.
//!
//! They are derived: the same commit and the same answers give the same bytes. So nothing of them is
//! in the database; what is lost is rendered again, and what belongs to nobody is removed.
//!
//! In:  the row of an instance, the templates at its commit (`sources`).
//! Out: files on disk (`folder`), made by a child process with limits of its own (`child`).
//!
//! # Invariants
//! * What is on disk is whole, and of one incarnation with one surface: another port or other
//!   answers make it wrong as a whole.
//! * No name of an author is ever a path of this machine.
//! * A template and an answer leave this process through pipes only.
//!
//! # Not here
//! When something is rendered (`planner`), what templates may do (`render::attachments`).

mod child;
pub(crate) mod collected;
mod folder;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::executor::answers_of;
use super::shared::Shared;
use super::versions;
use crate::model::id::hex;
use crate::model::{Instance, InstanceId};
use crate::release::spec::InstanceSpec;
use crate::render::attachments::job::{Reply, Request};
use crate::render::attachments::{Address, Facts, Named};
use crate::store::StoreError;
use crate::telemetry::failpoint;

pub(crate) use child::ChildError;
pub use child::{COMMAND, Renderer, TRAFFIC_COMMAND};
pub(crate) use folder::{Folder, RenderedFile};

/// How an error for the owner of an instance begins (`contract/challenges.md` §6.2).
const FAILED: &str = "attachment template render failed: ";

/// Why the files of an instance are not there.
#[derive(Debug, Error)]
pub(crate) enum AttachmentError {
    /// They cannot be rendered, whoever tries again. The text is for the owner.
    #[error("{FAILED}{0}")]
    Template(String),
    /// This machine cannot do it now.
    #[error("could not {what} the attachments of an instance")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Renders what `row` asks for and puts it in the place of what was there.
///
/// # Errors
/// When a template cannot be rendered, or this machine cannot do it now. Then what was there stays.
pub(crate) async fn render(
    shared: &Arc<Shared>,
    row: &Instance,
    spec: &Arc<InstanceSpec>,
) -> Result<(), AttachmentError> {
    let challenge = versions::of(shared, row).await.ok_or_else(|| {
        let revision = row.revision;
        AttachmentError::Template(format!("commit {revision} cannot be read from the mirror"))
    })?;
    let facts = facts(shared, row, spec, &challenge.metadata.name).await?;
    let key = key(shared, row, spec);
    let (mirror, identities) = (Arc::clone(&shared.mirror), Arc::clone(&shared.identities));
    let (revision, wanted) = (row.revision, Arc::clone(spec));
    let read = move || {
        let tree = mirror.tree(revision).map_err(|error| error.to_string())?;
        sources::read(&tree, &challenge.path, &wanted.templates, &identities)
    };
    let sources = blocking(read).await?.map_err(AttachmentError::Template)?;
    let request = Request { templates: sources.templates, files: sources.files, facts };
    let replies = shared.renderer.render(request).await.map_err(|error| match error {
        ChildError::Template(why) => AttachmentError::Template(why),
        ChildError::Spawn(source) => AttachmentError::Io { what: "render", source },
    })?;
    let texts = texts(replies).map_err(AttachmentError::Template)?;
    let files: Vec<_> = sources.targets.into_iter().zip(texts).collect();
    let (folder, id, n_resets) = (shared.attachments.clone(), row.id, row.n_resets);
    failpoint::before("daemon", "render_attachments");
    let written = blocking(move || folder.replace(id, n_resets, &key, &files)).await?;
    failpoint::after("daemon", "render_attachments");
    written.map_err(|source| AttachmentError::Io { what: "write", source })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AttachmentError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AttachmentError::Io { what: "make", source: io::Error::other(error) })
}

/// The texts, or what is wrong with the templates that have none.
fn texts(replies: Vec<Reply>) -> Result<Vec<Vec<u8>>, String> {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for reply in replies {
        match reply {
            Reply::Rendered(text) => texts.push(text),
            Reply::Failed(why) => faults.push(why),
        }
    }
    if faults.is_empty() {
        return Ok(texts);
    }
    let n_more = faults.len().saturating_sub(3);
    faults.truncate(3);
    let more = if n_more > 0 { format!("; and {n_more} more") } else { String::new() };
    Err(format!("{}{more}", faults.join("; ")))
}

/// The variables of `row`.
async fn facts(
    shared: &Shared,
    row: &Instance,
    spec: &InstanceSpec,
    challenge_name: &str,
) -> Result<Facts, StoreError> {
    let team = shared.store.team(row.team).await?;
    let named = |id: String, name: String| Named { id, name };
    let given = || shared.worker.given(row.id).map(|given| given.team).unwrap_or_default();
    let (event, title) = (row.competition.clone(), title_of(shared, &row.competition));
    Ok(Facts {
        answers: answers_of(shared, row, spec),
        instance_id: row.id.to_string(),
        team: named(row.team.to_string(), team.map_or_else(given, |team| team.name)),
        challenge: named(row.challenge.to_string(), challenge_name.to_owned()),
        event: named(event, title),
        services: addresses(row),
    })
}

/// The title of a competition; its id where it is no more.
fn title_of(shared: &Shared, competition: &str) -> String {
    let contests = shared.contests.load();
    let found = contests.all.values().find(|contest| contest.id.as_str() == competition);
    found.map_or_else(|| competition.to_owned(), |contest| contest.title.clone())
}

/// Where players reach each service: its first endpoint.
fn addresses(row: &Instance) -> BTreeMap<String, Address> {
    let mut addresses = BTreeMap::new();
    for endpoint in &row.surface {
        let address = Address { host: endpoint.host.clone(), port: endpoint.public_port() };
        addresses.entry(endpoint.service.to_string()).or_insert(address);
    }
    addresses
}

/// What the files of `row` are made from, as one word: when it differs, they are wrong.
fn key(shared: &Shared, row: &Instance, spec: &InstanceSpec) -> String {
    let mut hash = Sha256::new();
    let mut add = |field: &str| {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    };
    add("ra1");
    add(&row.id.to_string());
    add(&row.revision.to_string());
    add(&row.tree.to_string());
    for template in &spec.templates {
        add(template);
    }
    for (id, answer) in answers_of(shared, row, spec) {
        add(&id);
        add(&answer);
    }
    for (service, address) in addresses(row) {
        add(&service);
        add(&address.host);
        add(&address.port.to_string());
    }
    hex(&hash.finalize())
}

/// Whether the files of `row` are on disk, whole, and made from what it is now. Looks at each of
/// them; nothing is looked at for an instance without templates.
pub(crate) fn is_rendered(shared: &Shared, row: &Instance, spec: &InstanceSpec) -> bool {
    !spec.templates.is_empty()
        && shared.attachments.files(row.id, row.n_resets, Some(&key(shared, row, spec))).is_some()
}

/// The files of `row`; empty while they are not rendered.
pub(crate) fn rendered(shared: &Shared, row: &Instance, spec: &InstanceSpec) -> Vec<RenderedFile> {
    if spec.templates.is_empty() || !row.phase.is_live() {
        return Vec::new();
    }
    let key = key(shared, row, spec);
    shared.attachments.files(row.id, row.n_resets, Some(&key)).unwrap_or_default()
}

/// Opens the file that players of `row` call `name`, if it is rendered.
pub(crate) fn open(
    shared: &Shared,
    row: &Instance,
    spec: &InstanceSpec,
    name: &str,
) -> Option<(RenderedFile, File)> {
    if spec.templates.is_empty() || !row.phase.is_live() {
        return None;
    }
    shared.attachments.open(row.id, row.n_resets, Some(&key(shared, row, spec)), name)
}

/// Removes every file of an instance that is over. A failure costs room, and the next start sweeps.
pub(crate) async fn discard(shared: &Shared, id: InstanceId) {
    let (rendered, collected) = (shared.attachments.clone(), shared.collected.clone());
    failpoint::before("daemon", "discard_attachments");
    let removed = blocking(move || rendered.discard(id).and(collected.discard(id))).await;
    failpoint::after("daemon", "discard_attachments");
    if let Ok(Err(error)) = removed {
        tracing::warn!(
            instance.id = %id, error = %error,
            "could not remove the attachments of instance {id}; the next start removes them"
        );
    }
}

/// Removes what is on disk of instances that are over or that no row knows. Nothing is removed while
/// a lost database is not accepted: an instance that is adopted finds its files again.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn sweep(shared: &Shared) -> Result<(), StoreError> {
    if shared.awaits_acceptance() {
        return Ok(());
    }
    let live = crate::store::InstanceFilter {
        which: crate::store::Which::Live,
        ..crate::store::InstanceFilter::default()
    };
    let live = shared.store.instances(live).await?.into_iter().map(|row| row.id).collect();
    let (rendered, collected) = (shared.attachments.clone(), shared.collected.clone());
    let sweep = move || rendered.keep_only(&live).and(collected.keep_only(&live));
    if let Ok(Err(error)) = blocking(sweep).await {
        tracing::warn!(error = %error, "could not sweep the attachments of earlier instances");
    }
    Ok(())
}
