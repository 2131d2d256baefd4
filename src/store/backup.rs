//! Copies of the database, made while it is in use, and the way back to the newest good one.
//!
//! In:  the open database, the folder of copies, the time.
//! Out: one file per copy (`flagops-2026-11-28T16-12-00.555Z.db`), and a database that opens.
//!
//! # Invariants
//! * A file with the name of a copy is complete: it was written under another name and renamed.
//! * What was damaged is set aside, never deleted.
//! * The newest copy is never thinned out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::migrate::{self, BUSY_TIMEOUT};
use super::{Store, StoreError};
use crate::model::Timestamp;

/// Every copy younger than this is kept.
const DENSE_MILLIS: i64 = 3_600_000;

/// Of older ones, one per this long…
const SPARSE_MILLIS: i64 = 3_600_000;

/// … for as long as this.
const KEPT_MILLIS: i64 = 86_400_000;

/// One complete copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// When it was begun: it holds everything that was acknowledged before.
    pub at: Timestamp,
}

/// The database was not what the last daemon left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What was wrong with it: SQLite's words, or that it was not there.
    pub detail: String,
    /// Where the damaged file is now.
    pub aside: Option<PathBuf>,
    /// The copy that took its place; `None` when there was no good one, and it is empty now.
    pub backup: Option<Backup>,
}

impl Store {
    /// Opens the database at `path`. One that is damaged, or that is gone although copies of it are
    /// in `folder`, is replaced by the newest copy that is whole, and if there is none by an empty
    /// one; then the loss is told.
    ///
    /// Blocks, as [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`], except for damage; and when the damaged file cannot be set aside.
    pub fn open_or_restore(
        path: &Path,
        folder: &Path,
        now: Timestamp,
    ) -> Result<(Self, Option<Loss>), StoreError> {
        let backups = backups(folder).map_err(|source| cannot_open(folder, source))?;
        let is_empty = fs::metadata(path).map_or(true, |file| file.len() == 0);
        let detail = if is_empty {
            if backups.is_empty() {
                return Ok((Self::open(path)?, None));
            }
            "its file is gone or empty".to_owned()
        } else {
            match Self::open(path) {
                Err(StoreError::Damaged { detail }) => detail,
                outcome => return Ok((outcome?, None)),
            }
        };
        let aside = set_aside(path, now).map_err(|source| cannot_open(path, source))?;
        let aside = aside.filter(|_| !is_empty);
        for backup in backups.into_iter().rev() {
            put_back(&backup.path, path).map_err(|source| cannot_open(path, source))?;
            match Self::open(path) {
                Ok(store) => {
                    return Ok((store, Some(Loss { detail, aside, backup: Some(backup) })));
                }
                // The copy stays where it is; only what was made of it goes.
                Err(StoreError::Damaged { .. }) => {
                    remove_all(path).map_err(|source| cannot_open(path, source))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((Self::open(path)?, Some(Loss { detail, aside, backup: None })))
    }

    /// Copies the database into `folder`, which is made when it is absent, beside whatever is going
    /// on; then deletes the copies that are not worth their room any more.
    ///
    /// # Errors
    /// When the copy cannot be written; those that exist stay.
    pub async fn back_up(&self, folder: &Path, now: Timestamp) -> Result<Backup, StoreError> {
        let (source, folder) = (self.inner.path.clone(), folder.to_owned());
        let work = move || {
            let target = folder.join(name_of(now));
            let failed = |source| StoreError::Backup { path: target.clone(), source };
            private_folder(&folder).map_err(|error| failed(error.into()))?;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&source, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            copy(&connection, &target).map_err(failed)?;
            thin_out(&folder, now).map_err(|error| failed(error.into()))?;
            Ok(Backup { path: target, at: now })
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Abandoned)?
    }
}

/// The copies in `folder`, the oldest first. Files of other names are nobody's business.
///
/// # Errors
/// When the folder exists and cannot be read.
pub fn backups(folder: &Path) -> io::Result<Vec<Backup>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut backups = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(at) = entry.file_name().to_str().and_then(time_of) {
            backups.push(Backup { path: entry.path(), at });
        }
    }
    backups.sort_by_key(|backup| backup.at);
    Ok(backups)
}

/// Copies a database to a file of its own; it is complete when it bears that name.
pub(super) fn copy(
    connection: &Connection,
    target: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let partial = suffixed(target, ".partial");
    remove_if_there(&partial)?;
    // SQLite accepts an empty file, and this one is ours alone from the first moment.
    migrate::create_private(&partial)?;
    connection.execute("VACUUM INTO ?1", [partial.to_str().ok_or("its path is not UTF-8")?])?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, target)?;
    sync_folder_of(target)?;
    Ok(())
}

pub(super) fn name_of(at: Timestamp) -> String {
    format!("flagops-{}.db", at.rfc3339().replace(':', "-"))
}

pub(super) fn time_of(name: &str) -> Option<Timestamp> {
    let (date, time) = name.strip_prefix("flagops-")?.strip_suffix(".db")?.split_once('T')?;
    Timestamp::parse_rfc3339(&format!("{date}T{}", time.replace('-', ":"))).ok()
}

fn thin_out(folder: &Path, now: Timestamp) -> io::Result<()> {
    let backups = backups(folder)?;
    let times: Vec<_> = backups.iter().map(|backup| backup.at).collect();
    let kept = kept(&times, now);
    for backup in backups.iter().filter(|backup| !kept.contains(&backup.at)) {
        remove_if_there(&backup.path)?;
    }
    Ok(())
}

/// Which of `times` (in any order) are worth their room: all of the last hour, one per hour of the
/// last day, and the newest whatever its age. Times of the future, from before the clock was set
/// back, count as just made.
fn kept(times: &[Timestamp], now: Timestamp) -> BTreeSet<Timestamp> {
    let mut kept: BTreeSet<_> = times.iter().max().copied().into_iter().collect();
    let mut hours = BTreeSet::new();
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    for at in sorted {
        let age = now.millis_since(at);
        let is_of_note = age < DENSE_MILLIS
            || (age < KEPT_MILLIS && hours.insert(at.as_millis().div_euclid(SPARSE_MILLIS)));
        if is_of_note {
            kept.insert(at);
        }
    }
    kept
}

/// Gives the database and what SQLite keeps beside it other names; tells the first of them.
fn set_aside(path: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let stamp = now.rfc3339().replace(':', "-");
    let aside = suffixed(path, &format!(".damaged-{stamp}"));
    let mut moved = None;
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (suffixed(path, suffix), suffixed(&aside, suffix));
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => {
                outcome?;
                moved = Some(aside.clone());
            }
        }
    }
    Ok(moved)
}

fn put_back(backup: &Path, path: &Path) -> io::Result<()> {
    let partial = suffixed(path, ".partial");
    remove_if_there(&partial)?;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    io::copy(&mut fs::File::open(backup)?, &mut file)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync_folder_of(path)
}

fn remove_all(path: &Path) -> io::Result<()> {
    ["", "-wal", "-shm"].iter().try_for_each(|suffix| remove_if_there(&suffixed(path, suffix)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn cannot_open(path: &Path, source: io::Error) -> StoreError {
    StoreError::CannotOpen { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::TeamId;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    async fn add_team(store: &Store, name: &str) {
        let mut hash = [0; 32];
        hash[..name.len()].copy_from_slice(name.as_bytes());
        let id = TeamId::new(uuid::Uuid::new_v4());
        let new = crate::store::NewTeamToken {
            competition: "default".parse().unwrap(),
            name: name.to_owned(),
            team_if_new: id,
            token_id: format!("t-{name}"),
            hash,
            now: NOW,
        };
        store.create_team_token(new).await.unwrap();
    }

    async fn teams(store: &Store) -> Vec<String> {
        store.teams().await.unwrap().into_iter().map(|team| team.name).collect()
    }

    struct Folder {
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn database(&self) -> PathBuf {
            self.dir.path().join("flagops.db")
        }

        fn backups(&self) -> PathBuf {
            self.dir.path().join("backups")
        }

        fn open(&self) -> (Store, Option<Loss>) {
            Store::open_or_restore(&self.database(), &self.backups(), NOW).unwrap()
        }

        /// A database with a team in its copy and another that came later.
        async fn lived_in(&self) -> Backup {
            let (store, loss) = self.open();
            assert_eq!(loss, None, "a first start loses nothing");
            add_team(&store, "red").await;
            let backup = store.back_up(&self.backups(), NOW).await.unwrap();
            add_team(&store, "blue").await;
            backup
        }
    }

    #[tokio::test]
    async fn a_database_that_is_whole_is_opened_as_it_is() {
        let folder = Folder::new();
        folder.lived_in().await;
        let (store, loss) = folder.open();
        assert_eq!(loss, None);
        assert_eq!(teams(&store).await, ["blue", "red"]);
    }

    #[tokio::test]
    async fn a_truncated_database_is_set_aside_and_the_newest_copy_takes_its_place() {
        let folder = Folder::new();
        let backup = folder.lived_in().await;
        let file = fs::OpenOptions::new().write(true).open(folder.database()).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let (store, loss) = folder.open();
        let loss = loss.unwrap();
        assert_eq!(loss.backup, Some(backup));
        assert!(loss.aside.is_some_and(|path| path.exists()), "the damaged file is kept");
        assert_eq!(teams(&store).await, ["red"], "what came after the copy is lost");
    }

    #[tokio::test]
    async fn a_missing_or_empty_database_comes_back_from_its_copy() {
        for is_emptied in [false, true] {
            let folder = Folder::new();
            folder.lived_in().await;
            if is_emptied {
                fs::write(folder.database(), b"").unwrap();
            } else {
                fs::remove_file(folder.database()).unwrap();
            }
            let (store, loss) = folder.open();
            let loss = loss.unwrap();
            assert_eq!(loss.aside, None, "there was nothing worth to be kept");
            assert!(loss.backup.is_some());
            assert_eq!(teams(&store).await, ["red"]);
        }
    }

    #[tokio::test]
    async fn a_damaged_copy_is_passed_over_and_without_a_good_one_it_begins_empty() {
        let folder = Folder::new();
        let good = folder.lived_in().await;
        let later = folder.backups().join(name_of(NOW.plus_secs(60)));
        fs::write(&later, b"this was never a database, but it is long enough to look at").unwrap();
        fs::write(folder.database(), vec![7; 4096]).unwrap();
        let (store, loss) = folder.open();
        assert_eq!(loss.unwrap().backup, Some(good.clone()));
        drop(store);
        fs::write(&good.path, b"nor is this one").unwrap();
        fs::write(folder.database(), vec![7; 4096]).unwrap();
        let (store, loss) = folder.open();
        assert_eq!(loss.unwrap().backup, None);
        assert_eq!(teams(&store).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_copy_is_closed_to_others() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = Folder::new();
        let backup = folder.lived_in().await;
        assert_eq!(fs::metadata(backup.path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.backups()).unwrap().mode() & 0o777, 0o700);
    }

    proptest! {
        #[test]
        fn names_tell_the_time(millis in 0_i64..4_000_000_000_000) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(time_of(&name_of(at)), Some(at));
        }

        #[test]
        fn the_newest_is_kept_and_the_rest_is_few(
            ages in proptest::collection::vec(-1_000_i64..200_000, 1..400),
        ) {
            let times: Vec<_> = ages.iter().map(|secs| NOW.plus_secs(-secs)).collect();
            let kept = kept(&times, NOW);
            prop_assert!(kept.contains(times.iter().max().unwrap()));
            let n_dense = kept.iter().filter(|at| NOW.millis_since(**at) < DENSE_MILLIS).count();
            prop_assert!(kept.len() - n_dense <= 25, "one per hour of a day");
            for at in times.iter().filter(|at| NOW.millis_since(**at) < DENSE_MILLIS) {
                prop_assert!(kept.contains(at), "one of the last hour is missing");
            }
        }
    }
}
