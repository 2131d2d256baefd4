//! `flagops secrets keygen`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::secrets::KeyPair;

use super::files;

/// Makes a key.
pub(super) fn run(global: &Global, path: &Path) -> Result<Ending, Failure> {
    let shown = path.display();
    if let Some(repository) = files::repository_of(path) {
        return Err(Failure::usage(
            format!("`{shown}` would lie in the git repository `{}`", repository.display()),
            "write it elsewhere, such as /etc/flagops/age.key: an identity opens every secret",
        ));
    }
    let pair = KeyPair::generate().map_err(|error| Failure::failed(error.to_string(), ""))?;
    write(path, pair.file().as_bytes()).map_err(|error| {
        let next = "name a new file in a folder where you may write";
        Failure::failed(format!("could not write `{shown}` ({error})"), next)
    })?;
    match global.format() {
        Format::Json => output::print_json(&serde_json::json!({
            "recipient": pair.recipient(),
            "identity_file": path,
        }))?,
        // The recipient alone goes to standard output, so that it can be appended to the file.
        Format::Table => {
            output::note(&output::clean(&format!(
                "wrote the identity to `{shown}`; this is its recipient, a line for \
                 `.age-recipients`:"
            )));
            output::print(pair.recipient())?;
        }
    }
    Ok(Ending::Fine)
}

/// Writes a file that was not there, for its owner only.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of a key is none; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(path);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
