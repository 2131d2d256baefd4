//! Says what is wanted, what is seen, what happens next, and why nothing happens if nothing does.
//!
//! In:  what the planner decides from, and what it decided. Out: sentences, the same for `flagops
//! explain`, `flagops plan` and the API.
//!
//! # Invariants
//! * A report without a next step says why there is none.
//! * No answer and no output of a container is in it.

use super::{Action, Observed, Plan, ServiceState, Verdict, drift, lifecycle, shortfall};
use crate::model::{Instance, InstancePhase, Pause, Timestamp};
use crate::release::spec::InstanceSpec;

/// What is said about one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wanted.
    pub wanted: String,
    /// What is seen, a line each.
    pub seen: Vec<String>,
    /// What happens next, in this order.
    pub next: Vec<String>,
    /// Why nothing, or nothing more, happens.
    pub because: Vec<String>,
    /// Whether a person keeps something from happening.
    pub is_held: bool,
}

/// What is known beside the observation.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Whether the engine answered its last real create.
    pub is_engine_ready: bool,
    /// Why our own work on it is suspended.
    pub suspended: Option<&'a Pause>,
    /// Why it does not end.
    pub held: Option<&'a Pause>,
    /// The time now.
    pub now: Timestamp,
}

/// Reports one instance. `observed` is `None` when the engine could not be asked.
pub fn instance(
    row: &Instance,
    spec: &InstanceSpec,
    observed: Option<(&Observed, &Plan)>,
    around: Around<'_>,
) -> Report {
    let mut report = Report { wanted: wanted(row), ..Report::default() };
    let Some((observed, plan)) = observed else {
        report.seen.push("the container engine could not be asked".to_owned());
        report.because.push(
            "what cannot be seen is not changed; `flagops doctor` looks at the engine".to_owned(),
        );
        return report;
    };
    report.seen = seen(spec, observed);
    for drift in drift::classify(row, spec, observed) {
        report.because.push(format!("drift {} {}: {drift}", drift.class.code(), drift.class));
    }
    report.next = plan.actions.iter().map(say).collect();
    if let Verdict::Failed(reason) = &plan.verdict {
        report.next = vec![format!("take everything of it down: {reason}")];
    }
    reasons(&mut report, row, (spec, observed), plan, around);
    report
}

fn wanted(row: &Instance) -> String {
    match row.phase {
        InstancePhase::Stopped => "nothing: it was stopped".to_owned(),
        InstancePhase::Failed => {
            let error = row.error.as_deref().unwrap_or("it failed");
            format!("nothing: {error}; the error stays until its owner stops it")
        }
        InstancePhase::Removing => {
            let reason = row.stop_reason.map_or("it ends", |reason| reason.as_str());
            format!("that nothing of it is left ({reason})")
        }
        InstancePhase::Queued
        | InstancePhase::Preparing
        | InstancePhase::Creating
        | InstancePhase::Starting
        | InstancePhase::Probing
        | InstancePhase::Ready => {
            format!("that it runs and is usable until {}", row.expires_at)
        }
    }
}

fn seen(spec: &InstanceSpec, observed: &Observed) -> Vec<String> {
    let mut lines = Vec::new();
    for wish in &spec.networks {
        let state = if observed.networks.contains_key(&wish.name) { "there" } else { "missing" };
        lines.push(format!("network `{}`: {state}", wish.name));
    }
    if !spec.templates.is_empty() {
        let state = if observed.is_rendered { "rendered" } else { "not rendered" };
        lines.push(format!("files of its players: {state}"));
    }
    if !spec.exports.is_empty() {
        let state = if observed.is_collected { "taken out" } else { "not taken out" };
        lines.push(format!("files that its services write: {state}"));
    }
    for volume in &spec.volumes {
        let state = if observed.volumes.contains(volume) { "there" } else { "missing" };
        lines.push(format!("volume `{volume}`: {state}"));
    }
    for volume in &observed.stray_volumes {
        lines.push(format!("volume `{volume}`: left by an earlier incarnation"));
    }
    for (container, service) in &observed.duplicates {
        lines.push(format!("container {container}: a second one for service `{service}`"));
    }
    for service in &spec.services {
        let state = observed.services.get(&service.name).map(|seen| &seen.state);
        let deaths = match observed.crashes.get(&service.name) {
            Some(crashes) => format!(", died {} times in ten minutes", crashes.n_recent),
            None => String::new(),
        };
        lines.push(format!("service `{}`: {}{deaths}", service.name, describe(state)));
    }
    lines
}

fn describe(state: Option<&ServiceState>) -> String {
    match state {
        None => "no container".to_owned(),
        Some(ServiceState::Empty) => "made, without its answers".to_owned(),
        Some(ServiceState::Filled) => "made, answers in place".to_owned(),
        Some(ServiceState::Running) => "runs, not proved usable".to_owned(),
        Some(ServiceState::Usable) => "usable".to_owned(),
        Some(ServiceState::Exited { is_oom: true, .. }) => {
            "was killed for using more memory than its limit".to_owned()
        }
        Some(ServiceState::Exited { code, .. }) => format!("exited with code {code}"),
        Some(ServiceState::Wrong(flaw)) => format!("{flaw}: it is made anew"),
    }
}

/// An action in words.
pub fn say(action: &Action) -> String {
    match action {
        Action::Render => "render the files of its players".to_owned(),
        Action::Collect => "take out what its services wrote for its players".to_owned(),
        Action::ClaimNetwork(name) => format!("take or make the network `{name}`"),
        Action::CreateVolume(name) => format!("make the volume `{name}`"),
        Action::Create(name) => format!("make the container of `{name}`"),
        Action::Fill(name) => format!("put the answers into `{name}`"),
        Action::Start(name) => format!("start `{name}`"),
        Action::Probe(name) => format!("wait until `{name}` is usable"),
        Action::AwaitExit(name) => format!("wait until `{name}` is done"),
        Action::Remove(name) => format!("remove the container of `{name}`"),
        Action::RemoveDuplicate(id) => format!("remove the second container {id}"),
        Action::RemoveVolume(name) => format!("remove the volume `{name}`"),
        Action::RemoveStray(name) => format!("remove the volume `{name}` of before the reset"),
        Action::ReleaseNetwork(name) => format!("give the network `{name}` back"),
    }
}

fn reasons(
    report: &mut Report,
    row: &Instance,
    (spec, observed): (&InstanceSpec, &Observed),
    plan: &Plan,
    around: Around<'_>,
) {
    if let Some(pause) = around.suspended.filter(|_| row.phase == InstancePhase::Ready) {
        report.because.push(format!("our work on it is suspended {pause}"));
        report.is_held |= plan.verdict != Verdict::Usable;
    }
    if let Some(pause) = around.held {
        report.because.push(format!("it does not end: held {pause}"));
        report.is_held |= row.expires_at <= around.now;
    }
    if !around.is_engine_ready && plan.verdict != Verdict::Usable {
        report.because.push(
            "the container engine did not create at its last proof; it is asked again every two seconds"
                .to_owned(),
        );
    }
    if let Some(at) = plan.wake_at {
        report.because.push(format!("a service that died waits for its next start at {at}"));
    }
    let is_over = !row.phase.is_live();
    match &plan.verdict {
        _ if is_over => report.because.push("it is over".to_owned()),
        Verdict::Usable => report.because.push("everything is as wanted".to_owned()),
        Verdict::Gone => report.because.push("nothing of it is left".to_owned()),
        Verdict::Failed(_) => (),
        Verdict::Progress(_) => {
            if let Some(missing) = shortfall(spec, observed) {
                report.because.push(missing);
            } else if report.next.is_empty() && plan.wake_at.is_none() {
                report.because.push("it waits for what is under way".to_owned());
            }
        }
    }
    if lifecycle::want(row) == super::Want::Run
        && row.expires_at <= around.now
        && around.held.is_none()
    {
        report.because.push("its lease is over: it ends within a second".to_owned());
    }
}
