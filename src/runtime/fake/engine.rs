//! The trait on the machine in memory: every call passes one gate, where faults and death wait.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio_stream::wrappers::BroadcastStream;

use super::machine::Machine;
use super::{FakeEngine, Fate, Fault, Verb, When};
use crate::model::compose::HealthTest;
use crate::model::{BuildKey, Disk, InstallationId, InstanceId};
use crate::release::spec::{ContainerSpec, NetworkSpec};
use crate::runtime::terminal::Terminal;
use crate::runtime::{
    BuildError, BuildRequest, ContainerSeen, Engine, EngineError, EngineEvent, EngineInfo,
    ExecOutcome, ImageBytes, ImageFile, ImageSeen, LogLine, LogSink, NetworkSeen, NoFile, Registry,
    VolumeSeen,
};

/// Deadline of a hanging call that brings none.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a call did: its result and the hint it causes.
type Done<T, E = EngineError> = Result<(T, Option<EngineEvent>), E>;

fn quiet<T>(value: T) -> (T, Option<EngineEvent>) {
    (value, None)
}

impl FakeEngine {
    /// Runs `effect` on the machine, unless a fault, a hook or an absent engine has it otherwise.
    async fn pass<T, E: From<EngineError>>(
        &self,
        verb: Verb,
        deadline: Duration,
        effect: impl FnOnce(&mut Machine, &InstallationId) -> Done<T, E> + Send,
    ) -> Result<T, E> {
        self.live_or_die(verb, When::Before).await;
        let (latency, is_down, fault) = {
            let mut control = self.control();
            control.calls.push(verb);
            let fault =
                control.faults.get_mut(&verb).and_then(std::collections::VecDeque::pop_front);
            (control.latency.get(&verb).copied(), control.is_down, fault)
        };
        if let Some(latency) = latency {
            tokio::time::sleep(latency).await;
        }
        if is_down {
            let endpoint = "fake".to_owned();
            let reason = "connection refused".to_owned();
            return Err(EngineError::Unavailable { endpoint, reason }.into());
        }
        let late = match fault {
            Some(Fault::Fail(error)) => return Err(error.into()),
            Some(Fault::Hang) => {
                tokio::time::sleep(deadline).await;
                let what = format!("{verb:?}");
                return Err(EngineError::TimedOut { what, secs: deadline.as_secs() }.into());
            }
            Some(Fault::FailAfterEffect(error)) => Some(error),
            None => None,
        };
        let (value, event) = effect(&mut self.machine(), &self.installation)?;
        self.publish(event);
        self.live_or_die(verb, When::After).await;
        match late {
            Some(error) => Err(error.into()),
            None => Ok(value),
        }
    }

    async fn live_or_die(&self, verb: Verb, when: When) {
        let (hook, is_dead) = {
            let control = self.control();
            (control.hook.clone(), control.is_dead)
        };
        let fate = match (is_dead, hook) {
            (true, _) => Fate::Die,
            // Outside the lock: a hook may well pull other strings.
            (false, Some(hook)) => hook(verb, when),
            (false, None) => Fate::GoOn,
        };
        if fate == Fate::Die {
            self.control().is_dead = true;
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.pass(Verb::Info, DEADLINE, |machine, _| {
            Ok(quiet(EngineInfo {
                version: "0.0.0-fake".to_owned(),
                api_version: "1.41".to_owned(),
                storage_driver: "memory".to_owned(),
                root_dir: "/nowhere".to_owned(),
                n_cpus: 4,
                memory_bytes: 8 << 30,
                cgroup_version: "2".to_owned(),
                kernel: "0.0.0".to_owned(),
                has_live_restore: false,
                runtimes: std::iter::once("runc".to_owned())
                    .chain(machine.runtimes.iter().cloned())
                    .collect(),
            }))
        })
        .await
    }

    async fn prove(&self) -> Result<(), EngineError> {
        self.pass(Verb::Prove, DEADLINE, |_, _| Ok(quiet(()))).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageSeen>, EngineError> {
        self.pass(Verb::Image, DEADLINE, |machine, us| Ok(quiet(machine.image(us, reference))))
            .await
    }

    async fn images(&self) -> Result<Vec<ImageSeen>, EngineError> {
        self.pass(Verb::Images, DEADLINE, |machine, us| Ok(quiet(machine.own_images(us)))).await
    }

    async fn pull(&self, reference: &str) -> Result<ImageSeen, EngineError> {
        self.pass(Verb::Pull, Duration::from_secs(600), |machine, us| {
            machine.pull(us, reference).map(quiet)
        })
        .await
    }

    async fn build(&self, request: BuildRequest, log: LogSink) -> Result<ImageSeen, BuildError> {
        let deadline = request.deadline;
        let built = self
            .pass(Verb::Build, deadline, |machine, us| machine.build(us, &request, &log).map(quiet))
            .await;
        match built {
            Err(BuildError::Engine(EngineError::TimedOut { secs, .. })) => {
                Err(BuildError::TimedOut { secs })
            }
            other => other,
        }
    }

    async fn image_file(
        &self,
        image: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        self.pass(Verb::ImageFile, DEADLINE, |machine, _| {
            machine.image_file(image, path, limit_bytes).map(quiet)
        })
        .await
    }

    async fn save(&self, image: &str) -> Result<ImageBytes, EngineError> {
        let bytes =
            self.pass(Verb::Save, DEADLINE, |machine, _| machine.save(image).map(quiet)).await?;
        Ok(futures_util::stream::iter([Ok(bytes)]).boxed())
    }

    async fn push(
        &self,
        image: &str,
        _key: BuildKey,
        registry: &Registry,
    ) -> Result<String, EngineError> {
        self.pass(Verb::Push, DEADLINE, |machine, _| machine.push(image, registry).map(quiet)).await
    }

    async fn fetch(
        &self,
        image: &str,
        tag: &str,
        registry: &Registry,
        digest: &str,
    ) -> Result<ImageSeen, EngineError> {
        let reference = format!("{}@{digest}", registry.repository);
        self.pass(Verb::Fetch, DEADLINE, |machine, us| {
            machine.fetch(us, image, tag, &reference).map(quiet)
        })
        .await
    }

    async fn unload(&self, tag: &str) -> Result<(), EngineError> {
        self.pass(Verb::Unload, DEADLINE, |machine, _| {
            machine.unload(tag);
            Ok(quiet(()))
        })
        .await
    }

    async fn load(
        &self,
        image: &str,
        tag: &str,
        bytes: ImageBytes,
    ) -> Result<ImageSeen, EngineError> {
        let parts: Vec<Bytes> = bytes.try_collect().await.map_err(|error| {
            let (what, reason) = (format!("load image {image}"), error.to_string());
            EngineError::Refused { what, reason }
        })?;
        self.pass(Verb::Load, DEADLINE, |machine, us| {
            machine.load(us, image, tag, &parts.concat()).map(quiet)
        })
        .await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.pass(Verb::RemoveImage, DEADLINE, |machine, us| {
            machine.remove_image(us, reference).map(quiet)
        })
        .await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.pass(Verb::Disk, DEADLINE, |machine, _| Ok(quiet(machine.disk()))).await
    }

    async fn disk_use(
        &self,
        _enough_bytes: u64,
    ) -> Result<Option<BTreeMap<InstanceId, u64>>, EngineError> {
        self.pass(Verb::DiskUse, DEADLINE, |machine, _| Ok(quiet(Some(machine.disk_use.clone()))))
            .await
    }

    async fn build_cache_bytes(&self) -> Result<u64, EngineError> {
        self.pass(Verb::BuildCacheBytes, DEADLINE, |machine, _| Ok(quiet(machine.cache_bytes)))
            .await
    }

    async fn trim_build_cache(&self, keep_bytes: u64) -> Result<u64, EngineError> {
        self.pass(Verb::TrimBuildCache, DEADLINE, |machine, _| {
            let freed = machine.cache_bytes.saturating_sub(keep_bytes);
            machine.cache_bytes -= freed;
            Ok(quiet(freed))
        })
        .await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        self.pass(Verb::CreateNetwork, DEADLINE, |machine, us| {
            machine.create_network(us, spec).map(quiet)
        })
        .await
    }

    async fn remove_network(&self, network: &str) -> Result<(), EngineError> {
        self.pass(Verb::RemoveNetwork, DEADLINE, |machine, us| {
            machine.remove_network(us, network).map(quiet)
        })
        .await
    }

    async fn connect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.pass(Verb::ConnectNetwork, DEADLINE, |machine, us| {
            machine.connect_network(us, network, container).map(quiet)
        })
        .await
    }

    async fn disconnect_network(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.pass(Verb::DisconnectNetwork, DEADLINE, |machine, us| {
            machine.disconnect_network(us, network, container).map(quiet)
        })
        .await
    }

    async fn networks(&self) -> Result<Vec<NetworkSeen>, EngineError> {
        self.pass(Verb::Networks, DEADLINE, |machine, us| Ok(quiet(machine.own_networks(us)))).await
    }

    async fn create_volume(&self, name: &str, instance: InstanceId) -> Result<(), EngineError> {
        self.pass(Verb::CreateVolume, DEADLINE, |machine, us| {
            machine.create_volume(us, name, instance).map(quiet)
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.pass(Verb::RemoveVolume, DEADLINE, |machine, us| {
            machine.remove_volume(us, name).map(quiet)
        })
        .await
    }

    async fn volumes(&self) -> Result<Vec<VolumeSeen>, EngineError> {
        self.pass(Verb::Volumes, DEADLINE, |machine, us| Ok(quiet(machine.own_volumes(us)))).await
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.pass(Verb::CreateContainer, DEADLINE, |machine, us| machine.create_container(us, spec))
            .await
    }

    async fn upload(&self, container: &str, dir: &str, tar: Bytes) -> Result<(), EngineError> {
        self.pass(Verb::Upload, DEADLINE, |machine, us| {
            machine.upload(us, container, dir, &tar).map(quiet)
        })
        .await
    }

    async fn container_file(
        &self,
        container: &str,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Result<ImageFile, NoFile>, EngineError> {
        self.pass(Verb::ContainerFile, DEADLINE, |machine, us| {
            machine.container_file(us, container, path, limit_bytes).map(quiet)
        })
        .await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.pass(Verb::Start, DEADLINE, |machine, us| machine.start(us, container)).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        self.pass(Verb::Stop, DEADLINE + grace, |machine, us| machine.stop(us, container)).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.pass(Verb::RemoveContainer, DEADLINE, |machine, us| {
            machine.remove_container(us, container)
        })
        .await
    }

    async fn container(&self, container: &str) -> Result<Option<ContainerSeen>, EngineError> {
        self.pass(Verb::Container, DEADLINE, |machine, us| {
            Ok(quiet(machine.own_container(us, container)))
        })
        .await
    }

    async fn containers(
        &self,
        instance: Option<InstanceId>,
    ) -> Result<Vec<ContainerSeen>, EngineError> {
        self.pass(Verb::Containers, DEADLINE, |machine, us| {
            Ok(quiet(machine.own_containers(us, instance)))
        })
        .await
    }

    async fn exec(
        &self,
        container: &str,
        test: &HealthTest,
        deadline: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        self.pass(Verb::Exec, deadline, |machine, us| machine.exec(us, container, test).map(quiet))
            .await
    }

    async fn shell(&self, container: &str, words: &[String]) -> Result<Terminal, EngineError> {
        let greeting = words.join(" ");
        let running = self.pass(Verb::Exec, DEADLINE, |machine, us| {
            machine.check_running(us, container).map(quiet)
        });
        running.await?;
        Ok(super::shell::echoing(&greeting))
    }

    async fn logs(&self, container: &str, n_lines: u32) -> Result<String, EngineError> {
        self.pass(Verb::Logs, DEADLINE, |machine, us| {
            machine.logs(us, container, n_lines).map(quiet)
        })
        .await
    }

    async fn follow_logs(
        &self,
        container: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, LogLine>, EngineError> {
        let log = self
            .pass(Verb::Logs, DEADLINE, |machine, us| {
                machine.logs(us, container, u32::MAX).map(quiet)
            })
            .await?;
        // Its clock is the number of the line; it says what is there now and ends.
        let numbered = log.lines().enumerate();
        let lines =
            numbered.map(|(nth, text)| LogLine { at: format!("{nth:08}"), text: text.to_owned() });
        let wanted: Vec<_> =
            lines.filter(|line| after.is_none_or(|after| line.at.as_str() > after)).collect();
        Ok(futures_util::stream::iter(wanted).boxed())
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        let receiver = self.subscribe();
        self.pass(Verb::Events, DEADLINE, |_, _| Ok(quiet(()))).await?;
        // A subscriber that lags misses events, as on a real engine.
        let events = BroadcastStream::new(receiver);
        Ok(events.filter_map(|event| std::future::ready(event.ok())).boxed())
    }

    async fn reach(&self, address: SocketAddrV4, deadline: Duration) -> std::io::Result<()> {
        let answered: Result<bool, EngineError> = self
            .pass(Verb::Reach, deadline, |machine, _| Ok(quiet(machine.accepts(address))))
            .await;
        match answered {
            Ok(true) => Ok(()),
            Ok(false) => Err(std::io::ErrorKind::ConnectionRefused.into()),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}
