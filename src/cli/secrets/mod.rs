//! `flagops secrets`: keys, and the files of a repository that are encrypted for them.
//!
//! Works on files of this machine; no server is asked.
//!
//! # Invariants
//! * A file is replaced as a whole or not at all. Nothing is removed unless `--remove` says so.
//! * No plaintext is printed or written; no identity but the one that was just made.

mod check;
mod encrypt;
mod files;
mod keygen;
mod rekey;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::failure::{Ending, Failure};
use super::settings::Global;

/// Encrypt files of a repository for the nodes, and look after them
///
/// A file `x.age` is `x` where images are built and among attachments: nodes decrypt it in memory
/// with an identity that only they have. `.age-recipients` at the root of the repository says for
/// whom to encrypt. docs/secrets.md says how it all works.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops secrets keygen /etc/flagops/age.key >> .age-recipients
  flagops secrets encrypt --remove WEB/WEB-001/services/web/flag.txt
  flagops secrets check
  flagops secrets rekey --identity /etc/flagops/age.key")]
pub(crate) struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Make a key: write the identity to FILE, print its recipient
    ///
    /// FILE is made with mode 0600 and must not be there yet. It belongs on the nodes, outside of
    /// every repository; `secrets.identity_file` in flagops.toml names it.
    #[command(after_help = "\
Examples:
  flagops secrets keygen /etc/flagops/age.key >> .age-recipients")]
    Keygen {
        /// Where the identity goes
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Encrypt files for the recipients of the repository
    ///
    /// Writes FILE.age beside each FILE, as text that diffs take. An older FILE.age is replaced.
    #[command(after_help = "\
Examples:
  flagops secrets encrypt services/web/flag.txt
  flagops secrets encrypt --remove attachments/map.png")]
    Encrypt(EncryptArgs),
    /// Encrypt every encrypted file anew, for the recipients of now
    ///
    /// Needs an identity that opens them. A file that it does not open is left as it is. Every file
    /// changes, so images that hold one are built anew. Who is no recipient any more can still open
    /// what was pushed before: a secret that somebody should not know has to be another one.
    #[command(after_help = "\
Examples:
  flagops secrets rekey
  flagops secrets rekey --identity ~/.config/flagops/age.key WEB/WEB-001

Exit codes: 0 all were encrypted anew, 1 some were not, 2 wrong usage or configuration.")]
    Rekey(BelowArgs),
    /// Look at every encrypted file: can it be opened, and for how many is it encrypted
    ///
    /// Nobody can tell from a file for whom it is encrypted, only for how many; that number is
    /// compared with `.age-recipients`. Without an identity nothing is opened, and the rest is
    /// looked at all the same.
    ///
    /// States: ok; unopened (no identity at hand, else fine); stale (for another number of
    /// recipients); closed (the identity at hand does not open it); broken (nobody can open it).
    #[command(after_help = "\
Examples:
  flagops secrets check
  flagops secrets check --format json | jq -r '.files[] | select(.state != \"ok\").path'

Exit codes: 0 every file is ok or unopened, 1 some are not, 2 wrong usage or configuration.")]
    Check(BelowArgs),
}

/// What to encrypt.
#[derive(Debug, Args)]
struct EncryptArgs {
    /// Files to encrypt
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Remove each FILE once all are encrypted
    #[arg(long)]
    remove: bool,

    /// Write bytes instead of text: a quarter smaller, and no diff shows them
    #[arg(long)]
    binary: bool,

    /// For whom to encrypt [default: the nearest .age-recipients above each file]
    #[arg(long, value_name = "PATH")]
    recipients_file: Option<PathBuf>,
}

/// Which encrypted files, and with what.
#[derive(Debug, Args)]
struct BelowArgs {
    /// Encrypted files, or folders of them
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// File of identities [default: `secrets.identity_file` of the configuration]
    #[arg(long, value_name = "PATH")]
    identity: Option<PathBuf>,

    /// The recipients [default: the nearest .age-recipients above each file]
    #[arg(long, value_name = "PATH")]
    recipients_file: Option<PathBuf>,
}

/// Does what `args` say.
pub(crate) fn run(global: &Global, args: &SecretsArgs) -> Result<Ending, Failure> {
    match &args.command {
        SecretsCommand::Keygen { file } => keygen::run(global, file),
        SecretsCommand::Encrypt(args) => encrypt::run(global, args),
        SecretsCommand::Rekey(args) => rekey::run(global, args),
        SecretsCommand::Check(args) => check::run(global, args),
    }
}
