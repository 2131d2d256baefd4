//! Builds one image, by BuildKit where the engine has it.
//!
//! BuildKit knows `RUN --mount` and `COPY --chmod`, and leaves no half-made images. The engine's
//! own frontend is used whatever `# syntax=` says (see [`super::syntax`]). When the session that
//! BuildKit needs cannot be made, the classic builder does it.
//!
//! # Invariants
//! * Dropping the future ends the build: the engine watches the connection.
//! * What the build prints reaches the log line by line, cut and counted.

use std::collections::HashMap;
use std::time::Duration;

use bollard::body_full;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bytes::Bytes;
use futures_util::StreamExt;

use super::build_log::{BuildLog, Phase, Vertex};
use super::connect::Call;
use super::{Docker, errors, names, syntax};
use crate::runtime::{
    BuildError, BuildNetwork, BuildRequest, EngineError, ImageSeen, LogSink, labels,
};

/// Memory of one `RUN` (the classic builder only; BuildKit has no such bound). Just below 2 GiB,
/// which no longer fits the field.
const MEMORY_BYTES: i32 = 2047 << 20;
/// CPU of one `RUN`: two cores (classic only), in microseconds per period of 100 ms.
const CPU_QUOTA: i32 = 200_000;

impl Docker {
    pub(super) async fn build_image(
        &self,
        request: BuildRequest,
        log: LogSink,
    ) -> Result<ImageSeen, BuildError> {
        let deadline = request.deadline;
        tokio::time::timeout(deadline, self.build_within(request, log))
            .await
            .map_err(|_| BuildError::TimedOut { secs: deadline.as_secs() })?
    }

    async fn build_within(
        &self,
        request: BuildRequest,
        log: LogSink,
    ) -> Result<ImageSeen, BuildError> {
        names::image(&request.tag)?;
        let context = syntax::with_own_frontend(&request.context, &request.dockerfile)
            .map_err(|message| BuildError::Failed { message })?;
        let mut log = BuildLog::new(log);
        if let Some(ignored) = context.ignored {
            log.line(&format!("ignored `{ignored}`: built with the engine's own frontend"));
        }
        let attempt = self.attempt(&request, &context.tar, Builder::BuildKit, &mut log).await;
        match attempt {
            Err(error) if is_buildkit_missing(&error) => {
                log.line("BuildKit is not available: building with the classic builder");
                self.attempt(&request, &context.tar, Builder::Classic, &mut log).await?;
            }
            other => other?,
        }
        let gone = || EngineError::NotFound { what: format!("image `{}`", request.tag) };
        let seen = self.seen_image(&request.tag).await?.ok_or_else(gone)?;
        if seen.build_key == Some(request.key) {
            Ok(seen)
        } else {
            // Somebody gave the tag to something else between the two calls.
            Err(EngineError::Conflict { what: format!("image `{}`", request.tag) }.into())
        }
    }

    pub(super) async fn attempt(
        &self,
        request: &BuildRequest,
        context: &Bytes,
        builder: Builder,
        log: &mut BuildLog,
    ) -> Result<(), BuildError> {
        let call = Call {
            what: format!("build image {}", request.tag),
            deadline: request.deadline.saturating_add(Duration::from_secs(5)),
        };
        // Negotiates now, so that an absent engine is said before the context is sent.
        let (_, client) = self.connection.pinned().await?;
        let options = self.options(request, builder);
        let mut steps = client.build_image(options, None, Some(body_full(context.clone())));
        let mut error = None;
        while let Some(step) = steps.next().await {
            match step {
                Ok(info) => feed(log, info),
                Err(refusal) => {
                    error = Some(refusal);
                    break;
                }
            }
        }
        drop(steps);
        log.finish();
        match error {
            None => Ok(()),
            Some(error) => Err(self.failure(&error, &call, log)),
        }
    }

    fn options(&self, request: &BuildRequest, builder: Builder) -> BuildImageOptions {
        let labels = labels::of_image(&self.installation, request);
        let network = match request.network {
            BuildNetwork::Default => "default",
            BuildNetwork::None => "none",
        };
        let options = BuildImageOptions {
            dockerfile: request.dockerfile.clone(),
            t: Some(request.tag.clone()),
            target: request.target.clone().unwrap_or_default(),
            buildargs: Some(arguments(request)),
            labels: Some(labels),
            networkmode: Some(network.to_owned()),
            rm: true,
            forcerm: true,
            ..BuildImageOptions::default()
        };
        match builder {
            Builder::BuildKit => BuildImageOptions {
                version: BuilderVersion::BuilderBuildKit,
                session: Some(uuid::Uuid::new_v4().to_string()),
                ..options
            },
            Builder::Classic => BuildImageOptions {
                version: BuilderVersion::BuilderV1,
                memory: Some(MEMORY_BYTES),
                memswap: Some(MEMORY_BYTES),
                cpuperiod: Some(100_000),
                cpuquota: Some(CPU_QUOTA),
                ..options
            },
        }
    }

    /// What a failed build means: the author's mistake, or something around it.
    fn failure(&self, error: &bollard::errors::Error, call: &Call, log: &BuildLog) -> BuildError {
        let reason = errors::reason(error);
        let is_verdict = match errors::status(error) {
            Some(status) => status < 500 || reason.contains("dockerfile"),
            None => matches!(error, bollard::errors::Error::DockerStreamError { .. }),
        };
        let mapped = errors::map(error, call, self.connection.endpoint());
        let is_cut_off = reason.contains("context canceled");
        match mapped {
            EngineError::DiskFull { .. } => mapped.into(),
            _ if is_verdict && is_cut_off => {
                EngineError::Unavailable { endpoint: self.connection.endpoint().to_owned(), reason }
                    .into()
            }
            _ if is_verdict && log.is_base_unreachable(&reason) => {
                EngineError::Registry { reference: log.failed_step().to_owned(), reason }.into()
            }
            _ if is_verdict => BuildError::Failed { message: log.verdict(&reason) },
            other => other.into(),
        }
    }
}

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builder {
    /// The engine's BuildKit, with its own frontend.
    BuildKit,
    /// The builder before it.
    Classic,
}

/// The build arguments, without those that steer the builder itself: `BUILDKIT_SYNTAX` names an
/// image to run in place of the engine's frontend.
fn arguments(request: &BuildRequest) -> HashMap<String, String> {
    let passed = request.args.iter().filter(|(name, _)| !name.starts_with("BUILDKIT_"));
    passed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether the engine has no BuildKit, as opposed to a build that failed.
fn is_buildkit_missing(error: &BuildError) -> bool {
    const WORDS: [&str; 5] = [
        "no active session",
        "buildkit not supported",
        "buildkit is not",
        "buildkit is currently disabled",
        "does not support session",
    ];
    let text = error.to_string().to_ascii_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

fn feed(log: &mut BuildLog, info: BuildInfo) {
    if let Some(stream) = info.stream {
        log.classic(&stream);
    }
    if let Some(status) = info.status {
        let id = info.id.as_deref().unwrap_or_default();
        // Progress bars repeat the same words hundreds of times.
        if info.progress_detail.is_none() {
            log.line(format!("{id} {status}").trim());
        }
    }
    if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
        for vertex in status.vertexes {
            let phase = match (vertex.cached, vertex.started) {
                (true, _) => Phase::Cached,
                (false, Some(_)) => Phase::Started,
                (false, None) => Phase::Waiting,
            };
            log.vertex(Vertex {
                digest: &vertex.digest,
                name: &vertex.name,
                phase,
                error: &vertex.error,
            });
        }
        for chunk in status.logs {
            log.chunk(&chunk.vertex, &chunk.msg);
        }
    }
}
