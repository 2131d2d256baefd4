//! Reads one challenge folder: its files, `metadata.yaml`, `docker-compose.yml`, and how they fit.
//!
//! In:  the tree, the folder's path and id, the [`Policy`].
//! Out: a [`Folder`]: with a challenge when nothing is an error, else with every reason.
//!
//! # Invariants
//! * No link is followed, no submodule entered, nothing over budget is read.
//!
//! # Not here
//! Which folders are challenges, and conflicts between them (`discover`).

use std::collections::BTreeMap;

use std::sync::Arc;

use super::compose::{self, BuildAt, Surroundings};
use super::context::{self, ContextError};
use super::decode::{Report, settle, shown};
use super::files::{self, Files};
use super::finding::Severity;
use super::metadata;
use super::rules;
use super::spanned::MAX_BYTES;
use super::{Folder, Policy};
use crate::model::{
    Attachment, Category, Challenge, ChallengeId, ContextId, EntryKind, Question, ServiceName,
    Topology, Tree, TreeError, TreeId,
};

const METADATA: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
const MAX_DOCKERFILE_BYTES: u64 = 256 * 1024;

/// Where a challenge is.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its id.
    pub id: ChallengeId,
    /// Its path in the repository.
    pub path: String,
    /// Its git tree.
    pub tree: TreeId,
    /// The folder around it, unless that is the root.
    pub bucket: Option<String>,
}

/// What is known while the folder is read.
struct Reader<'a> {
    tree: &'a dyn Tree,
    found: &'a Found,
    policy: &'a Policy,
    findings: Vec<super::Finding>,
}

/// Reads the folder.
pub(super) fn read(tree: &dyn Tree, found: &Found, policy: &Policy) -> Result<Folder, TreeError> {
    let mut reader = Reader { tree, found, policy, findings: Vec::new() };
    let challenge = reader.challenge()?;
    let findings = settle(reader.findings, &found.id);
    let is_valid = findings.iter().all(|finding| finding.severity != Severity::Error);
    Ok(Folder {
        path: found.path.clone(),
        tree: found.tree,
        challenge: challenge.filter(|_| is_valid).map(Arc::new),
        findings,
    })
}

impl Reader<'_> {
    fn report(&self, name: &str) -> Report {
        let path = join(&self.found.path, name);
        Report::new(Some(self.found.id.clone()), path)
    }

    fn challenge(&mut self) -> Result<Option<Challenge>, TreeError> {
        let mut walk = self.report("");
        let files = files::walk(self.tree, &self.found.path, &mut walk)?;
        let metadata = self.metadata(&files)?;
        let questions = metadata.questions.as_deref();
        let topology = metadata.topology.unwrap_or(Topology::Simple);
        let around = Surroundings { policy: self.policy, questions, topology };
        let compose = self.compose(&files, &around)?;
        self.check_shape(&files, &metadata);
        let contexts = self.contexts(&files, &compose.builds)?;
        files.report_links(&compose.builds, &mut walk);
        let attachments = attachments(&files, &self.found.path, &mut walk);
        self.findings.extend(walk.into_findings());
        let Some(metadata) = metadata.metadata else { return Ok(None) };
        Ok(Some(Challenge {
            id: self.found.id.clone(),
            path: self.found.path.clone(),
            bucket: self.found.bucket.clone(),
            tree: self.found.tree,
            metadata,
            compose: compose.compose,
            attachments,
            contexts,
        }))
    }

    /// The bytes of an author file; reports when it is none that can be read.
    fn author_file(
        &self,
        files: &Files,
        name: &str,
        rule: &str,
        report: &mut Report,
    ) -> Result<Option<Vec<u8>>, TreeError> {
        let fault = match files.kind(name) {
            Some(EntryKind::File { .. }) => {
                let path = join(&self.found.path, name);
                match self.tree.read(&path, MAX_BYTES) {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(error @ TreeError::Unreadable { .. }) => return Err(error),
                    Err(TreeError::TooLarge { size_bytes, .. }) => {
                        format!("the file has {size_bytes} bytes, more than {MAX_BYTES}")
                    }
                    Err(TreeError::NotFound { .. } | TreeError::NotAFile { .. }) => {
                        "the file cannot be read".to_owned()
                    }
                }
            }
            Some(_) => "it is no regular file".to_owned(),
            None => "the file is missing".to_owned(),
        };
        report.error(rule, Default::default(), fault, format!("write a regular file `{name}`"));
        Ok(None)
    }

    fn metadata(&mut self, files: &Files) -> Result<metadata::Draft, TreeError> {
        let mut report = self.report(METADATA);
        let bytes = self.author_file(files, METADATA, rules::META000, &mut report)?;
        let draft = match bytes {
            Some(bytes) => metadata::read(&bytes, self.policy, &mut report),
            None => metadata::Draft::default(),
        };
        self.findings.extend(report.into_findings());
        Ok(draft)
    }

    fn compose(
        &mut self,
        files: &Files,
        around: &Surroundings<'_>,
    ) -> Result<compose::Draft, TreeError> {
        if files.kind(COMPOSE).is_none() {
            self.check_other_names(files);
            return Ok(compose::Draft::default());
        }
        let mut report = self.report(COMPOSE);
        let bytes = self.author_file(files, COMPOSE, rules::COMPOSE000, &mut report)?;
        let draft = match bytes {
            Some(bytes) => compose::read(&bytes, around, &mut report),
            None => compose::Draft::default(),
        };
        self.findings.extend(report.into_findings());
        Ok(draft)
    }

    /// Compose files under a name that is not read.
    fn check_other_names(&mut self, files: &Files) {
        for name in ["docker-compose.yaml", "compose.yaml", "compose.yml"] {
            if files.kind(name).is_some() {
                let mut report = self.report(name);
                let message = format!("`{name}` is not read");
                let hint = format!("rename it to `{COMPOSE}`");
                report.warning(rules::STRUCT001, Default::default(), message, hint);
                self.findings.extend(report.into_findings());
            }
        }
    }

    /// What the category wants of the folder.
    fn check_shape(&mut self, files: &Files, metadata: &metadata::Draft) {
        let Some(category) = metadata.category else { return };
        if files.kind(COMPOSE).is_some() {
            return;
        }
        let mut report = self.report(COMPOSE);
        if matches!(category, Category::Web | Category::Pwn) {
            let message = format!("a challenge of category `{category}` needs `{COMPOSE}`");
            let hint = "write it, or choose another category";
            report.error(rules::STRUCT001, Default::default(), message, hint);
            self.findings.extend(report.into_findings());
            return;
        }
        let dynamic: Vec<String> = metadata
            .questions
            .iter()
            .flatten()
            .filter(|question: &&Question| question.mode.is_dynamic())
            .map(|question| format!("`{}`", question.id))
            .collect();
        if !dynamic.is_empty() {
            let mut report = self.report(METADATA);
            let message =
                format!("nothing runs that could hold the minted answer of {}", dynamic.join(", "));
            let hint = format!("add `answer` to the question, or add `{COMPOSE}`");
            report.error(rules::STRUCT011, metadata.questions_at, message, hint);
            self.findings.extend(report.into_findings());
        }
    }

    fn contexts(
        &mut self,
        files: &Files,
        builds: &[BuildAt],
    ) -> Result<BTreeMap<ServiceName, ContextId>, TreeError> {
        let mut report = self.report(COMPOSE);
        let mut contexts = BTreeMap::new();
        for build in builds {
            let root = join(&self.found.path, &build.spec.context);
            if !self.check_dockerfile(files, build, &mut report) {
                continue;
            }
            match context::files(self.tree, &root, &build.spec.dockerfile) {
                Ok(files) => {
                    contexts.insert(build.service.clone(), context::digest(&files));
                }
                Err(ContextError::Tree(error @ TreeError::Unreadable { .. })) => return Err(error),
                // `files` names these where they are, as errors.
                Err(
                    ContextError::Symlink { .. }
                    | ContextError::Submodule { .. }
                    | ContextError::Name { .. },
                ) => (),
                Err(error) => {
                    let message = format!("the build context of `{}`: {error}", build.service);
                    report.error(rules::STRUCT004, build.at, message, "mend the context");
                }
            }
        }
        self.findings.extend(report.into_findings());
        Ok(contexts)
    }

    /// Whether the context is a folder with a Dockerfile of sane size.
    fn check_dockerfile(&self, files: &Files, build: &BuildAt, report: &mut Report) -> bool {
        let spec = &build.spec;
        let dockerfile = join(&spec.context, &spec.dockerfile);
        let (message, hint) = if !spec.context.is_empty() && !files.is_dir(&spec.context) {
            let message = format!("the build context `{}` is no folder", shown(&spec.context));
            (message, "create it, or mend the path")
        } else {
            match files.kind(&dockerfile) {
                Some(EntryKind::File { .. }) if files.size_bytes(&dockerfile) == 0 => {
                    let message = format!("`{}` is empty", shown(&dockerfile));
                    (message, "write at least a `FROM` line")
                }
                Some(EntryKind::File { .. })
                    if files.size_bytes(&dockerfile) <= MAX_DOCKERFILE_BYTES =>
                {
                    return true;
                }
                Some(EntryKind::File { .. }) => {
                    let message = format!("`{}` has more than 256 KiB", shown(&dockerfile));
                    (message, "move data into files")
                }
                Some(_) => (format!("`{}` is no regular file", shown(&dockerfile)), "write a file"),
                None => (format!("`{}` is missing", shown(&dockerfile)), "write it"),
            }
        };
        report.error(rules::STRUCT004, build.at, message, hint);
        false
    }
}

/// The files below `attachments/`; a template takes the place of a file of its public name.
fn attachments(files: &Files, root: &str, report: &mut Report) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    for (name, size_bytes) in files.below("attachments") {
        let template = format!("{name}.tpl");
        if files.kind(&format!("attachments/{template}")).is_some() {
            report.on_file(
                Severity::Warning,
                rules::STRUCT025,
                join(root, &format!("attachments/{}", shown(name))),
                format!("the template `{}` takes the place of this file", shown(&template)),
                "remove one of the two",
            );
            continue;
        }
        let is_template = name.ends_with(".tpl") && !name.ends_with("/.tpl") && name != ".tpl";
        attachments.push(Attachment { name: name.to_owned(), size_bytes, is_template });
    }
    attachments
}

/// `base/name`, either of which may be empty.
pub(super) fn join(base: &str, name: &str) -> String {
    match (base.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => base.to_owned(),
        (false, false) => format!("{base}/{name}"),
    }
}
