//! The floor: the bare engine calls for the same containers, nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, Ipam, IpamConfig, NetworkCreateRequest, PortBinding,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The image that the platform's challenges are built from, present on every machine we test on.
const IMAGE: &str = "busybox:latest";

/// The engine without us.
#[derive(Clone)]
pub(crate) struct Bare {
    docker: Docker,
    next: Arc<AtomicU16>,
}

/// Containers on a network of their own.
pub(crate) struct Launched {
    network: String,
    containers: Vec<String>,
    /// From the first call to the first HTTP answer.
    pub(crate) took: Duration,
}

impl Bare {
    /// Connects to the local engine.
    pub(crate) async fn connect() -> Result<Self> {
        let docker = Docker::connect_with_unix(
            "unix:///var/run/docker.sock",
            60,
            bollard::API_DEFAULT_VERSION,
        )?
        .negotiate_version()
        .await?;
        Ok(Self { docker, next: Arc::new(AtomicU16::new(0)) })
    }

    /// Network, create, start, first answer, for `n_services` containers.
    pub(crate) async fn launch(&self, n_services: usize) -> Result<Launched> {
        let begin = Instant::now();
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let network = format!("flagops-bench-{}-{nth}", std::process::id());
        let subnet = format!("10.94.{}.{}/28", nth / 16, nth % 16 * 16);
        let config = IpamConfig { subnet: Some(subnet), ..IpamConfig::default() };
        self.docker
            .create_network(NetworkCreateRequest {
                name: network.clone(),
                ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
                ..NetworkCreateRequest::default()
            })
            .await?;
        let mut containers = Vec::new();
        for service in 0..n_services {
            let name = format!("{network}-{service}");
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let body = container(&network, 40_000 + nth * 2 + u16::try_from(service)?);
            self.docker.create_container(Some(options), body).await?;
            self.docker.start_container(&name, None).await?;
            containers.push(name);
        }
        for service in 0..n_services {
            answer(40_000 + nth * 2 + u16::try_from(service)?).await?;
        }
        Ok(Launched { network, containers, took: begin.elapsed() })
    }

    /// Removes them and their network.
    pub(crate) async fn remove(&self, launched: Launched) -> Result<Duration> {
        let begin = Instant::now();
        for container in &launched.containers {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            self.docker.remove_container(container, Some(options)).await?;
        }
        self.docker.remove_network(&launched.network).await?;
        Ok(begin.elapsed())
    }

    /// `n` launches of one service, `concurrency` at once; the time until all answer.
    pub(crate) async fn launch_many(&self, n: usize, concurrency: usize) -> Result<Duration> {
        let slots = Arc::new(tokio::sync::Semaphore::new(concurrency));
        let begin = Instant::now();
        let tasks: Vec<_> = (0..n)
            .map(|_| {
                let (bare, slots) = (self.clone(), Arc::clone(&slots));
                tokio::spawn(async move {
                    let _slot = slots.acquire().await;
                    bare.launch(1).await
                })
            })
            .collect();
        let mut launched = Vec::new();
        for task in tasks {
            launched.push(task.await??);
        }
        let took = begin.elapsed();
        for one in launched {
            self.remove(one).await?;
        }
        Ok(took)
    }
}

fn container(network: &str, port: u16) -> ContainerCreateBody {
    let binding =
        PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.to_string()) };
    ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(super::platform::COMMAND.iter().map(ToString::to_string).collect()),
        exposed_ports: Some(vec!["8080/tcp".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            port_bindings: Some(HashMap::from([("8080/tcp".to_owned(), Some(vec![binding]))])),
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(64),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Waits for the first HTTP answer on a host port, not only for a connection (P4).
pub(crate) async fn answer(port: u16) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        if ask(port).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Err(anyhow!("port {port} did not answer within 30 s"))
}

async fn ask(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut byte = [0];
    let n = stream.read(&mut byte).await.context("no answer")?;
    if n == 0 { Err(anyhow!("closed without an answer")) } else { Ok(()) }
}
