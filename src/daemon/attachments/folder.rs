//! Where the files of instances are: `instances/<id>/<incarnation>/` in the data directory what is
//! rendered, `collected/<id>/<incarnation>/` what services wrote.
//!
//! Each incarnation has a list (`rendered.json`) and its files as `attachments/0`, `attachments/1`, …
//! in the list's order, so that no name of an author is a path.
//!
//! # Invariants
//! * A folder of an incarnation is whole or not there: it is written beside and renamed.
//! * Folders are 0700 and files 0600 from their first moment.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::InstanceId;
use crate::model::id::hex;

/// The list of an incarnation.
const LIST: &str = "rendered.json";
/// The folder of its files.
const FILES: &str = "attachments";
/// What a folder is called while it is written.
const PARTIAL: &str = "partial";
/// Longest list that is read.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// What a template becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name that players see.
    pub(crate) name: String,
    /// Whether the entry in git has the executable bit.
    pub(crate) is_executable: bool,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenderedFile {
    /// The name that players see.
    pub(crate) name: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// SHA-256 of its content, in hex.
    pub(crate) sha256: String,
    /// Whether it has the executable bit where it comes from.
    pub(crate) is_executable: bool,
}

/// `rendered.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// What they were made from.
    key: String,
    files: Vec<RenderedFile>,
}

/// The folder of all instances. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The one at `root`, which need not exist.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    fn of(&self, id: InstanceId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// The files of an incarnation, made from `key`, or from whatever it was; `None` when they are not
    /// there or not whole.
    pub(crate) fn files(
        &self,
        id: InstanceId,
        n_resets: u32,
        key: Option<&str>,
    ) -> Option<Vec<RenderedFile>> {
        let place = self.of(id).join(n_resets.to_string());
        let mut text = Vec::new();
        let list = open(&place.join(LIST)).ok()?;
        list.take(MAX_LIST_BYTES).read_to_end(&mut text).ok()?;
        let list: List = serde_json::from_slice(&text).ok()?;
        let is_whole = list.files.iter().enumerate().all(|(nth, file)| {
            let found = fs::symlink_metadata(place.join(FILES).join(nth.to_string()));
            found.is_ok_and(|it| it.is_file() && it.len() == file.size_bytes)
        });
        let is_of_key = key.is_none_or(|key| list.key == key);
        (is_of_key && is_whole).then_some(list.files)
    }

    /// Opens the file that players call `name`, if it is among those made from `key`.
    pub(crate) fn open(
        &self,
        id: InstanceId,
        n_resets: u32,
        key: Option<&str>,
        name: &str,
    ) -> Option<(RenderedFile, File)> {
        let mut files = self.files(id, n_resets, key)?.into_iter().enumerate();
        let (nth, file) = files.find(|(_, file)| file.name == name)?;
        let place = self.of(id).join(n_resets.to_string()).join(FILES);
        Some((file, open(&place.join(nth.to_string())).ok()?))
    }

    /// Writes the files of an incarnation; everything else of the instance goes.
    ///
    /// # Errors
    /// When the disk refuses. Then nothing of this incarnation is there, or all of it.
    pub(crate) fn replace(
        &self,
        id: InstanceId,
        n_resets: u32,
        key: &str,
        files: &[(Target, Vec<u8>)],
    ) -> io::Result<()> {
        let (home, wanted) = (self.of(id), n_resets.to_string());
        create_folder(&home)?;
        let partial = home.join(PARTIAL);
        remove(&partial)?;
        create_folder(&partial.join(FILES))?;
        let mut list = List { key: key.to_owned(), files: Vec::new() };
        for (nth, (target, text)) in files.iter().enumerate() {
            write(&partial.join(FILES).join(nth.to_string()), text)?;
            list.files.push(RenderedFile {
                name: target.name.clone(),
                size_bytes: text.len() as u64,
                sha256: hex(&Sha256::digest(text)),
                is_executable: target.is_executable,
            });
        }
        sync(&partial.join(FILES))?;
        write(&partial.join(LIST), &serde_json::to_vec(&list)?)?;
        sync(&partial)?;
        for entry in fs::read_dir(&home)? {
            let entry = entry?;
            if entry.file_name() != PARTIAL {
                remove(&entry.path())?;
            }
        }
        fs::rename(&partial, home.join(wanted))?;
        sync(&home)
    }

    /// Removes everything of an instance.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn discard(&self, id: InstanceId) -> io::Result<()> {
        remove(&self.of(id))
    }

    /// Removes everything of instances that are not among `live`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn keep_only(&self, live: &BTreeSet<InstanceId>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<InstanceId>().ok());
            if !id.is_some_and(|id| live.contains(&id)) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file of ours, never through a link.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a folder or a file; what is not there is fine.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
