//! Signed objects and keyrings under any bytes.
//!
//! In:  any bytes. Out: nothing; an invariant that does not hold panics.
//!
//! Shared by the corpus test of CI (`tests/fuzz/main.rs`) and by `cargo fuzz` (`fuzz/`). The kept
//! objects are made by `tests/trust/fixtures.rs`.
//!
//! # Invariants
//! * A tag or commit is good only if its signed bytes are those of a kept one.
//! * A keyring is read, or every fault of it names a line and a fix.

use std::sync::LazyLock;

use flagops::model::Timestamp;
use flagops::trust::{
    KeyFiles, Keyring, Sighting, SourceText, Subject, TrustFile, Verdict, verify_commit, verify_tag,
};

/// A target: its name, which is that of its folder in `fuzz/corpus/`, and what it holds.
type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: &[Target] =
    &[("tag", check_tag), ("commit", check_commit), ("keyring", check_keyring)];

const TAGS: [&[u8]; 5] = [
    include_bytes!("../../fuzz/corpus/tag/ssh-ed25519"),
    include_bytes!("../../fuzz/corpus/tag/ssh-rsa"),
    include_bytes!("../../fuzz/corpus/tag/ssh-p256"),
    include_bytes!("../../fuzz/corpus/tag/ssh-certified"),
    include_bytes!("../../fuzz/corpus/tag/openpgp-ed25519"),
];
const COMMIT: &[u8] = include_bytes!("../../fuzz/corpus/commit/ssh-ed25519");

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let trust = text("trust.toml", include_bytes!("../../fuzz/corpus/keyring/trust.toml"));
    let files = KeyFiles {
        allowed_signers: Some(text(
            "allowed_signers",
            include_bytes!("../../fuzz/corpus/keyring/allowed_signers"),
        )),
        revoked_keys: None,
        openpgp_keyring: Some(text(
            "organizers.asc",
            include_bytes!("../../fuzz/corpus/keyring/organizers.asc"),
        )),
    };
    Keyring::parse(&trust, &TrustFile::parse(&trust).expect("it is kept"), &files)
        .expect("it is kept")
});

fn text(name: &str, bytes: &[u8]) -> SourceText {
    SourceText { name: name.to_owned(), bytes: bytes.to_vec() }
}

fn sighting() -> Sighting<'static> {
    // A minute after the kept objects were made: 2026-06-01T12:01:00Z.
    let seen = Timestamp::from_millis(1_780_315_260_000);
    Sighting { repository: "https://git.ctf.example/finals.git", first_seen: seen, now: seen }
}

/// Judges `bytes` as a tag.
///
/// # Panics
/// When an invariant does not hold.
fn check_tag(bytes: &[u8]) {
    let verdict = verify_tag(bytes, "refs/tags/event-1.0.0", &KEYRING, &sighting());
    check_words(&verdict);
    if verdict.is_good() {
        let is_kept = TAGS.iter().any(|tag| signed_part(tag) == signed_part(bytes));
        assert!(is_kept, "good, and not signed: {verdict}");
    }
}

/// Judges `bytes` as a commit.
///
/// # Panics
/// When an invariant does not hold.
fn check_commit(bytes: &[u8]) {
    let verdict = verify_commit(bytes, &KEYRING, &sighting());
    check_words(&verdict);
    if verdict.is_good() {
        assert_eq!(without_signature(bytes), without_signature(COMMIT), "good, and not signed");
    }
}

/// Reads `bytes` as each file of a keyring.
///
/// # Panics
/// When an invariant does not hold.
fn check_keyring(bytes: &[u8]) {
    let file = text("file", bytes);
    let read = TrustFile::parse(&file).and_then(|trust| {
        let files = KeyFiles {
            allowed_signers: Some(file.clone()),
            revoked_keys: Some(file.clone()),
            openpgp_keyring: Some(file.clone()),
        };
        Keyring::parse(&file, &trust, &files)
    });
    let each = [
        KeyFiles { allowed_signers: Some(file.clone()), ..KeyFiles::default() },
        KeyFiles { revoked_keys: Some(file.clone()), ..KeyFiles::default() },
        KeyFiles { openpgp_keyring: Some(file.clone()), ..KeyFiles::default() },
    ]
    .map(|files| Keyring::parse(&file, &TrustFile::default(), &files));
    for errors in each.into_iter().chain([read]).filter_map(Result::err) {
        assert!(!errors.0.is_empty());
        for fault in errors.0 {
            assert!(fault.line > 0 && !fault.what.is_empty() && !fault.fix.is_empty(), "{fault:?}");
            assert!(!fault.to_string().chars().any(char::is_control), "{fault:?}");
            assert!(fault.to_string().len() < 2000, "{fault}");
        }
    }
}

fn check_words(verdict: &Verdict) {
    let next_step = verdict.next_step(Subject::Tag) + &verdict.next_step(Subject::Commit);
    for text in [verdict.to_string(), next_step] {
        assert!(!text.is_empty() && text.len() < 4000, "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

/// Everything before the last line that begins a signature.
fn signed_part(raw: &[u8]) -> &[u8] {
    let is_line = |at: usize| at == 0 || raw[at - 1] == b'\n';
    let is_begin = |&at: &usize| is_line(at) && raw[at..].starts_with(b"-----BEGIN ");
    &raw[..(0..raw.len()).rfind(is_begin).unwrap_or(raw.len())]
}

/// The lines but those from `gpgsig` to the next header.
fn without_signature(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut is_signature, mut is_message) = (false, false);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        is_message |= line == b"\n";
        is_signature = !is_message
            && (line.starts_with(b"gpgsig ") || (is_signature && line.starts_with(b" ")));
        if !is_signature {
            out.extend_from_slice(line);
        }
    }
    out
}

/// What the target `name` holds.
///
/// # Panics
/// When there is none.
pub(crate) fn named(name: &str) -> fn(&[u8]) {
    TARGETS.iter().find(|target| target.0 == name).expect("the target exists").1
}
