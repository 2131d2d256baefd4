//! The provenance of a generation, for organizers and for programs that verify it.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Admin;
use crate::api::error::{Answer, ApiError, Envelope, cut};
use crate::daemon::platform::Platform;
use crate::release::provenance::MEDIA_TYPE;

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(provenance))
}

/// The number of a generation.
pub(super) fn number(text: &str) -> Result<u32, ApiError> {
    text.parse().map_err(|_| {
        let message = format!("there is no generation `{}`: give its number", cut(text));
        ApiError::new(StatusCode::NOT_FOUND, "generation_not_found", message)
    })
}

/// Where a generation comes from: an in-toto statement with SLSA's provenance predicate. The same
/// bytes whenever it is asked for.
#[utoipa::path(get, path = "/gitops/releases/{generation}/provenance", tag = "gitops",
    security(("bearer" = [])), params(("generation" = u32, Path)),
    responses((status = 200, content_type = "application/vnd.in-toto+json", body = Object),
        (status = 403, body = Envelope), (status = 404, body = Envelope),
        (status = 409, body = Envelope, description = "its files can be read no more")))]
async fn provenance(
    State(platform): State<Platform>,
    _admin: Admin,
    Path(generation): Path<String>,
) -> Answer<Response> {
    let text = platform.provenance(number(&generation)?).await?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use crate::api::router;
    use crate::daemon::platform::StartRequest;
    use crate::daemon::testing::Rig;

    const METADATA: &str = "name: One\ndescription: Read it.\ndifficulty: easy\ntags: [t]\ncategory: web\nquestions:\n  - id: flag\n    prompt: What?\n";
    const COMPOSE: &str = "services:\n  web:\n    image: base:1\n    command: [serve]\n    ports: [8080]\n    mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 64\n";

    async fn get(app: &Router, path: &str, token: &str) -> (u16, Value) {
        let request = Request::get(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn organizers_see_commit_tree_and_build_key_and_players_the_commit() {
        let rig = Rig::new();
        rig.add_image("base:1");
        rig.push(&[
            ("WEB/WEB-001/metadata.yaml", METADATA),
            ("WEB/WEB-001/docker-compose.yml", COMPOSE),
            ("WEB/WEB-001/attachments/note.txt", "read me\n"),
        ]);
        let admin = std::fs::read_to_string(rig.config.data_dir.join("admin.token")).unwrap();
        let admin = admin.trim();
        let daemon = rig.start().await;
        let platform = daemon.platform();
        let app = router(platform.clone());
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while platform.live().is_empty() || !platform.is_engine_ready() {
            assert!(tokio::time::Instant::now() < deadline, "nothing goes live");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let (_, token) = platform.create_team_token("red", "").await.unwrap();
        let red = platform.authenticate(&token).await.unwrap();
        let wish = StartRequest {
            challenge: "WEB-001".to_owned(),
            competition: String::new(),
            ttl_secs: None,
            repeats: crate::daemon::platform::Repeats::Another,
        };
        let instance = platform.start(&red, wish).await.unwrap();
        let (revision, tree) = (instance.revision.to_string(), instance.tree.to_string());

        let path = format!("/instances/{}", instance.id);
        let (_, seen) = get(&app, &path, &token).await;
        assert_eq!(
            (&seen["revision"], &seen["provenance"]),
            (&revision.clone().into(), &Value::Null)
        );
        let (_, seen) = get(&app, &path, admin).await;
        assert_eq!(seen["provenance"]["tree"], tree);
        let image = &seen["provenance"]["images"][0];
        assert_eq!((&image["service"], &image["image"]), (&"web".into(), &"sha256:base:1".into()));
        let key = image["build_key"].as_str().unwrap();

        for listing in ["/challenges/WEB-001/attachments".to_owned(), format!("{path}/attachments")]
        {
            let (_, seen) = get(&app, &listing, &token).await;
            assert_eq!(
                (&seen["revision"], &seen["tree"]),
                (&revision.clone().into(), &Value::Null)
            );
            let (_, seen) = get(&app, &listing, admin).await;
            assert_eq!(seen["tree"], tree, "{listing}");
        }

        let (_, meta) = get(&app, "/meta", &token).await;
        let (generation, manifest) = platform.active().await.unwrap().unwrap();
        let release = serde_json::json!({
            "generation": 1, "tag": null, "commit_sha": revision, "release_id": manifest.id().as_str(),
        });
        assert_eq!((generation.number, &meta["release"]), (1, &release));

        let (_, seen) =
            get(&app, &format!("/gitops/explain/instance/{}", instance.id), admin).await;
        let kinds: Vec<_> = seen["chain"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["instance", "generation", "commit", "tree", "build_key", "image"]);

        let (status, told) = get(&app, "/gitops/releases/1/provenance", admin).await;
        assert_eq!((status, &told["_type"]), (200, &"https://in-toto.io/Statement/v1".into()));
        assert_eq!(told["subject"][1]["annotations"]["buildKey"], key);
        assert_eq!(get(&app, "/gitops/releases/1/provenance", &token).await.0, 403);
        for missing in ["9", "x", "-1"] {
            let path = format!("/gitops/releases/{missing}/provenance");
            let (status, body) = get(&app, &path, admin).await;
            assert_eq!((status, &body["code"]), (404, &"generation_not_found".into()));
        }
        daemon.stop().await;
    }
}
