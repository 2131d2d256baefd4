//! `flagops backup` and `flagops restore`: the whole platform in one file, and back.
//!
//! Both work on the data directory of this machine: keys do not travel over the API.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use crate::config::{Need, Overrides};
use crate::model::Timestamp;
use crate::store::whole::{self, Manifest, WholeError, WithMirror};
use crate::telemetry::{Chain, clock};

/// Write everything of a platform that cannot be made again into one file
///
/// Works beside a server that runs. In the file: the database as it is now, the key that answers are
/// derived from, the administrator's token, who this installation is in the engine, and the mirror of
/// the repository. Whoever has it can work out every answer: it has mode 0600, keep it like a key.
/// Not in it: flagops.toml and the files that it names, and what is made again (images, rendered
/// files).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops backup /mnt/elsewhere/
  flagops backup event.flagops.tar --data-dir /var/lib/flagops
  flagops backup /mnt/elsewhere/ --without-mirror")]
pub(crate) struct BackupArgs {
    /// A new file; or a directory, for a file that is named by the time
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
    /// Leave the mirror of the repository out: it is fetched again
    #[arg(long)]
    without_mirror: bool,
}

/// Put a backup into place as the data directory
///
/// The data directory must not be there, or be empty: nothing is replaced. Everything is checked
/// against the manifest of the backup before it is. At the next start the server says what came after
/// the backup and is lost, and takes nothing away that it does not know until somebody runs
/// `flagops recover --accept`; instances that still run go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops restore /mnt/elsewhere/flagops-2026-11-28T16-12-00Z.tar --data-dir /var/lib/flagops
  flagops serve --data-dir /var/lib/flagops --repo URL
  flagops recover                        # what runs that the backup does not know")]
pub(crate) struct RestoreArgs {
    /// What `flagops backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Makes a backup.
pub(crate) async fn back_up(global: &Global, args: BackupArgs) -> Result<Ending, Failure> {
    let data_dir = global.load(Need::Client, Overrides::new())?.data_dir;
    let now = clock::of_this_process().now();
    let target = file_of(args.target, now);
    let mirror = if args.without_mirror { WithMirror::No } else { WithMirror::Yes };
    let file = target.clone();
    let work = move || whole::back_up_all(&data_dir, &file, mirror, now);
    let manifest = off_thread(work).await?;
    tell(global, "wrote", &target, &manifest)?;
    output::note(
        "it holds the key of all answers and the administrator's token: keep it like a key. \
         flagops.toml and the files that it names are not in it.",
    );
    Ok(Ending::Fine)
}

/// Puts one back.
pub(crate) async fn restore(global: &Global, args: RestoreArgs) -> Result<Ending, Failure> {
    let data_dir = global.load(Need::Client, Overrides::new())?.data_dir;
    let (file, target) = (args.file, data_dir.clone());
    let manifest = off_thread(move || whole::restore_all(&file, &target)).await?;
    tell(global, "restored", &data_dir, &manifest)?;
    output::note(
        "start the server; then `flagops recover` says what came later and is lost, and what runs \
         that the backup does not know.",
    );
    Ok(Ending::Fine)
}

/// The file itself, or one in a directory, named by the time.
fn file_of(target: PathBuf, now: Timestamp) -> PathBuf {
    if target.is_dir() {
        target.join(format!("flagops-{}.tar", now.rfc3339().replace(':', "-")))
    } else {
        target
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WholeError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Failure::failed("the work was interrupted", "try again"))?;
    done.map_err(|error| {
        let next = match &error {
            WholeError::NotOurs { .. } => "name the server's own with `--data-dir`",
            WholeError::Taken { .. } => "",
            WholeError::Unusable { .. } => "take another backup",
            WholeError::Database { .. } => "is it this server's data directory, and whole?",
            WholeError::Io { .. } => "",
        };
        Failure::failed(Chain(&error).to_string(), next)
    })
}

fn tell(global: &Global, verb: &str, path: &Path, manifest: &Manifest) -> Result<(), Failure> {
    match global.format() {
        Format::Json => output::print_json(&json!({
            "path": path.display().to_string(),
            "made_at": manifest.made_at,
            "installation": manifest.installation,
            "flagops": manifest.flagops,
            "files": manifest.files.len(),
            "size_bytes": manifest.total_bytes(),
        }))?,
        Format::Table => output::print(&format!(
            "{verb} {}: {} files, {} bytes, as of {}",
            output::clean(&path.display().to_string()),
            manifest.files.len(),
            manifest.total_bytes(),
            output::clean(&manifest.made_at),
        ))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gets_a_file_that_is_named_by_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_795_000_000_000);
        let named = file_of(folder.path().to_owned(), now);
        assert_eq!(named.file_name().unwrap(), "flagops-2026-11-18T11-06-40Z.tar");
        let file = folder.path().join("x.tar");
        assert_eq!(file_of(file.clone(), now), file);
    }
}
