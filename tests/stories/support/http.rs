//! Talking to the daemon's API, and to what its instances publish.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, until};

/// Somebody with a token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// What the daemon answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body; a text when it is no JSON.
    pub(crate) body: Value,
}

impl Reply {
    /// # Panics
    /// Unless the status is `status`.
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// # Panics
    /// Unless it is this refusal.
    pub(crate) fn expect_refusal(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        self
    }

    /// A text of the body.
    pub(crate) fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("no text `{key}`: {}", self.body)).into()
    }
}

/// An instance that is ready.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Its id.
    pub(crate) id: String,
    /// Where its services answer, by label and in the order of the file.
    pub(crate) services: Vec<(String, String, u16)>,
}

impl Ready {
    /// Where its first service answers.
    pub(crate) fn first(&self) -> (&str, u16) {
        let (_, host, port) = self.services.first().expect("it has a service");
        (host, *port)
    }

    /// Its flag, as the one-service and two-service challenges serve it.
    pub(crate) async fn flag(&self, path: &str) -> String {
        let (host, port) = self.first();
        let url = format!("http://{host}:{port}{path}");
        let text = fetch(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(text.starts_with("FLAG{") && text.ends_with('}'), "no flag at {url}: {text:?}");
        text
    }
}

impl Client {
    /// A client of the daemon at `address`; an empty token is none.
    pub(crate) fn new(address: &str, token: &str) -> Self {
        Self { http: web(), base: format!("http://{address}/api/v1"), token: token.to_owned() }
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, String> {
        let request = match self.token.as_str() {
            "" => request,
            token => request.bearer_auth(token),
        };
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Reply { status, body })
    }

    /// `GET` of a whole URL.
    pub(crate) async fn at(&self, url: &str) -> Result<Reply, String> {
        self.send(self.http.get(url)).await
    }

    /// `GET` below `/api/v1`; the error is the transport's.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Reply, String> {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// `GET` below `/api/v1`.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `POST` below `/api/v1`; the error is the transport's.
    pub(crate) async fn try_post(&self, path: &str, body: Value) -> Result<Reply, String> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(&body)).await
    }

    /// `POST` below `/api/v1`.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.try_post(path, body).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// `PATCH` below `/api/v1`.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        let request = self.http.patch(format!("{}{path}", self.base)).json(&body);
        self.send(request).await.expect("the server answers")
    }

    /// `DELETE` below `/api/v1`; the error is the transport's.
    pub(crate) async fn try_delete(&self, path: &str) -> Result<Reply, String> {
        self.send(self.http.delete(format!("{}{path}", self.base))).await
    }

    /// `DELETE` below `/api/v1`.
    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.try_delete(path).await.unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// Looks at the remote at once.
    pub(crate) async fn reconcile(&self) -> Reply {
        self.post("/gitops/reconcile", json!({})).await.expect_status(200)
    }

    /// What operators see of a challenge; `Err` when there is none.
    pub(crate) async fn challenge(&self, id: &str) -> Result<Value, String> {
        let page = self.try_get("/gitops/challenges?limit=1000").await?.body;
        let rows = page["items"].as_array().ok_or_else(|| page.to_string())?;
        let row = rows.iter().find(|row| row["id"] == id);
        row.cloned().ok_or_else(|| format!("no {id} in {page}"))
    }

    /// One condition; `Err` when nobody stated it.
    pub(crate) async fn condition(&self, scope: &str, kind: &str) -> Result<Value, String> {
        let page = self.try_get("/gitops/conditions?limit=1000").await?.body;
        let rows = page["items"].as_array().ok_or_else(|| page.to_string())?;
        let row = rows.iter().find(|row| row["scope"] == scope && row["type"] == kind);
        row.cloned().ok_or_else(|| format!("no {scope} {kind} in {page}"))
    }

    /// Waits until a condition has this status and reason; the condition.
    pub(crate) async fn stated(
        &self,
        scope: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        until(&format!("{scope} {kind}={status} ({reason})"), PATIENCE, || async {
            let row = self.condition(scope, kind).await?;
            let fits = row["status"] == status && row["reason"] == reason;
            if fits { Ok(row) } else { Err(row.to_string()) }
        })
        .await
    }

    /// Asks for an instance; its id.
    pub(crate) async fn start(&self, challenge: &str) -> String {
        // A story that asks twice wants two.
        let body = json!({ "challenge_id": challenge, "another": true });
        let reply = self.post("/instances", body).await;
        reply.expect_status(202).text("id")
    }

    /// Waits until an instance is ready.
    ///
    /// # Panics
    /// When it fails instead.
    pub(crate) async fn ready(&self, id: &str) -> Ready {
        let surface = until(&format!("instance {id} is ready"), PATIENCE, || async {
            let reply = self.try_get(&format!("/instances/{id}/status")).await?;
            assert!(reply.body["status"] != "error", "the instance failed: {}", reply.body);
            match &reply.body["attack_surface"] {
                Value::Null => Err(reply.body.to_string()),
                surface => Ok(surface.clone()),
            }
        })
        .await;
        let services = surface["services"].as_array().expect("a surface lists services");
        let service = |row: &Value| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let port = row["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            (text("label"), text("host"), port.expect("a port is a number"))
        };
        Ready { id: id.to_owned(), services: services.iter().map(service).collect() }
    }

    /// Starts an instance and waits until it is ready.
    pub(crate) async fn play(&self, challenge: &str) -> Ready {
        let id = self.start(challenge).await;
        self.ready(&id).await
    }

    /// Waits until an instance has failed; the error its owner reads.
    pub(crate) async fn failed(&self, id: &str) -> String {
        until(&format!("instance {id} has failed"), PATIENCE, || async {
            let reply = self.try_get(&format!("/instances/{id}/status")).await?;
            match reply.body["status"].as_str() {
                Some("error") => Ok(reply.text("error")),
                _ => Err(reply.body.to_string()),
            }
        })
        .await
    }

    /// Submits an answer to a question of an instance.
    pub(crate) async fn submit(&self, instance: &str, question: &str, answer: Value) -> Reply {
        let body = json!({ "instance_id": instance, "question_id": question, "answer": answer });
        self.post("/submissions", body).await
    }

    /// Stops an instance and waits until it is gone for its owner.
    pub(crate) async fn stop(&self, id: &str) {
        self.delete(&format!("/instances/{id}")).await.expect_status(200);
        self.gone(id).await;
    }

    /// Waits until an instance is gone for its owner.
    pub(crate) async fn gone(&self, id: &str) {
        until(&format!("instance {id} is gone"), PATIENCE, || async {
            let reply = self.try_get(&format!("/instances/{id}")).await?;
            if reply.status == 404 { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
    }
}

/// A client of the web that does not wait for ever.
pub(super) fn web() -> reqwest::Client {
    // Whoever was first installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy();
    builder.build().expect("a client of the web can be made")
}

/// The text at a URL, when it answers 200.
pub(crate) async fn fetch(url: &str) -> Result<String, String> {
    let response = web().get(url).send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
}

/// Everything that a TCP service says before it hangs up.
pub(crate) fn read_tcp(host: &str, port: u16) -> Result<String, String> {
    let mut link = TcpStream::connect((host, port)).map_err(|error| error.to_string())?;
    link.set_read_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
    let mut said = String::new();
    link.read_to_string(&mut said).map_err(|error| error.to_string())?;
    Ok(said)
}
