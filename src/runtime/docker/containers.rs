//! Containers: made once, adopted when a crash left them, started, stopped, removed, listed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::body_full;
use bollard::models::{
    ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum,
    HealthStatusEnum, HostConfig, NetworkConnectRequest, PortBinding, PortMap,
};
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions,
    StopContainerOptions, UploadToContainerOptions,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::connect::Call;
use super::{Docker, errors, names, profile};
use crate::model::compose::Transport;
use crate::model::{InstallationId, InstanceId};
use crate::planner::drift::LimitsSeen;
use crate::release::spec::{ContainerSpec, NetworkEnd, Published};
use crate::runtime::{ContainerSeen, ContainerState, EngineError, labels};

/// How many inspections of a listing run at once.
const INSPECTED_AT_ONCE: usize = 8;
/// Most that is kept of a container's output.
const LOG_BYTES: usize = 256 << 10;

impl Docker {
    pub(super) async fn make_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let name = names::object(&spec.name)?;
        let call = Call::within(30, format!("create container {name}"));
        let volumes = self.image_volumes(&spec.service.image).await?;
        let body = profile::container(&self.installation, spec, &volumes)
            .map_err(|reason| EngineError::Refused { what: call.what.clone(), reason })?;
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        let made = self
            .connection
            .raw(&call, |client| {
                let (body, options) = (body.clone(), options.clone());
                async move { client.create_container(Some(options), body).await }
            })
            .await?;
        let id = match made {
            Ok(made) => made.id,
            Err(error) if errors::status(&error) == Some(409) => self.adopt(spec).await?,
            Err(error) => {
                let error = errors::map(&error, &call, self.connection.endpoint());
                return Err(without_answers(error, &spec.answer_values));
            }
        };
        self.remember_own(&id);
        self.connect_missing(&id, &spec.more_networks).await?;
        Ok(id)
    }

    /// The container that holds the name already, if it is the one we want.
    async fn adopt(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let conflict = || EngineError::Conflict { what: format!("container `{}`", spec.name) };
        let found = self.inspect(&spec.name).await?.ok_or_else(conflict)?;
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        let is_same = labels::is_ours(&self.installation, labels)
            && labels::instance(labels) == Some(spec.instance)
            && labels::text(labels, labels::SPEC_HASH) == Some(spec.spec_hash.as_str())
            && labels::text(labels, labels::SERVICE) == Some(spec.service.name.as_str());
        if is_same { found.id.ok_or_else(conflict) } else { Err(conflict()) }
    }

    /// Connects further networks one by one: an engine before API 1.44 takes only one at creation.
    async fn connect_missing(&self, id: &str, ends: &[NetworkEnd]) -> Result<(), EngineError> {
        for end in ends {
            let network = names::object(&end.network)?;
            let call = Call::within(30, format!("connect container {id} to network {network}"));
            let request = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: Some(profile::endpoint(end)),
            };
            let connected = self
                .connection
                .raw(&call, |client| {
                    let request = request.clone();
                    async move { client.connect_network(network, request).await }
                })
                .await?;
            match connected {
                Ok(()) => (),
                // The repeat after a crash: the container sits on it already.
                Err(error) if errors::reason(&error).contains("already exists in network") => (),
                Err(error) => {
                    return Err(errors::map(&error, &call, self.connection.endpoint()));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn fill(
        &self,
        container: &str,
        dir: &str,
        tar: Bytes,
    ) -> Result<(), EngineError> {
        self.own_container(container).await?;
        let call = Call::within(60, format!("upload to container {container}"));
        let options = UploadToContainerOptions {
            path: dir.to_owned(),
            no_overwrite_dir_non_dir: Some("true".to_owned()),
            ..Default::default()
        };
        self.connection
            .run(&call, |client| {
                let (options, tar) = (options.clone(), tar.clone());
                async move {
                    client.upload_to_container(container, Some(options), body_full(tar)).await
                }
            })
            .await
    }

    pub(super) async fn start_container(&self, container: &str) -> Result<(), EngineError> {
        self.own_container(container).await?;
        let call = Call::within(60, format!("start container {container}"));
        let started = self
            .connection
            .raw(&call, |client| async move { client.start_container(container, None).await })
            .await?;
        let Err(error) = started else { return Ok(()) };
        let reason = errors::reason(&error);
        if errors::is_port_taken(&error) {
            return Err(EngineError::PortTaken {
                what: format!("container `{container}`"),
                reason,
            });
        }
        if reason.contains("marked for removal") {
            return Err(EngineError::NotFound { what: format!("container `{container}`") });
        }
        Err(errors::map(&error, &call, self.connection.endpoint()))
    }

    pub(super) async fn stop_container(
        &self,
        container: &str,
        grace: Duration,
    ) -> Result<(), EngineError> {
        match self.own_container(container).await {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            other => other?,
        }
        let secs = grace.as_millis().div_ceil(1000).min(3600);
        let secs = u32::try_from(secs).unwrap_or(3600);
        let call = Call::within(u64::from(secs) + 30, format!("stop container {container}"));
        let options =
            StopContainerOptions { t: Some(i32::try_from(secs).unwrap_or(3600)), signal: None };
        let stopped = self
            .connection
            .run(&call, |client| {
                let options = options.clone();
                async move { client.stop_container(container, Some(options)).await }
            })
            .await;
        absent_is_done(stopped)
    }

    pub(super) async fn drop_container(&self, container: &str) -> Result<(), EngineError> {
        match self.own_container(container).await {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            other => other?,
        }
        let call = Call::within(60, format!("remove container {container}"));
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self
            .connection
            .raw(&call, |client| {
                let options = options.clone();
                async move { client.remove_container(container, Some(options)).await }
            })
            .await?;
        self.forget_own(container);
        match removed {
            // Somebody (we, before a crash) is at it: wait until it is gone.
            Err(error) if errors::reason(&error).contains("already in progress") => {
                self.wait_gone(container, &call).await
            }
            Err(error) => {
                absent_is_done(Err(errors::map(&error, &call, self.connection.endpoint())))
            }
            Ok(()) => Ok(()),
        }
    }

    async fn wait_gone(&self, container: &str, call: &Call) -> Result<(), EngineError> {
        let gone = async {
            while self.inspect(container).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        tokio::time::timeout(call.deadline, gone).await.map_err(|_| errors::timed_out(call))?
    }

    pub(super) async fn seen_container(
        &self,
        container: &str,
    ) -> Result<Option<ContainerSeen>, EngineError> {
        let found = self.inspect(container).await?;
        Ok(found.and_then(|inspected| as_seen(&self.installation, inspected)))
    }

    pub(super) async fn seen_containers(
        &self,
        instance: Option<InstanceId>,
    ) -> Result<Vec<ContainerSeen>, EngineError> {
        let more: Vec<_> = instance.iter().map(|id| (labels::INSTANCE, id.to_string())).collect();
        let ids = self.container_ids(labels::KIND_INSTANCE, &more).await?;
        let found: Vec<_> = futures_util::stream::iter(ids)
            .map(|id| async move { self.seen_container(&id).await })
            .buffered(INSPECTED_AT_ONCE)
            .try_collect()
            .await?;
        // One that was removed since the listing is `None`.
        let mut seen: Vec<_> = found.into_iter().flatten().collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// Ids of our containers of `kind`, in any state.
    pub(super) async fn container_ids(
        &self,
        kind: &str,
        more: &[(&str, String)],
    ) -> Result<Vec<String>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(labels::filter(&self.installation, kind, more)),
            ..Default::default()
        };
        let listed = self
            .connection
            .run(&Call::read("list containers"), |client| {
                let options = options.clone();
                async move { client.list_containers(Some(options)).await }
            })
            .await?;
        Ok(listed.into_iter().filter_map(|container| container.id).collect())
    }

    pub(super) async fn read_logs(
        &self,
        container: &str,
        n_lines: u32,
    ) -> Result<String, EngineError> {
        self.own_container(container).await?;
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: n_lines.to_string(),
            ..Default::default()
        };
        let call = Call::read(format!("read the logs of container {container}"));
        let bytes = self
            .connection
            .run(&call, |client| {
                let options = options.clone();
                async move {
                    let mut chunks = client.logs(container, Some(options));
                    let mut tail = Tail::new(LOG_BYTES);
                    while let Some(chunk) = chunks.next().await {
                        tail.push(&chunk?.into_bytes());
                    }
                    Ok(tail.into_bytes())
                }
            })
            .await?;
        Ok(lossy(&bytes, LOG_BYTES))
    }

    /// What the engine knows of a container, whoever it belongs to.
    pub(super) async fn inspect(
        &self,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let container = names::object(container)?;
        let call = Call::read(format!("inspect container {container}"));
        let found = self
            .connection
            .run(&call, |client| async move { client.inspect_container(container, None).await })
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Succeeds when the container exists and is ours. A container's id never changes hands, so an
    /// id that was ours once needs no second look.
    pub(super) async fn own_container(&self, container: &str) -> Result<(), EngineError> {
        if self.is_known_own(container) {
            return Ok(());
        }
        let what = || format!("container `{container}`");
        let found =
            self.inspect(container).await?.ok_or_else(|| EngineError::NotFound { what: what() })?;
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        if !labels::is_ours(&self.installation, labels) {
            return Err(EngineError::NotOurs { what: what() });
        }
        if let Some(id) = &found.id {
            self.remember_own(id);
        }
        Ok(())
    }
}

/// The engine's answer in our words; `None` when it is not ours.
fn as_seen(
    installation: &InstallationId,
    found: ContainerInspectResponse,
) -> Option<ContainerSeen> {
    let config = found.config.unwrap_or_default();
    let labels = config.labels.as_ref();
    if !labels::is_ours(installation, labels) {
        return None;
    }
    let state = found.state.unwrap_or_default();
    let settings = found.network_settings.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let health = state.health.as_ref().and_then(|health| health.status);
    Some(ContainerSeen {
        id: found.id?,
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        instance: labels::instance(labels),
        service: labels::service(labels),
        spec_hash: labels::text(labels, labels::SPEC_HASH).unwrap_or_default().to_owned(),
        addresses: addresses(settings.networks.unwrap_or_default()),
        is_unhealthy: health == Some(HealthStatusEnum::UNHEALTHY),
        state: container_state(&state),
        limits: limits(&host),
        served: served(settings.ports.unwrap_or_default()),
        challenge: labels::challenge(labels),
        image: found.image.unwrap_or_default(),
        published: published(host.port_bindings.unwrap_or_default()),
        wishes: labels::networks(labels),
        provenance: labels::provenance(labels),
    })
}

fn absent_is_done(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// `error` with every answer struck out, should the engine ever quote what it was given.
fn without_answers(error: EngineError, answers: &[String]) -> EngineError {
    match error {
        EngineError::Refused { what, mut reason } => {
            for answer in answers.iter().filter(|answer| !answer.is_empty()) {
                reason = reason.replace(answer.as_str(), "…");
            }
            EngineError::Refused { what, reason }
        }
        other => other,
    }
}

/// Where ports are published, in the order of the ports inside. What we never write is left out.
fn published(bindings: PortMap) -> Vec<Published> {
    let mut published: Vec<_> = bindings
        .into_iter()
        .filter_map(|(inside, hosts)| {
            let (target, transport) = inside.split_once('/')?;
            let host = hosts?.into_iter().next()?;
            Some(Published {
                address: host.host_ip?.parse().ok()?,
                port: host.host_port?.parse().ok()?,
                target: target.parse().ok()?,
                transport: Transport::from_word(transport)?,
            })
        })
        .collect();
    published.sort_by_key(|it| (it.target, it.transport));
    published
}

fn addresses(
    networks: HashMap<String, bollard::models::EndpointSettings>,
) -> BTreeMap<String, Ipv4Addr> {
    let pairs = networks.into_values().filter_map(|end| {
        let address = end.ip_address?.parse().ok()?;
        Some((end.network_id?, address))
    });
    pairs.collect()
}

/// The limits that are in force. 0 is none: a kernel without that controller.
fn limits(config: &HostConfig) -> LimitsSeen {
    let positive = |it: Option<i64>| it.filter(|it| *it > 0).map(i64::unsigned_abs);
    LimitsSeen {
        memory_bytes: positive(config.memory),
        nano_cpus: positive(config.nano_cpus),
        pids: config.pids_limit.filter(|it| *it != 0),
    }
}

/// The host ports that are bound now.
fn served(ports: HashMap<String, Option<Vec<PortBinding>>>) -> BTreeSet<u16> {
    let bindings = ports.into_values().flatten().flatten();
    bindings.filter_map(|binding| binding.host_port?.parse().ok()).collect()
}

fn container_state(state: &EngineState) -> ContainerState {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited {
            code: state.exit_code.unwrap_or_default(),
            is_oom: state.oom_killed.unwrap_or_default(),
        },
        Some(other) => ContainerState::Other(other.to_string()),
        None => ContainerState::Other("unknown".to_owned()),
    }
}

/// Keeps the last bytes of a stream, without ever holding more than twice as many.
pub(super) struct Tail {
    bytes: Vec<u8>,
    limit: usize,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(&chunk[chunk.len().saturating_sub(self.limit)..]);
        if self.bytes.len() > 2 * self.limit {
            self.bytes.drain(..self.bytes.len() - self.limit);
        }
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.bytes.len().saturating_sub(self.limit));
        self.bytes
    }
}

/// Lossy text of at most `limit` bytes, the end kept: a replaced byte takes three.
pub(super) fn lossy(bytes: &[u8], limit: usize) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if text.len() > limit {
        let cut = (text.len() - limit..).find(|&at| text.is_char_boundary(at));
        text.drain(..cut.unwrap_or(text.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_whatever_the_chunks() {
        let mut tail = Tail::new(4);
        for chunk in ["abc", "", "defghijklmnop", "q", "rs"] {
            tail.push(chunk.as_bytes());
        }
        assert_eq!(tail.into_bytes(), b"pqrs");
    }

    #[test]
    fn lossy_text_keeps_its_bound_although_replacements_are_longer() {
        let text = lossy(&[0xff; 100], 100);
        assert!(text.len() <= 100 && text.chars().all(|c| c == '\u{fffd}'));
    }

    #[test]
    fn d13_labels_of_an_older_schema_are_no_difference() {
        let ours: InstallationId = "0123456789abcdef".parse().unwrap();
        let seen = |schema: Option<&str>| {
            let instance = InstanceId::new(uuid::Uuid::from_bytes([1; 16]));
            let mut found = labels::of_instance(&ours, labels::KIND_INSTANCE, instance);
            found.insert(labels::SPEC_HASH.to_owned(), "v1:00".to_owned());
            match schema {
                Some(schema) => found.insert("flagops.schema".to_owned(), schema.to_owned()),
                None => found.remove("flagops.schema"),
            };
            let config = bollard::models::ContainerConfig {
                labels: Some(found),
                ..bollard::models::ContainerConfig::default()
            };
            let inspected = ContainerInspectResponse {
                id: Some("c".to_owned()),
                config: Some(config),
                ..ContainerInspectResponse::default()
            };
            as_seen(&ours, inspected).expect("it is ours")
        };
        assert_eq!(seen(None), seen(Some("1")));
        assert_eq!(seen(Some("0")), seen(Some("1")));
    }

    #[test]
    fn limits_that_a_kernel_discarded_are_not_shown() {
        let seen = |memory, pids_limit| {
            limits(&HostConfig { memory, pids_limit, ..HostConfig::default() })
        };
        assert_eq!(seen(Some(0), Some(0)), LimitsSeen::default());
        assert_eq!(seen(Some(64), Some(-1)).memory_bytes, Some(64));
        assert_eq!(seen(None, Some(-1)).pids, Some(-1), "somebody lifted it");
    }

    #[test]
    fn an_answer_that_the_engine_quotes_is_struck_out() {
        let error = EngineError::Refused { what: "x".into(), reason: "bad A=FLAG{1}".into() };
        let shown = without_answers(error, &["FLAG{1}".to_owned(), String::new()]).to_string();
        assert_eq!(shown, "the container engine refused `x`: bad A=…");
    }
}
