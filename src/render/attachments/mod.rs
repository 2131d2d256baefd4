//! Renders one attachment template for one instance.
//!
//! Templates are Jinja, as in the contract: an unknown variable is an error, a newline at the end
//! stays, nothing is escaped. They are hostile: what a template may do is bounded before it runs
//! ([`bounds`]) and while it runs ([`sandbox`]).
//!
//! In:  a template, the files it may include, the [`Facts`] of an instance, the largest output.
//! Out: the text, or the one reason why there is none, with line and column.
//!
//! # Invariants
//! * The same template, files and facts give the same text.
//! * A value is data: what an answer holds is printed as it is, never rendered again.
//! * Only files that the caller hands out are included; nothing is read from anywhere else.
//! * No template panics, overflows the stack, or goes on for long; no error holds a value.
//!
//! # Not here
//! Where files come from (`catalog`, `runtime`), which attachments are templates (`model`), the
//! process in which the templates of an instance are rendered (`daemon::attachments`).

mod bounds;
mod filters;
pub mod job;
mod sandbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use bounds::Uses;
pub use filters::FILTERS;
pub(super) use sandbox::{Given, render as render_given, syntax};

/// Largest source of a template, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Largest output of a template, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// What a template can print: the variables of the contract, and ours beside them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `answer.<id>`: the minted answers by question.
    pub answers: BTreeMap<String, String>,
    /// `instance.id`.
    pub instance_id: String,
    /// `team.id` and `team.name`.
    pub team: Named,
    /// `challenge.id` and `challenge.name`.
    pub challenge: Named,
    /// `event.id` and `event.title`.
    pub event: Named,
    /// `service.<name>.host` and `service.<name>.port`.
    pub services: BTreeMap<String, Address>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions: Vec<&String> = self.answers.keys().collect();
        f.debug_struct("Facts")
            .field("answers", &questions)
            .field("instance_id", &self.instance_id)
            .field("team", &self.team)
            .field("challenge", &self.challenge)
            .field("event", &self.event)
            .field("services", &self.services)
            .finish()
    }
}

/// Something with an id and a name for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The id.
    pub id: String,
    /// The name or title.
    pub name: String,
}

/// Where players reach a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Facts {
    /// Every variable that can be printed, sorted: `answer.flag`, `instance.id`, …
    pub fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> = [
            "instance.id",
            "team.id",
            "team.name",
            "challenge.id",
            "challenge.name",
            "event.id",
            "event.title",
        ]
        .map(str::to_owned)
        .into();
        names.extend(self.answers.keys().map(|id| format!("answer.{id}")));
        for service in self.services.keys() {
            names.push(format!("service.{service}.host"));
            names.push(format!("service.{service}.port"));
        }
        names.sort();
        names
    }
}

/// A template and its name below `attachments/`.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    /// Its path below `attachments/`.
    pub name: &'a str,
    /// Its source.
    pub source: &'a str,
}

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("attachments/{template}:{line}: {trouble}")]
pub struct RenderError {
    /// The template, or the file it includes, in which it is.
    pub template: String,
    /// Line, from 1; 0 is the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 is the whole line.
    pub column: u32,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with a template. Holds names and words of the source, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// It is no template.
    #[error("{reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// A variable that does not exist.
    #[error("{name} is not defined")]
    Undefined {
        /// The expression as written, in backticks when it is known.
        name: String,
    },
    /// A filter, test, function, method or file that is not there.
    #[error("there is no {kind} `{name}`")]
    Missing {
        /// What it would be.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A statement that templates of attachments do not have.
    #[error("{what} is not available")]
    Unsupported {
        /// The statement.
        what: &'static str,
    },
    /// Too large, too deep, or too long.
    #[error("it does too much: {what}")]
    TooMuch {
        /// What passes which bound.
        what: String,
    },
    /// Something that cannot be done with these values.
    #[error("{what}")]
    Failed {
        /// What was tried.
        what: &'static str,
    },
}

/// Renders `template` with `facts`. `include` gives the text of a file below `attachments/`; it is
/// asked once for each file that the template includes. At most `max_output_bytes` are made.
///
/// Takes at most some hundred milliseconds; call it from a blocking task.
///
/// # Errors
/// When the template is no template, asks for what is not there, or does too much.
pub fn render(
    template: Template<'_>,
    include: &dyn Fn(&str) -> Option<String>,
    facts: &Facts,
    max_output_bytes: usize,
) -> Result<String, RenderError> {
    sandbox::render(template, include, &Given::of(facts), max_output_bytes)
}

/// What `template` looks at, without rendering it.
///
/// # Errors
/// As [`render`], for what can be seen in the source alone.
pub fn uses(template: Template<'_>, facts: &Facts) -> Result<Uses, RenderError> {
    bounds::check(template, bounds::context_bytes(facts), bounds::Role::Main)
}
