//! The data directory: one daemon at a time, and the few files that everything else hangs on.
//!
//! `lock` (held for as long as the daemon runs), `installation` (who we are in the engine),
//! `answers.key` (what answers are derived from), `admin.token` (who may do everything),
//! `flagops.db`. Each file appears whole or not at all, and is readable by its owner only.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::{FlockOperation, OFlags};
use subtle::ConstantTimeEq;
use thiserror::Error;
use tracing::warn;

use crate::model::id::hex;
use crate::model::{Disposition, InstallationId, RetryClass};
use crate::render::answers::AnswerKey;

/// More than any of our small files has.
const MAX_FILE_BYTES: u64 = 4096;

/// What every token begins with, so that scanners of leaked secrets find it.
const TOKEN_PREFIX: &str = "pt_";

/// Why the data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another daemon runs on it.
    #[error(
        "`{}` is in use by another flagops{}: stop that one, or choose another data directory",
        path.display(),
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, if it wrote that down.
        pid: Option<u32>,
    },
    /// Others could replace our files, and the directory is not ours to close.
    #[error(
        "others may write to `{}` (mode {mode:03o}), and it holds more than our files: \
         run `chmod 700` on it, or choose another data directory",
        path.display()
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is there, but holds something else.
    #[error("`{}` does not hold {wanted}: restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
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

impl DataDirError {
    /// Says whether trying again can help, and with which backoff.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::InUse { .. } => Disposition::Retry(RetryClass::Contention),
            Self::Exposed { .. } | Self::Damaged { .. } | Self::Io { .. } => Disposition::Terminal,
        }
    }
}

/// An open data directory. Dropping it lets another daemon in.
pub struct DataDir {
    path: PathBuf,
    installation: InstallationId,
    answer_key: AnswerKey,
    admin_token: String,
    was_created: bool,
    /// The lock lives as long as this handle.
    _lock: Lock,
}

/// The locked file.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that is being started still has a copy of the handle
        // for a moment. If this fails the system unlocks at the latest when we end.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataDir")
            .field("path", &self.path)
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

impl DataDir {
    /// Opens the directory at `path` for this process alone, and makes what is missing. Files of
    /// ours that others may read are closed to them, with a warning.
    ///
    /// # Errors
    /// When another daemon has it, others may write to it, a file of ours is damaged, or the
    /// system refuses.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| failed("create the directory", path, source))?;
        close_directory(path)?;
        let lock = lock(path)?;
        let was_created = !path.join("installation").exists();
        // The identity comes last: a first start that was cut off is still a first start.
        let answer_key = ensure_answer_key(&path.join("answers.key"))?;
        let admin_token = ensure_admin_token(&path.join("admin.token"))?;
        let installation = ensure_installation(&path.join("installation"))?;
        Ok(Self {
            path: path.to_owned(),
            installation,
            answer_key,
            admin_token,
            was_created,
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub fn database_path(&self) -> PathBuf {
        self.path.join("flagops.db")
    }

    /// Where copies of the database are.
    pub fn backups_path(&self) -> PathBuf {
        self.path.join("backups")
    }

    /// Where files of instances are.
    pub fn instances_path(&self) -> PathBuf {
        self.path.join("instances")
    }

    /// Where files that services of instances wrote are.
    pub fn collected_path(&self) -> PathBuf {
        self.path.join("collected")
    }

    /// Where captured packets of instances are.
    pub fn captures_path(&self) -> PathBuf {
        self.path.join("captures")
    }

    /// Where recordings of shells are.
    pub fn recordings_path(&self) -> PathBuf {
        self.path.join("recordings")
    }

    /// Who we are in the engine.
    pub fn installation(&self) -> &InstallationId {
        &self.installation
    }

    /// What answers are derived from.
    pub fn answer_key(&self) -> &AnswerKey {
        &self.answer_key
    }

    /// The file with the administrator's token.
    pub fn admin_token_path(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// Whether `token` is the administrator's. Takes the same time wherever two tokens differ.
    pub fn is_admin_token(&self, token: &str) -> bool {
        self.admin_token.as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// Whether this was the first start.
    pub fn was_created(&self) -> bool {
        self.was_created
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { what, path: path.to_owned(), source }
}

/// Closes the directory to others when it is empty or ours; refuses it when it is neither and
/// others may write to it, because it may be somebody's shared folder.
fn close_directory(path: &Path) -> Result<(), DataDirError> {
    let stat = |source| failed("look at", path, source);
    let mode = fs::metadata(path).map_err(stat)?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(path).map_err(stat)?.next().is_none();
    if is_empty || path.join("installation").exists() {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|source| failed("take permissions from others on", path, source));
    }
    if mode & 0o022 != 0 {
        return Err(DataDirError::Exposed { path: path.to_owned(), mode });
    }
    warn!(path = %path.display(), "others may look into the data directory; our files are closed");
    Ok(())
}

/// Takes the lock, or says who has it. The system frees it when the process ends, however it ends.
fn lock(directory: &Path) -> Result<Lock, DataDirError> {
    let path = directory.join("lock");
    let failed = |source| failed("lock", &path, source);
    let mut file = private_options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => (),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let pid = match file.take(20).read_to_string(&mut pid) {
                Ok(_) => pid.trim().parse().ok(),
                Err(_) => None,
            };
            return Err(DataDirError::InUse { path: directory.to_owned(), pid });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    file.set_len(0).map_err(failed)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
    Ok(Lock(file))
}

fn ensure_installation(path: &Path) -> Result<InstallationId, DataDirError> {
    let text = ensure(path, || Ok(format!("{}\n", hex(&random::<8>()?)).into_bytes()))?;
    parse_line(&text)
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| damaged(path, "an installation id (16 lower-case hex digits)"))
}

fn ensure_answer_key(path: &Path) -> Result<AnswerKey, DataDirError> {
    let bytes = ensure(path, || Ok(random::<32>()?.to_vec()))?;
    let key = bytes.try_into().map_err(|_| damaged(path, "a key of 32 bytes"))?;
    Ok(AnswerKey::new(key))
}

fn ensure_admin_token(path: &Path) -> Result<String, DataDirError> {
    let text = ensure(path, || {
        Ok(format!("{TOKEN_PREFIX}{}\n", URL_SAFE_NO_PAD.encode(random::<32>()?)).into_bytes())
    })?;
    parse_line(&text)
        .filter(|token| is_token(token))
        .map(str::to_owned)
        .ok_or_else(|| damaged(path, "a token (`pt_` and 43 letters, digits, `-` or `_`)"))
}

fn is_token(text: &str) -> bool {
    text.strip_prefix(TOKEN_PREFIX).is_some_and(|body| {
        body.len() == 43
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

fn parse_line(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(str::trim_ascii)
}

fn damaged(path: &Path, wanted: &'static str) -> DataDirError {
    DataDirError::Damaged { path: path.to_owned(), wanted }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The content of the file at `path`, which is made with `content` when it is absent.
fn ensure(
    path: &Path,
    content: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, DataDirError> {
    match read_private(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let content =
                content().map_err(|source| failed("draw random bytes for", path, source))?;
            create_whole(path, &content).map_err(|source| failed("create", path, source))?;
            Ok(content)
        }
        outcome => outcome.map_err(|source| failed("read", path, source)),
    }
}

/// Reads a small file of ours; takes it from everybody else first.
fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let file = private_options().read(true).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        warn!(path = %path.display(), "a secret file was open to others and is closed now");
    }
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// Writes a file that is either absent or complete, also when the power fails: to another name
/// first, then renamed. We hold the lock, so nobody else does the same.
fn create_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = private_options().write(true).create(true).truncate(true).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// For our files: closed to others from the first moment, and never through a link.
fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}
