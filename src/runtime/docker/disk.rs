//! The disk of the engine, and its build cache.
//!
//! The cache belongs to the whole engine and bears no label; whether it may be trimmed is the
//! operator's word (`[gc]`), not decided here.

use std::path::PathBuf;

use bollard::query_parameters::PruneBuildOptions;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::connect::Call;
use super::{Docker, errors};
use crate::model::Disk;
use crate::runtime::EngineError;

/// Adding up the sizes of everything takes the engine seconds, on a slow disk more.
const USAGE_SECS: u64 = 60;
/// Removing twenty gibibytes of small files does as well.
const TRIM_SECS: u64 = 600;
/// Largest answer that is read; a thousand records have 500 KiB.
const LIMIT_BYTES: usize = 64 << 20;

impl Docker {
    /// The file system of the engine's root, when that folder is on this machine.
    pub(super) async fn root_disk(&self) -> Result<Option<Disk>, EngineError> {
        let call = Call::read("read where its data is");
        let info = self.connection.run(&call, |client| async move { client.info().await }).await?;
        let Some(root) = info.docker_root_dir.filter(|root| root.starts_with('/')) else {
            return Ok(None);
        };
        // A network file system that hangs holds one blocking thread, and not this call.
        let look = tokio::task::spawn_blocking(move || rustix::fs::statvfs(PathBuf::from(root)));
        let looked = tokio::time::timeout(call.deadline, look)
            .await
            .map_err(|_| errors::timed_out(&call))?;
        // The engine runs elsewhere, or we may not look: then nobody knows.
        let Ok(Ok(stat)) = looked else { return Ok(None) };
        let bytes = |n_blocks: u64| n_blocks.saturating_mul(stat.f_frsize);
        let used_bytes = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
        let capacity_bytes = used_bytes.saturating_add(bytes(stat.f_bavail));
        Ok((capacity_bytes > 0).then_some(Disk { capacity_bytes, used_bytes }))
    }

    /// What the records of the cache have that no image shares.
    pub(super) async fn cache_size(&self) -> Result<u64, EngineError> {
        let call = Call::within(USAGE_SECS, "add up the build cache");
        let api = self.connection.api().await?;
        // Before API 1.42 the filter is ignored.
        let path = format!("/v{api}/system/df?type=build-cache");
        let body = tokio::time::timeout(call.deadline, self.get(&path, &call))
            .await
            .map_err(|_| errors::timed_out(&call))??;
        cache_bytes(&body).map_err(|reason| EngineError::Refused { what: call.what, reason })
    }

    /// Removes the longest unused records until at most `keep_bytes` are left.
    pub(super) async fn trim_cache(&self, keep_bytes: u64) -> Result<u64, EngineError> {
        let call = Call::within(TRIM_SECS, "trim the build cache");
        let reserved_space = Some(i64::try_from(keep_bytes).unwrap_or(i64::MAX));
        let pruned = self
            .connection
            .run(&call, |client| async move {
                let options = PruneBuildOptions { reserved_space, ..Default::default() };
                client.prune_build(Some(options)).await
            })
            .await?;
        Ok(pruned.space_reclaimed.and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
    }

    /// The body of one answer. The client library reads the newest shape of this answer only, in
    /// which older engines do not speak.
    async fn get(&self, path: &str, call: &Call) -> Result<Bytes, EngineError> {
        let endpoint = self.connection.endpoint();
        let away = |error: &dyn std::error::Error| EngineError::Unavailable {
            endpoint: endpoint.to_owned(),
            reason: errors::line(&error.to_string()),
        };
        let socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        let stream = UnixStream::connect(socket).await.map_err(|error| away(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| away(&error))?;
        let request = Request::get(path)
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| away(&error))?;
        let ask = async {
            let answer = sender.send_request(request).await.map_err(|error| away(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LIMIT_BYTES).collect().await;
            let body = body.map_err(|error| away(error.as_ref()))?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let reason = errors::line(&String::from_utf8_lossy(&body));
            Err(EngineError::Refused { what: call.what.clone(), reason })
        };
        // The connection must be driven while we ask; how it ends does not matter to us.
        let (body, _) = tokio::join!(ask, connection);
        body
    }
}

/// As far as we read it; API 1.41 to 1.51.
#[derive(Deserialize)]
struct Usage {
    #[serde(rename = "BuildCache")]
    records: Option<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    size: i64,
    /// Its layers are those of an image, and stay with it.
    #[serde(default)]
    shared: bool,
}

fn cache_bytes(body: &[u8]) -> Result<u64, String> {
    let usage: Usage = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let own = usage.records.into_iter().flatten().filter(|record| !record.shared);
    Ok(own.map(|record| u64::try_from(record.size).unwrap_or_default()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_what_no_image_shares() {
        let body = br#"{"LayersSize": 9, "Images": [], "BuildCache": [
            {"ID": "a", "InUse": false, "Shared": false, "Size": 100},
            {"ID": "b", "InUse": true, "Shared": false, "Size": 20},
            {"ID": "c", "InUse": false, "Shared": true, "Size": 3000}], "BuilderSize": 120}"#;
        assert_eq!(cache_bytes(body), Ok(120));
        assert_eq!(cache_bytes(br#"{"BuildCache": null}"#), Ok(0));
        assert!(cache_bytes(b"[]").is_err(), "what cannot be read is not an empty cache");
    }
}
