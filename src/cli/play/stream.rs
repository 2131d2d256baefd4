//! Follows what the containers of an instance say, across their restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, SelectAll};

use crate::model::InstanceId;
use crate::runtime::{ContainerSeen, ContainerState, Engine, LogLine};

/// How often we look for containers that started, or started again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A line of a container, or that its stream ended.
type Said = (String, Option<LogLine>);

/// Follows the containers of one instance.
pub(super) struct Follower<'e> {
    engine: &'e dyn Engine,
    instance: InstanceId,
    streams: SelectAll<BoxStream<'static, Said>>,
    /// Containers whose stream is open.
    open: BTreeSet<String>,
    /// Containers that were followed to the end of their life so far.
    ended: BTreeSet<String>,
    services: BTreeMap<String, String>,
    /// The last line of each container that was told.
    told: BTreeMap<String, String>,
}

impl<'e> Follower<'e> {
    pub(super) fn new(engine: &'e dyn Engine, instance: InstanceId) -> Self {
        Self {
            engine,
            instance,
            streams: SelectAll::new(),
            open: BTreeSet::new(),
            ended: BTreeSet::new(),
            services: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Gives each line with its service to `tell`, until it refuses one. Looks on while the engine
    /// does not answer.
    pub(super) async fn run<E>(
        mut self,
        mut tell: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Cancel-safe: a tick that was not taken stays.
                _ = looks.tick() => self.look().await,
                // Cancel-safe: an item that was not given stays in its stream.
                Some((container, line)) = self.streams.next() => match line {
                    Some(line) => {
                        let service = self.services.get(&container).map_or("", String::as_str);
                        tell(service, &line.text)?;
                        self.told.insert(container, line.at);
                    }
                    None => {
                        self.open.remove(&container);
                        self.ended.insert(container);
                    }
                },
            }
        }
    }

    /// Opens the streams of containers that have something to say.
    async fn look(&mut self) {
        let Ok(containers) = self.engine.containers(Some(self.instance)).await else { return };
        for container in containers {
            if self.is_due(&container) {
                self.follow(container).await;
            }
        }
    }

    fn is_due(&self, container: &ContainerSeen) -> bool {
        let is_running = container.state == ContainerState::Running;
        let was_started = container.state != ContainerState::Created;
        // What ran to its end has said everything; one that runs again has more.
        was_started
            && !self.open.contains(&container.id)
            && (is_running || !self.ended.contains(&container.id))
    }

    async fn follow(&mut self, container: ContainerSeen) {
        let ContainerSeen { id, service, .. } = container;
        let after = self.told.get(&id).map(String::as_str);
        // It may be gone since; the next look tries again.
        let Ok(lines) = self.engine.follow_logs(&id, after).await else { return };
        let service = service.map(|name| name.to_string()).unwrap_or_default();
        self.services.insert(id.clone(), service);
        self.open.insert(id.clone());
        let (of_line, of_end) = (id.clone(), id);
        let said = lines
            .map(move |line| (of_line.clone(), Some(line)))
            .chain(stream::once(std::future::ready((of_end, None))));
        self.streams.push(said.boxed());
    }
}
