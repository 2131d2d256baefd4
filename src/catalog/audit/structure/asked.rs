//! The questions as the contract reads them: what has the right types counts, everything else is
//! as if it were not there.
//!
//! Rules about answers must not change their mind because an id has a capital letter: that is one
//! finding (META006), and not three more about the same question.
//!
//! # Not here
//! What is wrong with a question (`catalog::metadata`).

use crate::catalog::audit::Subject;
use crate::catalog::audit::compose::written::text;
use crate::catalog::spanned::{Map, Node};

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog::audit) struct Asked<'a> {
    /// Its id.
    pub id: &'a str,
    /// What is asked.
    pub prompt: &'a str,
    /// Where its answer comes from.
    pub source: Source,
    /// Whether it opens only after others.
    pub is_gated: bool,
}

/// Where the answer of a question comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog::audit) enum Source {
    /// It is minted for each instance.
    Minted,
    /// It stands in the metadata.
    Written,
    /// There are choices and no answer, so nowhere.
    Nowhere,
}

impl Asked<'_> {
    /// Whether its answer is minted.
    pub(in crate::catalog::audit) fn is_minted(&self) -> bool {
        self.source == Source::Minted
    }

    /// Whether its answer stands in the metadata.
    pub(in crate::catalog::audit) fn is_written(&self) -> bool {
        self.source == Source::Written
    }

    /// The variable that carries its answer into `flag-rotator`.
    pub(in crate::catalog::audit) fn variable(&self) -> String {
        variable(self.id)
    }
}

/// The questions; `None` when there is no metadata to ask them.
pub(in crate::catalog::audit) fn asked<'a>(subject: &Subject<'a>) -> Option<Vec<Asked<'a>>> {
    let metadata = subject.metadata?;
    let Some(entry) = metadata.get("questions").filter(|entry| !entry.value.is_null()) else {
        let prompt = "Capture the secret";
        return Some(vec![Asked { id: "flag", prompt, source: Source::Minted, is_gated: false }]);
    };
    let items = entry.value.as_list().unwrap_or_default();
    Some(items.iter().filter_map(|item| question(item.as_map()?)).collect())
}

/// The ids that questions have, also of those with a fault of their own; `None` when nobody can
/// say which there are.
pub(in crate::catalog::audit) fn claimed<'a>(subject: &Subject<'a>) -> Option<Vec<&'a str>> {
    let entry = subject.metadata?.get("questions").filter(|entry| !entry.value.is_null());
    let Some(entry) = entry else { return Some(vec!["flag"]) };
    let id = |item: &'a Node| {
        let id = &item.as_map()?.get("id")?.value;
        id.as_scalar().filter(|_| !id.is_null()).map(|scalar| scalar.text.as_str())
    };
    Some(entry.value.as_list()?.iter().filter_map(id).collect())
}

/// The variable that carries the answer of question `id` into `flag-rotator`.
pub(in crate::catalog::audit) fn variable(id: &str) -> String {
    format!("ANSWER_{}", id.to_uppercase())
}

fn question(map: &Map) -> Option<Asked<'_>> {
    let field = |key| map.get(key).map(|entry| &entry.value).filter(|node| !node.is_null());
    let id = text(field("id")?)?;
    let prompt = text(field("prompt")?)?;
    let requires = field("requires").and_then(Node::as_list);
    let answer = field("answer");
    let choices = field("choices");
    let is_sound = answer.is_none_or(|node| text(node).is_some() || is_texts(node))
        && choices.is_none_or(is_texts)
        && field("requires").is_none_or(is_texts)
        && field("format").is_none_or(|node| matches!(text(node), Some("flag" | "raw")));
    let source = match (answer, choices) {
        (None, None) => Source::Minted,
        (None, Some(_)) => Source::Nowhere,
        (Some(_), _) => Source::Written,
    };
    let is_gated = requires.is_some_and(|ids| !ids.is_empty());
    is_sound.then_some(Asked { id, prompt, source, is_gated })
}

fn is_texts(node: &Node) -> bool {
    node.as_list().is_some_and(|items| items.iter().all(|item| text(item).is_some()))
}
