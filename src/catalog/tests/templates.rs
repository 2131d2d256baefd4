//! Attachments that are rendered: what would fail every start is refused at its line.

use super::{COMPOSE, METADATA, read, repository};

/// The findings about templates: `file:line:column weight rule message; hint`.
fn said(files: &[(&str, &str)]) -> String {
    let metadata = format!(
        "{METADATA}questions:\n  - {{id: flag, prompt: What?}}\n  - {{id: year, prompt: When?, answer: '1999'}}\n"
    );
    let mut tree = repository(&metadata, COMPOSE);
    for (name, content) in files {
        tree = tree.with(&format!("WEB/WEB-001/attachments/{name}"), *content);
    }
    let folder = read(&tree);
    let lines: Vec<String> = folder
        .findings
        .iter()
        .filter(|it| it.rule.starts_with("TEMPLATE"))
        .map(|it| {
            let name = it.path.strip_prefix("WEB/WEB-001/attachments/").unwrap_or(&it.path);
            let (line, column) = (it.line, it.column);
            format!(
                "{name}:{line}:{column} {:?} {} {}; {}",
                it.weight(),
                it.rule,
                it.message,
                it.hint
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn good_templates_have_no_findings() {
    for files in [
        &[("a.tpl", "{{ answer.flag }} {{ service.web.port }}")][..],
        &[("a.tpl", "{% include 'part' %}"), ("part", "{{ answer.flag }}")],
        &[("a.tpl", "{{ instance.id }}"), ("b/c.tpl", "{{ answer['flag'] }}")],
        &[("a.txt", "{{ not a template")],
    ] {
        assert_eq!(said(files), "", "{files:?}");
    }
}

#[test]
fn a_template_that_fails_every_start_is_refused_at_its_line() {
    insta::assert_snapshot!(said(&[("a.tpl", "x\n {{ answer.falg }}")]), @"a.tpl:2:5 Refusal TEMPLATE002 the template uses `answer.falg`, which does not exist; did you mean `answer.flag`?");
    insta::assert_snapshot!(said(&[("a.tpl", "{{ answer.year }}")]), @"a.tpl:1:4 Refusal TEMPLATE002 the template uses `answer.year`, which does not exist; `year` has a fixed answer, which is not given out: only minted ones are in `answer`");
    insta::assert_snapshot!(said(&[("a.tpl", "{{ answer.flag")]), @"a.tpl:1:11 Refusal TEMPLATE001 this is no template: unexpected end of input, expected end of variable block; mend it; to print `{{` itself write `{{ '{{' }}`, or use `{% raw %}`");
    insta::assert_snapshot!(said(&[("a.tpl", "{{ answer.flag|uper }}")]), @"a.tpl:1:16 Refusal TEMPLATE008 there is no filter `uper`; did you mean `upper`?");
    insta::assert_snapshot!(said(&[("a.tpl", "{% include '../metadata.yaml' %}")]), @"a.tpl:1:4 Refusal TEMPLATE008 there is no file in `attachments/` `../metadata.yaml`; name a file below `attachments/`, as it is written there");
    insta::assert_snapshot!(said(&[("a.tpl", "{{ 'x' * 400000000 }}")]), @"a.tpl:1:4 Refusal TEMPLATE006 the template does too much: `*` of anything but numbers; render only what differs between instances");
    let large = "x".repeat(70_000);
    insta::assert_snapshot!(said(&[("a.tpl", &large)]), @"a.tpl:0:0 Refusal TEMPLATE003 the template has 70000 bytes, more than 65536; put what does not change into a file of its own");
}

#[test]
fn a_template_that_does_nothing_is_said() {
    insta::assert_snapshot!(said(&[("a.tpl", "hello")]), @"a.tpl:0:0 Warning TEMPLATE005 the template uses nothing of the instance: everybody gets the same text; rename it to `a`, or use `{{ answer.flag }}`");
    insta::assert_snapshot!(said(&[("a.tpl", "{{ answer.flag }}"), ("a", "x")]), @"a:0:0 Warning TEMPLATE004 the template `a.tpl` takes the place of this file; remove one of the two");
}
