//! The text of the wall. Pure.
//!
//! In:  the table's name and the pool. Out: what `nft --file -` is given, one transaction.
//!
//! The name of a bridge of ours is `fi`, its subnet's address in hex, and the length of the prefix
//! (`NetworkSpec::bridge`). So the bridges of a pool are told apart by the beginning of their name,
//! and a packet with a forged address is still known by where it came in.
//!
//! # Invariants
//! * From an instance: replies, and packets to its own bridge. Nothing else: no host, no published
//!   port, no other instance, no LAN, no metadata service, no internet, no IPv6.
//! * A source address that does not live on the bridge is dropped, except in replies to players
//!   (see [`FROM_INSTANCE`]).
//! * To an instance: what Docker published, replies, and what this host itself sends (the probe,
//!   and Docker's proxy).
//! * Within a bridge everything passes, whether or not `br_netfilter` shows us bridged packets.

use ipnet::Ipv4Net;

use crate::model::id::hex;

/// How the names of our bridges begin, see `NetworkSpec::bridge`.
const BRIDGE: &str = "fi";

/// What an instance sends, before Docker translates addresses: a packet dropped here never gets to
/// a published port by way of the host.
///
/// Only packets in the *reply* direction pass: a connection that an instance opened before there
/// was a wall ends now. `fib … . iif` asks the routing table whether an address lives on the bridge
/// the packet came from; addresses of the host do not, for the table calls those local.
///
/// Replies to players pass before the source is checked: a container on two networks sends them
/// through whichever its default route leads. They match an open connection, ports included.
const FROM_INSTANCE: &str = r"
    meta nfproto ipv6 counter drop
    ct direction reply ct status dnat accept
    fib saddr . iif oif missing counter drop
    ct direction reply ct state established,related accept
    ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
    fib daddr . iif oif exists accept
    counter drop
";

/// What an instance sends to the host itself.
const TO_HOST: &str = r"
    ct direction reply ct state established,related accept
    counter drop
";

/// What is forwarded to an instance from elsewhere. Locally generated packets are not forwarded, so
/// a neighbour that routes 127.0.0.1 to us does not get at what is published for this host only.
const TO_INSTANCE: &str = r"
    ct original ip daddr 127.0.0.0/8 counter drop
    ct status dnat accept
    counter drop
";

/// The table `table` around the bridges of `pool`, replacing the one of that name.
pub(super) fn text(table: &str, pool: Ipv4Net) -> String {
    let bridges = bridges(pool);
    let from = each(&bridges, |bridge| format!("iifname \"{bridge}\" goto from_instance"));
    let to_host = each(&bridges, |bridge| format!("iifname \"{bridge}\" goto to_host"));
    let leaving = each(&bridges, |bridge| format!("iifname \"{bridge}\" goto leaving"));
    let to = each(&bridges, |bridge| format!("oifname \"{bridge}\" goto to_instance"));
    // `from_instance` has seen to it that this is the bridge it came from.
    let staying = each(&bridges, |bridge| format!("oifname \"{bridge}\" accept"));
    let removal = removal(table);
    format!(
        "{removal}table inet {table} {{
  chain from_instance {{{FROM_INSTANCE}  }}
  chain to_host {{{TO_HOST}  }}
  chain leaving {{
    ct direction reply ct state established,related accept
{staying}    counter drop
  }}
  chain to_instance {{{TO_INSTANCE}  }}
  chain prerouting {{
    type filter hook prerouting priority -150; policy accept;
{from}  }}
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
fn bridges(pool: Ipv4Net) -> Vec<String> {
    let n_digits = usize::from(pool.prefix_len().div_ceil(4));
    if n_digits == 0 {
        return vec![format!("{BRIDGE}*")];
    }
    let first = u32::from(pool.network());
    let last = u32::from(pool.broadcast());
    // The values of the digits that the prefix begins, from the first address to the last.
    let shift = 32 - 4 * n_digits;
    (first >> shift..=last >> shift)
        .map(|digits| {
            let address = hex(&(digits << shift).to_be_bytes());
            format!("{BRIDGE}{}*", &address[..n_digits])
        })
        .collect()
}

/// Whether the wall of `pool` stands around the bridge `name`.
#[cfg(test)]
pub(super) fn covers(pool: Ipv4Net, name: &str) -> bool {
    bridges(pool).iter().any(|pattern| name.starts_with(pattern.trim_end_matches('*')))
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
            assert_eq!(bridges(pool.parse().unwrap()), patterns, "{pool}");
        }
        assert_eq!(bridges("128.0.0.0/1".parse().unwrap()).len(), 8);
    }

    #[test]
    fn the_whole_text_reads_like_this() {
        let text = text("flagops_01234567", "10.80.0.0/15".parse().unwrap());
        insta::assert_snapshot!(text, @r#"
        table inet flagops_01234567
        delete table inet flagops_01234567
        table inet flagops_01234567 {
          chain from_instance {
            meta nfproto ipv6 counter drop
            ct direction reply ct status dnat accept
            fib saddr . iif oif missing counter drop
            ct direction reply ct state established,related accept
            ip daddr { 224.0.0.0/4, 255.255.255.255 } accept
            fib daddr . iif oif exists accept
            counter drop
          }
          chain to_host {
            ct direction reply ct state established,related accept
            counter drop
          }
          chain leaving {
            ct direction reply ct state established,related accept
            oifname "fi0a50*" accept
            oifname "fi0a51*" accept
            counter drop
          }
          chain to_instance {
            ct original ip daddr 127.0.0.0/8 counter drop
            ct status dnat accept
            counter drop
          }
          chain prerouting {
            type filter hook prerouting priority -150; policy accept;
            iifname "fi0a50*" goto from_instance
            iifname "fi0a51*" goto from_instance
          }
          chain input {
            type filter hook input priority -10; policy accept;
            iifname "fi0a50*" goto to_host
            iifname "fi0a51*" goto to_host
          }
          chain forward {
            type filter hook forward priority -10; policy accept;
            iifname "fi0a50*" goto leaving
            iifname "fi0a51*" goto leaving
            oifname "fi0a50*" goto to_instance
            oifname "fi0a51*" goto to_instance
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
                let name = format!("fi{}{len:02x}", hex(&subnet.network().octets()));
                prop_assert_eq!(covers(pool, &name), pool.contains(&subnet));
            }
        }
    }
}
