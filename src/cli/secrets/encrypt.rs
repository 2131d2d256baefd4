//! `flagops secrets encrypt`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::secrets::{Encoding, MAX_PLAIN_BYTES, Plaintext};

use super::EncryptArgs;
use super::files::{self, Book};

/// A file that is encrypted and not written yet.
struct Sealed {
    from: PathBuf,
    to: PathBuf,
    bytes: Vec<u8>,
    n_recipients: usize,
}

/// Encrypts every file, and writes only when all of them could be.
pub(super) fn run(global: &Global, args: &EncryptArgs) -> Result<Ending, Failure> {
    let mut book = Book::open(args.recipients_file.as_deref())?;
    let encoding = if args.binary { Encoding::Binary } else { Encoding::Armored };
    let mut sealed = Vec::new();
    for path in &args.files {
        sealed.push(seal(path, encoding, &mut book)?);
    }
    for file in &sealed {
        files::write_whole(&file.to, &file.bytes, &file.from).map_err(|error| {
            let next = "make room, or check who may write there; nothing was removed";
            Failure::failed(format!("could not write `{}` ({error})", file.to.display()), next)
        })?;
    }
    if args.remove {
        for file in &sealed {
            fs::remove_file(&file.from).map_err(|error| {
                let problem = format!("could not remove `{}` ({error})", file.from.display());
                Failure::failed(problem, "it is encrypted; remove it by hand")
            })?;
        }
    }
    show(global, args, &sealed)
}

fn seal(path: &Path, encoding: Encoding, book: &mut Book) -> Result<Sealed, Failure> {
    let shown = path.display();
    if files::is_encrypted(path) {
        let next = "name the plain file; `flagops secrets rekey` encrypts for other recipients";
        return Err(Failure::usage(format!("`{shown}` is encrypted already"), next));
    }
    let kind = fs::symlink_metadata(path).map(|metadata| metadata.is_file());
    if !matches!(kind, Ok(true)) {
        let why = kind.err().map_or("it is no regular file".to_owned(), |error| error.to_string());
        return Err(Failure::usage(format!("could not open `{shown}` ({why})"), "name a file"));
    }
    let recipients = book.of(path)?.ok_or_else(|| files::no_recipients(path))?;
    let bytes = files::read(path, MAX_PLAIN_BYTES).map_err(|error| {
        Failure::failed(format!("could not read `{shown}` ({error})"), "check who may read it")
    })?;
    let plain = Plaintext::new(bytes);
    let bytes = recipients.encrypt(plain.as_ref(), encoding).map_err(|error| {
        let next = "encrypt only what is secret, not large files beside it";
        Failure::failed(format!("`{shown}`: {error}"), next)
    })?;
    let mut to = path.as_os_str().to_owned();
    to.push(".age");
    Ok(Sealed { from: path.to_owned(), to: to.into(), bytes, n_recipients: recipients.n() })
}

fn show(global: &Global, args: &EncryptArgs, sealed: &[Sealed]) -> Result<Ending, Failure> {
    match global.format() {
        Format::Json => {
            let files: Vec<_> = sealed
                .iter()
                .map(|file| {
                    serde_json::json!({
                        "file": file.from,
                        "written": file.to,
                        "n_recipients": file.n_recipients,
                        "removed": args.remove,
                    })
                })
                .collect();
            output::print_json(&serde_json::json!({ "files": files }))?;
        }
        Format::Table => {
            let row =
                |file: &Sealed| vec![file.to.display().to_string(), file.n_recipients.to_string()];
            let rows: Vec<_> = sealed.iter().map(row).collect();
            output::print(&output::table(&["WRITTEN", "RECIPIENTS"], &rows))?;
        }
    }
    if !args.remove {
        output::note(
            "the plain files are still there: keep them out of git (`--remove` removes them)",
        );
    }
    Ok(Ending::Fine)
}
