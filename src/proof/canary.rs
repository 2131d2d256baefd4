//! Makes the canary of a challenge: its instance, and beside it the container that its exploit runs
//! in.
//!
//! In:  what an instance of the challenge consists of, and the image with Python. Pure.
//! Out: the same with one service and one network more.
//!
//! The exploit's container is a service of the instance, so that whatever makes, watches and
//! removes instances makes, watches and removes it too. It does nothing by itself; the exploit is
//! a command inside of it.
//!
//! # Invariants
//! * It is on one network only, which has no way out and on which nobody else is but the services
//!   that players reach: like a player it meets nothing that is behind them. In an engagement it is
//!   where a player's tunnel ends.
//! * It has no capability, no answer, no file that it can write but a small `/tmp`, and bounds.
//! * Everything else is as a player's instance has it.

use std::collections::BTreeMap;

use super::program::{self, PLACE};
use crate::model::ServiceName;
use crate::model::compose::{AnswerFiles, Healthcheck, Limits, Restart, VolumeMount};
use crate::release::gateway::EDGE_NETWORK;
use crate::release::spec::{InstanceSpec, NetworkWish, Profile, ServiceSpec};

/// The network between the exploit and its target. Not a name that an author can write.
pub const NETWORK: &str = "_solver";

/// Nobody, in every image.
const NOBODY: &str = "65534:65534";

/// What a canary consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// All of it.
    pub spec: InstanceSpec,
    /// The service that the exploit runs in.
    pub solver: ServiceName,
    /// What the exploit is told, as a player is: the first port of the first service that has one.
    /// `None` when the challenge is only files.
    pub target: Option<(ServiceName, u16)>,
}

/// The canary of a challenge whose instances are `spec`; `image` has Python.
pub fn canary(mut spec: InstanceSpec, image: String) -> Canary {
    let solver = free_name(&spec);
    let players = |service: &&ServiceSpec| service.profile == Profile::Default;
    let target = spec.services.iter().filter(players).find_map(|service| {
        let port = service.ports.first()?;
        Some((service.name.clone(), port.target))
    });
    let mut attacker = service(solver.clone(), image);
    if let Some(gateway) = spec.gateway() {
        // Where the tunnel of a player ends.
        attacker.networks = gateway.networks.clone();
        attacker.networks.remove(EDGE_NETWORK);
    } else {
        for service in spec.services.iter_mut().filter(|service| !service.ports.is_empty()) {
            service.networks.insert(NETWORK.to_owned(), Vec::new());
        }
        spec.networks.push(NetworkWish { name: NETWORK.to_owned(), is_internal: true });
    }
    // Nobody downloads files of a canary, and without ports they could not name any.
    spec.templates.clear();
    spec.exports.clear();
    spec.services.push(attacker);
    Canary { spec, solver, target }
}

/// A name that no service of the author has.
fn free_name(spec: &InstanceSpec) -> ServiceName {
    let is_taken = |name: &ServiceName| spec.services.iter().any(|service| service.name == *name);
    (1_u32..)
        .filter_map(|n| match n {
            1 => "flagops-solver".parse().ok(),
            n => format!("flagops-solver-{n}").parse::<ServiceName>().ok(),
        })
        .find(|name| !is_taken(name))
        .expect("there are fewer services than numbers")
}

fn service(name: ServiceName, image: String) -> ServiceSpec {
    ServiceSpec {
        name,
        image,
        command: Some(vec!["sleep infinity".to_owned()]),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
        environment: program::environment(),
        answer_environment: Vec::new(),
        answers: AnswerFiles::Only(Vec::new()),
        ports: Vec::new(),
        depends_on: BTreeMap::new(),
        healthcheck: Some(Healthcheck::Disabled),
        networks: BTreeMap::from([(NETWORK.to_owned(), Vec::new())]),
        // A volume takes an upload below a read-only root. It belongs to root, the exploit does
        // not, so it cannot fill the disk through it.
        volumes: vec![VolumeMount { source: None, target: PLACE.to_owned(), is_read_only: false }],
        tmpfs: Vec::new(),
        limits: Limits::default(),
        user: Some(NOBODY.to_owned()),
        working_dir: Some("/".to_owned()),
        hostname: None,
        capabilities: Vec::new(),
        is_read_only: true,
        stop_signal: None,
        stop_grace_millis: 0,
        restart: Restart::OnFailure,
        profile: Profile::Default,
    }
}
