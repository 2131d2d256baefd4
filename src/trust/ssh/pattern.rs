//! Lists of patterns as in ssh_config(5): `*`, `?`, and `!` for what is not meant.

/// Whether `name` is meant by the comma-separated `list`. Case matters. What is named with `!` is
/// never meant, wherever that stands.
pub(super) fn matches_list(list: &str, name: &str) -> bool {
    let mut is_meant = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, name) => return false,
            Some(_) => (),
            None => is_meant |= matches(pattern, name),
        }
    }
    is_meant
}

/// O(n·m), no recursion.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on when a `*` has to take one byte more.
    let mut retry = None;
    while at_name < name.len() {
        match (pattern.get(at_pattern), retry) {
            (Some(b'*'), _) => {
                retry = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            (Some(&byte), _) if byte == b'?' || byte == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            (_, Some((star, from))) => {
                retry = Some((star, from + 1));
                at_pattern = star + 1;
                at_name = from + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_means_what_ssh_means_by_it() {
        for (list, name, wanted) in [
            ("alice@x", "alice@x", true),
            ("alice@x", "Alice@x", false),
            ("*@x", "alice@x", true),
            ("*@x", "alice@xy", false),
            ("a?ice@x,bob", "alice@x", true),
            ("*,!mallory", "mallory", false),
            ("!mallory,*", "mallory", false),
            ("!mallory", "alice", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_list(list, name), wanted, "{list} {name}");
        }
    }
}
