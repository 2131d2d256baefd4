//! The text of the wall. Pure.
//!
//! In:  the table's name and the pool. Out: what `nft --file -` is given, one transaction.
//!
//! The name of a bridge of ours is `fi` or `fx`, its subnet's address in hex, and the length of the
//! prefix (`NetworkSpec::bridge`). So the bridges of a pool are told apart by the beginning of their
//! name, and a packet with a forged address is still known by where it came in. `fx` leads to the
//! internet, `fi` nowhere: which challenge has what is not in the rules, so they never change.
//!
//! # Invariants
//! * From an instance: replies, and packets to its own bridge. Nothing else: no host, no published
//!   port, no other instance, no LAN, no metadata service, no internet, no IPv6.
//! * A source address that does not live on the bridge is dropped, in replies too.
//! * From an `fx` bridge also: connections to public IPv4 addresses that are not this host's, not of
//!   the pool and not denied; no mail; at most [`EGRESS_CONNECTIONS`] at a time from one container.
//! * To an instance: what Docker published, so many connections at a time from one source, replies,
//!   and what this host itself sends (the probe, and Docker's proxy).
//! * From elsewhere nothing is routed to an address of the pool, a gateway neither: what is published has
//!   an address of the host when it comes in.
//! * Within a bridge everything passes, whether or not `br_netfilter` shows us bridged packets.

use ipnet::Ipv4Net;

use crate::model::id::hex;

/// How the names of our bridges begin, see `NetworkSpec::bridge`.
const BRIDGE: &str = "fi";
/// The same for those that lead to the internet.
const EGRESS_BRIDGE: &str = "fx";
/// Connections, and flows of UDP, that one container may have open to the internet.
const EGRESS_CONNECTIONS: u32 = 256;
/// What is no address of the internet.
const BOGONS: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, \
    172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";

/// What the rules are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// All networks of instances come from here.
    pub(super) pool: Ipv4Net,
    /// What is not reached from an instance that reaches the internet.
    pub(super) deny: Vec<Ipv4Net>,
    /// Most connections at a time from one source to what is published.
    pub(super) source_connections: u32,
}

/// What an instance sends, before Docker translates addresses: a packet dropped here never gets to
/// a published port by way of the host.
///
/// Only packets in the *reply* direction pass: a connection that an instance opened before there
/// was a wall ends now. `fib … . iif` asks the routing table whether an address lives on the bridge
/// the packet came from; addresses of the host do not, for the table calls those local.
/// Replies to players pass that check also where a container is on two networks: Docker publishes
/// a port on the network that its default route leads through.
const FROM_INSTANCE: &str = r"
    meta nfproto ipv6 counter drop
    fib saddr . iif oif missing counter drop
    ct direction reply ct state established,related accept
    ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
    fib daddr . iif oif exists accept
    counter drop
";

/// What an instance sends that may reach the internet: as above, and what is left of the world.
///
/// The pool may be made of public addresses, so it is named. `local` are all addresses of this host.
fn from_egress(plan: &Plan) -> String {
    let denied = std::iter::once(&plan.pool).chain(&plan.deny);
    let denied: String =
        denied.map(|network| format!("    ip daddr {network} counter drop\n")).collect();
    format!(
        r"
    meta nfproto ipv6 counter drop
    fib saddr . iif oif missing counter drop
    ct direction reply ct state established,related accept
    ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} accept
    fib daddr . iif oif exists accept
    fib daddr type != unicast counter drop
    ip daddr {{ {BOGONS} }} counter drop
{denied}    tcp dport 25 counter drop
    accept
"
    )
}

/// What an instance sends to the host itself.
const TO_HOST: &str = r"
    ct direction reply ct state established,related accept
    counter drop
";

/// What is forwarded to an instance from elsewhere. Locally generated packets are not forwarded, so
/// a neighbour that routes 127.0.0.1 to us does not get at what is published for this host only.
fn to_instance(plan: &Plan) -> String {
    format!(
        r"
    ct original ip daddr 127.0.0.0/8 counter drop
    ct status dnat ct state new add @sources {{ ip saddr ct count over {} }} counter drop
    ct status dnat accept
    counter drop
",
        plan.source_connections
    )
}

/// The table `table` of `plan`, replacing the one of that name.
pub(super) fn text(table: &str, plan: &Plan) -> String {
    let closed = bridges(BRIDGE, plan.pool);
    let open = bridges(EGRESS_BRIDGE, plan.pool);
    let all: Vec<_> = closed.iter().chain(&open).cloned().collect();
    let from = each(&closed, |bridge| format!("iifname \"{bridge}\" goto from_instance"))
        + &each(&open, |bridge| format!("iifname \"{bridge}\" goto from_egress"));
    let to_host = each(&all, |bridge| format!("iifname \"{bridge}\" goto to_host"));
    let leaving = each(&closed, |bridge| format!("iifname \"{bridge}\" goto leaving"))
        + &each(&open, |bridge| format!("iifname \"{bridge}\" goto leaving_egress"));
    let to = each(&closed, |bridge| format!("oifname \"{bridge}\" goto to_instance"))
        + &each(&open, |bridge| format!("oifname \"{bridge}\" goto to_egress"));
    // `from_instance` and `from_egress` have seen to it that this is the bridge it came from.
    let staying = each(&all, |bridge| format!("oifname \"{bridge}\" accept"));
    let (from_egress, to_instance) = (from_egress(plan), to_instance(plan));
    let (removal, pool) = (removal(table), plan.pool);
    format!(
        "{removal}table inet {table} {{
  set containers {{
    type ipv4_addr; size 65535; flags dynamic;
  }}
  set sources {{
    type ipv4_addr; size 65535; flags dynamic;
  }}
  chain from_instance {{{FROM_INSTANCE}  }}
  chain from_egress {{{from_egress}  }}
  chain to_host {{{TO_HOST}  }}
  chain leaving {{
    ct direction reply ct state established,related accept
{staying}    counter drop
  }}
  chain leaving_egress {{
    ct direction reply ct state established,related accept
{staying}    ct state new add @containers {{ ip saddr ct count over {EGRESS_CONNECTIONS} }} counter drop
    accept
  }}
  chain to_instance {{{to_instance}  }}
  chain to_egress {{
    ct direction reply ct state established,related accept
    goto to_instance
  }}
  chain prerouting {{
    type filter hook prerouting priority -150; policy accept;
{from}    iifname != \"lo\" ip daddr {pool} counter drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
{to_host}  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
{leaving}{to}  }}
}}
"
    )
}

/// Removes `table`; declaring it first makes the deletion succeed when it is absent.
pub(super) fn removal(table: &str) -> String {
    format!("table inet {table}\ndelete table inet {table}\n")
}

/// One rule per bridge pattern, a line each.
fn each(bridges: &[String], rule: impl Fn(&str) -> String) -> String {
    bridges.iter().map(|bridge| format!("    {}\n", rule(bridge))).collect()
}

/// Patterns that match the names of all bridges of `pool` and of no other: one when the pool's
/// prefix ends between two hex digits, else up to eight.
fn bridges(prefix: &str, pool: Ipv4Net) -> Vec<String> {
    let n_digits = usize::from(pool.prefix_len().div_ceil(4));
    if n_digits == 0 {
        return vec![format!("{prefix}*")];
    }
    let first = u32::from(pool.network());
    let last = u32::from(pool.broadcast());
    // The values of the digits that the prefix begins, from the first address to the last.
    let shift = 32 - 4 * n_digits;
    (first >> shift..=last >> shift)
        .map(|digits| {
            let address = hex(&(digits << shift).to_be_bytes());
            format!("{prefix}{}*", &address[..n_digits])
        })
        .collect()
}

/// Whether the wall of `pool` stands around the bridge `name`.
#[cfg(test)]
pub(super) fn covers(pool: Ipv4Net, name: &str) -> bool {
    [BRIDGE, EGRESS_BRIDGE]
        .iter()
        .flat_map(|prefix| bridges(prefix, pool))
        .any(|pattern| name.starts_with(pattern.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pool_has_few_patterns() {
        for (pool, patterns) in [
            ("0.0.0.0/0", &["fi*"][..]),
            ("10.0.0.0/8", &["fi0a*"]),
            ("10.80.0.0/15", &["fi0a50*", "fi0a51*"]),
            ("10.88.7.0/24", &["fi0a5807*"]),
            ("172.16.0.0/12", &["fiac1*"]),
            ("10.88.0.24/30", &["fi0a580018*", "fi0a580019*", "fi0a58001a*", "fi0a58001b*"]),
            ("10.88.0.24/32", &["fi0a580018*"]),
        ] {
            assert_eq!(bridges(BRIDGE, pool.parse().unwrap()), patterns, "{pool}");
        }
        assert_eq!(bridges(BRIDGE, "128.0.0.0/1".parse().unwrap()).len(), 8);
        assert_eq!(bridges(EGRESS_BRIDGE, "10.0.0.0/8".parse().unwrap()), ["fx0a*"]);
    }

    #[test]
    fn the_whole_text_reads_like_this() {
        let plan = Plan {
            pool: "10.80.0.0/15".parse().unwrap(),
            deny: vec!["198.51.100.0/24".parse().unwrap()],
            source_connections: 1024,
        };
        let text = text("flagops_01234567", &plan);
        insta::assert_snapshot!(text, @r#"
        table inet flagops_01234567
        delete table inet flagops_01234567
        table inet flagops_01234567 {
          set containers {
            type ipv4_addr; size 65535; flags dynamic;
          }
          set sources {
            type ipv4_addr; size 65535; flags dynamic;
          }
          chain from_instance {
            meta nfproto ipv6 counter drop
            fib saddr . iif oif missing counter drop
            ct direction reply ct state established,related accept
            ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
            fib daddr . iif oif exists accept
            counter drop
          }
          chain from_egress {
            meta nfproto ipv6 counter drop
            fib saddr . iif oif missing counter drop
            ct direction reply ct state established,related accept
            ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
            fib daddr . iif oif exists accept
            fib daddr type != unicast counter drop
            ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3 } counter drop
            ip daddr 10.80.0.0/15 counter drop
            ip daddr 198.51.100.0/24 counter drop
            tcp dport 25 counter drop
            accept
          }
          chain to_host {
            ct direction reply ct state established,related accept
            counter drop
          }
          chain leaving {
            ct direction reply ct state established,related accept
            oifname "fi0a50*" accept
            oifname "fi0a51*" accept
            oifname "fx0a50*" accept
            oifname "fx0a51*" accept
            counter drop
          }
          chain leaving_egress {
            ct direction reply ct state established,related accept
            oifname "fi0a50*" accept
            oifname "fi0a51*" accept
            oifname "fx0a50*" accept
            oifname "fx0a51*" accept
            ct state new add @containers { ip saddr ct count over 256 } counter drop
            accept
          }
          chain to_instance {
            ct original ip daddr 127.0.0.0/8 counter drop
            ct status dnat ct state new add @sources { ip saddr ct count over 1024 } counter drop
            ct status dnat accept
            counter drop
          }
          chain to_egress {
            ct direction reply ct state established,related accept
            goto to_instance
          }
          chain prerouting {
            type filter hook prerouting priority -150; policy accept;
            iifname "fi0a50*" goto from_instance
            iifname "fi0a51*" goto from_instance
            iifname "fx0a50*" goto from_egress
            iifname "fx0a51*" goto from_egress
            iifname != "lo" ip daddr 10.80.0.0/15 counter drop
          }
          chain input {
            type filter hook input priority -10; policy accept;
            iifname "fi0a50*" goto to_host
            iifname "fi0a51*" goto to_host
            iifname "fx0a50*" goto to_host
            iifname "fx0a51*" goto to_host
          }
          chain forward {
            type filter hook forward priority -10; policy accept;
            iifname "fi0a50*" goto leaving
            iifname "fi0a51*" goto leaving
            iifname "fx0a50*" goto leaving_egress
            iifname "fx0a51*" goto leaving_egress
            oifname "fi0a50*" goto to_instance
            oifname "fi0a51*" goto to_instance
            oifname "fx0a50*" goto to_egress
            oifname "fx0a51*" goto to_egress
          }
        }
        "#);
    }

    proptest! {
        #[test]
        fn a_bridge_is_covered_if_its_subnet_is_in_the_pool_and_else_not(
            address in any::<u32>(),
            other in any::<u32>(),
            pool_len in 0_u8..=30,
            len in 0_u8..=30,
        ) {
            let pool = Ipv4Net::new(address.into(), pool_len).unwrap().trunc();
            let len = len.max(pool_len);
            // Inside, with the pool's own leading bits, and anywhere.
            let inside = u32::from(pool.network()) | (other & u32::from(pool.hostmask()));
            for address in [inside, other] {
                let subnet = Ipv4Net::new(address.into(), len).unwrap().trunc();
                for prefix in [BRIDGE, EGRESS_BRIDGE] {
                    let name = format!("{prefix}{}{len:02x}", hex(&subnet.network().octets()));
                    prop_assert_eq!(covers(pool, &name), pool.contains(&subnet));
                }
            }
        }
    }
}
