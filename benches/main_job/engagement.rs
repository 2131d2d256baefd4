//! How soon a network behind a VPN gateway is there, beside the bare calls for the same containers.
//!
//! Both sides end when the gateway's own check says that players can connect and the service behind it
//! answers HTTP. The floor runs the very image of the gateway with files that are made before it begins.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointSettings, HostConfig, Ipam, IpamConfig,
    NetworkConnectRequest, NetworkCreateRequest, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use flagops::model::{InstanceId, Timestamp};
use flagops::render::answers::AnswerKey;
use flagops::render::vpn::{Facts, GATEWAY_DIR, Holder, Own, PROGRAM, gateway_tar};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::platform::{COMMAND, Platform};
use crate::report::Report;

const CHALLENGE: &str = "LAB-001";
/// Networks of the floor, apart from those of the platform.
const BACK: &str = "10.95.0.0/28";
const EDGE: &str = "10.95.0.16/28";
/// The host port of the floor's gateway.
const PORT: u16 = 40_999;
/// Between two questions of a waiting client.
const POLL: Duration = Duration::from_millis(5);

/// Measures and reports.
pub(crate) async fn run(report: &mut Report, runs: usize) -> Result<()> {
    let platform = Platform::start_engagement(CHALLENGE).await?;
    let docker =
        Docker::connect_with_unix("unix:///var/run/docker.sock", 60, bollard::API_DEFAULT_VERSION)?
            .negotiate_version()
            .await?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let started = platform.start_instance(CHALLENGE).await?;
        ours.push(started.took);
        let image = gateway_image(&started.id)?;
        platform.stop_instance(&started.id).await?;
        let bare = Bare { docker: &docker, image, files: files()? };
        let launched = bare.launch().await;
        bare.remove().await;
        floor.push(launched?);
    }
    report.ratio("engagement start", &ours, &floor, 1.4);
    Ok(())
}

/// The image that the gateway of an instance runs.
fn gateway_image(instance: &str) -> Result<String> {
    let filter = format!("label=flagops.instance={instance}");
    let script = format!(
        "docker inspect --format '{{{{.Name}}}} {{{{.Image}}}}' $(docker ps -aq --filter {filter})"
    );
    let listed = Command::new("sh").args(["-c", &script]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let line = listed.lines().find(|line| line.contains("openvpn"));
    let image = line.and_then(|line| line.split(' ').nth(1)).context("no gateway runs")?;
    Ok(image.to_owned())
}

/// What a gateway is given.
fn files() -> Result<Bytes> {
    let facts = Facts {
        protocol: flagops::model::VpnProtocol::OpenVpn,
        instance: InstanceId::new(Uuid::from_u128(1)),
        created_at: Timestamp::from_millis(1_795_942_800_000),
        networks: vec![BACK.parse()?],
        clients: "10.96.0.16/28".parse()?,
        admitted: vec![Holder { id: Uuid::from_u128(1), serial: 1 }],
        hub: None,
    };
    let tar = gateway_tar(&AnswerKey::new([7; 32]), &facts, &Own::default())?;
    Ok(Bytes::from(tar.made))
}

/// The calls, and nothing else.
struct Bare<'a> {
    docker: &'a Docker,
    image: String,
    files: Bytes,
}

const NETWORKS: [(&str, &str, bool); 2] =
    [("flagops-bench-back", BACK, true), ("flagops-bench-edge", EDGE, false)];
const WEB: &str = "flagops-bench-web";
const GATEWAY: &str = "flagops-bench-gateway";

impl Bare<'_> {
    async fn launch(&self) -> Result<Duration> {
        let begin = Instant::now();
        for (name, subnet, is_internal) in NETWORKS {
            let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                internal: Some(is_internal),
                ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
                ..NetworkCreateRequest::default()
            };
            self.docker.create_network(request).await?;
        }
        tokio::try_join!(self.web(), self.gateway())?;
        Ok(begin.elapsed())
    }

    async fn web(&self) -> Result<()> {
        self.create(WEB, web()).await?;
        self.docker.start_container(WEB, None).await?;
        let seen = self.docker.inspect_container(WEB, None).await?;
        let networks = seen.network_settings.and_then(|it| it.networks).unwrap_or_default();
        let address = networks.into_values().find_map(|it| it.ip_address);
        let address = address.filter(|it| !it.is_empty()).context("no address")?;
        until(async || {
            let mut stream = TcpStream::connect((address.as_str(), 8080)).await?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            if stream.read(&mut [0]).await? == 0 { bail!("no answer") } else { Ok(()) }
        })
        .await
    }

    async fn gateway(&self) -> Result<()> {
        self.create(GATEWAY, gateway(&self.image)).await?;
        let connect = NetworkConnectRequest {
            container: GATEWAY.to_owned(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        self.docker.connect_network(NETWORKS[0].0, connect).await?;
        let into = UploadToContainerOptionsBuilder::default().path(GATEWAY_DIR).build();
        let body = bollard::body_full(self.files.clone());
        self.docker.upload_to_container(GATEWAY, Some(into), body).await?;
        self.docker.start_container(GATEWAY, None).await?;
        until(async || self.is_ready().await).await
    }

    async fn is_ready(&self) -> Result<()> {
        let options = CreateExecOptions {
            cmd: Some(vec![PROGRAM, "ready"]),
            attach_stdout: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(GATEWAY, options).await?.id;
        let started = self.docker.start_exec(&exec, None::<StartExecOptions>).await?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while output.next().await.is_some() {}
        }
        match self.docker.inspect_exec(&exec).await?.exit_code {
            Some(0) => Ok(()),
            code => bail!("not yet: {code:?}"),
        }
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<()> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        self.docker.create_container(Some(options), body).await?;
        Ok(())
    }

    /// Removes whatever there is.
    async fn remove(&self) {
        for name in [WEB, GATEWAY] {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let _ = self.docker.remove_container(name, Some(options)).await;
        }
        for (name, ..) in NETWORKS {
            let _ = self.docker.remove_network(name).await;
        }
    }
}

async fn until(mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn web() -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("busybox:latest".to_owned()),
        cmd: Some(COMMAND.iter().map(ToString::to_string).collect()),
        host_config: Some(HostConfig {
            network_mode: Some(NETWORKS[0].0.to_owned()),
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

fn gateway(image: &str) -> ContainerCreateBody {
    let binding =
        PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(PORT.to_string()) };
    let tun = DeviceMapping {
        path_on_host: Some("/dev/net/tun".to_owned()),
        path_in_container: Some("/dev/net/tun".to_owned()),
        cgroup_permissions: Some("rw".to_owned()),
    };
    let capabilities = ["CHOWN", "DAC_OVERRIDE", "NET_ADMIN", "SETGID", "SETUID"];
    let forwarding = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        exposed_ports: Some(vec!["1194/udp".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some(NETWORKS[1].0.to_owned()),
            port_bindings: Some(HashMap::from([("1194/udp".to_owned(), Some(vec![binding]))])),
            devices: Some(vec![tun]),
            memory: Some(128 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(64),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(capabilities.map(str::to_owned).to_vec()),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            sysctls: Some(HashMap::from([forwarding])),
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
