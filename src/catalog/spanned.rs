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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span as RawSpan, Tag};

use super::decode::shown;

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
    let aliased = events
        .iter()
        .filter_map(|(event, _)| match event {
            Event::Alias(id) => Some(*id),
            _ => None,
        })
        .collect();
    let mut builder = Builder { text, aliased, ..Builder::default() };
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
        return Err(fault(Span::default(), message, "split it, or move data into files"));
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
        let (event, span) = next.map_err(|error| syntax_fault(text, &error))?;
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

fn too_many_nodes(at: Span) -> Fault {
    let message = format!("the file has more than {MAX_NODES} values, aliases written out");
    fault(at, message, "split it, or remove aliases")
}

fn syntax_fault(text: &str, error: &granit_parser::ScanError) -> Fault {
    let mark = error.marker();
    let start = mark.byte_offset().unwrap_or(0).min(text.len());
    let at = Span {
        start,
        end: start,
        line: to_u32(mark.line().max(1)),
        column: to_u32(mark.col() + 1),
    };
    let reason = error.info();
    let hint = match error.kind() {
        granit_parser::ErrorKind::TabNotAllowed
        | granit_parser::ErrorKind::TabInBlockIndentation => "indent with spaces",
        _ => "mend the YAML; what follows is not looked at until then",
    };
    fault(at, format!("this is not YAML: {reason}"), hint)
}

fn convert(text: &str, raw: &RawSpan) -> Span {
    let start = raw.start.byte_offset().unwrap_or(0).min(text.len());
    let end = raw.end.byte_offset().unwrap_or(start).clamp(start, text.len());
    Span { start, end, line: to_u32(raw.start.line().max(1)), column: to_u32(raw.start.col() + 1) }
}

/// A collection that is still open.
struct Frame {
    at: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Span>, merges: Vec<Node>, key: Key },
}

/// What a mapping waits for.
enum Key {
    /// The next key.
    Awaited,
    /// The value of this key.
    Read(String, Span),
    /// The value of a key that is dropped: a duplicate, or no text.
    Dropped,
    /// The value of `<<`.
    Merge,
}

/// The stack machine from events to a tree.
#[derive(Default)]
struct Builder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    aliased: BTreeSet<usize>,
    n_nodes: usize,
    n_documents: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

type Flow = std::ops::ControlFlow<()>;

impl Builder<'_> {
    fn eat(&mut self, event: Event<'_>, raw: RawSpan) -> Flow {
        let at = convert(self.text, &raw);
        match event {
            Event::DocumentStart(..) => {
                self.n_documents += 1;
                if self.n_documents > 1 {
                    self.faults.push(fault(
                        at,
                        "a second YAML document begins here",
                        "keep one document in the file; remove `---`",
                    ));
                    return Flow::Break(());
                }
                Flow::Continue(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.resolve(at, &text, style, tag.as_deref());
                self.place(Node::scalar(at, scalar), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_collection_tag(at, tag.as_deref(), "seq");
                self.open(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_collection_tag(at, tag.as_deref(), "map");
                let content = Content::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    merges: Vec::new(),
                    key: Key::Awaited,
                };
                self.open(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(at, id),
            Event::UnresolvedAlias(name) => {
                let message = format!("the alias `*{}` has no anchor before it", shown(&name));
                self.faults.push(fault(at, message, "define it with `&name` above"));
                self.place(null(at), 0)
            }
            _ => Flow::Continue(()),
        }
    }

    fn resolve(&mut self, at: Span, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
        if text.contains('\0') {
            self.faults.push(fault(at, "the value has a NUL character", "remove it"));
        }
        let is_plain = style == ScalarStyle::Plain;
        let core = core_kind(text);
        let kind = match tag.map(|tag| (tag, tag.core_suffix())) {
            None if is_plain => match core {
                Ok(kind) => kind,
                Err(what) => {
                    let message = format!("`{}` is {what}", shown(text));
                    self.faults.push(fault(at, message, "quote it if text is meant"));
                    ScalarKind::Text
                }
            },
            None | Some((_, Some("str"))) => ScalarKind::Text,
            Some((_, Some(wanted))) if core.is_ok_and(|kind| kind_tag(kind) == wanted) => {
                core.unwrap_or(ScalarKind::Text)
            }
            Some((tag, _)) => {
                self.refuse_tag(at, tag);
                ScalarKind::Text
            }
        };
        Scalar { text: text.to_owned(), kind, is_plain: is_plain && tag.is_none() }
    }

    fn check_collection_tag(&mut self, at: Span, tag: Option<&Tag>, wanted: &str) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(wanted)) {
            self.refuse_tag(at, tag);
        }
    }

    fn refuse_tag(&mut self, at: Span, tag: &Tag) {
        let message = format!("the tag `{}` is not allowed here", shown(&tag.original()));
        self.faults.push(fault(at, message, "write the value without a tag"));
    }

    fn open(&mut self, at: Span, anchor: usize, content: Content) -> Flow {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("the file is nested deeper than {MAX_DEPTH} levels");
            self.abort(fault(at, message, "flatten it"))
        } else {
            self.stack.push(Frame { at, anchor, content });
            Flow::Continue(())
        }
    }

    fn abort(&mut self, fault: Fault) -> Flow {
        self.faults.push(fault);
        self.root = None;
        self.stack.clear();
        Flow::Break(())
    }

    fn close(&mut self) -> Flow {
        let Some(frame) = self.stack.pop() else { return Flow::Continue(()) };
        let node = match frame.content {
            Content::List(items) => Node::list(frame.at, items),
            Content::Map { mut entries, mut seen, merges, .. } => {
                for merge in merges {
                    self.merge(&merge, &mut entries, &mut seen);
                }
                Node::map(frame.at, Map { entries })
            }
        };
        if self.n_nodes > MAX_NODES {
            return self.abort(too_many_nodes(frame.at));
        }
        self.place(node, frame.anchor)
    }

    /// Adds the entries of `merge` that are not there yet.
    fn merge(&mut self, merge: &Node, entries: &mut Vec<Entry>, seen: &mut HashMap<String, Span>) {
        let sources = match &merge.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) | Value::Scalar(_) => std::slice::from_ref(merge),
        };
        for source in sources {
            let Some(map) = source.as_map() else {
                let message = format!("`<<` merges mappings, this is {}", source.kind());
                self.faults.push(fault(source.span, message, "name an anchor of a mapping"));
                continue;
            };
            for entry in &map.entries {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.key_span);
                    self.n_nodes += entry.value.size;
                    entries.push(entry.clone());
                }
            }
        }
    }

    fn alias(&mut self, at: Span, id: usize) -> Flow {
        let node = match self.anchors.get(&id) {
            Some(node) => Node { span: at, ..node.clone() },
            None => {
                self.faults.push(fault(
                    at,
                    "this alias stands inside the value that it repeats",
                    "write the value out",
                ));
                null(at)
            }
        };
        // `place` counts the node itself.
        self.n_nodes += node.size - 1;
        self.place(node, 0)
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Flow {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            return self.abort(too_many_nodes(node.span));
        }
        if self.aliased.contains(&anchor) {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, seen, merges, key }) => {
                match std::mem::replace(key, Key::Awaited) {
                    Key::Awaited => *key = read_key(&node, seen, &mut self.faults),
                    Key::Dropped => (),
                    Key::Merge => merges.push(node),
                    Key::Read(name, key_span) => {
                        entries.push(Entry { key: name, key_span, value: node });
                    }
                }
            }
        }
        Flow::Continue(())
    }

    fn finish(mut self) -> Parsed {
        if self.root.is_none() && self.faults.is_empty() {
            self.faults.push(fault(
                Span::default(),
                "the file is empty",
                "write its content, or remove the file",
            ));
        }
        self.faults.sort_by_key(|fault| fault.at);
        Parsed { root: self.root, faults: self.faults }
    }
}

fn null(at: Span) -> Node {
    Node::scalar(at, Scalar { text: String::new(), kind: ScalarKind::Null, is_plain: true })
}

fn read_key(node: &Node, seen: &mut HashMap<String, Span>, faults: &mut Vec<Fault>) -> Key {
    let Some(scalar) = node.as_scalar() else {
        let message = format!("a key must be text, this is {}", node.kind());
        faults.push(fault(node.span, message, "write `key: value`"));
        return Key::Dropped;
    };
    if scalar.is_plain && scalar.text == "<<" {
        return Key::Merge;
    }
    if let Some(first) = seen.get(&scalar.text) {
        let message = format!(
            "the key `{}` is already at {}:{}; the first value is kept",
            shown(&scalar.text),
            first.line,
            first.column
        );
        faults.push(fault(node.span, message, "remove one of the two"));
        return Key::Dropped;
    }
    seen.insert(scalar.text.clone(), node.span);
    Key::Read(scalar.text.clone(), node.span)
}

fn kind_tag(kind: ScalarKind) -> &'static str {
    match kind {
        ScalarKind::Null => "null",
        ScalarKind::Bool(_) => "bool",
        ScalarKind::Int => "int",
        ScalarKind::Float => "float",
        ScalarKind::Text => "str",
    }
}

/// What the core schema makes of a plain scalar; `Err` for a number that is not finite.
fn core_kind(text: &str) -> Result<ScalarKind, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ if is_special_float(text) => return Err("not a finite number"),
        _ if is_int(text) => ScalarKind::Int,
        _ if is_float(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => ScalarKind::Float,
            _ => return Err("not a finite number"),
        },
        _ => ScalarKind::Text,
    })
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// Whole numbers; a leading zero (`012`) means text, since readers disagree about it.
fn is_int(text: &str) -> bool {
    let all = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.as_bytes().iter().all(is_digit)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |byte| (b'0'..=b'7').contains(byte));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    all(digits, u8::is_ascii_digit) && (digits == "0" || !digits.starts_with('0'))
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let is_octal_like = exponent.is_none() && !mantissa.contains('.');
    has_digits && digits(whole) && digits(fraction) && exponent_is_fine && !is_octal_like
}
