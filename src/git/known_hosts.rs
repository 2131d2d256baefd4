//! Strict host keys: looks a key up in a `known_hosts` file and never adds one.
//!
//! Understood: plain and hashed names, `[host]:port`, `*` and `?`, `!` negation, `@revoked`.
//! `@cert-authority` lines are passed over: libssh2 offers plain keys only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// What the file says about a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Exactly this key is listed.
    Known,
    /// The host is listed, with other keys only: the first such line.
    Changed {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The key is listed as revoked.
    Revoked {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The host is not listed.
    Unknown,
}

/// Looks up `key` (the raw public key blob) for `host` and `port`.
pub(super) fn check(file: &str, host: &str, port: u16, key: &[u8]) -> Verdict {
    let host = host.to_ascii_lowercase();
    let name = if port == 22 { host } else { format!("[{host}]:{port}") };
    let mut verdict = Verdict::Unknown;
    for (index, line) in file.lines().enumerate() {
        let Some(entry) = Entry::parse(line) else { continue };
        if !entry.names(&name) {
            continue;
        }
        let line = index + 1;
        let is_same = STANDARD.decode(entry.key).is_ok_and(|listed| listed == key);
        match (entry.is_revoked, is_same) {
            // A revocation outweighs any other line.
            (true, true) => return Verdict::Revoked { line },
            (true, false) => (),
            (false, true) => verdict = Verdict::Known,
            (false, false) if verdict == Verdict::Unknown => verdict = Verdict::Changed { line },
            (false, false) => (),
        }
    }
    verdict
}

struct Entry<'a> {
    is_revoked: bool,
    hosts: &'a str,
    key: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let mut words = line.split_whitespace();
        let mut hosts = words.next()?;
        let mut is_revoked = false;
        if let Some(marker) = hosts.strip_prefix('@') {
            if marker != "revoked" {
                return None;
            }
            is_revoked = true;
            hosts = words.next()?;
        }
        let _algorithm = words.next()?;
        Some(Self { is_revoked, hosts, key: words.next()? })
    }

    fn names(&self, name: &str) -> bool {
        if let Some(hashed) = self.hosts.strip_prefix("|1|") {
            return hash_matches(hashed, name).unwrap_or(false);
        }
        let mut is_named = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if wildcard(pattern, name) => return false,
                Some(_) => (),
                None => is_named |= wildcard(pattern, name),
            }
        }
        is_named
    }
}

/// `salt|hash`, both base64: the hash is HMAC-SHA1 of the name under the salt.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Whether `name` matches `pattern` with `*` and `?`. O(n·m), no recursion.
fn wildcard(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut retry = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                retry = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                at_pattern = star + 1;
                at_name = from + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPQxu4zNyHKkbyCPnFiiDDKBEpWQ7BGXYYUPvmMRSTs9";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn verdict(file: &str, host: &str, port: u16) -> Verdict {
        check(file, host, port, &STANDARD.decode(KEY).unwrap())
    }

    #[test]
    fn a_key_is_known_only_when_it_is_listed_for_that_host_and_port() {
        let file = format!("# ours\nforge.example,10.0.0.1 ssh-ed25519 {KEY} comment\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Known);
        assert_eq!(verdict(&file, "FORGE.example", 22), Verdict::Known);
        assert_eq!(verdict(&file, "10.0.0.1", 22), Verdict::Known);
        assert_eq!(verdict(&file, "forge.example", 2222), Verdict::Unknown);
        assert_eq!(verdict(&file, "evil.example", 22), Verdict::Unknown);
        let file = format!("[forge.example]:2222 ssh-ed25519 {KEY}");
        assert_eq!(verdict(&file, "forge.example", 2222), Verdict::Known);
    }

    #[test]
    fn another_key_for_the_host_is_a_change_and_says_its_line() {
        let file = format!("\nforge.example ssh-ed25519 {OTHER}\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Changed { line: 2 });
        let both = format!("{file}forge.example ssh-ed25519 {KEY}\n");
        assert_eq!(verdict(&both, "forge.example", 22), Verdict::Known);
    }

    #[test]
    fn revoked_outweighs_known_and_patterns_can_exclude() {
        let file = format!("*.example ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Revoked { line: 2 });
        let file = format!("*.example,!forge.example ssh-ed25519 {KEY}\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Unknown);
        assert_eq!(verdict(&file, "www.example", 22), Verdict::Known);
        let file = format!("@cert-authority * ssh-ed25519 {KEY}\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Unknown);
    }

    #[test]
    fn hashed_names_are_understood_and_broken_lines_are_passed_over() {
        // Made by `ssh-keygen -H` from a line for `forge.example`.
        let hashed = "|1|Qy08w9R0WoNeu8mtwuQjTXePbxY=|nJHNgCj5vTZvxJJNATcB2nZH6N8=";
        let file = format!("{hashed} ssh-ed25519 {KEY}\n");
        assert_eq!(verdict(&file, "forge.example", 22), Verdict::Known);
        assert_eq!(verdict(&file, "other.example", 22), Verdict::Unknown);
        for broken in ["|1|", "|1|x|y a b", "forge.example", "forge.example ssh-rsa %%%", "@"] {
            assert_ne!(verdict(broken, "forge.example", 22), Verdict::Known, "{broken}");
        }
    }
}
