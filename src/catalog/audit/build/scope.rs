//! What variables stand for at one line of a Dockerfile.

use std::collections::BTreeMap;

use crate::catalog::dockerfile::words::{Expanded, MAX_EXPANDED, Value, expand};

/// Most bytes that all expansions of one file give.
const MAX_TOTAL: usize = 4 << 20;
/// Set by the engine wherever `FROM` can use variables.
const PLATFORM: &[&str] = &[
    "BUILDARCH",
    "BUILDOS",
    "BUILDPLATFORM",
    "BUILDVARIANT",
    "TARGETARCH",
    "TARGETOS",
    "TARGETPLATFORM",
    "TARGETVARIANT",
];

/// Variables at one place.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    escape: char,
    /// Arguments of the compose file.
    given: BTreeMap<String, String>,
    /// `ARG` before the first `FROM`.
    global: BTreeMap<String, Value>,
    /// What holds in the current stage: arguments and environment.
    here: BTreeMap<String, Value>,
    /// Which of `here` come from `ENV`, and so go on to a stage that builds on this one.
    environment: BTreeMap<String, Value>,
    /// Whether a base image may set what nothing here sets.
    has_base: bool,
    total: usize,
    is_exhausted: bool,
}

/// What a stage hands on to those that build on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited {
    environment: BTreeMap<String, Value>,
    has_base: bool,
}

impl Scope {
    /// Before the first `FROM`.
    pub(super) fn global(escape: char, given: &BTreeMap<String, String>) -> Self {
        Self {
            escape,
            given: given.clone(),
            global: BTreeMap::new(),
            here: BTreeMap::new(),
            environment: BTreeMap::new(),
            has_base: false,
            total: 0,
            is_exhausted: false,
        }
    }

    /// What the current stage hands on.
    pub(super) fn inherited(&self) -> Inherited {
        Inherited { environment: self.environment.clone(), has_base: self.has_base }
    }

    /// Begins a stage on an image of which nothing is known.
    pub(super) fn enter_image(&mut self) {
        self.enter(&Inherited { environment: BTreeMap::new(), has_base: true });
    }

    /// Begins a stage on another one, or on nothing.
    pub(super) fn enter(&mut self, inherited: &Inherited) {
        self.here.clone_from(&inherited.environment);
        self.environment.clone_from(&inherited.environment);
        self.has_base = inherited.has_base;
    }

    /// Whether the variables are more than can be looked at.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// `word` of a stage without quotes and variables.
    pub(super) fn expand(&mut self, word: &str) -> Expanded {
        let expanded = expand(word, self.escape, &|name| self.value(name));
        self.counted(expanded)
    }

    /// `word` of a `FROM`, or of an `ARG` before the first one.
    pub(super) fn expand_global(&mut self, word: &str) -> Expanded {
        let expanded = expand(word, self.escape, &|name| self.global_value(name));
        self.counted(expanded)
    }

    fn counted(&mut self, expanded: Expanded) -> Expanded {
        self.total = self.total.saturating_add(expanded.text.len());
        self.is_exhausted |=
            expanded.is_cut || expanded.text.len() > MAX_EXPANDED || self.total > MAX_TOTAL;
        expanded
    }

    fn value(&self, name: &str) -> Value {
        match self.here.get(name) {
            Some(value) => value.clone(),
            None if self.has_base => Value::Unknown,
            None => Value::Unset,
        }
    }

    fn global_value(&self, name: &str) -> Value {
        match self.global.get(name) {
            Some(value) => value.clone(),
            None if PLATFORM.contains(&name) => Value::Unknown,
            None => Value::Unset,
        }
    }

    /// `ARG name` or `ARG name=default` before the first `FROM`.
    pub(super) fn declare_global(&mut self, name: &str, default: Option<&str>) {
        let value = match (self.given.get(name).cloned(), default) {
            (Some(given), _) => Value::Text(given),
            (None, Some(default)) => known(self.expand_global(default)),
            (None, None) => self.global_value(name),
        };
        self.global.insert(name.to_owned(), value);
    }

    /// `ARG name` or `ARG name=default` in a stage.
    pub(super) fn declare(&mut self, name: &str, default: Option<&str>) {
        let value = match (self.given.get(name).cloned(), default) {
            // What the environment says goes before any argument.
            _ if self.environment.contains_key(name) => return,
            (Some(given), _) => Value::Text(given),
            (None, Some(default)) => known(self.expand(default)),
            (None, None) => match self.global.get(name) {
                Some(value) => value.clone(),
                None if PLATFORM.contains(&name) || self.has_base => Value::Unknown,
                None => Value::Unset,
            },
        };
        self.here.insert(name.to_owned(), value);
    }

    /// `ENV name=value`; `value` is what the instruction began with, all of its pairs alike.
    pub(super) fn set(&mut self, name: &str, value: Expanded) {
        let value = known(value);
        self.here.insert(name.to_owned(), value.clone());
        self.environment.insert(name.to_owned(), value);
    }
}

fn known(expanded: Expanded) -> Value {
    match expanded.unknown_at {
        Some(_) => Value::Unknown,
        None => Value::Text(expanded.text),
    }
}
