//! Judges one challenge folder after it was read: the contract's rules, and ours beside them.
//!
//! Reading (`metadata`, `compose`) says what cannot run; judging says what breaks a rule although
//! it runs. The families look at the files as they are written, not at the typed model, because a
//! rule must speak also where the model could not be made.
//!
//! In:  a [`Subject`]. Out: findings in the [`Report`].
//!
//! # Invariants
//! * A family never hinders another.
//! * No file is read twice, and none over the budget of [`Subject::text`].

mod build;
mod compose;
mod encrypted;
mod exploit;
mod health;
mod leak;
mod lfs;
mod metadata;
mod network;
mod place;
mod source;
mod structure;
mod template;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Policy;
use super::compose::BuildAt;
use super::decode::{Report, nearest};
use super::encrypted::Encrypted;
use super::files::Files;
use super::folder::join;
use super::spanned::{Entry, Map};
use crate::model::compose::ROTATOR;
use crate::model::{Category, EntryKind, Question, Topology, Tree, TreeError};

/// Largest file that a rule looks into (`contract/challenges.md` §3.7).
pub(super) const MAX_TEXT_BYTES: u64 = 2_000_000;

/// What the families judge: one folder, its files, and what could be read of them.
pub(super) struct Subject<'a> {
    /// Where the bytes of files come from.
    pub tree: &'a dyn Tree,
    /// The folder in the repository.
    pub root: &'a str,
    /// Its files.
    pub files: &'a Files,
    /// What its encrypted files say of themselves.
    pub encrypted: &'a Encrypted,
    /// `metadata.yaml` as written; `None` when it is no mapping.
    pub metadata: Option<&'a Map>,
    /// The questions that could be read; `None` when the list itself could not.
    pub questions: Option<&'a [Question]>,
    /// The category; `None` when it is no category.
    pub category: Option<Category>,
    /// How players reach it; `None` when it is no topology.
    pub topology: Option<Topology>,
    /// `docker-compose.yml` as written, nothing interpolated; `None` when there is none, or it is
    /// no mapping.
    pub compose: Option<&'a Map>,
    /// Every build with a usable context path.
    pub builds: &'a [BuildAt],
    /// The organizer's ceilings.
    pub policy: &'a Policy,
    /// Texts that were read, by path inside the folder.
    pub texts: RefCell<BTreeMap<String, Option<Rc<str>>>>,
}

impl Subject<'_> {
    /// The repository path of `name`, a path inside the folder.
    pub(super) fn path(&self, name: &str) -> String {
        join(self.root, name)
    }

    /// The content of the regular file `name` of at most [`MAX_TEXT_BYTES`]; bytes that are not
    /// UTF-8 are dropped. `None` for everything else.
    ///
    /// # Errors
    /// Only when the store fails.
    pub(super) fn text(&self, name: &str) -> Result<Option<Rc<str>>, TreeError> {
        if let Some(text) = self.texts.borrow().get(name) {
            return Ok(text.clone());
        }
        let is_small = matches!(self.files.kind(name), Some(EntryKind::File { .. }))
            && self.files.size_bytes(name) <= MAX_TEXT_BYTES;
        let text = if is_small {
            match self.tree.read(&self.path(name), MAX_TEXT_BYTES) {
                Ok(bytes) => Some(lossy(bytes)),
                Err(error @ TreeError::Unreadable { .. }) => return Err(error),
                Err(
                    TreeError::NotFound { .. }
                    | TreeError::NotAFile { .. }
                    | TreeError::TooLarge { .. },
                ) => None,
            }
        } else {
            None
        };
        self.texts.borrow_mut().insert(name.to_owned(), text.clone());
        Ok(text)
    }

    /// The services as written, those that are mappings: key and mapping.
    pub(super) fn services(&self) -> impl Iterator<Item = (&Entry, &Map)> {
        self.compose
            .and_then(|map| map.get("services"))
            .and_then(|entry| entry.value.as_map())
            .into_iter()
            .flat_map(|map| &map.entries)
            .filter_map(|entry| Some((entry, entry.value.as_map()?)))
    }

    /// The sidecar that writes answers, if there is one.
    pub(super) fn rotator(&self) -> Option<(&Entry, &Map)> {
        self.services().find(|(entry, _)| entry.key == ROTATOR)
    }

    /// The service that was meant to be `name`: a letter or two apart, dashes not counted.
    pub(super) fn renamed(&self, name: &str) -> Option<&Entry> {
        let plain = |text: &str| text.replace(['-', '_'], "");
        let is_near = |(entry, _): &(&Entry, &Map)| {
            entry.key != name && nearest(&plain(&entry.key), &[&plain(name)]).is_some()
        };
        self.services().find(is_near).map(|(entry, _)| entry)
    }

    /// Whether there is a file `docker-compose.yml`, readable or not.
    pub(super) fn has_compose_file(&self) -> bool {
        matches!(self.files.kind("docker-compose.yml"), Some(EntryKind::File { .. }))
    }

    /// Whether this is a quiz (`contract/challenges.md` §2.4): category misc, nothing that runs,
    /// and every question has its answer, as far as questions can be read.
    pub(super) fn is_quiz(&self) -> bool {
        self.category == Some(Category::Misc)
            && !self.has_compose_file()
            && structure::asked::asked(self).is_some_and(|questions| {
                !questions.is_empty() && questions.iter().all(structure::asked::Asked::is_written)
            })
    }
}

/// Text without what is not UTF-8.
fn lossy(bytes: Vec<u8>) -> Rc<str> {
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => {
            let text: String = error.as_bytes().utf8_chunks().map(|chunk| chunk.valid()).collect();
            text.into()
        }
    }
}

/// The literal flags in `text`, and where they end; placeholders and pictures are none.
pub(super) fn literal_flags(text: &str) -> impl Iterator<Item = (usize, usize)> {
    leak::real_flags(text)
}

/// Runs every family.
///
/// # Errors
/// Only when the store behind the tree fails.
pub(super) fn run(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    metadata::check(subject, report)?;
    structure::check(subject, report)?;
    compose::check(subject, report)?;
    health::check(subject, report)?;
    network::check(subject, report)?;
    exploit::check(subject, report)?;
    source::check(subject, report)?;
    build::check(subject, report)?;
    template::check(subject, report)?;
    lfs::check(subject, report)?;
    encrypted::check(subject, report)?;
    leak::check(subject, report)
}
