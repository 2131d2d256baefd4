//! `[ingress]`: the one door that players reach instances through, when a domain is configured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::acme::{self, AcmeConfig};
use super::layers::Layers;
use super::sections::Config;
use crate::model::compose::Transport;
use crate::model::{Door, EndpointKind};

/// Longest domain: a label of 17 characters and a dot fit before it.
const MAX_DOMAIN: usize = 253 - 18;

/// `[ingress]`: HTTP by host name and TCP by SNI on one port, in place of host ports.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IngressConfig {
    /// Instances are reached at `<random label>.<domain>`; without it they have host ports. It needs a
    /// wildcard record that leads to this machine.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub domain: Option<String>,
    /// Where TLS is listened for, when there is a certificate (default `0.0.0.0:443`).
    #[schemars(regex(pattern = r":[0-9]{1,5}$"))]
    pub listen: SocketAddr,
    /// Where plain HTTP is listened for. With a certificate everything there is sent to TLS; without
    /// one instances are reached there, and what is not HTTP keeps its host port.
    #[schemars(with = "Option<String>", inner(regex(pattern = r":[0-9]{1,5}$")))]
    pub plain_listen: Option<SocketAddr>,
    /// The port that players are told, where another one is forwarded to this machine (default: that of
    /// `listen`, or of `plain_listen` without a certificate).
    #[schemars(range(min = 1, max = 65_535))]
    pub public_port: Option<u16>,
    /// The wildcard certificate with its chain; a PEM file, read again when it changes.
    #[schemars(length(min = 1))]
    pub certificate: Option<PathBuf>,
    /// Its private key; a PEM file, read again when it changes.
    #[schemars(length(min = 1))]
    pub key: Option<PathBuf>,
    /// The authority that the certificate is got from instead.
    pub acme: AcmeConfig,
    /// Most connections at a time (default 4096).
    #[schemars(range(min = 16, max = 65_535))]
    pub connections: u32,
    /// Most connections at a time from one address; of IPv6 from one /64 (default 256).
    #[schemars(range(min = 1, max = 65_535))]
    pub source_connections: u32,
    /// Most connections at a time to one instance (default 512).
    #[schemars(range(min = 1, max = 65_535))]
    pub instance_connections: u32,
    /// How long a TLS handshake may take, and the headers of a request, in seconds (default 10).
    #[schemars(range(min = 1, max = 300))]
    pub header_secs: u32,
    /// A connection on which nothing moves for this many seconds is closed, and an answer that does not
    /// begin is given up (default 600).
    #[schemars(range(min = 5, max = 86_400))]
    pub idle_secs: u32,
    /// Largest headers of a request in KiB (default 32).
    #[schemars(range(min = 8, max = 256))]
    pub max_header_kib: u32,
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            domain: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443)),
            plain_listen: None,
            public_port: None,
            certificate: None,
            key: None,
            acme: AcmeConfig::default(),
            connections: 4096,
            source_connections: 256,
            instance_connections: 512,
            header_secs: 10,
            idle_secs: 600,
            max_header_kib: 32,
        }
    }
}

impl IngressConfig {
    /// Whether players speak TLS to it: it has a certificate, or gets one.
    pub fn has_tls(&self) -> bool {
        self.certificate.is_some() || self.acme.hook.is_some()
    }

    /// The door of an endpoint, and the domain that its host is in; `None` where players use a host port.
    ///
    /// A shell stays on its own port, because a client of SSH speaks no TLS; so does what is not TCP.
    pub fn door(&self, kind: EndpointKind, transport: Transport) -> Option<(Door, &str)> {
        let domain = self.domain.as_deref()?;
        if transport != Transport::Tcp {
            return None;
        }
        let has_tls = self.has_tls();
        let kind = match kind {
            EndpointKind::Http if !has_tls => EndpointKind::Http,
            EndpointKind::Http | EndpointKind::Https if has_tls => EndpointKind::Https,
            EndpointKind::Tcp if has_tls => EndpointKind::Tcp,
            EndpointKind::Http
            | EndpointKind::Https
            | EndpointKind::Tcp
            | EndpointKind::Ssh
            | EndpointKind::Vpn => return None,
        };
        let own = if has_tls { Some(self.listen) } else { self.plain_listen };
        let port = self.public_port.or(own.map(|address| address.port()))?;
        Some((Door { kind, port }, domain))
    }
}

pub(super) fn take(layers: &mut Layers, default: &IngressConfig) -> IngressConfig {
    IngressConfig {
        domain: layers.take_optional("ingress.domain"),
        listen: layers.take("ingress.listen", default.listen),
        plain_listen: layers.take_optional("ingress.plain_listen"),
        public_port: layers.take_optional("ingress.public_port"),
        certificate: layers.take_optional("ingress.certificate"),
        key: layers.take_optional("ingress.key"),
        acme: acme::take(layers, &default.acme),
        connections: layers.take_in("ingress.connections", default.connections, 16..=65_535),
        source_connections: layers.take_in(
            "ingress.source_connections",
            default.source_connections,
            1..=65_535,
        ),
        instance_connections: layers.take_in(
            "ingress.instance_connections",
            default.instance_connections,
            1..=65_535,
        ),
        header_secs: layers.take_in("ingress.header_secs", default.header_secs, 1..=300),
        idle_secs: layers.take_in("ingress.idle_secs", default.idle_secs, 5..=86_400),
        max_header_kib: layers.take_in("ingress.max_header_kib", default.max_header_kib, 8..=256),
    }
}

/// Notes every contradiction.
pub(super) fn check(layers: &mut Layers, config: &Config) {
    let ingress = &config.ingress;
    if ingress.public_port == Some(0) {
        layers.refuse("ingress.public_port", "is 0", "give what players can connect to");
    }
    match (&ingress.certificate, &ingress.key) {
        (Some(_), None) => layers.refuse(
            "ingress.key",
            "is missing, and `ingress.certificate` is set",
            "give the file with the private key of the certificate",
        ),
        (None, Some(_)) => layers.refuse(
            "ingress.certificate",
            "is missing, and `ingress.key` is set",
            "give the file with the wildcard certificate and its chain",
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
    acme::check(layers, &ingress.acme);
    if ingress.acme.hook.is_some() && ingress.certificate.is_some() {
        layers.refuse(
            "ingress.acme.hook",
            "is set, and `ingress.certificate` too",
            "keep one of them: flagops gets the certificate, or you bring it",
        );
    }
    let Some(domain) = &ingress.domain else { return };
    if !is_domain(domain) {
        layers.refuse(
            "ingress.domain",
            "is not a domain in lower case",
            "give what comes after the label, e.g. `ctf.example.org`, without `*.`",
        );
    }
    if !ingress.has_tls() && ingress.plain_listen.is_none() {
        layers.refuse(
            "ingress.certificate",
            "is missing: there is no way to listen",
            "give a wildcard certificate and its key, `ingress.acme.hook` to get one, or `ingress.plain_listen` \
             for HTTP without TLS",
        );
    }
    check_ports(layers, config);
}

fn check_ports(layers: &mut Layers, config: &Config) {
    let (network, ingress) = (&config.network, &config.ingress);
    let published = network.first_port..=network.last_port;
    let tls = ingress.has_tls().then_some(("ingress.listen", ingress.listen));
    let plain = ingress.plain_listen.map(|address| ("ingress.plain_listen", address));
    for (key, address) in [tls, plain].into_iter().flatten() {
        if published.contains(&address.port()) {
            layers.refuse(
                key,
                format_args!("uses port {}, which instances may publish", address.port()),
                "listen outside of `network.first_port` to `network.last_port`",
            );
        }
        if address == config.listen {
            layers.refuse(key, "is where the API listens", "give each an address of its own");
        }
    }
    if tls.is_some_and(|(_, tls)| ingress.plain_listen == Some(tls)) {
        let key = "ingress.plain_listen";
        layers.refuse(key, "is `ingress.listen`", "give plain HTTP a port of its own, e.g. 80");
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= MAX_DOMAIN && domain.split('.').all(is_label)
}

/// The section as a file would say it.
pub(super) fn defaults(ingress: &IngressConfig) -> Value {
    let IngressConfig {
        domain,
        listen,
        plain_listen,
        public_port,
        certificate,
        key,
        acme,
        connections,
        source_connections,
        instance_connections,
        header_secs,
        idle_secs,
        max_header_kib,
    } = ingress;
    json!({
        "domain": domain,
        "listen": listen.to_string(),
        "plain_listen": plain_listen.map(|it| it.to_string()),
        "public_port": public_port,
        "certificate": certificate,
        "key": key,
        "acme": acme::defaults(acme),
        "connections": connections,
        "source_connections": source_connections,
        "instance_connections": instance_connections,
        "header_secs": header_secs,
        "idle_secs": idle_secs,
        "max_header_kib": max_header_kib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_tls() -> IngressConfig {
        IngressConfig {
            domain: Some("ctf.test".to_owned()),
            certificate: Some("cert.pem".into()),
            ..IngressConfig::default()
        }
    }

    #[test]
    fn what_players_speak_through_which_port() {
        use EndpointKind::{Http, Https, Ssh, Tcp, Vpn};
        let tls = with_tls();
        let address = SocketAddr::from(([0, 0, 0, 0], 8080));
        let plain = IngressConfig { certificate: None, plain_listen: Some(address), ..tls.clone() };
        let told = IngressConfig { public_port: Some(8443), ..tls.clone() };
        let off = IngressConfig { domain: None, ..tls.clone() };
        for (config, kind, transport, door) in [
            (&tls, Http, Transport::Tcp, Some((Https, 443))),
            (&tls, Https, Transport::Tcp, Some((Https, 443))),
            (&tls, Tcp, Transport::Tcp, Some((Tcp, 443))),
            (&tls, Tcp, Transport::Udp, None),
            (&tls, Ssh, Transport::Tcp, None),
            (&tls, Vpn, Transport::Udp, None),
            (&told, Tcp, Transport::Tcp, Some((Tcp, 8443))),
            (&plain, Http, Transport::Tcp, Some((Http, 8080))),
            (&plain, Https, Transport::Tcp, None),
            (&plain, Tcp, Transport::Tcp, None),
            (&off, Http, Transport::Tcp, None),
        ] {
            let given = config.door(kind, transport).map(|(door, _)| (door.kind, door.port));
            assert_eq!(given, door, "{kind:?} {transport:?}");
        }
    }

    #[test]
    fn a_domain_is_labels_in_lower_case() {
        let long = format!("{}.test", "a".repeat(64));
        for (domain, is_fine) in [
            ("ctf.example.org", true),
            ("localhost", true),
            ("1.test", true),
            ("*.test", false),
            ("CTF.test", false),
            ("ctf..test", false),
            (".test", false),
            ("test.", false),
            ("-a.test", false),
            ("", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_domain(domain), is_fine, "{domain}");
        }
    }
}
