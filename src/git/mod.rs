//! The only room that touches git.

pub mod revision;
pub mod tree;
pub mod worktree;

pub use tree::GitTree;
pub use worktree::WorkTree;
