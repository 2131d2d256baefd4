//! The same gateway with WireGuard: a key for each holder, and for each an address inside the tunnel.
//!
//! # Invariants
//! * No two holders that are let in have the same address.
//! * An address follows from the holder alone, as long as no other one got the same by chance: who joins
//!   or leaves changes nobody else's profile.
//!
//! # Not here
//! Templates of a repository's own: they are for OpenVPN.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;
use serde::Serialize;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::keys::{self, Keys};
use super::templates::{Host, Named, Remote, hosts, reach, render, rules};
use super::{Facts, Files, Holder, Profile, VpnError, plain};
use crate::model::InstanceId;

const SERVER: &str = include_str!("../../../templates/wireguard/server.conf.j2");
const PEER: &str = include_str!("../../../templates/wireguard/peer.conf.j2");
const CLIENT: &str = include_str!("../../../templates/wireguard/client.conf.j2");

/// The largest packet inside the tunnel: with what the tunnel adds it fits paths of 1,400 bytes, of IPv6
/// too.
const MTU: u16 = 1320;
/// Addresses of the tunnel that no holder has: its own, the gateway's, and the last.
const TAKEN: u32 = 3;

/// The files of the gateway: `wg.conf`, `rules.nft`, and a file per admitted holder below `clients/`.
pub(super) fn gateway(keys: &Keys<'_>, facts: &Facts) -> Result<Vec<u8>, VpnError> {
    let mut files = Files::default();
    let private = private(keys, "server");
    let (clients, key) = (facts.clients.trunc(), text(&private));
    let host = Ipv4Addr::from(u32::from(clients.network()) + 1);
    let server = Server { key: &key, address: format!("{host}/{}", clients.prefix_len()) };
    let server = Zeroizing::new(render("server.conf.j2", SERVER, &server)?);
    files.add("wg.conf", 0o600, server.as_bytes());
    files.add("rules.nft", 0o644, rules(facts)?.as_bytes());
    files.folder("clients");
    for (holder, address) in addresses(keys, facts.clients, &facts.admitted)? {
        let public_key = &STANDARD.encode(public(keys, holder));
        let peer = render("peer.conf.j2", PEER, &Peer { public_key, address })?;
        files.add(&format!("clients/{holder}"), 0o644, peer.as_bytes());
    }
    Ok(files.finish())
}

/// The profile of one holder. It holds a private key.
pub(super) fn profile(
    keys: &Keys<'_>,
    facts: &Facts,
    profile: &Profile,
) -> Result<String, VpnError> {
    let mut admitted = facts.admitted.clone();
    admitted.push(profile.holder);
    let addresses = addresses(keys, facts.clients, &admitted)?;
    let is_v6 = profile.host.contains(':') && !profile.host.starts_with('[');
    let host = if is_v6 { &format!("[{}]", profile.host) } else { &profile.host };
    let ways = match facts.hub {
        Some(hub) => vec![hub.pool.to_string()],
        None => facts.networks.iter().map(Ipv4Net::to_string).collect(),
    };
    let key = text(&private(keys, &keys::of(profile.holder)));
    let sheet = Sheet {
        file: file_name(facts.instance),
        challenge: Named::new(&profile.challenge),
        instance: facts.instance.to_string(),
        revision: profile.revision.to_string(),
        holder: plain(&profile.holder_name),
        reach: reach(facts),
        hosts: hosts(profile),
        key: &key,
        address: addresses[&profile.holder],
        mtu: MTU,
        server: STANDARD.encode(PublicKey::from(&private(keys, "server"))),
        remote: Remote { host, port: profile.port },
        ways: ways.join(", "),
    };
    render("client.conf.j2", CLIENT, &sheet)
}

/// What the program in the gateway is asked, so that it lets in exactly these.
pub(super) fn let_in(
    keys: &Keys<'_>,
    clients: Ipv4Net,
    holders: &[Holder],
) -> Result<Vec<String>, VpnError> {
    let addresses = addresses(keys, clients, holders)?;
    let word = |(holder, address): (Holder, Ipv4Addr)| {
        format!("{holder}={address}={}", STANDARD.encode(public(keys, holder)))
    };
    Ok(addresses.into_iter().map(word).collect())
}

/// What a file with a profile is called: `wg-quick` takes at most 15 characters for the interface.
pub(super) fn file_name(instance: InstanceId) -> String {
    format!("ctf-{}.conf", &instance.to_string()[..8])
}

/// The address of each holder inside of `clients`: by a hash of the holder, and the next free one where
/// another holder has that already.
fn addresses(
    keys: &Keys<'_>,
    clients: Ipv4Net,
    holders: &[Holder],
) -> Result<BTreeMap<Holder, Ipv4Addr>, VpnError> {
    let clients = clients.trunc();
    let n_addresses = 1_u64 << (32 - u32::from(clients.prefix_len()));
    let n_free = u32::try_from(n_addresses.saturating_sub(u64::from(TAKEN))).unwrap_or(u32::MAX);
    let mut of = BTreeMap::new();
    let mut taken = std::collections::BTreeSet::new();
    let mut sorted = holders.to_vec();
    sorted.sort();
    sorted.dedup();
    if sorted.len() > n_free as usize {
        return Err(VpnError::NoRoom { clients });
    }
    for holder in sorted {
        let hash = keys.bytes("wireguard address", &keys::of(holder), 1);
        let hash = u32::from_be_bytes(hash[..4].try_into().expect("four bytes are four"));
        let mut nth = hash % n_free;
        while !taken.insert(nth) {
            nth = (nth + 1) % n_free;
        }
        // After the network's own and the gateway's.
        of.insert(holder, Ipv4Addr::from(u32::from(clients.network()) + 2 + nth));
    }
    Ok(of)
}

fn private(keys: &Keys<'_>, whose: &str) -> StaticSecret {
    let bytes = keys.bytes("wireguard", whose, 1);
    StaticSecret::from(<[u8; 32]>::try_from(&bytes[..]).expect("a block is 32 bytes"))
}

fn public(keys: &Keys<'_>, holder: Holder) -> [u8; 32] {
    PublicKey::from(&private(keys, &keys::of(holder))).to_bytes()
}

fn text(private: &StaticSecret) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(private.as_bytes()))
}

#[derive(Serialize)]
struct Server<'a> {
    key: &'a str,
    address: String,
}

#[derive(Serialize)]
struct Peer<'a> {
    public_key: &'a str,
    address: Ipv4Addr,
}

/// What a profile is made of.
#[derive(Serialize)]
struct Sheet<'a> {
    file: String,
    challenge: Named,
    instance: String,
    revision: String,
    holder: String,
    reach: &'static str,
    hosts: Vec<Host>,
    key: &'a str,
    address: Ipv4Addr,
    mtu: u16,
    server: String,
    remote: Remote<'a>,
    ways: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::tests::{facts, files_of, key, sheet};
    use super::super::{Hub, Own, gateway_tar, let_in, profile};
    use super::*;
    use crate::model::VpnProtocol;

    fn tunnel() -> Facts {
        Facts {
            protocol: VpnProtocol::WireGuard,
            clients: "10.82.0.0/15".parse().unwrap(),
            ..facts(1)
        }
    }

    fn line<'p>(profile: &'p str, name: &str) -> &'p str {
        profile.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(" = ")).unwrap()
    }

    fn secret(text: &str) -> StaticSecret {
        StaticSecret::from(<[u8; 32]>::try_from(STANDARD.decode(text).unwrap()).unwrap())
    }

    #[test]
    fn a_gateway_knows_the_key_of_each_profile_and_no_private_one_but_its_own() {
        let made = gateway_tar(&key(), &tunnel(), &Own::default()).unwrap();
        assert_eq!(made.refused, None);
        let files = files_of(&made.made);
        let listed: Vec<_> =
            files.iter().map(|(name, (mode, _))| format!("{mode:o} {name}")).collect();
        insta::assert_snapshot!(listed.join("\n"), @r"
        755 clients
        644 clients/00000000-0000-0000-0000-0000000000b1.1
        644 rules.nft
        600 wg.conf
        ");
        let profile = profile(&key(), &tunnel(), &sheet(1), &Own::default()).unwrap().made;
        let peer = &files["clients/00000000-0000-0000-0000-0000000000b1.1"].1;
        let its = PublicKey::from(&secret(line(&profile, "PrivateKey")));
        assert_eq!(line(peer, "PublicKey"), STANDARD.encode(its.as_bytes()));
        assert_eq!(line(peer, "AllowedIPs"), line(&profile, "Address"));
        let server = PublicKey::from(&secret(line(&files["wg.conf"].1, "PrivateKey")));
        assert_eq!(line(&profile, "PublicKey"), STANDARD.encode(server.as_bytes()));
        assert!(!files.values().any(|(_, text)| text.contains(line(&profile, "PrivateKey"))));
    }

    #[test]
    fn a_profile_reads_like_this() {
        let text = profile(&key(), &tunnel(), &sheet(1), &Own::default()).unwrap().made;
        let hidden = text.replace(line(&text, "PrivateKey"), "(secret)");
        insta::assert_snapshot!(hidden);
        let at_v6 = Profile { host: "2001:db8::7".to_owned(), ..sheet(1) };
        let text = profile(&key(), &tunnel(), &at_v6, &Own::default()).unwrap().made;
        assert_eq!(line(&text, "Endpoint"), "[2001:db8::7]:20001");
        let pool = "10.80.0.0/15".parse().unwrap();
        let hub = Hub { edge: "10.80.0.48/28".parse().unwrap(), pool };
        let hub = Facts { networks: Vec::new(), hub: Some(hub), ..tunnel() };
        let text = profile(&key(), &hub, &sheet(1), &Own::default()).unwrap().made;
        assert_eq!(line(&text, "AllowedIPs"), "10.80.0.0/15", "what starts later is reached, too");
    }

    #[test]
    fn names_begin_no_line() {
        let evil = Profile { holder_name: "x\nPostUp = id".to_owned(), ..sheet(1) };
        let text = profile(&key(), &tunnel(), &evil, &Own::default()).unwrap().made;
        assert!(!text.lines().any(|line| line.starts_with("PostUp")), "{text}");
    }

    #[test]
    fn another_profile_has_another_key_and_another_instance_too() {
        let made = |facts: &Facts, serial| {
            let text = profile(&key(), facts, &sheet(serial), &Own::default()).unwrap().made;
            line(&text, "PrivateKey").to_owned()
        };
        let other = Facts { instance: facts(2).instance, ..tunnel() };
        let keys = [made(&tunnel(), 1), made(&tunnel(), 2), made(&other, 1)];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(keys[0], made(&tunnel(), 1));
    }

    #[test]
    fn what_a_running_gateway_is_told_is_what_one_that_starts_is_given() {
        let holder = tunnel().admitted[0];
        let words =
            let_in(&key(), tunnel().instance, VpnProtocol::WireGuard, tunnel().clients, &[holder]);
        let words = words.unwrap();
        let made = gateway_tar(&key(), &tunnel(), &Own::default()).unwrap().made;
        let peer = files_of(&made)[&format!("clients/{holder}")].1.clone();
        let address = line(&peer, "AllowedIPs").strip_suffix("/32").unwrap();
        let word = format!("{holder}={address}={}", line(&peer, "PublicKey"));
        assert_eq!(words, ["clients".to_owned(), word]);
        let names =
            let_in(&key(), tunnel().instance, VpnProtocol::OpenVpn, tunnel().clients, &[holder]);
        assert_eq!(names.unwrap(), ["clients".to_owned(), holder.to_string()]);
    }

    fn holders() -> impl Strategy<Value = Vec<Holder>> {
        let one = (0_u128..40, 1_u32..3)
            .prop_map(|(id, serial)| Holder { id: Uuid::from_u128(id), serial });
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn everybody_has_an_address_of_their_own(holders in holders(), bits in 15_u8..26) {
            let (key, clients) = (key(), Ipv4Net::new(Ipv4Addr::new(10, 82, 0, 0), bits).unwrap());
            let keys = Keys::new(&key, facts(1).instance);
            let of = addresses(&keys, clients, &holders).unwrap();
            let different: BTreeSet<_> = of.values().collect();
            prop_assert_eq!(different.len(), of.len());
            prop_assert!(holders.iter().all(|it| of.contains_key(it)));
            for address in of.values() {
                prop_assert!(clients.contains(address));
                let nth = u32::from(*address) - u32::from(clients.network());
                prop_assert!(nth > 1 && *address != clients.broadcast(), "{address}");
            }
        }

        #[test]
        fn who_leaves_changes_nobody_elses_address(ids in prop::collection::btree_set(0_u128..40, 1..12)) {
            let (key, clients) = (key(), Ipv4Net::new(Ipv4Addr::new(10, 82, 0, 0), 15).unwrap());
            let keys = Keys::new(&key, facts(1).instance);
            let holders: Vec<_> =
                ids.iter().map(|id| Holder { id: Uuid::from_u128(*id), serial: 1 }).collect();
            let all = addresses(&keys, clients, &holders).unwrap();
            let rest = addresses(&keys, clients, &holders[1..]).unwrap();
            for (holder, address) in rest {
                prop_assert_eq!(all[&holder], address);
            }
        }
    }

    #[test]
    fn a_tunnel_that_is_too_small_is_refused() {
        let (key, clients) = (key(), "10.82.0.0/30".parse().unwrap());
        let keys = Keys::new(&key, facts(1).instance);
        let holder = |id: u128| Holder { id: Uuid::from_u128(id), serial: 1 };
        assert!(addresses(&keys, clients, &[holder(1)]).is_ok());
        let error = addresses(&keys, clients, &[holder(1), holder(2)]).unwrap_err();
        assert!(matches!(error, VpnError::NoRoom { .. }), "{error}");
    }
}
