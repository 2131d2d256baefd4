//! Where in an author's text something can be put without moving anything else.
//!
//! The tree knows where keys and scalars begin; this finds ends, line ends and indentation in the
//! text around them, and writes new keys in the style of the mapping that they go into.
//!
//! # Invariants
//! * A place may be wrong where YAML is odd; `change::is_exactly` throws such an edit away.
//!
//! # Not here
//! What is put there (`limits`, `health`, `quote`).

use super::change::{Edit, Plain};
use crate::catalog::spanned::{self, Entry, Node, Value};

/// An author's text, without a byte-order mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'t>(pub &'t str);

/// Something to be written.
#[derive(Debug, Clone)]
pub(super) enum New {
    /// A scalar or flow collection, as it is written.
    Raw(String),
    /// A mapping, with a remark above its first key where there is room for one.
    Map(Option<String>, Vec<(&'static str, New)>),
}

impl New {
    /// What it means.
    pub(super) fn meaning(&self) -> Plain {
        match self {
            Self::Raw(text) => {
                let root = spanned::parse(text.as_bytes()).root;
                root.map_or_else(|| Plain::text(""), |root| Plain::of(&root))
            }
            Self::Map(_, entries) => Plain::Map(
                entries.iter().map(|(key, new)| ((*key).to_owned(), new.meaning())).collect(),
            ),
        }
    }

    /// It in one line.
    fn flow(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Map(_, entries) => format!("{{{}}}", flow(entries)),
        }
    }

    /// It as the lines of a block, each with its indentation in steps.
    fn block(&self, key: &str, depth: usize, lines: &mut Vec<(usize, String)>) {
        match self {
            Self::Raw(text) => lines.push((depth, format!("{key}: {text}"))),
            Self::Map(remark, entries) => {
                lines.push((depth, format!("{key}:")));
                if let Some(remark) = remark {
                    lines.push((depth + 1, format!("# {remark}")));
                }
                for (key, new) in entries {
                    new.block(key, depth + 1, lines);
                }
            }
        }
    }
}

/// `key: value` pairs for the inside of `{}`.
fn flow(entries: &[(&'static str, New)]) -> String {
    let pairs: Vec<String> =
        entries.iter().map(|(key, new)| format!("{key}: {}", new.flow())).collect();
    pairs.join(", ")
}

impl<'t> Source<'t> {
    /// The line end of this text.
    fn eol(self) -> &'static str {
        let is_crlf = self.0.find('\n').is_some_and(|at| self.0[..at].ends_with('\r'));
        if is_crlf { "\r\n" } else { "\n" }
    }

    /// The offset at which the line of byte `at` ends, before its line break.
    pub(super) fn line_end(self, at: usize) -> usize {
        let rest = self.0.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// The offset at which the line of byte `at` begins.
    pub(super) fn line_start(self, at: usize) -> usize {
        let before = self.0.get(..at).unwrap_or_default();
        before.rfind('\n').map_or(0, |at| at + 1)
    }

    fn starts_with(self, node: &Node, c: char) -> bool {
        self.0.get(node.span.start..).is_some_and(|rest| rest.starts_with(c))
    }

    /// Whether `node` is written as `*name`.
    pub(super) fn is_alias(self, node: &Node) -> bool {
        node.span.end > node.span.start + 1 && self.starts_with(node, '*')
    }

    /// Whether a collection is written in brackets.
    fn is_flow(self, node: &Node) -> bool {
        self.starts_with(node, '{') || self.starts_with(node, '[')
    }

    /// The entries of `node` that are written in it, not merged into it.
    fn own(node: &Node) -> impl Iterator<Item = &Entry> {
        let entries = node.as_map().map(|map| map.entries.as_slice()).unwrap_or_default();
        entries.iter().filter(|entry| entry.key_span.start >= node.span.start)
    }

    /// One past the last byte of `node`; `None` where that cannot be told.
    pub(super) fn end_of(self, node: &Node) -> Option<usize> {
        if self.is_alias(node) {
            return Some(node.span.end);
        }
        let last = match &node.value {
            Value::Scalar(_) => {
                let text = self.0.get(node.span.start..node.span.end)?;
                return Some(node.span.start + text.trim_end().len());
            }
            Value::List(items) => self.last_end(items.iter())?,
            Value::Map(_) => self.last_of(node)?,
        };
        if self.is_flow(node) {
            self.closing(last.unwrap_or(node.span.start + 1))
        } else {
            Some(last.unwrap_or(node.span.start))
        }
    }

    /// The latest end of what is written in mapping `node`, if anything is.
    fn last_of(self, node: &Node) -> Option<Option<usize>> {
        let keys = Self::own(node).map(|entry| entry.key_span.end).max();
        let values = self.last_end(Self::own(node).map(|entry| &entry.value))?;
        Some(keys.max(values))
    }

    /// The latest end of `nodes`, if there are any; `None` when an end cannot be told. What is not
    /// written has its place anywhere before the next token, so it has no end.
    fn last_end<'n>(self, nodes: impl Iterator<Item = &'n Node>) -> Option<Option<usize>> {
        let mut last = None;
        let is_written =
            |node: &&Node| node.as_scalar().is_none() || node.span.end > node.span.start;
        for node in nodes.filter(is_written) {
            last = last.max(Some(self.end_of(node)?));
        }
        Some(last)
    }

    /// One past the bracket that closes a flow collection whose last item ends at `at`.
    fn closing(self, at: usize) -> Option<usize> {
        let mut is_comment = false;
        for (offset, c) in self.0.get(at..)?.char_indices() {
            match c {
                '\n' => is_comment = false,
                _ if is_comment => (),
                '}' | ']' => return Some(at + offset + 1),
                '#' => is_comment = true,
                ',' | ':' | ' ' | '\t' | '\r' => (),
                _ => return None,
            }
        }
        None
    }

    /// The end of the line on which block mapping `node` ends, with the comment lines under it
    /// that are indented like its keys.
    fn block_end(self, node: &Node) -> Option<usize> {
        let mut end = self.line_end(self.end_of(node)?);
        let indent = column(node);
        loop {
            let break_len = match self.0.get(end..) {
                Some(rest) if rest.starts_with("\r\n") => 2,
                Some(rest) if rest.starts_with('\n') => 1,
                _ => return Some(end),
            };
            let next = end + break_len;
            let line = self.0.get(next..self.line_end(next))?;
            let is_ours = line.trim_start_matches(' ').starts_with('#')
                && line.len() - line.trim_start_matches(' ').len() >= indent;
            if !is_ours {
                return Some(end);
            }
            end = self.line_end(next);
        }
    }

    /// The ways to add `entries` to mapping `node`, the best first.
    pub(super) fn add(
        self,
        node: &Node,
        entries: &[(&'static str, New)],
        step: usize,
    ) -> Vec<Vec<Edit>> {
        let mut ways = Vec::new();
        if self.is_flow(node) {
            let text = flow(entries);
            let is_empty = Self::own(node).next().is_none();
            let last = self.last_of(node).flatten();
            ways.extend(last.map(|at| vec![Edit::insert(at, format!(", {text}"))]));
            let text = if is_empty { text } else { format!("{text}, ") };
            ways.push(vec![Edit::insert(node.span.start + 1, text)]);
            return ways;
        }
        let indent = column(node);
        let lines = lines(entries, indent, step);
        let eol = self.eol();
        if let Some(at) = self.block_end(node) {
            ways.push(vec![Edit::insert(at, format!("{eol}{}", lines.join(eol)))]);
        }
        let text = lines.join(eol);
        let text = format!("{}{eol}{}", text.trim_start_matches(' '), " ".repeat(indent));
        ways.push(vec![Edit::insert(node.span.start, text)]);
        ways
    }

    /// The offset behind the colon of a key.
    fn after_colon(self, entry: &Entry) -> Option<usize> {
        let rest = self.0.get(entry.key_span.end..)?;
        let n_blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let at = entry.key_span.end + n_blanks;
        self.0.get(at..)?.starts_with(':').then_some(at + 1)
    }

    /// The ways to give `entry` of mapping `parent`, which has no value or an empty one, the
    /// value `new`; the best first.
    pub(super) fn fill(
        self,
        parent: &Node,
        entry: &Entry,
        new: &New,
        step: usize,
    ) -> Vec<Vec<Edit>> {
        let span = entry.value.span;
        if span.end > span.start {
            return vec![vec![Edit::replace(span.start, span.end, new.flow())]];
        }
        let Some(at) = self.after_colon(entry) else { return Vec::new() };
        let in_line = vec![Edit::insert(at, format!(" {}", new.flow()))];
        match new {
            New::Map(_, entries) if !self.is_flow(parent) => {
                let lines = lines(entries, column(parent) + step, step);
                let eol = self.eol();
                let text = format!("{eol}{}", lines.join(eol));
                vec![vec![Edit::insert(self.line_end(at), text)], in_line]
            }
            New::Map(..) | New::Raw(_) => vec![in_line],
        }
    }
}

/// Blanks before the keys of a block mapping.
pub(super) fn column(node: &Node) -> usize {
    usize::try_from(node.span.column).unwrap_or(1).saturating_sub(1)
}

/// The lines of a block.
fn lines(entries: &[(&'static str, New)], indent: usize, step: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, new) in entries {
        new.block(key, 0, &mut lines);
    }
    lines
        .into_iter()
        .map(|(depth, line)| format!("{}{line}", " ".repeat(indent + depth * step)))
        .collect()
}
