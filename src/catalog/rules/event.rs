//! Competition files.

use super::{Base, Example, File, Rule, ids, text};
use crate::catalog::finding::Weight;

/// A repository with one quiz, and these competition files.
const fn event(files: &'static [File]) -> Example {
    Example { base: Base::Quiz, files }
}

const CLEAN: Example = event(&[text(
    "/competitions/finals.yaml",
    "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\n",
)]);

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::EVENT000,
        weight: Weight::Error,
        summary: "A competition file cannot be read as one YAML mapping",
        why: "What cannot be read declares no competition. Challenges and other competitions go on as they are.",
        fix: "Go to the line that is named and mend the YAML there. Indent with spaces, and put texts with `: ` in them in quotes.",
        bad: event(&[text("/competitions/finals.yaml", "title: Finals: the last day\n")]),
        good: CLEAN,
    },
    Rule {
        id: ids::EVENT001,
        weight: Weight::Error,
        summary: "A field of a competition is missing, or has the wrong type",
        why: "Title, times and challenges have no default that would be right, and a time without a zone means another hour to everybody who reads it.",
        fix: "Write `title`, `starts_at`, `ends_at` and `challenges`. Times have date, time and zone, such as `2027-03-01T12:00:00Z`; challenges are ids, patterns, or mappings with one of `id`, `bucket` and `tag`.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01 09:00\nchallenges: [QUIZ-001]\n",
        )]),
        good: CLEAN,
    },
    Rule {
        id: ids::EVENT002,
        weight: Weight::Error,
        summary: "A competition has a key that does not exist",
        why: "A key that nobody reads promises something that does not happen: with `freeze` instead of `freeze_at` the standings never freeze.",
        fix: "Correct the spelling, or remove the key.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nfreeze: 2027-03-01T16:00:00Z\nchallenges: [QUIZ-001]\n",
        )]),
        good: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nfreeze_at: 2027-03-01T16:00:00Z\nchallenges: [QUIZ-001]\n",
        )]),
    },
    Rule {
        id: ids::EVENT003,
        weight: Weight::Error,
        summary: "The times of a competition are out of order",
        why: "A competition that ends before it starts is over before anybody plays, and a freeze outside of it never happens.",
        fix: "Put them in order: `starts_at`, `freeze_at`, `ends_at`, with registration opening before it closes and every release before the end. Mind the zones.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T10:00:00+02:00\nchallenges: [QUIZ-001]\n",
        )]),
        good: CLEAN,
    },
    Rule {
        id: ids::EVENT004,
        weight: Weight::Error,
        summary: "A selector selects no challenge",
        why: "An id that does not exist is a typo or a folder that was renamed, and players would miss a challenge. A pattern, bucket or tag that selects nothing yet is only a warning, because its challenges may come later. The competition counts in both cases, without them.",
        fix: "Write the id as the folder is named, with the same case.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-01]\n",
        )]),
        good: CLEAN,
    },
    Rule {
        id: ids::EVENT005,
        weight: Weight::Warning,
        summary: "A selected challenge is invalid at this revision",
        why: "The version that is live goes on, if there is one. When there is none, the competition starts without the challenge.",
        fix: "Mend the challenge: its own findings say what is wrong with it.",
        bad: event(&[
            text("metadata.yaml", "name: Ports\n"),
            text(
                "/competitions/finals.yaml",
                "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\n",
            ),
        ]),
        good: CLEAN,
    },
    Rule {
        id: ids::EVENT006,
        weight: Weight::Error,
        summary: "The name of a competition file is not `<id>.yaml`",
        why: "The name of the file is the id of the competition, which stands in addresses and in the database. A file with another name is not read; one that ends with `.yml` is a warning.",
        fix: "Rename it to 1 to 64 lower-case letters, digits or `-`, followed by `.yaml`.",
        bad: event(&[text(
            "/competitions/Finals 2027.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\n",
        )]),
        good: event(&[text(
            "/competitions/finals-2027.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\n",
        )]),
    },
    Rule {
        id: ids::EVENT007,
        weight: Weight::Error,
        summary: "A challenge is selected twice, with different values or releases",
        why: "Only the first selection counts, so the second one says something that does not happen. An id goes before patterns, buckets and tags, so a special value for one challenge is no conflict.",
        fix: "Select the challenge once, or give both the same `value` and `release_at`. What is special about one challenge is said by its `id`.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges:\n  - {tag: quiz, value: 100}\n  - {bucket: MISC, value: 300}\n",
        )]),
        good: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges:\n  - {id: QUIZ-001, value: 100}\n  - {bucket: MISC, value: 300}\n",
        )]),
    },
    Rule {
        id: ids::EVENT008,
        weight: Weight::Error,
        summary: "A number of a competition is out of bounds",
        why: "A team of at least five and at most four players cannot exist, and a minimum above the value would let points rise with each solve.",
        fix: "Write a number between the bounds that the message names, with `min_size` not above `max_size` and `minimum` not above `value`.",
        bad: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\nteams: {min_size: 5, max_size: 4}\nscoring: {value: 100, minimum: 500}\n",
        )]),
        good: event(&[text(
            "/competitions/finals.yaml",
            "title: Finals\nstarts_at: 2027-03-01T09:00:00Z\nends_at: 2027-03-01T17:00:00Z\nchallenges: [QUIZ-001]\nteams: {min_size: 4, max_size: 5}\nscoring: {value: 500, minimum: 100}\n",
        )]),
    },
];
