//! `flagops instances pcap`: the captured packets of an instance, as a file.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::resolve;
use crate::cli::client::{Client, Request};
use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;

/// Saves them; of an instance that is over, those of the archive.
pub(super) async fn run(
    global: &Global,
    client: &Client,
    text: &str,
    out: Option<PathBuf>,
) -> Result<Ending, Failure> {
    let id = resolve(client, text).await?.to_string();
    let path = ["admin", "instance-records", &id, "pcap"];
    let bytes = client.get_bytes(Request::to(&path)).await?;
    let file = out.unwrap_or_else(|| format!("{id}.pcap").into());
    write_private(&file, &bytes).map_err(|error| {
        let problem = format!("could not write `{}`: {error}", file.display());
        Failure::failed(problem, "give a file that is not there yet with --out")
    })?;
    let path = file.display().to_string();
    match global.format() {
        Format::Json => {
            output::print_json(&json!({ "id": id, "file": path, "bytes": bytes.len() }))?;
        }
        Format::Table => output::print(&format!("saved {} bytes as {path}", bytes.len()))?,
    }
    Ok(Ending::Fine)
}

/// Writes a new file that nobody else reads: what players send may be private.
fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(file)?.write_all(bytes)
}
