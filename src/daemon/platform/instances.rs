//! Starting, showing, renewing and stopping instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::competitions::check_reach;
use super::{Denial, LiveChallenge, Outcome, Platform, PlatformError, Seen, StartRequest};
use crate::builder::JobState;
use crate::contest::{Contest, LeaseBounds, lease};
use crate::daemon::doubts::Doubt;
use crate::daemon::shared::Statement;
use crate::daemon::{
    activities, books, builds, isolation, leases, nodes, queue, records, repairs, versions,
};
use crate::model::{
    Actor, AskedFor, Build, BuildState, Caller, Challenge, ChallengeId, ConditionStatus,
    ConditionType, ContainerRuntime, Death, Endpoint, Happening, Instance, InstanceId,
    InstancePhase, NodeId, Role, Scope, ServiceName, StopReason, TeamId, UpdatePolicy, VpnProtocol,
};
use crate::planner::lifecycle::{self, Answers};
use crate::release::identity::build_units;
use crate::release::spec::{InstanceSpec, SpecError, instance_spec};
use crate::render;
use crate::store::{
    InsertError, InstanceFilter, InstanceLimits, NewInstance, PortRange, Repeats, Which,
};

/// An instance that somebody wants, after everything was checked but whether there is room.
pub(super) struct Wish {
    pub(super) id: InstanceId,
    pub(super) contest: Arc<Contest>,
    pub(super) live: LiveChallenge,
    pub(super) team: TeamId,
    pub(super) ttl_secs: Option<i64>,
    pub(super) repeats: Repeats,
}

impl Platform {
    /// Starts an instance for the caller's team; returns as soon as the intent is committed. One that
    /// no node has room for waits ([`place_in_line`](Self::place_in_line)).
    ///
    /// # Errors
    /// When the caller has no team, the challenge is not live, or a limit is reached.
    pub async fn start(&self, caller: &Caller, request: StartRequest) -> Outcome<Instance> {
        self.start_as(caller, request, InstanceId::new(Uuid::new_v4())).await
    }

    /// As [`start`](Self::start), under an id that the caller chose.
    pub(super) async fn start_as(
        &self,
        caller: &Caller,
        request: StartRequest,
        id: InstanceId,
    ) -> Outcome<Instance> {
        let (contest, team) = self.place(caller, &request.competition)?;
        let live = self.playable(&contest, &request.challenge)?;
        self.check_size(&contest, team).await?;
        let challenge = &live.challenge.id;
        if let Some(pause) = self.shared.pauses.load().held_challenge(challenge) {
            let what = format!("Challenge {challenge}");
            return Err(PlatformError::Held { what, pause: Box::new(pause.clone()) });
        }
        let wish =
            Wish { id, contest, live, team, ttl_secs: request.ttl_secs, repeats: request.repeats };
        // Who comes later does not go first.
        if !self.shared.line.load().is_empty() {
            return self.wait(caller, wish, None).await;
        }
        let node = match self.node_for(&wish.live.challenge, team).await? {
            Ok(node) => node,
            Err(full) => return self.wait(caller, wish, Some(full)).await,
        };
        let new = self.draft(&wish, node).await?;
        let instance = match self.shared.store.insert_instance(new).await {
            Ok(instance) => instance,
            Err(InsertError::NodeLimit { .. } | InsertError::NoFreePort) => {
                return self.wait(caller, wish, Some(at_capacity())).await;
            }
            Err(error) => return Err(refuse(error)),
        };
        queue::trigger(&self.shared, instance.id);
        if instance.id == wish.id {
            self.tell_started(&instance, activities::actor_of(caller), caller.address.clone());
        }
        Ok(instance)
    }

    /// Records that somebody's instance was taken on by a node.
    pub(super) fn tell_started(&self, instance: &Instance, actor: Actor, ip: String) {
        let happening = Happening::InstanceStarted {
            instance_id: instance.id,
            node_id: instance.node.to_string(),
            ip,
        };
        activities::of_instance(&self.shared, instance, actor, happening);
    }

    /// The row of an instance of `wish` on `node`, and what it consists of.
    pub(super) async fn draft(&self, wish: &Wish, node: NodeId) -> Outcome<NewInstance> {
        let challenge = &wish.live.challenge;
        let is_local = node == NodeId::local();
        let spec = if is_local {
            let spec = self.spec_of(challenge).await?;
            self.check_runtime(&spec).await?;
            spec
        } else {
            let unknown = || PlatformError::ChallengeNotFound { id: challenge.id.to_string() };
            remote_spec(challenge, self.shared.config.vpn.protocol).ok_or_else(unknown)?
        };
        let limits = &self.shared.config.limits;
        let per_node = self.capacity_of(&node);
        let ttl = lease::grant(wish.ttl_secs, &challenge.metadata.instance, self.lease_bounds());
        let now = self.now();
        let instance = Instance {
            node,
            // Elsewhere its node gives it ports.
            surface: if is_local { self.surface(wish.id, &spec) } else { Vec::new() },
            ..Instance::asked_for(
                AskedFor {
                    id: wish.id,
                    challenge: challenge.id.clone(),
                    team: wish.team,
                    competition: wish.contest.id.to_string(),
                    revision: wish.live.revision,
                    tree: challenge.tree,
                },
                now,
                ttl,
            )
        };
        let network = &self.shared.config.network;
        Ok(NewInstance {
            instance,
            spec,
            limits: InstanceLimits {
                per_team: wish.contest.instances_per_team.unwrap_or(limits.instances_per_team),
                per_node,
            },
            repeats: wish.repeats,
            ports: PortRange { first: network.first_port, last: network.last_port },
        })
    }

    /// The node that an instance of `challenge` goes to; the inner error when it needs only room.
    async fn node_for(
        &self,
        challenge: &Challenge,
        team: TeamId,
    ) -> Outcome<Result<NodeId, PlatformError>> {
        let shared = &self.shared;
        if shared.config.nodes.local && shared.nodes.roster().is_empty() {
            return match nodes::place::closed(shared) {
                Some(reason) => Err(PlatformError::NotIsolated { reason }),
                None => Ok(Ok(NodeId::local())),
            };
        }
        let placement = nodes::place::choose(shared, challenge, team, None).await?;
        let waits_for_room = placement.waits_for_room();
        let why = placement.why_not();
        if let Some(node) = placement.node {
            return Ok(Ok(node));
        }
        tracing::warn!(challenge.id = %challenge.id, "no node takes an instance of {}: {why}", challenge.id);
        if waits_for_room {
            return Ok(Err(at_capacity()));
        }
        let message = "No healthy node available. Organizers see why; try again in a moment";
        Err(PlatformError::Capacity { message: message.to_owned() })
    }

    /// Instances that a node takes on.
    fn capacity_of(&self, node: &NodeId) -> u32 {
        match self.shared.nodes.known(node) {
            Some(known) => known.node.capacity,
            None => self.shared.config.limits.instances_per_node,
        }
    }

    /// Refuses a team that has fewer members than the competition wants.
    async fn check_size(&self, contest: &Contest, team: TeamId) -> Outcome<()> {
        if contest.teams.min <= 1 {
            return Ok(());
        }
        let members = self.shared.store.members().await?;
        let n_members = members.get(&team).map_or(0, Vec::len);
        let is_whole = u32::try_from(n_members).is_ok_and(|n| n >= contest.teams.min);
        // A team with tokens of its own has no members that could be counted.
        if is_whole || self.team(team).await?.captain.is_none() {
            return Ok(());
        }
        let message = format!(
            "a team of this competition has at least {} members, yours has {n_members}: invite others",
            contest.teams.min
        );
        Err(Denial::conflict("team_too_small", message).into())
    }

    /// Refuses what wants a container runtime that the engine of the node does not have.
    pub(in crate::daemon) async fn check_runtime(&self, spec: &InstanceSpec) -> Outcome<()> {
        let runtime = spec.demands.runtime;
        if runtime == ContainerRuntime::Default {
            return Ok(());
        }
        let info = self.shared.engine.info().await;
        let info = info.map_err(|_| PlatformError::EngineUnavailable)?;
        let has_it = info.runtimes.contains(runtime.as_str());
        let reason = match isolation::sandbox_fault(&self.shared) {
            None if has_it => return Ok(()),
            Some(fault) if has_it => format!(
                "it wants the container runtime `{runtime}`, which does not do on this node what it is for: {fault}"
            ),
            None | Some(_) => format!(
                "it wants the container runtime `{runtime}`, which the engine of this node does not have"
            ),
        };
        Err(PlatformError::NotStartable { id: spec.challenge.clone(), reason })
    }

    /// What an instance of `challenge` consists of, with the images that are on the node.
    pub(in crate::daemon) async fn spec_of(&self, challenge: &Challenge) -> Outcome<InstanceSpec> {
        let images = self.images_of(challenge).await?;
        let spec = instance_spec(challenge, &images);
        let protocol = self.shared.config.vpn.protocol;
        spec.map(|spec| spec.speaking(protocol)).map_err(|error| match error {
            SpecError::MissingImage { .. } | SpecError::NoGateway { .. } => {
                PlatformError::NotStartable { id: challenge.id.clone(), reason: error.to_string() }
            }
        })
    }

    /// The engine's ids of the images of a challenge that are built, by service.
    pub(super) async fn images_of(
        &self,
        challenge: &Challenge,
    ) -> Outcome<BTreeMap<ServiceName, String>> {
        Ok(builds::images_of(&self.shared, challenge).await?)
    }

    /// Every endpoint of `id` in the order of services and ports; the store fills in the host ports.
    pub(in crate::daemon) fn surface(&self, id: InstanceId, spec: &InstanceSpec) -> Vec<Endpoint> {
        let config = &self.shared.config;
        let key = self.shared.data.answer_key();
        let endpoints = spec.services.iter().flat_map(|service| {
            service.ports.iter().filter(|port| !port.is_hidden).map(|port| {
                let door = config.ingress.door(port.kind, port.transport);
                Endpoint {
                    service: service.name.clone(),
                    kind: port.kind,
                    host: match door {
                        Some((_, domain)) => {
                            let label = render::label(key, id, &service.name, port.target);
                            format!("{label}.{domain}")
                        }
                        None => config.network.public_host.clone(),
                    },
                    port: 0,
                    target: port.target,
                    transport: port.transport,
                    door: door.map(|(door, _)| door),
                }
            })
        });
        endpoints.collect()
    }

    fn lease_bounds(&self) -> LeaseBounds {
        self.settings().lease
    }

    /// One live or failed instance the caller may see: their team's, or any for an administrator.
    ///
    /// # Errors
    /// When there is none, or it is another team's.
    pub async fn instance(&self, caller: &Caller, id: &str) -> Outcome<Instance> {
        let unknown = || PlatformError::InstanceNotFound { id: id.chars().take(80).collect() };
        let parsed: InstanceId = id.parse().map_err(|_| unknown())?;
        let instance = match self.found(caller, parsed).await? {
            Some(Seen::Instance(instance)) => instance,
            Some(Seen::Waits(waiting)) => return Err(self.still_waits(&waiting)),
            None => return Err(unknown()),
        };
        let is_leaving = instance.phase == InstancePhase::Removing && instance.error.is_none();
        if is_leaving || instance.phase == InstancePhase::Stopped {
            return Err(unknown());
        }
        check_owner(caller, &instance.competition, instance.team)?;
        Ok(instance)
    }

    /// Live and failed instances of the caller's team, or all for an administrator, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn instances(&self, caller: &Caller) -> Outcome<Vec<Instance>> {
        let filter = InstanceFilter { which: Which::LiveOrFailed, ..InstanceFilter::default() };
        let mut instances = match caller.role {
            Role::Admin => self.shared.store.instances(filter).await?,
            Role::Player => {
                let mut own = Vec::new();
                for team in caller.teams() {
                    let filter = InstanceFilter { team: Some(team), ..filter.clone() };
                    own.extend(self.shared.store.instances(filter).await?);
                }
                own
            }
        };
        instances.retain(|instance| {
            instance.phase != InstancePhase::Removing || instance.error.is_some()
        });
        Ok(instances)
    }

    /// What an instance that is on its way waits for, when that is not its next step.
    pub fn obstacle(&self, instance: &Instance) -> Option<&'static str> {
        self.shared.obstacle_of(instance.id)
    }

    /// What the probes of its services that are not usable yet said last, for administrators: a
    /// command's output could hold an answer, so players get nothing.
    pub fn doubts(&self, caller: &Caller, id: InstanceId) -> BTreeMap<ServiceName, Doubt> {
        match caller.role {
            Role::Admin => self.shared.doubts.of(id),
            Role::Player => BTreeMap::new(),
        }
    }

    /// Restarts the lease from now.
    ///
    /// # Errors
    /// When it is not there, not the caller's, or ending.
    pub async fn renew(
        &self,
        caller: &Caller,
        id: &str,
        ttl_secs: Option<i64>,
    ) -> Outcome<Instance> {
        let instance = self.instance(caller, id).await?;
        let settings = self.challenge_of(&instance).await.map_or_else(
            |_| crate::model::InstanceSettings::default(),
            |challenge| challenge.metadata.instance.clone(),
        );
        if self.is_drained(&instance) {
            return Err(PlatformError::Drained { id: instance.id });
        }
        let ttl = lease::grant(ttl_secs, &settings, self.lease_bounds());
        let now = self.now();
        let change = move |row: &mut Instance| lifecycle::renew(row, ttl, now);
        match self.shared.store.change_instance(instance.id, change).await? {
            Some((renewed, true)) => {
                let happening = Happening::InstanceRenewed { instance_id: renewed.id, ttl };
                let actor = activities::actor_of(caller);
                activities::of_instance(&self.shared, &renewed, actor, happening);
                Ok(renewed)
            }
            Some((other, false)) => {
                Err(PlatformError::NotRunning { id: other.id, status: other.status().as_str() })
            }
            None => Err(PlatformError::InstanceNotFound { id: id.to_owned() }),
        }
    }

    /// Whether another version is live, and instances of this one run out.
    fn is_drained(&self, instance: &Instance) -> bool {
        let live = self.shared.live.load();
        live.get(&instance.challenge).is_some_and(|live| {
            live.challenge.tree != instance.tree
                && live.challenge.metadata.instance.update == UpdatePolicy::Drain
        })
    }

    /// Makes containers and volumes of an instance anew; id, ports, network and lease stay. Returns
    /// when the intent is committed.
    ///
    /// # Errors
    /// When it is not there, not the caller's, or ending.
    pub async fn reset(&self, caller: &Caller, id: &str, answers: Answers) -> Outcome<Instance> {
        let instance = self.instance(caller, id).await?;
        let change = move |row: &mut Instance| lifecycle::reset(row, answers);
        match self.shared.store.change_instance(instance.id, change).await? {
            Some((row, true)) => {
                tracing::info!(
                    instance.id = %row.id, instance.n_resets = row.n_resets,
                    "instance {} is made anew", row.id
                );
                self.shared.queue.forget(row.id);
                repairs::begin_anew_by_hand(&self.shared, row.id).await;
                if instance.last_death.as_ref().is_some_and(Death::is_crash_loop) {
                    self.state_fresh(&row).await;
                }
                queue::trigger(&self.shared, row.id);
                Ok(row)
            }
            Some((other, false)) => {
                Err(PlatformError::NotRunning { id: other.id, status: other.status().as_str() })
            }
            None => Err(PlatformError::InstanceNotFound { id: id.to_owned() }),
        }
    }

    /// What died before a reset says nothing about what is made now.
    async fn state_fresh(&self, row: &Instance) {
        let statement = Statement {
            scope: Scope::Instance(row.id),
            kind: ConditionType::Healthy,
            status: ConditionStatus::True,
            reason: "Passing",
            message: "it is made anew, and nothing of that died yet".to_owned(),
            revision: Some(row.revision),
        };
        self.shared.state(statement).await;
    }

    /// Stops an instance; returns when the intent is committed. A stopped one is not found.
    ///
    /// # Errors
    /// When it is not there or not the caller's.
    pub async fn stop(&self, caller: &Caller, id: &str, reason: StopReason) -> Outcome<Instance> {
        let instance = self.instance(caller, id).await?;
        let pauses = self.shared.pauses.load();
        let held = pauses.held_instance(instance.id).filter(|_| caller.role != Role::Admin);
        if let Some(pause) = held {
            let what = format!("Instance {}", instance.id);
            return Err(PlatformError::Held { what, pause: Box::new(pause.clone()) });
        }
        let stopped = leases::end(&self.shared, instance.id, reason).await?;
        let stopped =
            stopped.ok_or_else(|| PlatformError::InstanceNotFound { id: id.to_owned() })?;
        let happening = Happening::InstanceStopped {
            instance_id: stopped.id,
            node_id: stopped.node.to_string(),
            reason: if reason == StopReason::User {
                String::new()
            } else {
                reason.as_str().to_owned()
            },
            ip: caller.address.clone(),
        };
        let actor = activities::actor_of(caller);
        activities::of_instance(&self.shared, &stopped, actor, happening);
        Ok(stopped)
    }

    /// The last lines of its containers, by service; of one that failed what was kept
    /// (administrators).
    ///
    /// # Errors
    /// When it is not there, or the engine does not answer.
    pub async fn logs(&self, caller: &Caller, id: &str, n_lines: u32) -> Outcome<String> {
        let instance = self.instance(caller, id).await?;
        if let Some(link) = self.link_of(&instance) {
            let logs = link.logs(instance.id).await;
            return logs.map_err(|error| super::attachments::unavailable(&error));
        }
        let unavailable = |_| PlatformError::EngineUnavailable;
        let containers =
            self.shared.engine.containers(Some(instance.id)).await.map_err(unavailable)?;
        if containers.is_empty() {
            return Ok(records::log_of(&self.shared, instance.id).await?);
        }
        let mut text = String::new();
        for container in containers {
            let lines =
                self.shared.engine.logs(&container.id, n_lines).await.map_err(unavailable)?;
            let service = container.service.map(|name| name.to_string()).unwrap_or_default();
            text.push_str(&records::labelled(&service, &lines, usize::MAX));
        }
        Ok(text)
    }

    /// The challenge as it was at the revision the instance was started from; it may differ from
    /// the live version, or be live no more.
    ///
    /// # Errors
    /// When the mirror no longer has that revision.
    pub async fn challenge_of(&self, instance: &Instance) -> Outcome<Arc<Challenge>> {
        let unknown = || PlatformError::ChallengeNotFound { id: instance.challenge.to_string() };
        versions::of(&self.shared, instance).await.ok_or_else(unknown)
    }

    /// How often each challenge was started.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn launches(&self) -> Outcome<Arc<BTreeMap<ChallengeId, u32>>> {
        Ok(books::launches(&self.shared).await?)
    }

    /// The images of a challenge, in file order.
    pub(super) async fn builds_of(&self, challenge: &Challenge) -> Outcome<Vec<Build>> {
        let mut builds = builds::of_challenge(&self.shared, challenge).await?;
        for build in builds.iter_mut().filter(|build| build.state == BuildState::Building) {
            // The row learns of the output at the end; until then the builder has it. One that
            // waits for a slot is not building yet.
            match self.shared.builder.state(build.key) {
                Some(JobState::Queued) => build.state = BuildState::Unbuilt,
                Some(JobState::Building) | None => {
                    build.log_tail = self.shared.builder.log_tail(build.key).unwrap_or_default();
                }
            }
        }
        Ok(builds)
    }
}

/// Refuses who does not play for `team`, or with a token that does not reach the competition.
pub(super) fn check_owner(caller: &Caller, competition: &str, team: TeamId) -> Outcome<()> {
    if let Ok(competition) = competition.parse() {
        check_reach(Some(caller), &competition)?;
    }
    match caller.role {
        Role::Admin => Ok(()),
        Role::Player if caller.plays_for(team) => Ok(()),
        Role::Player => Err(PlatformError::NotYours),
    }
}

/// What an instance of `challenge` consists of where its node has the images: they are named by what
/// determines them. `None` where it has none that could run.
pub(in crate::daemon) fn remote_spec(
    challenge: &Challenge,
    protocol: VpnProtocol,
) -> Option<InstanceSpec> {
    let units = build_units(challenge).into_iter();
    let images = units.map(|unit| (unit.service, format!("build-key:{}", unit.key))).collect();
    Some(instance_spec(challenge, &images).ok()?.speaking(protocol))
}

/// No node has room.
pub(super) fn at_capacity() -> PlatformError {
    PlatformError::Capacity { message: "Node at capacity".to_owned() }
}

pub(super) fn refuse(error: InsertError) -> PlatformError {
    match error {
        InsertError::TeamLimit { limit } => PlatformError::Capacity {
            message: format!("Max {limit} concurrent instances per team"),
        },
        InsertError::NodeLimit { .. } | InsertError::NoFreePort => at_capacity(),
        InsertError::Store(error) => error.into(),
    }
}
