//! The connection: which API version to speak, and one deadline around every call.
//!
//! Connecting is lazy. A [`Connection`] exists while the engine is down, and finds the version
//! again when the engine was exchanged under us.
//!
//! # Invariants
//! * Every request names its API version: without it an engine answers in the newest one it knows.
//! * Every call ends: with the answer, with the engine's refusal, or at its deadline.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker as Client};
use tokio::sync::Mutex;

use super::errors;
use crate::runtime::EngineError;

/// The API versions we speak. 1.41 is Docker 20.10. Do not raise the upper end unread: 1.52 drops
/// fields of inspected images, 1.53 deprecates the session that builds need.
const SPOKEN: RangeInclusive<Api> = Api(1, 41)..=Api(1, 51);

/// The client's own limit for an answer to begin; above every deadline of ours.
const CLIENT_TIMEOUT_SECS: u64 = 4 * 3600;

/// A version of the engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Api(u16, u16);

impl Api {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a call is, for its errors, and how long it may take.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The verb and object, e.g. `start container x`. Holds no secret.
    pub(super) what: String,
    /// The deadline of the whole call.
    pub(super) deadline: Duration,
}

impl Call {
    /// A call that only reads.
    pub(super) fn read(what: impl Into<String>) -> Self {
        Self::within(10, what)
    }

    /// A call that may take `secs` seconds.
    pub(super) fn within(secs: u64, what: impl Into<String>) -> Self {
        Self { what: what.into(), deadline: Duration::from_secs(secs) }
    }
}

/// One engine behind a socket.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: String,
    pinned: Mutex<Option<(Api, Client)>>,
}

impl Connection {
    /// A connection to `endpoint`, e.g. `unix:///var/run/docker.sock`; nothing is sent yet.
    pub(super) fn new(endpoint: &str) -> Result<Self, EngineError> {
        let is_socket = endpoint.strip_prefix("unix://").is_some_and(|path| path.starts_with('/'));
        if is_socket {
            Ok(Self { endpoint: endpoint.to_owned(), pinned: Mutex::new(None) })
        } else {
            Err(EngineError::Refused {
                what: format!("connect to `{}`", errors::line(endpoint)),
                reason: "only a local socket is spoken to, e.g. `unix:///var/run/docker.sock`"
                    .to_owned(),
            })
        }
    }

    /// The endpoint as configured.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The API version in use; negotiates if that has not happened yet.
    pub(super) async fn api(&self) -> Result<Api, EngineError> {
        let call = Call::read("negotiate the API version");
        tokio::time::timeout(call.deadline, self.pinned())
            .await
            .map_err(|_| errors::timed_out(&call))?
            .map(|(api, _)| api)
    }

    /// Does `call` by `run`, which may run twice: once more when the engine refuses the version.
    pub(super) async fn run<T, F, Fut>(&self, call: &Call, run: F) -> Result<T, EngineError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, bollard::errors::Error>>,
    {
        self.raw(call, run).await?.map_err(|error| errors::map(&error, call, &self.endpoint))
    }

    /// As [`Self::run`], but leaves the engine's refusal to the caller to read.
    pub(super) async fn raw<T, F, Fut>(
        &self,
        call: &Call,
        run: F,
    ) -> Result<Result<T, bollard::errors::Error>, EngineError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let attempt = async {
            let (api, client) = self.pinned().await?;
            match run(client).await {
                Err(error) if errors::is_version_refusal(&error) => {
                    self.forget(api).await;
                    let (_, client) = self.pinned().await?;
                    Ok(run(client).await)
                }
                result => Ok(result),
            }
        };
        tokio::time::timeout(call.deadline, attempt).await.map_err(|_| errors::timed_out(call))?
    }

    /// A client that speaks the negotiated version. The lock is held over the negotiation on
    /// purpose: callers that arrive meanwhile want the same answer.
    pub(super) async fn pinned(&self) -> Result<(Api, Client), EngineError> {
        let mut pinned = self.pinned.lock().await;
        if let Some((api, client)) = &*pinned {
            return Ok((*api, client.clone()));
        }
        let found = self.negotiate().await?;
        *pinned = Some(found.clone());
        Ok(found)
    }

    async fn forget(&self, refused: Api) {
        let mut pinned = self.pinned.lock().await;
        if pinned.as_ref().is_some_and(|(api, _)| *api == refused) {
            *pinned = None;
        }
    }

    async fn negotiate(&self) -> Result<(Api, Client), EngineError> {
        let call = Call::read("negotiate the API version");
        let open = |version: &ClientVersion| {
            Client::connect_with_unix(&self.endpoint, CLIENT_TIMEOUT_SECS, version)
                .map_err(|error| errors::map(&error, &call, &self.endpoint))
        };
        let version = open(API_DEFAULT_VERSION)?
            .version()
            .await
            .map_err(|error| errors::map(&error, &call, &self.endpoint))?;
        let newest = version.api_version.as_deref().and_then(Api::parse);
        let oldest = version.min_api_version.as_deref().and_then(Api::parse);
        let api = choose(newest, oldest)
            .map_err(|reason| EngineError::Refused { what: call.what.clone(), reason })?;
        let client = open(&ClientVersion {
            major_version: usize::from(api.0),
            minor_version: usize::from(api.1),
        })?;
        Ok((api, client.with_request_modifier(move |request| with_version(request, api))))
    }
}

/// The newest version that both sides speak.
fn choose(newest: Option<Api>, oldest: Option<Api>) -> Result<Api, String> {
    let newest = newest.ok_or("it does not say which API versions it speaks")?;
    let api = newest.min(*SPOKEN.end());
    if api < *SPOKEN.start() {
        return Err(format!(
            "it speaks API {newest} at most, we need {} (Docker 20.10 or newer)",
            SPOKEN.start()
        ));
    }
    match oldest {
        Some(oldest) if oldest > api => Err(format!(
            "it speaks API {oldest} at least, this flagops {} at most; update flagops",
            SPOKEN.end()
        )),
        _ => Ok(api),
    }
}

/// The first version that names the bound of a trimmed build cache as the client library does.
const RESERVED_SPACE: Api = Api(1, 48);

/// Puts the version into the path: the client library builds URLs without it.
fn with_version(mut request: BollardRequest, api: Api) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
    if path.starts_with("/v1.") {
        return request;
    }
    // An unknown name would be no bound at all, and all of the cache would go.
    let path = match path.strip_prefix("/build/prune") {
        Some(query) if api < RESERVED_SPACE => {
            format!("/build/prune{}", query.replace("reserved-space=", "keep-storage="))
        }
        _ => path.to_owned(),
    };
    parts.path_and_query = format!("/v{api}{path}").parse().ok();
    if let Ok(uri) = parts.try_into() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(newest: &str, oldest: &str) -> Result<String, String> {
        choose(Api::parse(newest), Api::parse(oldest)).map(|api| api.to_string())
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(check("1.41", "1.12").unwrap(), "1.41");
        assert_eq!(check("1.47", "1.24").unwrap(), "1.47");
        assert_eq!(check("1.53", "1.40").unwrap(), "1.51");
        assert_eq!(check("1.53", "").unwrap(), "1.51");
    }

    #[test]
    fn an_engine_out_of_range_says_which_side_to_update() {
        insta::assert_snapshot!(check("1.40", "1.12").unwrap_err(), @"it speaks API 1.40 at most, we need 1.41 (Docker 20.10 or newer)");
        insta::assert_snapshot!(check("1.60", "1.52").unwrap_err(), @"it speaks API 1.52 at least, this flagops 1.51 at most; update flagops");
        insta::assert_snapshot!(check("", "").unwrap_err(), @"it does not say which API versions it speaks");
    }

    #[test]
    fn only_a_local_socket_is_an_endpoint() {
        for endpoint in ["tcp://127.0.0.1:2375", "/var/run/docker.sock", "unix://docker.sock", ""] {
            assert!(Connection::new(endpoint).is_err(), "{endpoint}");
        }
        Connection::new("unix:///var/run/docker.sock").unwrap();
    }

    /// An engine that answers each request with the next of `answers`; returns the paths asked for.
    fn scripted(
        socket: &std::path::Path,
        answers: Vec<(&'static str, &'static str)>,
    ) -> std::thread::JoinHandle<Vec<String>> {
        use std::io::{BufRead as _, Write as _};
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            let mut paths = Vec::new();
            for (status, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = std::io::BufReader::new(&stream).lines();
                let request = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                paths.push(request.split(' ').nth(1).unwrap().to_owned());
                let size = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n");
                (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
            paths
        })
    }

    #[tokio::test]
    async fn the_bound_of_a_trimmed_cache_is_named_as_the_engine_knows_it() {
        for (version, wanted) in [
            (r#"{"ApiVersion":"1.41"}"#, "/v1.41/build/prune?keep-storage=7"),
            (r#"{"ApiVersion":"1.50"}"#, "/v1.50/build/prune?reserved-space=7"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("docker.sock");
            let pruned = r#"{"CachesDeleted":[],"SpaceReclaimed":0}"#;
            let engine = scripted(&socket, vec![("200 OK", version), ("200 OK", pruned)]);
            let endpoint = format!("unix://{}", socket.display());
            let installation = crate::runtime::suite::random_installation();
            let docker = super::super::Docker::connect(&endpoint, installation).unwrap();
            docker.trim_cache(7).await.unwrap();
            assert_eq!(engine.join().unwrap(), ["/version", wanted]);
        }
    }

    #[tokio::test]
    async fn an_engine_that_was_exchanged_under_us_is_negotiated_with_again() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let engine = scripted(
            &socket,
            vec![
                ("200 OK", r#"{"ApiVersion":"1.47","MinAPIVersion":"1.24"}"#),
                ("200 OK", r#"{"ServerVersion":"27"}"#),
                (
                    "400 Bad Request",
                    r#"{"message":"client version 1.47 is too new. Maximum supported API version is 1.41"}"#,
                ),
                ("200 OK", r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#),
                ("200 OK", r#"{"ServerVersion":"20.10"}"#),
            ],
        );
        let connection = Connection::new(&format!("unix://{}", socket.display())).unwrap();
        let mut versions = Vec::new();
        for _ in 0..2 {
            let info = connection
                .run(&Call::read("look"), |client| async move { client.info().await })
                .await
                .unwrap();
            versions.push(info.server_version.unwrap());
        }
        assert_eq!(versions, ["27", "20.10"]);
        assert_eq!(connection.api().await.unwrap(), Api(1, 41));
        let paths = engine.join().unwrap();
        assert_eq!(paths, ["/version", "/v1.47/info", "/v1.47/info", "/version", "/v1.41/info"]);
    }
}
