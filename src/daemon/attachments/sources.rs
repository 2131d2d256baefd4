//! Reads the templates of one challenge, and what they may include, from git objects.
//!
//! # Invariants
//! * Nothing outside of `attachments/` of the one commit is read, no link is followed.
//! * What may be included is bounded by number, size and sum.

use std::collections::BTreeMap;

use super::folder::Target;
use crate::model::{Attachment, EntryKind, Tree, TreeError, challenge::plain_name};
use crate::render::attachments::MAX_SOURCE_BYTES;
use crate::render::attachments::job::Source;
use crate::secrets::{Identities, MAX_FILE_BYTES};

/// Most bytes of files that templates of one challenge may include.
const MAX_INCLUDED_BYTES: usize = 8 << 20;
/// Deepest folder below `attachments/`.
const MAX_DEPTH: usize = 16;

/// What one instance is rendered from.
pub(super) struct Sources {
    /// The templates, in the order asked for.
    pub(super) templates: Vec<Source>,
    /// What each of them becomes.
    pub(super) targets: Vec<Target>,
    /// Text files that they may include, by the name that a template knows.
    pub(super) files: BTreeMap<String, String>,
}

/// A file below `attachments/`.
struct Stored {
    /// Its path there.
    name: String,
    size_bytes: u64,
    is_executable: bool,
}

impl Stored {
    /// What it is called once it is decrypted.
    fn plain(&self) -> &str {
        plain_name(&self.name).unwrap_or(&self.name)
    }
}

/// Reads `templates` of the challenge at `path`, and the files that they may include.
///
/// # Errors
/// What is wrong, with the name of the file.
pub(super) fn read(
    tree: &dyn Tree,
    path: &str,
    templates: &[String],
    identities: &Identities,
) -> Result<Sources, String> {
    let root = format!("{path}/attachments");
    let mut stored = Vec::new();
    walk(tree, &root, "", 0, &mut stored).map_err(|error| error.to_string())?;
    let mut sources =
        Sources { templates: Vec::new(), targets: Vec::new(), files: BTreeMap::new() };
    for name in templates {
        let gone = || format!("{name}: it is not in `attachments/` of this commit");
        let file = stored.iter().find(|it| it.name == *name).ok_or_else(gone)?;
        let Some(text) = text(tree, &root, file, identities)? else {
            return Err(format!("{name}: it is no text of at most {MAX_SOURCE_BYTES} bytes"));
        };
        sources.templates.push(Source { name: file.plain().to_owned(), text });
        sources
            .targets
            .push(Target { name: public_name(&file.name), is_executable: file.is_executable });
    }
    let mut left = MAX_INCLUDED_BYTES;
    for file in stored.iter().filter(|file| may_be_included(&sources.templates, file.plain())) {
        if let Some(text) = text(tree, &root, file, identities)?
            && text.len() <= left
        {
            left -= text.len();
            sources.files.insert(file.plain().to_owned(), text);
        }
    }
    Ok(sources)
}

/// The name that players see.
fn public_name(stored: &str) -> String {
    let file = Attachment {
        name: stored.to_owned(),
        size_bytes: 0,
        is_encrypted: plain_name(stored).is_some(),
        is_template: true,
    };
    file.public_name().to_owned()
}

/// Whether some template may include the file `name`: an include has it in quotes, unless it is
/// written with escapes.
fn may_be_included(templates: &[Source], name: &str) -> bool {
    templates
        .iter()
        .any(|it| it.text.contains("include") && (it.text.contains(name) || it.text.contains('\\')))
}

/// The text of `file`, decrypted; `None` when it is too large or no UTF-8.
fn text(
    tree: &dyn Tree,
    root: &str,
    file: &Stored,
    identities: &Identities,
) -> Result<Option<String>, String> {
    let path = format!("{root}/{}", file.name);
    let is_encrypted = plain_name(&file.name).is_some();
    // An encrypted file is a little larger than its content.
    let limit = MAX_SOURCE_BYTES as u64 + if is_encrypted { 16 << 10 } else { 0 };
    if file.size_bytes > limit {
        return Ok(None);
    }
    let named = |why: String| format!("{}: {why}", file.name);
    let read = |limit| tree.read(&path, limit).map_err(|error| named(error.to_string()));
    let bytes = if is_encrypted {
        let bytes = read(MAX_FILE_BYTES)?;
        let plain = identities.decrypt(&bytes).map_err(|error| named(error.to_string()))?;
        plain.as_ref().to_vec()
    } else {
        read(limit)?
    };
    let text = String::from_utf8(bytes).ok();
    Ok(text.filter(|text| text.len() <= MAX_SOURCE_BYTES))
}

/// Collects every regular file below `root`/`folder`.
fn walk(
    tree: &dyn Tree,
    root: &str,
    folder: &str,
    depth: usize,
    found: &mut Vec<Stored>,
) -> Result<(), TreeError> {
    let join = |base: &str, name: &str| match base {
        "" => name.to_owned(),
        base => format!("{base}/{name}"),
    };
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for entry in
        tree.entries(&if folder.is_empty() { root.to_owned() } else { join(root, folder) })?
    {
        let name = join(folder, &entry.name);
        match entry.kind {
            EntryKind::File { executable } if entry.is_utf8 => {
                let size_bytes = entry.size_bytes;
                found.push(Stored { name, size_bytes, is_executable: executable });
            }
            EntryKind::Directory => walk(tree, root, &name, depth + 1, found)?,
            EntryKind::File { .. } | EntryKind::Symlink | EntryKind::Submodule => (),
        }
    }
    Ok(())
}
