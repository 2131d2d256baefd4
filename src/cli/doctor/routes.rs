//! Whether the address pool of instances overlaps a network that this machine already reaches.

use ipnet::Ipv4Net;

use super::{Check, Verdict};
use crate::runtime::routes::{self, Route};

/// Checks `pool` against the routes of this machine.
pub(super) fn check(pool: Ipv4Net) -> Vec<Check> {
    vec![match routes::routes() {
        Ok(routes) => judge(pool, &routes),
        Err(error) => Check::new(
            Verdict::Unknown,
            "address pool",
            format!("could not read the routes of this machine ({error})"),
            "look on the machine of the engine",
        ),
    }]
}

fn judge(pool: Ipv4Net, routes: &[Route]) -> Check {
    match routes::conflict(pool, routes) {
        None => Check::ok("address pool", format!("{pool} overlaps no route of this machine")),
        Some(Route { interface, network, .. }) => Check::new(
            Verdict::Broken,
            "address pool",
            format!("{pool} overlaps {network}, which is reached through `{interface}`"),
            "set `network.pool` to a private network that nothing here uses",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_told_with_the_interface() {
        let network = "10.80.0.16/28".parse().unwrap();
        let routes = [Route { interface: "br-lan".to_owned(), network, gateway: None }];
        let check = judge("10.80.0.0/15".parse().unwrap(), &routes);
        assert_eq!(check.verdict, Verdict::Broken);
        assert_eq!(
            check.found,
            "10.80.0.0/15 overlaps 10.80.0.16/28, which is reached through `br-lan`"
        );
        assert_eq!(judge("10.96.0.0/15".parse().unwrap(), &routes).verdict, Verdict::Ok);
    }
}
