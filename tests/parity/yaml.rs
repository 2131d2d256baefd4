//! Writes a value as YAML, in several styles: rules must not depend on how a file looks.

use serde_json::Value;

/// How a file looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One key or item a line.
    Block,
    /// As JSON, which is YAML.
    Flow,
    /// As a block with comments and blank lines in between.
    Commented,
}

/// `value` as a YAML document.
pub(crate) fn document(value: &Value, style: Style) -> String {
    match style {
        Style::Flow => serde_json::to_string_pretty(value).expect("a value is JSON") + "\n",
        Style::Block | Style::Commented => {
            let mut text = String::new();
            if style == Style::Commented {
                text += "# made by hand\n";
            }
            block(value, 0, style, &mut text);
            text
        }
    }
}

fn block(value: &Value, depth: usize, style: Style, text: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&pad);
                text.push_str(&scalar(&Value::String(key.clone())));
                text.push(':');
                nested(value, depth, style, text);
                if style == Style::Commented && depth == 0 {
                    *text += "\n# next\n";
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&pad);
                text.push('-');
                nested(item, depth, style, text);
            }
        }
        other => text.extend([pad, scalar(other), "\n".to_owned()]),
    }
}

fn nested(value: &Value, depth: usize, style: Style, text: &mut String) {
    let is_nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_nested {
        text.push('\n');
        block(value, depth + 1, style, text);
    } else {
        text.extend([" ".to_owned(), scalar(value), "\n".to_owned()]);
    }
}

/// A scalar or empty collection; text is quoted unless it is plainly a word.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => serde_json::to_string(other).expect("a value is JSON"),
    }
}

fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
        && !words.contains(&text.to_lowercase().as_str())
}
