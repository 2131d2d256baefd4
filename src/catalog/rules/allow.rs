//! The allowlist itself.

use super::{Base, Example, Rule, ids, text};
use crate::catalog::finding::Weight;

/// A description that breaks META007, so that there is something to waive.
const NAMES_IT: &str = "name: Cookie jar\ndescription: Learn what XSS is, in the jar of a friend.\ndifficulty: easy\ntags: [web]\n";
const WAIVED: &str = "allowlist:\n  - rule: META007\n    path: metadata.yaml\n    reason: a lesson that names its subject\n";

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::ALLOW001,
        weight: Weight::Error,
        summary: "`audit-allowlist.yaml` or an entry of it cannot be used",
        why: "An entry without a rule, a path or a reason waives nothing, and nobody would notice until the finding is in the way. The reason is what the next person needs to decide whether it still holds.",
        fix: "Write each entry as `{rule: …, path: …, reason: …}`, with the id of the finding, the end of its path, and why it is right as it is. `line` is optional and a whole number.",
        bad: Example {
            base: Base::Web,
            files: &[
                text("metadata.yaml", NAMES_IT),
                text(
                    "audit-allowlist.yaml",
                    "allowlist:\n  - rule: META007\n    path: metadata.yaml\n    line: two\n",
                ),
            ],
        },
        good: Example {
            base: Base::Web,
            files: &[text("metadata.yaml", NAMES_IT), text("audit-allowlist.yaml", WAIVED)],
        },
    },
    Rule {
        id: ids::ALLOW002,
        weight: Weight::Warning,
        summary: "An entry of the allowlist waives nothing",
        why: "The finding was mended, or the path never fitted. Such an entry waits to hide the next finding of the same kind. Paths fit by whole components: `app.py` fits `services/web/app.py`, and not `services/web/my_app.py`.",
        fix: "Remove the entry, or correct its path or line when the finding is still there.",
        bad: Example { base: Base::Web, files: &[text("audit-allowlist.yaml", WAIVED)] },
        good: Example {
            base: Base::Web,
            files: &[text("metadata.yaml", NAMES_IT), text("audit-allowlist.yaml", WAIVED)],
        },
    },
    Rule {
        id: ids::ALLOW003,
        weight: Weight::Warning,
        summary: "An entry of the allowlist is for a finding that cannot be waived",
        why: "The finding says that the challenge cannot run as it is written, and no reason changes that. It stays, and so does the block.",
        fix: "Mend the finding, then remove the entry.",
        bad: Example {
            base: Base::Web,
            files: &[
                text(
                    "metadata.yaml",
                    "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: trivial\ntags: [web]\n",
                ),
                text(
                    "audit-allowlist.yaml",
                    "allowlist:\n  - {rule: META003, path: metadata.yaml, reason: it is really trivial}\n",
                ),
            ],
        },
        good: Example { base: Base::Web, files: &[] },
    },
];
