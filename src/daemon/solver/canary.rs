//! One attempt: a fresh canary of one version, its exploit against it, and nothing left.
//!
//! The canary is a row like any other instance: its worker makes and removes it, and after a kill
//! the next start ends it. It has no host port, and a lease that is a little longer than everything
//! may take.
//!
//! # Invariants
//! * Whatever an attempt comes to, its canary is asked to end before anything is recorded.
//! * What the exploit printed is compared here and goes no further.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::image;
use crate::daemon::shared::Shared;
use crate::daemon::{builds, leases, queue};
use crate::model::compose::HealthTest;
use crate::model::{
    AnswerFormat, AskedFor, Challenge, Instance, InstanceId, InstancePhase, QuestionId, Revision,
    TeamId,
};
use crate::proof::Attempt;
use crate::proof::canary::{self, Canary};
use crate::proof::program::{self, PLACE, PackError};
use crate::proof::verdict::{Report, judge};
use crate::release::spec::{SpecError, instance_spec};
use crate::render::answers::mint;
use crate::runtime::{ContainerSeen, EngineError, ExecOutcome};
use crate::store::{InstanceLimits, NewInstance, PortRange};
use crate::telemetry::Chain;

/// The competition that canaries are in, for operators who list instances.
pub(crate) const COMPETITION: &str = "canary";

/// Between two looks at the row of a canary.
const POLL: Duration = Duration::from_millis(100);
/// How much longer than a start and an exploit its lease is, in seconds.
const SPARE_SECS: u32 = 120;

/// Tries to prove one version.
pub(super) async fn attempt(
    shared: &Arc<Shared>,
    challenge: &Arc<Challenge>,
    revision: Revision,
) -> Attempt {
    match prepared(shared, challenge, revision).await {
        Ok((canary, files)) => {
            let row = match start(shared, challenge, revision, &canary).await {
                Ok(row) => row,
                Err(attempt) => return attempt,
            };
            let attempt = attack(shared, challenge, row.id, &canary, files).await;
            leases::retire(shared, row.id).await;
            attempt.unwrap_or_else(|attempt| attempt)
        }
        Err(attempt) => attempt,
    }
}

/// What says nothing about the challenge.
fn cut_off(error: &dyn std::error::Error) -> Attempt {
    Attempt::CutOff(Chain(error).to_string())
}

/// What is started, and what is uploaded beside it.
async fn prepared(
    shared: &Arc<Shared>,
    challenge: &Arc<Challenge>,
    revision: Revision,
) -> Result<(Canary, Bytes), Attempt> {
    let (mirror, path) = (Arc::clone(&shared.mirror), challenge.path.clone());
    let identities = Arc::clone(&shared.identities);
    let read = move || program::pack(&mirror.tree(revision)?, &path, &identities);
    let packed = tokio::task::spawn_blocking(read).await.map_err(|error| cut_off(&error))?;
    let files = match packed {
        Ok(Some(files)) => Bytes::from(files),
        Ok(None) => return Err(Attempt::NoExploit),
        Err(error @ (PackError::TooLarge | PackError::Decrypt { .. })) => {
            return Err(Attempt::Unfit(Chain(&error).to_string()));
        }
        Err(error) => return Err(cut_off(&error)),
    };
    let images = builds::images_of(shared, challenge).await.map_err(|error| cut_off(&error))?;
    let protocol = shared.config.vpn.protocol;
    let spec = instance_spec(challenge, &images).map(|it| it.speaking(protocol));
    let spec = spec.map_err(|error| match error {
        SpecError::MissingImage { .. } => cut_off(&error),
        SpecError::NoGateway { .. } => Attempt::Unfit(error.to_string()),
    })?;
    let image = image::ensure(shared).await.map_err(Attempt::CutOff)?;
    Ok((canary::canary(spec, image), files))
}

/// Commits the wish for the canary and wakes its worker.
async fn start(
    shared: &Arc<Shared>,
    challenge: &Challenge,
    revision: Revision,
    canary: &Canary,
) -> Result<Instance, Attempt> {
    let config = &shared.config;
    let now = shared.now();
    let ttl_secs =
        shared.settings.load().start_deadline_secs + config.solver.deadline_secs + SPARE_SECS;
    let instance = Instance::asked_for(
        AskedFor {
            id: InstanceId::new(Uuid::new_v4()),
            challenge: challenge.id.clone(),
            team: TeamId::CANARY,
            competition: COMPETITION.to_owned(),
            revision,
            tree: challenge.tree,
        },
        now,
        ttl_secs,
    );
    let new = NewInstance {
        instance,
        spec: canary.spec.clone(),
        // The solver's slots bound them.
        limits: InstanceLimits { per_team: u32::MAX, per_node: u32::MAX },
        repeats: crate::store::Repeats::Another,
        ports: PortRange { first: config.network.first_port, last: config.network.last_port },
    };
    let instance = shared.store.insert_instance(new).await.map_err(|error| cut_off(&error))?;
    queue::trigger(shared, instance.id);
    Ok(instance)
}

/// Waits until the canary is ready and runs the exploit against it.
async fn attack(
    shared: &Arc<Shared>,
    challenge: &Challenge,
    id: InstanceId,
    canary: &Canary,
    files: Bytes,
) -> Result<Attempt, Attempt> {
    let row = wait_ready(shared, id).await?;
    let engine = &shared.engine;
    let seen = engine.containers(Some(id)).await.map_err(|error| cut_off(&error))?;
    let gone = || Attempt::CutOff("the canary changed while its exploit was begun".to_owned());
    let find = |name| seen.iter().find(|it| it.service.as_ref() == Some(name));
    let solver = find(&canary.solver).ok_or_else(gone)?;
    let target = match &canary.target {
        Some((service, port)) => {
            let met = find(service).and_then(|seen| address(seen, solver));
            let address = met.ok_or_else(gone)?;
            Some((address.to_string(), *port))
        }
        None => None,
    };
    engine.upload(&solver.id, PLACE, files).await.map_err(|error| cut_off(&error))?;
    let command = HealthTest::Exec(program::command(target));
    let deadline = Duration::from_secs(shared.config.solver.deadline_secs.into());
    let begin = Instant::now();
    let ran = tokio::select! {
        ran = engine.exec(&solver.id, &command, deadline) => ran,
        () = shared.tasks.stopping().cancelled() => return Err(stopping()),
    };
    let took = begin.elapsed();
    let (stdout, fault) = match ran {
        Ok(outcome) if outcome.code < 0 => {
            // Cut off: by somebody who wants the canary gone, or by the exploit itself.
            still_ready(shared, id).await?;
            (String::new(), Some("it took its own container down".to_owned()))
        }
        Ok(outcome) => (outcome.output.clone(), fault(&outcome)),
        Err(EngineError::TimedOut { .. }) => {
            (String::new(), Some(format!("it did not end within {} s", deadline.as_secs())))
        }
        Err(error) => return Err(cut_off(&error)),
    };
    let verdicts = judge(challenge, &minted(shared, &row, canary), &stdout);
    Ok(Attempt::Ran(Report { verdicts, fault, took, output: String::new() }))
}

fn fault(outcome: &ExecOutcome) -> Option<String> {
    match outcome.code {
        0 => None,
        code => Some(format!("it ended with exit code {code}")),
    }
}

fn stopping() -> Attempt {
    Attempt::CutOff("the server stops".to_owned())
}

/// Where the exploit in `solver` reaches a service: its own address on a network that both are on.
fn address(seen: &ContainerSeen, solver: &ContainerSeen) -> Option<Ipv4Addr> {
    let on = |wish: &String| seen.addresses.get(seen.wishes.get(wish)?).copied();
    solver.wishes.keys().find_map(on)
}

/// The answers of the canary's own, by question. Secret.
fn minted(shared: &Shared, row: &Instance, canary: &Canary) -> Vec<(String, String)> {
    let key = shared.data.answer_key();
    let mint = |(id, format): (&String, &AnswerFormat)| {
        let question: QuestionId = id.parse().ok()?;
        Some((id.clone(), mint(key, row.id, row.answer_epoch, &question, *format)))
    };
    canary.spec.answers.iter().filter_map(mint).collect()
}

async fn wait_ready(shared: &Arc<Shared>, id: InstanceId) -> Result<Instance, Attempt> {
    loop {
        let row = row(shared, id).await?;
        match row.phase {
            InstancePhase::Ready => return Ok(row),
            InstancePhase::Queued
            | InstancePhase::Preparing
            | InstancePhase::Creating
            | InstancePhase::Starting
            | InstancePhase::Probing => {}
            InstancePhase::Removing | InstancePhase::Failed | InstancePhase::Stopped => {
                return Err(match row.error {
                    Some(why) => Attempt::NotStarted(why),
                    None => stopped(),
                });
            }
        }
        if !shared.tasks.sleep(POLL).await {
            return Err(stopping());
        }
    }
}

fn stopped() -> Attempt {
    Attempt::CutOff("somebody stopped the canary".to_owned())
}

async fn still_ready(shared: &Shared, id: InstanceId) -> Result<(), Attempt> {
    let phase = row(shared, id).await?.phase;
    if phase == InstancePhase::Ready { Ok(()) } else { Err(stopped()) }
}

async fn row(shared: &Shared, id: InstanceId) -> Result<Instance, Attempt> {
    let row = shared.store.instance(id).await.map_err(|error| cut_off(&error))?;
    row.ok_or_else(stopped)
}
