//! What a Dockerfile may say (BUILD).
//!
//! A build runs on the organizer's machine, and what it makes runs for every team. So a build takes
//! from outside only what its steps fetch themselves, in their own network, and pinned images.
//!
//! In:  every build of the compose file. Out: findings at the instruction, flag or word.
//!
//! # Invariants
//! * What an engine of any age would read as an instruction is judged.
//! * The work is linear in the file: instructions, stages and expansions have budgets.
//!
//! # Not here
//! Whether context and Dockerfile exist (`folder`), reading (`dockerfile`), building (`builder`).

mod image;
mod outside;
mod process;
mod scope;
mod stages;

use std::collections::BTreeMap;

use self::scope::Scope;
use self::stages::Stages;
use super::Subject;
use crate::catalog::compose::BuildAt;
use crate::catalog::decode::{MAX_FINDINGS, Report, shown, suggestion};
use crate::catalog::dockerfile::{self, Dockerfile, Instruction, KEYWORDS, Reading};
use crate::catalog::finding::Weight;
use crate::catalog::folder::{MAX_DOCKERFILE_BYTES, join};
use crate::catalog::rules;
use crate::catalog::spanned::Span;
use crate::model::TreeError;

/// Most layers that an engine stacks on one another.
const MAX_LAYERS: usize = 125;

/// Judges the family.
pub(super) fn check(subject: &Subject<'_>, report: &mut Report) -> Result<(), TreeError> {
    image::check_services(subject, report);
    for build in subject.builds {
        let name = join(&build.spec.context, &build.spec.dockerfile);
        let size_bytes = subject.files.size_bytes(&name);
        if size_bytes == 0 || size_bytes > MAX_DOCKERFILE_BYTES {
            // `folder` says so.
            continue;
        }
        let Some(text) = subject.text(&name)? else { continue };
        let path = subject.path(&name);
        if text.len() as u64 != size_bytes {
            let message = "the Dockerfile is not UTF-8";
            report.on_file(Weight::Refusal, rules::BUILD001, path, message, "save it as UTF-8");
            continue;
        }
        let file = dockerfile::parse(&text, Reading::Modern);
        judge(&file, build, &path, Scale::Everything, subject, report);
        if file.is_ambiguous {
            let old = dockerfile::parse(&text, Reading::Old);
            let is_readable =
                old.instructions.iter().all(|it| KEYWORDS.contains(&it.keyword.as_str()));
            // Otherwise an old engine builds nothing of it.
            if is_readable {
                judge(&old, build, &path, Scale::Refusals, subject, report);
            }
        }
    }
    Ok(())
}

/// How much is said about one reading of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// All of it.
    Everything,
    /// What is refused, for a reading that is only some engines'.
    Refusals,
}

/// One Dockerfile for one service while it is judged.
struct Judge<'a> {
    file: &'a Dockerfile,
    build: &'a BuildAt,
    path: &'a str,
    scale: Scale,
    report: &'a mut Report,
    stages: Stages,
    scope: Scope,
    /// Findings so far.
    n_said: BTreeMap<Weight, usize>,
}

fn judge(
    file: &Dockerfile,
    build: &BuildAt,
    path: &str,
    scale: Scale,
    subject: &Subject<'_>,
    report: &mut Report,
) {
    let scope = Scope::global(file.escape, &build.spec.args);
    let (stages, n_said) = (Stages::default(), BTreeMap::new());
    let mut judge = Judge { file, build, path, scale, report, stages, scope, n_said };
    judge.head();
    for instruction in &file.instructions {
        judge.instruction(instruction);
        if judge.scope.is_exhausted() {
            let message = "the variables of this file grow beyond 64 KiB, or 4 MiB together";
            let hint = "write long values into files, and `COPY` them";
            judge.say(Weight::Refusal, rules::BUILD013, instruction.at, message, hint);
            return;
        }
    }
    judge.end(subject);
}

impl Judge<'_> {
    /// One finding.
    fn say(
        &mut self,
        weight: Weight,
        rule: &str,
        at: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let n_said = self.n_said.entry(weight).or_default();
        *n_said += 1;
        let is_wanted = self.scale == Scale::Everything || weight == Weight::Refusal;
        // Of each weight as many as are ever shown: a refusal is never lost behind warnings.
        if is_wanted && *n_said <= MAX_FINDINGS {
            self.report.at(weight, rule, self.path.to_owned(), at, message, hint);
        }
    }

    fn refuse(&mut self, rule: &str, at: Span, message: String, hint: &str) {
        self.say(Weight::Refusal, rule, at, message, hint);
    }

    fn warn(&mut self, rule: &str, at: Span, message: String, hint: &str) {
        self.say(Weight::Warning, rule, at, message, hint);
    }

    /// What is wrong before any instruction is looked at.
    fn head(&mut self) {
        let file = self.file;
        for fault in &file.faults {
            let (message, hint) = (fault.message.clone(), fault.hint.clone());
            self.say(Weight::Refusal, rules::BUILD001, fault.at, message, hint);
        }
        if let Some(at) = file.cut {
            let message =
                format!("the Dockerfile has more than {} instructions", file.instructions.len());
            self.refuse(rules::BUILD013, at, message, "put what they do into a script");
        }
        if let Some(at) = file.heredoc {
            let message = "a heredoc, which an engine before Docker 23.0 cannot read".to_owned();
            let hint = "put the text into a file and `COPY` it, unless your engine is newer";
            self.warn(rules::BUILD012, at, message, hint);
        }
        for directive in file.directives.iter().filter(|it| it.name == "syntax") {
            self.frontend(&directive.value, directive.at);
        }
    }

    /// `# syntax=…`: the builder makes a comment of it.
    fn frontend(&mut self, image: &str, at: Span) {
        let own = image.strip_prefix("docker.io/").unwrap_or(image);
        let tag = own
            .strip_prefix("docker/dockerfile")
            .filter(|rest| rest.is_empty() || rest.starts_with(':') || rest.starts_with('@'));
        match tag {
            Some(tag) if !tag.contains("labs") => (),
            Some(_) => {
                let message = format!(
                    "`# syntax={}` is ignored: the engine's own frontend builds, which has no \
                     experimental features",
                    shown(image)
                );
                let hint = "write `# syntax=docker/dockerfile:1`, or remove the line";
                self.say(Weight::Error, rules::BUILD004, at, message, hint);
            }
            None => {
                let message = format!(
                    "`# syntax={}` is ignored: no foreign frontend is fetched, the engine's own \
                     one builds",
                    shown(image)
                );
                let hint = "remove the line, and write what Docker's own frontend reads";
                self.say(Weight::Error, rules::BUILD004, at, message, hint);
            }
        }
    }

    fn instruction(&mut self, it: &Instruction) {
        if !KEYWORDS.contains(&it.keyword.as_str()) {
            let message = format!("there is no instruction `{}`", shown(&it.keyword));
            let hint = match suggestion(&it.keyword, KEYWORDS).as_str() {
                "remove it" => "remove it, or end the line before it with a backslash".to_owned(),
                nearest => nearest.to_owned(),
            };
            self.say(Weight::Refusal, rules::BUILD001, it.at, message, hint);
            return;
        }
        if self.stages.is_empty() && !matches!(it.keyword.as_str(), "FROM" | "ARG") {
            if !self.stages.is_missing_said {
                self.stages.is_missing_said = true;
                let message = format!("`{}` stands before the first `FROM`", it.keyword);
                self.refuse(rules::BUILD002, it.at, message, "begin with `FROM image:tag`");
            }
            return;
        }
        if let Some((message, hint)) = process::shape_fault(it) {
            self.refuse(rules::BUILD001, it.at, message, hint);
            return;
        }
        match it.keyword.as_str() {
            "FROM" => self.from(it),
            "ONBUILD" => self.trigger(it),
            _ => self.step(it),
        }
    }

    /// An instruction inside of a stage.
    fn step(&mut self, it: &Instruction) {
        match it.keyword.as_str() {
            "ADD" | "COPY" => self.copy(it),
            "RUN" => self.run(it),
            "ARG" | "ENV" => self.variables(it),
            "USER" => self.user(it),
            "WORKDIR" => self.workdir(it),
            "STOPSIGNAL" => self.stop_signal(it),
            "EXPOSE" => self.expose(it),
            "VOLUME" => self.volume(it),
            "LABEL" => self.labels(it),
            _ => (),
        }
        self.stages.count(&it.keyword);
    }

    fn trigger(&mut self, it: &Instruction) {
        let message = "`ONBUILD` has no effect: no image is built on the one of a challenge";
        self.warn(rules::BUILD009, it.at, message.to_owned(), "write the instruction itself");
        // A later stage may build on this one: then it runs.
        let Some(trigger) = &it.trigger else { return };
        if matches!(trigger.keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            let message = format!("`ONBUILD {}` is nothing that an engine reads", trigger.keyword);
            self.refuse(rules::BUILD001, trigger.at, message, "remove it");
        } else {
            self.instruction(trigger);
        }
    }

    /// What can be said only at the end.
    fn end(&mut self, subject: &Subject<'_>) {
        if self.stages.is_empty() {
            if !self.stages.is_missing_said {
                let message = "the Dockerfile has no `FROM`".to_owned();
                self.refuse(
                    rules::BUILD002,
                    Span::default(),
                    message,
                    "begin with `FROM image:tag`",
                );
            }
            return;
        }
        for (at, n_layers) in self.stages.over(MAX_LAYERS) {
            let message = format!("this stage has {n_layers} layers, more than {MAX_LAYERS}");
            self.refuse(rules::BUILD013, at, message, "join its `RUN` and `COPY` lines");
        }
        self.target();
        self.command(subject);
    }
}
