//! Reads fields of the server's answers, whatever its version: what is absent is empty.

use serde_json::Value;

/// Lenient access to the fields of a JSON object.
pub(crate) trait Fields {
    /// The text at `key`; empty when there is none.
    fn text(&self, key: &str) -> &str;
    /// The first text of `keys` that is not empty: one thing was named differently over time.
    fn any_text(&self, keys: &[&str]) -> &str;
    /// The number at `key`; 0 when there is none.
    fn number(&self, key: &str) -> f64;
    /// Whether `key` is `true`.
    fn is(&self, key: &str) -> bool;
    /// The list at `key`; empty when there is none.
    fn list(&self, key: &str) -> &[Value];
    /// The time at `key` in milliseconds since the epoch: RFC 3339 or Unix seconds.
    fn time_millis(&self, key: &str) -> Option<i64>;
}

impl Fields for Value {
    fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or("")
    }

    fn any_text(&self, keys: &[&str]) -> &str {
        keys.iter().map(|key| self.text(key)).find(|text| !text.is_empty()).unwrap_or("")
    }

    fn number(&self, key: &str) -> f64 {
        self.get(key).and_then(Value::as_f64).unwrap_or(0.0)
    }

    fn is(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn time_millis(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            Value::String(text) => {
                crate::model::Timestamp::parse_rfc3339(text).ok().map(|time| time.as_millis())
            }
            // The server's clocks are seconds; 0 means unset.
            Value::Number(secs) => {
                secs.as_f64().filter(|secs| *secs > 0.0).map(|secs| (secs * 1000.0) as i64)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_null_and_mistyped_fields_are_empty() {
        for value in [json!({}), json!({"a": null}), json!({"a": {}}), json!([1]), Value::Null] {
            assert_eq!(value.text("a"), "");
            assert_eq!(value.number("a"), 0.0);
            assert!(!value.is("a"));
            assert!(value.list("a").is_empty());
            assert_eq!(value.time_millis("a"), None);
        }
    }

    #[test]
    fn times_come_in_two_spellings() {
        let value = json!({"a": 1_795_184_190.5, "b": "2026-11-20T14:16:30.5Z", "c": 0});
        assert_eq!(value.time_millis("a"), Some(1_795_184_190_500));
        assert_eq!(value.time_millis("b"), Some(1_795_184_190_500));
        assert_eq!(value.time_millis("c"), None);
        assert_eq!(json!({"a": "", "b": "x"}).any_text(&["a", "b"]), "x");
    }
}
