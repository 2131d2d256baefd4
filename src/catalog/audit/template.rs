//! Attachments that are rendered per instance (TEMPLATE).
//!
//! Every template is rendered the way an instance start renders it, with sample answers: what would
//! fail every start is refused here, at its line.
//!
//! # Not here
//! Encrypted ones, which nobody can read here. What a template may do (`render::attachments`), a file and a template of one name (`folder`).

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::Subject;
use crate::catalog::decode::{Report, shown, suggestion};
use crate::catalog::finding::Weight;
use crate::catalog::folder::is_template;
use crate::catalog::rules;
use crate::catalog::spanned::Span;
use crate::model::{AnswerFormat, QuestionMode, Topology, TreeError};
use crate::render::attachments::{
    Address, FILTERS, Facts, MAX_SOURCE_BYTES, Named, RenderError, Template, Trouble, Uses, render,
    uses,
};

/// Most bytes that one template may give with sample answers.
const MAX_SAMPLE_BYTES: usize = 1 << 20;
/// Most templates that are looked at.
const MAX_TEMPLATES: usize = 200;
/// Most findings about templates.
const MAX_SAID: usize = 200;
const FOLDER: &str = "attachments/";

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    let names: Vec<&str> = subject
        .files
        .below("attachments")
        .map(|(name, _)| name)
        .filter(|name| is_template(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let sample = Sample::new(subject);
    if names.len() > MAX_TEMPLATES {
        let message = format!("there are {} templates, more than {MAX_TEMPLATES}", names.len());
        let hint = "make one template of several, or render less";
        let path = subject.path("attachments");
        report.on_file(Weight::Refusal, rules::TEMPLATE006, path, message, hint);
    }
    for name in names.iter().take(MAX_TEMPLATES.min(MAX_SAID)) {
        sample.judge(subject, name, report)?;
    }
    Ok(())
}

/// An instance that does not exist.
struct Sample<'a> {
    facts: Facts,
    /// Questions whose answer is the same for everybody.
    fixed: Vec<&'a str>,
}

impl<'a> Sample<'a> {
    fn new(subject: &Subject<'a>) -> Self {
        let mut answers = BTreeMap::new();
        let mut fixed = Vec::new();
        for question in subject.questions.unwrap_or_default() {
            match &question.mode {
                QuestionMode::Dynamic { format } => {
                    // Every sample is another text, so that an output tells whose it is.
                    let body = format!("{:032x}", answers.len() + 0xfeed);
                    let answer = match format {
                        AnswerFormat::Flag => format!("FLAG{{{body}}}"),
                        AnswerFormat::Raw => body,
                    };
                    answers.insert(question.id.to_string(), answer);
                }
                QuestionMode::Static { .. }
                | QuestionMode::SingleSelect { .. }
                | QuestionMode::MultiSelect { .. } => fixed.push(question.id.as_str()),
            }
        }
        let named = |id: &str, name: &str| Named { id: id.to_owned(), name: name.to_owned() };
        let address = || Address { host: "ctf.example".to_owned(), port: 31337 };
        // Behind a gateway nothing else is published, so no other service has an address.
        let is_published =
            |name: &str| subject.topology != Some(Topology::Engagement) || name == "openvpn";
        let with_ports = subject
            .services()
            .filter(|(entry, map)| is_published(&entry.key) && map.get("ports").is_some());
        let facts = Facts {
            answers,
            instance_id: "01890000-0000-7000-8000-000000000000".to_owned(),
            team: named("01890000-0000-7000-8000-000000000001", "Sample team"),
            challenge: named("SAMPLE-001", "Sample challenge"),
            event: named("sample", "Sample event"),
            services: with_ports.map(|(entry, _)| (entry.key.clone(), address())).collect(),
        };
        Self { facts, fixed }
    }

    fn first_answer(&self) -> String {
        let id = self.facts.answers.keys().next().map_or("flag", String::as_str);
        format!("answer.{id}")
    }

    /// Renders one template.
    fn judge(
        &self,
        subject: &Subject<'_>,
        name: &str,
        report: &mut Report,
    ) -> Result<(), TreeError> {
        let file = format!("{FOLDER}{name}");
        let size_bytes = subject.files.size_bytes(&file);
        let text = if size_bytes <= MAX_SOURCE_BYTES as u64 { subject.text(&file)? } else { None };
        let (message, hint) = match &text {
            None if size_bytes > MAX_SOURCE_BYTES as u64 => (
                format!("the template has {size_bytes} bytes, more than {MAX_SOURCE_BYTES}"),
                "put what does not change into a file of its own",
            ),
            None => return Ok(()),
            Some(text) if text.len() as u64 != size_bytes => {
                ("the template is not UTF-8".to_owned(), "save it as UTF-8, or drop the `.tpl`")
            }
            Some(text) => return self.rendered(subject, name, text, report),
        };
        let path = subject.path(&file);
        report.on_file(Weight::Refusal, rules::TEMPLATE003, path, message, hint);
        Ok(())
    }

    fn rendered(
        &self,
        subject: &Subject<'_>,
        name: &str,
        source: &str,
        report: &mut Report,
    ) -> Result<(), TreeError> {
        let template = Template { name, source };
        let failure = RefCell::new(None);
        let include = |name: &str| {
            let file = format!("{FOLDER}{name}");
            match subject.text(&file) {
                Ok(text) => text.map(|text| text.to_string()),
                Err(error) => {
                    failure.borrow_mut().get_or_insert(error);
                    None
                }
            }
        };
        let result = render(template, &include, &self.facts, MAX_SAMPLE_BYTES);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        match result {
            Ok(_) => {
                let uses = uses(template, &self.facts).unwrap_or_default();
                self.check_use(subject, template, &uses, report);
            }
            // Without the questions nobody knows which answers there are.
            Err(RenderError { trouble: Trouble::Undefined { .. }, .. })
                if subject.questions.is_none() => {}
            Err(error) => self.say(subject, &error, report),
        }
        Ok(())
    }

    fn check_use(
        &self,
        subject: &Subject<'_>,
        template: Template<'_>,
        uses: &Uses,
        report: &mut Report,
    ) {
        if uses.roots.is_empty() && uses.includes.is_empty() {
            let public = template.name.strip_suffix(".tpl").unwrap_or(template.name);
            let message = "the template uses nothing of the instance: everybody gets the same text";
            let hint = format!(
                "rename it to `{}`, or use `{{{{ {} }}}}`",
                shown(public),
                self.first_answer()
            );
            let path = subject.path(&format!("{FOLDER}{}", template.name));
            report.on_file(Weight::Warning, rules::TEMPLATE005, path, message, hint);
        }
    }

    fn say(&self, subject: &Subject<'_>, error: &RenderError, report: &mut Report) {
        let (rule, message, hint) = match &error.trouble {
            Trouble::Syntax { reason } => (
                rules::TEMPLATE001,
                shown_long(reason),
                "mend it; to print `{{` itself write `{{ '{{' }}`, or use `{% raw %}`".to_owned(),
            ),
            Trouble::Undefined { name } => self.undefined(name),
            Trouble::TooMuch { what } => (
                rules::TEMPLATE006,
                format!("the template does too much: {}", shown_long(what)),
                "render only what differs between instances".to_owned(),
            ),
            Trouble::Missing { kind, name } => (
                rules::TEMPLATE008,
                format!("there is no {kind} `{}`", shown(name)),
                self.missing(kind, name),
            ),
            Trouble::Unsupported { what } => (
                rules::TEMPLATE008,
                format!("{what} is not available in templates"),
                "use `set`, `if`, `for` and `include` of one file".to_owned(),
            ),
            Trouble::Failed { what } => (
                rules::TEMPLATE001,
                (*what).to_owned(),
                "print single values such as `{{ answer.flag }}`".to_owned(),
            ),
        };
        let at = Span {
            line: error.line,
            column: error.column.max(u32::from(error.line > 0)),
            ..Span::default()
        };
        let path = subject.path(&format!("{FOLDER}{}", error.template));
        report.at(Weight::Refusal, rule, path, at, message, hint);
    }

    fn undefined(&self, name: &str) -> (&'static str, String, String) {
        let bare = name.trim_matches('`');
        let message = format!("the template uses `{}`, which does not exist", shown(bare));
        let variables = self.facts.variables();
        let question = bare.strip_prefix("answer.").unwrap_or(bare);
        let hint = if self.fixed.contains(&question) {
            format!(
                "`{question}` has a fixed answer, which is not given out: only minted ones are in \
                 `answer`"
            )
        } else {
            let known: Vec<&str> = variables.iter().map(String::as_str).collect();
            match suggestion(bare, &known) {
                nearest if nearest == "remove it" => {
                    let known: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
                    format!("use one of {}", known.join(", "))
                }
                nearest => nearest,
            }
        };
        (rules::TEMPLATE002, message, hint)
    }

    fn missing(&self, kind: &str, name: &str) -> String {
        match kind {
            "filter" => suggestion(name, FILTERS)
                .replace("remove it", &format!("these are: {}", FILTERS.join(", "))),
            "function" => suggestion(name, &["range"]),
            "method" => "use a filter, such as `|upper`".to_owned(),
            "test" => "use `is defined`, `is none`, `is string`, or a comparison".to_owned(),
            _ => "name a file below `attachments/`, as it is written there".to_owned(),
        }
    }
}

/// Words of the engine, fit to be shown.
fn shown_long(text: &str) -> String {
    text.chars().filter(|c| !crate::catalog::names::is_misleading(*c)).take(200).collect()
}
