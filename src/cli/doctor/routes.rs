//! Whether the address pool of instances overlaps a network that this machine already reaches.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Check, Verdict};

/// Checks `pool` against the routes of this machine.
pub(super) fn check(pool: Ipv4Net) -> Vec<Check> {
    vec![match std::fs::read_to_string("/proc/net/route") {
        Ok(table) => judge(pool, &parse(&table)),
        Err(error) => Check::new(
            Verdict::Unknown,
            "address pool",
            format!("could not read the routes of this machine ({error})"),
            "look on the machine of the engine",
        ),
    }]
}

/// One route.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    network: Ipv4Net,
}

/// Routes of `/proc/net/route`; lines that are none are skipped. The default route is left out: it
/// covers everything and conflicts with nothing.
fn parse(table: &str) -> Vec<Route> {
    table.lines().skip(1).filter_map(parse_line).filter(|r| r.network.prefix_len() > 0).collect()
}

fn parse_line(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // The kernel prints addresses as numbers in the byte order of the machine.
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
    };
    let (destination, mask) = (address(fields.get(1)?)?, address(fields.get(7)?)?);
    let network = Ipv4Net::with_netmask(destination, mask).ok()?;
    Some(Route { interface: (*fields.first()?).to_owned(), network })
}

fn judge(pool: Ipv4Net, routes: &[Route]) -> Check {
    // Our own bridges inside of the pool are the pool at work (`NetworkSpec::bridge`).
    let foreign =
        |route: &&Route| !(pool.contains(&route.network) && is_our_bridge(&route.interface));
    let overlaps = |route: &&Route| {
        pool.contains(&route.network.network()) || route.network.contains(&pool.network())
    };
    match routes.iter().filter(foreign).find(overlaps) {
        None => Check::ok("address pool", format!("{pool} overlaps no route of this machine")),
        Some(Route { interface, network }) => Check::new(
            Verdict::Broken,
            "address pool",
            format!("{pool} overlaps {network}, which is reached through `{interface}`"),
            "set `network.pool` to a private network that nothing here uses",
        ),
    }
}

/// Whether an interface is named as ours are: `fi` and 10 hex digits.
fn is_our_bridge(interface: &str) -> bool {
    interface
        .strip_prefix("fi")
        .is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a little-endian machine.
    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
fi00aa11bb22\t1000500A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
garbage
";

    fn verdict(pool: &str) -> Verdict {
        judge(pool.parse().unwrap(), &parse(TABLE)).verdict
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn overlaps_in_both_directions_are_found() {
        assert_eq!(verdict("172.16.0.0/12"), Verdict::Broken);
        assert_eq!(verdict("172.17.4.0/24"), Verdict::Broken);
        assert_eq!(verdict("192.0.2.0/24"), Verdict::Broken);
        assert_eq!(verdict("10.96.0.0/15"), Verdict::Ok);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn our_own_networks_do_not_count() {
        assert_eq!(parse(TABLE).len(), 3);
        assert_eq!(verdict("10.80.0.0/15"), Verdict::Ok);
        let foreign = TABLE.replace("fi00aa11bb22", "br-00aa11bb22");
        let check = judge("10.80.0.0/15".parse().unwrap(), &parse(&foreign));
        assert_eq!(
            check.found,
            "10.80.0.0/15 overlaps 10.80.0.16/28, which is reached through `br-00aa11bb22`"
        );
    }
}
