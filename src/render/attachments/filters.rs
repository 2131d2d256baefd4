//! The filters, tests, functions and methods of attachment templates. Each has a bound.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, filters, functions, tests};

use super::bounds::MAX_VALUE;

/// The filters that there are, sorted.
pub const FILTERS: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "indent",
    "int",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "replace",
    "reverse",
    "round",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
];

/// The most bytes that filter `name` makes of `input` bytes; `None` for a number.
pub(super) fn size(name: &str, input: u64, arguments: u64) -> Option<u64> {
    match name {
        "abs" | "bool" | "count" | "float" | "int" | "length" | "round" => None,
        "replace" | "join" | "indent" => Some(MAX_VALUE),
        // Quotes and separators around every character, or an escape for each.
        "escape" | "e" | "tojson" | "list" | "split" | "lines" => Some(input.saturating_mul(8)),
        "upper" | "lower" | "title" | "capitalize" => Some(input.saturating_mul(3)),
        "default" | "d" => Some(input.saturating_add(arguments)),
        _ => Some(input),
    }
}

/// Adds everything that there is.
pub(super) fn add(env: &mut Environment<'_>) {
    add_filters(env);
    add_tests(env);
    env.add_function("range", functions::range);
    env.set_unknown_method_callback(|_, value, name, args| method(value, name, args));
}

fn add_filters(env: &mut Environment<'_>) {
    env.add_filter("abs", filters::abs);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("count", filters::length);
    env.add_filter("d", filters::default);
    env.add_filter("default", filters::default);
    env.add_filter("e", filters::escape);
    env.add_filter("escape", filters::escape);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("indent", indent);
    env.add_filter("int", filters::int);
    env.add_filter("join", join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("replace", replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("title", filters::title);
    env.add_filter("tojson", tojson);
    env.add_filter("trim", filters::trim);
    env.add_filter("upper", filters::upper);
}

fn add_tests(env: &mut Environment<'_>) {
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("even", tests::is_even);
    env.add_test("false", tests::is_false);
    env.add_test("float", tests::is_float);
    env.add_test("integer", tests::is_integer);
    env.add_test("iterable", tests::is_iterable);
    env.add_test("lower", tests::is_lower);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("number", tests::is_number);
    env.add_test("odd", tests::is_odd);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("string", tests::is_string);
    env.add_test("true", tests::is_true);
    env.add_test("upper", tests::is_upper);
    for name in ["eq", "equalto", "=="] {
        env.add_test(name, tests::is_eq);
    }
    for name in ["ne", "!="] {
        env.add_test(name, tests::is_ne);
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::OutOfFuel, "a value has more than 64 KiB")
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let n_found = text.matches(from).count();
    let bytes = (n_found as u64).saturating_mul(to.len() as u64).saturating_add(text.len() as u64);
    if bytes > MAX_VALUE { Err(too_large()) } else { Ok(text.replace(from, to)) }
}

fn join(items: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for (nth, item) in items.try_iter()?.enumerate() {
        if nth > 0 {
            joined.push_str(separator.unwrap_or_default());
        }
        joined.push_str(&item.to_string());
        if joined.len() as u64 > MAX_VALUE {
            return Err(too_large());
        }
    }
    Ok(joined)
}

/// Puts `width` spaces before every line but the first, and before no blank one.
fn indent(text: &str, width: Option<u64>) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    let n_lines = text.matches('\n').count() as u64;
    let bytes = n_lines.saturating_mul(width).saturating_add(text.len() as u64);
    if bytes > MAX_VALUE {
        return Err(too_large());
    }
    let space = " ".repeat(usize::try_from(width).unwrap_or(0));
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        if !line.trim().is_empty() {
            out.push_str(&space);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Text or a number as JSON, without the escapes for web pages.
fn tojson(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|_| Error::new(ErrorKind::BadSerialization, "this is no JSON"))
}

/// The methods of text that templates for the reference use.
fn method(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let missing = || Error::new(ErrorKind::UnknownMethod, format!("no method named {name}"));
    let text = match value.kind() {
        ValueKind::String => value.as_str().ok_or_else(missing)?,
        _ => return Err(missing()),
    };
    let argument = |nth: usize| args.get(nth).and_then(Value::as_str);
    let cut = |text: String| {
        if text.len() as u64 > MAX_VALUE { Err(too_large()) } else { Ok(Value::from(text)) }
    };
    match (name, args.len()) {
        ("upper", 0) => cut(text.to_uppercase()),
        ("lower", 0) => cut(text.to_lowercase()),
        ("strip", 0) => cut(text.trim().to_owned()),
        ("lstrip", 0) => cut(text.trim_start().to_owned()),
        ("rstrip", 0) => cut(text.trim_end().to_owned()),
        ("replace", 2) => match (argument(0), argument(1)) {
            (Some(from), Some(to)) => Ok(Value::from(replace(text, from, to)?)),
            _ => Err(missing()),
        },
        ("startswith", 1) => Ok(argument(0).is_some_and(|it| text.starts_with(it)).into()),
        ("endswith", 1) => Ok(argument(0).is_some_and(|it| text.ends_with(it)).into()),
        _ => Err(missing()),
    }
}
