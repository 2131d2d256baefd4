//! Where we deliberately say something else than the reference, and why. `docs/rules.md` tells each
//! of these to authors in the same words.

use crate::Finding;
use crate::corpus::Case;

/// One deliberate difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The mutation that shows it.
    pub(crate) name: &'static str,
    /// The rules that only one of the two reports.
    pub(crate) rules: &'static [&'static str],
    /// Who reports them: `only ours` or `only the reference`.
    pub(crate) side: &'static str,
    /// Why; a sentence of `docs/rules.md`.
    pub(crate) reason: &'static str,
}

const OURS: &str = "only ours";
const THEIRS: &str = "only the reference";

const fn theirs(
    name: &'static str,
    rules: &'static [&'static str],
    reason: &'static str,
) -> Difference {
    Difference { name, rules, side: THEIRS, reason }
}

const fn ours(
    name: &'static str,
    rules: &'static [&'static str],
    reason: &'static str,
) -> Difference {
    Difference { name, rules, side: OURS, reason }
}

const A_FAULT_OF_ITS_OWN: &str = "a question with a fault of its own still exists: what carries its \
     answer is not called superfluous";

pub(crate) const ALL: &[Difference] = &[
    theirs(
        "keys of our own",
        &["META005"],
        "`instance`, `scoring`, `author` and `release_at` are keys of flagops; a slim-v4 reader \
         ignores them when it runs a challenge",
    ),
    theirs(
        "our own delivery",
        &["STRUCT006"],
        "a service that says `x-answers` gets its answers from the platform, so no `flag-rotator` \
         has to carry them through an environment",
    ),
    theirs(
        "a Dockerfile of another name",
        &["STRUCT004"],
        "`build.dockerfile` names the file that is built, so that file is looked for and no other",
    ),
    theirs(
        "a placeholder of an f-string",
        &["SOURCE001"],
        "`FLAG{{name}}` is a placeholder in an f-string, not a flag",
    ),
    theirs(
        "the gateway's base in another form",
        &["NET002"],
        "a platform, a registry, a digest or a lower-case `from` does not change which image the \
         gateway is built from",
    ),
    ours(
        "metadata is no YAML",
        crate::reference::RULES,
        "a fault of `metadata.yaml` does not hide those of the other files: what can be judged \
         without it is judged",
    ),
    ours(
        "the gateway is only an image",
        &["NET002"],
        "a gateway that is not built is judged by its `image`",
    ),
    theirs(
        "a prompt is missing, blank or no text",
        &["STRUCT006", "STRUCT009"],
        A_FAULT_OF_ITS_OWN,
    ),
    theirs("requires is no list of texts", &["STRUCT006", "STRUCT009"], A_FAULT_OF_ITS_OWN),
    theirs("format is another word", &["STRUCT006", "STRUCT009"], A_FAULT_OF_ITS_OWN),
    theirs("an answer of the wrong type", &["STRUCT006", "STRUCT009"], A_FAULT_OF_ITS_OWN),
    theirs("choices are no texts", &["STRUCT006", "STRUCT009"], A_FAULT_OF_ITS_OWN),
    theirs("questions are no list", &["STRUCT006", "STRUCT009"], A_FAULT_OF_ITS_OWN),
];

/// The difference that explains a finding of one side only.
pub(crate) fn explains(case: &Case, side: &str, finding: &Finding) -> Option<&'static Difference> {
    ALL.iter().find(|difference| {
        difference.side == side
            && case.mutations.contains(&difference.name)
            && difference.rules.contains(&finding.0.as_str())
    })
}
