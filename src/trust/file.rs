//! The trust file, `trust.toml`: which files hold the keys, and who may do what.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::fault::{Faults, KeyringErrors, SourceText, quoted};
use super::verdict::{Role, shown};

/// What the trust file says. Paths are as written: relative ones are beside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustFile {
    /// The allowed signers, in the format of ssh-keygen(1).
    pub allowed_signers: Option<String>,
    /// Keys that are never good again.
    pub revoked_keys: Option<String>,
    /// Armoured OpenPGP keys.
    pub openpgp_keyring: Option<String>,
    /// Names of OpenPGP signers by fingerprint (upper case), with their lines.
    pub(super) openpgp: BTreeMap<String, (String, usize)>,
    /// Roles by name, principal or fingerprint, with their lines.
    pub(super) roles: BTreeMap<String, (Vec<Role>, usize)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wire {
    allowed_signers: Option<String>,
    revoked_keys: Option<String>,
    openpgp_keyring: Option<String>,
    openpgp: BTreeMap<String, Spanned<String>>,
    roles: BTreeMap<String, Spanned<Vec<String>>>,
}

impl TrustFile {
    /// Reads the trust file.
    ///
    /// # Errors
    /// Every mistake in it, with its line.
    pub fn parse(source: &SourceText) -> Result<Self, KeyringErrors> {
        let mut faults = Faults::default();
        let text = String::from_utf8_lossy(&source.bytes);
        let wire: Wire = match toml::from_str(&text) {
            Ok(wire) => wire,
            Err(error) => {
                let line = line_of(&text, error.span().map_or(0, |span| span.start));
                let what = shown(error.message().as_bytes());
                faults.add(source, line, &what, "see `docs/signing.md` for what stands there");
                return faults.finish(Self::default());
            }
        };
        let file = Self {
            openpgp: signers(&wire, source, &text, &mut faults),
            roles: roles(&wire, source, &text, &mut faults),
            allowed_signers: wire.allowed_signers,
            revoked_keys: wire.revoked_keys,
            openpgp_keyring: wire.openpgp_keyring,
        };
        if file.openpgp_keyring.is_none()
            && let Some((_, line)) = file.openpgp.values().next()
        {
            faults.add(
                source,
                *line,
                "`[openpgp]` names signers, but there is no keyring",
                "set `openpgp_keyring` to a file of `gpg --armor --export FINGERPRINT`",
            );
        }
        faults.finish(file)
    }
}

fn signers(
    wire: &Wire,
    source: &SourceText,
    text: &str,
    faults: &mut Faults,
) -> BTreeMap<String, (String, usize)> {
    let mut signers = BTreeMap::new();
    for (name, fingerprint) in &wire.openpgp {
        let line = line_of(text, fingerprint.span().start);
        match parse_fingerprint(fingerprint.get_ref()) {
            Ok(fingerprint) => {
                if signers.insert(fingerprint, (name.clone(), line)).is_some() {
                    let what = format!("the key of {} is listed under two names", quoted(name));
                    faults.add(source, line, &what, "keep one of them");
                }
            }
            Err(what) => faults.add(
                source,
                line,
                &what,
                "write the 40 hex digits that `gpg --fingerprint` prints; shorter ids can be forged",
            ),
        }
    }
    signers
}

fn roles(
    wire: &Wire,
    source: &SourceText,
    text: &str,
    faults: &mut Faults,
) -> BTreeMap<String, (Vec<Role>, usize)> {
    let mut all = BTreeMap::new();
    for (who, words) in &wire.roles {
        let line = line_of(text, words.span().start);
        let mut roles = Vec::new();
        for word in words.get_ref() {
            match word.as_str() {
                "release" => roles.push(Role::Release),
                "commit" => roles.push(Role::Commit),
                _ => faults.add(
                    source,
                    line,
                    &format!("{} is no role", quoted(word)),
                    "write `release` (sign tags) or `commit` (sign commits)",
                ),
            }
        }
        // Fingerprints of OpenPGP are compared as they are printed: upper case, without blanks.
        let who = parse_fingerprint(who).unwrap_or_else(|_| who.clone());
        all.insert(who, (roles, line));
    }
    all
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The 40 hex digits of a fingerprint, upper case; blanks as `gpg` prints them are left out.
fn parse_fingerprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ' ').collect();
    if digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_uppercase());
    }
    Err(format!("{} is no full OpenPGP fingerprint", quoted(text)))
}
