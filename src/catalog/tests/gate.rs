//! Which findings keep a version from being used.

use super::{Edit, edited};
use crate::catalog::rules::Base;
use crate::catalog::{Gate, Policy, load_one};

/// Whether the web challenge with `edits` may be used at each gate: runnable, errors, warnings.
fn gates(edits: &[Edit]) -> [bool; 3] {
    [Gate::Runnable, Gate::Errors, Gate::Warnings].map(|gate| {
        let policy = Policy { gate, ..Policy::default() };
        load_one(&edited(Base::Web, edits), Base::Web.folder(), &policy)
            .unwrap()
            .challenge
            .is_some()
    })
}

const STYLE: Edit = Edit::Replace("metadata.yaml", "at the bottom", "at the vulnerable bottom");

#[test]
fn a_clean_challenge_passes_every_gate() {
    assert_eq!(gates(&[]), [true, true, true]);
}

#[test]
fn what_cannot_run_passes_none() {
    let broken = Edit::Replace("metadata.yaml", "difficulty: easy", "difficulty: eazy");
    assert_eq!(gates(&[broken]), [false, false, false]);
}

#[test]
fn a_broken_rule_of_style_is_held_back_only_where_it_is_asked_for() {
    assert_eq!(gates(&[STYLE]), [true, false, false]);
}

#[test]
fn a_waived_error_is_a_warning_to_every_gate() {
    let waiver = "allowlist:\n  - {rule: META007, path: metadata.yaml, reason: it is the name}\n";
    assert_eq!(gates(&[STYLE, Edit::Put("audit-allowlist.yaml", waiver)]), [true, true, false]);
}

#[test]
fn a_refusal_cannot_be_waived() {
    let broken = Edit::Replace("metadata.yaml", "difficulty: easy", "difficulty: eazy");
    let waiver = "allowlist:\n  - {rule: META003, path: metadata.yaml, reason: please}\n";
    assert_eq!(gates(&[broken, Edit::Put("audit-allowlist.yaml", waiver)]), [false; 3]);
}
