//! Files that players download: of a challenge, and of an instance.
//!
//! # Invariants
//! * Only what is listed is handed out, under exactly the listed name; a template never.
//! * The tag of a file of an instance is of no other instance, whatever the content: what one team
//!   may keep is nothing that another may be answered with.
//! * What is on disk is handed out as an open file, never as its bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{Outcome, Platform, PlatformError};
use crate::daemon::attachments::collected;
use crate::daemon::exports::{self, ExportedFile};
use crate::daemon::{attachments, builds, nodes, secrets, specs, versions};
use crate::model::id::hex;
use crate::model::{
    Attachment, Caller, Challenge, ChallengeId, Instance, NodeId, Revision, ServiceName, TeamId,
};
use crate::node::NodeError;
use crate::release::spec::InstanceSpec;

/// Downloads of one team at a time.
const MAX_DOWNLOADS: u32 = 8;

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The name it is downloaded by.
    pub name: String,
    /// How much is downloaded.
    pub size_bytes: u64,
}

/// A file on its way to a player.
#[derive(Debug)]
pub struct Download {
    /// Its content.
    pub content: Content,
    /// Changes with the content, and with the instance that it is of: 32 hex digits.
    pub tag: String,
}

/// The content of a file.
#[derive(Debug)]
pub enum Content {
    /// It was read from git, or decrypted.
    Bytes(Vec<u8>),
    /// It is on disk: the open file and its size.
    File(File, u64),
}

/// How many downloads each team has under way.
#[derive(Debug, Clone, Default)]
pub struct Downloads(Arc<Mutex<BTreeMap<TeamId, u32>>>);

/// One download under way; it ends when this is dropped.
#[derive(Debug)]
pub struct DownloadSlot {
    downloads: Downloads,
    team: Option<TeamId>,
}

impl Downloads {
    /// Room for one more of `team`; administrators always have it.
    fn begin(&self, team: Option<TeamId>) -> Option<DownloadSlot> {
        if let Some(team) = team {
            let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let n = under_way.entry(team).or_default();
            if *n >= MAX_DOWNLOADS {
                return None;
            }
            *n += 1;
        }
        Some(DownloadSlot { downloads: self.clone(), team })
    }
}

#[cfg(test)]
impl DownloadSlot {
    /// Of nobody.
    pub(crate) fn free() -> Self {
        Self { downloads: Downloads::default(), team: None }
    }
}

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        let Some(team) = self.team else { return };
        let mut under_way = self.downloads.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = under_way.get_mut(&team) {
            *n -= 1;
            if *n == 0 {
                under_way.remove(&team);
            }
        }
    }
}

impl Platform {
    /// Begins a download for the caller's team.
    ///
    /// # Errors
    /// When the team has too many under way.
    pub fn begin_download(&self, caller: &Caller) -> Outcome<DownloadSlot> {
        let limit = MAX_DOWNLOADS;
        // Who has an account is counted alone, whatever teams they are in.
        let person = caller.account.as_ref().map(|account| TeamId::new(account.id.as_uuid()));
        let begun = self.shared.downloads.begin(person.or_else(|| caller.team()));
        begun.ok_or(PlatformError::TooManyDownloads { limit })
    }

    /// The files out of the images of a challenge that can be downloaded.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn exported(&self, challenge: &Challenge) -> Outcome<Vec<ListedFile>> {
        if challenge.metadata.exports.is_empty() {
            return Ok(Vec::new());
        }
        let images = builds::images_of(&self.shared, challenge).await?;
        let files = exports::files_of(&self.shared, challenge, &images).await?;
        Ok(files.into_iter().map(ListedFile::from).collect())
    }

    /// The files out of the very images and containers that an instance of `challenge` runs.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn instance_exports(
        &self,
        instance: &Instance,
        challenge: &Challenge,
    ) -> Outcome<Vec<ListedFile>> {
        if challenge.metadata.exports.is_empty() {
            return Ok(Vec::new());
        }
        let files = self.instance_attachments(instance).await?.into_iter();
        Ok(files.filter(|file| is_exported(challenge, &file.name)).collect())
    }

    /// A file of a challenge by its public name; templates are never served.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn attachment(&self, challenge: &ChallengeId, name: &str) -> Outcome<Download> {
        let unknown = || PlatformError::ChallengeNotFound { id: challenge.to_string() };
        let live = self.live().get(challenge).cloned().ok_or_else(unknown)?;
        if is_exported(&live.challenge, name) {
            let images = builds::images_of(&self.shared, &live.challenge).await?;
            return self.export(&live.challenge, &images, name, "").await;
        }
        let bytes = self.file(&live.challenge, live.revision, name).await?;
        let tag = tag("", &Sha256::digest(&bytes));
        Ok(Download { content: Content::Bytes(bytes), tag })
    }

    /// The files of an instance: those of its version, those that were rendered for it, and those that
    /// its services wrote.
    ///
    /// # Errors
    /// When the store fails. A version that cannot be read any more has no files.
    pub async fn instance_attachments(&self, instance: &Instance) -> Outcome<Vec<ListedFile>> {
        if instance.node != NodeId::local() {
            return Ok(nodes::files::of(&self.shared, instance).await);
        }
        let Some(challenge) = versions::of(&self.shared, instance).await else {
            return Ok(Vec::new());
        };
        let is_plain = challenge.metadata.exports.is_empty()
            && challenge.attachments.iter().all(|attachment| !attachment.is_template);
        // This is asked with every look at an instance, and most have files that are the same for all.
        let stored = match is_plain {
            true => None,
            false => specs::of(&self.shared, instance).await?,
        };
        let (rendered, exported, collected) = match stored {
            Some(stored) => (
                attachments::rendered(&self.shared, instance, &stored.spec),
                exports::files_of(&self.shared, &challenge, &images_of(&stored.spec)).await?,
                collected::files(&self.shared, instance, &stored.spec),
            ),
            None => (Vec::new(), Vec::new(), Vec::new()),
        };
        let mut files = Vec::new();
        for attachment in &challenge.attachments {
            let name = attachment.public_name();
            let size_bytes = match attachment.is_template {
                false => Some(attachment.size_bytes),
                true => rendered.iter().find(|it| it.name == name).map(|it| it.size_bytes),
            };
            let listed = |size_bytes| ListedFile { name: name.to_owned(), size_bytes };
            files.extend(size_bytes.map(listed));
        }
        files.extend(exported.into_iter().map(ListedFile::from));
        files.extend(
            collected
                .into_iter()
                .map(|file| ListedFile { name: file.name, size_bytes: file.size_bytes }),
        );
        Ok(files)
    }

    /// A file of an instance by its public name, as it was at the instance's revision; a template
    /// only as it was rendered for this very incarnation.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn instance_attachment(&self, instance: &Instance, name: &str) -> Outcome<Download> {
        if let Some(link) = self.link_of(instance) {
            let file = link.file(instance.id, name).await.map_err(|error| match error {
                NodeError::NotFound(_) => PlatformError::AttachmentNotFound,
                other => unavailable(&other),
            })?;
            // The tag of its node would do; ours cannot be another instance's, whatever a node says.
            let tag = tag(&instance.id.to_string(), &Sha256::digest(&file.content));
            return Ok(Download { content: Content::Bytes(file.content.to_vec()), tag });
        }
        let stored = specs::of(&self.shared, instance).await?;
        let id = instance.id.to_string();
        if let Some(stored) = &stored
            && let Some((file, open)) =
                attachments::open(&self.shared, instance, &stored.spec, name)
                    .or_else(|| collected::open(&self.shared, instance, &stored.spec, name))
        {
            let tag = tag(&id, file.sha256.as_bytes());
            return Ok(Download { content: Content::File(open, file.size_bytes), tag });
        }
        let challenge = self.challenge_of(instance).await?;
        if let Some(stored) = stored
            && is_exported(&challenge, name)
        {
            return self.export(&challenge, &images_of(&stored.spec), name, &id).await;
        }
        let bytes = self.file(&challenge, instance.revision, name).await?;
        let tag = tag(&id, &Sha256::digest(&bytes));
        Ok(Download { content: Content::Bytes(bytes), tag })
    }

    /// The file `name` out of one of `images`.
    async fn export(
        &self,
        challenge: &Challenge,
        images: &BTreeMap<ServiceName, String>,
        name: &str,
        scope: &str,
    ) -> Outcome<Download> {
        let files = exports::files_of(&self.shared, challenge, images).await?;
        let found = files.into_iter().find(|file| file.name == name);
        let file = found.ok_or(PlatformError::AttachmentNotFound)?;
        // Lost since: the next look at the images takes it out again.
        let open =
            exports::open(&self.shared, &file).map_err(|_| PlatformError::AttachmentNotFound)?;
        let tag = tag(scope, file.sha256.as_bytes());
        Ok(Download { content: Content::File(open, file.size_bytes), tag })
    }

    async fn file(&self, challenge: &Challenge, at: Revision, name: &str) -> Outcome<Vec<u8>> {
        let attachment = static_file(challenge, name).cloned();
        let attachment = attachment.ok_or(PlatformError::AttachmentNotFound)?;
        let mirror = Arc::clone(&self.shared.mirror);
        let (path, identities) = (challenge.path.clone(), Arc::clone(&self.shared.identities));
        let read = move || secrets::read(&mirror.tree(at)?, &path, &attachment, &identities);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(PlatformError::Internal(Box::new(error))),
            Err(error) => Err(PlatformError::Internal(Box::new(error))),
        }
    }
}

/// A node that could not be asked.
pub(super) fn unavailable(error: &NodeError) -> PlatformError {
    PlatformError::NodeUnavailable { reason: error.to_string() }
}

impl From<ExportedFile> for ListedFile {
    fn from(file: ExportedFile) -> Self {
        Self { name: file.name, size_bytes: file.size_bytes }
    }
}

/// The file that is handed out as it is under exactly this name; never a template.
pub(crate) fn static_file<'a>(challenge: &'a Challenge, name: &str) -> Option<&'a Attachment> {
    challenge.attachments.iter().find(|file| !file.is_template && file.public_name() == name)
}

fn is_exported(challenge: &Challenge, name: &str) -> bool {
    challenge.metadata.exports.iter().any(|export| export.name == name)
}

/// The images that the services of an instance run.
fn images_of(spec: &InstanceSpec) -> BTreeMap<ServiceName, String> {
    spec.services.iter().map(|service| (service.name.clone(), service.image.clone())).collect()
}

/// The tag of a content in a scope; the empty scope is everybody's.
fn tag(scope: &str, content: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update((scope.len() as u64).to_be_bytes());
    hash.update(scope.as_bytes());
    hash.update(content);
    hex(&hash.finalize())[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t11_a_team_has_so_many_downloads_at_a_time_and_another_team_as_many() {
        let downloads = Downloads::default();
        let team = |n| Some(TeamId::new(uuid::Uuid::from_bytes([n; 16])));
        let mut slots: Vec<_> =
            (0..MAX_DOWNLOADS).map(|_| downloads.begin(team(1)).unwrap()).collect();
        assert!(downloads.begin(team(1)).is_none());
        assert!(downloads.begin(team(2)).is_some() && downloads.begin(None).is_some());
        slots.pop();
        assert!(downloads.begin(team(1)).is_some());
        drop(slots);
        assert!(downloads.0.lock().unwrap().is_empty(), "what ended is forgotten");
    }

    #[test]
    fn t08_equal_bytes_of_two_instances_have_different_tags() {
        let content = Sha256::digest(b"the same");
        assert_ne!(tag("one", &content), tag("two", &content));
        assert_ne!(tag("", &content), tag("two", &content));
        assert_eq!(tag("one", &content), tag("one", &content));
    }
}
