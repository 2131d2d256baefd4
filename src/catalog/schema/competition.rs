//! The shape of `competitions/*.yaml`. The doc comments are what an organizer reads in the editor.

#![expect(dead_code, reason = "only the shape of these types is used, never a value")]

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::catalog::competition::{MAX_CAP, MAX_PER_TEAM, MAX_POINTS, MAX_TEAM_SIZE};

use super::{Empty, instant, optional_instant, points, scoring_function, whole_number, words};

/// A competition: when it is, who may take part, and which challenges it has.
///
/// One file per competition in the folder `competitions/`. The file's name without `.yaml` is its
/// id.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Competition of flagops")]
#[schemars(extend("required" = ["title", "starts_at", "ends_at", "challenges"]))]
pub(super) struct Competition {
    /// The title that players see.
    #[schemars(length(max = 200), regex(pattern = r"\S"), example = "Spring CTF 2027")]
    title: String,

    /// What it is about, in a few sentences.
    description: Option<String>,

    /// When submissions begin, with a time zone.
    #[schemars(schema_with = "required_instant", example = "2027-03-01T12:00:00Z")]
    starts_at: String,

    /// When submissions end; after `starts_at`.
    #[schemars(schema_with = "required_instant", example = "2027-03-03T12:00:00Z")]
    ends_at: String,

    /// From when on the scoreboard does not change for players; between start and end.
    #[schemars(schema_with = "optional_instant", example = "2027-03-03T10:00:00Z")]
    freeze_at: Option<String>,

    /// Whether challenges stay open after the end, without points.
    #[schemars(extend("default" = false))]
    practice: Option<bool>,

    /// How one takes part.
    registration: Option<Registration>,

    /// How large teams are.
    teams: Option<Teams>,

    /// What is played: ids, patterns of ids, or mappings that also set points and release.
    #[schemars(schema_with = "challenges")]
    challenges: Vec<String>,

    /// What a solve is worth where a challenge does not say it.
    scoring: Option<Scoring>,

    /// Wrong answers that a team may give to one question, by its mode.
    attempt_caps: Option<AttemptCaps>,

    /// Limits on running instances.
    instances: Option<Instances>,
}

/// How one takes part. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Registration {
    /// Alone (`solo`), in a team that anybody may make (`create`), in one that exists (`join`), or
    /// by invitation only (`invite`).
    #[schemars(schema_with = "registration_mode")]
    mode: Option<String>,

    /// From when on one may register.
    #[schemars(schema_with = "optional_instant")]
    opens_at: Option<String>,

    /// Until when one may register.
    #[schemars(schema_with = "optional_instant")]
    closes_at: Option<String>,
}

/// How large teams are. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Teams {
    /// Fewest members.
    #[schemars(schema_with = "size")]
    min_size: Option<u32>,

    /// Most members.
    #[schemars(schema_with = "size")]
    max_size: Option<u32>,
}

/// What a solve is worth. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Scoring {
    /// How points fall with every solve.
    #[schemars(schema_with = "scoring_function")]
    function: Option<String>,

    /// Points of the first solve.
    #[schemars(schema_with = "points", example = 500)]
    value: Option<u32>,

    /// Points that are never undercut; at most `value`.
    #[schemars(schema_with = "points", example = 100)]
    minimum: Option<u32>,

    /// After how many solves the minimum is reached.
    #[schemars(schema_with = "decay", example = 30)]
    decay: Option<u32>,

    /// Points on top for the first team that solves a challenge.
    #[schemars(schema_with = "points", example = 50)]
    first_blood: Option<u32>,
}

/// Wrong answers that a question allows. All keys are optional; minted answers are uncapped.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct AttemptCaps {
    /// One fixed text.
    #[schemars(schema_with = "cap")]
    r#static: Option<u32>,

    /// One of several choices.
    #[schemars(schema_with = "cap")]
    single_select: Option<u32>,

    /// A set of choices.
    #[schemars(schema_with = "cap")]
    multi_select: Option<u32>,
}

/// Limits on running instances. All keys are optional.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
struct Instances {
    /// Live instances of one team.
    #[schemars(schema_with = "per_team")]
    per_team: Option<u32>,
}

/// Some challenges, with what this competition says about them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
#[schemars(extend("oneOf" = [
    // An empty key is as good as none.
    { "required": ["id"], "properties": { "id": { "type": "string" } } },
    { "required": ["bucket"], "properties": { "bucket": { "type": "string" } } },
    { "required": ["tag"], "properties": { "tag": { "type": "string" } } },
]))]
struct Selection {
    /// One challenge, or a pattern such as `WEB-*`.
    #[schemars(length(min = 1), example = "WEB-001")]
    id: Option<String>,

    /// Every challenge in this folder of the repository.
    #[schemars(length(min = 1), example = &"WEB")]
    bucket: Option<String>,

    /// Every challenge with this tag.
    #[schemars(length(min = 1), example = &"beginner")]
    tag: Option<String>,

    /// Points of the first solve, instead of the competition's.
    #[schemars(schema_with = "points", example = 300)]
    value: Option<u32>,

    /// Neither shown nor startable before this instant.
    #[schemars(schema_with = "optional_instant", example = "2027-03-02T00:00:00Z")]
    release_at: Option<String>,
}

fn required_instant(_: &mut SchemaGenerator) -> Schema {
    instant(Empty::Refused)
}

fn registration_mode(_: &mut SchemaGenerator) -> Schema {
    words(&["solo", "create", "join", "invite"], Empty::Allowed)
}

fn size(_: &mut SchemaGenerator) -> Schema {
    whole_number(1, MAX_TEAM_SIZE.into())
}

fn cap(_: &mut SchemaGenerator) -> Schema {
    whole_number(1, MAX_CAP.into())
}

fn per_team(_: &mut SchemaGenerator) -> Schema {
    whole_number(1, MAX_PER_TEAM.into())
}

fn decay(_: &mut SchemaGenerator) -> Schema {
    whole_number(1, MAX_POINTS.into())
}

fn challenges(generator: &mut SchemaGenerator) -> Schema {
    let selection = generator.subschema_for::<Selection>();
    json_schema!({
        "type": "array",
        "minItems": 1,
        "items": {
            "anyOf": [
                { "type": "string", "minLength": 1, "examples": ["WEB-001", "CRYPTO-*"] },
                selection,
            ],
        },
    })
}
