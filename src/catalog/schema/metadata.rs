//! The shape of `metadata.yaml`. The doc comments are what an author reads in the editor.

#![expect(dead_code, reason = "only the shape of these types is used, never a value")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Empty, optional_instant, points, scoring_function, whole_number, words};
use crate::model::{Category, Difficulty, InstanceScope, Topology};

/// What players see of a challenge, and what is asked.
///
/// One file `metadata.yaml` in every challenge folder. The folder's name is the id.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "metadata.yaml of a flagops challenge")]
#[schemars(extend("required" = ["name", "description", "difficulty", "tags"]))]
pub(super) struct Metadata {
    /// The title that players see.
    #[schemars(length(max = 200), regex(pattern = r"\S"), example = "Cookie jar")]
    name: String,

    /// What to achieve, in a few sentences. It is shown as it is: name the goal, not the way.
    #[schemars(example = "Find out what the owner keeps at the bottom of the jar.")]
    description: String,

    /// How hard it is.
    #[schemars(schema_with = "difficulty")]
    difficulty: String,

    /// Words to find it by; at least one.
    #[schemars(length(min = 1), inner(length(max = 200), regex(pattern = r"\S")))]
    #[schemars(example = ["web", "cookies"])]
    tags: Vec<String>,

    /// What is asked. Without it there is one question, `flag`, with a minted answer.
    #[schemars(length(min = 1, max = 200))]
    questions: Option<Vec<Question>>,

    /// The kind of challenge; it decides which files the folder must have.
    #[schemars(schema_with = "category", extend("default" = "web"))]
    category: Option<String>,

    /// How players reach an instance: its ports (`simple`), or a VPN of its own (`engagement`).
    #[schemars(schema_with = "topology", extend("default" = "simple"))]
    network_topology: Option<String>,

    /// Absolute http(s) addresses that an instance's page links to.
    #[schemars(
        length(max = 50),
        inner(length(max = 2048), regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]+"))
    )]
    #[schemars(example = ["http://intranet/"])]
    entry_urls: Option<Vec<String>>,

    /// How instances live; other readers of this format ignore it.
    instance: Option<Instance>,

    /// What a solve is worth; other readers of this format ignore it.
    scoring: Option<Scoring>,

    /// Who made it, e.g. `name <mail>`.
    #[schemars(length(max = 200), regex(pattern = r"\S"), example = "Ada <ada@example.org>")]
    author: Option<String>,

    /// Files of services that players may download, out of the built image or as a running service
    /// wrote them; other readers of this format ignore it.
    #[schemars(length(max = 16))]
    exports: Option<Vec<Export>>,

    /// Neither shown nor startable before this instant.
    #[schemars(schema_with = "optional_instant", example = "2027-03-01T12:00:00Z")]
    release_at: Option<String>,
}

/// One question.
///
/// `answer` and `choices` decide how it is graded: neither: minted for every instance; `answer`:
/// that text; both: one of `choices`, or several if `answer` is a list.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["id", "prompt"]))]
#[schemars(extend("allOf" = [
    {
        "if": { "required": ["choices"], "properties": { "choices": { "type": "array" } } },
        "then": { "required": ["answer"] },
    },
    {
        "if": { "required": ["answer"], "properties": { "answer": { "type": "array" } } },
        "then": {
            "required": ["choices"],
            "properties": { "choices": { "type": "array" } },
        },
    },
]))]
struct Question {
    /// Its name in environment variables (`ANSWER_<ID>`) and files (`/answers/<id>`).
    #[schemars(length(max = 64), regex(pattern = r"^[a-z][a-z0-9_]*$"), example = &"flag")]
    #[schemars(extend("patternErrorMessage" = "Write lower-case letters, digits and `_`, a letter first."))]
    id: String,

    /// What is asked.
    #[schemars(regex(pattern = r"\S"), example = "What is at the bottom of the jar?")]
    prompt: String,

    /// The right answer, in quotes if it looks like a number or a boolean. A list for several
    /// right choices. Without it, an answer is minted for every instance.
    #[schemars(schema_with = "answer")]
    answer: Option<String>,

    /// What players choose from.
    #[schemars(length(min = 1), inner(regex(pattern = r"\S")), extend("uniqueItems" = true))]
    choices: Option<Vec<String>>,

    /// Ids of questions that must be solved before this one is shown.
    #[schemars(inner(length(max = 64), regex(pattern = r"^[a-z][a-z0-9_]*$")))]
    requires: Option<Vec<String>>,

    /// How a minted answer looks: `FLAG{` with 32 hex digits and `}`, or the digits alone.
    #[schemars(schema_with = "format", extend("default" = "flag"))]
    format: Option<String>,
}

/// How instances of a challenge live. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Instance {
    /// Who shares one: each team has its own, or everybody uses the same.
    #[schemars(schema_with = "scope", extend("default" = "team"))]
    scope: Option<String>,

    /// How long an instance lives when the player names no time, at least `60s`.
    #[schemars(schema_with = "lease", example = "2h")]
    ttl: Option<String>,

    /// How long it may live at most, renewals included.
    #[schemars(schema_with = "lease", example = "8h")]
    max_ttl: Option<String>,

    /// Limits for services that set none.
    #[schemars(schema_with = "size", extend("default" = "small"))]
    size: Option<String>,

    /// Instances kept ready on each node.
    #[schemars(schema_with = "warm", extend("default" = 0))]
    warm: Option<u32>,

    /// What happens to running instances at a new release.
    #[schemars(schema_with = "update", extend("default" = "on_next_start"))]
    update: Option<String>,

    /// Whether services may reach the internet.
    #[schemars(schema_with = "egress", extend("default" = "none"))]
    egress: Option<String>,

    /// What its containers may keep on the disk, at most what the organizers allow.
    #[schemars(schema_with = "size_text", example = "256M")]
    disk: Option<String>,

    /// How hard its containers are shut in. `strict`: no capability, nothing that writes to the root,
    /// services that are not root.
    #[schemars(schema_with = "profile", extend("default" = "default"))]
    profile: Option<String>,

    /// Which container runtime carries it. A node that lacks it does not start the challenge.
    #[schemars(schema_with = "runtime", extend("default" = "default"))]
    runtime: Option<String>,

    /// What is kept of what goes over its networks, for organizers.
    #[schemars(schema_with = "capture", extend("default" = "none"))]
    capture: Option<String>,

    /// What becomes of an instance whose node was lost. `move`: it is made anew on another node with the
    /// same answers.
    #[schemars(schema_with = "on_node_loss", extend("default" = "fail"))]
    on_node_loss: Option<String>,

    /// Labels that its node must have.
    #[schemars(schema_with = "node_labels", example = BTreeMap::from([("zone", "a")]))]
    node: Option<BTreeMap<String, String>>,
}

/// A file of a service that players may download.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["service", "path", "as"]))]
struct Export {
    /// The service that has it.
    #[schemars(example = &"chal")]
    service: String,

    /// Where it is in there: absolute, a regular file of at most 64 MiB.
    #[schemars(length(max = 1024), regex(pattern = r"^/[^/]"), example = &"/srv/guestbook")]
    path: String,

    /// The name it is downloaded by; no file of `attachments/` has it.
    #[schemars(rename = "as", length(max = 255), regex(pattern = r"^[^/]"), example = &"guestbook")]
    name: String,

    /// Each instance has its own, which the service writes when it starts, before it is healthy. Else
    /// it is in the image, and the same for everybody.
    #[schemars(extend("default" = false))]
    per_team: Option<bool>,
}

/// What a solve is worth. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Scoring {
    /// Points of the first solve.
    #[schemars(schema_with = "points", example = 500)]
    value: Option<u32>,

    /// Points that are never undercut; at most `value`.
    #[schemars(schema_with = "points", example = 100)]
    minimum: Option<u32>,

    /// After how many solves the minimum is reached.
    #[schemars(schema_with = "points", example = 30)]
    decay: Option<u32>,

    /// How points fall with every solve.
    #[schemars(schema_with = "scoring_function", extend("default" = "static"))]
    function: Option<String>,
}

fn difficulty(_: &mut SchemaGenerator) -> Schema {
    words(Difficulty::WORDS, Empty::Refused)
}

fn category(_: &mut SchemaGenerator) -> Schema {
    words(Category::WORDS, Empty::Allowed)
}

fn topology(_: &mut SchemaGenerator) -> Schema {
    words(Topology::WORDS, Empty::Allowed)
}

fn answer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "pattern": r"\S" },
            {
                "type": "array",
                "items": { "type": "string", "pattern": r"\S" },
                "minItems": 1,
                "uniqueItems": true,
            },
        ],
    })
}

fn format(_: &mut SchemaGenerator) -> Schema {
    words(&["flag", "raw"], Empty::Refused)
}

fn scope(_: &mut SchemaGenerator) -> Schema {
    words(InstanceScope::WORDS, Empty::Allowed)
}

fn size(_: &mut SchemaGenerator) -> Schema {
    words(&["small", "medium", "large"], Empty::Allowed)
}

fn update(_: &mut SchemaGenerator) -> Schema {
    words(&["on_next_start", "drain", "force"], Empty::Allowed)
}

fn egress(_: &mut SchemaGenerator) -> Schema {
    words(&["none", "internet"], Empty::Allowed)
}

fn profile(_: &mut SchemaGenerator) -> Schema {
    words(&["default", "strict"], Empty::Allowed)
}

fn size_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer", "null"], "pattern": "^[0-9.]+ ?[bBkKmMgG]?[iI]?[bB]?$" })
}

fn runtime(_: &mut SchemaGenerator) -> Schema {
    words(&["default", "runsc"], Empty::Allowed)
}

fn capture(_: &mut SchemaGenerator) -> Schema {
    words(&["none", "packets"], Empty::Allowed)
}

fn on_node_loss(_: &mut SchemaGenerator) -> Schema {
    words(&["fail", "move"], Empty::Allowed)
}

fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "maxProperties": 32,
        "propertyNames": { "pattern": "^[A-Za-z0-9._/-]{1,63}$" },
        "additionalProperties": { "type": ["string", "number"], "pattern": "^[A-Za-z0-9._/-]{1,63}$" },
    })
}

fn warm(_: &mut SchemaGenerator) -> Schema {
    whole_number(0, 20)
}

/// A duration: `2h`, `1h30m`, or a number of seconds.
fn lease(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer", "null"],
        "minimum": 60,
        "pattern": r"^([0-9]+|([0-9.]+(ns|us|µs|ms|s|m|h|d))+)$",
        "patternErrorMessage": "Write a duration such as 2h or 90m.",
    })
}
