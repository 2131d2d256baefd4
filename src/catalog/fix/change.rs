//! What an edit is meant to change, and whether it changes exactly that.
//!
//! In:  two versions of a text, the [`Change`]s that lie between them.
//! Out: whether the second one parses to the first one with those changes, and nothing else.
//!
//! # Not here
//! Where in the text an edit goes (`place`).

use std::collections::BTreeMap;

use crate::catalog::spanned::{self, Node, ScalarKind, Value};

/// One replacement in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// First byte that goes.
    pub start: usize,
    /// One past the last byte that goes; `start` for a pure insertion.
    pub end: usize,
    /// What takes its place.
    pub new: String,
}

impl Edit {
    /// Puts `new` before byte `at`.
    pub(super) fn insert(at: usize, new: impl Into<String>) -> Self {
        Self { start: at, end: at, new: new.into() }
    }

    /// Puts `new` in the place of bytes `start..end`.
    pub(super) fn replace(start: usize, end: usize, new: impl Into<String>) -> Self {
        Self { start, end, new: new.into() }
    }
}

/// `text` with all of `edits`; `None` when two of them touch, or one lies outside.
pub(super) fn apply(text: &str, edits: &[Edit]) -> Option<String> {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| edit.start);
    let mut out = String::with_capacity(text.len() + 200);
    let mut at = 0;
    for edit in sorted {
        out += text.get(at..edit.start)?;
        out += &edit.new;
        at = edit.end;
    }
    out += text.get(at..)?;
    Some(out)
}

/// One step from a value to a value inside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a key.
    Key(String),
    /// An item of a list.
    Item(usize),
}

/// The steps that these keys are.
pub(super) fn keys(keys: &[&str]) -> Vec<Step> {
    keys.iter().map(|key| Step::Key((*key).to_owned())).collect()
}

/// What becomes different in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Where.
    pub at: Vec<Step>,
    /// The value there afterwards; `None` when the key is gone.
    pub to: Option<Plain>,
}

/// A value without its place. Keys have no order: moving one is no change of meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plain {
    /// A scalar: kind and text.
    Scalar(ScalarKind, String),
    /// A sequence.
    List(Vec<Plain>),
    /// A mapping.
    Map(BTreeMap<String, Plain>),
}

impl Plain {
    /// `node` without places.
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Scalar(scalar) => Self::Scalar(scalar.kind, scalar.text.clone()),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(map) => Self::Map(
                map.entries.iter().map(|it| (it.key.clone(), Self::of(&it.value))).collect(),
            ),
        }
    }

    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Scalar(ScalarKind::Text, text.into())
    }

    /// Makes one change; says whether there is such a place.
    fn set(&mut self, at: &[Step], to: Option<&Plain>) -> bool {
        match (at, &mut *self) {
            ([], _) => match to {
                Some(to) => {
                    *self = to.clone();
                    true
                }
                None => false,
            },
            ([Step::Key(key)], Self::Map(map)) => match to {
                Some(to) => {
                    map.insert(key.clone(), to.clone());
                    true
                }
                None => map.remove(key).is_some(),
            },
            ([Step::Key(key), rest @ ..], Self::Map(map)) => {
                map.get_mut(key).is_some_and(|inner| inner.set(rest, to))
            }
            ([Step::Item(nth), rest @ ..], Self::List(items)) => {
                items.get_mut(*nth).is_some_and(|inner| inner.set(rest, to))
            }
            (_, Self::Scalar(..) | Self::List(_) | Self::Map(_)) => false,
        }
    }
}

/// Whether `new` means what `old` means after `changes`, and both are faultless YAML.
pub(super) fn is_exactly(old: &str, new: &str, changes: &[Change]) -> bool {
    let (Some(mut want), Some(got)) = (meaning(old), meaning(new)) else { return false };
    changes.iter().all(|change| want.set(&change.at, change.to.as_ref())) && want == got
}

/// What a faultless text means.
fn meaning(text: &str) -> Option<Plain> {
    let parsed = spanned::parse(text.as_bytes());
    parsed.root.filter(|_| parsed.faults.is_empty()).map(|root| Plain::of(&root))
}
