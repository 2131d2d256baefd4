//! Whether the node keeps instances apart, for operators: the matrix, and what follows from it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use crate::daemon::isolation::Look;
use crate::daemon::platform::{Platform, Standing};
use crate::planner::isolation::{Gate, Row, Wall};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(last, check))
}

/// How the node keeps instances apart.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct IsolationView {
    /// `up`, `unsupported`, `failed`, or `unseen` (nobody has looked, or `network.wall` is off).
    wall: &'static str,
    /// Why it is not up.
    wall_reason: Option<String>,
    /// Whether new instances start on the node.
    starts: bool,
    /// The stable word of the condition `Isolated`.
    reason: &'static str,
    message: String,
    /// The last check; `null` before the first one.
    check: Option<CheckView>,
}

/// What one check came to.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct CheckView {
    /// `start`, `engine`, `schedule` or `asked`.
    trigger: &'static str,
    at: String,
    took_ms: u64,
    #[serde(flatten)]
    look: LookView,
    /// The same from inside of gVisor; `null` where the engine has none.
    sandbox: Option<LookView>,
}

/// What was seen from inside of an instance.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct LookView {
    /// `holds`, `missed`, or `unseen`: nobody could look, or not at everything.
    verdict: &'static str,
    /// Why nobody could look.
    problem: Option<String>,
    /// In the order of the matrix.
    rows: Vec<RowView>,
}

/// One attempt from inside of an instance.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct RowView {
    id: &'static str,
    what: &'static str,
    /// `reached` or `blocked`.
    expected: &'static str,
    /// `reached`, `blocked`, `unknown` or `skipped`.
    seen: &'static str,
    /// Whether it is as it should be.
    holds: bool,
    /// What the kernel inside said.
    why: String,
}

fn view(standing: &Standing) -> IsolationView {
    let (wall, wall_reason) = match &standing.wall {
        Wall::Unseen => ("unseen", None),
        Wall::Up => ("up", None),
        Wall::Unsupported(reason) => ("unsupported", Some(reason.clone())),
        Wall::Failed(reason) => ("failed", Some(reason.clone())),
    };
    let (Gate::Open { reason, message } | Gate::Shut { reason, message }) = &standing.gate;
    let check = standing.report.as_ref().map(|report| CheckView {
        trigger: report.trigger.as_str(),
        at: report.at.rfc3339(),
        took_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        look: look_view(&report.look),
        sandbox: report.sandbox.as_ref().map(look_view),
    });
    IsolationView {
        wall,
        wall_reason,
        starts: standing.gate.is_open(),
        reason,
        message: message.clone(),
        check,
    }
}

fn look_view(look: &Look) -> LookView {
    LookView {
        verdict: look.verdict.as_str(),
        problem: look.problem.clone(),
        rows: look.rows.iter().map(row_view).collect(),
    }
}

fn row_view(row: &Row) -> RowView {
    RowView {
        id: row.id,
        what: row.what,
        expected: row.expected.as_str(),
        seen: row.seen.as_str(),
        holds: row.holds(),
        why: row.why.clone(),
    }
}

/// How the node stands, and what the last check found.
#[utoipa::path(get, path = "/gitops/isolation", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = IsolationView), (status = 403, body = Envelope)))]
async fn last(State(platform): State<Platform>, _admin: Admin) -> Json<IsolationView> {
    Json(view(&platform.isolation()))
}

/// Makes a check now; answers when that is done.
#[utoipa::path(post, path = "/gitops/isolation", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = IsolationView), (status = 403, body = Envelope),
        (status = 503, body = Envelope)))]
async fn check(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<IsolationView>> {
    Ok(Json(view(&platform.check_isolation().await?)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::isolation::{Report, Trigger};
    use crate::model::Timestamp;
    use crate::planner::isolation::{Expected, Outcome, Rule, Verdict, gate, judge};

    #[test]
    fn a_miss_is_shown_with_its_row_and_what_follows() {
        let rows = vec![Row {
            id: "metadata",
            what: "the metadata service of a cloud",
            expected: Expected::Blocked,
            seen: Outcome::Reached,
            why: "it answers".to_owned(),
        }];
        let verdict = judge(&rows);
        assert_eq!(verdict, Verdict::Missed(vec!["metadata".to_owned()]));
        let report = Report {
            at: Timestamp::from_millis(0),
            took: Duration::from_millis(4200),
            trigger: Trigger::Schedule,
            look: Look { verdict: verdict.clone(), rows, problem: None },
            sandbox: None,
        };
        let standing = Standing {
            gate: gate(Rule::Required, &Wall::Up, Some(&verdict)),
            wall: Wall::Up,
            report: Some(report),
        };
        insta::assert_json_snapshot!(view(&standing), @r#"
        {
          "wall": "up",
          "wall_reason": null,
          "starts": false,
          "reason": "RowsMissed",
          "message": "an instance is not kept apart as it should be, so no instance starts: metadata; `flagops doctor isolation` shows the matrix and looks again",
          "check": {
            "trigger": "schedule",
            "at": "1970-01-01T00:00:00Z",
            "took_ms": 4200,
            "verdict": "missed",
            "problem": null,
            "rows": [
              {
                "id": "metadata",
                "what": "the metadata service of a cloud",
                "expected": "blocked",
                "seen": "reached",
                "holds": false,
                "why": "it answers"
              }
            ],
            "sandbox": null
          }
        }
        "#);
    }
}
