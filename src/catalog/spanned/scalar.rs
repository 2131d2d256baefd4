//! What a plain scalar means by the YAML 1.2 core schema.

use super::ScalarKind;

/// The tag of a kind.
pub(super) fn kind_tag(kind: ScalarKind) -> &'static str {
    match kind {
        ScalarKind::Null => "null",
        ScalarKind::Bool(_) => "bool",
        ScalarKind::Int => "int",
        ScalarKind::Float => "float",
        ScalarKind::Text => "str",
    }
}

/// What the core schema makes of a plain scalar; `Err` for a number that is not finite.
pub(super) fn core_kind(text: &str) -> Result<ScalarKind, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ if is_special_float(text) => return Err("not a finite number"),
        _ if is_int(text) => ScalarKind::Int,
        _ if is_float(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => ScalarKind::Float,
            _ => return Err("not a finite number"),
        },
        _ => ScalarKind::Text,
    })
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// Whole numbers; a leading zero (`012`) means text, since readers disagree about it.
fn is_int(text: &str) -> bool {
    let all = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.as_bytes().iter().all(is_digit)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |byte| (b'0'..=b'7').contains(byte));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    all(digits, u8::is_ascii_digit) && (digits == "0" || !digits.starts_with('0'))
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let is_octal_like = exponent.is_none() && !mantissa.contains('.');
    has_digits && digits(whole) && digits(fraction) && exponent_is_fine && !is_octal_like
}
