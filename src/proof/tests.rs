//! Properties of proofs: what runs beside a canary, what a run means, and what is due.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::catalog::{self, Policy};
use crate::model::{Challenge, EntryKind, MemoryTree, NodeId, ObjectId};
use crate::release::spec::{InstanceSpec, instance_spec};
use crate::secrets::{Encoding, Identities, KeyPair, Recipients};

const METADATA: &str = "\
name: Two
description: Two questions and one that needs no exploit.
difficulty: easy
category: web
tags: [t]
questions:
  - {id: flag, prompt: The flag?}
  - {id: root, prompt: The other?, format: raw}
  - {id: port, prompt: The port?, answer: \"443\"}
";

/// A service that players reach over an internal network, one that they do not, and one of a name
/// of ours.
const COMPOSE: &str = "\
services:
  db: {image: 'base:1', networks: [back], deploy: &d {resources: {limits: {cpus: 0.5, memory: 64m}}}}
  web: {image: 'base:1', ports: [8080, '53/udp'], networks: [back], x-answers: [flag, root], deploy: *d}
  flagops-solver: {image: 'base:1', ports: [9090], deploy: *d}
networks: {back: {internal: true}}
";

const FLAG: &str = "FLAG{0123456789abcdef0123456789abcdef}";
const ROOT: &str = "fedcba9876543210fedcba9876543210";

fn tree() -> MemoryTree {
    MemoryTree::new()
        .with("WEB/WEB-001/metadata.yaml", METADATA)
        .with("WEB/WEB-001/docker-compose.yml", COMPOSE)
}

fn challenge() -> Arc<Challenge> {
    let folder = catalog::load_one(&tree(), "WEB/WEB-001", &Policy::default()).unwrap();
    folder.challenge.unwrap_or_else(|| panic!("{:?}", folder.findings))
}

fn spec() -> InstanceSpec {
    spec_of(&challenge())
}

fn spec_of(challenge: &Challenge) -> InstanceSpec {
    let services = &challenge.compose.as_ref().unwrap().services;
    let images = services.iter().map(|it| (it.name.clone(), "sha256:base".to_owned())).collect();
    instance_spec(challenge, &images).unwrap()
}

// ------------------------------------------------------------------------------------ the canary

#[test]
fn a_canary_is_the_instance_and_one_container_that_can_do_nothing() {
    let before = spec();
    let made = canary::canary(before.clone(), "sha256:python".to_owned());
    assert_eq!(made.solver.as_str(), "flagops-solver-2", "the author has the first name");
    assert_eq!(made.target, Some(("web".parse().unwrap(), 8080)), "the first port, as for players");
    let (solver, others) = made.spec.services.split_last().unwrap();
    assert_eq!(solver.name, made.solver);
    assert_eq!(solver.networks.keys().collect::<Vec<_>>(), [canary::NETWORK]);
    assert!(solver.is_read_only && solver.capabilities.is_empty() && solver.ports.is_empty());
    assert_eq!(solver.user.as_deref(), Some("65534:65534"));
    assert_eq!(solver.answer_ids(&made.spec), [""; 0]);
    let named = solver.volumes.iter().filter(|mount| mount.source.is_some());
    assert_eq!(named.count(), 0, "it shares no volume");
    let (network, networks) = made.spec.networks.split_last().unwrap();
    assert_eq!((network.name.as_str(), network.is_internal), (canary::NETWORK, true));
    assert_eq!(networks, before.networks);
    for (is, was) in others.iter().zip(&before.services) {
        let mut is = is.clone();
        let is_met = is.networks.remove(canary::NETWORK).is_some();
        assert_eq!(
            is_met,
            !was.ports.is_empty(),
            "{}: what players reach, and only that",
            was.name
        );
        assert_eq!(is, *was);
    }
    assert_eq!(others.len(), before.services.len());
}

#[test]
fn in_an_engagement_the_exploit_is_where_a_players_tunnel_ends() {
    let metadata = format!("{METADATA}network_topology: engagement\n");
    let compose = "\
services:
  openvpn: {image: 'ctfy/openvpn-base:1', ports: ['1194/udp'], networks: [office], deploy: &d {resources: {limits: {cpus: 0.5, memory: 64m}}}}
  web: {image: 'base:1', ports: [8080], networks: [office, back], deploy: *d}
  db: {image: 'base:1', networks: [back], x-answers: [flag, root], deploy: *d}
networks: {office: , back: }
";
    let tree = MemoryTree::new()
        .with("NET/LAB-001/metadata.yaml", metadata)
        .with("NET/LAB-001/docker-compose.yml", compose);
    let folder = catalog::load_one(&tree, "NET/LAB-001", &Policy::default()).unwrap();
    let made = canary::canary(spec_of(&folder.challenge.unwrap()), "sha256:python".to_owned());
    let solver = made.spec.services.last().unwrap();
    assert_eq!(solver.networks.keys().collect::<Vec<_>>(), ["office"]);
    assert_eq!(made.target, Some(("web".parse().unwrap(), 8080)));
    assert!(made.spec.networks.iter().all(|wish| wish.name != canary::NETWORK));
}

#[test]
fn a_challenge_of_files_has_a_canary_without_a_target() {
    let mut files = spec();
    (files.services, files.networks) = (Vec::new(), Vec::new());
    let made = canary::canary(files, "sha256:python".to_owned());
    assert_eq!((made.target, made.spec.services.len()), (None, 1));
}

// ------------------------------------------------------------------------------------- the program

fn packed(tree: &MemoryTree) -> Option<BTreeMap<String, String>> {
    let tar = program::pack(tree, "WEB/WEB-001", &Identities::none()).unwrap()?;
    let mut archive = tar::Archive::new(tar.as_slice());
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    Some(files.collect())
}

#[test]
fn an_exploit_is_packed_with_its_files_and_its_module_and_no_link() {
    let inside = |path: &str| format!("WEB/WEB-001/{path}");
    let link = EntryKind::Symlink;
    assert_eq!(packed(&tree()), None, "there is none");
    let linked = tree().with_kind(&inside("solution/exploit.py"), link, "/etc/passwd");
    assert_eq!(packed(&linked), None, "a link is none");
    let whole = tree()
        .with(&inside("solution/exploit.py"), "import lib.one")
        .with(&inside("solution/lib/one.py"), "1")
        .with(&inside("attachments/a.bin"), "2")
        .with(&inside("services/web/secret"), "3")
        .with_kind(&inside("solution/passwd"), link, "/etc/passwd");
    let names: Vec<_> = packed(&whole).unwrap().into_keys().collect();
    assert_eq!(
        names,
        [
            "challenge/attachments/a.bin",
            "challenge/solution/exploit.py",
            "challenge/solution/lib/one.py",
            "python/ctfy/__init__.py",
            "python/ctfy/challenge/__init__.py",
            "python/ctfy/challenge/exploit.py",
            "python/ctfy/challenge/session.py",
        ]
    );
}

#[test]
fn an_encrypted_exploit_is_packed_opened_or_not_at_all() {
    let pair = KeyPair::generate().unwrap();
    let text = |name: &str, bytes: &[u8]| crate::trust::SourceText {
        name: name.into(),
        bytes: bytes.to_vec(),
    };
    let recipients = Recipients::parse(&text("r", pair.recipient().as_bytes())).unwrap();
    let closed = recipients.encrypt(b"print(1)", Encoding::Armored).unwrap();
    let tree = tree().with("WEB/WEB-001/solution/exploit.py.age", closed);
    let error = program::pack(&tree, "WEB/WEB-001", &Identities::none()).unwrap_err();
    assert_eq!(error.to_string(), "`WEB/WEB-001/solution/exploit.py.age` cannot be decrypted");
    let key = Identities::parse(&text("key", pair.file().as_bytes())).unwrap();
    let tar = program::pack(&tree, "WEB/WEB-001", &key).unwrap().unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut first = archive.entries().unwrap().next().unwrap().unwrap();
    let mut content = String::new();
    first.read_to_string(&mut content).unwrap();
    assert_eq!(first.path().unwrap().display().to_string(), "challenge/solution/exploit.py");
    assert_eq!(content, "print(1)");
}

#[test]
fn too_much_beside_an_exploit_is_said() {
    let large = tree()
        .with("WEB/WEB-001/solution/exploit.py", "")
        .with("WEB/WEB-001/attachments/disk.img", vec![0; (64 << 20) + 1]);
    let error = program::pack(&large, "WEB/WEB-001", &Identities::none()).unwrap_err();
    assert!(error.to_string().contains("`solver.skip`"), "{error}");
}

#[test]
fn the_exploit_is_told_a_host_and_a_port_or_nothing() {
    let words = program::command(Some(("10.80.0.3".to_owned(), 8080)));
    assert_eq!(words[words.len() - 3..], ["solve", "10.80.0.3", "8080"]);
    assert_eq!(program::command(None).last().map(String::as_str), Some("solve"));
    assert!(program::environment().keys().all(|name| !name.contains("ANSWER")));
}

// -------------------------------------------------------------------------------------- verdicts

fn ran(stdout: &str, fault: Option<&str>) -> Attempt {
    let minted = [("flag".to_owned(), FLAG.to_owned()), ("root".to_owned(), ROOT.to_owned())];
    Attempt::Ran(Report {
        verdicts: verdict::judge(&challenge(), &minted, stdout),
        fault: fault.map(str::to_owned),
        took: Duration::from_secs(1),
        output: String::new(),
    })
}

#[test]
fn a_failure_names_the_questions() {
    let check = |stdout: &str, fault| match after(&ran(stdout, fault), MAX_TRIES) {
        Next::Record(outcome, message) => format!("{outcome}: {message}"),
        Next::Again(why) => panic!("again: {why}"),
    };
    let both = format!("Q[flag]: {FLAG}\nQ[root]: {ROOT}\n");
    insta::assert_snapshot!(check(&both, None), @"proven: its own exploit solves it");
    insta::assert_snapshot!(
        check(&format!("Q[flag]: {FLAG}\n"), None),
        @"failed: `solution/exploit.py` did not solve it: it found no answer to `root`"
    );
    insta::assert_snapshot!(
        check(&format!("Q[flag]: {ROOT}\nQ[{ROOT}]: x\n"), Some("it ended with exit code 1")),
        @"failed: `solution/exploit.py` did not solve it: it found no answer to `root`; its answer to `flag` is wrong; it answered a question that the challenge does not have; it ended with exit code 1"
    );
    insta::assert_snapshot!(
        check(&both, Some("it ended with exit code 2")),
        @"failed: `solution/exploit.py` did not solve it: it ended with exit code 2"
    );
}

#[test]
fn a_failure_is_tried_again_once_and_what_says_nothing_is_never_kept() {
    let again = |attempt: &Attempt, n| matches!(after(attempt, n), Next::Again(_));
    let started = Attempt::NotStarted("service `web` exited with code 1".to_owned());
    let cut_off = Attempt::CutOff("the engine is away".to_owned());
    let unfit = Attempt::Unfit("too large".to_owned());
    for attempt in [&started, &ran("", None)] {
        assert!(again(attempt, 1) && !again(attempt, 2), "{attempt:?}");
    }
    assert!(again(&cut_off, 99) && !again(&unfit, 1) && !again(&Attempt::NoExploit, 1));
    let outcome = |attempt: &Attempt| match after(attempt, 1) {
        Next::Record(outcome, _) => Some(outcome),
        Next::Again(_) => None,
    };
    assert_eq!(outcome(&Attempt::NoExploit), Some(ProofOutcome::NoExploit));
    assert_eq!(outcome(&unfit), Some(ProofOutcome::Failed));
}

/// What a hostile or broken exploit prints.
fn any_stdout() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just(FLAG.to_owned()),
        Just(ROOT.to_owned()),
        Just("flag".to_owned()),
        Just("root".to_owned()),
        Just("port".to_owned()),
        Just("443".to_owned()),
        "[ -~]{0,12}",
    ];
    let line = (text.clone(), text).prop_map(|(id, value)| format!("Q[{id}]: {value}\n"));
    proptest::collection::vec(line, 0..6).prop_map(|lines| lines.concat())
}

// ------------------------------------------------------------------------------- what is due, said

fn record(id: &str, n: u8, outcome: ProofOutcome, at: i64) -> ProofRecord {
    ProofRecord {
        challenge: id.parse().unwrap(),
        tree: TreeId(ObjectId::from_bytes([n; 20])),
        node: NodeId::local(),
        revision: Revision(ObjectId::from_bytes([n; 20])),
        outcome,
        message: format!("version {n}"),
        took_millis: 0,
        at: Timestamp::from_millis(at),
    }
}

fn any_outcome() -> impl Strategy<Value = ProofOutcome> {
    prop_oneof![
        Just(ProofOutcome::Proven),
        Just(ProofOutcome::Failed),
        Just(ProofOutcome::NoExploit)
    ]
}

fn records(all: Vec<ProofRecord>) -> Records {
    all.into_iter().map(|it| ((it.challenge.clone(), it.tree), it)).collect()
}

#[test]
fn a_failure_of_the_live_or_the_newest_version_is_what_is_said() {
    use ProofOutcome::{Failed, NoExploit, Proven};
    let check = |tried: &[(u8, ProofOutcome)]| {
        let all: Vec<_> = tried.iter().map(|(n, it)| record("A", *n, *it, 0)).collect();
        let said = stated(&all.iter().collect::<Vec<_>>());
        (said.status, said.reason, said.message)
    };
    let (yes, no, unknown) =
        (ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown);
    let one = "version 1".to_owned();
    assert_eq!(check(&[]).1, "NotTried");
    assert_eq!(check(&[(1, Proven)]), (yes, "Ok", one.clone()));
    assert_eq!(check(&[(1, NoExploit)]), (unknown, "NoExploit", one.clone()));
    assert_eq!(check(&[(1, Failed), (2, Proven)]), (no, "SolverFailed", one));
    assert_eq!(check(&[(1, Proven), (2, Failed)]).2, "version 2");
}

#[test]
fn a_release_is_told_what_failed_and_what_is_not_known_yet() {
    let policy = Policy::default();
    let mut files = tree();
    for id in ["B", "C", "D", "E"] {
        files = files
            .with(&format!("WEB/{id}/metadata.yaml"), METADATA)
            .with(&format!("WEB/{id}/docker-compose.yml"), COMPOSE.replace("0.5", "0.25"));
    }
    let catalog = catalog::load(&files, None, &policy).unwrap();
    let mut known = Records::new();
    for (id, outcome) in [
        ("WEB-001", ProofOutcome::Proven),
        ("B", ProofOutcome::Failed),
        ("C", ProofOutcome::NoExploit),
    ] {
        let id: ChallengeId = id.parse().unwrap();
        let tree = catalog.folders[&id].tree;
        known.insert((id.clone(), tree), record(id.as_str(), 1, outcome, 0));
    }
    let skip = BTreeSet::from(["E".parse().unwrap()]);
    let seen = |is_required| {
        let proofs = proofs(&catalog, &known, &Rule { is_required, skip: skip.clone() });
        let HeldBack { unproven, proving } = held_back(&catalog, &proofs);
        let ids = |versions: Vec<&(ChallengeId, TreeId)>| {
            versions.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
        };
        (ids(unproven.keys().collect()), ids(proving.iter().collect()))
    };
    assert_eq!(seen(true), ("B".to_owned(), "D".to_owned()));
    assert_eq!(seen(false), (String::new(), String::new()));
}

#[test]
fn players_starts_go_first() {
    assert!(may_begin(0, 4) && may_begin(3, 4) && !may_begin(4, 4) && !may_begin(9, 4));
    assert!(may_begin(0, 0), "one that needs none is never starved by a setting");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_message_holds_an_answer(
        stdout in any_stdout(),
        fault in proptest::option::of(Just("it ended with exit code 1")),
        n_tries in 0_u32..4,
    ) {
        let (Next::Record(_, message) | Next::Again(message)) =
            after(&ran(&stdout, fault), n_tries);
        prop_assert!(!message.contains(&FLAG[5..37]) && !message.contains(ROOT), "{}", message);
        prop_assert!(!message.contains('\n'));
    }

    #[test]
    fn solved_means_that_every_minted_answer_was_printed(stdout in any_stdout()) {
        let Attempt::Ran(report) = ran(&stdout, None) else { panic!() };
        let says = |id: &str, value: &str| stdout.contains(&format!("Q[{id}]: {value}\n"));
        if report.is_solved() {
            prop_assert!(says("flag", FLAG) && says("root", ROOT), "{}", stdout);
        }
    }

    #[test]
    fn what_is_due_was_not_tried_for_long_enough_and_the_oldest_is_first(
        seen in proptest::collection::btree_map("[A-E]", (any_outcome(), 0_i64..200_000), 0..5),
        untried in proptest::collection::btree_set("[F-H]", 0..3),
        skip in proptest::collection::btree_set("[A-H]", 0..3),
        every_secs in 0_u32..150,
        now in 0_i64..200_000,
    ) {
        let all = seen.iter().map(|(id, (outcome, at))| record(id, 1, *outcome, *at)).collect();
        let known = records(all);
        let tree = TreeId(ObjectId::from_bytes([1; 20]));
        let live: BTreeMap<ChallengeId, TreeId> =
            seen.keys().chain(&untried).map(|id| (id.parse().unwrap(), tree)).collect();
        let skip = skip.iter().map(|id| id.parse().unwrap()).collect();
        let now = Timestamp::from_millis(now);
        let due = due(&live, &known, &skip, every_secs, now);
        let at = |id: &ChallengeId| known.get(&(id.clone(), tree)).map(|record| record.at);
        prop_assert!(due.is_sorted_by_key(at));
        for id in live.keys() {
            let record = known.get(&(id.clone(), tree));
            let is_waited = record.is_none_or(|record| {
                record.outcome != ProofOutcome::NoExploit
                    && now.millis_since(record.at) >= i64::from(every_secs) * 1000
            });
            let wanted = every_secs > 0 && !skip.contains(id) && is_waited;
            prop_assert_eq!(due.contains(id), wanted, "{}", id);
        }
    }
}
