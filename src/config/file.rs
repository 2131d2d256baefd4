//! Reads `flagops.toml` into settings with the line of each.
//!
//! In:  the text of the file.
//! Out: key paths with values and lines, and every syntax fault. Knows no key: what may be set
//! and what it means is decided in `mod.rs`.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::layers::{Layers, Raw};

/// Largest file that is read. A full one has 4 KiB.
const LIMIT_BYTES: u64 = 1 << 20;

/// Puts every setting of the file at `path` into `layers`, and its faults.
pub(super) fn read_into(layers: &mut Layers, path: &Path) {
    match read(path) {
        Ok(text) => parse_into(layers, path, &text),
        Err(problem) => layers.fault(Fault {
            origin: Origin::File { path: path.to_owned(), line: 0 },
            key: String::new(),
            problem: format!("could not be read ({problem})"),
            fix: "name a readable file with `--config`".to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size_bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size_bytes > LIMIT_BYTES {
        return Err(format!("{size_bytes} bytes, more than the limit of {LIMIT_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Puts every setting of `text` into `layers`; after a syntax fault, what else could be read.
pub(super) fn parse_into(layers: &mut Layers, path: &Path, text: &str) {
    let place = Place { path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        layers.fault(Fault {
            origin: place.origin(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            problem: format!("is not TOML: {}", error.message().replace('\n', ", ")),
            fix: String::new(),
        });
    }
    walk(layers, &place, "", table.get_ref());
}

/// Turns byte offsets into lines.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}

fn walk(layers: &mut Layers, place: &Place<'_>, prefix: &str, table: &DeTable<'_>) {
    for (name, value) in table {
        let name_text: &str = name.get_ref();
        let key =
            if prefix.is_empty() { name_text.to_owned() } else { format!("{prefix}.{name_text}") };
        let origin = place.origin(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) if inner.is_empty() => layers.section(&key, origin),
            DeValue::Table(inner) => walk(layers, place, &key, inner),
            _ => layers.set(&key, raw(value), origin),
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
                .map_or(Raw::Other("a huge integer"), Raw::Integer)
        }
        DeValue::Float(_) => Raw::Other("a float"),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("a list"), Raw::List)
        }
        DeValue::Table(_) => Raw::Other("a section"),
    }
}
