//! The VPN of one engagement: what its gateway is given, and the profile that its players get.
//!
//! In:  the installation's key, the [`Facts`] of an instance, templates.
//! Out: the archive that is unpacked at [`GATEWAY_DIR`], and profiles.
//!
//! Every key is derived from the installation's key and the instance, like an answer: a gateway that
//! is made anew, also after a crash or with a lost database, has the keys it had, and profiles that
//! players downloaded go on working.
//!
//! # Invariants
//! * The same key and facts give the same bytes.
//! * Each instance has an authority of its own: no profile of another instance gets in.
//! * A holder's next serial has other keys, and the gateway admits only what it has a file for.
//! * What people wrote (names) is data: it never begins a line of a configuration.
//! * A repository's own template passes the tables of `allowed`, or ours stands in its place.
//!
//! # Not here
//! Which holders are admitted (`store`), how the gateway is reached while it runs (`daemon::vpn`), its
//! container (`runtime`), its image (`images/openvpn`).

mod allowed;
mod directives;
mod keys;
mod own;
#[cfg(test)]
mod own_tests;
pub(crate) mod pki;
mod templates;
#[cfg(test)]
mod tests;
mod tls_crypt;
mod wireguard;

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use thiserror::Error;
use uuid::Uuid;

use self::keys::Keys;
pub use self::own::{CLIENT_TEMPLATE, Fault, Own, Refusal, RefusedAt, SERVER_TEMPLATE, Written};
use super::answers::AnswerKey;
use super::attachments::Named;
use crate::model::{InstanceId, Revision, Timestamp, VpnProtocol};

/// The context of the gateway's image: names and contents.
pub const IMAGE: &[(&str, &str)] =
    &[("Dockerfile", DOCKERFILE), ("gateway", include_str!("../../../images/openvpn/gateway"))];
/// How the gateway's image is built.
pub const DOCKERFILE: &str = include_str!("../../../images/openvpn/Dockerfile");
/// The program in the gateway, see `images/openvpn/gateway`.
pub const PROGRAM: &str = "/usr/local/sbin/gateway";
/// Where the archive of [`gateway_tar`] is unpacked.
pub const GATEWAY_DIR: &str = "/gateway";
/// Where the gateway listens, UDP.
pub const GATEWAY_PORT: u16 = 1194;
/// The largest packet inside the tunnel: with what the tunnel adds it fits paths of 1,400 bytes.
const MTU: u16 = 1340;

/// What is known of the VPN of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The instance.
    pub instance: InstanceId,
    /// What its gateway speaks.
    pub protocol: VpnProtocol,
    /// When it was asked for: certificates are valid from long before to long after.
    pub created_at: Timestamp,
    /// The networks that players reach, in a fixed order.
    pub networks: Vec<Ipv4Net>,
    /// The addresses inside the tunnel: the gateway has the first one.
    pub clients: Ipv4Net,
    /// Who may connect.
    pub admitted: Vec<Holder>,
    /// Of the hub of a team, which leads to what comes and goes while it runs. `None` for the gateway of
    /// an instance.
    pub hub: Option<Hub>,
}

/// What is known of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hub {
    /// The network that its port is published on.
    pub edge: Ipv4Net,
    /// Where all networks of instances come from.
    pub pool: Ipv4Net,
}

/// Who a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The team, or the member where members are known.
    pub id: Uuid,
    /// Which of the profiles that this holder ever had, from 1.
    pub serial: u32,
}

impl fmt::Display for Holder {
    /// The name in the certificate; also that of a file, so nothing but hex, `-` and `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.serial)
    }
}

impl std::str::FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, serial) = text.split_once('.').ok_or(())?;
        let holder =
            Self { id: id.parse().map_err(|_| ())?, serial: serial.parse().map_err(|_| ())? };
        // One spelling only: the name of a file is compared as text.
        if holder.to_string() == text { Ok(holder) } else { Err(()) }
    }
}

/// What a profile says beside keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose it is.
    pub holder: Holder,
    /// How people call the holder.
    pub holder_name: String,
    /// What it leads to.
    pub challenge: Named,
    /// The commit that the instance was started from.
    pub revision: Revision,
    /// Where players reach the gateway.
    pub host: String,
    /// The port there, UDP.
    pub port: u16,
    /// The services behind it with their addresses, as far as they are known.
    pub hosts: Vec<(String, Ipv4Addr)>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum VpnError {
    /// A certificate was not made.
    #[error("the certificate of {whose} could not be made")]
    Certificate {
        /// Whose it is.
        whose: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A template of ours does not fit what it is given.
    #[error("the template `{name}` could not be rendered")]
    Template {
        /// Its file.
        name: &'static str,
        /// Why.
        #[source]
        source: minijinja::Error,
    },
    /// The gateway has no address or no room for players in the tunnel.
    #[error("the tunnel's network {clients} has no room for players")]
    NoRoom {
        /// The network.
        clients: Ipv4Net,
    },
    /// The host cannot stand in a profile.
    #[error("`{host}` is no host name or address: set `network.public_host` to what players reach")]
    Host {
        /// What it is.
        host: String,
    },
}

/// What was made, and whether a template of the repository was refused on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made<T> {
    /// It; of our own template where the repository's was refused.
    pub made: T,
    /// Where the repository's own template was refused.
    pub refused: Option<RefusedAt>,
}

/// The files of the gateway, owned by root, as a tar: `server.conf` or `wg.conf`, `rules.nft`, its keys,
/// and a file per admitted holder below `clients/`.
///
/// # Errors
/// When the tunnel has no room, or a certificate cannot be made.
pub fn gateway_tar(key: &AnswerKey, facts: &Facts, own: &Own) -> Result<Made<Vec<u8>>, VpnError> {
    let keys = Keys::new(key, facts.instance);
    if facts.protocol == VpnProtocol::WireGuard {
        return Ok(Made { made: wireguard::gateway(&keys, facts)?, refused: None });
    }
    let pki = pki::Authority::new(&keys, facts.created_at)?;
    let mut files = Files::default();
    let (server, refused) = own.server(facts)?;
    files.add("server.conf", 0o644, server.as_bytes());
    files.add("rules.nft", 0o644, templates::rules(facts)?.as_bytes());
    files.add("ca.crt", 0o644, pki.certificate().as_bytes());
    let server = pki.server(&keys)?;
    files.add("server.crt", 0o644, server.certificate.as_bytes());
    files.add("server.key", 0o600, server.key.as_bytes());
    files.add("tls-crypt-v2.key", 0o600, tls_crypt::server(&keys).as_bytes());
    files.folder("clients");
    for holder in &facts.admitted {
        files.add(&format!("clients/{holder}"), 0o644, b"");
    }
    Ok(Made { made: files.finish(), refused: refused.map(|it| it.place()) })
}

/// The profile of one holder. It holds a private key: show it to nobody else.
///
/// # Errors
/// When the host is none, or a certificate cannot be made.
pub fn profile(
    key: &AnswerKey,
    facts: &Facts,
    profile: &Profile,
    own: &Own,
) -> Result<Made<String>, VpnError> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".:-_".contains(c);
    if profile.host.is_empty() || !profile.host.chars().all(is_host) {
        return Err(VpnError::Host { host: plain(&profile.host) });
    }
    let keys = Keys::new(key, facts.instance);
    if facts.protocol == VpnProtocol::WireGuard {
        return Ok(Made { made: wireguard::profile(&keys, facts, profile)?, refused: None });
    }
    let pki = pki::Authority::new(&keys, facts.created_at)?;
    let client = pki.client(&keys, profile.holder)?;
    let secrets = templates::Secrets {
        ca: pki.certificate(),
        client: &client,
        tls_crypt: &tls_crypt::client(&keys, profile.holder),
    };
    let (made, refused) = own.client(facts, profile, &secrets)?;
    Ok(Made { made, refused: refused.map(|it| it.place()) })
}

/// What the program in a gateway is asked, so that it lets in exactly these. No secret is in it.
///
/// # Errors
/// When the tunnel has no room for them.
pub fn let_in(
    key: &AnswerKey,
    instance: InstanceId,
    protocol: VpnProtocol,
    clients: Ipv4Net,
    holders: &[Holder],
) -> Result<Vec<String>, VpnError> {
    let words = match protocol {
        VpnProtocol::OpenVpn => holders.iter().map(Holder::to_string).collect(),
        VpnProtocol::WireGuard => wireguard::let_in(&Keys::new(key, instance), clients, holders)?,
    };
    Ok(std::iter::once("clients".to_owned()).chain(words).collect())
}

/// What a profile is, by its text: a node of another version may speak something else.
pub fn protocol_of(profile: &str) -> VpnProtocol {
    match profile.lines().any(|line| line == "[Interface]") {
        true => VpnProtocol::WireGuard,
        false => VpnProtocol::OpenVpn,
    }
}

/// What a file with a profile of `instance` is called.
pub fn profile_name(instance: InstanceId, protocol: VpnProtocol) -> String {
    match protocol {
        VpnProtocol::OpenVpn => format!("{instance}.ovpn"),
        VpnProtocol::WireGuard => wireguard::file_name(instance),
    }
}

/// What the program in a hub is asked, so that it leads to exactly these networks.
pub fn lead_to<'n>(networks: impl IntoIterator<Item = &'n Ipv4Net>) -> Vec<String> {
    let words = networks.into_iter().map(|net| templates::word(*net));
    std::iter::once("networks".to_owned()).chain(words).collect()
}

/// How many can be connected at once: every address of the tunnel but its own, the gateway's and
/// the last.
fn max_clients(clients: Ipv4Net) -> u32 {
    let n_addresses = 1_u32.checked_shl(32 - u32::from(clients.prefix_len())).unwrap_or(u32::MAX);
    n_addresses.saturating_sub(3)
}

/// Text of people on one line: nothing that ends a line anywhere, at most 80 bytes, because OpenVPN
/// reads no line of more than 255.
fn plain(text: &str) -> String {
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= 80;
    let plain = text.char_indices().take_while(fits);
    plain.map(|(_, c)| if is_odd(c) { ' ' } else { c }).collect()
}

/// A tar in the making.
struct Files(tar::Builder<Vec<u8>>);

impl Default for Files {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Files {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, tar::EntryType::Regular, mode, content);
    }

    fn folder(&mut self, name: &str) {
        self.entry(name, tar::EntryType::Directory, 0o755, b"");
    }

    fn entry(&mut self, name: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("names of ours are short and relative");
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.0.append(&header, content).expect("writing to memory does not fail");
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("writing to memory does not fail")
    }
}
