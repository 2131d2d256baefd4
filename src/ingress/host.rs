//! Host names as clients write them.

/// Longest host name.
const MAX_LEN: usize = 253;

/// The host name of `authority`, `name` or `name:port`, as the table has it: in lower case, without a
/// dot at the end. `None` when it is no name; an address is none that is ever known.
pub(super) fn name_of(authority: &str) -> Option<String> {
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    };
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|it| it.is_ascii_digit());
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.' || c == b'_';
    let is_name = (1..=MAX_LEN).contains(&name.len()) && name.bytes().all(is_fine);
    (is_name && port.is_none_or(is_port)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_however_it_is_written() {
        let long = "a".repeat(254);
        for (authority, name) in [
            ("abc.ctf.test", Some("abc.ctf.test")),
            ("ABC.ctf.Test", Some("abc.ctf.test")),
            ("abc.ctf.test.", Some("abc.ctf.test")),
            ("abc.ctf.test:8443", Some("abc.ctf.test")),
            ("abc.ctf.test.:443", Some("abc.ctf.test")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("abc.ctf.test:", None),
            ("abc.ctf.test:x", None),
            ("abc.ctf.test:1:2", None),
            ("abc.ctf.test:999999", None),
            ("user@abc.ctf.test", None),
            ("abc ctf.test", None),
            ("abc.ctf.test/", None),
            ("[::1]", None),
            ("", None),
            (".", None),
            (long.as_str(), None),
        ] {
            assert_eq!(name_of(authority).as_deref(), name, "{authority}");
        }
    }
}
