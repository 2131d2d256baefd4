//! Encrypted files on disk, who they are for, and what opens them.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::settings::Global;
use crate::config::identities;
use crate::config::{Need, Overrides};
use crate::model::plain_name;
use crate::secrets::{Identities, RECIPIENTS_FILE, Recipients};
use crate::telemetry::Chain;
use crate::trust::SourceText;

/// Most files and folders that are looked at.
const MAX_SEEN: usize = 500_000;
/// Largest file of recipients.
const MAX_RECIPIENTS_BYTES: u64 = 1 << 20;

/// The git repository that `path`, which need not be there yet, lies in.
pub(super) fn repository_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    folder.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}

/// Whether a file of this name is an encrypted one.
pub(super) fn is_encrypted(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| plain_name(name).is_some())
}

/// Every encrypted file that `paths` name or that lies below them, sorted. Links are not followed,
/// and `.git` is not entered.
pub(super) fn encrypted_below(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(|error| {
            let next = "name a file or folder of the repository";
            Failure::usage(format!("could not open `{}` ({error})", path.display()), next)
        })?;
        match (kind.is_dir(), is_encrypted(path)) {
            (true, _) => open.push(path.clone()),
            (false, true) => found.push(path.clone()),
            (false, false) => {
                let next = "name files that end in `.age`, or folders";
                let problem = format!("`{}` is no encrypted file", path.display());
                return Err(Failure::usage(problem, next));
            }
        }
    }
    let mut n_seen = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            n_seen += 1;
            if n_seen > MAX_SEEN {
                let problem = format!("there are more than {MAX_SEEN} files");
                return Err(Failure::usage(problem, "name the folder of the challenges"));
            }
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
            let path = below(&folder, &entry.file_name());
            if kind.is_dir() && entry.file_name() != ".git" {
                open.push(path);
            } else if kind.is_file() && is_encrypted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A path as people write it: without `./`.
fn below(folder: &Path, name: &std::ffi::OsStr) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        format!("could not read `{}` ({error})", path.display()),
        "check who may read it",
    )
}

/// The content of a file of at most `limit_bytes`; one more tells that it is larger. The room is
/// there from the start, so that a secret is at one place only.
pub(super) fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let room = metadata.len().min(limit_bytes) + 64;
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes `bytes` to `path`, which is as it was or holds all of them. `path` is executable when
/// `like` is.
pub(super) fn write_whole(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let is_executable = fs::metadata(like)?.permissions().mode() & 0o100 != 0;
    let mut partial = tempfile::Builder::new().prefix(".flagops-").tempfile_in(folder)?;
    partial.write_all(bytes)?;
    let mode = if is_executable { 0o755 } else { 0o644 };
    partial.as_file().set_permissions(Permissions::from_mode(mode))?;
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The identities of `--identity`, or of the configuration; none when neither names any.
pub(super) fn identities(global: &Global, named: Option<&Path>) -> Result<Identities, Failure> {
    let configured = match named {
        Some(_) => None,
        None => global.load(Need::Client, Overrides::new())?.secrets.identity_file,
    };
    let path = named.or(configured.as_deref());
    identities::load(path, None)
        .map_err(|error| Failure::usage(Chain(&error).to_string(), "docs/secrets.md says more"))
}

/// For whom files are encrypted: one file for all, or the nearest one above each.
pub(super) struct Book {
    named: Option<(PathBuf, Recipients)>,
    by_folder: BTreeMap<PathBuf, Option<(PathBuf, Recipients)>>,
}

impl Book {
    /// With the recipients of the file at `named` for all, if there is one.
    pub(super) fn open(named: Option<&Path>) -> Result<Self, Failure> {
        let named = match named {
            Some(path) => Some((path.to_owned(), load(path)?)),
            None => None,
        };
        Ok(Self { named, by_folder: BTreeMap::new() })
    }

    /// The recipients for the file at `path`; `None` when nobody says who they are.
    pub(super) fn of(&mut self, path: &Path) -> Result<Option<&Recipients>, Failure> {
        if let Some((_, recipients)) = &self.named {
            return Ok(Some(recipients));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
        if !self.by_folder.contains_key(&folder) {
            let found = match nearest(&folder) {
                Some(path) => Some((path.clone(), load(&path)?)),
                None => None,
            };
            self.by_folder.insert(folder.clone(), found);
        }
        Ok(self.by_folder.get(&folder).and_then(Option::as_ref).map(|(_, recipients)| recipients))
    }

    /// Every recipient that a file was asked for so far, and where it is written.
    pub(super) fn all(&self) -> impl Iterator<Item = &(PathBuf, Recipients)> {
        self.named.iter().chain(self.by_folder.values().flatten())
    }
}

/// The nearest file of recipients above, not beyond the repository.
fn nearest(folder: &Path) -> Option<PathBuf> {
    for folder in folder.ancestors() {
        let path = folder.join(RECIPIENTS_FILE);
        if path.exists() {
            return Some(path);
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}

fn load(path: &Path) -> Result<Recipients, Failure> {
    let bytes = read(path, MAX_RECIPIENTS_BYTES).map_err(|error| unreadable(path, &error))?;
    let source = SourceText { name: path.display().to_string(), bytes };
    Recipients::parse(&source).map_err(|error| Failure::usage(error.to_string(), ""))
}

/// That nobody says for whom to encrypt.
pub(super) fn no_recipients(path: &Path) -> Failure {
    Failure::usage(
        format!("there is no `{RECIPIENTS_FILE}` above `{}`", path.display()),
        "write one at the root of the repository, with a line for each node: `flagops secrets \
         keygen FILE` prints it",
    )
}
