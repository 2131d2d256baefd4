//! `flagops secrets rekey`.

use std::path::{Path, PathBuf};

use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::secrets::{DecryptError, Identities, MAX_FILE_BYTES};

use super::BelowArgs;
use super::files::{self, Book};

/// Encrypts every file anew that the identity opens.
pub(super) fn run(global: &Global, args: &BelowArgs) -> Result<Ending, Failure> {
    let identities = files::identities(global, args.identity.as_deref())?;
    if identities.is_empty() {
        return Err(Failure::usage(
            "there is no identity to open the files with",
            "name its file: `--identity PATH`, or `identity_file` below `[secrets]`",
        ));
    }
    let mut book = Book::open(args.recipients_file.as_deref())?;
    let paths = files::encrypted_below(&args.paths)?;
    // Before anything is written: for whom all of them are.
    for path in &paths {
        book.of(path)?.ok_or_else(|| files::no_recipients(path))?;
    }
    let mut rows = Vec::new();
    for path in &paths {
        rows.push((path, rekey(path, &identities, &mut book)));
    }
    show(global, &rows)?;
    warn_of_lockout(&identities, &book);
    let is_done = rows.iter().all(|(_, done)| done.is_ok());
    Ok(if is_done { Ending::Fine } else { Ending::Findings })
}

/// A file, and for how many it is encrypted now, or why it is as it was.
type Row<'p> = (&'p PathBuf, Result<usize, String>);

fn show(global: &Global, rows: &[Row<'_>]) -> Result<(), Failure> {
    match global.format() {
        Format::Json => {
            let json = |(path, done): &Row<'_>| {
                serde_json::json!({
                    "path": path,
                    "rekeyed": done.is_ok(),
                    "n_recipients": done.as_ref().ok(),
                    "problem": done.as_ref().err(),
                })
            };
            let files: Vec<_> = rows.iter().map(json).collect();
            output::print_json(&serde_json::json!({ "files": files }))
        }
        Format::Table if rows.is_empty() => {
            output::note("there is no encrypted file");
            Ok(())
        }
        Format::Table => {
            let rows: Vec<_> = rows.iter().map(|(path, done)| cells(path, done)).collect();
            output::print(&output::table(&["FILE", "STATE", "RECIPIENTS", "WHY"], &rows))
        }
    }
}

fn cells(path: &Path, done: &Result<usize, String>) -> Vec<String> {
    let path = path.display().to_string();
    match done {
        Ok(n) => vec![path, "rekeyed".to_owned(), n.to_string(), String::new()],
        Err(why) => vec![path, "as it was".to_owned(), String::new(), why.clone()],
    }
}

/// For how many the file is encrypted now, or why it is as it was.
fn rekey(path: &Path, identities: &Identities, book: &mut Book) -> Result<usize, String> {
    // The caller asked before, so this is for a file that went away in between.
    let Ok(Some(recipients)) = book.of(path) else {
        return Err("nobody says for whom".to_owned());
    };
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
    let (plain, encoding) = identities.decrypt_as_stored(&bytes).map_err(|error| match error {
        DecryptError::OtherKeys { .. } => "the identity at hand does not open it".to_owned(),
        error => error.to_string(),
    })?;
    let bytes = recipients.encrypt(plain.as_ref(), encoding).map_err(|error| error.to_string())?;
    files::write_whole(path, &bytes, path).map_err(|error| error.to_string())?;
    Ok(recipients.n())
}

/// Says so when the identity opens the files no more.
fn warn_of_lockout(identities: &Identities, book: &Book) {
    let own = identities.recipients();
    for (path, recipients) in book.all() {
        if !recipients.texts().iter().any(|text| own.contains(text)) {
            output::note(&output::clean(&format!(
                "`{}` does not name the identity at hand: it opens these files no more",
                path.display()
            )));
        }
    }
}
