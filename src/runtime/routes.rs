//! The IPv4 routes of this machine.
//!
//! In:  `/proc/net/route`. Out: its lines, and what follows from them about an address pool.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use ipnet::Ipv4Net;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The interface that it leads through.
    pub interface: String,
    /// What it leads to; `0.0.0.0/0` is the default route.
    pub network: Ipv4Net,
    /// The next hop, unless what it leads to is on the interface itself.
    pub gateway: Option<Ipv4Addr>,
}

/// Every route of this machine.
///
/// # Errors
/// When they cannot be read.
pub fn routes() -> io::Result<Vec<Route>> {
    std::fs::read_to_string("/proc/net/route").map(|table| parse(&table))
}

/// Routes of `/proc/net/route`; lines that are none are skipped.
fn parse(table: &str) -> Vec<Route> {
    table.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // The kernel prints addresses as numbers in the byte order of the machine.
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
    };
    let (destination, mask) = (address(fields.get(1)?)?, address(fields.get(7)?)?);
    let network = Ipv4Net::with_netmask(destination, mask).ok()?;
    let gateway = address(fields.get(2)?).filter(|gateway| !gateway.is_unspecified());
    Some(Route { interface: (*fields.first()?).to_owned(), network, gateway })
}

/// The first of `routes` that `pool` overlaps and that is not a network of our own in it. The
/// default route covers everything and conflicts with nothing.
pub fn conflict(pool: Ipv4Net, routes: &[Route]) -> Option<&Route> {
    // Our own bridges inside of the pool are the pool at work (`NetworkSpec::bridge`).
    let foreign =
        |route: &&Route| !(pool.contains(&route.network) && is_our_bridge(&route.interface));
    let overlaps = |route: &&Route| {
        pool.contains(&route.network.network()) || route.network.contains(&pool.network())
    };
    let real = routes.iter().filter(|route| route.network.prefix_len() > 0);
    real.filter(foreign).find(overlaps)
}

/// Whether an interface is named as ours are: `fi` or `fx`, and 10 hex digits.
fn is_our_bridge(interface: &str) -> bool {
    ["fi", "fx"]
        .iter()
        .filter_map(|prefix| interface.strip_prefix(prefix))
        .any(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The next hop towards the world.
pub fn router(routes: &[Route]) -> Option<Ipv4Addr> {
    routes.iter().filter(|route| route.network.prefix_len() == 0).find_map(|route| route.gateway)
}

/// The address of this machine towards the world; `None` when no route leads there.
pub fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Sends nothing: the kernel looks up the route. The address is one for documentation.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
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
fx00aa11bb22\t2000500A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
garbage
";

    fn found(pool: &str, table: &str) -> Option<String> {
        let routes = parse(table);
        conflict(pool.parse().unwrap(), &routes)
            .map(|it| format!("{} {}", it.interface, it.network))
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn overlaps_in_both_directions_are_found() {
        let docker = Some("docker0 172.17.0.0/16".to_owned());
        assert_eq!(found("172.16.0.0/12", TABLE), docker);
        assert_eq!(found("172.17.4.0/24", TABLE), docker);
        assert_eq!(found("192.0.2.0/24", TABLE), Some("eth0 192.0.2.0/24".to_owned()));
        assert_eq!(found("10.96.0.0/15", TABLE), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn our_own_networks_do_not_count() {
        assert_eq!(parse(TABLE).len(), 5);
        assert_eq!(found("10.80.0.0/15", TABLE), None);
        let foreign = TABLE.replace("fi00aa11bb22", "br-00aa11bb22");
        let wanted = Some("br-00aa11bb22 10.80.0.16/28".to_owned());
        assert_eq!(found("10.80.0.0/15", &foreign), wanted);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_router_is_the_next_hop_of_the_default_route() {
        assert_eq!(router(&parse(TABLE)), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(router(&parse("header\n")), None);
    }
}
