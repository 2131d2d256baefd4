//! What `metadata.yaml` must say.
//!
//! META001 is reserved by the contract for a top level that is no mapping, and never emitted:
//! META000 says that. It has no entry, because no example could show it.

use super::{Base, Example, File, Rule, ids, text};
use crate::catalog::finding::Weight;

/// A web challenge with another `metadata.yaml`.
const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// A quiz with another `metadata.yaml`.
const fn quiz(files: &'static [File]) -> Example {
    Example { base: Base::Quiz, files }
}

/// A web challenge as it is.
const CLEAN: Example = Example { base: Base::Web, files: &[] };
/// A quiz as it is.
const CLEAN_QUIZ: Example = Example { base: Base::Quiz, files: &[] };

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::META000,
        weight: Weight::Refusal,
        summary: "`metadata.yaml` cannot be read as one YAML mapping",
        why: "Without metadata there is no name, no question and nothing to grade. A key that stands twice counts too: readers differ in which of the two they keep, so one of them would see another challenge.",
        fix: "Go to the line that is named and mend the YAML there; what follows is not looked at until then. Keys are indented with spaces, texts with `: ` or `#` in them need quotes.",
        bad: web(&[text("metadata.yaml", "name: Cookie jar\ndescription: [Find the jar\n")]),
        good: CLEAN,
    },
    Rule {
        id: ids::META002,
        weight: Weight::Refusal,
        summary: "A required field is missing or has the wrong type",
        why: "Players see name, description, difficulty and tags before anything else, and no default would be right. `name: 2048` is a number in YAML, not a text, so readers would disagree about it.",
        fix: "Write `name`, `description` and `difficulty` as text and `tags` as a list of texts. Put a text that looks like a number or a boolean in quotes.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: 2048\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: \"2048\"\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
    },
    Rule {
        id: ids::META003,
        weight: Weight::Refusal,
        summary: "`difficulty` is none of `easy`, `medium` and `hard`",
        why: "Boards sort and filter by these three words, and an unknown word has no place in their order.",
        fix: "Write one of the three words in lower case. What else players should know belongs into `tags`.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: Insane\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
        good: CLEAN_QUIZ,
    },
    Rule {
        id: ids::META004,
        weight: Weight::Refusal,
        summary: "`tags` is empty, or one of its elements is no text",
        why: "Tags are how players search and how competitions select. A number or a boolean among them has no spelling that everybody agrees on.",
        fix: "List at least one tag, and put tags that look like numbers or booleans in quotes.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz, 2027]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz, \"2027\"]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
    },
    Rule {
        id: ids::META005,
        weight: Weight::Error,
        summary: "A top-level key that does not exist, or was retired",
        why: "A key that nobody reads promises something that does not happen. One that looks like a misspelt key blocks the challenge, because what would run is not what was meant; any other one is passed over when the challenge runs.",
        fix: "Correct the spelling, or remove the key. Retired keys name what replaces them; what a service needs belongs into `docker-compose.yml`.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nflag_path: /flag\n",
        )]),
        good: CLEAN,
    },
    Rule {
        id: ids::META006,
        weight: Weight::Refusal,
        summary: "A question is malformed",
        why: "The id of a question names its environment variable, its file and its row in the database, and the prompt is all that players see of it. A question that is dropped in silence could never be solved.",
        fix: "Give every question an `id` of its own that fits `^[a-z][a-z0-9_]*$` and a `prompt` that is not blank. Besides those it may have `answer`, `choices`, `requires` (a list of ids) and `format` (`flag` or `raw`).",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: SSH-Port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: ssh_port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
    },
    Rule {
        id: ids::META007,
        weight: Weight::Error,
        summary: "The description names a technique, or a path of an internal API",
        why: "A description that names the weakness solves half of the challenge. It says what the player is to achieve; how is theirs to find out. A quiz may name anything, since there is nothing to break.",
        fix: "Rewrite the sentence as a goal, without the name of the technique and without routes below `/api/`. Tags may name the technique, if it is to be known.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: The jar has an SSRF. Use it to call /api/internal/cookies.\ndifficulty: easy\ntags: [web]\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web, ssrf]\n",
        )]),
    },
    Rule {
        id: ids::META008,
        weight: Weight::Refusal,
        summary: "`answer` and `choices` do not make a mode",
        why: "How a question is graded follows from the shapes of `answer` and `choices`. `answer: 42` is a number and `answer: yes` a boolean to many readers: such a question would be dropped, or graded against another text than the author wrote.",
        fix: "Leave both out for a minted answer, write one text as `answer` for a fixed one, and add `choices` (a list of texts that holds the answer) for a selection. Put answers in quotes.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: 22}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
    },
    Rule {
        id: ids::META009,
        weight: Weight::Refusal,
        summary: "`requires` names its own question, an unknown one, or goes in a circle",
        why: "A question opens when everything that it requires is solved. What requires itself, or something that does not exist, never opens, so nobody can finish the challenge.",
        fix: "Let `requires` name ids of other questions of the same file, such that at least one question can be answered first.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Name some ports.\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: ssh, prompt: \"Which port does SSH use?\", answer: \"22\", requires: [web]}\n  - {id: web, prompt: \"Which port does HTTP use?\", answer: \"80\", requires: [ssh]}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Name some ports.\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: ssh, prompt: \"Which port does SSH use?\", answer: \"22\"}\n  - {id: web, prompt: \"Which port does HTTP use?\", answer: \"80\", requires: [ssh]}\n",
        )]),
    },
    Rule {
        id: ids::META010,
        weight: Weight::Error,
        summary: "The description repeats the prompt of a question that is still locked",
        why: "The prompt of a question with `requires` is hidden until the others are solved. Four words in a row that the description shares with it (short and common words aside) give it away.",
        fix: "Let the description frame only the questions that are open from the start, or say it in other words.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Learn which port carries encrypted shell sessions.\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: web, prompt: \"Which port does HTTP use?\", answer: \"80\"}\n  - {id: ssh, prompt: \"Which port carries encrypted shell sessions?\", answer: \"22\", requires: [web]}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Learn some well-known numbers.\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: web, prompt: \"Which port does HTTP use?\", answer: \"80\"}\n  - {id: ssh, prompt: \"Which port carries encrypted shell sessions?\", answer: \"22\", requires: [web]}\n",
        )]),
    },
    Rule {
        id: ids::META011,
        weight: Weight::Refusal,
        summary: "`category` is none of `web`, `pwn`, `reverse`, `crypto` and `misc`",
        why: "The category decides which files a challenge needs: a web challenge has something that runs, a quiz has not. Without it there is nothing to hold the folder against.",
        fix: "Write one of the five words in lower case, or leave the key out for `web`. Finer kinds belong into `tags`.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ncategory: forensics\ntags: [web]\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ncategory: web\ntags: [forensics]\n",
        )]),
    },
    Rule {
        id: ids::META012,
        weight: Weight::Refusal,
        summary: "`network_topology` is neither `simple` nor `engagement`",
        why: "The topology decides what is published: every declared port, or only a VPN gateway. A guess could put an internal service on the internet.",
        fix: "Leave the key out for `simple`. With `engagement` the compose file needs a service `openvpn` (see NET001 to NET003).",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nnetwork_topology: bridge\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nnetwork_topology: simple\n",
        )]),
    },
    Rule {
        id: ids::META013,
        weight: Weight::Error,
        summary: "`entry_urls` is no list of absolute `http://` or `https://` URLs",
        why: "The URLs become links on the page of an instance. Another scheme could run code in the browser of a player, and a link without a host leads nowhere. A link that is no such URL is left out; when the list holds something that is no text at all, the challenge is blocked.",
        fix: "Write a list such as `entry_urls: [\"http://intranet/\"]`.",
        bad: Example {
            base: Base::Engagement,
            files: &[text(
                "metadata.yaml",
                "name: Branch office\ndescription: Get into the branch office and read the memo.\ndifficulty: hard\ntags: [network]\nnetwork_topology: engagement\nentry_urls: [intranet, \"javascript:alert(1)\"]\n",
            )],
        },
        good: Example {
            base: Base::Engagement,
            files: &[text(
                "metadata.yaml",
                "name: Branch office\ndescription: Get into the branch office and read the memo.\ndifficulty: hard\ntags: [network]\nnetwork_topology: engagement\nentry_urls: [\"http://intranet/\"]\n",
            )],
        },
    },
    Rule {
        id: ids::META020,
        weight: Weight::Refusal,
        summary: "`instance` is malformed or out of bounds",
        why: "`instance` says how long an instance may live and who shares it. With a value that cannot be read a default would be used instead, and instances would end earlier or later than the author said.",
        fix: "Write durations such as `90m` or `2h`, at least `60s`, with `ttl` not above `max_ttl`, and `scope` as `team` or `shared`.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {ttl: two hours}\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\ninstance: {ttl: 2h}\n",
        )]),
    },
    Rule {
        id: ids::META021,
        weight: Weight::Refusal,
        summary: "`scoring` is malformed",
        why: "What a challenge is worth must be a number that everybody computes alike. A minimum above the value would let points rise with each solve.",
        fix: "Write whole numbers from 0 to 1000000 for `value`, `minimum` and `decay`, with `minimum` not above `value`, and `function` as `static`, `linear` or `logarithmic`.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nscoring: {value: 100, minimum: 500}\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nscoring: {value: 500, minimum: 100}\n",
        )]),
    },
    Rule {
        id: ids::META022,
        weight: Weight::Refusal,
        summary: "`author` or `release_at` is malformed",
        why: "A release time that cannot be read would show the challenge too early or never, and neither can be taken back.",
        fix: "Write `release_at` with date, time and zone, such as `2027-03-01T12:00:00Z`, and `author` as one line such as `Ada <ada@example.org>`.",
        bad: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nrelease_at: 1 March, noon\n",
        )]),
        good: web(&[text(
            "metadata.yaml",
            "name: Cookie jar\ndescription: Find out what the owner keeps at the bottom of the jar.\ndifficulty: easy\ntags: [web]\nrelease_at: 2027-03-01T12:00:00Z\n",
        )]),
    },
    Rule {
        id: ids::META023,
        weight: Weight::Refusal,
        summary: "A text is blank, hides characters, or is too long to be shown",
        why: "A name with a line break or with characters that turn the direction of writing can pretend to be something else on a board or in a terminal, and a blank answer can be given by accident. A key `answer` or `choices` with nothing behind it counts as absent, which is an error that does not block.",
        fix: "Write names and tags as one plain line of at most 200 characters, and fill what is blank or remove the key.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: \"Ports\\u202estroP\"\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\"}\n",
        )]),
        good: CLEAN_QUIZ,
    },
    Rule {
        id: ids::META024,
        weight: Weight::Error,
        summary: "A link of `entry_urls` is left out",
        why: "A URL with a user name in front of the host hides where it leads, spaces and brackets are read differently by every browser, and a port above 65535 does not exist. Such a link is not shown, nor is any after the fiftieth.",
        fix: "Write a plain URL with host, optional port and path, and percent-encode what is special.",
        bad: Example {
            base: Base::Engagement,
            files: &[text(
                "metadata.yaml",
                "name: Branch office\ndescription: Get into the branch office and read the memo.\ndifficulty: hard\ntags: [network]\nnetwork_topology: engagement\nentry_urls: [\"http://intranet@example.org/\"]\n",
            )],
        },
        good: Example {
            base: Base::Engagement,
            files: &[text(
                "metadata.yaml",
                "name: Branch office\ndescription: Get into the branch office and read the memo.\ndifficulty: hard\ntags: [network]\nnetwork_topology: engagement\nentry_urls: [\"http://intranet/\"]\n",
            )],
        },
    },
    Rule {
        id: ids::META025,
        weight: Weight::Error,
        summary: "`choices` names a choice twice",
        why: "Players cannot tell two equal choices apart, and one of them would be right as well as wrong to them.",
        fix: "List each choice once.",
        bad: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\", choices: [\"21\", \"22\", \"22\"]}\n",
        )]),
        good: quiz(&[text(
            "metadata.yaml",
            "name: Ports\ndescription: Which port does SSH use?\ndifficulty: easy\ncategory: misc\ntags: [quiz]\nquestions:\n  - {id: port, prompt: \"Which port does SSH use?\", answer: \"22\", choices: [\"21\", \"22\", \"23\"]}\n",
        )]),
    },
    Rule {
        id: ids::META026,
        weight: Weight::Refusal,
        summary: "`exports` is malformed, or names what is not there",
        why: "Each entry hands one file of a service to players, so it has to say which service, where in there, and under which name. Two files of one name cannot both be downloaded, and what `flag-rotator` or a VPN gateway holds is for no player. With `per_team: true` the file is the one that the service wrote when it started; from inside of gVisor (`runtime: runsc`) that cannot be read.",
        fix: "Write `{service: chal, path: /srv/guestbook, as: guestbook-bin}`: a service of `docker-compose.yml`, an absolute path without `..`, and a name that no file in `attachments/` has; `per_team: true` where each instance makes its own. At most 16 files.",
        bad: Example {
            base: Base::Pwn,
            files: &[text(
                "metadata.yaml",
                "name: Guestbook\ndescription: Sign the guestbook.\ndifficulty: easy\ncategory: pwn\ntags: [pwn]\nexports:\n  - {service: chal, path: srv/guestbook, as: guestbook-bin}\n",
            )],
        },
        good: Example {
            base: Base::Pwn,
            files: &[text(
                "metadata.yaml",
                "name: Guestbook\ndescription: Sign the guestbook.\ndifficulty: easy\ncategory: pwn\ntags: [pwn]\nexports:\n  - {service: chal, path: /srv/guestbook, as: guestbook-bin}\n",
            )],
        },
    },
];
