//! The allowed signers, in the format of ssh-keygen(1), and whether one of them signed.
//!
//! Times need their `Z`: without it ssh reads them in the zone of the machine, and a rule that
//! depends on where the daemon runs is no rule.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::{Date, Month, PrimitiveDateTime, Time};

use super::NAMESPACE;
use super::certificate::{Certificate, SUFFIX};
use super::key::{ALGORITHMS, KeyError, PublicKey};
use super::pattern::matches_list;
use super::signature::Identity;
use crate::model::Timestamp;
use crate::trust::fault::{Faults, SourceText, quoted};
use crate::trust::roles::Roles;
use crate::trust::verdict::{Role, Signer, Verdict, shown};

/// When an object was made, by its own word, and when we first saw it. A key must have been valid
/// at both: the first can be forged back, the second not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) struct Times {
    /// The date in the object.
    pub(in crate::trust) dated: Timestamp,
    /// When we first saw it.
    pub(in crate::trust) first_seen: Timestamp,
}

/// The lines of an `allowed_signers` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::trust) struct AllowedSigners(Vec<Line>);

/// One line: a key, whose it is, and how far it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// The list of patterns, as written.
    principals: String,
    options: Options,
    key: PublicKey,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    is_authority: bool,
    namespaces: Option<String>,
    /// The first moment.
    valid_after: Option<Timestamp>,
    /// The last moment.
    valid_before: Option<Timestamp>,
}

/// What is wrong, and the fix.
type Mistake = (String, String);

fn mistake<T>(what: impl Into<String>, fix: impl Into<String>) -> Result<T, Mistake> {
    Err((what.into(), fix.into()))
}

impl AllowedSigners {
    /// Reads the file; mistakes go to `faults`, and their lines count for nothing.
    pub(in crate::trust) fn parse(source: &SourceText, faults: &mut Faults) -> Self {
        let mut lines = Vec::new();
        for (number, text) in source.lines(faults) {
            match Line::parse(text) {
                Ok(line) => lines.push(line),
                Err((what, fix)) => faults.add(source, number, &what, &fix),
            }
        }
        Self(lines)
    }

    /// Whether somebody could bear this name: a principal, a fingerprint, or what an authority may
    /// certify.
    pub(in crate::trust) fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|line| {
            let is_certifiable = line.options.is_authority && matches_list(&line.principals, name);
            is_certifiable || line.names().any(|own| own == name) || line.key.fingerprint() == name
        })
    }

    /// One line of canonical text for each line: equal text, equal trust.
    pub(in crate::trust) fn canonical(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|line| {
            let options = &line.options;
            let mut text = format!("{:?} {:?}", line.principals, options.namespaces);
            let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
            let (after, before) = (millis(options.valid_after), millis(options.valid_before));
            let key = STANDARD.encode(line.key.blob());
            write!(text, " {} {after:?} {before:?} {key}", options.is_authority)
                .expect("writing to a text does not fail");
            text
        })
    }

    /// The names of the lines that this identity falls under, in the order of the file.
    pub(super) fn names(&self, identity: &Identity) -> Vec<String> {
        self.0
            .iter()
            .filter(|line| line.covers(identity))
            .flat_map(|l| l.bearers(identity))
            .collect()
    }

    /// Who `identity` is, if a line admits it for `role` at these times.
    ///
    /// Of several lines that refuse, the first says why.
    pub(super) fn admit(
        &self,
        identity: &Identity,
        roles: &Roles,
        role: Role,
        times: Times,
    ) -> Result<Signer, Verdict> {
        let mut refusal = None;
        for line in self.0.iter().filter(|line| line.covers(identity)) {
            match line.admit(identity, roles, role, times) {
                Ok(signer) => return Ok(signer),
                Err(verdict) => {
                    refusal.get_or_insert(verdict);
                }
            }
        }
        Err(refusal.unwrap_or_else(|| Verdict::UnknownSigner { key: described(identity) }))
    }
}

/// The fingerprint, and the authority's.
fn described(identity: &Identity) -> String {
    let key = identity.key().fingerprint();
    match identity {
        Identity::Key(_) => key,
        Identity::Certified(certificate) => {
            format!("{key} (certified by {})", certificate.authority.fingerprint())
        }
    }
}

impl Line {
    /// The names that stand in the line: patterns too, but none that are excluded.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.principals.split(',').filter(|name| !name.starts_with('!') && !name.is_empty())
    }

    /// Whether this line is about the key, or about the authority behind it.
    fn covers(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Key(key) => !self.options.is_authority && self.key == *key,
            Identity::Certified(certificate) => {
                self.options.is_authority && self.key == certificate.authority
            }
        }
    }

    /// Whom the identity stands for under this line.
    fn bearers(&self, identity: &Identity) -> Vec<String> {
        match identity {
            Identity::Key(_) => self.names().map(str::to_owned).collect(),
            Identity::Certified(certificate) => {
                let is_meant = |name: &&String| matches_list(&self.principals, name);
                certificate.principals.iter().filter(is_meant).cloned().collect()
            }
        }
    }

    fn admit(
        &self,
        identity: &Identity,
        roles: &Roles,
        role: Role,
        times: Times,
    ) -> Result<Signer, Verdict> {
        let key = identity.key().fingerprint();
        let names = self.bearers(identity);
        let holder = roles.holder(names.iter().map(String::as_str).chain([key.as_str()]), role);
        let shown_name = holder.or(names.first().map(String::as_str)).unwrap_or(&key);
        let signer = Signer { name: shown(shown_name.as_bytes()), key: key.clone() };
        if names.is_empty() {
            let why =
                format!("its certificate names none of `{}`", shown(self.principals.as_bytes()));
            return Err(Verdict::KeyMayNotSign { signer, why });
        }
        if self.options.namespaces.as_ref().is_some_and(|list| !matches_list(list, NAMESPACE)) {
            return Err(Verdict::WrongNamespace { namespace: NAMESPACE.to_owned() });
        }
        self.check_times(&signer, times)?;
        if let Identity::Certified(certificate) = identity {
            check_certificate(certificate, &signer, times)?;
        }
        match holder {
            Some(_) => Ok(signer),
            None => Err(Verdict::RoleMissing { signer, role }),
        }
    }

    /// Both ends belong to the time of validity, as for `ssh-keygen`.
    fn check_times(&self, signer: &Signer, times: Times) -> Result<(), Verdict> {
        for at in [times.dated, times.first_seen] {
            if let Some(since) = self.options.valid_after.filter(|since| at < *since) {
                return Err(Verdict::SignerNotYetValid { signer: signer.clone(), since, at });
            }
            // The last second counts until it is over.
            let is_over = |until: &Timestamp| at.millis_since(*until) >= 1000;
            if let Some(until) = self.options.valid_before.filter(is_over) {
                return Err(Verdict::SignerExpired { signer: signer.clone(), until, at });
            }
        }
        Ok(())
    }
}

/// The end does not belong to a certificate's validity.
fn check_certificate(
    certificate: &Certificate,
    signer: &Signer,
    times: Times,
) -> Result<(), Verdict> {
    let (since, until) = certificate.validity();
    for at in [times.dated, times.first_seen] {
        if at < since {
            return Err(Verdict::SignerNotYetValid { signer: signer.clone(), since, at });
        }
        if at >= until {
            return Err(Verdict::SignerExpired { signer: signer.clone(), until, at });
        }
    }
    Ok(())
}

// ------------------------------------------------------------------------------------- parsing

impl Line {
    fn parse(text: &str) -> Result<Self, Mistake> {
        const FORM: &str = "write `PRINCIPALS [OPTIONS] KEY-TYPE KEY`, as ssh-keygen(1) says";
        let Some((principals, rest)) = principals(text) else {
            return mistake("the quotes do not end", FORM);
        };
        if principals.is_empty() {
            return mistake("the line names no principal", FORM);
        }
        if rest.trim_ascii().is_empty() {
            return mistake("the line holds no key", FORM);
        }
        let (first, after_first) = word(rest);
        let (options, (algorithm, rest)) = if is_algorithm(first) {
            (Options::default(), (first, after_first))
        } else {
            let (options, rest) = Options::parse(rest)?;
            (options, word(rest))
        };
        let (blob, _comment) = word(rest);
        if blob.is_empty() {
            return mistake("the line holds no key", FORM);
        }
        let key = parse_key(algorithm, blob)?;
        Ok(Self { principals: principals.to_owned(), options, key })
    }
}

/// The first field, out of its quotes, and the rest; nothing when the quotes do not end.
fn principals(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"'),
        None => Some(word(text)),
    }
}

/// The next word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

fn is_algorithm(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|begin| word.starts_with(begin))
}

/// Reads `ssh-ed25519 AAAA…`.
pub(super) fn parse_key(algorithm: &str, base64: &str) -> Result<PublicKey, Mistake> {
    const COPY: &str = "copy the line of the `.pub` file whole: kind, key, comment";
    if algorithm.ends_with(SUFFIX) {
        return mistake(
            "this is a certificate",
            "write the public key of its authority, with the option `cert-authority`",
        );
    }
    if !is_algorithm(algorithm) {
        return mistake(format!("{} is no kind of key", quoted(algorithm)), COPY);
    }
    let unsupported = |what: &str| {
        let supported = ALGORITHMS.join("`, `");
        mistake(format!("the key is {what}"), format!("use one of `{supported}`"))
    };
    let Ok(blob) = STANDARD.decode(base64) else {
        return mistake("the key is not base64", COPY);
    };
    match PublicKey::parse(&blob) {
        Ok(key) if key.algorithm() == algorithm => Ok(key),
        Ok(key) => mistake(
            format!("the line says {}, but the key is `{}`", quoted(algorithm), key.algorithm()),
            COPY,
        ),
        Err(KeyError::Broken) => mistake("the key is broken or cut off", COPY),
        Err(KeyError::Unsupported(what)) => unsupported(&what),
    }
}

impl Options {
    /// Reads options up to the next blank, and gives what follows.
    fn parse(text: &str) -> Result<(Self, &str), Mistake> {
        let mut options = Self::default();
        let mut rest = text.trim_start_matches([' ', '\t']);
        loop {
            let end = rest.find([',', '=', ' ', '\t']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let name = name.to_ascii_lowercase();
            rest = if name == "cert-authority" {
                options.is_authority = true;
                after
            } else {
                let (value, after) = value(&name, after)?;
                options.set(&name, value)?;
                after
            };
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None if rest.is_empty() || rest.starts_with([' ', '\t']) => break,
                None => {
                    return mistake(
                        format!("something follows the option `{name}`"),
                        "separate options with `,` and the key with a blank",
                    );
                }
            }
        }
        if let (Some(after), Some(before)) = (options.valid_after, options.valid_before)
            && before <= after
        {
            return mistake("`valid-before` is not after `valid-after`", "exchange the two");
        }
        Ok((options, rest))
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Mistake> {
        let is_new = match name {
            "namespaces" => self.namespaces.replace(value).is_none(),
            "valid-after" => self.valid_after.replace(parse_time(name, &value)?).is_none(),
            _ => self.valid_before.replace(parse_time(name, &value)?).is_none(),
        };
        if is_new { Ok(()) } else { mistake(format!("`{name}` is set twice"), "keep one of them") }
    }
}

/// The value of `="…"` (`\"` is a quote inside), and what follows it.
fn value<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), Mistake> {
    if !["namespaces", "valid-after", "valid-before"].contains(&name) {
        return mistake(
            format!("{} is neither an option nor a kind of key", quoted(name)),
            "options are `cert-authority`, `namespaces=\"…\"`, `valid-after=\"…\"` and \
             `valid-before=\"…\"`",
        );
    }
    let fix = format!("write `{name}=\"…\"`");
    let Some(inside) = text.strip_prefix("=\"") else {
        return mistake(format!("`{name}` has no value in quotes"), fix);
    };
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &inside[at + 1..])),
            '\\' if inside[at + 1..].starts_with('"') => {
                value.push('"');
                chars.next();
            }
            _ => value.push(c),
        }
    }
    mistake(format!("the quotes of `{name}` do not end"), fix)
}

/// Reads `YYYYMMDDZ`, `YYYYMMDDHHMMZ` or `YYYYMMDDHHMMSSZ`.
fn parse_time(name: &str, text: &str) -> Result<Timestamp, Mistake> {
    const FIX: &str = "write `YYYYMMDDZ` or `YYYYMMDDHHMMZ`, in UTC";
    let Some(digits) = text.strip_suffix(['Z', 'z']) else {
        return mistake(
            format!("`{name}` has no zone, so it would depend on where flagops runs"),
            format!("{FIX}: the `Z` at the end says so"),
        );
    };
    let parsed = match digits.len() {
        8 | 12 | 14 if digits.bytes().all(|byte| byte.is_ascii_digit()) => moment(digits),
        _ => None,
    };
    match parsed {
        Some(moment) => Ok(moment),
        None => mistake(format!("{} in `{name}` is no time", quoted(text)), FIX),
    }
}

/// The moment of 8, 12 or 14 digits.
fn moment(digits: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |d| d.parse().ok());
    let month = Month::try_from(number(4, 6)?).ok()?;
    let date = Date::from_calendar_date(digits[..4].parse().ok()?, month, number(6, 8)?).ok()?;
    let time = Time::from_hms(number(8, 10)?, number(10, 12)?, number(12, 14)?).ok()?;
    let secs = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some(Timestamp::from_millis(secs * 1000))
}
