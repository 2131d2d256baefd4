//! Reads columns as model types, and counts. What cannot be read is an error that names the column.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, RowIndex};
use serde::de::DeserializeOwned;

use crate::model::Timestamp;

/// The column, parsed from text.
pub(super) fn text<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| bad(row, column, error))
}

/// The column, parsed from text; `None` when it is NULL.
pub(super) fn opt_text<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error: T::Err| bad(row, column, error))).transpose()
}

/// The column, a word of a closed vocabulary.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: &str,
    from_word: fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    from_word(&text).ok_or_else(|| bad(row, column, UnknownWord(text)))
}

/// The column, a word of a closed vocabulary; `None` when it is NULL.
pub(super) fn opt_word<T>(
    row: &Row<'_>,
    column: &str,
    from_word: fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| from_word(&text).ok_or_else(|| bad(row, column, UnknownWord(text)))).transpose()
}

/// The column, parsed from JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| bad(row, column, error))
}

/// The column, parsed from JSON; `None` when it is NULL.
pub(super) fn opt_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| bad(row, column, error)))
        .transpose()
}

/// The column, a point in time.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// The column, a point in time; `None` when it is NULL.
pub(super) fn opt_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// `value` as JSON text. Our own plain types always have one.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The next value of the counter `name`, from 1.
pub(super) fn next(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO cursors (name, value) VALUES (?1, 1)
         ON CONFLICT (name) DO UPDATE SET value = value + 1
         RETURNING value",
    )?
    .query_row([name], |row| row.get(0))
}

fn bad(
    row: &Row<'_>,
    column: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let index = column.idx(row.as_ref()).unwrap_or_default();
    let source = BadColumn { column: column.to_owned(), source: Box::new(error) };
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(source))
}

#[derive(Debug, thiserror::Error)]
#[error("column `{column}`")]
struct BadColumn {
    column: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

struct UnknownWord(String);

impl fmt::Debug for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no word we know", self.0.chars().take(80).collect::<String>())
    }
}

impl std::error::Error for UnknownWord {}
