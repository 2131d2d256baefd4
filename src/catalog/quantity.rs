//! Durations, sizes and CPU shares as compose files spell them.
//!
//! Everything is an integer in the end (milliseconds, bytes, thousandths); what does not fit is
//! `None`, never a wrapped or rounded-up number.

/// Milliseconds of `1m30s`, `1.5h`, `500ms`, `2d`, or of a plain number of seconds.
pub(crate) fn duration_millis(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1000);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let n_digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(n_digits);
        let n_unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(n_unit);
        let unit_nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit_nanos)?)?;
        rest = tail;
    }
    if text.is_empty() {
        return None;
    }
    u64::try_from(nanos / 1_000_000).ok()
}

/// Bytes of `512M`, `1.5g`, `64mb`, `1GiB`, `1024`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let n_digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(n_digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    u64::try_from(scaled(number, 1 << shift)?).ok()
}

/// Thousandths of a core of `0.5`, `2`, `1.25`.
pub(crate) fn cpu_millis(text: &str) -> Option<u32> {
    u32::try_from(scaled(text, 1000)?).ok()
}

/// `number` (digits with at most one dot) times `unit`, rounded down.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_fine = is_digits(whole) && is_digits(fraction) && number.len() <= 24;
    if !is_fine || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(9)];
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(parts.checked_mul(unit)? / divisor)
}

/// `bytes` for people: the largest unit that divides it.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

/// `millis` for people.
pub(crate) fn shown_millis(millis: u64) -> String {
    match millis {
        _ if millis > 0 && millis.is_multiple_of(3_600_000) => format!("{} h", millis / 3_600_000),
        _ if millis > 0 && millis.is_multiple_of(60_000) => format!("{} min", millis / 60_000),
        _ if millis > 0 && millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        _ => format!("{millis} ms"),
    }
}

/// Thousandths of a core for people.
pub(crate) fn shown_cpu(millis: u32) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_like_compose_reads_them() {
        for (text, millis) in [
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("100ms", Some(100)),
            ("30", Some(30_000)),
            ("0s", Some(0)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("1", Some(1000)),
            ("1x", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(duration_millis(text), millis, "{text:?}");
        }
    }

    #[test]
    fn sizes_and_cores_read_like_compose_reads_them() {
        for (text, size) in [
            ("512M", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("64mb", Some(64 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("1024", Some(1024)),
            ("-1", None),
            ("", None),
            ("1q", None),
        ] {
            assert_eq!(bytes(text), size, "{text:?}");
        }
        assert_eq!(cpu_millis("0.25"), Some(250));
        assert_eq!(cpu_millis("2"), Some(2000));
        assert_eq!(cpu_millis("1e9"), None);
        assert_eq!(shown_cpu(1250), "1.25");
        assert_eq!(shown_cpu(4000), "4");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_quantity_panic(text in "[0-9.]{0,30}[a-zµ]{0,3}|.{0,20}") {
            let _ = (duration_millis(&text), bytes(&text), cpu_millis(&text));
        }
    }
}
