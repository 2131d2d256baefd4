//! Which files of a folder make up a build context, after `.dockerignore`, and their digest.

use thiserror::Error;

use crate::model::{ContextId, ObjectId, Tree, TreeError};

/// One regular file of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// Path inside the context.
    pub path: String,
    /// Whether the executable bit is set.
    pub is_executable: bool,
    /// The blob.
    pub oid: ObjectId,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// Why a folder is no usable context.
#[derive(Debug, Error)]
pub enum ContextError {
    /// The store failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The files of the context folder `root` (path from the repository's root), sorted by path.
///
/// # Errors
/// When the folder does not exist or is over budget.
pub fn files(
    tree: &dyn Tree,
    root: &str,
    dockerfile: &str,
) -> Result<Vec<ContextFile>, ContextError> {
    let _ = (tree, root, dockerfile);
    Ok(Vec::new())
}

/// The digest of a context: equal for equal paths, modes and contents.
pub fn digest(files: &[ContextFile]) -> ContextId {
    let _ = files;
    ContextId::from_digest([0; 32])
}
