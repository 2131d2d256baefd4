//! A whole platform in one file, and back.
//!
//! The file is a tar archive: the references of the mirror, a copy of the database, keys and tokens, the
//! objects of the mirror, and at its end a [`Manifest`] with the digest of everything before it. It is
//! made beside a daemon that runs: the database is copied in one read transaction, and objects of the
//! mirror only come, so those that are copied last are all that the references and the rows need.
//!
//! # Invariants
//! * An archive with its name is complete; one without a manifest at its end is not one.
//! * Restoring writes into a folder of its own and takes the place of nothing: the data directory must
//!   not be there, or be empty. Nothing of an archive is trusted before its digests are.
//! * The copy of the database comes back as a copy (`backups/`), so that the start says what was lost
//!   and nothing that it does not know is taken away (`super::backup`).
//!
//! # Not here
//! The configuration and what it names (age identities, trust, certificates): they are no data.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::backup;
use super::migrate::{BUSY_TIMEOUT, MIGRATIONS};
use crate::model::Timestamp;
use crate::model::id::hex;

/// The name of the list at the end.
const MANIFEST: &str = "manifest.json";
/// The largest list that is read.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// The shape of the archive.
const FORMAT: u32 = 1;
/// Files of the data directory, as far as they are there. The identity makes it one.
const SMALL: [&str; 6] =
    ["installation", "answers.key", "admin.token", "node.json", "node-tls.key", "node-tls.crt"];
/// The mirror of the repository.
const MIRROR: &str = "mirror";
/// Copies of the database.
const BACKUPS: &str = "backups";
/// What the list says to whoever finds the file.
const WARNING: &str = "Keep this file like a key: with answers.key every answer of every instance \
                       can be worked out, admin.token may do everything, and the database holds \
                       submissions, addresses and digests of passwords and tokens.";

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The shape of the archive.
    pub format: u32,
    /// The version that made it.
    pub flagops: String,
    /// When it was begun (RFC 3339): it holds everything that was acknowledged before.
    pub made_at: String,
    /// Whose it is.
    pub installation: String,
    /// Steps that the shape of the database has.
    pub n_migrations: usize,
    /// How to treat the file.
    pub warning: String,
    /// Everything in it but this.
    pub files: Vec<ManifestFile>,
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path in the data directory.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest.
    pub sha256: String,
}

impl Manifest {
    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// Whether the mirror goes with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithMirror {
    /// A restored platform needs no remote to serve what was live.
    Yes,
    /// It is fetched again.
    No,
}

/// Why there is no archive, or nothing was restored.
#[derive(Debug, Error)]
pub enum WholeError {
    /// Nothing to back up.
    #[error("`{}` is no data directory of flagops: it has no `installation`", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// The target is taken.
    #[error("`{}` is there already: choose another name, or move it away", path.display())]
    Taken {
        /// The file or directory.
        path: PathBuf,
    },
    /// The archive cannot be used.
    #[error("`{}` cannot be restored: {what}", path.display())]
    Unusable {
        /// The archive.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The database cannot be copied.
    #[error("could not copy the database `{}`", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system refused.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What we tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WholeError {
    let path = path.to_owned();
    move |source| WholeError::Io { what, path, source }
}

/// Writes everything of the data directory at `data_dir` that cannot be made again into the new file
/// `target`, mode 0600, beside a daemon that may run on it. Blocks for as long as that takes.
///
/// # Errors
/// When `data_dir` is none, `target` is there, or something cannot be read or written; then `target`
/// does not exist.
pub fn back_up_all(
    data_dir: &Path,
    target: &Path,
    mirror: WithMirror,
    now: Timestamp,
) -> Result<Manifest, WholeError> {
    let installation = fs::read_to_string(data_dir.join("installation"))
        .map_err(|_| WholeError::NotOurs { path: data_dir.to_owned() })?;
    if target.symlink_metadata().is_ok() {
        return Err(WholeError::Taken { path: target.to_owned() });
    }
    let parent = parent_of(target);
    let partial = backup::suffixed(target, ".partial");
    let work = tempfile::Builder::new()
        .prefix(".flagops-backup-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(failed("write beside", target))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .map_err(failed("create", &partial))?;
    let mut archive = Archive {
        tar: tar::Builder::new(BufWriter::new(file)),
        data_dir: data_dir.to_owned(),
        files: Vec::new(),
    };
    let written = archive.write_all(work.path(), mirror, now, installation.trim());
    let finished = written.and_then(|manifest| {
        archive.finish(&manifest).map_err(failed("write", &partial))?;
        fs::rename(&partial, target).map_err(failed("create", target))?;
        sync_folder(&parent).map_err(failed("write", &parent))?;
        Ok(manifest)
    });
    if finished.is_err() {
        // It is incomplete, and holds keys.
        let _ = fs::remove_file(&partial);
    }
    finished
}

/// An archive that is being written.
struct Archive {
    tar: tar::Builder<BufWriter<File>>,
    data_dir: PathBuf,
    files: Vec<ManifestFile>,
}

impl Archive {
    fn write_all(
        &mut self,
        work: &Path,
        mirror: WithMirror,
        now: Timestamp,
        installation: &str,
    ) -> Result<Manifest, WholeError> {
        // In this order: what refers to an object is copied before the objects are.
        if mirror == WithMirror::Yes {
            self.add_folder(Path::new(MIRROR), |path| {
                !path.starts_with(Path::new(MIRROR).join("objects"))
            })?;
        }
        self.add_database(work, now)?;
        for name in SMALL {
            let path = self.data_dir.join(name);
            if path.is_file() {
                self.add(Path::new(name), &path)?;
            }
        }
        if mirror == WithMirror::Yes {
            self.add_folder(&Path::new(MIRROR).join("objects"), |_| true)?;
        }
        Ok(Manifest {
            format: FORMAT,
            flagops: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now.rfc3339(),
            installation: installation.to_owned(),
            n_migrations: MIGRATIONS.len(),
            warning: WARNING.to_owned(),
            files: std::mem::take(&mut self.files),
        })
    }

    fn add_database(&mut self, work: &Path, now: Timestamp) -> Result<(), WholeError> {
        let source = self.data_dir.join("flagops.db");
        let failed =
            |source_error| WholeError::Database { path: source.clone(), source: source_error };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let copied = || -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
            let connection = Connection::open_with_flags(&source, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            let target = work.join("flagops.db");
            backup::copy(&connection, &target)?;
            Ok(target)
        };
        let copy = copied().map_err(failed)?;
        self.add(&Path::new(BACKUPS).join(backup::name_of(now)), &copy)
    }

    /// Adds what is below `folder` of the data directory and `wanted`, but for what is being written.
    fn add_folder(
        &mut self,
        folder: &Path,
        wanted: impl Fn(&Path) -> bool + Copy,
    ) -> Result<(), WholeError> {
        let path = self.data_dir.join(folder);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed("read", &path))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("read", &path))?;
            let kind = entry.file_type().map_err(failed("look at", &entry.path()))?;
            names.push((folder.join(entry.file_name()), kind));
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in names {
            if !wanted(&name) || is_being_written(&name) {
                continue;
            }
            if kind.is_dir() {
                self.add_folder(&name, wanted)?;
            } else if kind.is_file() {
                let path = self.data_dir.join(&name);
                self.add(&name, &path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &Path, path: &Path) -> Result<(), WholeError> {
        let file = File::open(path).map_err(failed("read", path))?;
        let size_bytes = file.metadata().map_err(failed("look at", path))?.len();
        let mut hashed = Hashed::of(BufReader::new(file).take(size_bytes));
        self.append(name, size_bytes, &mut hashed).map_err(failed("copy", path))?;
        let (n_read, sha256) = hashed.finish();
        if n_read != size_bytes {
            let shrank = io::Error::other("it became shorter while it was copied: try again");
            return Err(failed("copy", path)(shrank));
        }
        let name = name.to_string_lossy().into_owned();
        self.files.push(ManifestFile { name, size_bytes, sha256 });
        Ok(())
    }

    fn append(&mut self, name: &Path, size_bytes: u64, content: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(size_bytes);
        self.tar.append_data(&mut header, name, content)
    }

    /// Writes the list, and everything to the disk.
    fn finish(mut self, manifest: &Manifest) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(manifest)?;
        self.append(Path::new(MANIFEST), text.len() as u64, text.as_slice())?;
        let mut writer = self.tar.into_inner()?;
        writer.flush()?;
        writer.get_ref().sync_all()
    }
}

/// Locks of git, and objects that are not whole yet.
fn is_being_written(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".lock") || name.starts_with("tmp_") || name.starts_with("pack_git2_")
}

/// Puts the archive at `path` into place as the data directory `data_dir`. Blocks for as long as that
/// takes.
///
/// # Errors
/// When the archive is damaged, incomplete or of a newer version, or `data_dir` is there and not empty;
/// then `data_dir` is as it was.
pub fn restore_all(path: &Path, data_dir: &Path) -> Result<Manifest, WholeError> {
    let taken = || WholeError::Taken { path: data_dir.to_owned() };
    match fs::read_dir(data_dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(taken());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", data_dir)(error)),
    }
    let parent = parent_of(data_dir);
    let work = tempfile::Builder::new()
        .prefix(".flagops-restore-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(failed("write beside", data_dir))?;
    let (found, manifest) = unpack(path, work.path())?;
    let manifest = check(path, &found, manifest)?;
    match fs::remove_dir(data_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace the empty directory", data_dir)(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::rename(work.path(), data_dir).map_err(failed("create", data_dir))?;
    // It has another name now: there is nothing left to clean up.
    let _ = work.keep();
    sync_folder(&parent).map_err(failed("write", &parent))?;
    Ok(manifest)
}

/// What was unpacked, by name, and the list that came last.
type Unpacked = (BTreeMap<String, (u64, String)>, Option<Vec<u8>>);

fn unpack(path: &Path, into: &Path) -> Result<Unpacked, WholeError> {
    let unusable = |what: String| WholeError::Unusable { path: path.to_owned(), what };
    let damaged = |error: io::Error| unusable(format!("it is damaged or no backup ({error})"));
    let file = File::open(path).map_err(failed("read", path))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut found = BTreeMap::new();
    let mut manifest = None;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let key = name.to_string_lossy().into_owned();
        let shown: String = key.chars().filter(|c| !c.is_control()).take(200).collect();
        if manifest.is_some() {
            return Err(unusable(format!("`{shown}` comes after the manifest")));
        }
        if name == Path::new(MANIFEST) {
            let mut text = Vec::new();
            entry.by_ref().take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(damaged)?;
            manifest = Some(text);
            continue;
        }
        if !entry.header().entry_type().is_file() || !is_expected(&name) {
            return Err(unusable(format!("it holds `{shown}`, which is no part of a backup")));
        }
        let target = into.join(&name);
        let (size_bytes, sha256) =
            unpack_one(&mut entry, &target).map_err(failed("write", &target))?;
        found.insert(key, (size_bytes, sha256));
    }
    Ok((found, manifest))
}

/// Whether a file of that name is one that we write: below the data directory, and where it belongs.
fn is_expected(name: &Path) -> bool {
    let mut parts = Vec::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            _ => return false,
        }
    }
    match parts.as_slice() {
        [only] => SMALL.contains(&only.as_ref()),
        [folder, file] if folder == BACKUPS => backup::time_of(file).is_some(),
        [folder, _, ..] => folder == MIRROR,
        [] => false,
    }
}

fn unpack_one(content: &mut impl Read, target: &Path) -> io::Result<(u64, String)> {
    if let Some(folder) = target.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    let mut hashed = Hashed::of(content);
    io::copy(&mut hashed, &mut file)?;
    file.sync_all()?;
    Ok(hashed.finish())
}

/// The list, if what was found is exactly what it names.
fn check(
    path: &Path,
    found: &BTreeMap<String, (u64, String)>,
    manifest: Option<Vec<u8>>,
) -> Result<Manifest, WholeError> {
    let unusable = |what: String| WholeError::Unusable { path: path.to_owned(), what };
    let text = manifest.ok_or_else(|| {
        unusable("it has no manifest at its end: it was cut off, or is no backup".to_owned())
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| unusable(format!("its manifest cannot be read ({error})")))?;
    if manifest.format != FORMAT || manifest.n_migrations > MIGRATIONS.len() {
        let version: String =
            manifest.flagops.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(unusable(format!("it was made by flagops {version}: restore it with that")));
    }
    let named: BTreeMap<_, _> = manifest
        .files
        .iter()
        .map(|file| (file.name.clone(), (file.size_bytes, file.sha256.clone())))
        .collect();
    let differs = |name: &&String| named.get(*name) != found.get(*name);
    if let Some(name) = named.keys().chain(found.keys()).find(differs) {
        return Err(unusable(format!("`{name}` is not what its manifest says")));
    }
    let has_database = named.keys().any(|name| name.starts_with(BACKUPS));
    if !["installation", "answers.key"].iter().all(|name| named.contains_key(*name))
        || !has_database
    {
        return Err(unusable(
            "it lacks the identity, the key of answers or the database".to_owned(),
        ));
    }
    Ok(manifest)
}

/// Reads and hashes.
struct Hashed<R> {
    inner: R,
    digest: Sha256,
    n_bytes: u64,
}

impl<R: Read> Hashed<R> {
    fn of(inner: R) -> Self {
        Self { inner, digest: Sha256::new(), n_bytes: 0 }
    }

    fn finish(self) -> (u64, String) {
        (self.n_bytes, hex(&self.digest.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..n_read]);
        self.n_bytes += n_read as u64;
        Ok(n_read)
    }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
