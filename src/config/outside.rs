//! Opens files that must not lie in the repository, since who may push to it could change or read
//! them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is absent or not ours to read.
    Unreadable(io::Error),
    /// It is a folder, a pipe, or a device.
    NoFile,
    /// It lies in this repository, whatever link leads there.
    InRepository(PathBuf),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Opens the file at `path`. `repository` is the one that it must not lie in, if that is a folder of
/// this machine.
pub(super) fn open(path: &Path, repository: Option<&Path>) -> Result<File, Refused> {
    let real = path.canonicalize()?;
    if let Some(repository) = repository
        && repository.canonicalize().is_ok_and(|repository| real.starts_with(repository))
    {
        return Err(Refused::InRepository(repository.to_owned()));
    }
    // A pipe would be waited for.
    if !real.is_file() {
        return Err(Refused::NoFile);
    }
    Ok(File::open(&real)?)
}
