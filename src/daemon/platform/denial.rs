//! A wish that the rules of accounts, teams or competitions refuse.

use std::fmt;

use serde_json::Value;

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// The wish makes no sense.
    BadRequest,
    /// They did not prove who they are.
    Unauthorized,
    /// They may not.
    Forbidden,
    /// There is no such thing, or none that they may know of.
    NotFound,
    /// It does not fit what is there.
    Conflict,
    /// What was sent is out of bounds.
    Invalid,
    /// It may be asked for again later.
    Busy,
    /// They have as many as they may.
    TooMany,
}

/// A refusal by the rules: the stable word that clients branch on, and a sentence for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// What kind.
    pub kind: DenialKind,
    /// Stable `snake_case`; empty when the kind alone says it.
    pub code: &'static str,
    /// What is refused, why, and what to do.
    pub message: String,
    /// What clients are told beside the sentence.
    pub context: Vec<(&'static str, Value)>,
}

impl Denial {
    fn new(kind: DenialKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), context: Vec::new() }
    }

    /// The wish makes no sense.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::BadRequest, code, message)
    }

    /// They did not prove who they are.
    pub fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::Unauthorized, code, message)
    }

    /// They may not.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::Forbidden, code, message)
    }

    /// There is no such thing, or none that they may know of.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::NotFound, code, message)
    }

    /// It does not fit what is there.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::Conflict, code, message)
    }

    /// What was sent is out of bounds.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::Invalid, code, message)
    }

    /// They have as many as they may.
    pub fn too_many(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(DenialKind::TooMany, code, message)
    }

    /// With one more thing that clients are told.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.context.push((name, value.into()));
        self
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
