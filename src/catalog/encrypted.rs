//! What the encrypted files of a challenge folder say of themselves, without a key.
//!
//! # Invariants
//! * What is read ends at a budget; a file over it is named, not skipped.

use std::collections::BTreeMap;

use super::files::Files;
use super::folder::join;
use crate::model::{Tree, TreeError, plain_name};
use crate::secrets::{Header, MAX_FILE_BYTES, Unusable, inspect};

/// Most bytes of all encrypted files of a challenge: they are in memory when it is built.
const MAX_TOTAL_BYTES: u64 = 64 << 20;

/// Every file of a folder that ends in `.age`, by its path inside of it.
#[derive(Debug, Default)]
pub(super) struct Encrypted(BTreeMap<String, Result<Header, Fault>>);

/// Why a file cannot be decrypted by anybody who serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is none that we read.
    Unusable(Unusable),
    /// With those before it, it is over the budget.
    OverBudget,
}

impl Encrypted {
    /// Looks at every encrypted file of the folder `root`.
    pub(super) fn read(tree: &dyn Tree, root: &str, files: &Files) -> Result<Self, TreeError> {
        let mut all = BTreeMap::new();
        let mut left = MAX_TOTAL_BYTES;
        for (name, size_bytes) in files.below("") {
            if plain_name(name).is_none() {
                continue;
            }
            let seen = if size_bytes > MAX_FILE_BYTES {
                Err(Fault::Unusable(Unusable::TooLarge))
            } else if size_bytes > left {
                Err(Fault::OverBudget)
            } else {
                left -= size_bytes;
                match tree.read(&join(root, name), MAX_FILE_BYTES) {
                    Ok(bytes) => inspect(&bytes).map_err(Fault::Unusable),
                    Err(error @ TreeError::Unreadable { .. }) => return Err(error),
                    // Gone between two looks at a work tree.
                    Err(
                        TreeError::NotFound { .. }
                        | TreeError::NotAFile { .. }
                        | TreeError::TooLarge { .. },
                    ) => continue,
                }
            };
            all.insert(name.to_owned(), seen);
        }
        Ok(Self(all))
    }

    /// What the file at `path` says, when it can be used.
    pub(super) fn header(&self, path: &str) -> Option<&Header> {
        self.0.get(path)?.as_ref().ok()
    }

    /// Every file, by path.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Result<Header, Fault>)> {
        self.0.iter().map(|(path, seen)| (path.as_str(), seen))
    }
}

impl Fault {
    /// What is wrong, as the end of a sentence.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Unusable(unusable) => unusable.to_string(),
            Self::OverBudget => format!(
                "the encrypted files of the challenge have more than {} MiB together",
                MAX_TOTAL_BYTES >> 20
            ),
        }
    }
}
