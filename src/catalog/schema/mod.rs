//! JSON Schemas of what authors write, for their editors.
//!
//! Files are read by hand, value by value, so that every fault has a place and a fix. A schema is a
//! coarser net of the same shape: it completes keys and catches most faults while typing.
//!
//! Out: one JSON Schema (draft 7, which every editor knows) per kind of file.
//!
//! # Invariants
//! * What the reader accepts, the schema accepts; what the schema refuses, the reader refuses.
//! * Both know exactly the same keys.
//!
//! # Not here
//! `flagops.toml` (`config`), what is wrong and where (`metadata`).

mod competition;
mod metadata;
#[cfg(test)]
mod tests;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The schema of `metadata.yaml`.
pub fn metadata() -> Value {
    schema_of::<metadata::Metadata>()
}

/// The schema of `competitions/*.yaml`.
pub fn competition() -> Value {
    schema_of::<competition::Competition>()
}

/// The schema of `T` in one piece, without what only Rust knows.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    Plain.transform(&mut schema);
    schema.to_value()
}

/// Takes away what names types of ours, and makes every paragraph one line.
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        if format.starts_with("uint") || format.starts_with("int") {
            schema.remove("format");
        }
        // Written by the types that have no key that must be there.
        if schema.get("required").is_some_and(|it| it.as_array().is_some_and(Vec::is_empty)) {
            schema.remove("required");
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            let paragraphs = text.split("\n\n").map(|it| it.replace('\n', " "));
            *text = paragraphs.collect::<Vec<String>>().join("\n\n");
        }
        transform_subschemas(self, schema);
    }
}

/// Whether a key may stand without a value, which is as if it were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    Allowed,
    Refused,
}

/// One of `words`.
fn words(words: &[&str], empty: Empty) -> Schema {
    match empty {
        Empty::Refused => json_schema!({ "type": "string", "enum": words }),
        Empty::Allowed => {
            let mut values: Vec<Value> = words.iter().map(|word| Value::from(*word)).collect();
            values.push(Value::Null);
            json_schema!({ "type": ["string", "null"], "enum": values })
        }
    }
}

/// A whole number from `min` to `max`; text that spells one counts.
fn whole_number(min: u64, max: u64) -> Schema {
    json_schema!({
        "type": ["integer", "string", "null"],
        "minimum": min,
        "maximum": max,
        "pattern": r"^(\+?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)$",
        "patternErrorMessage": "Write a whole number.",
    })
}

/// An instant with its zone.
fn instant(empty: Empty) -> Schema {
    let types = match empty {
        Empty::Refused => Value::from("string"),
        Empty::Allowed => Value::from(["string", "null"].map(Value::from).to_vec()),
    };
    json_schema!({
        "type": types,
        "pattern": r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$",
        // What yaml-language-server says instead of the pattern; others ignore the key.
        "patternErrorMessage": "Write an instant with its zone, e.g. 2027-03-01T12:00:00Z.",
    })
}

/// An instant that may be left out.
fn optional_instant(_: &mut SchemaGenerator) -> Schema {
    instant(Empty::Allowed)
}

/// How points are counted.
fn scoring_function(_: &mut SchemaGenerator) -> Schema {
    words(&["static", "linear", "logarithmic"], Empty::Allowed)
}

/// Points, and counts of solves.
fn points(_: &mut SchemaGenerator) -> Schema {
    whole_number(0, 1_000_000)
}
