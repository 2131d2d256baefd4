//! Where a node answers: an address that we are about to talk to, so it is checked like any hostile
//! input.
//!
//! # Invariants
//! * Only `http` and `https`, no user, no password, no query; a host that is a name or an address of a
//!   machine: never one of metadata services, of this link, of everybody or of nobody.
//! * `http` leaves the machine only where that was asked for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

use super::NodeId;

/// Longest address that is looked at.
const MAX_CHARS: usize = 200;

/// Where a node answers, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl(Url);

/// Why a text is no address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeUrlError {
    /// It is none at all.
    #[error("`{text}` is not an http or https URL of a node, like https://10.0.0.5:8101")]
    NotOne {
        /// As sent, cut.
        text: String,
    },
    /// It has what no node needs.
    #[error("a node's URL has neither user, password, query nor fragment")]
    Extras,
    /// Nobody of ours is there.
    #[error(
        "`{host}` is no address of a node: it belongs to this link, to a metadata service or to nobody"
    )]
    Forbidden {
        /// The host.
        host: String,
    },
    /// Everybody on the way could read and change what is said.
    #[error(
        "`{url}` is plain http to another machine: use https (`node.tls`), or set `nodes.allow_http` where the network between is yours"
    )]
    Plain {
        /// It.
        url: String,
    },
}

/// Whether tokens may go over a network in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Only on this machine.
    Loopback,
    /// Everywhere.
    Allowed,
}

impl FromStr for NodeUrl {
    type Err = NodeUrlError;

    fn from_str(text: &str) -> Result<Self, NodeUrlError> {
        let not_one = || NodeUrlError::NotOne { text: text.chars().take(80).collect() };
        if text.len() > MAX_CHARS || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(not_one());
        }
        let url = Url::parse(text).map_err(|_| not_one())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(not_one());
        }
        let is_plain_user = url.username().is_empty() && url.password().is_none();
        if !is_plain_user || url.query().is_some() || url.fragment().is_some() {
            return Err(NodeUrlError::Extras);
        }
        let is_forbidden = match url.host() {
            None => return Err(not_one()),
            Some(Host::Ipv4(address)) => is_forbidden(address.into()),
            Some(Host::Ipv6(address)) => is_forbidden(address.into()),
            Some(Host::Domain(name)) => is_metadata_name(name),
        };
        if is_forbidden {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(NodeUrlError::Forbidden { host });
        }
        Ok(Self(url))
    }
}

impl NodeUrl {
    /// Refuses plain http to another machine where that was not asked for.
    ///
    /// # Errors
    /// [`NodeUrlError::Plain`].
    pub fn check_plain(&self, plain: Plain) -> Result<(), NodeUrlError> {
        let may = self.0.scheme() == "https" || plain == Plain::Allowed || self.is_loopback();
        if may { Ok(()) } else { Err(NodeUrlError::Plain { url: self.to_string() }) }
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host, as players could reach it.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// The address of a route below `/api/v1`, from segments that are escaped here.
    pub fn route(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// The node's id: the address from its host on, with `_` for what no id has
    /// (`contract/http-api.md` §4.1).
    pub fn node_id(&self) -> Option<NodeId> {
        let text = self.to_string();
        let (_, rest) = text.split_once("//")?;
        let rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let id: String = rest
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .take(64)
            .collect();
        id.parse().ok().filter(|id: &NodeId| *id != NodeId::local())
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Addresses at which no node of ours can be.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_forbidden_v4(it),
        IpAddr::V6(it) => match it.to_ipv4_mapped() {
            Some(inner) => is_forbidden_v4(inner),
            None => {
                it.is_unspecified()
                    || it.is_multicast()
                    || (it.segments()[0] & 0xffc0) == 0xfe80
                    // AWS and others: instance metadata over IPv6.
                    || it == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)
            }
        },
    }
}

fn is_forbidden_v4(it: Ipv4Addr) -> bool {
    it.is_unspecified()
        || it.is_broadcast()
        || it.is_multicast()
        || it.is_link_local()
        // Alibaba's metadata.
        || it == Ipv4Addr::new(100, 100, 100, 200)
        || it.octets()[0] == 0
}

fn is_metadata_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    ["metadata", "metadata.google.internal", "instance-data"].contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<String, NodeUrlError> {
        text.parse::<NodeUrl>().map(|url| url.to_string())
    }

    #[test]
    fn an_address_of_a_machine_is_taken_and_nothing_else() {
        for good in
            ["http://127.0.0.1:8101", "https://node-1.example:8443/base", "http://[::1]:8101"]
        {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
        assert_eq!(check("https://a.example/").unwrap(), "https://a.example");
        for bad in [
            "",
            "ftp://a.example",
            "file:///etc/passwd",
            "http://",
            "http://a b",
            "unix:///var/run/docker.sock",
            "http://u:p@a.example",
            "http://a.example/?x=1",
            "http://a.example/#x",
            "http://169.254.169.254",
            "http://0.0.0.0:8101",
            "http://[fe80::1]:8101",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://metadata.google.internal",
            "http://100.100.100.200",
            "http://255.255.255.255",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_what_the_contract_says() {
        let id = |text: &str| text.parse::<NodeUrl>().unwrap().node_id().unwrap().to_string();
        assert_eq!(id("http://127.0.0.1:18101"), "127.0.0.1_18101");
        assert_eq!(id("https://y.example:8443/base/"), "y.example_8443_base");
        assert_eq!(id("http://[::1]:8101"), "1__8101");
    }

    #[test]
    fn tokens_go_in_the_clear_only_where_that_was_asked_for() {
        let url: NodeUrl = "http://10.0.0.5:8101".parse().unwrap();
        assert!(url.check_plain(Plain::Loopback).is_err());
        assert!(url.check_plain(Plain::Allowed).is_ok());
        let near: NodeUrl = "http://localhost:8101".parse().unwrap();
        assert!(near.check_plain(Plain::Loopback).is_ok());
        let far: NodeUrl = "https://10.0.0.5:8101".parse().unwrap();
        assert!(far.check_plain(Plain::Loopback).is_ok());
    }

    #[test]
    fn a_route_cannot_leave_its_place() {
        let url: NodeUrl = "http://127.0.0.1:1/base".parse().unwrap();
        let route = url.route(&["instances", "a/../../x", "attachments", "b?c#d"]);
        let text = route.to_string();
        assert!(text.starts_with("http://127.0.0.1:1/base/api/v1/instances/"), "{text}");
        assert!(!text.contains("/..") && !text.contains('?') && !text.contains('#'), "{text}");
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in ".{0,60}") {
            if let Ok(url) = text.parse::<NodeUrl>() {
                prop_assert!(url.to_string().parse::<NodeUrl>().is_ok());
            }
        }
    }
}
