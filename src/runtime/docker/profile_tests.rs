//! The body of the create call, field by field.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::model::compose::{AnswerVariable, Tmpfs, Transport, VolumeMount};
use crate::release::spec::Published;
use crate::runtime::fake::FakeEngine;
use crate::runtime::suite::Bench;

fn installation() -> InstallationId {
    "0123456789abcdef".parse().unwrap()
}

fn spec() -> ContainerSpec {
    let engine = FakeEngine::new(installation());
    Bench { engine: &engine, other: &engine, image: "sha256:00".to_owned() }.web("net-1")
}

fn check(spec: &ContainerSpec, image_volumes: &[&str]) -> ContainerCreateBody {
    let volumes: Vec<_> = image_volumes.iter().map(|&path| path.to_owned()).collect();
    container(&installation(), spec, &volumes).unwrap()
}

#[test]
fn nothing_is_given_that_was_not_asked_for() {
    let host = check(&spec(), &[]).host_config.unwrap();
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.cap_add, Some(Vec::new()));
    assert_eq!(host.privileged, Some(false));
    let options = host.security_opt.unwrap();
    assert_eq!((options.len(), options[0].as_str()), (2, "no-new-privileges:true"));
    assert!(options[1].starts_with("seccomp={\"archMap\""), "{}", options[1]);
    assert_eq!(host.publish_all_ports, Some(false));
    assert_eq!(host.port_bindings, Some(HashMap::new()));
    assert_eq!(host.memory, host.memory_swap);
    assert_eq!(host.memory, Some(64 << 20));
    assert_eq!(host.pids_limit, Some(32));
    assert_eq!(host.nano_cpus, Some(1_000_000_000));
    assert_eq!((host.init, host.readonly_rootfs), (Some(true), Some(true)));
    assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
    let absent = (host.binds, host.devices, host.pid_mode, host.userns_mode, host.extra_hosts);
    assert_eq!(absent, (None, None, None, None, None));
}

#[test]
fn each_port_is_bound_to_the_address_that_was_asked_for() {
    let mut spec = spec();
    let published =
        |address, port, target, transport| Published { address, port, target, transport };
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    spec.published = vec![
        published(v4, 30001, 80, Transport::Tcp),
        published(v6, 30001, 80, Transport::Tcp),
        published(v4, 30002, 53, Transport::Udp),
    ];
    let body = check(&spec, &[]);
    assert_eq!(body.exposed_ports, Some(vec!["53/udp".to_owned(), "80/tcp".to_owned()]));
    let bindings: BTreeMap<_, _> =
        body.host_config.unwrap().port_bindings.unwrap().into_iter().collect();
    let text: Vec<_> = bindings
        .into_iter()
        .flat_map(|(port, bindings)| {
            bindings.unwrap().into_iter().map(move |binding| {
                format!("{} {} -> {port}", binding.host_ip.unwrap(), binding.host_port.unwrap())
            })
        })
        .collect();
    assert_eq!(
        text,
        ["127.0.0.1 30002 -> 53/udp", "127.0.0.1 30001 -> 80/tcp", "::1 30001 -> 80/tcp"]
    );
}

#[test]
fn answers_are_in_the_environment_only_where_the_file_says_so() {
    let mut spec = spec();
    spec.answer_values = vec!["FLAG{hunter2}".to_owned()];
    let body = check(&spec, &[]);
    assert!(!format!("{body:?}").contains("hunter2"));
    spec.service.environment = BTreeMap::from([("A".to_owned(), "1=2".to_owned())]);
    spec.service.answer_environment =
        vec![AnswerVariable { name: "ANSWER_X".to_owned(), question: "x".to_owned() }];
    let body = check(&spec, &[]);
    assert_eq!(body.env, Some(vec!["A=1=2".to_owned(), "ANSWER_X=FLAG{hunter2}".to_owned()]));
    assert!(!format!("{:?}", body.labels).contains("hunter2"));
}

#[test]
fn every_volume_path_of_the_image_is_covered_once() {
    let mut spec = spec();
    spec.has_answers = true;
    spec.volume_names = BTreeMap::from([("db".to_owned(), "fo-db".to_owned())]);
    spec.service.volumes = vec![VolumeMount {
        source: Some("db".to_owned()),
        target: "/var/lib/mysql/".to_owned(),
        is_read_only: true,
    }];
    spec.service.tmpfs = vec![Tmpfs { target: "/run".to_owned(), size_bytes: 4096 }];
    let image = ["/var/lib/mysql", "/run/", "/cache/./x", "/cache/x", "/tmp", "/answers", "/"];
    let host = check(&spec, &image).host_config.unwrap();
    let tmpfs: BTreeMap<_, _> = host.tmpfs.unwrap().into_iter().collect();
    assert_eq!(tmpfs.keys().collect::<Vec<_>>(), ["/run", "/tmp"]);
    assert_eq!(tmpfs["/run"], "rw,nosuid,nodev,noexec,mode=1777,size=4096");
    let mounts = host.mounts.unwrap();
    let shown: Vec<_> = mounts
        .iter()
        .map(|mount| (mount.target.as_deref().unwrap(), mount.source.as_deref(), mount.read_only))
        .collect();
    let db = ("/var/lib/mysql/", Some("fo-db"), Some(true));
    assert_eq!(shown, [db, ("/answers", None, None), ("/cache/x", None, None)]);
    let cover = mounts[2].volume_options.as_ref().unwrap().driver_config.as_ref().unwrap();
    assert_eq!(cover.options.as_ref().unwrap()["o"], COVER);
}

#[test]
fn an_author_may_replace_tmp() {
    let mut spec = spec();
    spec.service.tmpfs = vec![Tmpfs { target: "/tmp/".to_owned(), size_bytes: 1 }];
    let tmpfs = check(&spec, &[]).host_config.unwrap().tmpfs.unwrap();
    assert_eq!(tmpfs["/tmp"], "rw,nosuid,nodev,noexec,mode=1777,size=1");
    assert_eq!(tmpfs.len(), 1);
}

#[test]
fn a_volume_without_an_engine_name_is_a_mistake_of_ours_and_said() {
    let mut spec = spec();
    spec.service.volumes = vec![VolumeMount {
        source: Some("db".to_owned()),
        target: "/db".to_owned(),
        is_read_only: false,
    }];
    let refused = container(&installation(), &spec, &[]).unwrap_err();
    assert_eq!(refused, "volume db has no engine name");
}

#[test]
fn health_commands_keep_their_own_times_and_can_be_off() {
    let off = healthcheck(&Healthcheck::Disabled);
    assert_eq!(off.test, Some(vec!["NONE".to_owned()]));
    let on = healthcheck(&Healthcheck::Command {
        test: HealthTest::Shell("a b".to_owned()),
        interval_millis: 1500,
        timeout_millis: 200,
        retries: 4,
        start_period_millis: 0,
    });
    assert_eq!(on.test, Some(vec!["CMD-SHELL".to_owned(), "a b".to_owned()]));
    assert_eq!(
        (on.interval, on.timeout, on.retries),
        (Some(1_500_000_000), Some(200_000_000), Some(4))
    );
    assert_eq!(on.start_interval, None);
    let mut spec = spec();
    spec.service.healthcheck = None;
    assert_eq!(check(&spec, &[]).healthcheck, None, "the image's own stays in force");
}

#[test]
fn the_labels_say_whose_it_is_and_never_compose() {
    let spec = spec();
    let labels: BTreeMap<_, _> = check(&spec, &[]).labels.unwrap().into_iter().collect();
    let keys: Vec<_> = labels.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "ctfy.instance_id",
            "ctfy.role",
            "flagops.answer_epoch",
            "flagops.challenge",
            "flagops.competition",
            "flagops.created",
            "flagops.installation",
            "flagops.instance",
            "flagops.kind",
            "flagops.networks",
            "flagops.resets",
            "flagops.revision",
            "flagops.schema",
            "flagops.service",
            "flagops.spec_hash",
            "flagops.team",
            "flagops.tree",
            "flagops.ttl",
        ]
    );
    assert_eq!(labels["flagops.instance"], spec.instance.to_string());
    assert_eq!(labels["flagops.schema"], "1");
}

#[test]
fn names_outside_are_asked_of_nobody_unless_somebody_is_named() {
    let mut spec = spec();
    let asked = |spec: &ContainerSpec| check(spec, &[]).host_config.unwrap().dns.unwrap();
    assert_eq!(asked(&spec), ["127.0.0.1"]);
    spec.resolver = Some(Ipv4Addr::new(9, 9, 9, 9));
    assert_eq!(asked(&spec), ["9.9.9.9"]);
}

#[test]
fn no_file_outgrows_the_budget_and_what_a_challenge_asks_for_is_passed_on() {
    use crate::model::{ContainerRuntime, Hardening};
    let mut spec = spec();
    spec.disk_bytes = 64 << 20;
    let host = check(&spec, &[]).host_config.unwrap();
    let limits = host.ulimits.unwrap();
    let fsize = limits.iter().find(|it| it.name.as_deref() == Some("fsize")).unwrap();
    assert_eq!((fsize.soft, fsize.hard), (Some(64 << 20), Some(64 << 20)));
    assert_eq!((host.runtime, host.tmpfs.unwrap()["/tmp"].as_str()), (None, TMP));
    spec.demands.runtime = ContainerRuntime::Runsc;
    spec.network.address = Some(Ipv4Addr::new(10, 80, 0, 14));
    spec.hosts = vec![("db".to_owned(), Ipv4Addr::new(10, 80, 0, 13))];
    spec.demands.profile = Hardening::Strict;
    let body = check(&spec, &[]);
    let ends = body.networking_config.unwrap().endpoints_config.unwrap();
    let address = ends["net-1"].ipam_config.as_ref().unwrap().ipv4_address.as_deref();
    let host = body.host_config.unwrap();
    assert_eq!(host.runtime.as_deref(), Some("runsc"));
    assert_eq!(
        (address, host.extra_hosts.unwrap()),
        (Some("10.80.0.14"), vec!["db:10.80.0.13".to_owned()])
    );
    assert!(host.tmpfs.unwrap()["/tmp"].contains("noexec"));
}
