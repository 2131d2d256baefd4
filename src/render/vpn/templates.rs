//! The texts: ours, from `templates/openvpn`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::keys::Keys;
use super::pki::Identity;
use super::{Facts, MTU, Profile, VpnError, max_clients, plain};
use crate::render::attachments::{Given, RenderError, Template, render_given, syntax};

pub(super) const SERVER_SOURCE: &str = include_str!("../../../templates/openvpn/server.conf.j2");
const HUB_RULES: &str = include_str!("../../../templates/openvpn/hub.nft.j2");
const RULES: &str = include_str!("../../../templates/openvpn/rules.nft.j2");
pub(super) const CLIENT_SOURCE: &str = include_str!("../../../templates/openvpn/client.ovpn.j2");

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
    #[serde(skip_serializing_if = "Option::is_none")]
    edge: Option<Network>,
}

impl Grounds {
    fn new(facts: &Facts) -> Result<Self, VpnError> {
        let max_clients = max_clients(facts.clients);
        if max_clients == 0 {
            return Err(VpnError::NoRoom { clients: facts.clients });
        }
        let clients = Network::new(facts.clients);
        let networks = facts.networks.iter().map(|net| Network::new(*net)).collect();
        let edge = facts.hub.map(|hub| Network::new(hub.edge));
        Ok(Self { clients, networks, max_clients, mtu: MTU, edge })
    }
}

/// A network as the program in the gateway takes it.
pub(super) fn word(net: Ipv4Net) -> String {
    let Network { address, mask, host, cidr } = Network::new(net);
    format!("{address}/{}/{mask}/{host}", cidr.prefix_len())
}

/// What a profile is made of.
#[derive(Serialize)]
struct Sheet<'a> {
    challenge: Named,
    instance: String,
    revision: String,
    holder: String,
    reach: &'static str,
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
pub(super) struct Named {
    id: String,
    name: String,
}

impl Named {
    pub(super) fn new(named: &super::Named) -> Self {
        Self { id: plain(&named.id), name: plain(&named.name) }
    }
}

#[derive(Serialize)]
pub(super) struct Remote<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
}

#[derive(Serialize)]
pub(super) struct Host {
    name: String,
    address: Ipv4Addr,
}

/// What is reached through a profile.
pub(super) fn hosts(profile: &Profile) -> Vec<Host> {
    let host = |(name, address): &(String, Ipv4Addr)| Host { name: plain(name), address: *address };
    profile.hosts.iter().map(host).collect()
}

/// Where a profile leads to, in words.
pub(super) fn reach(facts: &Facts) -> &'static str {
    match facts.hub {
        Some(_) => "all engagements of its team, as they come and go",
        None => "this instance and nowhere else",
    }
}

pub(super) fn server(facts: &Facts) -> Result<String, VpnError> {
    render("server.conf.j2", SERVER_SOURCE, &Grounds::new(facts)?)
}

pub(super) fn rules(facts: &Facts) -> Result<String, VpnError> {
    match facts.hub {
        Some(_) => render("hub.nft.j2", HUB_RULES, &Grounds::new(facts)?),
        None => render("rules.nft.j2", RULES, &Grounds::new(facts)?),
    }
}

pub(super) fn client(
    facts: &Facts,
    profile: &Profile,
    secrets: &Secrets<'_>,
) -> Result<String, VpnError> {
    render("client.ovpn.j2", CLIENT_SOURCE, &sheet(facts, profile, secrets))
}

fn sheet<'a>(facts: &Facts, profile: &'a Profile, secrets: &Secrets<'a>) -> Sheet<'a> {
    Sheet {
        challenge: Named::new(&profile.challenge),
        instance: facts.instance.to_string(),
        revision: profile.revision.to_string(),
        holder: plain(&profile.holder_name),
        reach: reach(facts),
        remote: Remote { host: &profile.host, port: profile.port },
        server_name: Keys::server_name_of(facts.instance),
        hosts: hosts(profile),
        mtu: MTU,
        ca: secrets.ca,
        cert: &secrets.client.certificate,
        key: &secrets.client.key,
        tls_crypt: secrets.tls_crypt,
    }
}

/// What a template of a repository can print.
pub(super) struct Values {
    values: Value,
    /// The names at the top, sorted.
    pub(super) names: Vec<String>,
}

impl Values {
    fn of(values: &impl Serialize) -> Self {
        let values = Value::from(Serde(values));
        let names = values.try_iter().into_iter().flatten();
        let mut names: Vec<String> = names.map(|name| name.to_string()).collect();
        names.sort();
        Self { values, names }
    }

    /// Renders `template` as those of attachments are.
    pub(super) fn render(
        self,
        template: Template<'_>,
        max_output_bytes: usize,
    ) -> Result<String, RenderError> {
        let n_bytes = self.values.to_string().len() as u64 + 1024;
        let given = Given { values: self.values, n_bytes };
        render_given(template, &|_| None, &given, max_output_bytes)
    }
}

pub(super) fn server_values(facts: &Facts) -> Result<Values, VpnError> {
    Ok(Values::of(&Grounds::new(facts)?))
}

pub(super) fn client_values(facts: &Facts, profile: &Profile, secrets: &Secrets<'_>) -> Values {
    Values::of(&sheet(facts, profile, secrets))
}

pub(super) fn render(
    name: &'static str,
    source: &str,
    values: &impl Serialize,
) -> Result<String, VpnError> {
    let failed = |source| VpnError::Template { name, source };
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_syntax(syntax());
    env.add_template(name, source).map_err(failed)?;
    env.get_template(name).and_then(|it| it.render(Serde(values))).map_err(failed)
}
