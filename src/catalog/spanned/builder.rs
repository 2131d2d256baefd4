//! The stack machine from parser events to a tree.
//!
//! Faults of the notation are collected; only a broken limit ends it early.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use granit_parser::{Event, ScalarStyle, Span as RawSpan, Tag};

use super::scalar::{core_kind, kind_tag};
use super::{
    Entry, Fault, MAX_DEPTH, MAX_NODES, Map, Node, Parsed, Scalar, ScalarKind, Span, Value,
    convert, fault, too_many_nodes,
};
use crate::catalog::decode::shown;

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
pub(super) struct Builder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    aliased: BTreeSet<usize>,
    n_nodes: usize,
    n_documents: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

pub(super) type Flow = std::ops::ControlFlow<()>;

impl<'t> Builder<'t> {
    /// A builder for `text`, in which these anchors are used.
    pub(super) fn new(text: &'t str, aliased: BTreeSet<usize>) -> Self {
        Self { text, aliased, ..Self::default() }
    }

    /// Takes one event; breaks when nothing after it can be used.
    pub(super) fn eat(&mut self, event: Event<'_>, raw: RawSpan) -> Flow {
        let at = convert(self.text, &raw);
        let tag_at = raw.tag_span().map_or(at, |raw| convert(self.text, &raw));
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
                let scalar = self.resolve(at, &text, style, (tag.as_deref(), tag_at));
                self.place(Node::scalar(at, scalar), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_collection_tag(tag_at, tag.as_deref(), "seq");
                self.open(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_collection_tag(tag_at, tag.as_deref(), "map");
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
                let hint = "define it with `&name` above, or put the text in quotes";
                self.faults.push(fault(at, message, hint));
                self.place(null(at), 0)
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) | _ => {
                Flow::Continue(())
            }
        }
    }

    fn resolve(
        &mut self,
        at: Span,
        text: &str,
        style: ScalarStyle,
        (tag, tag_at): (Option<&Tag>, Span),
    ) -> Scalar {
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
                self.refuse_tag(tag_at, tag);
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

    /// What was built.
    pub(super) fn finish(mut self) -> Parsed {
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
