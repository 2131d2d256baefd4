//! A repository as a whole.

use super::{Base, Example, File, Rule, text};
use crate::catalog::finding::Weight;

/// A quiz without findings.
const QUIZ: &str = "\
name: Ports
description: Which port does SSH use?
difficulty: easy
category: misc
tags: [quiz]
questions: [{id: port, prompt: Which?, answer: '22', choices: ['21', '22']}]
";

const fn none(files: &'static [File]) -> Example {
    Example { base: Base::Nothing, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: super::REPO001,
        weight: Weight::Refusal,
        summary: "A folder or name that cannot be a challenge",
        why: "The name of a folder with `metadata.yaml` is the id of the challenge: in URLs, names of images and containers, and on the scoreboard. A name that is no id, or that looks like another one, cannot be used.",
        fix: "Rename the folder: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.",
        bad: none(&[text("/MISC/-quiz/metadata.yaml", QUIZ)]),
        good: none(&[text("/MISC/QUIZ-001/metadata.yaml", QUIZ)]),
    },
    Rule {
        id: super::REPO002,
        weight: Weight::Refusal,
        summary: "Two challenges with one id",
        why: "Ids are compared without case and in composed form, because some file systems and all people do. Nobody could say which of the two a player solved, so neither is used.",
        fix: "Rename one of the folders.",
        bad: none(&[
            text("/MISC/QUIZ-001/metadata.yaml", QUIZ),
            text("/OLD/quiz-001/metadata.yaml", QUIZ),
        ]),
        good: none(&[
            text("/MISC/QUIZ-001/metadata.yaml", QUIZ),
            text("/OLD/QUIZ-002/metadata.yaml", QUIZ),
        ]),
    },
    Rule {
        id: super::REPO003,
        weight: Weight::Warning,
        summary: "A link or submodule where challenges are looked for",
        why: "A symbolic link is never followed and a submodule never fetched, so a challenge behind one does not exist.",
        fix: "Put the folder itself into this repository.",
        bad: none(&[File { path: "/MISC", what: super::What::Submodule }]),
        good: none(&[text("/MISC/QUIZ-001/metadata.yaml", QUIZ)]),
    },
    Rule {
        id: super::REPO004,
        weight: Weight::Refusal,
        summary: "A Git LFS pointer in place of a file",
        why: "Nothing is fetched from an LFS server: that would be a request to an address of an author's choice. So players would download the pointer, or the image would hold it. Elsewhere in a challenge it is a warning.",
        fix: "Commit the file itself: take its pattern out of `.gitattributes` (`git lfs untrack`), then add the file again. Files of up to 100 MiB are fine; fetch larger ones in the Dockerfile.",
        bad: Example {
            base: Base::Pwn,
            files: &[text(
                "attachments/guestbook",
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
            )],
        },
        good: Example {
            base: Base::Pwn,
            files: &[text("attachments/guestbook", "#!/bin/sh\necho Your name?\n")],
        },
    },
    Rule {
        id: super::REPO005,
        weight: Weight::Warning,
        summary: "Settings of submodules or of Git LFS at the root",
        why: "`.gitmodules` and `.lfsconfig` ask for files of other servers. flagops never fetches them, so what they promise is missing.",
        fix: "Commit the files themselves, and remove the setting.",
        bad: none(&[text("/.lfsconfig", "[lfs]\n    url = https://lfs.example/\n")]),
        good: none(&[text("/MISC/QUIZ-001/metadata.yaml", QUIZ)]),
    },
    Rule {
        id: super::REPO006,
        weight: Weight::Error,
        summary: "A repository over its budget",
        why: "Every revision is read as a whole, and every player sees one list. A repository has at most 2000 challenges, 20000 folders where challenges are looked for, and in all challenges together 200000 files and 8 GiB.",
        fix: "Split the repository by event, remove what no challenge needs, and fetch large files in the Dockerfile.",
        bad: none(&[text("/MISC/QUIZ-{0..2001}/metadata.yaml", QUIZ)]),
        good: none(&[text("/MISC/QUIZ-{0..20}/metadata.yaml", QUIZ)]),
    },
    Rule {
        id: super::REPO007,
        weight: Weight::Warning,
        summary: "A folder that looks like a challenge and is none",
        why: "A challenge is a folder with `metadata.yaml`, at the top of the repository or one folder below. Everything else is passed over in silence, so a challenge whose file has another name would be missing on the day of the event.",
        fix: "Rename the file to `metadata.yaml`, write one, or move the folder up. If the folder is no challenge, this is only a remark.",
        bad: none(&[text("/MISC/QUIZ-001/metadata.yml", QUIZ)]),
        good: none(&[text("/MISC/QUIZ-001/metadata.yaml", QUIZ)]),
    },
    Rule {
        id: super::REPO008,
        weight: Weight::Warning,
        summary: "A file or folder under a name, or at a place, that is not read",
        why: "An allowlist is `audit-allowlist.yaml` beside the `metadata.yaml` of its challenge, and competitions are files below `competitions/`. Under another name, or elsewhere, they have no effect.",
        fix: "Rename or move it, or remove it.",
        bad: none(&[
            text("/MISC/QUIZ-001/metadata.yaml", QUIZ),
            text("/audit-allowlist.yaml", "allowlist: []\n"),
        ]),
        good: none(&[text("/MISC/QUIZ-001/metadata.yaml", QUIZ)]),
    },
];
