//! What holds for every input.

use proptest::prelude::*;

use super::{COMPOSE, METADATA, lines, read, repository};
use crate::catalog::{Catalog, Policy, load};
use crate::model::{MemoryTree, TreeError};

const RICH: &str = "\
x-base: &base
  deploy: {resources: {limits: {cpus: 0.5, memory: 128m}}}
services:
  web:
    <<: *base
    build: {context: services/web, args: {A: '${X:-1}'}}
    ports: ['8080:80', {target: 81}]
    volumes: ['answers:/answers/flag:ro', 'data:/data']
    depends_on: {flag-rotator: {condition: service_completed_successfully}}
    healthcheck: {test: [CMD, 'true'], interval: 1s}
  flag-rotator:
    <<: *base
    build: services/flag-rotator
    environment: [ANSWER_FLAG]
    volumes: ['answers:/out']
    restart: 'no'
    healthcheck: {test: [CMD, 'true']}
volumes: {answers: , data: }
networks: {back: {internal: true}}
";

/// `text` with a few bytes replaced, doubled or cut out.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..text.len(), 0..4_u8, any::<u8>(), 1..40_usize);
    proptest::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, kind, byte, length) in changes {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            match kind {
                0 => bytes.splice(at..end.min(at + 1), [byte]).for_each(drop),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy).for_each(drop);
                }
                _ => bytes.splice(at..at, *b"\n  - {").for_each(drop),
            }
        }
        bytes
    })
}

fn check_invariants(metadata: &[u8], compose: &[u8]) {
    let tree = repository("", "")
        .with("WEB/WEB-001/metadata.yaml", metadata)
        .with("WEB/WEB-001/docker-compose.yml", compose);
    let folder = read(&tree);
    let is_blocked = folder.findings.iter().any(|it| it.blocks);
    assert_eq!(folder.challenge.is_none(), is_blocked, "{}", lines(&folder));
    let places: Vec<_> =
        folder.findings.iter().map(|it| (it.path.clone(), it.line, it.column)).collect();
    assert!(places.is_sorted());
    assert!(folder.findings.len() <= 201);
    for finding in &folder.findings {
        assert!(!finding.message.is_empty() && !finding.hint.is_empty(), "{finding:?}");
        let text = finding.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let Some(compose) = folder.challenge.and_then(|it| it.compose.clone()) else { return };
    for service in &compose.services {
        let policy = Policy::default();
        assert!((1..=policy.max_memory_bytes).contains(&service.limits.memory_bytes));
        assert!((1..=policy.max_cpu_millis).contains(&service.limits.cpu_millis));
        assert!((1..=policy.max_pids).contains(&service.limits.pids));
        assert!(service.volumes.iter().all(|it| it.target.starts_with('/')));
        assert!(
            service.is_rotator()
                || service
                    .volumes
                    .iter()
                    .all(|it| { it.target != "/answers" && !it.target.starts_with("/answers/") })
        );
        assert!(service.depends_on.keys().all(|name| compose.service(name.as_str()).is_some()));
    }
}

/// Which of a few folders exist, and in which of three states.
fn repositories() -> impl Strategy<Value = MemoryTree> {
    let names = ["A/X-1", "B/X-1", "B/x-1", "C/Y-2", "Z-3", "Z-3/sub"];
    proptest::collection::vec(0..4_u8, names.len()).prop_map(move |states| {
        let mut tree = MemoryTree::new().with("README.md", "x");
        for (name, state) in names.iter().zip(states) {
            let text = match state {
                0 => continue,
                1 => METADATA.replace(
                    "[web]",
                    "[web]\ncategory: misc\nquestions: [{id: a, prompt: p, answer: b}]",
                ),
                2 => "name: [".to_owned(),
                _ => METADATA.to_owned(),
            };
            tree = tree.with(&format!("{name}/metadata.yaml"), text);
        }
        tree
    })
}

/// Everything of a catalog that can be seen.
fn view(catalog: &Result<Catalog, TreeError>) -> String {
    format!("{catalog:#?}")
}

proptest! {
    #[test]
    fn no_bytes_make_a_challenge_panic(
        metadata in proptest::collection::vec(any::<u8>(), 0..80),
        compose in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        check_invariants(&metadata, &compose);
    }

    #[test]
    fn a_damaged_compose_file_keeps_every_invariant(compose in mutated(RICH)) {
        check_invariants(METADATA.as_bytes(), &compose);
    }

    #[test]
    fn a_damaged_metadata_file_keeps_every_invariant(metadata in mutated(
        "name: a\ndescription: é\ndifficulty: easy\ntags: [a, b]\nquestions:\n  \
         - {id: a, prompt: b, answer: [x], choices: [x, y]}\n  - {id: flag, prompt: c, requires: [a]}\n\
         instance: {ttl: 2h, warm: 1}\nscoring: {value: 5}\nentry_urls: ['http://x']\n"
    )) {
        check_invariants(&metadata, COMPOSE.as_bytes());
    }

    #[test]
    fn loading_with_a_previous_catalog_changes_nothing(
        before in repositories(),
        after in repositories(),
    ) {
        let policy = Policy::default();
        let previous = load(&before, None, &policy).unwrap();
        let fresh = load(&after, None, &policy);
        let reused = load(&after, Some(&previous), &policy);
        prop_assert_eq!(view(&fresh), view(&reused));
    }
}

#[test]
fn the_rich_file_is_valid() {
    let folder = read(&repository(METADATA, RICH));
    assert!(folder.challenge.is_some(), "{}", lines(&folder));
    assert_eq!(lines(&folder), "");
}
