//! The one shape in which a container is asked for: the hardened profile.
//!
//! In:  a [`ContainerSpec`] and the volumes its image declares.
//! Out: the body of the engine's create call. Pure.
//!
//! # Invariants
//! * There is no code here for `privileged`, host namespaces or binds, so nobody can ask. The only
//!   device is the tunnel of our own gateway.
//! * No capability but the listed ones, no new privileges, no unlimited resource, no system call that is
//!   not in the table of `seccomp`.
//! * Only the ports of the spec are published, each on the address the spec names.
//! * Every volume path of the image is covered: an anonymous volume would write to the host's disk
//!   without a bound, even below a read-only root (E14).
//! * Names outside the instance are not resolved, unless the spec names who is asked.
//! * Answers are in the environment only where the spec has `answer_environment`.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::model::compose::{HealthTest, Healthcheck};
use crate::model::{ContainerRuntime, Hardening, InstallationId};
use crate::release::spec::{ContainerSpec, NetworkEnd, Profile};
use crate::render::vpn::GATEWAY_DIR;
use crate::runtime::labels;

use super::seccomp;

/// Where minted answers are files.
pub(super) const ANSWERS: &str = "/answers";

/// Options of `/tmp`: anybody writes, programs may run from it.
const TMP: &str = "rw,nosuid,nodev,exec,mode=1777,size=67108864";
/// The same, and nothing runs from it.
const STRICT_TMP: &str = "rw,nosuid,nodev,noexec,mode=1777,size=67108864";
/// Options of `/run` in a gateway: the socket that it is asked through.
const RUN: &str = "rw,nosuid,nodev,noexec,mode=0755,size=1048576";
/// Options of the memory that covers a volume path of the image.
const COVER: &str = "nosuid,nodev,mode=1777,size=67108864";

/// The body of the create call for `spec`, whose image declares `image_volumes`.
///
/// # Errors
/// Names the volume that has no engine name in the spec.
pub(super) fn container(
    installation: &InstallationId,
    spec: &ContainerSpec,
    image_volumes: &[String],
) -> Result<ContainerCreateBody, String> {
    let service = &spec.service;
    let tmpfs = tmpfs(spec);
    let mut mounts = mounts(installation, spec)?;
    mounts.extend(covers(installation, spec, image_volumes, &tmpfs));
    Ok(ContainerCreateBody {
        image: Some(service.image.clone()),
        cmd: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        env: Some(environment(spec)),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        hostname: service.hostname.clone(),
        labels: Some(labels::of_container(installation, spec)),
        exposed_ports: Some(ports(spec).map(|(port, _)| port).collect()),
        healthcheck: service.healthcheck.as_ref().map(healthcheck),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: Some(i64::from(service.stop_grace_millis.div_ceil(1000))),
        host_config: Some(host_config(spec, mounts, tmpfs)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(
                spec.network.network.clone(),
                endpoint(&spec.network),
            )])),
        }),
        ..ContainerCreateBody::default()
    })
}

/// A container's end of a network.
pub(super) fn endpoint(end: &NetworkEnd) -> EndpointSettings {
    EndpointSettings {
        aliases: Some(end.aliases.clone()),
        ipam_config: end.address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}

fn host_config(
    spec: &ContainerSpec,
    mounts: Vec<Mount>,
    tmpfs: HashMap<String, String>,
) -> HostConfig {
    let service = &spec.service;
    let limits = &service.limits;
    let memory = clamp(limits.memory_bytes);
    let is_gateway = service.profile == Profile::Gateway;
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(service.capabilities.clone()),
        privileged: Some(false),
        security_opt: Some(vec![
            "no-new-privileges:true".to_owned(),
            format!("seccomp={}", seccomp::profile(service.profile)),
        ]),
        readonly_rootfs: Some(service.is_read_only),
        tmpfs: Some(tmpfs),
        mounts: Some(mounts),
        memory: Some(memory),
        // Equal to `memory`: no swap at all.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
        pids_limit: Some(i64::from(limits.pids)),
        shm_size: Some(clamp(limits.shm_bytes)),
        oom_score_adj: Some(500),
        oom_kill_disable: Some(false),
        ulimits: Some(vec![
            ulimit("nofile", i64::from(limits.nofile.0), i64::from(limits.nofile.1)),
            ulimit("core", 0, 0),
            ulimit("memlock", 65536, 65536),
            // No file outgrows what the whole instance may keep, `/etc/hosts` neither (E14).
            ulimit("fsize", clamp(spec.disk_bytes), clamp(spec.disk_bytes)),
        ]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "1m".to_owned()),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        // We restart, with a bound; an engine that restarts behind our back hides crash loops.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        runtime: match spec.demands.runtime {
            // A tunnel needs the kernel of the machine.
            _ if is_gateway => None,
            ContainerRuntime::Default => None,
            runtime @ ContainerRuntime::Runsc => Some(runtime.to_string()),
        },
        init: Some(true),
        ipc_mode: Some("private".to_owned()),
        // Names of the instance come from the engine's resolver. For all others it is pointed at the
        // container itself, where nobody answers: the host must not look them up, for that would be
        // a way out (E10). The engine stays mute then, so the waiting is cut short. Where there is a
        // way out, it asks a public server, from the container's own network.
        dns: Some(vec![spec.resolver.unwrap_or(Ipv4Addr::LOCALHOST).to_string()]),
        extra_hosts: (!spec.hosts.is_empty()).then(|| extra_hosts(&spec.hosts)),
        dns_options: Some(vec!["timeout:1".to_owned(), "attempts:2".to_owned()]),
        network_mode: Some(spec.network.network.clone()),
        devices: is_gateway.then(|| vec![tunnel()]),
        sysctls: is_gateway
            .then(|| HashMap::from([("net.ipv4.ip_forward".to_owned(), "1".to_owned())])),
        publish_all_ports: Some(false),
        port_bindings: Some(ports(spec).map(|(port, binding)| (port, Some(binding))).collect()),
        ..HostConfig::default()
    }
}

fn extra_hosts(hosts: &[(String, Ipv4Addr)]) -> Vec<String> {
    hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()
}

/// The device that a tunnel is made with.
fn tunnel() -> DeviceMapping {
    let path = || Some("/dev/net/tun".to_owned());
    DeviceMapping {
        path_on_host: path(),
        path_in_container: path(),
        cgroup_permissions: Some("rw".to_owned()),
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn ulimit(name: &str, soft: i64, hard: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) }
}

/// The literal variables, then the answers of the rotator.
fn environment(spec: &ContainerSpec) -> Vec<String> {
    let service = &spec.service;
    let literal = service.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let answers = service.answer_environment.iter().zip(&spec.answer_values);
    literal.chain(answers.map(|(variable, value)| format!("{}={value}", variable.name))).collect()
}

/// Every published port with its bindings. A port may be bound on several host addresses.
fn ports(spec: &ContainerSpec) -> impl Iterator<Item = (String, Vec<PortBinding>)> {
    let mut by_port = std::collections::BTreeMap::<_, Vec<_>>::new();
    for published in &spec.published {
        let port = format!("{}/{}", published.target, published.transport);
        by_port.entry(port).or_default().push(PortBinding {
            host_ip: Some(published.address.to_string()),
            host_port: Some(published.port.to_string()),
        });
    }
    by_port.into_iter()
}

fn mounts(installation: &InstallationId, spec: &ContainerSpec) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for wish in &spec.service.volumes {
        let source = match &wish.source {
            None => None,
            Some(name) => Some(
                spec.volume_names
                    .get(name)
                    .ok_or_else(|| format!("volume {name} has no engine name"))?
                    .clone(),
            ),
        };
        let kind = if source.is_some() { labels::KIND_VOLUME } else { labels::KIND_UNNAMED };
        mounts.push(Mount {
            target: Some(wish.target.clone()),
            source,
            typ: Some(MountType::VOLUME),
            read_only: Some(wish.is_read_only),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels::of_instance(installation, kind, spec.instance)),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        });
    }
    if spec.has_answers {
        // A volume is the only mount that takes an upload below a read-only root.
        mounts.push(unnamed(installation, spec, ANSWERS.to_owned(), None));
    }
    if spec.service.profile == Profile::Gateway {
        mounts.push(unnamed(installation, spec, GATEWAY_DIR.to_owned(), None));
    }
    Ok(mounts)
}

/// An empty volume without a name, removed with its container.
fn unnamed(
    installation: &InstallationId,
    spec: &ContainerSpec,
    target: String,
    driver_config: Option<MountVolumeOptionsDriverConfig>,
) -> Mount {
    let labels = labels::of_instance(installation, labels::KIND_UNNAMED, spec.instance);
    Mount {
        target: Some(target),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels),
            driver_config,
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// What the author asked for, and `/tmp` unless something else is mounted there.
fn tmpfs(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut tmpfs = HashMap::new();
    for wish in &spec.service.tmpfs {
        let options = format!("rw,nosuid,nodev,noexec,mode=1777,size={}", wish.size_bytes);
        tmpfs.insert(clean(&wish.target), options);
    }
    if spec.service.profile == Profile::Gateway {
        tmpfs.insert("/run".to_owned(), RUN.to_owned());
    }
    if !mounted(spec).contains("/tmp") {
        let options = match spec.demands.profile {
            Hardening::Default => TMP,
            Hardening::Strict => STRICT_TMP,
        };
        tmpfs.entry("/tmp".to_owned()).or_insert_with(|| options.to_owned());
    }
    tmpfs
}

/// Memory over each volume path of the image on which nothing else is mounted.
///
/// Not `Tmpfs`: runc gives such a mount the mode of the image's folder, owned by root, and then a
/// service that is not root cannot write there. An unnamed volume kept in memory has our mode.
fn covers(
    installation: &InstallationId,
    spec: &ContainerSpec,
    image_volumes: &[String],
    tmpfs: &HashMap<String, String>,
) -> Vec<Mount> {
    let mounted = mounted(spec);
    let paths: BTreeSet<_> = image_volumes.iter().map(|path| clean(path)).collect();
    let open = paths
        .into_iter()
        .filter(|path| path != "/" && !mounted.contains(path) && !tmpfs.contains_key(path));
    let options = ["type", "device"].map(|key| (key.to_owned(), "tmpfs".to_owned()));
    let options = options.into_iter().chain([("o".to_owned(), COVER.to_owned())]);
    let driver = MountVolumeOptionsDriverConfig {
        name: Some("local".to_owned()),
        options: Some(options.collect()),
    };
    open.map(|path| unnamed(installation, spec, path, Some(driver.clone()))).collect()
}

/// Where volumes are mounted.
fn mounted(spec: &ContainerSpec) -> BTreeSet<String> {
    let volumes = spec.service.volumes.iter().map(|volume| clean(&volume.target));
    volumes.chain(spec.has_answers.then(|| ANSWERS.to_owned())).collect()
}

/// An absolute path in its shortest spelling, as the engine compares them.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn healthcheck(healthcheck: &Healthcheck) -> HealthConfig {
    let nanos = |millis: u32| Some(i64::from(millis) * 1_000_000);
    match healthcheck {
        Healthcheck::Disabled => {
            HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }
        }
        Healthcheck::Command {
            test,
            interval_millis,
            timeout_millis,
            retries,
            start_period_millis,
        } => HealthConfig {
            test: Some(test_words(test)),
            interval: nanos(*interval_millis),
            timeout: nanos(*timeout_millis),
            retries: Some(i64::from(*retries)),
            start_period: nanos(*start_period_millis),
            // Docker 25 has it, 20.10 does not. We probe ourselves, so nobody waits for it.
            start_interval: None,
        },
    }
}

fn test_words(test: &HealthTest) -> Vec<String> {
    match test {
        HealthTest::Exec(words) => {
            std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
        }
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
