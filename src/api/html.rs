//! The few pages that are served: templates of ours, text of others escaped.
//!
//! # Invariants
//! * A page has no script, loads nothing from elsewhere, and is in no frame.
//! * Nothing of others reaches a page but through [`escape`].

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The style of every page.
const STYLE: &str = include_str!("../../templates/pages/page.css");

/// A text that may stand in a page, as an attribute's value too.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '{' => escaped.push_str("&#123;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The page made of `template` with each `{{name}}` replaced by its (escaped) value.
pub(crate) fn page(status: StatusCode, template: &str, values: &[(&str, String)]) -> Response {
    let mut text = template.replace("{{style}}", STYLE);
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, Html(text)).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a20_text_of_others_stays_text() {
        let hostile = r#""><script>alert('x')</script>{{style}}&"#;
        let shown = escape(hostile);
        assert!(!shown.contains(['<', '>', '"', '\'', '{']), "{shown}");
        assert!(shown.ends_with("&amp;"));
    }

    #[test]
    fn a_page_forbids_scripts_and_frames() {
        let page = page(StatusCode::OK, "<style>{{style}}</style>{{x}}", &[("x", escape("<b>"))]);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("script"));
    }
}
