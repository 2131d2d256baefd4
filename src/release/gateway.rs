//! The VPN gateway of an engagement as a service: ours, whatever the author wrote.
//!
//! Of the author's service only its networks are kept, which are what players reach, and what it waits
//! for. A service that players are to find by way of another one is on a network that the gateway is
//! not on.

use std::collections::BTreeMap;

use super::spec::{InstanceSpec, NetworkWish, PortSpec, Profile, ServiceSpec, networks_of};
use crate::model::compose::{
    AnswerFiles, DependsCondition, HealthTest, Healthcheck, Limits, Restart, Service, Transport,
};
use crate::model::{Demands, EndpointKind, IdError, ServiceName, VpnProtocol};
use crate::render::vpn::{GATEWAY_PORT, PROGRAM};

/// The network between the host and the gateway, which its port is published on. Nothing else is on
/// it. Not a name that an author can write.
pub const EDGE_NETWORK: &str = "_edge";

/// What hubs are filed under, in place of a challenge.
pub const HUB: &str = "vpn-hub";

/// To make the tunnel and the packet filter, and to become nobody after that.
const CAPABILITIES: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "NET_ADMIN", "SETGID", "SETUID"];

/// What `contract/security.md` §3.2 gives it.
const LIMITS: Limits = Limits {
    memory_bytes: 128 << 20,
    cpu_millis: 500,
    pids: 64,
    shm_bytes: 1 << 20,
    nofile: (1024, 1024),
};

/// The gateway in place of the author's `service`.
pub(super) fn spec(service: &Service, image: &str) -> ServiceSpec {
    let depends_on = service.depends_on.clone();
    gateway(service.name.clone(), networks_of(service), depends_on, image)
}

/// The hub of a team: a gateway that nothing is behind when it is made. Networks of instances come and
/// go while it runs.
///
/// # Errors
/// Never: its names are ours.
pub fn hub_spec(image: &str, vpn: VpnProtocol) -> Result<InstanceSpec, IdError> {
    Ok(InstanceSpec {
        schema: 1,
        challenge: HUB.parse()?,
        services: vec![gateway("openvpn".parse()?, BTreeMap::new(), BTreeMap::new(), image)],
        networks: vec![NetworkWish { name: EDGE_NETWORK.to_owned(), is_internal: false }],
        volumes: Vec::new(),
        answers: BTreeMap::new(),
        demands: Demands::default(),
        templates: Vec::new(),
        exports: Vec::new(),
        vpn,
    })
}

fn gateway(
    name: ServiceName,
    mut networks: BTreeMap<String, Vec<String>>,
    depends_on: BTreeMap<ServiceName, DependsCondition>,
    image: &str,
) -> ServiceSpec {
    networks.insert(EDGE_NETWORK.to_owned(), Vec::new());
    ServiceSpec {
        name,
        image: image.to_owned(),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        answer_environment: Vec::new(),
        answers: AnswerFiles::Only(Vec::new()),
        ports: vec![PortSpec {
            target: GATEWAY_PORT,
            transport: Transport::Udp,
            kind: EndpointKind::Vpn,
            is_hidden: false,
        }],
        depends_on,
        healthcheck: Some(Healthcheck::Command {
            test: HealthTest::Exec(vec![PROGRAM.to_owned(), "ready".to_owned()]),
            interval_millis: 30_000,
            timeout_millis: 5_000,
            retries: 3,
            start_period_millis: 5_000,
        }),
        networks,
        volumes: Vec::new(),
        tmpfs: Vec::new(),
        limits: LIMITS,
        user: None,
        working_dir: None,
        hostname: None,
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        is_read_only: true,
        stop_signal: None,
        stop_grace_millis: 0,
        restart: Restart::OnFailure,
        profile: Profile::Gateway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{self, Policy};
    use crate::model::MemoryTree;
    use crate::model::compose::ImageSource;
    use crate::release::identity::{build_units, spec_hash};
    use crate::release::spec::{InstanceSpec, instance_spec};

    const METADATA: &str = "name: Lab\ndescription: Get in.\ndifficulty: easy\ncategory: web\ntags: [t]\nnetwork_topology: engagement\n";
    /// An author who wants more than a gateway.
    const COMPOSE: &str = "\
services:
  openvpn:
    image: ctfy/openvpn-base:1
    command: [sh, -c, evil]
    entrypoint: [evil]
    environment: {EVIL: '1'}
    volumes: ['data:/data']
    cap_add: [NET_ADMIN]
    devices: ['/dev/net/tun:/dev/net/tun']
    ports: ['1194/udp', '22:22']
    networks: [office]
    user: '0'
    deploy: &d {resources: {limits: {cpus: 0.5, memory: 64m}}}
  intranet: {image: 'base:1', ports: [8080], networks: [office, back], deploy: *d}
  vault: {image: 'base:1', ports: [5432], networks: [back], x-answers: [flag], deploy: *d}
volumes: {data: }
networks: {office: , back: }
";

    fn lab() -> InstanceSpec {
        let tree = MemoryTree::new()
            .with("NET/LAB-001/metadata.yaml", METADATA)
            .with("NET/LAB-001/docker-compose.yml", COMPOSE);
        let folder = catalog::load_one(&tree, "NET/LAB-001", &Policy::default()).unwrap();
        let challenge = folder.challenge.unwrap_or_else(|| panic!("{:?}", folder.findings));
        let units = build_units(&challenge);
        assert_eq!(units[0].source, ImageSource::Gateway, "nobody builds or pulls the author's");
        let images = units.iter().map(|it| (it.service.clone(), format!("sha256:{}", it.key)));
        instance_spec(&challenge, &images.collect()).unwrap()
    }

    #[test]
    fn of_the_authors_gateway_nothing_is_left_but_its_networks() {
        let spec = lab();
        let gateway = spec.gateway().unwrap();
        assert_eq!((&gateway.command, &gateway.entrypoint, &gateway.user), (&None, &None, &None));
        assert!(gateway.environment.is_empty() && gateway.volumes.is_empty());
        assert_eq!(gateway.answer_ids(&spec), [""; 0], "it has no answers");
        assert!(gateway.is_read_only && gateway.is_filled(&spec));
        let ports: Vec<_> = gateway.ports.iter().map(|it| (it.target, it.transport)).collect();
        assert_eq!(ports, [(1194, Transport::Udp)]);
        assert_eq!(gateway.networks.keys().collect::<Vec<_>>(), [EDGE_NETWORK, "office"]);
    }

    #[test]
    fn nothing_but_the_gateways_own_end_leads_out_and_nothing_else_is_published() {
        let spec = lab();
        for wish in &spec.networks {
            assert_eq!(wish.is_internal, wish.name != EDGE_NETWORK, "{}", wish.name);
        }
        for service in spec.services.iter().filter(|it| it.profile == Profile::Default) {
            assert!(service.ports.iter().all(|port| port.is_hidden), "{}", service.name);
            assert!(!service.networks.contains_key(EDGE_NETWORK), "{}", service.name);
            assert!(!service.capabilities.iter().any(|it| it == "NET_ADMIN"), "{}", service.name);
        }
        // What makes an older flagops' instances ours stays as it was: the fields are left out.
        let plain = serde_json::to_string(&spec.services[1]).unwrap();
        assert!(!plain.contains("profile") && plain.contains("is_hidden"), "{plain}");
        assert_ne!(spec_hash(&spec, 0), spec_hash(&spec, 1));
    }
}
