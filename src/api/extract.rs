//! Reads what clients send: path, query and JSON body, each refused in the contract's shape.
//!
//! In:  a request nobody has looked at.
//! Out: typed values, or a 422 that lists every fault of the query at once.
//!
//! # Invariants
//! * A body is at most [`MAX_BODY_BYTES`] and must arrive within [`BODY_DEADLINE`].
//! * Unknown members and parameters are ignored; the last of repeated parameters counts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{ApiError, Issue, cut};

/// Largest request body.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

/// How long a body may take to arrive.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Parts of the path, percent-decoded.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            // Only text that is not UTF-8 gets here, and nothing of ours has such a name.
            Err(_) => Err(ApiError::plain(StatusCode::NOT_FOUND, "Not Found")),
        }
    }
}

/// The query, read by `T`.
pub(crate) struct Query<T>(pub(crate) T);

/// A set of query parameters.
pub(crate) trait FromParams: Sized {
    /// Reads the parameters; faults are collected in `params`.
    fn read(params: &mut Params) -> Self;
}

impl<A: FromParams, B: FromParams> FromParams for (A, B) {
    fn read(params: &mut Params) -> Self {
        (A::read(params), B::read(params))
    }
}

impl<S: Send + Sync, T: FromParams> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(pairs)| pairs)
            .unwrap_or_default();
        let mut params = Params { pairs: pairs.into_iter().collect(), issues: Vec::new() };
        let value = T::read(&mut params);
        if params.issues.is_empty() {
            Ok(Self(value))
        } else {
            Err(ApiError::invalid(&params.issues))
        }
    }
}

/// The parameters of one query, and what was wrong with them so far.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: BTreeMap<String, String>,
    issues: Vec<Issue>,
}

impl Params {
    /// A text; empty when absent.
    pub(crate) fn text(&mut self, name: &str) -> String {
        self.pairs.remove(name).unwrap_or_default()
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, name: &str) -> String {
        self.pairs.remove(name).unwrap_or_else(|| {
            self.refuse("missing", name, "Field required".into(), Value::Null, None);
            String::new()
        })
    }

    /// One of `words`; the empty word when absent.
    pub(crate) fn word(&mut self, name: &str, words: &[&str]) -> String {
        let text = self.text(name);
        if !text.is_empty() && !words.contains(&text.as_str()) {
            let message = format!("Input should be one of {}", words.join(", "));
            self.refuse("literal_error", name, message, cut(&text).into(), None);
        }
        text
    }

    /// One of `words`, which must be there.
    pub(crate) fn required_word(&mut self, name: &str, words: &[&str]) -> String {
        if !self.pairs.contains_key(name) {
            return self.required(name);
        }
        let text = self.word(name, words);
        if text.is_empty() {
            let message = format!("Input should be one of {}", words.join(", "));
            self.refuse("literal_error", name, message, Value::Null, None);
        }
        text
    }

    /// A text that `T` reads; `None` when absent.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.pairs.remove(name).filter(|text| !text.is_empty())?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse("value_error", name, error.to_string(), cut(&text).into(), None);
                None
            }
        }
    }

    /// A whole number within `range`; `None` when absent.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.pairs.remove(name)?;
        let Ok(number) = text.trim().parse::<i64>() else {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            self.refuse("int_parsing", name, message.into(), cut(&text).into(), None);
            return None;
        };
        let (low, high) = (*range.start(), *range.end());
        if number < low {
            let message = format!("Input should be greater than or equal to {low}");
            let context = Some(json!({"ge": low}));
            self.refuse("greater_than_equal", name, message, cut(&text).into(), context);
        } else if number > high {
            let message = format!("Input should be less than or equal to {high}");
            let context = Some(json!({"le": high}));
            self.refuse("less_than_equal", name, message, cut(&text).into(), context);
        }
        Some(number)
    }

    /// A whole number of `u32` that must be there.
    pub(crate) fn required_number(&mut self, name: &str) -> u32 {
        if !self.pairs.contains_key(name) {
            self.required(name);
        }
        let number = self.integer(name, 0..=i64::from(u32::MAX));
        number.and_then(|it| u32::try_from(it).ok()).unwrap_or_default()
    }

    fn refuse(
        &mut self,
        kind: &'static str,
        name: &str,
        message: String,
        input: Value,
        context: Option<Value>,
    ) {
        let location = vec!["query".to_owned(), name.to_owned()];
        self.issues.push(Issue { kind, location, message, input, context });
    }
}

/// Collects what is wrong with the members of a body, in the contract's words.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Issue>);

impl Faults {
    /// A text has as many characters as `range` allows.
    pub(crate) fn length(&mut self, name: &str, text: &str, range: RangeInclusive<usize>) {
        let n_chars = text.chars().count();
        let (least, most) = (*range.start(), *range.end());
        if n_chars < least {
            let message = format!("String should have at least {least} characters");
            self.add("string_too_short", name, message, Some(json!({"min_length": least})));
        } else if n_chars > most {
            let message = format!("String should have at most {most} characters");
            self.add("string_too_long", name, message, Some(json!({"max_length": most})));
        }
    }

    /// A number lies in `range`.
    pub(crate) fn number(&mut self, name: &str, number: i64, range: RangeInclusive<i64>) {
        let (least, most) = (*range.start(), *range.end());
        if number < least {
            let message = format!("Input should be greater than or equal to {least}");
            self.add("greater_than_equal", name, message, Some(json!({"ge": least})));
        } else if number > most {
            let message = format!("Input should be less than or equal to {most}");
            self.add("less_than_equal", name, message, Some(json!({"le": most})));
        }
    }

    /// Something else is wrong with a member.
    pub(crate) fn other(&mut self, name: &str, message: String) {
        self.add("value_error", name, message, None);
    }

    fn add(&mut self, kind: &'static str, name: &str, message: String, context: Option<Value>) {
        let location = vec!["body".to_owned(), name.to_owned()];
        self.0.push(Issue { kind, location, message, input: Value::Null, context });
    }

    /// Refuses the body if anything was wrong.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::invalid(&self.0)) }
    }
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, state))
            .await
            .map_err(|_| ApiError::plain(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))?
            .map_err(|rejection| body_refusal(rejection.status()))?;
        parse(&bytes).map(Self).map_err(|issue| ApiError::invalid(&[*issue]))
    }
}

fn body_refusal(status: StatusCode) -> ApiError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let text = format!("the body has more than {MAX_BODY_BYTES} bytes");
        return ApiError::plain(status, &text);
    }
    ApiError::plain(StatusCode::BAD_REQUEST, "the body could not be read")
}

/// Reads a JSON object. The content type is not looked at, as no browser sends our bearer by itself.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Box<Issue>> {
    let issue = |kind, location: Vec<String>, message: String, input| {
        let location = [vec!["body".to_owned()], location].concat();
        Box::new(Issue { kind, location, message, input, context: None })
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(issue("missing", vec![], "Field required".into(), Value::Null));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("JSON decode error at line {}: {error}", error.line());
        issue("json_invalid", vec![], place, json!({}))
    })?;
    if !value.is_object() {
        let message = "Input should be a valid dictionary or object to extract fields from";
        return Err(issue("model_attributes_type", vec![], message.into(), Value::Null));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut location = location_of(error.path());
        let message = error.inner().to_string();
        match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(field) => {
                location.push(field.to_owned());
                issue("missing", location, "Field required".into(), Value::Null)
            }
            None => issue("type_error", location, without_values(&message), Value::Null),
        }
    })
}

fn location_of(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .map(|segment| segment.to_string())
        .filter(|segment| segment != "?" && segment != ".")
        .collect()
}

/// Serde quotes the refused value, which may be an answer: keep what kind it was, and what is wanted.
fn without_values(message: &str) -> String {
    let wanted = message.rsplit_once("expected ").map(|(_, wanted)| wanted);
    match wanted {
        Some(wanted) => format!("Input should be {wanted}"),
        None => "Input is not of a known shape".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(rename = "challenge_id")]
        _challenge_id: String,
        #[serde(default, rename = "ttl")]
        _ttl: Option<i64>,
    }

    fn check(body: &str) -> String {
        match parse::<Sample>(body.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(issue) => format!("{} {} {}", issue.kind, issue.location.join("."), issue.message),
        }
    }

    #[test]
    fn a_bad_body_says_where_and_what_but_never_repeats_it() {
        let bodies = [
            r#"{"challenge_id":"WEB-001","extra":1}"#,
            "",
            "{",
            "[]",
            "{}",
            r#"{"challenge_id":"WEB-001","ttl":"FLAG{secret}"}"#,
        ];
        insta::assert_snapshot!(bodies.map(check).join("\n"), @"
        fine
        missing body Field required
        json_invalid body JSON decode error at line 1: EOF while parsing an object at line 1 column 1
        model_attributes_type body Input should be a valid dictionary or object to extract fields from
        missing body.challenge_id Field required
        type_error body.ttl Input should be i64
        ");
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_followed() {
        let bomb = "[".repeat(100_000);
        assert!(check(&bomb).starts_with("json_invalid"));
    }

    #[test]
    fn every_fault_of_a_query_is_reported_at_once() {
        let pairs = [("limit", "0"), ("offset", "x"), ("phase", "never")];
        let mut params = Params {
            pairs: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            issues: Vec::new(),
        };
        params.integer("limit", 1..=10_000);
        params.integer("offset", 0..=i64::MAX);
        params.word("phase", &["upcoming", "running", "past"]);
        params.required("competition_id");
        let kinds: Vec<_> = params.issues.iter().map(|issue| issue.kind).collect();
        assert_eq!(kinds, ["greater_than_equal", "int_parsing", "literal_error", "missing"]);
    }
}
