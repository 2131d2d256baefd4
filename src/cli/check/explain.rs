//! `flagops check --explain`: the page of a rule, or the list of all.

use serde_json::json;

use crate::catalog::rules::{self, Rule, page};
use crate::cli::failure::{Ending, Failure};
use crate::cli::output::{self, Paint, Shape, Style};

/// The word that means every rule.
pub(super) const ALL: &str = "all";

/// Shows the rule that `word` names, or lists every rule.
pub(super) fn run(word: &str, shape: Shape) -> Result<Ending, Failure> {
    let text = if word.eq_ignore_ascii_case(ALL) {
        list(shape)?
    } else {
        let rule = find(word)?;
        match shape {
            Shape::Table => painted(&page::render(rule), Paint::of_output()),
            Shape::Json => format!("{:#}", as_json(rule)),
            Shape::Sarif | Shape::Github | Shape::Junit => return Err(no_findings(shape)),
        }
    };
    output::print(&text)?;
    Ok(Ending::Fine)
}

/// The rule `word`, in any case.
fn find(word: &str) -> Result<&'static Rule, Failure> {
    rules::find(&word.to_uppercase()).ok_or_else(|| {
        let next = match rules::nearest(word) {
            Some(rule) => format!("did you mean `{}`? ({})", rule.id, rule.summary),
            None => "`flagops check --explain` lists every rule".to_owned(),
        };
        Failure::usage(format!("there is no rule `{}`", output::clean(word)), next)
    })
}

fn no_findings(shape: Shape) -> Failure {
    let shape = format!("{shape:?}").to_lowercase();
    Failure::usage(
        format!("an explanation has no findings to show as {shape}"),
        "leave `--format` out, or use `--format json`",
    )
}

fn list(shape: Shape) -> Result<String, Failure> {
    match shape {
        Shape::Table => {
            let row =
                |rule: &Rule| [rule.id, page::word(rule), rule.summary].map(str::to_owned).to_vec();
            let rows: Vec<_> = rules::all().map(row).collect();
            Ok(output::table(&["RULE", "WEIGHT", "WHAT IT FINDS"], &rows))
        }
        Shape::Json => Ok(format!("{:#}", json!(rules::all().map(as_json).collect::<Vec<_>>()))),
        Shape::Sarif | Shape::Github | Shape::Junit => Err(no_findings(shape)),
    }
}

fn as_json(rule: &Rule) -> serde_json::Value {
    json!({
        "rule": rule.id,
        "severity": rule.weight.severity(),
        "blocks": rule.weight == crate::catalog::Weight::Refusal,
        "summary": rule.summary,
        "why": rule.why,
        "fix": rule.fix,
        "help": page::path(rule),
        "page": page::render(rule),
    })
}

/// Markdown with its headings in bold and its fences out of the way.
fn painted(page: &str, paint: Paint) -> String {
    let lines = page.lines().map(|line| {
        if line.starts_with('#') {
            paint.put(Style::Strong, line)
        } else if line.starts_with("```") {
            paint.put(Style::Quiet, line)
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_rule_says_what_to_do() {
        let error = find("NOTHING\u{1b}").unwrap_err().to_string();
        assert_eq!(
            error,
            "error: there is no rule `NOTHING\u{fffd}`\n next: `flagops check --explain` lists every rule"
        );
    }

    #[test]
    fn every_rule_is_found_in_any_case_and_by_a_slip() {
        for rule in rules::all() {
            assert_eq!(find(&rule.id.to_lowercase()).unwrap().id, rule.id);
            let slip = format!("{}X", rule.id);
            let error = find(&slip).unwrap_err().to_string();
            assert!(error.contains("did you mean `"), "{error}");
        }
    }

    #[test]
    fn what_shows_findings_cannot_show_a_rule() {
        assert!(list(Shape::Sarif).is_err());
        assert!(list(Shape::Json).is_ok_and(|text| text.starts_with('[')));
    }

    #[test]
    fn only_colours_differ() {
        let page = "# A\n\ntext\n```yaml\na: 1\n```";
        assert_eq!(painted(page, Paint::Plain), page);
        assert!(painted(page, Paint::Colours).starts_with("\u{1b}[1m# A\u{1b}[0m\n\ntext\n"));
    }
}
