//! A build context as a tar, straight from git objects: no work tree, no filter, no hook.
//!
//! Everything that could differ between two machines is fixed (owner, times, modes, order), or the
//! engine's cache would never hit (P10).

use bytes::Bytes;
use tar::{Builder, EntryType, Header};

use crate::catalog::context::{self, ContextError};
use crate::model::compose::BuildSpec;
use crate::model::{Tree, TreeError};

/// The files of a build's context as an uncompressed tar.
///
/// # Errors
/// When a file cannot be read, or the folder is no usable context.
pub fn context_tar(
    tree: &dyn Tree,
    challenge_path: &str,
    build: &BuildSpec,
) -> Result<Bytes, ContextError> {
    let root = match build.context.as_str() {
        "" => challenge_path.to_owned(),
        inside => format!("{challenge_path}/{inside}"),
    };
    let mut tar = Builder::new(Vec::new());
    for file in context::files(tree, &root, &build.dockerfile)? {
        let content = tree.read(&format!("{root}/{}", file.path), file.size_bytes)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(if file.is_executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let path = file.path.clone();
        let unwritable = |error: std::io::Error| TreeError::Unreadable {
            path,
            reason: format!("it does not fit into an archive ({error})"),
        };
        tar.append_data(&mut header, &file.path, content.as_slice()).map_err(unwritable)?;
    }
    let bytes = tar
        .into_inner()
        .map_err(|error| TreeError::Unreadable { path: root, reason: error.to_string() })?;
    Ok(Bytes::from(bytes))
}
