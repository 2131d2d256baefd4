//! Copies commits between two repositories on this machine.
//!
//! Used for remotes that are folders and to save pins out of a damaged mirror. libgit2's own local
//! transport copies every branch and tag of the source, whatever was asked for, and again on every
//! fetch; this copies what is reachable from one commit and not there yet.

use std::io::Write as _;

use git2::{ObjectType, Oid, PackBuilder, Repository};

/// The largest tag object that is read: a message and a signature.
pub(super) const MAX_TAG_BYTES: usize = 1 << 20;

/// How a copy ended early.
pub(super) enum CopyError {
    /// `watch` said stop.
    Stopped,
    /// One of the repositories failed.
    Git(git2::Error),
}

impl From<git2::Error> for CopyError {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

/// The tag objects from `oid` on, and the commit that they name in the end; `None` when that is
/// something else, or the repository does not have it.
pub(super) fn tag_chain(
    from: &Repository,
    mut oid: Oid,
) -> Result<(Vec<Oid>, Option<Oid>), git2::Error> {
    let odb = from.odb()?;
    let mut tags = Vec::new();
    // A chain that is longer is no release.
    for _ in 0..8 {
        let Ok((size, kind)) = odb.read_header(oid) else { return Ok((tags, None)) };
        match kind {
            ObjectType::Commit => return Ok((tags, Some(oid))),
            ObjectType::Tag if size <= MAX_TAG_BYTES => {
                tags.push(oid);
                oid = from.find_tag(oid)?.target_id();
            }
            ObjectType::Tag | ObjectType::Tree | ObjectType::Blob | ObjectType::Any => break,
        }
    }
    Ok((tags, None))
}

/// Copies tag objects, not what they name. As a pack: libgit2 reads for ever in a file of one object
/// that was cut off, as by a bad disk (libgit2#7342), and says of a pack that it is damaged.
pub(super) fn copy_tags(
    from: &Repository,
    to: &Repository,
    tags: &[Oid],
) -> Result<(), git2::Error> {
    let mut pack = from.packbuilder()?;
    for oid in tags {
        pack.insert_object(*oid, None)?;
    }
    match write(&mut pack, to, |_| true) {
        // Nobody stops it.
        Ok(()) | Err(CopyError::Stopped) => Ok(()),
        Err(CopyError::Git(error)) => Err(error),
    }
}

/// Copies commit `tip` and everything that it needs. `watch` is given the bytes so far and says
/// whether to go on. Nothing is visible in `to` unless all of it is.
pub(super) fn copy(
    from: &Repository,
    to: &Repository,
    tip: Oid,
    watch: impl FnMut(u64) -> bool,
) -> Result<(), CopyError> {
    let mut walk = from.revwalk()?;
    walk.push(tip)?;
    for reference in to.references_glob("refs/flagops/*")? {
        let Some(known) = reference?.target() else { continue };
        // What both have need not be copied; what only we have, `from` cannot hide.
        if from.find_commit(known).is_ok() && to.find_commit(known).is_ok() {
            walk.hide(known)?;
        }
    }
    let mut pack = from.packbuilder()?;
    // Two threads at most: players are on the same machine.
    pack.set_threads(2);
    pack.insert_walk(&mut walk)?;
    write(&mut pack, to, watch)
}

/// Writes a pack into `to`.
fn write(
    pack: &mut PackBuilder<'_>,
    to: &Repository,
    mut watch: impl FnMut(u64) -> bool,
) -> Result<(), CopyError> {
    if pack.object_count() == 0 {
        return Ok(());
    }
    let odb = to.odb()?;
    let mut writer = odb.packwriter()?;
    let mut n_bytes = 0;
    let mut is_stopped = false;
    let mut failure = None;
    let outcome = pack.foreach(|chunk| {
        n_bytes += chunk.len() as u64;
        is_stopped = !watch(n_bytes);
        if !is_stopped && let Err(error) = writer.write_all(chunk) {
            failure = Some(git2::Error::from_str(&error.to_string()));
        }
        !is_stopped && failure.is_none()
    });
    if is_stopped {
        return Err(CopyError::Stopped);
    }
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    outcome?;
    writer.commit()?;
    Ok(())
}
