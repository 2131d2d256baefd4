//! Settings from several places, taken one by one as their type; what is wrong is collected.
//!
//! # Invariants
//! * A later layer wins: file, then variables, then flags.
//! * A wrong value is a fault and the default goes on, so one load shows every fault.
//! * What nobody took at the end is not a setting, and is a fault.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::fault::{Fault, Origin};

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// From a variable or a flag: the type decides what it is.
    Text(String),
    /// A TOML string.
    String(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML list of strings.
    List(Vec<String>),
    /// Something that no setting is, by its name.
    Other(&'static str),
}

/// A setting's type.
pub(super) trait Setting: Sized {
    /// What a right value is, after "must be".
    const WANTED: &'static str;

    /// The value of a text; the error says what is wrong with it, or nothing.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Whether TOML writes it as an integer.
    const IS_INTEGER: bool = false;

    /// Whether TOML writes it as a boolean.
    const IS_BOOLEAN: bool = false;

    /// The value of a list of texts, where it is one.
    fn from_list(_list: &[String]) -> Result<Self, String> {
        Err("is a list".to_owned())
    }
}

impl Setting for bool {
    const WANTED: &'static str = "true or false";
    const IS_BOOLEAN: bool = true;
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| String::new())
    }
}

/// Implements [`Setting`] by `FromStr`.
macro_rules! parsed_setting {
    ($type:ty, $wanted:literal, $is_integer:literal) => {
        impl Setting for $type {
            const WANTED: &'static str = $wanted;
            const IS_INTEGER: bool = $is_integer;
            fn from_text(text: &str) -> Result<Self, String> {
                <$type as FromStr>::from_str(text).map_err(|_| String::new())
            }
        }
    };
}

parsed_setting!(u32, "a whole number from 0 to 4294967295", true);
parsed_setting!(u16, "a whole number from 0 to 65535", true);
parsed_setting!(u8, "a whole number from 0 to 255", true);
parsed_setting!(std::net::SocketAddr, "an address with a port, e.g. \"127.0.0.1:8100\"", false);
parsed_setting!(std::net::Ipv4Addr, "an IPv4 address, e.g. \"127.0.0.1\"", false);
parsed_setting!(std::net::IpAddr, "an IP address, e.g. \"127.0.0.1\"", false);
parsed_setting!(ipnet::Ipv4Net, "an IPv4 network, e.g. \"10.80.0.0/15\"", false);

impl Setting for String {
    const WANTED: &'static str = "a text that is not empty";
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err(String::new()) } else { Ok(text.to_owned()) }
    }
}

/// In a variable or a flag the texts are parted by commas.
impl Setting for Vec<String> {
    const WANTED: &'static str = "a list of texts, e.g. [\"main\"]";
    fn from_text(text: &str) -> Result<Self, String> {
        let texts = text.split(',').map(|text| text.trim().to_owned());
        Self::from_list(&texts.filter(|text| !text.is_empty()).collect::<Self>())
    }
    fn from_list(list: &[String]) -> Result<Self, String> {
        if list.iter().any(|text| text.trim().is_empty()) {
            return Err("has an empty text".to_owned());
        }
        Ok(list.to_vec())
    }
}

impl Setting for PathBuf {
    const WANTED: &'static str = "a path";
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') { Err(String::new()) } else { Ok(text.into()) }
    }
}

/// Everything that was set, and everything that is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    leaves: BTreeMap<String, (Raw, Origin)>,
    sections: BTreeMap<String, Origin>,
    known: BTreeMap<&'static str, Origin>,
    faults: Vec<Fault>,
}

impl Layers {
    /// Sets `key`; what was set before is gone.
    pub(super) fn set(&mut self, key: &str, raw: Raw, origin: Origin) {
        self.leaves.insert(key.to_owned(), (raw, origin));
    }

    /// Sets `key` unless something did already.
    pub(super) fn set_weak(&mut self, key: &str, text: &str, origin: Origin) {
        self.leaves.entry(key.to_owned()).or_insert((Raw::Text(text.to_owned()), origin));
    }

    /// Notes a section without keys, whose name is checked all the same.
    pub(super) fn section(&mut self, key: &str, origin: Origin) {
        self.sections.insert(key.to_owned(), origin);
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Notes that the value of `key` does not fit.
    pub(super) fn refuse(&mut self, key: &'static str, problem: impl Display, fix: &str) {
        let origin = self.known.get(key).cloned().unwrap_or(Origin::Default);
        let (key, problem, fix) = (key.to_owned(), problem.to_string(), fix.to_owned());
        self.fault(Fault { origin, key, problem, fix });
    }

    /// The value of `key`, or `default` when nothing set it or what did is wrong.
    pub(super) fn take<T: Setting>(&mut self, key: &'static str, default: T) -> T {
        self.take_optional(key).unwrap_or(default)
    }

    /// The value of `key` if it is set and right.
    pub(super) fn take_optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let Some((raw, origin)) = self.leaves.remove(key) else {
            self.known.insert(key, Origin::Default);
            return None;
        };
        self.known.insert(key, origin);
        let problem = match read::<T>(&raw) {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        self.refuse(key, problem, &format!("it must be {}", T::WANTED));
        None
    }

    /// As [`Self::take`], for a number within `range`.
    pub(super) fn take_in(
        &mut self,
        key: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let value = self.take(key, default);
        if range.contains(&value) {
            return value;
        }
        let fix = format!("give a number from {} to {}", range.start(), range.end());
        self.refuse(key, format_args!("is {value}, out of range"), &fix);
        default
    }

    /// Whether anything set `key`, rightly or wrongly.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.known.get(key).is_some_and(|origin| *origin != Origin::Default)
    }

    /// Every fault, with one for each thing set that nobody took; in the order of the file, then
    /// variables, then flags.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        let leaves = std::mem::take(&mut self.leaves);
        for (key, (_, origin)) in leaves {
            let fault = self.unknown(key, origin);
            self.faults.push(fault);
        }
        for (section, origin) in std::mem::take(&mut self.sections) {
            if !self.is_section(&section) {
                let fault = self.unknown(section, origin);
                self.faults.push(fault);
            }
        }
        self.faults.sort_by(|left, right| left.origin.cmp(&right.origin));
        self.faults
    }

    /// The keys that were taken and that nothing had set.
    #[cfg(test)]
    pub(super) fn defaulted(&self) -> Vec<&'static str> {
        let unset = self.known.iter().filter(|(_, origin)| **origin == Origin::Default);
        unset.map(|(key, _)| *key).collect()
    }

    fn is_section(&self, key: &str) -> bool {
        let prefix = format!("{key}.");
        self.known.keys().any(|known| known.starts_with(&prefix))
    }

    fn unknown(&self, key: String, origin: Origin) -> Fault {
        if self.is_section(&key) {
            let problem = "is a section and has no value of its own".to_owned();
            let fix = format!("write `[{key}]` and its settings below");
            return Fault { origin, key, problem, fix };
        }
        let fix = match nearest(&key, self.known.keys().copied()) {
            Some(meant) => match &origin {
                Origin::Variable(_) => format!("did you mean `{}`?", super::env::variable(meant)),
                _ => format!("did you mean `{meant}`?"),
            },
            None => "remove it; `flagops.example.toml` lists every setting".to_owned(),
        };
        Fault { origin, key, problem: "is not a setting".to_owned(), fix }
    }
}

fn read<T: Setting>(raw: &Raw) -> Result<T, String> {
    let says = |problem: String| if problem.is_empty() { "is wrong".to_owned() } else { problem };
    match raw {
        Raw::Text(text) => T::from_text(text.trim()).map_err(says),
        Raw::String(_) if T::IS_INTEGER || T::IS_BOOLEAN => Err("is a string".to_owned()),
        Raw::String(text) => T::from_text(text).map_err(says),
        Raw::Integer(value) if T::IS_INTEGER => T::from_text(&value.to_string()).map_err(says),
        Raw::Integer(_) => Err("is a number".to_owned()),
        Raw::Boolean(value) if T::IS_BOOLEAN => T::from_text(&value.to_string()).map_err(says),
        Raw::Boolean(_) => Err("is a boolean".to_owned()),
        Raw::List(list) => T::from_list(list).map_err(says),
        Raw::Other(kind) => Err(format!("is {kind}")),
    }
}

/// The candidate that `key` most likely means, by edit distance; at most a third may differ. The
/// right name in the wrong section counts too.
pub(super) fn nearest(
    key: &str,
    candidates: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let key_name = last(key);
    candidates
        .map(|candidate| {
            let whole = distance(key, candidate);
            // One step for the section, so that a near miss in the right section wins.
            let by_name = 1 + distance(&key_name, &last(candidate));
            (whole.min(by_name), candidate)
        })
        .filter(|(steps, _)| *steps <= key_name.chars().count().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; inputs are cut at 100 characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
