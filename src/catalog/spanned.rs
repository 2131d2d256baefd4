//! Reads YAML into a tree in which every value and every key knows where it stands.
//!
//! Author files are read by this reader only: two YAML parsers disagree on odd input, so there is
//! one. Scalars follow the YAML 1.2 core schema (`2222:22`, `012` and `yes` are text). Merge keys
//! (`<<`) are expanded; a duplicate key is reported and the first value kept.
//!
//! In:  bytes of a file. Out: the tree, if there is one, and every fault found on the way.
//!
//! # Invariants
//! * No input panics, and none costs more than the [limits](MAX_BYTES) allow.
//! * Every span lies inside the text; lines and columns count from 1, columns in characters.
//!
//! # Not here
//! What a key means (`decode`, `metadata`, `compose`).

mod builder;
mod scalar;
mod syntax;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use granit_parser::{Event, Parser, Span as RawSpan, StructureStyle};

use self::builder::Builder;

/// Largest author file.
pub(crate) const MAX_BYTES: u64 = 256 * 1024;
/// Most values in one file, those behind aliases counted at each use.
const MAX_NODES: usize = 20_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most aliases in one file.
const MAX_ALIASES: usize = 64;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    /// First byte, after a byte-order mark.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One value and its place. Cheap to clone: what an alias repeats is shared.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it is written; for an alias, where the alias is.
    pub span: Span,
    /// What it is.
    pub value: Value,
    /// Number of values in it, itself included.
    size: usize,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Everything that is no collection.
    Scalar(Rc<Scalar>),
    /// A sequence.
    List(Rc<Vec<Node>>),
    /// A mapping, in file order, without duplicate keys.
    Map(Rc<Map>),
}

/// A scalar as written, and what the core schema makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// The text after quotes and escapes are resolved.
    pub text: String,
    /// What it means.
    pub kind: ScalarKind,
    /// Whether it is written without quotes.
    pub is_plain: bool,
}

/// Kinds of the YAML 1.2 core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int,
    /// A finite number with a fraction or exponent.
    Float,
    /// Anything else.
    Text,
}

/// One key of a mapping with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// A mapping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    /// In file order; merged keys last.
    pub entries: Vec<Entry>,
}

impl Map {
    /// The entry of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Node {
    /// A scalar node, as the interpolation makes them.
    pub(crate) fn scalar(span: Span, scalar: Scalar) -> Self {
        Self { span, value: Value::Scalar(Rc::new(scalar)), size: 1 }
    }

    /// A list node at `span`.
    pub(crate) fn list(span: Span, items: Vec<Node>) -> Self {
        let size = items.iter().fold(1, |sum, item| sum + item.size);
        Self { span, value: Value::List(Rc::new(items)), size }
    }

    /// A map node at `span`.
    pub(crate) fn map(span: Span, map: Map) -> Self {
        let size = map.entries.iter().fold(1, |sum, entry| sum + entry.value.size + 1);
        Self { span, value: Value::Map(Rc::new(map)), size }
    }

    /// Whether nothing is written here, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// The scalar, if it is one.
    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The mapping, if it is one.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::List(_) | Value::Scalar(_) => None,
        }
    }

    /// The items, if it is a sequence.
    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            Value::Map(_) | Value::Scalar(_) => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool(_) => "a boolean",
                ScalarKind::Int | ScalarKind::Float => "a number",
                ScalarKind::Text => "text",
            },
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// One fault of the notation itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub at: Span,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The one document; `None` when a fault left nothing to look at.
    pub root: Option<Node>,
    /// Every fault, in file order; each is an error.
    pub faults: Vec<Fault>,
}

/// Reads one YAML document.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let text = match decode_text(bytes) {
        Ok(text) => text,
        Err(fault) => {
            parsed.faults.push(fault);
            return parsed;
        }
    };
    let events = match collect_events(text) {
        Ok(events) => events,
        Err(fault) => {
            parsed.faults.push(fault);
            return parsed;
        }
    };
    let aliased = events.iter().filter_map(|(event, _)| event.alias_id()).collect();
    let mut builder = Builder::new(text, aliased);
    for (event, span) in events {
        if builder.eat(event, span).is_break() {
            break;
        }
    }
    builder.finish()
}

/// UTF-8 text without byte-order mark and NUL, within the size limit.
fn decode_text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() as u64 > MAX_BYTES {
        let message =
            format!("the file has {} bytes, more than the limit of {MAX_BYTES}", bytes.len());
        let hint = format!("shorten it to at most {MAX_BYTES} bytes");
        return Err(fault(Span::default(), message, hint));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let message = "the file is UTF-16, not UTF-8";
        return Err(fault(place(bytes, 0), message, "save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = place(bytes, error.valid_up_to());
        fault(at, "the file is not valid UTF-8 here", "save it as UTF-8")
    })?;
    match text.find('\0') {
        Some(offset) => {
            Err(fault(place(bytes, offset), "the file has a NUL character here", "remove it"))
        }
        None => Ok(text),
    }
}

fn fault(at: Span, message: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault { at, message: message.into(), hint: hint.into() }
}

/// The place of byte `offset`, with the columns of what can be read before it.
fn place(bytes: &[u8], offset: usize) -> Span {
    let before = &bytes[..offset];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let n_lines = before.iter().filter(|byte| **byte == b'\n').count();
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count();
    Span { start: offset, end: offset, line: to_u32(n_lines + 1), column: to_u32(column + 1) }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// All events, or the first syntax error: what follows it is guesswork.
fn collect_events(text: &str) -> Result<Vec<(Event<'_>, RawSpan)>, Fault> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH + 2,
        block_nesting_limit: MAX_DEPTH + 2,
    };
    let mut events = Vec::new();
    let mut n_nodes = 0;
    let mut n_aliases = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| syntax::fault_of(text, &error))?;
        refuse_tab(text, &event, &span)?;
        n_nodes += usize::from(event.is_node());
        n_aliases += usize::from(event.is_alias());
        if n_nodes > MAX_NODES {
            return Err(too_many_nodes(convert(text, &span)));
        }
        if n_aliases > MAX_ALIASES {
            let message = format!("the file has more than {MAX_ALIASES} aliases");
            return Err(fault(convert(text, &span), message, "write the values out"));
        }
        events.push((event, span));
    }
    Ok(events)
}

/// A tab before a block collection at the top, which the parser lets through and YAML forbids.
fn refuse_tab(text: &str, event: &Event<'_>, span: &RawSpan) -> Result<(), Fault> {
    let is_block = matches!(
        event,
        Event::MappingStart(StructureStyle::Block, ..)
            | Event::SequenceStart(StructureStyle::Block, ..)
    );
    let at = convert(text, span);
    let before = text.get(..at.start).unwrap_or_default();
    let indent = before.rsplit('\n').next().unwrap_or_default();
    if is_block && indent.contains('\t') && indent.trim().is_empty() {
        let n_before = indent.chars().take_while(|c| *c != '\t').count();
        let start = at.start - indent.len() + n_before;
        return Err(syntax::tab(text, start));
    }
    Ok(())
}

fn too_many_nodes(at: Span) -> Fault {
    let message = format!("the file has more than {MAX_NODES} values, aliases written out");
    fault(at, message, "split it, or remove aliases")
}

fn convert(text: &str, raw: &RawSpan) -> Span {
    let start = raw.start.byte_offset().unwrap_or(0).min(text.len());
    let end = raw.end.byte_offset().unwrap_or(start).clamp(start, text.len());
    Span { start, end, line: to_u32(raw.start.line().max(1)), column: to_u32(raw.start.col() + 1) }
}
