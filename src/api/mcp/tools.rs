//! The tools that agents are offered: which request of the REST API each one is.
//!
//! In:  the arguments of a tool, as an agent sent them: hostile.
//! Out: a [`Call`], or the sentence about what is wrong with them.
//!
//! # Invariants
//! * A tool is one request of a route that exists; a test holds the table to our OpenAPI document.
//! * An argument becomes one whole segment, one query parameter or one member of the body. It can
//!   neither leave its place nor change which route is asked.
//! * Names, parameters and defaults are those of `contract/http-api.md` §15.
//!
//! # Not here
//! Sending the request, and what is made of its answer ([`super`]).

use axum::http::Method;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::api::error::cut;

/// Most characters of an argument that becomes part of the path or the query.
const MAX_CHARS: usize = 256;

/// Where an argument goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It stands for `{name}` in the path.
    Path,
    /// A query parameter of this name.
    Query,
    /// A member of the JSON body.
    Body,
    /// Nowhere: clients of the contract send it, and it means nothing.
    Nowhere,
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A text, or a list of texts.
    Answer,
}

/// What is sent when an argument is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It must be there.
    Refused,
    /// Nothing: the route's own default holds.
    Left,
    /// This.
    Is(&'static str),
}

/// One parameter of a tool.
#[derive(Debug, Clone, Copy)]
struct Param {
    name: &'static str,
    place: Place,
    kind: Kind,
    absent: Absent,
    about: &'static str,
}

impl Param {
    const fn path(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Path, kind: Kind::Text, absent: Absent::Refused, about }
    }

    const fn query(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Query, kind: Kind::Text, absent: Absent::Left, about }
    }

    const fn count(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Query, kind: Kind::Number, absent: Absent::Left, about }
    }

    const fn body(name: &'static str, kind: Kind, absent: Absent, about: &'static str) -> Self {
        Self { name, place: Place::Body, kind, absent, about }
    }

    const fn required(self) -> Self {
        Self { absent: Absent::Refused, ..self }
    }
}

/// What an agent gets of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// All of it.
    Whole,
    /// The rows of a page, as `{"result": […]}`.
    Rows,
    /// The member `correct`, as `{"result": …}`.
    Verdict,
    /// The member `status`, as `{"result": "…"}`.
    Word,
    /// What the started instance is once it is ready.
    Surface,
}

/// One tool.
#[derive(Debug)]
pub(super) struct Tool {
    /// What agents call it.
    pub(super) name: &'static str,
    /// What it does, for agents.
    pub(super) about: &'static str,
    method: Method,
    /// Below `/api/v1`, as in our OpenAPI document.
    path: &'static str,
    params: &'static [Param],
    /// What is made of the answer.
    pub(super) shape: Shape,
}

/// A request to the REST API.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// The method.
    pub(super) method: Method,
    /// Path and query, from the root.
    pub(super) uri: String,
    /// The body, if the route takes one.
    pub(super) body: Option<Value>,
}

const OFFSET: Param = Param::count("offset", "Rows to skip");
const LIMIT: Param = Param::count("limit", "Most rows to give, 50 by default");
const TTL: Param =
    Param::count("ttl", "Seconds that the instance shall live from now; the default when absent");
const CATEGORY_OF_STANDINGS: Param = Param {
    place: Place::Nowhere,
    ..Param::query("category", "Ignored: standings are of all categories together")
};
const DIFFICULTY: Param = Param::query("difficulty", "Only of this difficulty, as `easy`");
const TAG: Param = Param::query("tag", "Only with this tag");
const OF_CHALLENGE: Param = Param::query("challenge_id", "Only of this challenge");
const CHALLENGE: Param = Param::path("challenge_id", "Id of the challenge, as `WEB-001`");
const COMPETITION: Param = Param::path("competition_id", "Id of the competition");
const INSTANCE: Param = Param::path("instance_id", "Id of the instance (a UUID)");
const ANSWER: Param =
    Param::body("answer", Kind::Answer, Absent::Refused, "The answer: a text, or a list of texts");
const QUESTION: Param =
    Param::body("question_id", Kind::Text, Absent::Is("flag"), "Which question, `flag` by default");

/// Every tool, in the order of the contract.
pub(super) static TOOLS: &[Tool] = &[
    Tool {
        name: "list_competitions",
        about: "The competitions that the caller sees, those that began last first.",
        method: Method::GET,
        path: "/competitions",
        params: &[
            Param::query("phase", "Only in this phase: `upcoming`, `running` or `past`"),
            OFFSET,
            LIMIT,
        ],
        shape: Shape::Rows,
    },
    Tool {
        name: "get_competition",
        about: "One competition with its challenges.",
        method: Method::GET,
        path: "/competitions/{competition_id}",
        params: &[COMPETITION],
        shape: Shape::Whole,
    },
    Tool {
        name: "list_competition_challenges",
        about: "The challenges of a competition.",
        method: Method::GET,
        path: "/competitions/{competition_id}/challenges",
        params: &[COMPETITION, DIFFICULTY, TAG, OFFSET, LIMIT],
        shape: Shape::Rows,
    },
    Tool {
        name: "search_challenges",
        about: "Challenges whose text has the given words in it.",
        method: Method::GET,
        path: "/challenges",
        params: &[Param::query("q", "What to look for").required(), DIFFICULTY, LIMIT],
        shape: Shape::Rows,
    },
    Tool {
        name: "list_challenges",
        about: "Every challenge that can be played now.",
        method: Method::GET,
        path: "/challenges",
        params: &[
            DIFFICULTY,
            TAG,
            Param::query("category", "Only of this category, as `web`"),
            OFFSET,
            LIMIT,
        ],
        shape: Shape::Rows,
    },
    Tool {
        name: "get_challenge",
        about: "One challenge with its questions.",
        method: Method::GET,
        path: "/challenges/{challenge_id}",
        params: &[CHALLENGE],
        shape: Shape::Whole,
    },
    Tool {
        name: "list_challenge_attachments",
        about: "The files that everybody gets with a challenge.",
        method: Method::GET,
        path: "/challenges/{challenge_id}/attachments",
        params: &[CHALLENGE],
        shape: Shape::Whole,
    },
    Tool {
        name: "start_instance",
        about: "Starts an instance of a challenge for the caller's team and waits until it is \
                ready. Gives its id and where to attack.",
        method: Method::POST,
        path: "/instances",
        params: &[
            Param::body("challenge_id", Kind::Text, Absent::Refused, "Id of the challenge"),
            Param::body(
                "ttl",
                Kind::Number,
                Absent::Left,
                "Seconds that it shall live; the default when absent",
            ),
            Param::body(
                "competition_id",
                Kind::Text,
                Absent::Left,
                "The competition; may be left out by who plays in one only",
            ),
        ],
        shape: Shape::Surface,
    },
    Tool {
        name: "get_instance",
        about: "One instance of the caller's team.",
        method: Method::GET,
        path: "/instances/{instance_id}",
        params: &[INSTANCE],
        shape: Shape::Whole,
    },
    Tool {
        name: "get_instance_status",
        about: "How far an instance is, and where to attack once it is ready.",
        method: Method::GET,
        path: "/instances/{instance_id}/status",
        params: &[INSTANCE],
        shape: Shape::Whole,
    },
    Tool {
        name: "stop_instance",
        about: "Stops an instance. What was in it is gone.",
        method: Method::DELETE,
        path: "/instances/{instance_id}",
        params: &[INSTANCE],
        shape: Shape::Word,
    },
    Tool {
        name: "renew_instance",
        about: "Begins the lease of an instance anew from now.",
        method: Method::POST,
        path: "/instances/{instance_id}/renew",
        params: &[INSTANCE, TTL],
        shape: Shape::Word,
    },
    Tool {
        name: "list_instances",
        about: "The instances of the caller's team.",
        method: Method::GET,
        path: "/instances",
        params: &[
            OF_CHALLENGE,
            Param::query("status", "Only in this state: `starting`, `ready` or `error`"),
            Param::query("q", "Part of the challenge's id or name"),
            OFFSET,
            LIMIT,
        ],
        shape: Shape::Rows,
    },
    Tool {
        name: "verify_answer",
        about: "Whether an answer is right, without submitting it. Where attempts are capped, a \
                wrong one counts.",
        method: Method::POST,
        path: "/instances/{instance_id}/verify-answer",
        params: &[INSTANCE, ANSWER, QUESTION],
        shape: Shape::Verdict,
    },
    Tool {
        name: "submit_answer",
        about: "Submits an answer to a question of an instance. The right one to the last open \
                question stops the instance.",
        method: Method::POST,
        path: "/submissions",
        params: &[
            Param::body("instance_id", Kind::Text, Absent::Refused, "Id of the instance (a UUID)"),
            ANSWER,
            QUESTION,
        ],
        shape: Shape::Whole,
    },
    Tool {
        name: "list_submissions",
        about: "What the caller answered so far.",
        method: Method::GET,
        path: "/submissions",
        params: &[OF_CHALLENGE, OFFSET, LIMIT],
        shape: Shape::Rows,
    },
    Tool {
        name: "get_scoreboard",
        about: "Who leads.",
        method: Method::GET,
        path: "/scoreboard",
        params: &[CATEGORY_OF_STANDINGS, OFFSET, LIMIT],
        shape: Shape::Rows,
    },
    Tool {
        name: "get_challenge_stats",
        about: "How often each challenge was tried and solved.",
        method: Method::GET,
        path: "/scoreboard/challenges",
        params: &[OFFSET, LIMIT],
        shape: Shape::Rows,
    },
    Tool {
        name: "get_me",
        about: "Who the caller is.",
        method: Method::GET,
        path: "/me",
        params: &[],
        shape: Shape::Whole,
    },
    Tool {
        name: "health",
        about: "Whether the platform is well, and how much room it has.",
        method: Method::GET,
        path: "/health",
        params: &[],
        shape: Shape::Whole,
    },
];

/// The tool of this name.
pub(super) fn named(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    /// Whether it changes nothing.
    pub(super) fn is_read_only(&self) -> bool {
        self.method == Method::GET
    }

    /// The JSON Schema of its arguments.
    pub(super) fn schema(&self) -> Map<String, Value> {
        let properties: Map<String, Value> =
            self.params.iter().map(|param| (param.name.to_owned(), param.schema())).collect();
        let required = self.params.iter().filter(|param| param.absent == Absent::Refused);
        let required: Vec<&str> = required.map(|param| param.name).collect();
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        schema.insert("required".into(), required.into());
        schema
    }

    /// The request that this tool makes of `arguments`.
    ///
    /// # Errors
    /// What is wrong with them, for the agent.
    pub(super) fn call(&self, arguments: &Map<String, Value>) -> Result<Call, String> {
        let unknown = arguments.keys().find(|key| self.params.iter().all(|it| it.name != *key));
        if let Some(key) = unknown {
            let known: Vec<_> = self.params.iter().map(|param| param.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("unknown argument `{}` (known: {known})", cut(key)));
        }
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        let mut body = Map::new();
        for param in self.params {
            let Some(value) = param.read(arguments)? else { continue };
            match param.place {
                Place::Path => {
                    let segment = segment(param.name, &value)?;
                    path = path.replace(&format!("{{{}}}", param.name), &segment);
                }
                Place::Query => query.push((param.name, plain(&value))),
                Place::Body => {
                    body.insert(param.name.to_owned(), value);
                }
                Place::Nowhere => {}
            }
        }
        let mut uri = format!("/api/v1{path}");
        if !query.is_empty() {
            let query =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            uri = format!("{uri}?{query}");
        }
        let takes_body = self.params.iter().any(|param| param.place == Place::Body);
        let body = takes_body.then_some(Value::Object(body));
        Ok(Call { method: self.method.clone(), uri, body })
    }
}

impl Param {
    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text => json!({"type": "string"}),
            Kind::Number => json!({"type": "integer"}),
            Kind::Answer => json!({
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
            }),
        };
        match self.absent {
            Absent::Is(text) => schema["default"] = text.into(),
            // Agents of the contract may send null for what they leave out.
            Absent::Left => {
                schema = json!({"anyOf": [schema, {"type": "null"}], "default": null});
            }
            Absent::Refused => {}
        }
        schema["description"] = self.about.into();
        schema
    }

    /// Its value out of `arguments`; `None` when nothing is to be sent.
    fn read(&self, arguments: &Map<String, Value>) -> Result<Option<Value>, String> {
        let name = self.name;
        let value = match arguments.get(name) {
            None | Some(Value::Null) => match self.absent {
                Absent::Refused => return Err(format!("the argument `{name}` is missing")),
                Absent::Left => return Ok(None),
                Absent::Is(text) => return Ok(Some(text.into())),
            },
            Some(value) => value,
        };
        let is_right = match self.kind {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_i64(),
            Kind::Answer => {
                let is_list = |list: &Vec<Value>| list.iter().all(Value::is_string);
                value.is_string() || value.as_array().is_some_and(is_list)
            }
        };
        if !is_right {
            let wanted = match self.kind {
                Kind::Text => "a text",
                Kind::Number => "a whole number",
                Kind::Answer => "a text or a list of texts",
            };
            return Err(format!("the argument `{name}` is not {wanted}"));
        }
        let is_long = self.place != Place::Body
            && value.as_str().is_some_and(|text| text.chars().count() > MAX_CHARS);
        if is_long {
            return Err(format!("the argument `{name}` has more than {MAX_CHARS} characters"));
        }
        Ok(Some(value.clone()))
    }
}

/// A text or number as it stands in a query.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `value` as one whole segment of a path. What would change the path instead is refused.
fn segment(name: &str, value: &Value) -> Result<String, String> {
    let text = plain(value);
    if text.is_empty() || text == "." || text == ".." {
        return Err(format!("the argument `{name}` is no id"));
    }
    // It writes blanks as `+`, which is a plus in a path.
    Ok(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(tool: &str, arguments: Value) -> Result<String, String> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        named(tool).expect("there is such a tool").call(&arguments).map(|call| {
            let body = call.body.map(|body| format!(" {body}")).unwrap_or_default();
            format!("{} {}{body}", call.method, call.uri)
        })
    }

    #[test]
    fn the_tools_are_those_of_the_contract() {
        let names: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
        insta::assert_snapshot!(
            names.join(" "),
            @"list_competitions get_competition list_competition_challenges search_challenges list_challenges get_challenge list_challenge_attachments start_instance get_instance get_instance_status stop_instance renew_instance list_instances verify_answer submit_answer list_submissions get_scoreboard get_challenge_stats get_me health"
        );
    }

    #[test]
    fn every_tool_is_a_route_of_ours_with_these_parameters() {
        let (_, document) = crate::api::routes().split_for_parts();
        let document = serde_json::to_value(&document).unwrap();
        for tool in TOOLS {
            let method = tool.method.as_str().to_lowercase();
            let operation = &document["paths"][format!("/api/v1{}", tool.path)][&method];
            assert!(operation.is_object(), "{}: {method} {} is no route", tool.name, tool.path);
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named: Vec<_> = parameters.filter_map(|it| it["name"].as_str()).collect();
            let asked = tool.params.iter();
            let asked = asked.filter(|it| matches!(it.place, Place::Path | Place::Query));
            for param in asked {
                assert!(named.contains(&param.name), "{} has no {}", tool.name, param.name);
            }
            let n_holes = tool.path.matches('{').count();
            let n_filled = tool.params.iter().filter(|it| it.place == Place::Path).count();
            assert_eq!(n_holes, n_filled, "{}", tool.name);
        }
    }

    #[test]
    fn arguments_become_a_request() {
        for (tool, arguments, wanted) in [
            ("get_me", json!({}), "GET /api/v1/me"),
            (
                "search_challenges",
                json!({"q": "a&b=c", "limit": 3, "difficulty": null}),
                "GET /api/v1/challenges?q=a%26b%3Dc&limit=3",
            ),
            (
                "verify_answer",
                json!({"instance_id": "1/../2?x#y", "answer": ["a", "b"]}),
                r#"POST /api/v1/instances/1%2F..%2F2%3Fx%23y/verify-answer {"answer":["a","b"],"question_id":"flag"}"#,
            ),
            (
                "start_instance",
                json!({"challenge_id": "WEB-001"}),
                r#"POST /api/v1/instances {"challenge_id":"WEB-001"}"#,
            ),
        ] {
            assert_eq!(call(tool, arguments).as_deref(), Ok(wanted), "{tool}");
        }
    }

    #[test]
    fn what_is_wrong_with_arguments_is_said() {
        for (tool, arguments, wanted) in [
            ("get_me", json!({"x": 1}), "unknown argument `x` (known: none)"),
            ("get_instance", json!({}), "the argument `instance_id` is missing"),
            ("get_instance", json!({"instance_id": ".."}), "the argument `instance_id` is no id"),
            ("get_instance", json!({"instance_id": 7}), "the argument `instance_id` is not a text"),
            (
                "submit_answer",
                json!({"instance_id": "x", "answer": [1]}),
                "the argument `answer` is not a text or a list of texts",
            ),
        ] {
            assert_eq!(call(tool, arguments), Err(wanted.to_owned()), "{tool}");
        }
    }

    proptest! {
        #[test]
        fn an_argument_cannot_leave_its_place(id in ".{1,40}", query in ".{0,40}") {
            if let Ok(uri) = call("get_instance_status", json!({"instance_id": id})) {
                let inner = uri
                    .strip_prefix("GET /api/v1/instances/")
                    .and_then(|rest| rest.strip_suffix("/status"));
                let is_kept = inner.is_some_and(|it| !it.contains(['/', '?', '#', '{', '}', ' ']));
                prop_assert!(is_kept, "{}", uri);
            }
            let uri = call("search_challenges", json!({"q": query})).unwrap();
            prop_assert!(uri.starts_with("GET /api/v1/challenges?q="));
            prop_assert!(!uri["GET /api/v1/challenges?q=".len()..].contains(['&', '=', '#', ' ']));
        }
    }
}
