//! Encrypted files, as far as anybody without a key can tell, and keys that are in the open
//! (SECRET).
//!
//! # Not here
//! Whether the nodes can decrypt a file: only they know (`builder::context`, `daemon::secrets`,
//! `flagops secrets check`).

use super::Subject;
use crate::catalog::decode::{Report, shown};
use crate::catalog::encrypted::Fault;
use crate::catalog::files::shown_path;
use crate::catalog::finding::Weight;
use crate::catalog::names;
use crate::catalog::rules;
use crate::model::{EntryKind, TreeError, plain_name};

/// Files that checks have to read, so nothing decrypts them.
const NEVER: &[&str] =
    &["metadata.yaml", "docker-compose.yml", "audit-allowlist.yaml", "solution/exploit.py"];
/// What an age identity begins with.
const IDENTITY: &str = "AGE-SECRET-KEY-1";
/// Sizes of files of a few identities.
const IDENTITY_SIZES: std::ops::Range<u64> = 70..1024;
/// What is read and typed elsewhere: a line of it that is no key of the format is refused there.
const TYPED: &[&str] = &["metadata.yaml", "docker-compose.yml"];

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    for (name, seen) in subject.encrypted.iter() {
        if let Err(fault) = seen {
            check_usable(subject, name, fault, report);
        }
        if let Some(plain) = plain_name(name) {
            check_twin(subject, name, plain, report);
            check_read(subject, name, plain, report);
        }
    }
    check_identities(subject, report)
}

/// SECRET001 and SECRET002: it can be decrypted by whoever has the key.
fn check_usable(subject: &Subject<'_>, name: &str, fault: &Fault, report: &mut Report) {
    let weight = weight(subject, name);
    let path = shown_path(&subject.path(name));
    let message = format!("`{}` cannot be decrypted: {}", shown(name), fault.words());
    match fault {
        Fault::Unusable(unusable) if unusable.is_for_others() => {
            let hint = "encrypt it with `flagops secrets encrypt`; where players are to get it as \
                        it is, give it a name that does not end in `.age`";
            report.on_file(weight, rules::SECRET002, path, message, hint);
        }
        Fault::Unusable(_) => {
            let hint = "encrypt the file again with `flagops secrets encrypt`";
            report.on_file(weight, rules::SECRET001, path, message, hint);
        }
        Fault::OverBudget => {
            let hint = "encrypt only what is secret, not large files beside it";
            report.on_file(weight, rules::SECRET001, path, message, hint);
        }
    }
}

/// SECRET003: the plain name is free, and is one.
fn check_twin(subject: &Subject<'_>, name: &str, plain: &str, report: &mut Report) {
    let fault = names::fault(plain.rsplit('/').next().unwrap_or(plain));
    let (at, message, hint) = match (fault, subject.files.kind(plain)) {
        (Some(fault), _) => {
            (name, format!("`{}` is decrypted to a name that {fault}", shown(name)), "rename it")
        }
        (None, None) => return,
        (None, Some(EntryKind::File { .. })) => (
            plain,
            format!("`{}` is in the open beside `{}`", shown(plain), shown(name)),
            "remove it with `git rm`; it stays in the history, so encrypt another secret",
        ),
        (None, Some(EntryKind::Directory | EntryKind::Symlink | EntryKind::Submodule)) => (
            name,
            format!(
                "`{}` is decrypted to `{}`, which is something else",
                shown(name),
                shown(plain)
            ),
            "rename one of the two",
        ),
    };
    let path = shown_path(&subject.path(at));
    report.on_file(weight(subject, name), rules::SECRET003, path, message, hint);
}

/// SECRET004: it is encrypted, and nobody decrypts it.
fn check_read(subject: &Subject<'_>, name: &str, plain: &str, report: &mut Report) {
    if NEVER.contains(&plain) {
        let message =
            format!("`{}` is never decrypted: checks have to read `{plain}`", shown(name));
        let hint = "commit it as it is, and encrypt files that hold the secrets";
        let path = shown_path(&subject.path(name));
        report.on_file(Weight::Error, rules::SECRET004, path, message, hint);
    }
}

/// SECRET005: a private key.
fn check_identities(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let is_looked_into =
        |(name, bytes): &(&str, u64)| IDENTITY_SIZES.contains(bytes) && !TYPED.contains(name);
    for (name, _) in subject.files.below("").filter(is_looked_into) {
        let Some(text) = subject.text(name)? else { continue };
        let Some(line) = text.lines().position(|line| line.trim().starts_with(IDENTITY)) else {
            continue;
        };
        let message = format!(
            "`{}` holds an age identity at line {}, which decrypts for everybody who can read the \
             repository",
            shown(name),
            line + 1
        );
        let hint = "remove it, make another with `flagops secrets keygen`, and encrypt other \
                    secrets for it";
        let path = shown_path(&subject.path(name));
        report.on_file(Weight::Error, rules::SECRET005, path, message, hint);
    }
    Ok(())
}

/// What a fault of the file at `name` means: nothing runs where it is built in or handed out.
fn weight(subject: &Subject<'_>, name: &str) -> Weight {
    let is_below = |dir: &str| {
        dir.is_empty() || name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
    };
    let is_built = subject.builds.iter().any(|build| is_below(&build.spec.context));
    if is_below("attachments") || is_built { Weight::Refusal } else { Weight::Error }
}
