//! How instances look to people.

use serde_json::Value;
use std::fmt::Write as _;

use crate::model::Timestamp;

use super::super::client::{Client, Request};
use super::super::failure::{Ending, Failure};
use super::super::output::{self, Format};
use super::super::settings::Global;
use super::super::wire::Fields as _;
use super::resolve;
use crate::model::Clock as _;
use crate::telemetry::SystemClock;

/// Shows one instance.
pub(super) async fn run(global: &Global, client: &Client, text: &str) -> Result<Ending, Failure> {
    let id = resolve(client, text).await?.to_string();
    let instance = client.get(Request::to(&["instances", &id])).await?;
    match global.format() {
        Format::Json => output::print_json(&instance)?,
        Format::Table => output::print(&render(&instance, SystemClock.now()))?,
    }
    Ok(Ending::Fine)
}

/// A table of instances.
pub(super) fn render_list(rows: &[Value], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no instances".to_owned();
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let endpoints: Vec<_> =
                row.list("services").iter().map(endpoint).chain(gateway(row)).collect();
            let team = match row.text("team_name") {
                "" => row.text("team_id"),
                name => name,
            };
            vec![
                row.text("id").to_owned(),
                row.text("challenge_id").to_owned(),
                team.to_owned(),
                row.text("status").to_owned(),
                row.text("phase").to_owned(),
                time_left(row, now),
                if row.text("error").is_empty() {
                    endpoints.join(" ")
                } else {
                    output::cut(row.text("error"), 80)
                },
            ]
        })
        .collect();
    let header = ["ID", "CHALLENGE", "TEAM", "STATUS", "PHASE", "LEFT", "ENDPOINTS"];
    output::table(&header, &cells)
}

/// One instance with everything that its owner needs.
fn render(instance: &Value, now: Timestamp) -> String {
    let head = [
        ("id", instance.text("id").to_owned()),
        ("challenge", instance.text("challenge_id").to_owned()),
        ("team", instance.text("team_id").to_owned()),
        ("node", instance.text("node_id").to_owned()),
        ("status", instance.text("status").to_owned()),
        ("phase", instance.text("phase").to_owned()),
        ("error", instance.text("error").to_owned()),
        ("revision", instance.text("revision").to_owned()),
        ("tree", instance["provenance"].text("tree").to_owned()),
        ("left", time_left(instance, now)),
    ];
    let mut rows: Vec<_> = head
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    if instance.number("restarts") > 0.0 {
        rows.push(vec!["restarts".to_owned(), instance.number("restarts").to_string()]);
    }
    let mut text = output::table(&[], &rows);
    let services = instance.list("services");
    if !services.is_empty() {
        let _ = write!(text, "\n\n{}", render_endpoints(services));
    }
    if let Some(gateway) = gateway(instance) {
        let id = instance.text("id");
        let _ = write!(text, "\n\n{gateway}; its profile: `flagops vpn profile {id}`");
    }
    let images: Vec<_> = instance["provenance"].list("images").iter().map(image).collect();
    if !images.is_empty() {
        let _ = write!(text, "\n\n{}", output::table(&["SERVICE", "BUILD KEY", "IMAGE"], &images));
    }
    let questions: Vec<_> = instance.list("questions").iter().map(question).collect();
    if !questions.is_empty() {
        let _ = write!(text, "\n\n{}", output::table(&["QUESTION", "MODE", "STATE"], &questions));
    }
    text
}

/// What determines the image of a service, and its id: as much as people compare.
fn image(image: &Value) -> Vec<String> {
    let short = |text: &str, n: usize| text.get(..n).unwrap_or(text).to_owned();
    vec![
        image.text("service").to_owned(),
        short(image.text("build_key"), 16),
        short(image.text("image"), "sha256:".len() + 16),
    ]
}

fn question(question: &Value) -> Vec<String> {
    let state = if question.is("answered_correctly") {
        "solved".to_owned()
    } else if question.get("unlocked").is_some() && !question.is("unlocked") {
        "locked".to_owned()
    } else if question.get("attempts_remaining").is_some_and(Value::is_number) {
        format!("open, {} attempts left", question.number("attempts_remaining"))
    } else {
        "open".to_owned()
    };
    vec![question.text("id").to_owned(), question.text("mode").to_owned(), state]
}

/// A table of where to attack.
pub(super) fn render_endpoints(services: &[Value]) -> String {
    let cells: Vec<_> = services
        .iter()
        .map(|service| vec![service.text("label").to_owned(), endpoint(service)])
        .collect();
    output::table(&["SERVICE", "ENDPOINT"], &cells)
}

/// What to type: a URL, or `host port` in the form that most tools take.
fn endpoint(service: &Value) -> String {
    let (host, port) = (service.text("host"), service.number("port"));
    match service.text("service_type") {
        kind @ ("http" | "https" | "ssh") => {
            format!("{kind}://{host}:{port}{}", service.text("path"))
        }
        _ => format!("{host}:{port}"),
    }
}

/// Where the VPN gateway is, if there is one.
fn gateway(instance: &Value) -> Option<String> {
    let vpn = instance.get("vpn_endpoint").filter(|it| it.is_object())?;
    Some(format!("vpn {}:{}/udp", vpn.text("host"), vpn.number("port")))
}

/// What is left of the lease; empty when it has none.
pub(super) fn time_left(row: &Value, now: Timestamp) -> String {
    row.time_millis("expires_at")
        .map_or(String::new(), |expires| output::span(expires.saturating_sub(now.as_millis())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_184_190_000)
    }

    fn instance() -> Value {
        json!({
            "id": "3f2a0000-0000-4000-8000-000000000001", "challenge_id": "WEB-001",
            "team_id": "9b010000-0000-4000-8000-000000000002", "team_name": "blue",
            "node_id": "local", "status": "ready", "phase": "ready", "error": "", "restarts": 1,
            "expires_at": 1_795_191_390.0,
            "services": [
                {"service_type": "http", "host": "127.0.0.1", "port": 20001, "path": "/",
                 "label": "web"},
                {"service_type": "tcp", "host": "127.0.0.1", "port": 20002, "path": "/",
                 "label": "db"},
            ],
            "questions": [
                {"id": "user", "mode": "dynamic", "unlocked": true, "answered_correctly": true,
                 "attempts_remaining": null},
                {"id": "root", "mode": "static", "unlocked": true, "answered_correctly": false,
                 "attempts_remaining": 7},
                {"id": "last", "mode": "dynamic", "unlocked": false},
            ],
        })
    }

    #[test]
    fn a_list_shows_where_and_how_long() {
        let mut failed = instance();
        failed["error"] = json!("Challenge failed to start\u{1b}[2J");
        failed["team_name"] = json!(null);
        insta::assert_snapshot!(render_list(&[instance(), failed], now()), @r"
        ID                                    CHALLENGE  TEAM                                  STATUS  PHASE  LEFT  ENDPOINTS
        3f2a0000-0000-4000-8000-000000000001  WEB-001    blue                                  ready   ready  2h0m  http://127.0.0.1:20001/ 127.0.0.1:20002
        3f2a0000-0000-4000-8000-000000000001  WEB-001    9b010000-0000-4000-8000-000000000002  ready   ready  2h0m  Challenge failed to start�[2J
        ");
    }

    #[test]
    fn one_instance_shows_its_version_to_organizers() {
        let mut shown = instance();
        shown["revision"] = json!("07".repeat(20));
        shown["questions"] = json!([]);
        shown["provenance"] = json!({
            "tree": "01".repeat(20),
            "images": [
                {"service": "web", "build_key": "03".repeat(32), "image": format!("sha256:{}", "ab".repeat(32))},
                {"service": "db", "build_key": null, "image": null},
            ],
        });
        insta::assert_snapshot!(render(&shown, now()));
    }

    #[test]
    fn one_instance_shows_endpoints_and_questions() {
        insta::assert_snapshot!(render(&instance(), now()), @r"
        id         3f2a0000-0000-4000-8000-000000000001
        challenge  WEB-001
        team       9b010000-0000-4000-8000-000000000002
        node       local
        status     ready
        phase      ready
        left       2h0m
        restarts   1

        SERVICE  ENDPOINT
        web      http://127.0.0.1:20001/
        db       127.0.0.1:20002

        QUESTION  MODE     STATE
        user      dynamic  solved
        root      static   open, 7 attempts left
        last      dynamic  locked
        ");
    }
}
