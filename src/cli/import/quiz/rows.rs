//! Reads the rows of a data set: JSON, JSON lines, CSV and TSV.
//!
//! In:  the bytes of a file and its name. Out: rows with the number a person would count.
//!
//! # Invariants
//! * A broken row hinders no other; only a file that is no data set at all is an error.
//! * Nothing here shows the content of a row: it holds the answer.

use std::path::Path;

use serde_json::{Map, Value};

/// Keys under which a JSON object may hold the rows, the first one that is a list wins.
const WRAPPERS: &[&str] = &["data", "rows", "questions", "examples"];
/// Largest data set.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// One row: what it says, or why it is none.
pub(super) type Row = Result<Map<String, Value>, String>;

/// How a data set is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// One JSON document.
    Json,
    /// One JSON object per line.
    JsonLines,
    /// A table with a header line and this separator.
    Table(u8),
}

impl Notation {
    /// As the name of the file says.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Table(b',')),
            "tsv" => Some(Self::Table(b'\t')),
            _ => None,
        }
    }
}

/// Every row of the file, counted as upstream does: empty lines are none.
///
/// # Errors
/// When the file holds no rows, with a sentence that says why.
pub(super) fn read(bytes: &[u8], notation: Notation) -> Result<Vec<Row>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to() + 1))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match notation {
        Notation::Json => json(text),
        Notation::JsonLines => Ok(json_lines(text)),
        Notation::Table(separator) => table(text, separator),
    }
}

fn json(text: &str) -> Result<Vec<Row>, String> {
    // The message of the parser names line and column, never the content.
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON ({error})"))?;
    let rows = match document {
        Value::Array(rows) => Some(rows),
        Value::Object(mut object) => WRAPPERS.iter().find_map(|key| match object.remove(*key) {
            Some(Value::Array(rows)) => Some(rows),
            _ => None,
        }),
        _ => None,
    };
    let Some(rows) = rows else {
        let keys: Vec<String> = WRAPPERS.iter().map(|key| format!("`{key}`")).collect();
        return Err(format!("it is neither a list nor an object with one at {}", keys.join(", ")));
    };
    Ok(rows.into_iter().map(object).collect())
}

fn json_lines(text: &str) -> Vec<Row> {
    let lines = text.split('\n').filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match serde_json::from_str(line) {
            Ok(value) => object(value),
            Err(error) => Err(format!("no JSON at column {}", error.column())),
        })
        .collect()
}

fn object(value: Value) -> Row {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("no object".to_owned()),
    }
}

fn table(text: &str, separator: u8) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        // A short or long row is that row's fault.
        .flexible(true)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| format!("it has no header line ({error})"))?;
    let header: Vec<String> = header.iter().map(str::to_owned).collect();
    let row = |record: Result<csv::StringRecord, csv::Error>| match record {
        Ok(record) => {
            let cells = record.iter().map(|cell| Value::String(cell.to_owned()));
            Ok(header.iter().cloned().zip(cells).collect())
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(reader.records().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(text: &str, notation: Notation) -> Vec<String> {
        let shown = |row: Row| match row {
            Ok(row) => row.get("q").map_or("none".to_owned(), ToString::to_string),
            Err(reason) => reason,
        };
        read(text.as_bytes(), notation).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn rows_are_found_in_every_notation() {
        let table = Notation::Table(b',');
        for (text, notation, rows) in [
            (r#"[{"q":1},2]"#, Notation::Json, &["1", "no object"][..]),
            (r#"{"data":{},"rows":[{"q":1}]}"#, Notation::Json, &["1"]),
            (r#"{"data":[],"rows":[{"q":1}]}"#, Notation::Json, &[]),
            ("{\"q\":1}\n\n{]\n{\"q\":2}", Notation::JsonLines, &["1", "no JSON at column 2", "2"]),
            ("\u{feff}q,a\n\"x\ny\",z\n\nshort\n", table, &["\"x\\ny\"", "\"short\""]),
            ("q\ta\n1\t2\n", Notation::Table(b'\t'), &["\"1\""]),
            ("", table, &[]),
        ] {
            assert_eq!(questions(text, notation), rows, "{text}");
        }
    }

    #[test]
    fn what_is_no_data_set_is_said_in_one_sentence() {
        let fault = |text: &[u8]| read(text, Notation::Json).unwrap_err();
        assert_eq!(fault(b"\xff"), "byte 1 is not UTF-8");
        assert!(fault(b"{").starts_with("it is no JSON (EOF"), "{}", fault(b"{"));
        assert!(fault(b"{}").starts_with("it is neither a list"), "{}", fault(b"{}"));
    }
}
