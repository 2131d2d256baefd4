//! The pages at `/docs/` that show our OpenAPI document to people, with a form for each route.
//!
//! # Invariants
//! * Every file travels in the binary; the pages load nothing from elsewhere and ask nobody else.
//! * A page runs no script but those files, talks to this server only, and is in no frame.
//! * The token that somebody types there stays in that page's memory: it is in no cookie and storage.
//!
//! # Not here
//! The document itself ([`super::openapi`]).

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::request;
use crate::daemon::platform::Platform;

/// Where the pages are; their links are relative to the slash at its end.
const ROOT: &str = "/docs/";

/// The files that the page consists of. The bundle has more, for other ways to build it in.
const FILES: &[&str] = &[
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
];

/// Pictures are written into the style as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'";

/// The pages.
pub(crate) fn routes() -> Router<Platform> {
    let enter = || std::future::ready(Redirect::permanent(ROOT));
    Router::new()
        .route("/docs", get(enter))
        // Where the contract has them.
        .route("/docs/api", get(enter))
        .route(ROOT, get(|| std::future::ready(file("index.html"))))
        .route("/docs/{file}", get(one))
}

async fn one(Path(name): Path<String>) -> Response {
    if FILES.contains(&name.as_str()) { file(&name) } else { request::not_found().await }
}

fn config() -> Arc<Config<'static>> {
    let config = Config::new(["/openapi.json"])
        // Otherwise the document's address is told to a server of the page's makers.
        .validator_url("none")
        .doc_expansion("none")
        .persist_authorization(false)
        .query_config_enabled(false);
    Arc::new(config)
}

fn file(name: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(name, config()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Bytes::from(file.bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(name: &str) -> String {
        let response = file(name);
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn every_file_of_the_page_is_here_and_the_page_names_no_other() {
        for name in FILES {
            assert!(!text(name).await.is_empty(), "{name}");
        }
        let page = text("index.html").await;
        for (at, _) in page.match_indices("src=\"").chain(page.match_indices("href=\"")) {
            let rest = &page[at..];
            let target = rest.split('"').nth(1).unwrap_or_default();
            let name = target.trim_start_matches("./");
            assert!(FILES.contains(&name), "{target}");
        }
        assert!(!page.contains("<style") && page.matches("<script").count() == 3, "{page}");
        assert!(page.match_indices("<script ").count() == 3, "a script in the page: {page}");
    }

    #[tokio::test]
    async fn the_page_reads_our_document_and_asks_nobody_else() {
        let start = text("swagger-initializer.js").await;
        assert!(start.contains("\"/openapi.json\""), "{start}");
        assert!(start.contains("\"validatorUrl\": \"none\""), "{start}");
        assert!(!start.contains("http://") && !start.contains("https://"), "{start}");
    }

    #[test]
    fn a_page_runs_its_own_files_only() {
        let policy = file("index.html").headers()[header::CONTENT_SECURITY_POLICY].clone();
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
    }
}
