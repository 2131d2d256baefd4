//! Turns one service of a spec into what the engine is asked for: names, networks, ports.
//!
//! Names are deterministic, so that what a crash left behind is found again and a repeated create
//! is the same create.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

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
        hosts: Vec::new(),
        provenance: ground.provenance.clone(),
    })
}

/// `container` with an address of its own on each network, and with those of all others of its instance.
///
/// For what cannot ask the engine's resolver: that is a socket in the container's network namespace with
/// a rule of the packet filter before it, and gVisor has a network stack of its own that knows neither.
///
/// `subnets` are the networks by the engine's id. Addresses are given from the end of a subnet, because
/// the engine begins at its start where it chooses. One that is not in `subnets`, or too small, is left
/// to the engine.
pub fn with_addresses(
    container: ContainerSpec,
    of: &InstanceSpec,
    subnets: &BTreeMap<String, Ipv4Net>,
) -> ContainerSpec {
    let mut hosts = BTreeMap::new();
    let mut pin = |end: NetworkEnd| {
        let Some(subnet) = subnets.get(&end.network) else { return end };
        let on_it = of.services.iter().filter(|service| service.networks.contains_key(&end.wish));
        // The first address is the bridge's.
        let free: Vec<Ipv4Addr> = subnet.hosts().skip(1).collect();
        let mut address = None;
        for (service, its) in on_it.zip(free.into_iter().rev()) {
            if service.name == container.service.name {
                address = Some(its);
                continue;
            }
            for name in names_on(service, &end.wish) {
                hosts.entry(name).or_insert(its);
            }
        }
        NetworkEnd { address, ..end }
    };
    let network = pin(container.network);
    let more_networks = container.more_networks.into_iter().map(&mut pin).collect();
    ContainerSpec { network, more_networks, hosts: hosts.into_iter().collect(), ..container }
}

/// Under which names a service is found on a network: its own first.
fn names_on(service: &ServiceSpec, wish: &str) -> Vec<String> {
    let mut names = vec![service.name.to_string()];
    names.extend(service.networks.get(wish).into_iter().flatten().cloned());
    names.dedup();
    names
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
            let aliases = names_on(service, &wish.name);
            let network = observed.networks.get(&wish.name)?.clone();
            Some(NetworkEnd { wish: wish.name.clone(), network, aliases, address: None })
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

#[cfg(test)]
#[path = "container/tests.rs"]
mod tests;
