//! Whether the node has room for the event: teams times challenges against pool, ports and memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, Verdict};
use crate::catalog::{self, Policy};
use crate::config::Config;
use crate::git::WorkTree;
use crate::model::Challenge;
use crate::planner::capacity::{Bound, Have, Need, bounds, networks};
use crate::release::spec::instance_spec;
use crate::runtime::EngineInfo;

/// Checks the challenges of folder `challenges` for so many teams, or says how many fit.
pub(super) fn check(
    config: &Config,
    info: Option<&EngineInfo>,
    challenges: Option<&Path>,
    teams: Option<u32>,
) -> Vec<Check> {
    let Some(folder) = challenges else { return Vec::new() };
    let needs = match needs(folder) {
        Ok(needs) => needs,
        Err(error) => {
            let found = format!("could not read `{}` ({error})", folder.display());
            let fix = "name the repository with `--challenges PATH`";
            return vec![Check::new(Verdict::Unknown, "capacity", found, fix)];
        }
    };
    let network = &config.network;
    let have = Have {
        networks: networks(network.pool.prefix_len(), network.prefix_len),
        ports: u64::from(network.last_port.saturating_sub(network.first_port)) + 1,
        memory_bytes: info.map_or(0, |info| info.memory_bytes),
        instances: config.limits.instances_per_node.into(),
    };
    let n_challenges = needs.iter().filter(|need| need.instances > 0).count();
    let per_team: Need = needs.into_iter().sum();
    let bounds = bounds(&have, &per_team);
    // A machine that did not say how much memory it has says nothing about it.
    let known = bounds.into_iter().filter(|it| it.what != "memory" || info.is_some());
    known.filter_map(|bound| judge(&bound, n_challenges, teams)).collect()
}

fn judge(bound: &Bound, n_challenges: usize, teams: Option<u32>) -> Option<Check> {
    let fit = bound.teams?;
    let (what, amount) = (bound.what, |n: u64| amount(bound.what, n));
    let found = format!(
        "room for {fit} teams that play all {n_challenges} challenges at once: {} of {what}, {} a team",
        amount(bound.have),
        amount(bound.per_team)
    );
    let name = format!("capacity: {what}");
    let fix = match what {
        "networks" => "enlarge `network.pool`, or make `network.prefix_len` longer",
        "ports" => "widen `network.first_port` to `network.last_port`",
        "memory" => "lower the limits of services, or take a larger machine",
        _ => "raise `limits.instances_per_node`",
    };
    Some(match teams {
        Some(teams) if fit < u64::from(teams) => {
            Check::new(Verdict::Warning, name, format!("{found}; {teams} are expected"), fix)
        }
        Some(_) | None => Check::ok(name, found),
    })
}

fn amount(what: &str, n: u64) -> String {
    if what == "memory" { format!("{} MiB", n >> 20) } else { n.to_string() }
}

/// What one instance of each challenge needs.
fn needs(folder: &Path) -> Result<Vec<Need>, Box<dyn std::error::Error>> {
    let tree = WorkTree::open(folder)?;
    let catalog = catalog::load(&tree, None, &Policy::default())?;
    let challenges = catalog.folders.values().filter_map(|folder| folder.challenge.as_ref());
    Ok(challenges.map(|challenge| need(challenge)).collect())
}

fn need(challenge: &Challenge) -> Need {
    let services = challenge.compose.iter().flat_map(|compose| &compose.services);
    // Which image it is does not matter here.
    let images: BTreeMap<_, _> =
        services.map(|service| (service.name.clone(), "any".to_owned())).collect();
    let Ok(spec) = instance_spec(challenge, &images) else { return Need::default() };
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let published = spec.services.iter().flat_map(|service| &service.ports);
    Need {
        networks: count(spec.networks.len()),
        ports: count(published.filter(|port| !port.is_hidden).count()),
        memory_bytes: spec.services.iter().map(|service| service.limits.memory_bytes).sum(),
        instances: u64::from(!spec.services.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_a_warning_with_the_setting_to_change() {
        let bound = Bound { what: "networks", have: 256, per_team: 3, teams: Some(85) };
        let enough = judge(&bound, 2, Some(85)).unwrap();
        assert_eq!(enough.verdict, Verdict::Ok);
        assert_eq!(
            enough.found,
            "room for 85 teams that play all 2 challenges at once: 256 of networks, 3 a team"
        );
        let short = judge(&bound, 2, Some(86)).unwrap();
        assert_eq!(short.verdict, Verdict::Warning);
        assert!(short.found.ends_with("; 86 are expected"), "{short:?}");
        assert!(short.fix.contains("network.pool"), "{short:?}");
        assert_eq!(judge(&Bound { teams: None, ..bound }, 0, Some(9)), None);
    }

    #[test]
    fn what_an_instance_needs_is_what_it_would_be_made_of() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
        let needs = needs(&example).unwrap();
        let all: Need = needs.iter().copied().sum();
        assert!(all.instances >= 3 && all.networks >= all.instances, "{all:?}");
        assert!(all.memory_bytes > 64 << 20 && all.ports > 0, "{all:?}");
    }
}
