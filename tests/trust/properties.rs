//! No bytes break it, and nothing is good that was not signed.

use flagops::model::Timestamp;
use flagops::trust::{Keyring, Sighting, verify_commit, verify_tag};
use proptest::prelude::*;

use crate::fixtures;
use crate::lab::{Case, Lab, Oracle, REPOSITORY, Signed};

fn sighting() -> Sighting<'static> {
    let seen = fixtures::seen();
    Sighting { repository: REPOSITORY, first_seen: seen, now: seen }
}

/// A few bytes changed, cut out, doubled or joined.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, u8, Vec<u8>)>> {
    prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0..20usize,
            0..5u8,
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..4),
                Just(b"\n".to_vec()),
                Just(b" ".to_vec()),
                Just(b"-----BEGIN SSH SIGNATURE-----\n".to_vec()),
                Just(b"-----END SSH SIGNATURE-----\n".to_vec()),
                Just(b"gpgsig ".to_vec()),
                Just(b"tag event-1.0.0\n".to_vec()),
            ],
        ),
        1..4,
    )
}

fn mutated(seed: &[u8], mutations: &[(prop::sample::Index, usize, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (index, length, how, with) in mutations {
        let at = index.index(bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        match how {
            0 => drop(bytes.splice(at..end, with.iter().copied())),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << (length % 8),
            _ => drop(bytes.splice(at..at, with.iter().copied())),
        }
    }
    bytes
}

/// What was signed of a tag, as git splits it.
fn payload(raw: &[u8]) -> &[u8] {
    let is_line = |at: usize| at == 0 || raw[at - 1] == b'\n';
    let is_begin = |&at: &usize| is_line(at) && raw[at..].starts_with(b"-----BEGIN ");
    &raw[..(0..raw.len()).rfind(is_begin).unwrap_or(raw.len())]
}

/// Holds that `raw`, if we call it good, is what was signed, by the oracle's word too.
fn hold(raw: &[u8], keyring: &Keyring, seed: &fixtures::Seed) {
    let verdict = verify_tag(raw, fixtures::REF, keyring, &sighting());
    let signed = payload(raw);
    if !verdict.is_good() {
        return;
    }
    assert_eq!(signed, payload(&seed.raw), "another payload is good");
    if raw == seed.raw.as_slice() || !seed.name.starts_with("ssh") {
        return;
    }
    let lab = Lab::new();
    lab.write("allowed_signers", fixtures::file("allowed_signers"));
    let parts = Signed { payload: signed.to_vec(), signature: raw[signed.len()..].to_vec() };
    let said = lab.ssh_oracle(&Case::new("mutated", &parts), crate::lab::TAGGED);
    let shown = String::from_utf8_lossy(raw);
    assert_eq!(said, Oracle::Accepts, "we accept what the oracle does not:\n{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_signed_tag_is_good_unless_the_oracle_accepts_it(
        which in any::<prop::sample::Index>(),
        how in mutations(),
    ) {
        let seeds = fixtures::tags();
        let seed = which.get(&seeds);
        hold(&mutated(&seed.raw, &how), &fixtures::keyring(), seed);
    }

    #[test]
    fn no_mutation_of_a_signed_commit_is_good(how in mutations()) {
        let seed = fixtures::commit();
        let raw = mutated(&seed, &how);
        let verdict = verify_commit(&raw, &fixtures::keyring(), &sighting());
        if verdict.is_good() {
            // Blanks inside of the base64 are outside of what was signed.
            let plain = |bytes: &[u8]| -> Vec<u8> {
                bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
            };
            prop_assert_eq!(plain(&raw), plain(&seed));
        }
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..600), at in any::<i64>()) {
        let seen = Timestamp::from_millis(at);
        let sighting = Sighting { repository: "", first_seen: seen, now: seen };
        let keyring = fixtures::keyring();
        prop_assert!(!verify_tag(&bytes, "refs/tags/x", &keyring, &sighting).is_good());
        prop_assert!(!verify_commit(&bytes, &keyring, &sighting).is_good());
    }

    #[test]
    fn no_times_break_a_good_tag_and_messages_can_be_shown(seen in any::<i64>(), now in any::<i64>()) {
        let sighting = Sighting {
            repository: REPOSITORY,
            first_seen: Timestamp::from_millis(seen),
            now: Timestamp::from_millis(now),
        };
        for seed in fixtures::tags() {
            let verdict = verify_tag(&seed.raw, fixtures::REF, &fixtures::keyring(), &sighting);
            prop_assert!(!verdict.to_string().chars().any(char::is_control));
        }
    }
}
