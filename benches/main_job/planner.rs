//! The planner over a whole event: five thousand instances, all of them as wanted, and all of them
//! to be repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, ensure};
use flagops::model::Timestamp;
use flagops::planner::{Observed, ServiceSeen, ServiceState, Want, plan};
use flagops::release::spec::InstanceSpec;

use crate::report::Report;

/// Instances.
const N: usize = 5_000;
/// Passes.
const RUNS: usize = 20;

/// Two services, two networks, a volume and an answer, as the store has it.
const SPEC: &str = r#"{"schema":1,"challenge":"WEB-001","services":[
{"name":"db","image":"sha256:1","command":null,"entrypoint":null,"environment":{},"answer_environment":[],"answers":{"Only":[]},"ports":[],"depends_on":{},"healthcheck":null,"networks":{"back":[]},"volumes":[{"source":"data","target":"/data","is_read_only":false}],"tmpfs":[],"limits":{"memory_bytes":67108864,"cpu_millis":500,"pids":256,"shm_bytes":67108864,"nofile":[4096,16384]},"user":null,"working_dir":null,"hostname":null,"capabilities":[],"is_read_only":false,"stop_signal":null,"stop_grace_millis":0,"restart":"OnFailure"},
{"name":"web","image":"sha256:2","command":null,"entrypoint":null,"environment":{},"answer_environment":[],"answers":{"Only":["flag"]},"ports":[{"target":8080,"transport":"tcp","kind":"http"}],"depends_on":{"db":"service_healthy"},"healthcheck":null,"networks":{"back":[],"front":[]},"volumes":[],"tmpfs":[],"limits":{"memory_bytes":67108864,"cpu_millis":500,"pids":256,"shm_bytes":67108864,"nofile":[4096,16384]},"user":null,"working_dir":null,"hostname":null,"capabilities":[],"is_read_only":false,"stop_signal":null,"stop_grace_millis":0,"restart":"OnFailure"}],
"networks":[{"name":"back","is_internal":true},{"name":"front","is_internal":false}],"volumes":["data"],"answers":{"flag":"flag"}}"#;

/// Measures and reports.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let spec: InstanceSpec = serde_json::from_str(SPEC)?;
    let dead = ServiceState::Exited { code: 1, is_oom: false };
    for (name, web, n_actions) in
        [("as wanted", ServiceState::Usable, 0), ("to be repaired", dead, N)]
    {
        let observed = vec![observed(&web)?; N];
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let begin = Instant::now();
            let planned: usize = observed
                .iter()
                .map(|it| plan(&spec, Want::Run, it, Timestamp::from_millis(1)).actions.len())
                .sum();
            times.push(begin.elapsed());
            ensure!(planned == n_actions, "{planned} actions are planned, not {n_actions}");
        }
        report.time(&format!("plan, 5,000 instances {name}"), &times, "< 50 ms");
    }
    Ok(())
}

fn observed(web: &ServiceState) -> Result<Observed> {
    let seen = |state: &ServiceState| ServiceSeen { container: "c".into(), state: state.clone() };
    Ok(Observed {
        networks: ["back", "front"].map(|name| (name.to_owned(), name.to_owned())).into(),
        volumes: BTreeSet::from(["data".to_owned()]),
        stray_volumes: BTreeSet::new(),
        lost_volumes: BTreeSet::new(),
        duplicates: BTreeMap::new(),
        services: BTreeMap::from([
            ("db".parse()?, seen(&ServiceState::Usable)),
            ("web".parse()?, seen(web)),
        ]),
        crashes: BTreeMap::new(),
        was_ready: true,
        is_rendered: true,
        is_collected: true,
    })
}
