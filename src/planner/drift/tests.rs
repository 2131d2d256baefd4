//! One test for each class that can be told from an observation, and that drift is what is planned
//! against. The others are where they are seen: D8 and D12 in `daemon::tests::drift`, D13 in
//! `runtime::docker`, D15 in `daemon::tests::source`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::lifecycle::tests::new_row;
use super::super::tests::{any_observed, any_spec, service, spec};
use super::super::{Action, Crashes, Plan, Verdict, Want, plan};
use super::*;
use crate::model::compose::{DependsCondition, VolumeMount};
use crate::model::{InstanceId, Timestamp};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

/// A row of an instance that is ready.
fn ready() -> Instance {
    let id = InstanceId::new(uuid::Uuid::from_bytes([1; 16]));
    let mut row = new_row(id, Timestamp::from_millis(1_000));
    row.phase = InstancePhase::Ready;
    row.started_at = Timestamp::from_millis(2_000);
    row
}

/// Two services, one with a volume; all as it should be.
fn whole() -> (InstanceSpec, Observed) {
    let mut db = service("db", &[]);
    db.volumes.push(VolumeMount {
        source: Some("data".into()),
        target: "/data".into(),
        is_read_only: false,
    });
    let spec = spec(vec![db, service("web", &[("db", DependsCondition::Healthy)])]);
    let usable = |it: &str| {
        (name(it), ServiceSeen { container: format!("c-{it}"), state: ServiceState::Usable })
    };
    let observed = Observed {
        networks: BTreeMap::from([("default".to_owned(), "n".to_owned())]),
        volumes: BTreeSet::from(["data".to_owned()]),
        services: BTreeMap::from([usable("db"), usable("web")]),
        was_ready: true,
        ..Observed::default()
    };
    (spec, observed)
}

/// Breaks a whole instance; gives the drifts in words, and what is planned.
fn check(hurt: impl FnOnce(&mut Observed)) -> (String, Plan) {
    let (spec, mut observed) = whole();
    hurt(&mut observed);
    let drifts = classify(&ready(), &spec, &observed);
    let words: Vec<_> =
        drifts.iter().map(|drift| format!("{} {drift}", drift.class.code())).collect();
    (words.join("\n"), plan(&spec, Want::Run, &observed, Timestamp::from_millis(9_000)))
}

fn state(observed: &mut Observed, service: &str, state: ServiceState) {
    observed.services.get_mut(&name(service)).unwrap().state = state;
}

#[test]
fn a_whole_instance_does_not_drift() {
    let (words, plan) = check(|_| ());
    assert_eq!((words.as_str(), plan.actions.as_slice()), ("", &[][..]));
}

#[test]
fn d1_a_missing_container_is_made_again() {
    let (words, plan) = check(|it| drop(it.services.remove(&name("web"))));
    assert_eq!(words, "D1 service `web` has no container: it is made anew");
    assert_eq!(plan.actions, [Action::Create(name("web"))]);
}

#[test]
fn d2_a_container_that_ended_is_started_again_and_later_the_more_often_it_ended() {
    let dead = ServiceState::Exited { code: 137, is_oom: false };
    let (words, first) = check(|it| state(it, "web", dead.clone()));
    assert_eq!(words, "D2 service `web` exited with code 137: it is started again");
    assert_eq!(first.actions, [Action::Start(name("web"))]);
    let (_, again) = check(|it| {
        state(it, "web", dead);
        let last_at = Timestamp::from_millis(8_900);
        it.crashes.insert(name("web"), Crashes { n_recent: 3, last_at });
    });
    assert_eq!(again.actions, []);
    assert_eq!(again.wake_at, Some(Timestamp::from_millis(10_900)));
    let (words, _) = check(|it| {
        state(it, "web", ServiceState::Wrong(Flaw::Stuck("dead".to_owned())));
    });
    assert_eq!(words, "D2 service `web` is stuck in the state `dead`: it is made anew");
}

#[test]
fn d3_an_unhealthy_service_is_probed() {
    let (words, plan) = check(|it| state(it, "db", ServiceState::Running));
    assert_eq!(
        words,
        "D3 service `db` is unhealthy: it is probed, and started again if that fails"
    );
    assert_eq!(plan.actions, [Action::Probe(name("db"))]);
}

#[test]
fn d4_spec_hash_differs_is_made_anew() {
    let (words, plan) = check(|it| state(it, "db", ServiceState::Wrong(Flaw::OtherSpec)));
    assert_eq!(words, "D4 service `db` was made from another spec: it is made anew");
    assert_eq!(plan.actions, [Action::Remove(name("db"))]);
}

#[test]
fn d5_what_a_hand_changed_is_named_and_made_anew() {
    let wanted = Limits::default();
    let seen = LimitsSeen {
        memory_bytes: Some(wanted.memory_bytes * 2),
        nano_cpus: Some(u64::from(wanted.cpu_millis) * 1_000_000),
        pids: Some(-1),
    };
    let limits = limits_differ(&wanted, &seen).unwrap();
    assert_eq!(limits, "memory 1073741824 instead of 536870912 bytes, -1 instead of 256 processes");
    for (flaw, wanted) in [
        (Flaw::Paused, "D5 service `web` is paused: it is made anew"),
        (
            Flaw::Detached("default".to_owned()),
            "D5 service `web` was taken off the network `default`: it is made anew",
        ),
        (
            Flaw::Limits("memory 1 instead of 2 bytes".to_owned()),
            "D5 service `web` has other limits than its spec: memory 1 instead of 2 bytes: it is made anew",
        ),
    ] {
        let (words, plan) = check(|it| state(it, "web", ServiceState::Wrong(flaw)));
        assert_eq!(words, wanted);
        assert_eq!(plan.actions, [Action::Remove(name("web"))]);
    }
}

#[test]
fn d5_limits_that_the_engine_does_not_show_are_no_difference() {
    assert_eq!(limits_differ(&Limits::default(), &LimitsSeen::default()), None);
}

#[test]
fn d6_the_second_container_of_a_service_is_removed() {
    let (words, plan) = check(|it| drop(it.duplicates.insert("c-other".into(), name("web"))));
    assert_eq!(words, "D6 container c-other is a second one for service `web`: it is removed");
    assert_eq!(plan.actions, [Action::RemoveDuplicate("c-other".into())]);
    let dead = ServiceState::Exited { code: 1, is_oom: false };
    let order = [ServiceState::Usable, ServiceState::Running, ServiceState::Empty, dead];
    assert!(order.is_sorted_by(|better, worse| worth(better) > worth(worse)));
}

#[test]
fn d7_what_the_spec_does_not_know_is_removed() {
    let (words, plan) = check(|it| {
        let seen = ServiceSeen { container: "c-old".into(), state: ServiceState::Usable };
        it.services.insert(name("old"), seen);
        it.stray_volumes.insert("fo-v-data".into());
    });
    assert_eq!(
        words,
        "D7 service `old` is wanted by nobody: it is removed\n\
         D7 volume `fo-v-data` is wanted by nobody: it is removed"
    );
    assert_eq!(plan.actions, [Action::Remove(name("old"))], "the container first");
}

#[test]
fn d10_a_lost_network_is_replaced() {
    let (words, plan) = check(|it| {
        it.networks.clear();
        state(it, "web", ServiceState::Wrong(Flaw::NetworkGone("default".to_owned())));
    });
    assert_eq!(
        words,
        "D10 network `default` is gone: it is replaced, with the containers on it\n\
         D10 service `web` hangs on the network `default`, which is gone: it is made anew"
    );
    let wanted = [Action::ClaimNetwork("default".into()), Action::Remove(name("web"))];
    assert_eq!(plan.actions, wanted);
}

#[test]
fn d10_a_lost_volume_ends_the_instance_and_is_named() {
    let (words, plan) = check(|it| {
        it.volumes.clear();
        it.lost_volumes.insert("data".into());
    });
    assert_eq!(words, "D10 volume `data` is gone: the instance ends");
    let Verdict::Failed(reason) = plan.verdict else { panic!("{:?}", plan.verdict) };
    assert!(reason.contains("volume `data`"), "{reason}");
    assert_eq!(plan.actions, [], "nothing is made in its place");
}

#[test]
fn d10_a_volume_is_lost_only_where_something_was_in_it() {
    let (spec, _) = whole();
    let check = |phase, has_db: bool| {
        let has_container = |it: &ServiceName| has_db && *it == name("db");
        lost_volumes(phase, &spec, &BTreeSet::new(), has_container).len()
    };
    assert_eq!(check(InstancePhase::Ready, false), 1);
    assert_eq!(check(InstancePhase::Creating, true), 1);
    assert_eq!(check(InstancePhase::Creating, false), 0, "a start, or a reset, makes it");
    assert_eq!(check(InstancePhase::Removing, true), 0);
    let there = BTreeSet::from(["data".to_owned()]);
    assert!(lost_volumes(InstancePhase::Ready, &spec, &there, |_| true).is_empty());
}

#[test]
fn d11_a_container_whose_port_is_not_served_is_made_anew() {
    let (words, plan) =
        check(|it| state(it, "web", ServiceState::Wrong(Flaw::PortNotServed(20_001))));
    assert_eq!(words, "D11 service `web` does not serve the host port 20001: it is made anew");
    assert_eq!(plan.actions, [Action::Remove(name("web"))]);
}

#[test]
fn d14_counts_are_ignored() {
    let (words, plan) = check(|it| {
        let last_at = Timestamp::from_millis(8_000);
        it.crashes.insert(name("web"), Crashes { n_recent: 4, last_at });
    });
    assert_eq!((words.as_str(), plan.actions.as_slice()), ("", &[][..]));
    let (spec, observed) = whole();
    let mut row = ready();
    row.n_restarts = 17;
    assert_eq!(classify(&row, &spec, &observed), []);
}

#[test]
fn every_class_has_its_code_and_a_sentence_of_its_own() {
    let all: Vec<_> =
        DriftClass::WORDS.iter().map(|word| DriftClass::from_word(word).unwrap()).collect();
    let codes: Vec<_> = all.iter().map(|class| class.code()).collect();
    let wanted: Vec<_> = (1..=15).map(|n| format!("D{n}")).collect();
    assert_eq!(codes, wanted);
    let sentences: BTreeSet<_> = all.iter().map(|class| class.sentence()).collect();
    assert_eq!(sentences.len(), 15);
}

/// Anything that may be seen of a ready instance: what is missing of its volumes is lost.
fn seen_ready() -> impl Strategy<Value = (InstanceSpec, Observed)> {
    (any_spec(), any_observed()).prop_map(|(spec, mut observed)| {
        observed.lost_volumes =
            lost_volumes(InstancePhase::Ready, &spec, &observed.volumes, |_| true);
        (spec, observed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn drift_is_exactly_what_is_planned_against((spec, observed) in seen_ready()) {
        let plan = plan(&spec, Want::Run, &observed, Timestamp::from_millis(9_000));
        let drifts = classify(&ready(), &spec, &observed);
        let is_quiet = plan.actions.is_empty() && plan.verdict == Verdict::Usable;
        prop_assert_eq!(drifts.is_empty(), is_quiet, "{:?} against {:?}", drifts, plan);
    }

    #[test]
    fn what_our_own_work_is_changing_is_no_drift((spec, observed) in seen_ready(), n in 0_usize..8) {
        let on_its_way = [
            InstancePhase::Queued,
            InstancePhase::Preparing,
            InstancePhase::Creating,
            InstancePhase::Starting,
            InstancePhase::Probing,
            InstancePhase::Removing,
            InstancePhase::Stopped,
            InstancePhase::Failed,
        ];
        let mut row = ready();
        row.phase = on_its_way[n];
        prop_assert_eq!(classify(&row, &spec, &observed), vec![]);
    }
}
