//! Which commits a branch has beyond one that is known.

use git2::{Repository, Sort};

use super::home;
use super::mirror::{Mirror, unreadable};
use super::{object_id, oid};
use crate::model::{Revision, TreeError};

/// Most commits that are listed.
const MAX_COMMITS: usize = 10_000;

/// A commit and its parents, the first one first.
pub type Ancestry = (Revision, Vec<Revision>);

impl Mirror {
    /// Every commit that `tip` contains and `known` does not, parents before children, `tip` last.
    /// Without `known`, or when the mirror does not hold it, `tip` alone.
    ///
    /// # Errors
    /// [`TreeError::Unreadable`] when the mirror does not hold the tip, or there are more than
    /// 10,000 commits.
    pub fn lineage(
        &self,
        tip: Revision,
        known: Option<Revision>,
    ) -> Result<Vec<Ancestry>, TreeError> {
        let failed = |error: git2::Error| unreadable(tip, &error);
        let repository = home::open(&self.dir).map_err(failed)?;
        let known = known.filter(|known| repository.find_commit(oid(*known)).is_ok());
        let Some(known) = known else {
            return Ok(vec![ancestry(&repository, oid(tip)).map_err(failed)?]);
        };
        let mut walk = repository.revwalk().map_err(failed)?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(failed)?;
        walk.push(oid(tip)).map_err(failed)?;
        walk.hide(oid(known)).map_err(failed)?;
        let mut commits = Vec::new();
        for id in walk {
            if commits.len() == MAX_COMMITS {
                let message = format!("it has more than {MAX_COMMITS} commits that are new");
                return Err(failed(git2::Error::from_str(&message)));
            }
            commits.push(ancestry(&repository, id.map_err(failed)?).map_err(failed)?);
        }
        Ok(commits)
    }
}

fn ancestry(repository: &Repository, id: git2::Oid) -> Result<Ancestry, git2::Error> {
    let commit = repository.find_commit(id)?;
    let parents = commit.parent_ids().map(|parent| Revision(object_id(parent))).collect();
    Ok((Revision(object_id(id)), parents))
}
