//! Turns one service of a spec into what the engine is asked for: names, networks, ports.
//!
//! Names are deterministic, so that what a crash left behind is found again and a repeated create
//! is the same create.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Observed;
use crate::model::{
    Egress, Endpoint, InstallationId, InstanceId, Provenance, ServiceName, SpecHash,
};
use crate::release::spec::{ContainerSpec, InstanceSpec, NetworkEnd, Published, ServiceSpec};

/// What all containers of one instance share.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Ours.
    pub installation: &'a InstallationId,
    /// The instance.
    pub instance: InstanceId,
    /// What it was started from.
    pub spec: &'a InstanceSpec,
    /// Where it comes from, and which incarnation its containers and volumes are of.
    pub provenance: Provenance,
    /// The hash of `spec` in that incarnation.
    pub spec_hash: &'a SpecHash,
    /// Where its ports are published: the endpoints with their allocated host ports.
    pub surface: &'a [Endpoint],
    /// The host address ports are bound to, but those behind the ingress.
    pub publish_address: IpAddr,
    /// The name server of instances that may reach the internet.
    pub resolver: Ipv4Addr,
    /// Most bytes that the instance may keep on the disk.
    pub disk_bytes: u64,
    /// Minted answers by question. Secret.
    pub answers: &'a BTreeMap<String, String>,
}

/// The name of a container: `fo-<installation8>-<instance>-<service>`.
pub fn container_name(
    installation: &InstallationId,
    instance: InstanceId,
    service: &ServiceName,
) -> String {
    format!("fo-{}-{instance}-{service}", installation.short())
}

/// The name of a volume: `fo-<installation8>-<instance>-v-<volume>`, and `…-v1-<volume>` after the
/// first reset: an incarnation never meets what an earlier one wrote.
pub fn volume_name(
    installation: &InstallationId,
    instance: InstanceId,
    n_resets: u32,
    volume: &str,
) -> String {
    let incarnation = if n_resets == 0 { String::new() } else { n_resets.to_string() };
    format!("fo-{}-{instance}-v{incarnation}-{volume}", installation.short())
}

/// What the engine is asked for to make the container of `service`.
///
/// `None` when a network it needs is not in `observed`: then nothing was planned either.
pub fn container_spec(
    ground: &Ground<'_>,
    service: &ServiceSpec,
    observed: &Observed,
) -> Option<ContainerSpec> {
    let mut ends = network_ends(ground.spec, service, observed)?.into_iter();
    let network = ends.next()?;
    let volume_names = service
        .volumes
        .iter()
        .filter_map(|mount| mount.source.as_ref())
        .map(|name| {
            let (ours, id) = (ground.installation, ground.instance);
            (name.clone(), volume_name(ours, id, ground.provenance.n_resets, name))
        })
        .collect();
    Some(ContainerSpec {
        name: container_name(ground.installation, ground.instance, &service.name),
        instance: ground.instance,
        service: service.clone(),
        challenge: ground.spec.challenge.clone(),
        spec_hash: ground.spec_hash.to_string(),
        network,
        more_networks: ends.collect(),
        volume_names,
        published: published(ground, service),
        answer_values: answer_values(ground, service),
        has_answers: !service.answer_ids(ground.spec).is_empty(),
        demands: ground.spec.demands,
        disk_bytes: ground.disk_bytes,
        resolver: match ground.spec.demands.egress {
            Egress::None => None,
            Egress::Internet => Some(ground.resolver),
        },
        provenance: ground.provenance.clone(),
    })
}

/// Its ends on networks; first one that is not internal, which can publish ports.
fn network_ends(
    spec: &InstanceSpec,
    service: &ServiceSpec,
    observed: &Observed,
) -> Option<Vec<NetworkEnd>> {
    let mut wishes: Vec<_> =
        spec.networks.iter().filter(|wish| service.networks.contains_key(&wish.name)).collect();
    wishes.sort_by_key(|wish| wish.is_internal);
    wishes
        .into_iter()
        .map(|wish| {
            let mut aliases = vec![service.name.to_string()];
            aliases.extend(service.networks[&wish.name].iter().cloned());
            aliases.dedup();
            let network = observed.networks.get(&wish.name)?.clone();
            Some(NetworkEnd { wish: wish.name.clone(), network, aliases })
        })
        .collect()
}

fn published(ground: &Ground<'_>, service: &ServiceSpec) -> Vec<Published> {
    service
        .ports
        .iter()
        .filter_map(|port| {
            let endpoint = ground.surface.iter().find(|endpoint| {
                endpoint.service == service.name
                    && endpoint.target == port.target
                    && endpoint.transport == port.transport
            })?;
            Some(Published {
                // Only the ingress of this node may reach what is behind it.
                address: match endpoint.door {
                    Some(_) => Ipv4Addr::LOCALHOST.into(),
                    None => ground.publish_address,
                },
                port: endpoint.port,
                target: port.target,
                transport: port.transport,
            })
        })
        .collect()
}

fn answer_values(ground: &Ground<'_>, service: &ServiceSpec) -> Vec<String> {
    service
        .answer_environment
        .iter()
        .map(|variable| ground.answers.get(&variable.question).cloned().unwrap_or_default())
        .collect()
}
