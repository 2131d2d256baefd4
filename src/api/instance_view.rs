//! What players see of an instance. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::{AttachmentInfo, Lock, attachments, question_info};
use crate::daemon::platform::PlaceInLine;
use crate::model::{
    Challenge, Death, Endpoint, EndpointKind, Instance, InstancePhase, InstanceStatus, Question,
    QuestionId, Waiting,
};
use crate::release::chain::ServiceImage;

/// A port that players reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ServiceEndpoint {
    /// `ssh`, `http`, `https` or `tcp`.
    pub(crate) service_type: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Always null.
    pub(crate) credentials: Option<Credential>,
    pub(crate) path: &'static str,
    /// The service's name.
    pub(crate) label: String,
}

/// How to log in. No challenge declares one today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Credential {
    pub(crate) username: String,
    pub(crate) password: Option<String>,
    pub(crate) key_file: Option<String>,
}

/// The instance's own VPN gateway. No topology that is served today has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct VpnEndpoint {
    pub(crate) proto: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) config_url: String,
}

/// Where to attack.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AttackSurface {
    pub(crate) services: Vec<ServiceEndpoint>,
    pub(crate) provided_files: Vec<AttachmentInfo>,
    /// Always null.
    pub(crate) flag_path: Option<String>,
    pub(crate) vpn: Option<VpnEndpoint>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InstanceInfo {
    pub(crate) id: String,
    pub(crate) challenge_id: String,
    pub(crate) team_id: String,
    pub(crate) competition_id: String,
    pub(crate) node_id: String,
    pub(crate) name: String,
    pub(crate) category: Option<&'static str>,
    pub(crate) difficulty: &'static str,
    /// `starting`, `ready` or `error`.
    pub(crate) status: &'static str,
    /// Unix seconds.
    pub(crate) started_at: f64,
    /// The lease in seconds.
    pub(crate) ttl: u32,
    /// Unix seconds.
    pub(crate) expires_at: f64,
    pub(crate) services: Vec<ServiceEndpoint>,
    pub(crate) description: String,
    pub(crate) questions: Vec<InstanceQuestionInfo>,
    pub(crate) attachments: Vec<AttachmentInfo>,
    /// `simple` or `engagement`.
    pub(crate) network_topology: &'static str,
    pub(crate) vpn_endpoint: Option<VpnEndpoint>,
    pub(crate) entry_urls: Vec<String>,
    /// How far it is, finer than `status`; `waiting` while no node has room.
    pub(crate) phase: &'static str,
    /// Where it stands while it waits for room.
    pub(crate) queue: Option<QueuePlace>,
    /// Why it failed.
    pub(crate) error: String,
    /// The commit it was started from.
    pub(crate) revision: String,
    /// Where it comes from beside the commit; null unless an administrator asks.
    pub(crate) provenance: Option<InstanceProvenance>,
    /// Times a container was started again after it died.
    pub(crate) restarts: u32,
    /// Times its containers were made anew on request.
    pub(crate) resets: u32,
    /// The last service that died.
    pub(crate) last_death: Option<DeathView>,
}

/// Where an instance comes from. Not for players: who knows almost all of a folder could try answers
/// against its hash, outside of every cap.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InstanceProvenance {
    /// The challenge's folder at the commit.
    pub(crate) tree: String,
    /// In file order.
    pub(crate) images: Vec<InstanceImage>,
}

/// The image of one service.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InstanceImage {
    pub(crate) service: String,
    /// What determines it; null when the version can be read no more.
    pub(crate) build_key: Option<String>,
    /// The engine's id.
    pub(crate) image: Option<String>,
}

impl InstanceProvenance {
    /// What an administrator sees.
    pub(crate) fn of(instance: &Instance, images: Vec<ServiceImage>) -> Self {
        let image = |it: ServiceImage| InstanceImage {
            service: it.service.to_string(),
            build_key: it.key.map(|key| key.to_string()),
            image: it.image,
        };
        Self { tree: instance.tree.to_string(), images: images.into_iter().map(image).collect() }
    }
}

/// How a service of an instance died.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeathView {
    pub(crate) service: String,
    pub(crate) exit_code: i64,
    /// Whether it used more memory than its limit.
    pub(crate) oom: bool,
    /// RFC 3339.
    pub(crate) at: String,
    /// How often it died within ten minutes.
    pub(crate) recent: u32,
    /// Whether it dies again and again: then it is started ever later.
    pub(crate) crash_loop: bool,
    /// For people.
    pub(crate) message: String,
    /// The end of its output, where organizers let players read it.
    pub(crate) last_output: Option<String>,
}

impl DeathView {
    fn of(death: &Death) -> Self {
        Self {
            service: death.service.to_string(),
            exit_code: death.code,
            oom: death.is_oom,
            at: death.at.rfc3339(),
            recent: death.n_recent,
            crash_loop: death.is_crash_loop(),
            message: death.to_string(),
            last_output: death.last_words.clone(),
        }
    }
}

/// A question, and how the team stands with it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InstanceQuestionInfo {
    pub(crate) id: String,
    /// Empty while locked.
    pub(crate) prompt: String,
    pub(crate) mode: &'static str,
    /// Null while locked.
    pub(crate) choices: Option<Vec<String>>,
    pub(crate) requires: Vec<String>,
    /// Whether everything it requires is solved.
    pub(crate) unlocked: bool,
    pub(crate) answered_correctly: bool,
    /// Wrong answers left; null when uncapped.
    pub(crate) attempts_remaining: Option<u32>,
    pub(crate) attempts_cap: Option<u32>,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InstanceStatusResponse {
    pub(crate) id: String,
    /// `starting`, `ready`, `stopped` or `error`.
    pub(crate) status: &'static str,
    /// Null unless ready.
    pub(crate) attack_surface: Option<AttackSurface>,
    /// Why it failed.
    pub(crate) error: String,
    /// Always empty: we intercept no traffic.
    pub(crate) cert_volume: &'static str,
    /// How far it is, finer than `status`; `waiting` while no node has room.
    pub(crate) phase: &'static str,
    /// Where it stands while it waits for room.
    pub(crate) queue: Option<QueuePlace>,
    /// While starting: which step, of how many.
    pub(crate) progress: Option<Progress>,
    /// The last service that died.
    pub(crate) last_death: Option<DeathView>,
}

/// A step of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Progress {
    pub(crate) step: u32,
    pub(crate) of: u32,
    /// For people: what is being done, or waited for.
    pub(crate) message: &'static str,
}

/// The word for a start that waits for room: it is no phase of an instance.
pub(crate) const WAITING: &str = "waiting";

/// A place in the line of those who wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct QueuePlace {
    /// From 1. Teams with fewer instances go first, so it can become larger for a while.
    pub(crate) position: usize,
    /// How many wait.
    pub(crate) length: usize,
}

impl QueuePlace {
    pub(crate) fn of(place: PlaceInLine) -> Self {
        Self { position: place.position, length: place.length }
    }
}

/// How a team stands with the questions of one challenge.
pub(crate) struct Standing {
    /// What it solved.
    pub(crate) captured: BTreeSet<QuestionId>,
    /// Its wrong attempts.
    pub(crate) wrong: BTreeMap<QuestionId, u32>,
}

/// The step of `phase` on the way to ready.
pub(crate) fn progress(phase: InstancePhase) -> Option<Progress> {
    let (step, message) = match phase {
        InstancePhase::Queued => (1, "waiting for a free slot"),
        InstancePhase::Preparing => (2, "making networks and volumes"),
        InstancePhase::Creating => (3, "creating containers"),
        InstancePhase::Starting => (4, "starting containers"),
        InstancePhase::Probing => (5, "waiting until it answers"),
        InstancePhase::Ready
        | InstancePhase::Removing
        | InstancePhase::Stopped
        | InstancePhase::Failed => return None,
    };
    Some(Progress { step, of: 5, message })
}

fn services(surface: &[Endpoint]) -> Vec<ServiceEndpoint> {
    let endpoint = |endpoint: &Endpoint| ServiceEndpoint {
        service_type: endpoint.public_kind().as_str(),
        host: endpoint.host.clone(),
        port: endpoint.public_port(),
        credentials: None,
        path: "/",
        label: endpoint.service.to_string(),
    };
    surface.iter().filter(|it| it.kind != EndpointKind::Vpn).map(endpoint).collect()
}

/// Where the VPN gateway is; `config_url` is empty in the status, as clients of the reference have it.
fn vpn(surface: &[Endpoint], config_url: String) -> Option<VpnEndpoint> {
    let gateway = surface.iter().find(|endpoint| endpoint.kind == EndpointKind::Vpn)?;
    let host = gateway.host.clone();
    Some(VpnEndpoint { proto: "udp", host, port: gateway.port, config_url })
}

/// Where an instance answers, or answered.
pub(crate) fn surface_of(
    instance: &Instance,
    provided_files: Vec<AttachmentInfo>,
) -> AttackSurface {
    AttackSurface {
        services: services(&instance.surface),
        provided_files,
        flag_path: None,
        vpn: vpn(&instance.surface, String::new()),
    }
}

fn error_of(instance: &Instance) -> String {
    instance.error.clone().unwrap_or_default()
}

/// What `GET …/status` says.
///
/// `obstacle` is what it waits for when that is not the next step.
pub(crate) fn status(
    instance: &Instance,
    files: Vec<AttachmentInfo>,
    obstacle: Option<&'static str>,
) -> InstanceStatusResponse {
    let is_ready = instance.status() == InstanceStatus::Ready;
    InstanceStatusResponse {
        id: instance.id.to_string(),
        status: instance.status().as_str(),
        attack_surface: is_ready.then(|| surface_of(instance, files)),
        error: error_of(instance),
        cert_volume: "",
        phase: instance.phase.as_str(),
        queue: None,
        progress: progress(instance.phase)
            .map(|step| Progress { message: obstacle.unwrap_or(step.message), ..step }),
        last_death: instance.last_death.as_ref().map(DeathView::of),
    }
}

/// What `GET …/status` says of a start that waits for room, at `queue`, or failed to get any.
pub(crate) fn waiting(waiting: &Waiting, queue: Option<QueuePlace>) -> InstanceStatusResponse {
    let mut status = status(&waiting.as_instance(), Vec::new(), None);
    if queue.is_some() {
        let message = "every node is full: waiting until an instance ends";
        status.phase = WAITING;
        status.progress = Some(Progress { step: 0, of: 5, message });
    }
    InstanceStatusResponse { queue, ..status }
}

/// What `GET /instances/{id}` says. Without its challenge, which can only be missing when the
/// repository lost the commit, the instance is shown under the challenge's id.
pub(crate) fn info(
    instance: &Instance,
    challenge: Option<&Challenge>,
    standing: &Standing,
    cap_of: impl Fn(&str) -> Option<u32>,
) -> InstanceInfo {
    let metadata = challenge.map(|challenge| &challenge.metadata);
    let is_ready = instance.status() == InstanceStatus::Ready;
    let questions = metadata.into_iter().flat_map(|metadata| &metadata.questions);
    InstanceInfo {
        id: instance.id.to_string(),
        challenge_id: instance.challenge.to_string(),
        team_id: instance.team.to_string(),
        competition_id: instance.competition.clone(),
        node_id: instance.node.to_string(),
        name: metadata.map_or(instance.challenge.as_str(), |m| m.name.as_str()).to_owned(),
        category: metadata.map(|metadata| metadata.category.as_str()),
        difficulty: metadata.map_or("", |metadata| metadata.difficulty.as_str()),
        status: instance.status().as_str(),
        started_at: instance.started_at.as_secs_f64(),
        ttl: instance.ttl_secs,
        expires_at: instance.expires_at.as_secs_f64(),
        services: if is_ready { services(&instance.surface) } else { Vec::new() },
        description: metadata.map(|metadata| metadata.description.clone()).unwrap_or_default(),
        questions: questions.map(|asked| question(asked, standing, &cap_of)).collect(),
        attachments: challenge.map(attachments).unwrap_or_default(),
        network_topology: metadata.map_or("simple", |metadata| metadata.topology.as_str()),
        vpn_endpoint: vpn(
            &instance.surface,
            format!("/api/v1/instances/{}/openvpn-config", instance.id),
        )
        .filter(|_| is_ready),
        entry_urls: metadata.map(|metadata| metadata.entry_urls.clone()).unwrap_or_default(),
        phase: instance.phase.as_str(),
        queue: None,
        error: error_of(instance),
        revision: instance.revision.to_string(),
        provenance: None,
        restarts: instance.n_restarts,
        resets: instance.n_resets,
        last_death: instance.last_death.as_ref().map(DeathView::of),
    }
}

fn question(
    asked: &Question,
    standing: &Standing,
    cap_of: impl Fn(&str) -> Option<u32>,
) -> InstanceQuestionInfo {
    let lock = Lock::of(asked, &standing.captured);
    let public = question_info(asked, lock);
    let cap = cap_of(public.mode);
    let n_wrong = standing.wrong.get(&asked.id).copied().unwrap_or(0);
    InstanceQuestionInfo {
        id: public.id,
        prompt: public.prompt,
        mode: public.mode,
        choices: public.choices,
        requires: public.requires,
        unlocked: lock == Lock::Open,
        answered_correctly: standing.captured.contains(&asked.id),
        attempts_remaining: cap.map(|cap| cap.saturating_sub(n_wrong)),
        attempts_cap: cap,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attachment, challenge, question, team, tree};
    use super::*;
    use crate::model::compose::Transport;
    use crate::model::{InstanceId, NodeId, ObjectId, QuestionMode, Revision, Timestamp};

    fn instance(phase: InstancePhase) -> Instance {
        Instance {
            id: InstanceId::new(uuid::Uuid::from_bytes([5; 16])),
            challenge: "WEB-001".parse().unwrap(),
            team: team(1).id,
            competition: "default".to_owned(),
            node: NodeId::local(),
            revision: Revision(ObjectId::from_bytes([7; 20])),
            tree: tree(1),
            phase,
            error: None,
            stop_reason: None,
            surface: vec![Endpoint {
                service: "web".parse().unwrap(),
                kind: EndpointKind::Http,
                host: "127.0.0.1".to_owned(),
                port: 30_001,
                target: 80,
                transport: Transport::Tcp,
                door: None,
            }],
            created_at: Timestamp::from_millis(1_000),
            started_at: Timestamp::from_millis(1_500),
            stopped_at: None,
            ttl_secs: 600,
            expires_at: Timestamp::from_millis(601_500),
            n_restarts: 0,
            n_resets: 0,
            answer_epoch: 0,
            last_death: None,
        }
    }

    fn sample() -> Challenge {
        let mut second = question("root");
        second.requires = vec!["flag".parse().unwrap()];
        let mut third = question("word");
        third.mode = QuestionMode::Static { answer: "hidden-answer".to_owned() };
        let mut web = challenge("WEB-001", vec![question("flag"), second, third]);
        web.attachments = vec![attachment("a.txt", 3), attachment("b.txt.tpl", 9)];
        web
    }

    fn standing() -> Standing {
        let wrong = BTreeMap::from([("word".parse().unwrap(), 4)]);
        Standing { captured: BTreeSet::new(), wrong }
    }

    fn cap_of(mode: &str) -> Option<u32> {
        (mode == "static").then_some(10)
    }

    #[test]
    fn an_instance_is_shown_in_the_contract_s_shape() {
        let shown = info(&instance(InstancePhase::Ready), Some(&sample()), &standing(), cap_of);
        insta::assert_json_snapshot!(shown, @r#"
        {
          "id": "05050505-0505-0505-0505-050505050505",
          "challenge_id": "WEB-001",
          "team_id": "01010101-0101-0101-0101-010101010101",
          "competition_id": "default",
          "node_id": "local",
          "name": "Name of WEB-001",
          "category": "web",
          "difficulty": "easy",
          "status": "ready",
          "started_at": 1.5,
          "ttl": 600,
          "expires_at": 601.5,
          "services": [
            {
              "service_type": "http",
              "host": "127.0.0.1",
              "port": 30001,
              "credentials": null,
              "path": "/",
              "label": "web"
            }
          ],
          "description": "A brief.",
          "questions": [
            {
              "id": "flag",
              "prompt": "Find the flag.",
              "mode": "dynamic",
              "choices": null,
              "requires": [],
              "unlocked": true,
              "answered_correctly": false,
              "attempts_remaining": null,
              "attempts_cap": null
            },
            {
              "id": "root",
              "prompt": "",
              "mode": "dynamic",
              "choices": null,
              "requires": [
                "flag"
              ],
              "unlocked": false,
              "answered_correctly": false,
              "attempts_remaining": null,
              "attempts_cap": null
            },
            {
              "id": "word",
              "prompt": "Find the word.",
              "mode": "static",
              "choices": null,
              "requires": [],
              "unlocked": true,
              "answered_correctly": false,
              "attempts_remaining": 6,
              "attempts_cap": 10
            }
          ],
          "attachments": [
            {
              "name": "a.txt",
              "size": 3
            },
            {
              "name": "b.txt",
              "size": 9
            }
          ],
          "network_topology": "simple",
          "vpn_endpoint": null,
          "entry_urls": [
            "https://example.org"
          ],
          "phase": "ready",
          "queue": null,
          "error": "",
          "revision": "0707070707070707070707070707070707070707",
          "provenance": null,
          "restarts": 0,
          "resets": 0,
          "last_death": null
        }
        "#);
    }

    #[test]
    fn an_instance_without_its_challenge_is_still_shown() {
        let shown = info(&instance(InstancePhase::Ready), None, &standing(), cap_of);
        assert_eq!((shown.name.as_str(), shown.category), ("WEB-001", None));
        assert_eq!((shown.questions, shown.network_topology), (vec![], "simple"));
    }

    #[test]
    fn the_surface_is_there_when_ready_and_only_then() {
        for word in InstancePhase::WORDS {
            let phase = InstancePhase::from_word(word).unwrap();
            let told = status(&instance(phase), Vec::new(), None);
            assert_eq!(told.attack_surface.is_some(), phase == InstancePhase::Ready, "{phase}");
            assert_eq!(told.progress.is_some(), told.status == "starting", "{phase}");
        }
    }

    #[test]
    fn a_failed_instance_says_why() {
        let failed = Instance {
            error: Some("`web` exited with 1".to_owned()),
            ..instance(InstancePhase::Failed)
        };
        insta::assert_json_snapshot!(status(&failed, Vec::new(), None), @r#"
        {
          "id": "05050505-0505-0505-0505-050505050505",
          "status": "error",
          "attack_surface": null,
          "error": "`web` exited with 1",
          "cert_volume": "",
          "phase": "failed",
          "queue": null,
          "progress": null,
          "last_death": null
        }
        "#);
    }

    #[test]
    fn a_ready_status_lists_files_that_can_be_downloaded() {
        let files = vec![AttachmentInfo { name: "a.txt".to_owned(), size: 3 }];
        let told = status(&instance(InstancePhase::Ready), files, None);
        insta::assert_json_snapshot!(told.attack_surface, @r#"
        {
          "services": [
            {
              "service_type": "http",
              "host": "127.0.0.1",
              "port": 30001,
              "credentials": null,
              "path": "/",
              "label": "web"
            }
          ],
          "provided_files": [
            {
              "name": "a.txt",
              "size": 3
            }
          ],
          "flag_path": null,
          "vpn": null
        }
        "#);
    }
}
