//! `flagops secrets check`.

use std::path::{Path, PathBuf};

use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Format};
use crate::cli::settings::Global;
use crate::secrets::{
    DecryptError, Header, Identities, MAX_FILE_BYTES, RECIPIENTS_FILE, Recipients, inspect,
};

use super::BelowArgs;
use super::files::{self, Book};

/// How an encrypted file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The identity opens it, and it is for as many as it should be.
    Ok,
    /// It is for as many as it should be; there is no identity to open it.
    Unopened,
    /// It is for more or fewer than it should be.
    Stale,
    /// The identity does not open it.
    Closed,
    /// Nobody can open it.
    Broken,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unopened => "unopened",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::Broken => "broken",
        }
    }

    fn is_finding(self) -> bool {
        match self {
            Self::Ok | Self::Unopened => false,
            Self::Stale | Self::Closed | Self::Broken => true,
        }
    }
}

/// One file and what was seen of it.
struct Row {
    path: PathBuf,
    state: State,
    header: Option<Header>,
    n_wanted: Option<usize>,
    problem: Option<String>,
}

/// Looks at every file.
pub(super) fn run(global: &Global, args: &BelowArgs) -> Result<Ending, Failure> {
    let identities = files::identities(global, args.identity.as_deref())?;
    let mut book = Book::open(args.recipients_file.as_deref())?;
    let mut rows = Vec::new();
    for path in files::encrypted_below(&args.paths)? {
        let recipients = book.of(&path)?;
        rows.push(look(path, recipients, &identities));
    }
    show(global, &rows)?;
    if identities.is_empty() && !rows.is_empty() {
        output::note("no identity is at hand, so nothing was opened (`--identity PATH`)");
    }
    let is_fine = rows.iter().all(|row| !row.state.is_finding());
    Ok(if is_fine { Ending::Fine } else { Ending::Findings })
}

fn look(path: PathBuf, recipients: Option<&Recipients>, identities: &Identities) -> Row {
    let n_wanted = recipients.map(Recipients::n);
    let mut row = Row { path, state: State::Broken, header: None, n_wanted, problem: None };
    let bytes = match files::read(&row.path, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return Row { problem: Some(error.to_string()), ..row },
    };
    let header = match inspect(&bytes) {
        Ok(header) => header,
        Err(error) => return Row { problem: Some(error.to_string()), ..row },
    };
    let stale = staleness(&header, n_wanted);
    row.header = Some(header);
    let opened = identities.decrypt(&bytes).err();
    (row.state, row.problem) = match (opened, stale) {
        (Some(error @ (DecryptError::Damaged | DecryptError::Unusable(_))), _) => {
            (State::Broken, Some(error.to_string()))
        }
        (Some(DecryptError::OtherKeys { .. }), _) => {
            (State::Closed, Some("the identity at hand does not open it".to_owned()))
        }
        (_, Some(stale)) => (State::Stale, Some(stale)),
        (Some(DecryptError::NoIdentity | DecryptError::NotBuilt), None) => (State::Unopened, None),
        (None, None) => (State::Ok, None),
    };
    row
}

/// Why a file should be encrypted anew, as far as its header tells.
fn staleness(header: &Header, n_wanted: Option<usize>) -> Option<String> {
    match n_wanted {
        None => Some(format!("there is no `{RECIPIENTS_FILE}` above it")),
        Some(n) if n != header.n_recipients => Some(format!(
            "it is for {} recipients and `{RECIPIENTS_FILE}` names {n}: `flagops secrets rekey`",
            header.n_recipients
        )),
        Some(_) => None,
    }
}

fn show(global: &Global, rows: &[Row]) -> Result<(), Failure> {
    match global.format() {
        Format::Json => {
            let files: Vec<_> = rows.iter().map(json).collect();
            output::print_json(&serde_json::json!({ "files": files }))
        }
        Format::Table if rows.is_empty() => {
            output::note("there is no encrypted file");
            Ok(())
        }
        Format::Table => {
            let cells: Vec<_> = rows.iter().map(cells).collect();
            let header = ["FILE", "STATE", "RECIPIENTS", "BYTES", "WHY"];
            output::print(&output::table(&header, &cells))
        }
    }
}

fn cells(row: &Row) -> Vec<String> {
    let number = |get: fn(&Header) -> u64| {
        row.header.as_ref().map(|header| get(header).to_string()).unwrap_or_default()
    };
    vec![
        shown(&row.path),
        row.state.as_str().to_owned(),
        number(|header| header.n_recipients as u64),
        number(|header| header.plain_bytes),
        row.problem.clone().unwrap_or_default(),
    ]
}

fn json(row: &Row) -> serde_json::Value {
    serde_json::json!({
        "path": row.path,
        "state": row.state.as_str(),
        "n_recipients": row.header.as_ref().map(|header| header.n_recipients),
        "n_wanted": row.n_wanted,
        "plain_bytes": row.header.as_ref().map(|header| header.plain_bytes),
        "problem": row.problem,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
