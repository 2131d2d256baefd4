//! Reads a catalog with every core of the machine.
//!
//! Deciding is `catalog`'s; this is only its work dealt out, each hand with a view of the tree of
//! its own (a git repository is not shared between threads).
//!
//! # Invariants
//! * The result is that of [`catalog::load`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::catalog::{self, Catalog, Finding, Folder, Policy, Survey};
use crate::model::{Below, MemoryTree, Tree, TreeError};

/// Fewer folders than this are read faster by one hand than dealt out.
const MIN_FOLDERS: usize = 8;

/// A tree that several threads can look at, each through a view of its own.
pub trait Share: Tree + Sized {
    /// Another view of the same tree.
    ///
    /// # Errors
    /// When the store behind it cannot be opened once more.
    fn share(&self) -> Result<Self, TreeError>;

    /// Looks at `folders` before anybody asks, if that saves time later. Faults show when somebody
    /// asks.
    fn look_ahead(&self, folders: &[String]) {
        let _ = folders;
    }

    /// What [`Share::look_ahead`] may be dealt out by; empty when it does nothing.
    fn ahead(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Share for MemoryTree {
    fn share(&self) -> Result<Self, TreeError> {
        Ok(self.clone())
    }
}

impl<T: Share> Share for Below<T> {
    fn share(&self) -> Result<Self, TreeError> {
        Ok(Self { tree: self.tree.share()?, folder: self.folder.clone() })
    }

    fn look_ahead(&self, folders: &[String]) {
        self.tree.look_ahead(folders);
    }

    fn ahead(&self) -> Vec<String> {
        match self.folder.as_str() {
            "" => self.tree.ahead(),
            // A part is looked at when somebody asks: the rest would be read for nothing.
            _ => Vec::new(),
        }
    }
}

/// Reads every challenge of `tree` as [`catalog::load`] does.
///
/// # Errors
/// As [`catalog::load`], the first in the order of the folders.
pub fn load<T: Share + Send>(
    tree: &T,
    previous: Option<&Catalog>,
    policy: &Policy,
) -> Result<Catalog, TreeError> {
    look_ahead(tree)?;
    let survey = catalog::survey(tree, previous)?;
    let folders = read(tree, &survey, policy)?;
    survey.finish(tree, previous, folders)
}

/// Reads the challenges of `tree` that are not, tree by tree, in `base`, and what is wrong with the
/// repository that was not wrong there. Without competitions only these folders are read, so the
/// budgets of the repository as a whole (REPO006) are [`load`]'s to watch.
///
/// # Errors
/// As [`load`].
pub fn load_changed<T: Share + Send>(
    tree: &T,
    base: &dyn Tree,
    policy: &Policy,
) -> Result<Catalog, TreeError> {
    // First of all: whoever lists the root reads everything.
    look_ahead(tree)?;
    let (mut now, before) = if has_competitions(tree)? {
        // What a competition selects may be a challenge that did not change.
        let now = load(tree, None, policy)?;
        let before = catalog::load(base, Some(&now), policy)?;
        (now, before)
    } else {
        let mut survey = catalog::survey(tree, None)?;
        let before = survey.of_another(base)?;
        survey.leave_out(&before);
        let folders = read(tree, &survey, policy)?;
        (survey.finish(tree, None, folders)?, before.finish(base, None, Vec::new())?)
    };
    now.folders.retain(|id, folder| {
        let old = before.folders.get(id);
        old.is_none_or(|old| (&old.path, old.tree) != (&folder.path, folder.tree))
    });
    // A finding may have moved with the lines above it.
    let same =
        |a: &Finding, b: &Finding| (&a.rule, &a.path, &a.message) == (&b.rule, &b.path, &b.message);
    now.findings.retain(|finding| !before.findings.iter().any(|old| same(old, finding)));
    Ok(now)
}

fn has_competitions(tree: &dyn Tree) -> Result<bool, TreeError> {
    Ok(tree.entries("")?.iter().any(|entry| entry.name == catalog::COMPETITIONS))
}

fn read<T: Share + Send>(
    tree: &T,
    survey: &Survey,
    policy: &Policy,
) -> Result<Vec<Folder>, TreeError> {
    let unread = &survey.unread;
    let trees =
        (1..n_hands(unread.len())).map(|_| tree.share()).collect::<Result<Vec<T>, TreeError>>()?;
    let next = AtomicUsize::new(0);
    // Folders as they are free: one with much source must not hold up a whole share.
    let work = |tree: &T| {
        let mut done = Vec::new();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(found) = unread.get(nth) else { return done };
            done.push((nth, catalog::read(tree, found, policy)));
        }
    };
    let mut read: Vec<(usize, Result<Folder, TreeError>)> = thread::scope(|scope| {
        let hands: Vec<_> = trees.into_iter().map(|tree| scope.spawn(|| work(&{ tree }))).collect();
        let mut read = work(tree);
        for hand in hands {
            match hand.join() {
                Ok(done) => read.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        read
    });
    read.sort_by_key(|(nth, _)| *nth);
    read.into_iter().map(|(_, folder)| folder).collect()
}

/// How many hands `n_folders` are worth.
fn n_hands(n_folders: usize) -> usize {
    match thread::available_parallelism() {
        Ok(cores) if n_folders >= MIN_FOLDERS => cores.get().min(n_folders / MIN_FOLDERS),
        _ => 1,
    }
}

fn look_ahead<T: Share + Send>(tree: &T) -> Result<(), TreeError> {
    let folders = tree.ahead();
    let n_hands = n_hands(folders.len());
    if n_hands < 2 {
        return Ok(());
    }
    let shares = folders.chunks(folders.len().div_ceil(n_hands));
    let trees = (0..n_hands).map(|_| tree.share()).collect::<Result<Vec<T>, TreeError>>()?;
    thread::scope(|scope| {
        for (tree, share) in trees.into_iter().zip(shares) {
            scope.spawn(move || tree.look_ahead(share));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::git::testing::{History, init, push};
    use crate::git::{WorkTree, revision};

    /// 40 challenges, every third of them broken.
    fn files() -> Vec<(String, &'static str)> {
        (0..40)
            .map(|nth| {
                let text = if nth % 3 == 0 { "name: [\n" } else { "name: x\ntags: [a]\n" };
                (format!("B{}/X-{nth:02}/metadata.yaml", nth % 4), text)
            })
            .collect()
    }

    fn check(tree: &(impl Share + Send), alone: &dyn Tree) {
        let policy = Policy::default();
        let dealt = load(tree, None, &policy).unwrap();
        assert_eq!(dealt.folders.len(), 40);
        let alone = catalog::load(alone, None, &policy).unwrap();
        assert_eq!(format!("{dealt:#?}"), format!("{alone:#?}"));
        let again = load(tree, Some(&dealt), &policy).unwrap();
        assert_eq!(format!("{again:#?}"), format!("{alone:#?}"));
    }

    #[test]
    fn many_hands_read_what_one_reads() {
        let dir = tempfile::tempdir().unwrap();
        let remote = dir.path().join("remote.git");
        init(&remote);
        let files = files();
        let pairs: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        push(&remote, &pairs, History::Continued);
        let tree = || revision::tree_at(&remote, "main").unwrap();
        check(&tree(), &tree());

        let work = dir.path().join("work");
        for (path, text) in &files {
            let path = work.join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
            fs::write(path, text).unwrap();
        }
        let tree = || WorkTree::open(&work).unwrap();
        check(&tree(), &tree());
    }
}
