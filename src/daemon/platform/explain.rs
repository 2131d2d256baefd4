//! What is wanted, what is seen, what happens next, and why nothing happens if nothing does.

use super::{ChallengeState, Outcome, Platform, PlatformError};
use crate::daemon::observe::View;
use crate::daemon::{nodes, specs};
use crate::model::{
    BuildState, ChallengeId, ConditionStatus, Instance, InstanceId, NodeId, Scope, Waiting,
};
use crate::planner::report::{self, Around, Report};
use crate::planner::{self, lifecycle};
use crate::release::chain::{self, Link, Origin};
use crate::runtime::{ContainerSeen, NetworkSeen, VolumeSeen};
use crate::store::{InstanceFilter, NetworkRow, NetworkState, Which};

/// A report, and what it is about.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The object.
    pub scope: Scope,
    /// What is said about it.
    pub report: Report,
    /// Where it comes from; empty in plans, and for what comes from nowhere.
    pub chain: Vec<Link>,
}

impl Explained {
    fn planned(scope: Scope, report: Report) -> Self {
        Self { scope, report, chain: Vec::new() }
    }
}

/// One listing of everything that the engine has.
struct Listing {
    containers: Vec<ContainerSeen>,
    networks: Vec<NetworkSeen>,
    volumes: Vec<VolumeSeen>,
    rows: Vec<NetworkRow>,
}

impl Listing {
    fn view(&self) -> View<'_> {
        View::new(&self.containers, &self.networks, &self.volumes, &self.rows)
    }
}

impl Platform {
    /// Explains one object, from a look at it now. Changes nothing.
    ///
    /// # Errors
    /// When there is no such object, or the store fails. An engine that fails is in the report.
    pub async fn explain(&self, scope: &Scope) -> Outcome<Explained> {
        let (report, origin) = match scope {
            Scope::Instance(id) => self.explain_instance(*id).await?,
            Scope::Challenge(id) => self.explain_challenge(id).await?,
            Scope::Node(id) if *id != NodeId::local() => {
                (self.explain_remote_node(id).await?, None)
            }
            Scope::Node(_) | Scope::Repo | Scope::Release => (self.explain_node().await?, None),
        };
        let chain = origin.as_ref().map(chain::links).unwrap_or_default();
        Ok(Explained { scope: scope.clone(), report, chain })
    }

    /// Everything that would be done now: a report for every object with a next step, or that is
    /// kept from one. Changes nothing.
    ///
    /// # Errors
    /// When the store fails, or the engine cannot be asked: then there is no plan, not an empty
    /// one.
    pub async fn plan(&self) -> Outcome<Vec<Explained>> {
        let listing = self.listing().await.ok_or(PlatformError::EngineUnavailable)?;
        let mut plan = Vec::new();
        for state in self.challenge_states().await? {
            let report = self.report_of_challenge(&state);
            if !report.next.is_empty() || report.is_held {
                plan.push(Explained::planned(Scope::Challenge(state.id), report));
            }
        }
        let live = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
        let view = listing.view();
        for row in self.shared.store.instances(live).await? {
            let report = self.report_of(&row, Some(&view)).await?;
            if !report.next.is_empty() || report.is_held {
                plan.push(Explained::planned(Scope::Instance(row.id), report));
            }
        }
        Ok(plan)
    }

    /// What the engine has; `None` when a part of it could not be listed.
    async fn listing(&self) -> Option<Listing> {
        let engine = &self.shared.engine;
        let (containers, networks, volumes, rows) = tokio::join!(
            engine.containers(None),
            engine.networks(),
            engine.volumes(),
            self.shared.store.networks(),
        );
        Some(Listing {
            containers: containers.ok()?,
            networks: networks.ok()?,
            volumes: volumes.ok()?,
            rows: rows.ok()?,
        })
    }

    async fn explain_instance(&self, id: InstanceId) -> Outcome<(Report, Option<Origin>)> {
        let unknown = || PlatformError::InstanceNotFound { id: id.to_string() };
        if let Some(waiting) = self.shared.store.waiting_start(id).await? {
            return Ok((self.report_of_waiting(&waiting), None));
        }
        let row = self.shared.store.instance(id).await?.ok_or_else(unknown)?;
        let listing = self.listing().await;
        let view = listing.as_ref().map(Listing::view);
        let report = self.report_of(&row, view.as_ref()).await?;
        Ok((report, Some(self.origin_of(&row).await?)))
    }

    async fn report_of(&self, row: &Instance, view: Option<&View<'_>>) -> Outcome<Report> {
        if row.node != NodeId::local() {
            return Ok(self.report_of_remote(row));
        }
        let unknown = || PlatformError::InstanceNotFound { id: row.id.to_string() };
        let stored = specs::of(&self.shared, row).await?.ok_or_else(unknown)?;
        let spec = &stored.spec;
        let now = self.now();
        let pauses = self.shared.pauses.load();
        let around = Around {
            is_engine_ready: self.is_engine_ready(),
            suspended: pauses.suspended_instance(row.id, &row.challenge),
            held: pauses.held_instance(row.id),
            now,
        };
        let observed = view.map(|view| {
            let mut observed = view.of(&self.shared, row, spec, &stored.hash);
            observed.crashes = self.shared.queue.crashes_of(row.id);
            let plan = planner::plan(spec, lifecycle::want(row), &observed, now);
            (observed, plan)
        });
        let observed = observed.as_ref().map(|(observed, plan)| (observed, plan));
        Ok(report::instance(row, spec, observed, around))
    }

    /// What a start waits for.
    fn report_of_waiting(&self, waiting: &Waiting) -> Report {
        let wanted = format!("an instance of {} for team {}", waiting.challenge, waiting.team);
        let mut report = Report { wanted, ..Report::default() };
        match (&waiting.failure, self.place_in_line(waiting)) {
            (Some((why, _)), _) => report.because.push(why.clone()),
            (None, place) => {
                let place = place.map(|it| it.to_string()).unwrap_or_default();
                report.seen.push(format!("it waits for room: {place}"));
                report.next.push("start it on the first node that has room".to_owned());
                report.because.extend(self.why_waiting(waiting.id));
            }
        }
        report
    }

    /// What is known of an instance on another node.
    fn report_of_remote(&self, row: &Instance) -> Report {
        let wanted = match lifecycle::want(row) {
            planner::Want::Run => format!("that it runs on node {}", row.node),
            planner::Want::Gone => format!("that nothing of it is left on node {}", row.node),
        };
        let mut report = Report { wanted, ..Report::default() };
        let phase = row.phase;
        report.seen.push(format!("here: {phase}, incarnation {}", row.n_resets));
        let said = self.shared.nodes.said(&row.node, row.id);
        report.seen.push(match &said {
            Some(said) => {
                format!("its node said last: {}, incarnation {}", said.status, said.n_resets)
            }
            None => "its node did not speak of it in its last heartbeat".to_owned(),
        });
        if let Some(words) = self.shared.obstacle_of(row.id) {
            report.because.push(words.to_owned());
        }
        let is_agreed = said.is_some_and(|it| it.status == "ready" && it.n_resets == row.n_resets)
            && phase == crate::model::InstancePhase::Ready;
        if is_agreed {
            report.because.push("both agree: everything is as wanted".to_owned());
        } else if row.phase.is_live() {
            report.next.push(format!("ask node {} how it stands, and take one step", row.node));
        }
        report
    }

    /// One node that joined.
    async fn explain_remote_node(&self, id: &NodeId) -> Outcome<Report> {
        let state = self.node(id.as_str()).await?;
        let node = &state.node;
        let mut report = Report {
            wanted: "that it is heard of, follows what is live, and has every image".to_owned(),
            ..Report::default()
        };
        report.seen.push(format!("last heard of at {}", node.last_beat));
        report.seen.push(format!("{} instances of at most {}", state.n_instances, node.capacity));
        let generation = self.shared.store.active().await?.map_or(0, |(it, _)| it.number);
        let follows = node.report.generation;
        report.seen.push(format!("it follows generation {follows}, live is {generation}"));
        if !state.is_healthy {
            report.because.push(
                "it was not heard of lately: is it running, and does it reach this platform?"
                    .to_owned(),
            );
        }
        if node.duty != crate::model::Duty::Active {
            report.is_held = true;
            report.because.push(format!("a person wants it {}", node.duty));
        }
        for why in [&node.report.closed, &node.report.mismatch] {
            if !why.is_empty() {
                report.because.push(why.clone());
            }
        }
        if follows < generation && node.report.mismatch.is_empty() {
            report.next.push("follow with its next heartbeat".to_owned());
        }
        if report.because.is_empty() && report.next.is_empty() {
            report.because.push("everything is as wanted".to_owned());
        }
        Ok(report)
    }

    /// Where an instance of a challenge would go now, and why not elsewhere.
    async fn say_where(&self, state: &ChallengeState, report: &mut Report) -> Outcome<()> {
        let Some(live) = &state.live else { return Ok(()) };
        if self.shared.nodes.roster().is_empty() && self.has_local_node() {
            return Ok(());
        }
        let team = crate::model::TeamId::new(uuid::Uuid::nil());
        let placement = nodes::place::choose(&self.shared, &live.challenge, team, None).await?;
        match &placement.node {
            Some(node) => report.seen.push(format!("an instance would go to node {node} now")),
            None => report.because.push("no node takes an instance of it now".to_owned()),
        }
        for (node, why) in &placement.refused {
            report.because.push(format!("not to node {node}: {why}"));
        }
        Ok(())
    }

    async fn explain_challenge(&self, id: &ChallengeId) -> Outcome<(Report, Option<Origin>)> {
        let states = self.challenge_states().await?;
        let unknown = || PlatformError::ChallengeNotFound { id: id.to_string() };
        let state = states.into_iter().find(|state| state.id == *id).ok_or_else(unknown)?;
        let origin = match &state.live {
            Some(live) => Some(self.origin_of_live(live).await?),
            None => None,
        };
        let mut report = self.report_of_challenge(&state);
        self.say_where(&state, &mut report).await?;
        Ok((report, origin))
    }

    fn report_of_challenge(&self, state: &ChallengeState) -> Report {
        let wanted = match state.head_tree {
            Some(tree) => format!(
                "that players get the newest version that is valid and built (now tree {tree})"
            ),
            None => "that it is taken away: its folder is gone from the newest revision".to_owned(),
        };
        let mut report = Report { wanted, ..Report::default() };
        report.seen.push(match &state.live {
            Some(live) => {
                format!(
                    "live: tree {} of commit {}, since {}",
                    live.challenge.tree, live.revision, live.since
                )
            }
            None => "nothing is live".to_owned(),
        });
        for build in &state.builds {
            let error =
                build.error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
            report.seen.push(format!(
                "image of `{}`: {}{error}",
                build.service,
                build.state.as_str()
            ));
        }
        let is_current =
            state.live.as_ref().is_some_and(|live| Some(live.challenge.tree) == state.head_tree);
        if !is_current {
            say_what_a_challenge_waits_for(&mut report, state);
        } else {
            report.because.push("players get the newest version".to_owned());
        }
        let pauses = self.shared.pauses.load();
        if let Some(pause) = pauses.suspended_challenge(&state.id) {
            report.is_held |= !report.next.is_empty();
            report.because.push(format!("our work on it is suspended {pause}"));
        }
        if let Some(pause) = pauses.held_challenge(&state.id) {
            report.is_held = true;
            report.because.push(format!("nobody starts it: held {pause}"));
        }
        report
    }

    async fn explain_node(&self) -> Outcome<Report> {
        let mut report = Report {
            wanted: "that the engine creates, and has nothing that nobody wants".to_owned(),
            ..Report::default()
        };
        let counts = self.counts().await?;
        report.seen.push(format!(
            "{} instances run or start, of at most {}",
            counts.running_instances, counts.max_instances
        ));
        match self.listing().await {
            Some(listing) => {
                report.seen.push(format!(
                    "{} containers, {} networks and {} volumes of ours",
                    listing.containers.len(),
                    listing.networks.len(),
                    listing.volumes.len()
                ));
                let n_stock =
                    listing.rows.iter().filter(|row| row.state == NetworkState::Ready).count();
                report.seen.push(format!("{n_stock} networks are ready for the next starts"));
            }
            None => report
                .because
                .push("the container engine could not be listed, so nothing is removed".to_owned()),
        }
        for condition in self.conditions().await? {
            let is_of_node = condition.scope == Scope::Node(NodeId::local());
            let is_trouble = match condition.kind {
                crate::model::ConditionType::DockerAvailable => {
                    condition.status != ConditionStatus::True
                }
                _ => condition.status == ConditionStatus::True,
            };
            if is_of_node && is_trouble {
                report.because.push(format!("{}: {}", condition.kind, condition.message));
            }
        }
        if report.because.is_empty() {
            report.because.push("everything is as wanted".to_owned());
        }
        Ok(report)
    }
}

/// Why the newest version is not the live one.
fn say_what_a_challenge_waits_for(report: &mut Report, state: &ChallengeState) {
    if state.head_tree.is_none() {
        report.next.push("take it away".to_owned());
        return;
    }
    if !state.is_valid {
        let first = state.findings.iter().min_by_key(|finding| finding.weight());
        let why = first.map_or_else(|| "it is invalid".to_owned(), ToString::to_string);
        report.because.push(format!("its newest version is held back: {why}"));
        return;
    }
    match state.build {
        BuildState::Built => report.next.push("let the newest version go live".to_owned()),
        BuildState::Unbuilt | BuildState::Building => {
            report.next.push("build its images, then let it go live".to_owned());
        }
        BuildState::Failed => report.because.push(
            "an image could not be built; mend it, or ask again with `flagops builds retry`"
                .to_owned(),
        ),
    }
}
