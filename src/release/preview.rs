//! Says what a release changes before it does: images, attachments, questions.
//!
//! In:  two sets of challenge versions. Out: each challenge that differs, and in what. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::challenge::word_enum;
use crate::model::{BuildKey, ChallengeId, ObjectId, Question, ServiceName, TreeId, UpdatePolicy};

/// One version of a challenge, as far as a release is judged by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Its tree.
    pub tree: TreeId,
    /// Its folder.
    pub path: String,
    /// What is asked.
    pub questions: Vec<Question>,
    /// What players download: the git object by path.
    pub attachments: BTreeMap<String, ObjectId>,
    /// Its images, by service.
    pub images: Vec<(ServiceName, BuildKey)>,
    /// What happens to running instances when it goes live.
    pub update: UpdatePolicy,
}

word_enum!(
    /// How something differs.
    ChangeKind {
        /// It appears.
        Added = "added",
        /// It is another one.
        Changed = "changed",
        /// It disappears.
        Removed = "removed",
    }
);

/// One challenge that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ChallengeChange {
    /// Which.
    pub id: ChallengeId,
    /// How.
    pub kind: ChangeKind,
    /// The version before.
    pub from: Option<TreeId>,
    /// The version after.
    pub to: Option<TreeId>,
    /// Images that the version before does not have.
    pub images: Vec<(ServiceName, BuildKey)>,
    /// Attachments that differ, by path.
    pub attachments: Vec<(String, ChangeKind)>,
    /// Questions that differ, by id.
    pub questions: Vec<(String, ChangeKind)>,
    /// What happens to running instances of the version before.
    pub update: UpdatePolicy,
}

/// What differs, by challenge.
pub fn changes(
    before: &BTreeMap<ChallengeId, Side>,
    after: &BTreeMap<ChallengeId, Side>,
) -> Vec<ChallengeChange> {
    let mut ids: Vec<_> = before.keys().chain(after.keys()).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().filter_map(|id| change(id, before.get(id), after.get(id))).collect()
}

fn change(id: &ChallengeId, old: Option<&Side>, new: Option<&Side>) -> Option<ChallengeChange> {
    let kind = match (old, new) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(old), Some(new)) if old.tree != new.tree || old.path != new.path => {
            ChangeKind::Changed
        }
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let questions = |side: Option<&Side>| -> BTreeMap<String, Question> {
        let all = side.into_iter().flat_map(|side| &side.questions);
        all.map(|it| (it.id.to_string(), it.clone())).collect()
    };
    let attachments =
        |side: Option<&Side>| side.map(|side| side.attachments.clone()).unwrap_or_default();
    let had = |key: &BuildKey| old.is_some_and(|old| old.images.iter().any(|(_, had)| had == key));
    let images = new.into_iter().flat_map(|new| &new.images).filter(|(_, key)| !had(key));
    Some(ChallengeChange {
        id: id.clone(),
        kind,
        from: old.map(|side| side.tree),
        to: new.map(|side| side.tree),
        images: images.cloned().collect(),
        attachments: differing(&attachments(old), &attachments(new)),
        questions: differing(&questions(old), &questions(new)),
        update: new.or(old).map_or(UpdatePolicy::OnNextStart, |side| side.update),
    })
}

fn differing<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Vec<(String, ChangeKind)> {
    let mut all: BTreeMap<&String, ChangeKind> = BTreeMap::new();
    for (name, value) in new {
        match old.get(name) {
            None => {
                all.insert(name, ChangeKind::Added);
            }
            Some(before) if before != value => {
                all.insert(name, ChangeKind::Changed);
            }
            Some(_) => (),
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    all.extend(gone.map(|name| (name, ChangeKind::Removed)));
    all.into_iter().map(|(name, kind)| (name.clone(), kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QuestionMode;

    fn object(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 20])
    }

    fn side(version: u8, questions: &[(&str, &str)], attachments: &[(&str, u8)]) -> Side {
        let question = |(id, prompt): &(&str, &str)| Question {
            id: id.parse().unwrap(),
            prompt: (*prompt).to_owned(),
            mode: QuestionMode::Static { answer: "x".into() },
            requires: vec![],
        };
        Side {
            tree: TreeId(object(version)),
            path: "WEB/x".into(),
            questions: questions.iter().map(question).collect(),
            attachments: attachments.iter().map(|(it, n)| ((*it).to_owned(), object(*n))).collect(),
            images: vec![("web".parse().unwrap(), BuildKey::from_digest([version / 10; 32]))],
            update: UpdatePolicy::OnNextStart,
        }
    }

    fn scene(sides: Vec<(&str, Side)>) -> BTreeMap<ChallengeId, Side> {
        sides.into_iter().map(|(id, side)| (id.parse().unwrap(), side)).collect()
    }

    #[test]
    fn everything_that_differs_is_named_and_nothing_else() {
        let before = scene(vec![
            ("A", side(1, &[("one", "a"), ("two", "b")], &[("x", 1), ("y", 1)])),
            ("B", side(2, &[], &[])),
            ("C", side(3, &[], &[])),
        ]);
        let after = scene(vec![
            ("A", side(11, &[("one", "a"), ("two", "c"), ("three", "d")], &[("x", 2), ("z", 1)])),
            ("B", side(2, &[], &[])),
            ("D", side(4, &[], &[])),
        ]);
        let told: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|it| {
                let words = |all: &[(String, ChangeKind)]| {
                    all.iter().map(|(name, kind)| format!("{kind} {name}")).collect::<Vec<_>>()
                };
                let images = it.images.len();
                let (files, questions) = (words(&it.attachments), words(&it.questions));
                format!("{} {} {images} {files:?} {questions:?}", it.kind, it.id)
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        changed A 1 ["changed x", "removed y", "added z"] ["added three", "changed two"]
        removed C 0 [] []
        added D 1 [] []
        "#);
        assert_eq!(changes(&before, &before), vec![]);
    }
}
