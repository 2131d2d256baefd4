//! Our OpenAPI document: made from the handlers themselves, so it cannot drift from the routes.

use axum::http::{HeaderName, header};
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, Response, ResponseBuilder, Schema};

use super::error::Envelope;
use super::gitops::VerdictEvent;
use super::limits::RateLimited;

/// The frame that routes are added to.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "flagops",
        description = "GitOps for capture-the-flag events: challenges from a git repository, one \
                       running copy per team. Every refusal has the body `Envelope`.",
    ),
    tags(
        (name = "challenges", description = "What can be played."),
        (name = "attachments", description = "Files of challenges and instances."),
        (name = "instances", description = "A team's running copies."),
        (name = "submissions", description = "Answers."),
        (name = "competitions", description = "What is played when, and by whom."),
        (name = "teams", description = "Getting into teams and out of them."),
        (name = "standings", description = "Who leads."),
        (name = "accounts", description = "Signing up and in, tokens, letting programs in."),
        (name = "integrations", description = "Event platforms of others that we run instances for."),
        (name = "me", description = "The caller."),
        (name = "gitops", description = "The repository and what became of it (administrators)."),
        (name = "admin", description = "Tokens, images, every instance (administrators)."),
        (name = "meta", description = "Versions and numbers."),
        (name = "hooks", description = "What forges call."),
        (name = "probes", description = "For supervisors and monitoring."),
    ),
    components(schemas(Envelope, RateLimited, VerdictEvent))
)]
struct Document;

/// The document without routes.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// The document with all routes as it is served, written once: adds what the macros cannot say.
pub(crate) fn finish(mut document: OpenApi) -> ([(HeaderName, &'static str); 1], Bytes) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let refused = answer("Refused: the body says why, and what to do.", &["Envelope"]);
    let limited = answer("Too often, or too many.", &["RateLimited", "Envelope"]);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for (status, response) in [("default", &refused), ("429", &limited)] {
            operation.responses.responses.insert(status.to_owned(), response.clone().into());
        }
    }
    // The router's spelling of "the rest of the path" is not OpenAPI's.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths =
        paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let text = document.to_json().expect("the document has text keys only");
    ([(header::CONTENT_TYPE, "application/json")], Bytes::from(text))
}

/// JSON in one of these shapes.
fn answer(description: &str, shapes: &[&str]) -> Response {
    let shapes = shapes
        .iter()
        .fold(AnyOfBuilder::new(), |any, shape| any.item(Ref::from_schema_name(*shape)));
    let content = Content::new(Some(Schema::AnyOf(shapes.build())));
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
