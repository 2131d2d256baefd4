//! Attachments that are rendered per instance.

use super::{Base, Example, File, Rule, text};
use crate::catalog::finding::Weight;

const fn pwn(files: &'static [File]) -> Example {
    Example { base: Base::Pwn, files }
}

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: super::TEMPLATE001,
        weight: Weight::Refusal,
        summary: "A template that is no template",
        why: "A file below `attachments/` that ends in `.tpl` is rendered when an instance starts. One that cannot be read as a template, or does what cannot be done with its values, ends every start.",
        fix: "Mend the line that the message names. To print braces write `{{ '{{' }}` or put the text between `{% raw %}` and `{% endraw %}`; a file that is no template loses its `.tpl`.",
        bad: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.flag\n")]),
        good: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.flag }}\n")]),
    },
    Rule {
        id: super::TEMPLATE002,
        weight: Weight::Refusal,
        summary: "A template that uses a variable that does not exist",
        why: "An unknown variable ends the start of every instance. There are `answer.<id>` for questions whose answer is minted, `instance.id`, `team.id`, `team.name`, `challenge.id`, `challenge.name`, `event.id`, `event.title`, and `service.<name>.host` and `.port` for services with ports. Fixed answers are never given to a template.",
        fix: "Use a name that exists; the message proposes the nearest one. `{{ x|default('…') }}` is for what may be missing.",
        bad: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.falg }}\n")]),
        good: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.flag }}\n")]),
    },
    Rule {
        id: super::TEMPLATE003,
        weight: Weight::Refusal,
        summary: "A template that is not UTF-8, or too large",
        why: "Templates are text of at most 64 KiB. Anything else cannot be rendered, and every start fails.",
        fix: "Save the file as UTF-8. Put what does not change into an attachment of its own, and render a small text beside it.",
        bad: pwn(&[File {
            path: "attachments/notes.txt.tpl",
            what: super::What::Bytes(b"caf\xe9 {{ answer.flag }}"),
        }]),
        good: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.flag }}\n")]),
    },
    Rule {
        id: super::TEMPLATE004,
        weight: Weight::Warning,
        summary: "A file and a template of one name",
        why: "`x.tpl` is rendered to `x`, so a file `x` beside it is never given out: players get the text of the template.",
        fix: "Remove one of the two.",
        bad: pwn(&[
            text("attachments/notes.txt", "never given out\n"),
            text("attachments/notes.txt.tpl", "{{ answer.flag }}\n"),
        ]),
        good: pwn(&[text("attachments/notes.txt.tpl", "The guest wrote {{ answer.flag }}\n")]),
    },
    Rule {
        id: super::TEMPLATE005,
        weight: Weight::Warning,
        summary: "A template that uses nothing of the instance",
        why: "It gives the same text to everybody, but is rendered at every start and cannot be downloaded before.",
        fix: "Rename the file without `.tpl`, or use a variable such as `{{ answer.flag }}`.",
        bad: pwn(&[text("attachments/notes.txt.tpl", "Sign the guestbook.\n")]),
        good: pwn(&[text("attachments/notes.txt", "Sign the guestbook.\n")]),
    },
    Rule {
        id: super::TEMPLATE006,
        weight: Weight::Refusal,
        summary: "A template that does too much",
        why: "Rendering is bounded in steps, nesting, the size of values and of the output, because it runs where all instances are started. There are at most 200 templates of 64 KiB; one tag has at most 256 words and signs.",
        fix: "Render only what differs between instances, and make large data in the service or the Dockerfile.",
        bad: pwn(&[text(
            "attachments/notes.txt.tpl",
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ answer.flag }}{% endfor %}{% endfor %}\n",
        )]),
        good: pwn(&[text(
            "attachments/notes.txt.tpl",
            "{% for a in range(3) %}{{ answer.flag }}\n{% endfor %}",
        )]),
    },
    Rule {
        id: super::TEMPLATE008,
        weight: Weight::Refusal,
        summary: "A filter, function, statement or include that is not there",
        why: "Templates have the small part of Jinja that can be bounded: `set`, `if`, `for`, `with`, `include` of one file of `attachments/` by its name, `range`, and the common filters. Everything else ends the start of every instance.",
        fix: "Use what there is; the message names it. Includes are written as below `attachments/`, such as `{% include 'part.txt' %}`, and an included file includes nothing itself.",
        bad: pwn(&[text("attachments/notes.txt.tpl", "{{ answer.flag|b64encode }}\n")]),
        good: pwn(&[text(
            "attachments/notes.txt.tpl",
            "{{ answer.flag|upper }} {{ answer.flag }}\n",
        )]),
    },
];
