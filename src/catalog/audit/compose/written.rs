//! What a service says about itself, read the way the contract reads it: from the file as it is
//! written, leniently, nothing interpolated.
//!
//! In:  one service as a [`Map`]. Out: the few facts that rules of several families ask for.
//!
//! # Invariants
//! * A value of the wrong shape is nothing, never a fault: reading (`catalog::compose`) names it.
//!
//! # Not here
//! The typed model (`catalog::compose`), what is wrong with any of it (the families).

use crate::catalog::audit::Subject;
use crate::catalog::folder::join;
use crate::catalog::spanned::{Entry, Map, Node, Scalar, ScalarKind, Span, Value};

/// The label that says what a service speaks.
pub(in crate::catalog::audit) const PROTOCOL: &str = "ctfy.service.protocol";

/// Whether a value says anything: no `null`, no `false`, no zero, nothing empty.
pub(in crate::catalog::audit) fn says_something(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.entries.is_empty(),
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => false,
            ScalarKind::Bool(value) => value,
            ScalarKind::Int => scalar.text.chars().any(|c| !"+-0xob".contains(c)),
            ScalarKind::Float => scalar.text.parse() != Ok(0.0),
            ScalarKind::Text => !scalar.text.is_empty(),
        },
    }
}

/// The text of a value that is text for YAML too.
pub(in crate::catalog::audit) fn text(node: &Node) -> Option<&str> {
    match node.as_scalar() {
        Some(Scalar { text, kind: ScalarKind::Text, .. }) => Some(text),
        Some(_) | None => None,
    }
}

/// The value of `key`, if the service says anything there.
pub(in crate::catalog::audit) fn said<'m>(service: &'m Map, key: &str) -> Option<&'m Entry> {
    service.get(key).filter(|entry| says_something(&entry.value))
}

/// A mapping below a mapping.
pub(in crate::catalog::audit) fn below<'m>(map: &'m Map, key: &str) -> Option<&'m Map> {
    map.get(key)?.value.as_map()
}

/// The keys of a mapping, or of a list of `KEY=value`, each with its place.
pub(in crate::catalog::audit) fn keys(node: &Node) -> Vec<(&str, Span)> {
    if let Some(map) = node.as_map() {
        return map.entries.iter().map(|entry| (entry.key.as_str(), entry.key_span)).collect();
    }
    let items = node.as_list().unwrap_or_default();
    let key = |item: &'_ Node| item.span;
    items
        .iter()
        .filter_map(|item| {
            let text = text(item)?;
            Some((text.split_once('=').map_or(text, |(name, _)| name), key(item)))
        })
        .collect()
}

/// The first label `name` with a text, and where it stands.
pub(in crate::catalog::audit) fn label<'m>(
    service: &'m Map,
    name: &str,
) -> Option<(&'m str, Span)> {
    let node = &service.get("labels")?.value;
    if let Some(map) = node.as_map() {
        let entry = map.get(name)?;
        return Some((text(&entry.value)?, entry.value.span));
    }
    node.as_list()?.iter().find_map(|item| {
        let (key, value) = text(item)?.split_once('=')?;
        (key == name).then_some((value, item.span))
    })
}

/// Whether the service waits for the service `name`.
pub(in crate::catalog::audit) fn depends_on(service: &Map, name: &str) -> bool {
    let Some(entry) = service.get("depends_on") else { return false };
    if let Some(map) = entry.value.as_map() {
        return map.get(name).is_some();
    }
    let items = entry.value.as_list().unwrap_or_default();
    items.iter().any(|item| text(item) == Some(name))
}

/// One mount of a service.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog::audit) struct Mount<'m> {
    /// `bind`, `volume`, …; `None` in the short form.
    pub kind: Option<&'m str>,
    /// What is mounted.
    pub source: Option<&'m str>,
    /// Where.
    pub target: Option<&'m str>,
    /// The place of the item.
    pub at: Span,
}

impl<'m> Mount<'m> {
    /// The named volume, if it mounts one.
    pub(in crate::catalog::audit) fn volume(&self) -> Option<&'m str> {
        let is_volume = self.kind.is_none_or(|kind| kind == "volume");
        self.source.filter(|name| is_volume && !name.is_empty() && !name.starts_with(['.', '/']))
    }

    /// The path below the challenge that it wants mounted from the node.
    pub(in crate::catalog::audit) fn host_path(&self) -> Option<&'m str> {
        let is_bind = self.kind.is_none_or(|kind| kind == "bind");
        self.source.filter(|path| is_bind && (path.starts_with("./") || path.starts_with("../")))
    }
}

/// The mounts of a service that name a source or a target.
pub(in crate::catalog::audit) fn mounts(service: &Map) -> impl Iterator<Item = Mount<'_>> {
    let items = service.get("volumes").and_then(|entry| entry.value.as_list());
    items.unwrap_or_default().iter().filter_map(mount)
}

fn mount(item: &Node) -> Option<Mount<'_>> {
    if let Some(map) = item.as_map() {
        let field = |key| map.get(key).and_then(|entry| text(&entry.value));
        // A long form without a type is neither a bind nor a volume here.
        let kind = Some(field("type").unwrap_or_default());
        return Some(Mount {
            kind,
            source: field("source"),
            target: field("target"),
            at: item.span,
        });
    }
    let (source, rest) = text(item)?.split_once(':')?;
    let target = rest.split(':').next();
    Some(Mount { kind: None, source: Some(source), target, at: item.span })
}

/// What a service builds, and where that is written.
#[derive(Debug)]
pub(in crate::catalog::audit) struct Build {
    /// The context inside the challenge, without `.` and `..`.
    pub context: String,
    /// The context as it is written.
    pub written: String,
    /// The Dockerfile inside the context.
    pub dockerfile: String,
    /// The value that names the context.
    pub at: Span,
}

impl Build {
    /// The Dockerfile inside the challenge.
    pub(in crate::catalog::audit) fn path(&self) -> String {
        join(&self.context, &self.dockerfile)
    }
}

/// The build of a service. `None` when it has none, when it lies outside of the challenge, or when
/// nobody can say where it lies: reading has its own findings then.
pub(in crate::catalog::audit) fn build(
    subject: &Subject<'_>,
    name: &str,
    service: &Map,
) -> Option<Build> {
    let entry = said(service, "build")?;
    let context = match entry.value.as_map() {
        Some(map) => map.get("context"),
        None => Some(entry),
    };
    let at = context.map_or(entry.key_span, |entry| entry.value.span);
    if let Some(build) = subject.builds.iter().find(|build| build.service.as_str() == name) {
        let spec = &build.spec;
        return Some(Build {
            context: spec.context.clone(),
            written: spec.context.clone(),
            dockerfile: spec.dockerfile.clone(),
            at,
        });
    }
    let written = text(&context?.value).filter(|text| !text.contains('$'))?;
    Some(Build {
        context: inside(written)?,
        written: written.to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        at,
    })
}

/// `path` without `.` and `..`; `None` when it leaves the folder it starts in.
pub(in crate::catalog::audit) fn inside(path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::spanned::parse;

    #[test]
    fn what_says_nothing_is_what_the_contract_calls_empty() {
        for (yaml, want) in [
            ("null", false),
            ("~", false),
            ("false", false),
            ("0", false),
            ("0x0", false),
            ("-0", false),
            ("0.0", false),
            ("[]", false),
            ("{}", false),
            ("''", false),
            ("'0'", true),
            ("1", true),
            ("10", true),
            ("0.5", true),
            ("true", true),
            ("x", true),
            ("[0]", true),
        ] {
            let root = parse(yaml.as_bytes()).root.unwrap();
            assert_eq!(says_something(&root), want, "{yaml}");
        }
    }

    #[test]
    fn a_path_is_inside_or_nowhere() {
        for (path, want) in [
            ("./a//b/.", Some("a/b")),
            ("a/../b", Some("b")),
            (".", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("/etc", None),
        ] {
            assert_eq!(inside(path).as_deref(), want, "{path}");
        }
    }
}
