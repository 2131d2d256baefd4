//! Agents play over the Model Context Protocol, at `/api/v1/mcp/`: streamable HTTP without sessions.
//!
//! In:  JSON-RPC with the caller's `Authorization` header.
//! Out: each call of a tool as one request to our own router, and its answer as the tool's result.
//!
//! # Invariants
//! * A tool may what its request may: it goes through the same router, with the caller's token and
//!   address, so authorization, limits, waiting and texts are those of the REST API.
//! * A refusal is an error of the tool with our code and text; the protocol's own errors are for
//!   what is no tool.
//! * Nothing is kept between two requests.
//!
//! # Not here
//! Which tool is which request ([`tools`]). The crate changes often: only this file names it.

mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool as Offered,
    ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::error::cut;
use super::extract::MAX_BODY_BYTES;
use tools::{Call, Shape, TOOLS, Tool};

/// How long `start_instance` waits until the instance is ready.
const START_PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at an instance that starts.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most bytes of one answer that an agent is given.
const MAX_ANSWER_BYTES: usize = 8 << 20;

const INSTRUCTIONS: &str = "Challenges of a capture-the-flag event. `list_challenges` shows what \
    there is; `start_instance` starts a private copy and gives its id and address; answers found \
    there go to `submit_answer`; `stop_instance` when you are done.";

/// `app` with the endpoint beside it, which asks `app`.
pub(crate) fn beside(app: Router) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_max_request_body_bytes(MAX_BODY_BYTES)
        // Names of hosts are the proxy's matter. A page of somebody else has nobody's token.
        .disable_allowed_hosts();
    let inner = app.clone();
    let make = move || Ok(Agents { app: inner.clone() });
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(make, sessions, config);
    app.route_service("/api/v1/mcp", service.clone()).route_service("/api/v1/mcp/", service)
}

/// One conversation: as long as one request.
#[derive(Clone)]
struct Agents {
    app: Router,
}

/// What the platform said.
struct Reply {
    status: StatusCode,
    body: Value,
}

impl ServerHandler for Agents {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("ctfy", super::health::VERSION))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(TOOLS.iter().map(offered).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::named(&request.name) else {
            let message = format!("there is no tool `{}`", cut(&request.name));
            return Err(ErrorData::invalid_params(message, None));
        };
        let Some(parts) = context.extensions.get::<Parts>() else {
            return Err(ErrorData::internal_error("the request has no headers", None));
        };
        let caller = Asking::of(parts);
        let outcome = match tool.call(&request.arguments.unwrap_or_default()) {
            Ok(call) => self.run(tool, call, &caller).await,
            Err(fault) => Err(format!("invalid_arguments: {fault}")),
        };
        Ok(match outcome {
            Ok(value) => CallToolResult::structured(value),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
        .into())
    }
}

fn offered(tool: &Tool) -> Offered {
    let hints = ToolAnnotations::new().read_only(tool.is_read_only());
    Offered::new(tool.name, tool.about, Arc::new(tool.schema())).with_annotations(hints)
}

/// Who asks: what is taken over from the outer request.
struct Asking {
    authorization: Option<header::HeaderValue>,
    agent: Option<header::HeaderValue>,
    address: Option<ConnectInfo<std::net::SocketAddr>>,
}

impl Asking {
    fn of(parts: &Parts) -> Self {
        Self {
            authorization: parts.headers.get(header::AUTHORIZATION).cloned(),
            agent: parts.headers.get(header::USER_AGENT).cloned(),
            address: parts.extensions.get().copied(),
        }
    }
}

impl Agents {
    /// Does what `tool` is for; the error is what the agent reads.
    async fn run(&self, tool: &Tool, call: Call, caller: &Asking) -> Result<Value, String> {
        let body = self.ask(call, caller).await?;
        match tool.shape {
            Shape::Whole if body.is_object() => Ok(body),
            Shape::Whole => Ok(json!({ "result": body })),
            Shape::Rows => Ok(json!({ "result": body["items"] })),
            Shape::Verdict => Ok(json!({ "result": body["correct"] })),
            Shape::Word => Ok(json!({ "result": body["status"] })),
            Shape::Surface => {
                let id = body["id"].as_str().unwrap_or_default().to_owned();
                self.surface(&id, caller).await
            }
        }
    }

    /// Where to attack instance `id`, as soon as it is ready.
    async fn surface(&self, id: &str, caller: &Asking) -> Result<Value, String> {
        let waited = tokio::time::timeout(START_PATIENCE, async {
            loop {
                let uri = format!("/api/v1/instances/{id}/status");
                let status =
                    self.ask(Call { method: Method::GET, uri, body: None }, caller).await?;
                match status["status"].as_str() {
                    Some("ready") => {
                        let mut surface = status["attack_surface"].clone();
                        surface["id"] = id.into();
                        return Ok(surface);
                    }
                    Some("starting") => tokio::time::sleep(LOOK_EVERY).await,
                    Some(_) | None => {
                        let why = status["error"].as_str().unwrap_or("it was stopped");
                        return Err(format!("instance_failed: instance {id} is not there: {why}"));
                    }
                }
            }
        });
        waited.await.unwrap_or_else(|_| {
            Err(format!(
                "instance_starting: instance {id} is still on its way: ask `get_instance_status`"
            ))
        })
    }

    /// The body of a good answer; of a refusal, its code and text.
    async fn ask(&self, call: Call, caller: &Asking) -> Result<Value, String> {
        let reply = self.send(call, caller).await?;
        if reply.status.is_success() { Ok(reply.body) } else { Err(refusal(&reply)) }
    }

    async fn send(&self, call: Call, caller: &Asking) -> Result<Reply, String> {
        let broken = |_| "internal_error: the request could not be made".to_owned();
        let mut request = Request::builder().method(call.method).uri(call.uri);
        if let Some(value) = &caller.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(value) = &caller.agent {
            request = request.header(header::USER_AGENT, value);
        }
        let body = match call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).map_err(broken)?;
        if let Some(address) = caller.address {
            request.extensions_mut().insert(address);
        }
        // A router fails at nothing: what goes wrong is an answer.
        let Ok(response) = self.app.clone().oneshot(request).await;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let bytes = body
            .collect()
            .await
            .map_err(|_| "answer_too_long: ask for less at once (`limit`)".to_owned())?;
        let bytes = bytes.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Reply { status, body })
    }
}

/// `code: sentence`, as clients of the REST API show it.
fn refusal(reply: &Reply) -> String {
    let fallback = format!("http_{}", reply.status.as_u16());
    let code = reply.body["code"].as_str().unwrap_or(&fallback);
    let detail = &reply.body["detail"];
    let text = detail.as_str().or_else(|| detail["message"].as_str());
    let text = text.or_else(|| reply.body["error"].as_str()).map(str::to_owned);
    format!("{code}: {}", text.unwrap_or_else(|| detail.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_our_code_and_text() {
        for (status, body, wanted) in [
            (
                404,
                json!({"code": "instance_not_found", "detail": "Instance x not found"}),
                "instance_not_found: Instance x not found",
            ),
            (422, json!({"code": "a", "detail": {"message": "b"}}), "a: b"),
            (422, json!({"code": "a", "detail": {"known": ["b"]}}), r#"a: {"known":["b"]}"#),
            (429, json!({"error": "Rate limit exceeded"}), "http_429: Rate limit exceeded"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(&Reply { status, body }), wanted);
        }
    }
}
