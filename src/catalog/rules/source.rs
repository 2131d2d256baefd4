//! Sources that players can read.

use super::{Base, Example, File, Rule, What, ids, text};
use crate::catalog::finding::Weight;

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: ids::SOURCE001,
        weight: Weight::Error,
        summary: "A literal flag is written into a source below `services/`",
        why: "A flag in a source is the same for every player and stays in git and in image layers \
              for good. Real answers are minted for each instance and are written into files by \
              `flag-rotator` when it starts. Placeholders are fine: `FLAG{sample-flag}`, \
              `FLAG{%s}`, `FLAG{$ANSWER_ID}`, `FLAG{__ANSWER_ID__}`, `FLAG{<your flag>}`, a UUID, \
              and `FLAG{{name}}` of templates and format strings.",
        fix: "Read the flag from its file below `/answers/`, and write a placeholder where a \
              default is needed.",
        bad: Example {
            base: Base::Web,
            files: &[text("services/web/www/index.html", "<p>FLAG{c00kie-m0nster}</p>\n")],
        },
        good: Example {
            base: Base::Web,
            files: &[text("services/web/www/index.html", "<p>FLAG{sample-flag}</p>\n")],
        },
    },
    Rule {
        id: ids::SOURCE002,
        weight: Weight::Error,
        summary: "A comment points at the weakness",
        why: "Players who get at a source, and many challenges let them, read its comments first. \
              A word like `vulnerable`, `SSRF` or `bypass trick` spares them the search. Lines are \
              looked at that begin with `//`, `#`, `/*`, `*` or `<!--`, and what follows an open \
              `/*` or `<!--`.",
        fix: "Say what the code does, not what is wrong with it; keep the rest in `solution/`.",
        bad: Example {
            base: Base::Web,
            files: &[text(
                "services/web/app.py",
                "# insecure: the path is not checked\npath = request.args[\"path\"]\n",
            )],
        },
        good: Example {
            base: Base::Web,
            files: &[text(
                "services/web/app.py",
                "# the page that is asked for\npath = request.args[\"path\"]\n",
            )],
        },
    },
    Rule {
        id: ids::SOURCE003,
        weight: Weight::Error,
        summary: "A text that players see points at the weakness, or names an internal path",
        why: "What a page says is read by everybody. The name of a weakness on it, or a path below \
              `/api/`, `/internal/` or `/admin/`, gives away what should be found. Looked at are \
              pages and templates as a whole, text and links of JSX, templates of components, and \
              long literals of scripts. The paths of health checks are fine.",
        fix: "Describe the product as its owner would, and leave internal paths out of pages.",
        bad: Example {
            base: Base::Web,
            files: &[text(
                "services/web/www/index.html",
                "<p>Our whitelist keeps you safe. Staff: see /internal/users.</p>\n",
            )],
        },
        good: Example {
            base: Base::Web,
            files: &[text(
                "services/web/www/index.html",
                "<p>We keep you safe. Staff: ask your colleagues.</p>\n",
            )],
        },
    },
    Rule {
        id: ids::SOURCE004,
        weight: Weight::Error,
        summary: "A folder or route only explains the service",
        why: "`/docs`, `/help`, `/swagger` and the like are the first guesses of every player and \
              tool. They turn a challenge into reading its manual. Folders of such names and \
              routes whose first segment is one are named, wherever they are below `services/`.",
        fix: "Remove it. Where the product truly needs the page, give it a name of its own.",
        bad: Example {
            base: Base::Web,
            files: &[text(
                "services/web/app.py",
                "@app.route(\"/docs\")\ndef docs():\n    return page(\"docs\")\n",
            )],
        },
        good: Example {
            base: Base::Web,
            files: &[text(
                "services/web/app.py",
                "@app.route(\"/jar\")\ndef jar():\n    return page(\"jar\")\n",
            )],
        },
    },
    Rule {
        id: ids::SOURCE020,
        weight: Weight::Warning,
        summary: "Not everything below `services/` was looked through",
        why: "A check must answer in a second, whatever is pushed: it stops after 32 MiB of text, \
              or earlier where there is much to look at closely. It cannot read UTF-16, and takes \
              no file of more than 2,000,000 bytes; a larger script is named, because it could \
              declare routes. What was not read may still break a rule.",
        fix: "Keep large data out of `services/` or fetch it in the Dockerfile, split large \
              scripts, and save text as UTF-8.",
        bad: Example {
            base: Base::Web,
            files: &[File {
                path: "services/web/www/notes.txt",
                what: What::Bytes(b"\xff\xfeh\0e\0l\0l\0o\0"),
            }],
        },
        good: Example { base: Base::Web, files: &[text("services/web/www/notes.txt", "hello")] },
    },
];
