//! Accounts through the router: signing up and in, tokens and what they may do, letting programs in.

use axum::http::HeaderMap;
use serde_json::json;

use super::*;

/// A router that keeps what it is told.
pub(in crate::api) struct Site {
    pub(in crate::api) rig: Rig,
    app: axum::Router,
}

impl Site {
    pub(in crate::api) fn new() -> Self {
        let rig = Rig::new();
        let app = router(rig.idle());
        Self { rig, app }
    }

    pub(in crate::api) fn over(rig: Rig, platform: Platform) -> Self {
        Self { rig, app: router(platform) }
    }

    /// Lets go of the platform, so that another can be started on its data.
    pub(in crate::api) fn close(self) -> Rig {
        self.rig
    }

    pub(in crate::api) async fn raw(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status.as_u16(), parts.headers, bytes)
    }

    pub(in crate::api) async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, _, bytes) = self.raw(request.body(body).unwrap()).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub(in crate::api) async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.call(token, "GET", path, Value::Null).await
    }

    pub(in crate::api) async fn post(&self, token: &str, path: &str, body: Value) -> (u16, Value) {
        self.call(token, "POST", path, body).await
    }

    /// A session of a new account.
    pub(in crate::api) async fn sign_up(&self, name: &str) -> String {
        let body = json!({
            "email": format!("{name}@example.org"), "password": "a dozen of characters",
            "display_name": name,
        });
        let (status, answer) = self.post("", "/auth/register", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    pub(in crate::api) fn admin(&self) -> String {
        let file = self.rig.config.data_dir.join("admin.token");
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

fn code((status, body): &(u16, Value)) -> (u16, &str) {
    (*status, body["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn the_first_account_is_a_super_administrator_and_the_next_is_not() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    assert!(ada.starts_with("pt_") && ada.len() == 46, "{}", ada.len());
    let bob = site.sign_up("bob").await;
    let role = async |token: &str| site.get(token, "/me").await.1["role"].clone();
    assert_eq!((role(&ada).await, role(&bob).await), (json!("super_admin"), json!("user")));
    assert_eq!(site.get(&bob, "/admin/users").await.0, 403);
    let (status, users) = site.get(&ada, "/admin/users").await;
    assert_eq!((status, users["total"].clone()), (200, json!(2)));
    let bob_id = users["items"][1]["id"].as_str().unwrap();
    let path = format!("/admin/users/{bob_id}/role");
    let promoted = site.call(&ada, "PATCH", &path, json!({"role": "admin"})).await;
    assert_eq!((promoted.0, promoted.1["role"].clone()), (200, json!("admin")));
    assert_eq!(site.get(&bob, "/admin/users").await.0, 200);
    let refused = site.call(&bob, "PATCH", &path, json!({"role": "user"})).await;
    assert_eq!(refused.1["detail"], "Super-admin privileges required");
    let ada_id = users["items"][0]["id"].as_str().unwrap();
    let own = format!("/admin/users/{ada_id}/role");
    assert_eq!(site.call(&ada, "PATCH", &own, json!({"role": "user"})).await.0, 400);
    let by_file = site.call(&site.admin(), "PATCH", &own, json!({"role": "user"})).await;
    assert_eq!(by_file.0, 403, "a super administrator stays one: {}", by_file.1);
}

#[tokio::test]
async fn a23_nobody_learns_who_has_an_account_by_signing_in() {
    let site = Site::new();
    site.sign_up("ada").await;
    let login = async |email: &str, password: &str| {
        site.post("", "/auth/login", json!({"email": email, "password": password})).await
    };
    let good = login(" ADA@example.org", "a dozen of characters").await;
    assert_eq!(good.0, 200, "{}", good.1);
    let (mut wrong, mut nobody) =
        (login("ada@example.org", "x").await, login("eve@example.org", "x").await);
    for answer in [&mut wrong, &mut nobody] {
        answer.1["timestamp"] = Value::Null;
    }
    assert_eq!(wrong, nobody);
    assert_eq!(code(&wrong), (401, "invalid_credentials"));
    let again = json!({"email": "Ada@Example.org", "password": "another good one, this"});
    assert_eq!(code(&site.post("", "/auth/register", again).await), (409, "email_taken"));
    let common = json!({"email": "b@example.org", "password": "password1234"});
    let weak = site.post("", "/auth/register", common).await;
    assert_eq!(code(&weak), (422, "weak_password"));
    assert_eq!(weak.1["detail"]["rule"], "common_password");
    let short = json!({"email": "nope", "password": "short"});
    let (status, body) = site.post("", "/auth/register", short).await;
    assert_eq!((status, &body["code"]), (422, &json!("validation_error")));
    assert_eq!(body["detail"]["issues"].as_array().map(Vec::len), Some(2), "{body}");
}

#[tokio::test]
async fn a_password_changes_only_with_the_one_before() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        site.post(&ada, "/auth/password", body).await
    };
    let new = "quite another good one";
    assert_eq!(code(&change("x", new).await), (401, "wrong_current_password"));
    assert_eq!(change("a dozen of characters", new).await.0, 200);
    let body = json!({"email": "ada@example.org", "password": new});
    assert_eq!(site.post("", "/auth/login", body).await.0, 200);
    let gone = site.call(&ada, "DELETE", "/auth/password", Value::Null).await;
    assert_eq!(code(&gone), (409, "last_sign_in_method"));
    let (_, identities) = site.get(&ada, "/auth/identities").await;
    assert_eq!(identities["items"][0]["provider"], "password");
}

#[tokio::test]
async fn a_fine_grained_token_does_what_it_was_made_for_and_ends_when_it_is_revoked() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    let mint = async |body: Value| site.post(&ada, "/auth/tokens", body).await;
    let (status, all) = mint(json!({"label": "bot"})).await;
    assert_eq!((status, &all["kind"]), (200, &json!("fine_grained")), "{all}");
    assert_eq!(all["competition_access"], "all");
    let token = all["token"].as_str().unwrap();
    assert!(token.starts_with("pf_"));
    assert_eq!(site.get(token, "/me").await.1["token_kind"], "fine_grained");
    let (_, narrow) =
        mint(json!({"permissions": {"profile": "read", "challenges": "write", "x": "read"}})).await;
    assert_eq!(narrow["competition_access"], "none");
    assert_eq!(narrow["permissions"]["challenges"], "read");
    let narrow = narrow["token"].as_str().unwrap();
    assert_eq!(site.get(narrow, "/me").await.0, 200);
    let refused = site.get(narrow, "/submissions").await;
    assert_eq!(code(&refused), (403, "token_missing_scope"));
    assert_eq!(refused.1["detail"]["required"], "submissions:read");
    assert_eq!(refused.1["detail"]["granted"], "submissions:none");
    let refused = site.get(narrow, "/challenges/X/attachments").await;
    assert_eq!(code(&refused), (403, "token_competition_forbidden"));
    for path in ["/admin/users", "/auth/tokens", "/gitops/status"] {
        assert_eq!(site.get(token, path).await.0, 403, "{path}");
    }
    for (body, wanted) in [
        (json!({"competition_access": "some"}), "invalid_competition_access"),
        (json!({"competition_access": "selected"}), "competition_scope_required"),
        (
            json!({"competition_access": "selected", "competition_ids": ["zz"]}),
            "unknown_competition_id",
        ),
        (json!({"expires_in_days": 1826}), "validation_error"),
    ] {
        assert_eq!(code(&mint(body).await), (422, wanted));
    }
    let id = all["token_id"].as_str().unwrap();
    let revoke = async |id: &str| {
        site.call(&ada, "DELETE", &format!("/auth/tokens/{id}"), Value::Null).await
    };
    assert_eq!((revoke(id).await.0, revoke(id).await.0), (200, 200));
    assert_eq!(site.get(token, "/me").await.1["detail"], "Invalid or revoked token");
    let (_, tokens) = site.get(&ada, "/auth/tokens").await;
    let own = tokens["items"].as_array().unwrap().iter().find(|row| row["is_current"] == true);
    let own = own.unwrap()["token_id"].as_str().unwrap();
    assert_eq!(code(&revoke(own).await), (409, "cannot_revoke_current_token"));
    assert_eq!(code(&revoke("nope").await), (404, "token_not_found"));
    let others = site.call(&ada, "DELETE", "/auth/tokens/others", Value::Null).await;
    assert_eq!((others.0, others.1["revoked"].clone()), (200, json!(1)));
    for n in 0..20 {
        assert_eq!(mint(json!({})).await.0, 200, "{n}");
    }
    let full = mint(json!({})).await;
    assert_eq!(
        (code(&full), &full.1["detail"]["limit"]),
        ((400, "token_limit_reached"), &json!(20))
    );
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    let (_, day) = site.post(&ada, "/auth/tokens", json!({"expires_in_days": 1})).await;
    let (_, never) = site.post(&ada, "/auth/tokens", json!({"expires_in_days": 0})).await;
    assert_eq!(never["expires_at"], Value::Null);
    site.rig.clock.advance_millis(86_400_001);
    let text = |value: &Value| value["token"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&text(&day), "/me").await.1["detail"], "Token has expired");
    assert_eq!(site.get(&text(&never), "/me").await.0, 200);
    site.rig.clock.advance_millis(90 * 86_400_000);
    assert_eq!(site.get(&ada, "/me").await.1["detail"], "Token has expired");
}

#[tokio::test]
async fn a_program_is_let_in_once_by_who_is_signed_in() {
    let site = Site::new();
    let ada = site.sign_up("ada").await;
    let (_, codes) = site.post("", "/auth/device/code", Value::Null).await;
    let device = json!({"device_code": codes["device_code"]});
    let poll = async || site.post("", "/auth/device/token", device.clone()).await.1;
    assert_eq!(poll().await["status"], "pending");
    let user_code = codes["user_code"].as_str().unwrap().to_lowercase();
    assert_eq!(site.get("", &format!("/auth/device/info?user_code={user_code}")).await.0, 401);
    let (_, info) = site.get(&ada, &format!("/auth/device/info?user_code={user_code}")).await;
    assert_eq!(info["status"], "pending");
    let body = json!({"user_code": user_code});
    assert_eq!(site.post(&ada, "/auth/device/approve", body.clone()).await.1["status"], "approved");
    let denied = site.post(&ada, "/auth/device/deny", body).await;
    assert_eq!(denied.1["status"], "approved", "the first answer stays");
    let answer = poll().await;
    assert_eq!(answer["status"], "approved");
    assert_eq!(site.get(answer["token"].as_str().unwrap(), "/me").await.0, 200);
    assert_eq!(poll().await, json!({"status": "expired", "token": ""}));
    let unknown = site.post(&ada, "/auth/device/deny", json!({"user_code": "AAAA-AAAA"})).await;
    assert_eq!(code(&unknown), (404, "device_code_invalid"));
    let (_, codes) = site.post("", "/auth/device/code", Value::Null).await;
    site.rig.clock.advance_millis(600_001);
    let late = json!({"device_code": codes["device_code"]});
    assert_eq!(site.post("", "/auth/device/token", late).await.1["status"], "expired");
}

#[tokio::test]
async fn the_page_for_programs_shows_text_as_text_and_wants_a_password() {
    let site = Site::new();
    site.sign_up("ada").await;
    let hostile = Request::post("/api/v1/auth/device/code")
        .header(header::USER_AGENT, "<script>alert(1)</script>")
        .body(Body::empty())
        .unwrap();
    let (_, _, body) = site.raw(hostile).await;
    let codes: Value = serde_json::from_slice(&body).unwrap();
    let code = codes["user_code"].as_str().unwrap();
    let page = ask("GET", &format!("/device?user_code={code}"), None);
    let (status, headers, body) = site.raw(page).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("'none'"));
    assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script"), "{text}");
    let press = async |password: &str| {
        let form =
            format!("user_code={code}&email=ada%40example.org&password={password}&verdict=approve");
        let request = Request::post("/device")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        site.raw(request).await.0
    };
    assert_eq!(press("wrong").await, 401);
    assert_eq!(press("a+dozen+of+characters").await, 200);
    let device = json!({"device_code": codes["device_code"]});
    assert_eq!(site.post("", "/auth/device/token", device).await.1["status"], "approved");
}

#[tokio::test]
async fn made_up_tokens_buy_no_more_tries_at_a_password() {
    let site = Site::new();
    let body = json!({"email": "nope", "password": "x"});
    let mut refused = 0;
    for n in 0..70 {
        let (status, _) = site.post(&format!("pt_{n}"), "/auth/login", body.clone()).await;
        refused += u32::from(status == 429);
    }
    assert!(refused > 0, "sixty a minute from one address");
}
