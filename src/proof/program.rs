//! What is uploaded beside a canary and run there: the exploit with the files that it may read, and
//! the module that every exploit imports.
//!
//! In:  a tree, the folder of a challenge in it, the keys. Out: a tar, the command, its environment. Pure.
//!
//! # Invariants
//! * Only regular files of `solution/` and `attachments/` are packed, up to a bound; links are left
//!   out. Encrypted ones are opened in memory, and have their plain name.
//! * The module needs nothing but the standard library; it travels in this binary.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::model::{Entry, EntryKind, Tree, TreeError, plain_name};
use crate::secrets::{DecryptError, Identities, MAX_FILE_BYTES};

/// Where an exploit is inside of a challenge.
pub const EXPLOIT: &str = "solution/exploit.py";

/// Where everything is unpacked.
pub const PLACE: &str = "/solve";

/// The Dockerfile of the image that exploits run in, unless operators name another.
pub const DOCKERFILE: &str = include_str!("../../images/solver/Dockerfile");

/// Files of the module that exploits import, by path.
pub const MODULE: [(&str, &str); 4] = [
    ("ctfy/__init__.py", include_str!("../../templates/python/ctfy/__init__.py")),
    (
        "ctfy/challenge/__init__.py",
        include_str!("../../templates/python/ctfy/challenge/__init__.py"),
    ),
    ("ctfy/challenge/exploit.py", include_str!("../../templates/python/ctfy/challenge/exploit.py")),
    ("ctfy/challenge/session.py", include_str!("../../templates/python/ctfy/challenge/session.py")),
];

/// Runs the exploit and says its answers only: what it prints beside them could push them out of
/// the end that is kept. The bound is below that of `runtime::ExecOutcome`.
const SCRIPT: &str = "cd /solve/challenge || exit 125
python3 solution/exploit.py \"$@\" >/tmp/.answers 2>/dev/null </dev/null
code=$?
grep -a '^Q\\[' /tmp/.answers | tail -c 3500
exit \"$code\"";

/// Folders of a challenge that its exploit may read.
const FOLDERS: [&str; 2] = ["solution", "attachments"];
/// Most bytes of them.
const MAX_TOTAL_BYTES: u64 = 64 << 20;
/// Most files of them.
const MAX_FILES: usize = 2000;
/// Most folders inside one another.
const MAX_DEPTH: usize = 16;
/// 2000-01-01, as in build contexts.
const MTIME_SECS: u64 = 946_684_800;

/// Why an exploit cannot be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// There is too much beside it.
    #[error(
        "`solution/` and `attachments/` have more than {} MiB, {MAX_FILES} files or {MAX_DEPTH} nested folders, too much to run the exploit with: make them smaller, or add the challenge to `solver.skip`",
        MAX_TOTAL_BYTES >> 20
    )]
    TooLarge,
    /// The tree does not answer.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// None of our keys opens a file.
    #[error("`{path}` cannot be decrypted")]
    Decrypt {
        /// The file in the repository.
        path: String,
        /// Why, and what to do.
        source: DecryptError,
    },
    /// A name that no tar can hold.
    #[error("a file cannot be packed ({0})")]
    Unpackable(#[from] std::io::Error),
}

/// The command that runs the exploit against `target`.
pub fn command(target: Option<(String, u16)>) -> Vec<String> {
    let script = ["/bin/sh", "-c", SCRIPT, "solve"].map(str::to_owned);
    let target = target.into_iter().flat_map(|(host, port)| [host, port.to_string()]);
    script.into_iter().chain(target).collect()
}

/// The environment of the exploit: nothing of ours, and no answer.
pub fn environment() -> BTreeMap<String, String> {
    let variables = [
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONPATH", "/solve/python"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What is unpacked at [`PLACE`] to run the exploit of the challenge in `folder`; `None` when it has
/// none.
///
/// # Errors
/// When there is too much, a file cannot be decrypted, or the tree does not answer.
pub fn pack(
    tree: &dyn Tree,
    folder: &str,
    identities: &Identities,
) -> Result<Option<Vec<u8>>, PackError> {
    let mut pack = Pack {
        tree,
        folder,
        identities,
        tar: tar::Builder::new(Vec::new()),
        n_files: 0,
        left_bytes: MAX_TOTAL_BYTES,
    };
    let solution = match tree.entries(&pack.inside("solution")) {
        Ok(entries) => entries,
        Err(TreeError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_exploit = |entry: &Entry| {
        plain_name(&entry.name).unwrap_or(&entry.name) == "exploit.py"
            && matches!(entry.kind, EntryKind::File { .. })
    };
    if !solution.iter().any(is_exploit) {
        return Ok(None);
    }
    for folder in FOLDERS {
        pack.add(folder, 0)?;
    }
    for (path, content) in MODULE {
        pack.append(&format!("python/{path}"), content.as_bytes())?;
    }
    Ok(Some(pack.tar.into_inner()?))
}

struct Pack<'a> {
    tree: &'a dyn Tree,
    folder: &'a str,
    identities: &'a Identities,
    tar: tar::Builder<Vec<u8>>,
    n_files: usize,
    left_bytes: u64,
}

impl Pack<'_> {
    fn inside(&self, path: &str) -> String {
        if self.folder.is_empty() { path.to_owned() } else { format!("{}/{path}", self.folder) }
    }

    /// Adds a folder of the challenge; one that is not there adds nothing.
    fn add(&mut self, path: &str, depth: usize) -> Result<(), PackError> {
        let entries = match self.tree.entries(&self.inside(path)) {
            Ok(entries) => entries,
            Err(TreeError::NotFound { .. }) if depth == 0 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if depth >= MAX_DEPTH {
            return Err(PackError::TooLarge);
        }
        for entry in entries.iter().filter(|entry| entry.is_utf8 && is_name(&entry.name)) {
            let path = format!("{path}/{}", entry.name);
            match entry.kind {
                EntryKind::Directory => self.add(&path, depth + 1)?,
                EntryKind::File { .. } => {
                    self.n_files += 1;
                    let left = self.left_bytes.checked_sub(entry.size_bytes);
                    self.left_bytes = left.ok_or(PackError::TooLarge)?;
                    if self.n_files > MAX_FILES {
                        return Err(PackError::TooLarge);
                    }
                    self.add_file(&path, entry.size_bytes)?;
                }
                EntryKind::Symlink | EntryKind::Submodule => {}
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &str, size_bytes: u64) -> Result<(), PackError> {
        let stored = self.inside(path);
        let Some(plain) = plain_name(path) else {
            let content = self.tree.read(&stored, size_bytes)?;
            return self.append(&format!("challenge/{path}"), &content);
        };
        let content = self.tree.read(&stored, MAX_FILE_BYTES)?;
        let failed = |source| PackError::Decrypt { path: stored, source };
        let content = self.identities.decrypt(&content).map_err(failed)?;
        self.append(&format!("challenge/{plain}"), content.as_ref())
    }

    fn append(&mut self, path: &str, content: &[u8]) -> Result<(), PackError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME_SECS);
        header.set_size(content.len() as u64);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }
}

/// Whether an entry of a folder has a name that stays in it.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}
