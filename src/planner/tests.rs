//! The planner's invariants, on random challenges, faults and crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::AnswerFormat;
use crate::model::EndpointKind;
use crate::model::compose::{AnswerFiles, Limits, Transport, VolumeMount};
use crate::release::spec::{ExportWish, NetworkWish, PortSpec, Profile};

/// A service that depends on the given ones.
pub(super) fn service(name: &str, depends_on: &[(&str, DependsCondition)]) -> ServiceSpec {
    ServiceSpec {
        name: name.parse().unwrap(),
        image: "sha256:1".into(),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        answer_environment: vec![],
        answers: AnswerFiles::All,
        ports: vec![PortSpec {
            target: 80,
            transport: Transport::Tcp,
            kind: EndpointKind::Http,
            is_hidden: false,
        }],
        depends_on: depends_on.iter().map(|(on, how)| (on.parse().unwrap(), *how)).collect(),
        healthcheck: None,
        networks: BTreeMap::from([("default".to_owned(), vec![])]),
        volumes: vec![],
        tmpfs: vec![],
        limits: Limits::default(),
        user: None,
        working_dir: None,
        hostname: None,
        capabilities: vec![],
        is_read_only: false,
        stop_signal: None,
        stop_grace_millis: 0,
        restart: Restart::OnFailure,
        profile: Profile::Default,
    }
}

pub(super) fn spec(services: Vec<ServiceSpec>) -> InstanceSpec {
    InstanceSpec {
        schema: 1,
        challenge: "WEB-1".parse().unwrap(),
        services,
        networks: vec![NetworkWish { name: "default".into(), is_internal: false }],
        volumes: vec!["data".into()],
        answers: BTreeMap::from([("flag".to_owned(), AnswerFormat::Flag)]),
        demands: crate::model::Demands::default(),
        templates: vec![],
        exports: vec![],
        vpn: crate::model::VpnProtocol::default(),
    }
}

/// What an engine without faults shows after `action`.
pub(super) fn apply(spec: &InstanceSpec, observed: &mut Observed, action: &Action) {
    let seen = |state| ServiceSeen { container: "c".into(), state };
    match action {
        Action::Render => observed.is_rendered = true,
        Action::Collect => observed.is_collected = true,
        Action::ClaimNetwork(name) => {
            observed.networks.insert(name.clone(), "n".into());
        }
        Action::CreateVolume(name) => {
            observed.volumes.insert(name.clone());
        }
        Action::Create(name) => {
            observed.services.insert(name.clone(), seen(ServiceState::Empty));
        }
        Action::Fill(name) => {
            observed.services.insert(name.clone(), seen(ServiceState::Filled));
        }
        Action::Start(name) => {
            observed.services.insert(name.clone(), seen(ServiceState::Running));
        }
        Action::Probe(name) => {
            let service = spec.services.iter().find(|s| s.name == *name).unwrap();
            assert!(!ends_by_itself(spec, service));
            observed.services.insert(name.clone(), seen(ServiceState::Usable));
        }
        Action::AwaitExit(name) => {
            let exited = ServiceState::Exited { code: 0, is_oom: false };
            observed.services.insert(name.clone(), seen(exited));
        }
        Action::Remove(name) => {
            observed.services.remove(name);
        }
        Action::RemoveVolume(name) => {
            observed.volumes.remove(name);
        }
        Action::RemoveStray(name) => {
            observed.stray_volumes.remove(name);
        }
        Action::RemoveDuplicate(id) => {
            observed.duplicates.remove(id);
        }
        Action::ReleaseNetwork(name) => {
            observed.networks.remove(name);
        }
    }
}

/// Runs the loop until nothing is planned; panics when it does not end.
pub(super) fn converge(
    spec: &InstanceSpec,
    want: Want,
    observed: &mut Observed,
) -> (Verdict, Vec<Action>) {
    let mut log = Vec::new();
    let mut now = Timestamp::from_millis(1_000_000);
    for _ in 0..200 {
        let next = plan(spec, want, observed, now);
        match (next.actions.is_empty(), next.wake_at) {
            (true, None) => return (next.verdict, log),
            (true, Some(at)) => now = at,
            (false, _) => {
                for action in &next.actions {
                    apply(spec, observed, action);
                    log.push(action.clone());
                }
            }
        }
    }
    panic!("no end in sight: {log:?}");
}

#[test]
fn a_start_goes_network_volume_create_fill_start_probe() {
    let mut web = service("web", &[("db", DependsCondition::Healthy)]);
    web.volumes.push(VolumeMount {
        source: Some("data".into()),
        target: "/data".into(),
        is_read_only: false,
    });
    let spec = spec(vec![service("db", &[]), web]);
    let (verdict, log) = converge(&spec, Want::Run, &mut Observed::default());
    assert_eq!(verdict, Verdict::Usable);
    let words: Vec<_> =
        log.iter().map(|action| format!("{action:?}").replace("ServiceName", "")).collect();
    insta::assert_snapshot!(words.join("\n"), @r#"
    ClaimNetwork("default")
    CreateVolume("data")
    Create(("db"))
    Create(("web"))
    Fill(("db"))
    Fill(("web"))
    Start(("db"))
    Probe(("db"))
    Start(("web"))
    Probe(("web"))
    "#);
}

#[test]
fn a_rotator_is_awaited_not_probed() {
    let mut rotator = service("flag-rotator", &[]);
    rotator.ports.clear();
    let web = service("web", &[("flag-rotator", DependsCondition::Completed)]);
    let (verdict, log) = converge(&spec(vec![web, rotator]), Want::Run, &mut Observed::default());
    assert_eq!(verdict, Verdict::Usable);
    assert!(log.contains(&Action::AwaitExit("flag-rotator".parse().unwrap())));
}

#[test]
fn a_service_that_keeps_dying_fails_a_start_but_not_a_ready_instance() {
    let spec = spec(vec![service("web", &[])]);
    let mut observed = Observed::default();
    converge(&spec, Want::Run, &mut observed);
    let name: ServiceName = "web".parse().unwrap();
    let dead = ServiceState::Exited { code: 3, is_oom: false };
    observed.services.get_mut(&name).unwrap().state = dead;
    let last_at = Timestamp::from_millis(5);
    observed.crashes.insert(name, Crashes { n_recent: MAX_CRASHES_WHILE_STARTING, last_at });
    let starting = plan(&spec, Want::Run, &observed, last_at);
    assert_eq!(starting.verdict, Verdict::Failed("service `web` exited with code 3".into()));
    observed.was_ready = true;
    let ready = plan(&spec, Want::Run, &observed, last_at);
    assert_eq!(ready.wake_at, Some(Timestamp::from_millis(2005)));
    let (verdict, _) = converge(&spec, Want::Run, &mut observed);
    assert_eq!(verdict, Verdict::Usable);
}

#[test]
fn what_is_missing_is_said_with_the_death_first() {
    let spec = spec(vec![service("db", &[]), service("web", &[])]);
    let check = |db: ServiceState, web: ServiceState, n_deaths: u32| {
        let seen = |state| ServiceSeen { container: "c".into(), state };
        let (db_name, web_name): (ServiceName, ServiceName) =
            ("db".parse().unwrap(), "web".parse().unwrap());
        let last_at = Timestamp::default();
        let observed = Observed {
            services: BTreeMap::from([(db_name.clone(), seen(db)), (web_name, seen(web))]),
            crashes: BTreeMap::from([(db_name, Crashes { n_recent: n_deaths, last_at })]),
            ..Observed::default()
        };
        shortfall(&spec, &observed).unwrap_or_else(|| "nothing".into())
    };
    let died = ServiceState::Exited { code: 3, is_oom: false };
    assert_eq!(check(ServiceState::Running, died, 0), "service `web` exited with code 3");
    assert_eq!(
        check(ServiceState::Running, ServiceState::Usable, 0),
        "service `db` runs, and its health check did not pass yet"
    );
    assert_eq!(
        check(ServiceState::Running, ServiceState::Usable, 2),
        "service `db` died and was started again, 2 times so far"
    );
    assert_eq!(check(ServiceState::Usable, ServiceState::Usable, 0), "nothing");
}

fn condition() -> impl Strategy<Value = DependsCondition> {
    prop_oneof![
        Just(DependsCondition::Started),
        Just(DependsCondition::Healthy),
        Just(DependsCondition::Completed),
    ]
}

/// Up to four services; each depends only on earlier ones, so the graph has no cycle.
pub(super) fn any_spec() -> impl Strategy<Value = InstanceSpec> {
    let services = proptest::collection::vec(
        (proptest::collection::btree_map(0_usize..4, condition(), 0..3), any::<bool>()),
        0..4,
    );
    (services, any::<[bool; 2]>()).prop_map(|(services, [has_template, has_export])| {
        let services = services.into_iter().enumerate().map(|(nth, (deps, has_port))| {
            let deps: Vec<_> = deps
                .into_iter()
                .filter(|(on, _)| *on < nth)
                .map(|(on, how)| (format!("s{on}"), how))
                .collect();
            let deps: Vec<_> = deps.iter().map(|(on, how)| (on.as_str(), *how)).collect();
            let mut service = service(&format!("s{nth}"), &deps);
            if !has_port {
                service.ports.clear();
            }
            service
        });
        let templates = has_template.then(|| "notes.txt.tpl".to_owned());
        let services: Vec<_> = services.collect();
        let exported = services.first().filter(|_| has_export).map(|service| ExportWish {
            service: service.name.clone(),
            path: "/srv/chal".to_owned(),
            name: "chal".to_owned(),
        });
        InstanceSpec {
            templates: templates.into_iter().collect(),
            exports: exported.into_iter().collect(),
            ..spec(services)
        }
    })
}

pub(super) fn any_state() -> impl Strategy<Value = ServiceState> {
    prop_oneof![
        Just(ServiceState::Empty),
        Just(ServiceState::Filled),
        Just(ServiceState::Running),
        Just(ServiceState::Usable),
        Just(ServiceState::Wrong(Flaw::OtherSpec)),
        Just(ServiceState::Wrong(Flaw::Paused)),
        (0_i64..3, any::<bool>()).prop_map(|(code, is_oom)| ServiceState::Exited { code, is_oom }),
    ]
}

/// Anything that a crash, an operator or another version may have left.
pub(super) fn any_observed() -> impl Strategy<Value = Observed> {
    let services = proptest::collection::btree_map(0_usize..4, any_state(), 0..4);
    let duplicates = proptest::collection::btree_map("[xy]", 0_usize..4, 0..2);
    (any::<[bool; 5]>(), services, duplicates).prop_map(
        |(
            [has_network, has_volume, has_stray, is_rendered, is_collected],
            services,
            duplicates,
        )| Observed {
            is_rendered,
            is_collected,
            networks: has_network
                .then(|| ("default".to_owned(), "n".to_owned()))
                .into_iter()
                .collect(),
            volumes: has_volume.then(|| "data".to_owned()).into_iter().collect(),
            stray_volumes: has_stray.then(|| "old".to_owned()).into_iter().collect(),
            lost_volumes: BTreeSet::new(),
            duplicates: duplicates
                .into_iter()
                .map(|(container, n)| (container, format!("s{n}").parse().unwrap()))
                .collect(),
            services: services
                .into_iter()
                .map(|(n, state)| {
                    let name = format!("s{n}").parse().unwrap();
                    (name, ServiceSeen { container: "c".into(), state })
                })
                .collect(),
            crashes: BTreeMap::new(),
            was_ready: true,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn from_anything_it_converges_to_usable(spec in any_spec(), mut observed in any_observed()) {
        let (verdict, _) = converge(&spec, Want::Run, &mut observed);
        prop_assert_eq!(verdict, Verdict::Usable);
        prop_assert!(observed.stray_volumes.is_empty() && observed.duplicates.is_empty());
        let is_known = |name: &&ServiceName| spec.services.iter().any(|it| it.name == **name);
        prop_assert!(observed.services.keys().all(|name| is_known(&name)), "a stranger is left");
        prop_assert_eq!(plan(&spec, Want::Run, &observed, Timestamp::default()).actions, vec![]);
    }

    #[test]
    fn from_anything_it_converges_to_gone(spec in any_spec(), mut observed in any_observed()) {
        let (verdict, _) = converge(&spec, Want::Gone, &mut observed);
        prop_assert_eq!(verdict, Verdict::Gone);
        prop_assert!(observed.services.is_empty() && observed.networks.is_empty());
        prop_assert!(observed.volumes.is_empty() && observed.stray_volumes.is_empty());
    }

    #[test]
    fn nothing_starts_without_its_answers(spec in any_spec(), observed in any_observed()) {
        for action in plan(&spec, Want::Run, &observed, Timestamp::default()).actions {
            if let Action::Start(name) = action {
                let state = &observed.services[&name].state;
                prop_assert_ne!(state, &ServiceState::Empty);
            }
        }
    }

    #[test]
    fn what_services_write_is_taken_once_all_are_usable_and_before_it_is_ready(
        spec in any_spec(), mut observed in any_observed(), was_ready in any::<bool>(),
    ) {
        (observed.is_collected, observed.was_ready) = (false, was_ready);
        let plan = plan(&spec, Want::Run, &observed, Timestamp::default());
        let is_due = plan.actions.contains(&Action::Collect);
        if is_due {
            prop_assert_eq!(&plan.actions, &vec![Action::Collect]);
            prop_assert_eq!(plan.verdict == Verdict::Usable, was_ready);
        }
        let (_, log) = converge(&spec, Want::Run, &mut observed);
        let n_taken = log.iter().filter(|it| **it == Action::Collect).count();
        prop_assert_eq!(n_taken, spec.exports.len());
    }

    #[test]
    fn no_container_is_made_before_its_files_are_rendered(
        spec in any_spec(), mut observed in any_observed(),
    ) {
        observed.is_rendered = false;
        let is_make = |action: &Action| matches!(action, Action::Create(_));
        let plan = plan(&spec, Want::Run, &observed, Timestamp::default());
        if !spec.templates.is_empty() {
            prop_assert!(!plan.actions.iter().any(is_make));
            prop_assert!(plan.actions.contains(&Action::Render));
        }
        let (_, log) = converge(&spec, Want::Run, &mut observed);
        let n_rendered = log.iter().filter(|it| **it == Action::Render).count();
        prop_assert_eq!(n_rendered, spec.templates.len());
        let first_make = log.iter().position(is_make).unwrap_or(usize::MAX);
        let rendered = log.iter().position(|it| *it == Action::Render).unwrap_or(0);
        prop_assert!(rendered <= first_make);
    }

    #[test]
    fn a_network_is_given_back_only_when_no_container_is_left(
        spec in any_spec(), observed in any_observed(),
    ) {
        let actions = plan(&spec, Want::Gone, &observed, Timestamp::default()).actions;
        let is_removal =
            |it: &Action| matches!(it, Action::Remove(_) | Action::RemoveDuplicate(_));
        if !observed.services.is_empty() || !observed.duplicates.is_empty() {
            prop_assert!(actions.iter().all(is_removal));
        }
    }
}
