//! The texts: ours, from `templates/openvpn`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::keys::Keys;
use super::pki::Identity;
use super::{Facts, MTU, Profile, VpnError, max_clients, plain};

const SERVER: &str = include_str!("../../../templates/openvpn/server.conf.j2");
const RULES: &str = include_str!("../../../templates/openvpn/rules.nft.j2");
const CLIENT: &str = include_str!("../../../templates/openvpn/client.ovpn.j2");

/// What only the bearer of a profile may have.
pub(super) struct Secrets<'a> {
    pub(super) ca: &'a str,
    pub(super) client: &'a Identity,
    pub(super) tls_crypt: &'a str,
}

/// A network, in the spellings that OpenVPN and nft want.
#[derive(Serialize)]
struct Network {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    cidr: Ipv4Net,
    /// Its first address: the host's own, or that of the gateway in the tunnel.
    host: Ipv4Addr,
}

impl Network {
    fn new(net: Ipv4Net) -> Self {
        let net = net.trunc();
        let host = Ipv4Addr::from(u32::from(net.network()).saturating_add(1));
        Self { address: net.network(), mask: net.netmask(), cidr: net, host }
    }
}

/// What the gateway's own files are made of.
#[derive(Serialize)]
struct Grounds {
    clients: Network,
    networks: Vec<Network>,
    max_clients: u32,
    mtu: u16,
}

impl Grounds {
    fn new(facts: &Facts) -> Result<Self, VpnError> {
        let max_clients = max_clients(facts.clients);
        if max_clients == 0 {
            return Err(VpnError::NoRoom { clients: facts.clients });
        }
        let clients = Network::new(facts.clients);
        let networks = facts.networks.iter().map(|net| Network::new(*net)).collect();
        Ok(Self { clients, networks, max_clients, mtu: MTU })
    }
}

/// What a profile is made of.
#[derive(Serialize)]
struct Sheet<'a> {
    challenge: Named,
    instance: String,
    revision: String,
    holder: String,
    remote: Remote<'a>,
    server_name: String,
    hosts: Vec<Host>,
    mtu: u16,
    ca: &'a str,
    cert: &'a str,
    key: &'a str,
    tls_crypt: &'a str,
}

#[derive(Serialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Serialize)]
struct Remote<'a> {
    host: &'a str,
    port: u16,
}

#[derive(Serialize)]
struct Host {
    name: String,
    address: Ipv4Addr,
}

pub(super) fn server(facts: &Facts) -> Result<String, VpnError> {
    render("server.conf.j2", SERVER, &Grounds::new(facts)?)
}

pub(super) fn rules(facts: &Facts) -> Result<String, VpnError> {
    render("rules.nft.j2", RULES, &Grounds::new(facts)?)
}

pub(super) fn client(
    facts: &Facts,
    profile: &Profile,
    secrets: &Secrets<'_>,
) -> Result<String, VpnError> {
    let hosts = profile.hosts.iter();
    let sheet = Sheet {
        challenge: Named { id: plain(&profile.challenge.id), name: plain(&profile.challenge.name) },
        instance: facts.instance.to_string(),
        revision: profile.revision.to_string(),
        holder: plain(&profile.holder_name),
        remote: Remote { host: &profile.host, port: profile.port },
        server_name: Keys::server_name_of(facts.instance),
        hosts: hosts.map(|(name, address)| Host { name: plain(name), address: *address }).collect(),
        mtu: MTU,
        ca: secrets.ca,
        cert: &secrets.client.certificate,
        key: &secrets.client.key,
        tls_crypt: secrets.tls_crypt,
    };
    render("client.ovpn.j2", CLIENT, &sheet)
}

fn render(name: &'static str, source: &str, values: &impl Serialize) -> Result<String, VpnError> {
    let failed = |source| VpnError::Template { name, source };
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_syntax(crate::render::attachments::syntax());
    env.add_template(name, source).map_err(failed)?;
    env.get_template(name).and_then(|it| it.render(Serde(values))).map_err(failed)
}
