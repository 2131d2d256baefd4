//! A rule as a page of documentation: Markdown, made from the one table.
//!
//! In:  a [`Rule`]. Out: the text of `docs/rules/ID.md`, of `flagops check --explain ID`, and of
//! the help in SARIF; [`index`] is `docs/rules/README.md`.
//!
//! # Invariants
//! * The same table gives the same pages; `cli/tests/docs.rs` compares them with what is checked in.
//! * No example can end its fence early.
//!
//! # Not here
//! Writing files and printing (`cli`).

use std::fmt::Write as _;

use super::{Base, Example, File, Rule, What, families};
use crate::catalog::Weight;

/// Families whose findings belong to the repository: no challenge's allowlist reaches them.
const OF_THE_REPOSITORY: &[&str] = &["REPO", "EVENT", "ALLOW"];

/// Where the page of a rule is in the repository of flagops.
pub fn path(rule: &Rule) -> String {
    format!("docs/rules/{}.md", rule.id)
}

/// What a finding of this weight means for the challenge.
pub fn meaning(weight: Weight) -> &'static str {
    match weight {
        Weight::Refusal => {
            "Error that blocks: flagops cannot run the challenge as it is written. The last good \
             version stays live until it is mended; nobody can waive it."
        }
        Weight::Error => {
            "Error: the challenge runs all the same, and `flagops check` ends with 1 until it is \
             mended or waived."
        }
        Weight::Warning => {
            "Warning: nothing is broken, but somebody should look. It fails `flagops check \
             --strict` only."
        }
    }
}

/// The page of a rule.
pub fn render(rule: &Rule) -> String {
    let Rule { id, weight, summary, why, fix, bad, good } = rule;
    let mut page = format!("# {id}: {summary}\n\n{}\n", meaning(*weight));
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## Why\n\n{why}\n\n## How to mend it\n\n{fix}\n");
    let _ = write!(page, "\n## Bad\n\n{}", example(bad));
    let _ = write!(page, "\n## Good\n\n{}", example(good));
    if let Some(waiver) = waiver(rule) {
        let _ = write!(page, "\n## Waive it\n\n{waiver}");
    }
    page
}

/// The list of all pages.
pub fn index() -> String {
    let mut page = String::from(
        "# Rules\n\nEvery rule of `flagops check`, of the server and of the editor: they are one. \
         `flagops check --explain ID` shows a page in the terminal, and [rules.md](../rules.md) \
         says what the verdicts mean. These pages are made from the table in `src/catalog/rules/`.\n",
    );
    for (family, rules) in families().filter(|(_, rules)| !rules.is_empty()) {
        let _ = write!(page, "\n## {}: {}\n\n", family.prefix, family.title);
        page += "| rule | weight | what it finds |\n|---|---|---|\n";
        for rule in rules {
            let summary = rule.summary.replace('|', "\\|");
            let _ = writeln!(page, "| [{0}]({0}.md) | {1} | {summary} |", rule.id, word(rule));
        }
    }
    page
}

/// The weight of a rule in a word or two.
pub fn word(rule: &Rule) -> &'static str {
    match rule.weight {
        Weight::Refusal => "error, blocks",
        Weight::Error => "error",
        Weight::Warning => "warning",
    }
}

fn example(example: &Example) -> String {
    if example.files.is_empty() {
        return "The same challenge without these files.\n".to_owned();
    }
    let files: Vec<String> = example.files.iter().map(|it| file(example.base, it)).collect();
    files.join("\n")
}

fn file(base: Base, file: &File) -> String {
    let path = place(base, file);
    match file.what {
        What::Text("") => format!("`{path}` is empty.\n"),
        What::Text(text) => {
            let fence = fence(text);
            let end = if text.ends_with('\n') { "" } else { "\n" };
            format!("`{path}`\n\n{fence}{}\n{text}{end}{fence}\n", language(&path))
        }
        What::Bytes(bytes) => format!("`{path}` has {} bytes that are no text.\n", bytes.len()),
        What::Link(target) => format!("`{path}` is a symbolic link to `{target}`.\n"),
        What::Submodule => format!("`{path}` is a submodule.\n"),
        What::Absent => format!("`{path}` does not exist.\n"),
    }
}

/// Where a file of an example is in the repository.
fn place(base: Base, file: &File) -> String {
    match file.path.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None if base.folder().is_empty() => file.path.to_owned(),
        None => format!("{}/{}", base.folder(), file.path),
    }
}

/// More backticks than stand anywhere in `text`.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// What highlights a file of this name.
fn language(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml" | "yml") => "yaml",
        Some("py") => "python",
        Some("sh") => "sh",
        Some("json") => "json",
        Some("html") => "html",
        Some(_) => "text",
        None if name.starts_with("Dockerfile") => "dockerfile",
        None => "text",
    }
}

/// How the author of a challenge waives a finding, where that is possible.
fn waiver(rule: &Rule) -> Option<String> {
    let is_of_repository = OF_THE_REPOSITORY.iter().any(|prefix| rule.id.starts_with(prefix));
    if rule.weight != Weight::Error || is_of_repository {
        return None;
    }
    let base = rule.bad.base;
    let first = rule.bad.files.iter().find(|file| !file.path.starts_with('/'));
    let path = first.map_or("metadata.yaml", |file| file.path);
    let list = match base.folder() {
        "" => "audit-allowlist.yaml".to_owned(),
        folder => format!("{folder}/audit-allowlist.yaml"),
    };
    let id = rule.id;
    Some(format!(
        "Where the rule is wrong about a challenge, an entry with a reason makes the finding a \
         warning. `path` is the end of the path that the finding names.\n\n`{list}`\n\n```yaml\n\
         allowlist:\n  - rule: {id}\n    path: {path}\n    reason: why it is right here\n```\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::rules::{absent, text};

    const RULE: Rule = Rule {
        id: "META007",
        weight: Weight::Error,
        summary: "the description gives the solution away",
        why: "Players read it before they start.",
        fix: "Write what is to be reached, not how.",
        bad: Example {
            base: Base::Web,
            files: &[text("metadata.yaml", "description: |\n  ```sql\n"), absent("solution")],
        },
        good: Example { base: Base::Web, files: &[text("/README.md", "Hello.")] },
    };

    #[test]
    fn a_page_has_all_an_author_needs() {
        insta::assert_snapshot!(render(&RULE), @r"
        # META007: the description gives the solution away

        Error: the challenge runs all the same, and `flagops check` ends with 1 until it is mended or waived.

        ## Why

        Players read it before they start.

        ## How to mend it

        Write what is to be reached, not how.

        ## Bad

        `WEB/WEB-001/metadata.yaml`

        ````yaml
        description: |
          ```sql
        ````

        `WEB/WEB-001/solution` does not exist.

        ## Good

        `README.md`

        ```text
        Hello.
        ```

        ## Waive it

        Where the rule is wrong about a challenge, an entry with a reason makes the finding a warning. `path` is the end of the path that the finding names.

        `WEB/WEB-001/audit-allowlist.yaml`

        ```yaml
        allowlist:
          - rule: META007
            path: metadata.yaml
            reason: why it is right here
        ```
        ");
    }

    #[test]
    fn only_an_error_of_a_challenge_that_runs_can_be_waived() {
        for (id, weight, can) in [
            ("META007", Weight::Error, true),
            ("META007", Weight::Refusal, false),
            ("META007", Weight::Warning, false),
            ("REPO001", Weight::Error, false),
        ] {
            let page = render(&Rule { id, weight, ..RULE });
            assert_eq!(page.contains("audit-allowlist.yaml"), can, "{id} {weight:?}");
        }
    }

    #[test]
    fn no_example_ends_its_fence() {
        assert_eq!(fence("plain"), "```");
        assert_eq!(fence("a ``` b ````\n`"), "`````");
    }

    #[test]
    fn the_index_lists_every_rule_once() {
        let index = index();
        for rule in crate::catalog::rules::all() {
            assert_eq!(index.matches(&format!("]({}.md)", rule.id)).count(), 1, "{}", rule.id);
        }
    }
}
