//! The invariants I1 … I12 of `contract/gitops.md` §4.2, each by its name.
//!
//! What each says is in the line above it; what it is said of here is what exists today. I5 and I6
//! are about the live table, whose versions change one by one: `release::live`. I7 (a generation
//! never decreases) is about what a database holds: `store::tests::releases`. Whole lives under
//! faults are in `simulation`; the same on the real loops in `daemon::tests`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::lifecycle::tests::new_row;
use super::lifecycle::{self, Answers};
use super::prune::{self, Leftover, LeftoverKind, Tombstones};
use super::tests::{any_observed, any_spec, apply, converge};
use super::*;
use crate::model::{Instance, InstanceId, StopReason};
use crate::release::identity::spec_hash;
use crate::release::live::tests::{any_live, any_repository};
use crate::release::{live, spec::InstanceSpec};

/// Cases of each invariant.
const CASES: u32 = 10_000;

fn id(n: u8) -> InstanceId {
    InstanceId::new(uuid::Uuid::from_bytes([n; 16]))
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

fn is_destructive(action: &Action) -> bool {
    match action {
        Action::Remove(_)
        | Action::RemoveDuplicate(_)
        | Action::RemoveVolume(_)
        | Action::RemoveStray(_)
        | Action::ReleaseNetwork(_) => true,
        Action::Render
        | Action::Collect
        | Action::ClaimNetwork(_)
        | Action::CreateVolume(_)
        | Action::Create(_)
        | Action::Fill(_)
        | Action::Start(_)
        | Action::Probe(_)
        | Action::AwaitExit(_) => false,
    }
}

fn leftovers() -> impl Strategy<Value = BTreeSet<Leftover>> {
    let kind = prop_oneof![Just(LeftoverKind::Container), Just(LeftoverKind::Volume)];
    proptest::collection::btree_set((kind, 0_u8..6, 0_u8..4), 0..10).prop_map(|all| {
        all.into_iter()
            .map(|(kind, name, owner)| Leftover {
                kind,
                object: format!("o{name}"),
                instance: Some(id(owner)),
            })
            .collect()
    })
}

fn tombstones() -> impl Strategy<Value = Tombstones> {
    (leftovers(), proptest::collection::vec(0_i64..200_000, 10)).prop_map(|(all, ages)| {
        all.into_iter().zip(ages).map(|(it, age)| (it, now().plus_millis(-age))).collect()
    })
}

/// What is seen once a part of it could not be: everything, or nothing. A listing is whole or it
/// is an error, and an error is no [`Observed`].
fn hide(observed: &Observed, hidden: [bool; 4]) -> Observed {
    let mut seen = observed.clone();
    if hidden[0] {
        seen.services.clear();
    }
    if hidden[1] {
        seen.networks.clear();
    }
    if hidden[2] {
        seen.volumes.clear();
    }
    if hidden[3] {
        seen.stray_volumes.clear();
        seen.duplicates.clear();
    }
    seen
}

/// The wish and what somebody did to a row, for whole lives in a few steps.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Stop,
    Reset,
    Renew,
    Fail,
}

fn any_wish() -> impl Strategy<Value = Wish> {
    prop_oneof![Just(Wish::Stop), Just(Wish::Reset), Just(Wish::Renew), Just(Wish::Fail)]
}

fn take(row: &mut Instance, wish: Wish) {
    match wish {
        Wish::Stop => drop(lifecycle::end(row, StopReason::User, now())),
        Wish::Reset => drop(lifecycle::reset(row, Answers::Keep)),
        Wish::Renew => drop(lifecycle::renew(row, 600, now())),
        Wish::Fail => {
            let n_resets = row.n_resets;
            lifecycle::fail(row, n_resets, "because".into());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// I1: a failed or partial observation yields no destructive action.
    ///
    /// What is not seen is at most made again; nothing is removed that was not seen, and nothing
    /// more than when everything was seen, but for what becomes removable only because a container
    /// is known to be gone.
    #[test]
    fn i1_what_is_not_seen_removes_nothing(
        spec in any_spec(), observed in any_observed(), hidden in any::<[bool; 4]>(),
        left in leftovers(), n_wanted in 0_usize..50,
    ) {
        let seen = hide(&observed, hidden);
        let plan = plan(&spec, Want::Run, &seen, now());
        for action in plan.actions.iter().filter(|it| is_destructive(it)) {
            let is_seen = matches!(action, Action::Remove(name) if seen.services.contains_key(name))
                || matches!(action, Action::RemoveDuplicate(id) if seen.duplicates.contains_key(id))
                || matches!(action, Action::RemoveStray(name) if seen.stray_volumes.contains(name));
            prop_assert!(is_seen, "{action:?} of what was not seen");
        }
        // A listing that failed is no listing: the tombstones of before decide nothing alone.
        let all_old: Tombstones =
            left.iter().map(|it| (it.clone(), now().plus_millis(-100_000))).collect();
        let plan = prune::plan(&BTreeSet::new(), &all_old, n_wanted, n_wanted, now());
        prop_assert_eq!(plan.remove, vec![]);
    }

    /// I2: no running member is removed before its replacement passed health, except by an explicit
    /// stop, the end of the lease, or `strategy=recreate`.
    ///
    /// There is one member per service, of one name: a container is removed only because it is of no
    /// use as it is, or because a better one for the same service stays.
    #[test]
    fn i2_what_is_usable_and_wanted_is_never_removed(
        spec in any_spec(), observed in any_observed(),
    ) {
        for action in plan(&spec, Want::Run, &observed, now()).actions {
            let takes_ground =
                matches!(action, Action::RemoveVolume(_) | Action::ReleaseNetwork(_));
            prop_assert!(!takes_ground, "its ground is taken away: {action:?}");
            if let Action::Remove(name) = action {
                let is_known = spec.services.iter().any(|it| it.name == name);
                let state = &observed.services[&name].state;
                prop_assert!(!is_known || matches!(state, ServiceState::Wrong(_)), "{state:?}");
            }
        }
    }

    /// I3: at most one operation per key.
    #[test]
    fn i3_a_plan_has_one_action_for_each_object(
        spec in any_spec(), observed in any_observed(), is_wanted in any::<bool>(),
    ) {
        let want = if is_wanted { Want::Run } else { Want::Gone };
        let mut keys = BTreeSet::new();
        for action in plan(&spec, want, &observed, now()).actions {
            let key = match &action {
                Action::Render => "files".to_owned(),
                Action::Collect => "exports".to_owned(),
                Action::Create(name)
                | Action::Fill(name)
                | Action::Start(name)
                | Action::Probe(name)
                | Action::AwaitExit(name)
                | Action::Remove(name) => format!("service {name}"),
                Action::RemoveDuplicate(container) => format!("container {container}"),
                Action::CreateVolume(name) | Action::RemoveVolume(name) => format!("volume {name}"),
                Action::RemoveStray(name) => format!("stray {name}"),
                Action::ClaimNetwork(name) | Action::ReleaseNetwork(name) => {
                    format!("network {name}")
                }
            };
            prop_assert!(keys.insert(key), "two actions at once: {action:?}");
        }
    }

    /// I4: for every container we own there is a row, or it becomes one within two relists.
    ///
    /// Without adoption of what no row knows (a person decides about that): whatever bears our
    /// labels and whose row is over has a tombstone after one listing, and goes or is held by the
    /// next one a minute later.
    #[test]
    fn i4_nothing_of_ours_is_forgotten(
        left in leftovers(), before in tombstones(), n_wanted in 0_usize..50,
    ) {
        let n_managed = left.len() + n_wanted;
        let first = prune::plan(&left, &before, n_managed, n_wanted, now());
        let mut known = before.clone();
        known.retain(|it, _| !first.forget.contains(it));
        known.extend(first.bury.iter().map(|it| (it.clone(), now())));
        prop_assert!(known.keys().eq(left.iter()), "one listing knows them all");
        let second = prune::plan(&left, &known, n_managed, n_wanted, now().plus_millis(60_000));
        prop_assert!(second.bury.is_empty() && second.forget.is_empty());
        let is_settled = second.remove.len() == left.len() || second.held.is_some();
        let waits = left.iter().any(|it| it.kind == LeftoverKind::Volume);
        prop_assert!(is_settled || waits, "neither removed nor held");
        prop_assert_eq!(left.is_empty(), second.remove.is_empty() && second.held.is_none());
    }

    /// I5: the active pointer always names a complete manifest.
    ///
    /// Nothing goes live but versions that are valid and whose images are all built.
    #[test]
    fn i5_what_goes_live_is_valid_and_built(
        (head, builds) in any_repository(), versions in any_live(),
    ) {
        for id in live::plan(&head, &versions, &builds).promote {
            let folder = &head.folders[&id];
            prop_assert!(folder.challenge.is_some(), "{id} is invalid");
            let state = live::build_state(folder, &builds);
            prop_assert_eq!(state, Some(crate::model::BuildState::Built));
        }
    }

    /// I6: a challenge that is not in the active manifest has no route.
    ///
    /// What leaves the repository leaves the live table, unless everything would: then it is held.
    #[test]
    fn i6_what_left_the_repository_is_dropped_or_held(
        (head, builds) in any_repository(), versions in any_live(),
    ) {
        let change = live::plan(&head, &versions, &builds);
        for id in versions.keys() {
            let is_gone = !head.folders.contains_key(id);
            let is_dropped = change.drop.contains(id);
            prop_assert!(!is_dropped || is_gone, "{id} is there");
            prop_assert!(!is_gone || is_dropped || change.held.is_some(), "{id} stays live");
        }
    }

    /// I8: the same inputs plan the same actions.
    #[test]
    fn i8_the_same_input_gives_the_same_plan(
        spec in any_spec(), observed in any_observed(), left in leftovers(), before in tombstones(),
    ) {
        for want in [Want::Run, Want::Gone] {
            let again = plan(&spec.clone(), want, &observed.clone(), now());
            prop_assert_eq!(plan(&spec, want, &observed, now()), again);
        }
        let plan = || prune::plan(&left, &before, 40, 20, now());
        prop_assert_eq!(plan(), plan());
    }

    /// I9: a converged state plans zero actions.
    #[test]
    fn i9_what_is_converged_stays_so(spec in any_spec(), mut observed in any_observed()) {
        let (verdict, _) = converge(&spec, Want::Run, &mut observed);
        let later = now().plus_millis(3_600_000);
        let again = plan(&spec, Want::Run, &observed, later);
        prop_assert_eq!((verdict, again.actions, again.wake_at), (Verdict::Usable, vec![], None));
        let mut row = new_row(id(1), now());
        lifecycle::ready(&mut row, 0, now());
        prop_assert_eq!(drift::classify(&row, &spec, &observed), vec![]);
        let (verdict, _) = converge(&spec, Want::Gone, &mut observed);
        let again = plan(&spec, Want::Gone, &observed, later);
        prop_assert_eq!((verdict, again.actions), (Verdict::Gone, vec![]));
    }

    /// I10: with faults stopped, it converges in a bounded number of steps.
    ///
    /// From anything, after any wishes: each round takes every action that is planned, and a few
    /// rounds per object are enough.
    #[test]
    fn i10_without_faults_it_converges_in_bounded_steps(
        spec in any_spec(), mut observed in any_observed(),
        wishes in proptest::collection::vec(any_wish(), 0..5),
    ) {
        let mut row = new_row(id(1), now());
        lifecycle::ready(&mut row, 0, now());
        wishes.into_iter().for_each(|wish| take(&mut row, wish));
        if !row.phase.is_live() {
            return Ok(());
        }
        let want = lifecycle::want(&row);
        let n_objects = spec.services.len() + observed.services.len() + observed.duplicates.len() + 4;
        let mut time = now();
        let mut n_rounds = 0;
        loop {
            let next = plan(&spec, want, &observed, time);
            match (next.actions.is_empty(), next.wake_at) {
                (true, None) => {
                    let wanted = if want == Want::Run { Verdict::Usable } else { Verdict::Gone };
                    prop_assert_eq!(next.verdict, wanted);
                    break;
                }
                (true, Some(at)) => time = at,
                (false, _) => next.actions.iter().for_each(|it| apply(&spec, &mut observed, it)),
            }
            n_rounds += 1;
            prop_assert!(n_rounds <= 6 * n_objects, "{n_rounds} rounds for {n_objects} objects");
        }
    }

    /// I11: a binary upgrade alone plans zero actions.
    ///
    /// A spec that was stored is read back as it was, under the hash that its containers bear; golden
    /// hashes are in `release::identity`, a whole database of an older version in
    /// `daemon::tests::upgrade`.
    #[test]
    fn i11_a_stored_spec_keeps_its_hash(spec in any_spec(), n_resets in 0_u32..4) {
        let stored = serde_json::to_string(&spec).unwrap();
        let read: InstanceSpec = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&read, &spec);
        prop_assert_eq!(spec_hash(&read, n_resets), spec_hash(&spec, n_resets));
    }

    /// I12: no secret and no answer ever enters a label, an event, a log line, or a status.
    ///
    /// Whatever is said of an instance is made without answers: nothing that is told about drift,
    /// plans or reports holds one, also when an answer is part of what is seen.
    #[test]
    fn i12_nothing_that_is_said_holds_an_answer(
        spec in any_spec(), mut observed in any_observed(), answer in "FLAG\\{[0-9a-f]{32}\\}",
    ) {
        let mut spec = spec;
        for service in &mut spec.services {
            service.environment.insert("ANSWER".to_owned(), answer.clone());
            service.command = Some(vec!["serve".to_owned(), answer.clone()]);
        }
        observed.crashes = spec
            .services
            .iter()
            .map(|it| (it.name.clone(), Crashes { n_recent: 6, last_at: now() }))
            .collect();
        let mut row = new_row(id(1), now());
        lifecycle::ready(&mut row, 0, now());
        let plan = plan(&spec, Want::Run, &observed, now());
        let around = report::Around {
            is_engine_ready: true,
            suspended: None,
            held: None,
            now: now(),
        };
        let report = report::instance(&row, &spec, Some((&observed, &plan)), around);
        let mut said = vec![report.wanted];
        said.extend(report.seen.into_iter().chain(report.next).chain(report.because));
        let drifts = drift::classify(&row, &spec, &observed);
        said.extend(drifts.iter().map(ToString::to_string));
        said.extend(shortfall(&spec, &observed));
        let labels = [spec_hash(&spec, 0).to_string(), spec.challenge.to_string()];
        said.extend(labels);
        for text in said {
            prop_assert!(!text.contains(&answer), "{text}");
        }
    }
}

#[test]
fn every_invariant_but_i7_is_here() {
    let source = include_str!("invariants.rs");
    let missing: Vec<_> = (1..=12).filter(|n| !source.contains(&format!("fn i{n}_"))).collect();
    assert_eq!(missing, [7], "I7 is a property of the flip: `store::tests::releases`");
}
