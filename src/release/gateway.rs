//! The VPN gateway of an engagement as a service: ours, whatever the author wrote.
//!
//! Of the author's service only its networks are kept, which are what players reach, and what it waits
//! for. A service that players are to find by way of another one is on a network that the gateway is
//! not on.

use std::collections::BTreeMap;

use super::spec::{PortSpec, Profile, ServiceSpec, networks_of};
use crate::model::EndpointKind;
use crate::model::compose::{
    AnswerFiles, HealthTest, Healthcheck, Limits, Restart, Service, Transport,
};
use crate::render::vpn;

/// The network between the host and the gateway, which its port is published on. Nothing else is on
/// it. Not a name that an author can write.
pub const EDGE_NETWORK: &str = "_edge";

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
    let mut networks = networks_of(service);
    networks.insert(EDGE_NETWORK.to_owned(), Vec::new());
    ServiceSpec {
        name: service.name.clone(),
        image: image.to_owned(),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        answer_environment: Vec::new(),
        answers: AnswerFiles::Only(Vec::new()),
        ports: vec![PortSpec {
            target: vpn::GATEWAY_PORT,
            transport: Transport::Udp,
            kind: EndpointKind::Vpn,
            is_hidden: false,
        }],
        depends_on: service.depends_on.clone(),
        healthcheck: Some(Healthcheck::Command {
            test: HealthTest::Exec(vec![vpn::PROGRAM.to_owned(), "ready".to_owned()]),
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
