//! Encrypted files.

use super::{Base, Example, File, Rule, absent, text};
use crate::catalog::finding::Weight;

const fn web(files: &'static [File]) -> Example {
    Example { base: Base::Web, files }
}

/// `FLAG{sample-flag}`, for the key that age's own documentation uses.
const SECRET: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----\n\
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBuVGNEK3FvNnJMTUFuNm1w\n\
Qk9hU0c4dDdTdDljMVZvLy9zV25CTVZSbzFNCjFMd3poNUlGMmhZYnI5aEVKR1dO\n\
UEFhREVGWjNZMzBXQUxoaE5oK0V1cWsKLS0tIHkwNU8zbFkwZEUxaDB0SVJGOXhI\n\
S3hWZDdvQWszUDN0RERSL2o2NUxLamcKQJgyvEpEdr/5Hia+Qa4AMKbDnVPef4iq\n\
Gqw8LM4poWd8W+Dhp2zKJrjMDjX8rZn+vvE=\n\
-----END AGE ENCRYPTED FILE-----\n\
";

/// The same, with a passphrase.
const PASSPHRASE: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----\n\
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBhUFViVWJyeEJLRVZzTERi\n\
d0JFbUlRIDE4CjVTZ0J3UzZYYStyVGh2emluRk00Y0tOU1VBVkJkMlREblFleFBF\n\
Nk1XbmMKLS0tIEpqbFFOQlhic0lCWk5nOWprWDNhaDVmaUEvZ1FsWEgySGpxenIx\n\
QXB3U3cKUmfZohFNOB0rYGyVOc19GH1VXkE1jnRN2v5gyYV3Xl6tcrhNXyVDFWIh\n\
x8NICFud7qIeTUTXX64+Ry+hFoDFaYR8Crw8Fwss0/8n0qjv3XpNUhRHhxyW0XiY\n\
cwMeTN4DgKlAHLbaHbWSEB4=\n\
-----END AGE ENCRYPTED FILE-----\n\
";

const DOCKERFILE: &str = "\
FROM busybox:1.36
COPY www /www
COPY recipe.txt /data/recipe.txt
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]
";

/// The family's rules, by id.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: super::SECRET001,
        weight: Weight::Refusal,
        summary: "A file ending `.age` that is no age file",
        why: "Files ending `.age` are decrypted in memory when an image is built or an attachment is handed out. One that is something else, that was cut off or changed, or that is too large fails every build. Without the key only header, armor and length can be checked; that is done here. An encrypted file holds at most 16 MiB, all of a challenge have at most 64 MiB.",
        fix: "Encrypt the file again with `flagops secrets encrypt FILE`. Encrypted files are not text to be edited or merged. A file that only happens to be called so needs another name.",
        bad: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt.age", "butter, flour, sugar\n"),
        ]),
        good: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt.age", SECRET),
        ]),
    },
    Rule {
        id: super::SECRET002,
        weight: Weight::Refusal,
        summary: "A file ending `.age` that no node can decrypt",
        why: "Nodes have X25519 identities. A passphrase cannot be typed by a server, and how long trying one takes is up to whoever encrypted the file; keys of SSH, of plug-ins and of hardware are not read.",
        fix: "Write the recipients of the nodes into `.age-recipients` at the root of the repository, and encrypt with `flagops secrets encrypt FILE`. A file that players are to get encrypted needs another name, for example `secret.age.bin`.",
        bad: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt.age", PASSPHRASE),
        ]),
        good: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt.age", SECRET),
        ]),
    },
    Rule {
        id: super::SECRET003,
        weight: Weight::Refusal,
        summary: "An encrypted file beside its own plaintext",
        why: "`x.age` becomes `x` in a build context and among the attachments, so nobody could say which of the two is meant. And a secret that is in the repository twice, once in the open, is no secret.",
        fix: "Remove the plain file with `git rm`, and name it in `.gitignore` if you keep a copy. What was pushed stays in the history: choose another secret and encrypt that.",
        bad: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt", "butter, flour, sugar\n"),
            text("services/web/recipe.txt.age", SECRET),
        ]),
        good: web(&[
            text("services/web/Dockerfile", DOCKERFILE),
            text("services/web/recipe.txt.age", SECRET),
        ]),
    },
    Rule {
        id: super::SECRET004,
        weight: Weight::Error,
        summary: "An encrypted file that checks would have to read",
        why: "`metadata.yaml`, `docker-compose.yml`, `audit-allowlist.yaml` and `solution/exploit.py` are judged by everybody who runs `flagops check`, authors and CI without a key among them. They are never decrypted, and so are Dockerfiles and `.dockerignore`.",
        fix: "Commit the file as it is. Put what is secret into a file of its own, encrypt that, and `COPY` it in the Dockerfile; let answers be minted instead of writing them down.",
        bad: web(&[text("docker-compose.yml.age", SECRET)]),
        good: web(&[absent("docker-compose.yml.age")]),
    },
    Rule {
        id: super::SECRET005,
        weight: Weight::Error,
        summary: "An age identity in the repository",
        why: "An identity is the private half of a key. With it whoever can read the repository decrypts every file in it, also in its history.",
        fix: "Remove it, make another with `flagops secrets keygen`, replace its recipient in `.age-recipients`, and encrypt other secrets for it: what was encrypted for the old one is known. Identities belong on the nodes, in a file that only flagops reads.",
        bad: web(&[text(
            "solution/age.key",
            "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n",
        )]),
        good: web(&[text(
            "solution/recipient",
            "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\n",
        )]),
    },
];
