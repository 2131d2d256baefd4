//! Containers with addresses of their own.

use proptest::prelude::*;

use super::super::tests::{service, spec};
use super::*;

const NETWORKS: [&str; 2] = ["front", "back"];

/// An instance whose services are on these networks, a bit for each.
fn instance(services: &[u8]) -> InstanceSpec {
    let on = |bits: u8| {
        let is_on = |n: &usize| bits & (1 << n) != 0;
        let names = (0..NETWORKS.len()).filter(is_on).map(|n| NETWORKS[n].to_owned());
        names.map(|name| (name, vec![format!("also-{bits}")])).collect::<BTreeMap<_, _>>()
    };
    let services = services
        .iter()
        .enumerate()
        .map(|(n, &bits)| ServiceSpec { networks: on(bits), ..service(&format!("s{n}"), &[]) });
    let mut whole = spec(services.collect());
    whole.networks = NETWORKS
        .iter()
        .map(|name| crate::release::spec::NetworkWish {
            name: (*name).to_owned(),
            is_internal: *name == "back",
        })
        .collect();
    whole
}

/// The containers of `whole`, on a subnet of its own for each network.
fn containers(whole: &InstanceSpec, prefix: u8) -> Vec<ContainerSpec> {
    let subnets: BTreeMap<String, Ipv4Net> = NETWORKS
        .iter()
        .zip(0..)
        .map(|(name, n)| {
            let first = Ipv4Addr::new(10, 80, n, 0);
            (format!("id-{name}"), Ipv4Net::new(first, prefix).unwrap())
        })
        .collect();
    let networks = NETWORKS.iter().map(|name| ((*name).to_owned(), format!("id-{name}")));
    let observed = Observed { networks: networks.collect(), ..Observed::default() };
    let hash = crate::release::identity::spec_hash(whole, 0);
    let ground = Ground {
        installation: &"0123456789abcdef".parse().unwrap(),
        instance: InstanceId::new(uuid::Uuid::nil()),
        spec: whole,
        provenance: Provenance::for_tests(),
        spec_hash: &hash,
        surface: &[],
        publish_address: Ipv4Addr::LOCALHOST.into(),
        resolver: Ipv4Addr::LOCALHOST,
        disk_bytes: 1,
        answers: &BTreeMap::new(),
    };
    let of = |service| container_spec(&ground, service, &observed).unwrap();
    whole.services.iter().map(|it| with_addresses(of(it), whole, &subnets)).collect()
}

fn ends(container: &ContainerSpec) -> impl Iterator<Item = &NetworkEnd> {
    std::iter::once(&container.network).chain(&container.more_networks)
}

proptest! {
    #[test]
    fn each_has_addresses_of_its_own_and_finds_all_others_it_shares_a_network_with(
        services in prop::collection::vec(1_u8..4, 1..12),
    ) {
        let whole = instance(&services);
        let made = containers(&whole, 28);
        let mut taken = std::collections::BTreeSet::new();
        for end in made.iter().flat_map(ends) {
            let address = end.address.unwrap();
            prop_assert!(taken.insert(address), "{} is given twice", address);
            // Neither the network itself, nor the bridge, nor everybody.
            prop_assert!((2..15).contains(&address.octets()[3]), "{}", address);
            prop_assert_eq!(address.octets()[2], u8::from(end.wish == "back"));
        }
        for one in &made {
            for other in made.iter().filter(|it| it.service.name != one.service.name) {
                let theirs: Vec<_> = ends(other).map(|end| (&end.wish, end.address)).collect();
                let shared: Vec<_> = ends(one)
                    .filter_map(|end| theirs.iter().find(|it| *it.0 == end.wish)?.1)
                    .collect();
                let found = one.hosts.iter().find(|(name, _)| *name == other.service.name.as_str());
                match found {
                    Some((_, address)) => prop_assert!(shared.contains(address)),
                    None => prop_assert!(shared.is_empty(), "{:?}", one.hosts),
                }
            }
            let own = one.service.name.as_str();
            prop_assert!(one.hosts.iter().all(|(name, _)| name != own), "the engine writes that");
        }
    }
}

#[test]
fn names_beside_that_of_a_service_are_found_and_what_does_not_fit_is_left_to_the_engine() {
    let made = containers(&instance(&[1, 3]), 30);
    assert_eq!(made[0].network.address, Some(Ipv4Addr::new(10, 80, 0, 2)));
    // A network of four addresses has room for one beside the bridge.
    assert_eq!((made[1].network.address, made[0].hosts.len()), (None, 0));
    let made = containers(&instance(&[1, 3]), 29);
    let hosts: Vec<_> = made[0].hosts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(hosts, ["also-3", "s1"]);
}
