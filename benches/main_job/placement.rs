//! Where a thousand instances go, one after another, over fifty nodes that fill up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context as _, Result};
use flagops::model::{BuildKey, BuildState, ContainerRuntime, Duty, NodeId};
use flagops::planner::placement::{Candidate, Wanted, place};

use crate::report::Report;

const NODES: usize = 50;
const STARTS: usize = 1_000;
const TEAMS: usize = 100;
/// Images on each node, of two hundred challenges.
const IMAGES: u8 = 200;

/// Measures and reports.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let ids: Vec<NodeId> = (0..NODES).map(|n| format!("n{n}").parse()).collect::<Result<_, _>>()?;
    let keys: Vec<BuildKey> = (0..IMAGES).map(|n| BuildKey::from_digest([n; 32])).collect();
    let builds: BTreeMap<BuildKey, BuildState> =
        keys.iter().map(|key| (*key, BuildState::Built)).collect();
    let (labels, runtimes) = (BTreeMap::new(), BTreeSet::new());
    let mut carried = [0_u32; NODES];
    let mut of_teams = [[0_u32; TEAMS]; NODES];
    let mut times = Vec::new();
    for start in 0..STARTS {
        let team = start % TEAMS;
        let begin = Instant::now();
        let candidates: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(nth, id)| Candidate {
                id,
                is_healthy: true,
                duty: Duty::Active,
                closed: "",
                labels: &labels,
                runtimes: &runtimes,
                builds: &builds,
                capacity: 40,
                n_instances: carried[nth],
                n_of_team: of_teams[nth][team],
                memory_bytes: 64 << 30,
                memory_used_bytes: u64::from(carried[nth]) * (256 << 20),
                overcommit_percent: 200,
            })
            .collect();
        let wanted = Wanted {
            images: &keys[start % 100..start % 100 + 3],
            runtime: ContainerRuntime::Default,
            memory_bytes: 256 << 20,
            labels: &labels,
        };
        let node = place(&wanted, &candidates).node.context("there is room")?;
        times.push(begin.elapsed());
        let nth = ids.iter().position(|id| *id == node).context("it is one of them")?;
        carried[nth] += 1;
        of_teams[nth][team] += 1;
    }
    times.sort_unstable();
    let micros = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    let shown = format!("{} µs, p99 {} µs", micros(50), micros(99));
    report.number("place, 1,000 starts over 50 nodes, each", shown, "p99 < 1,000 µs");
    Ok(())
}
