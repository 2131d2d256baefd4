//! Reads one challenge folder: its files, `metadata.yaml`, `docker-compose.yml`, and how they fit.
//!
//! In:  the tree, the folder's path and id, the [`Policy`].
//! Out: a [`Folder`]: with a challenge when nothing is an error, else with every reason.
//!
//! # Invariants
//! * No link is followed, no submodule entered, nothing over budget is read.
//!
//! # Not here
//! Which folders are challenges, and conflicts between them (`discover`); what a folder must have
//! and how its files fit (`audit::structure`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::allowlist;
use super::audit::{self, Subject};
use super::compose::{self, BuildAt, Surroundings};
use super::context::{self, ContextError};
use super::decode::{Report, settle, shown};
use super::encrypted::Encrypted;
use super::exports;
use super::files::{self, Files, is_below};
use super::finding::Weight;
use super::metadata;
use super::rules;
use super::snippet;
use super::spanned::{self, MAX_BYTES, Node};
use super::{Folder, Policy};
use crate::model::{
    Attachment, Challenge, ChallengeId, ContextId, EntryKind, Export, Metadata, ServiceName,
    Topology, Tree, TreeError, TreeId, plain_name,
};

const METADATA: &str = "metadata.yaml";
const COMPOSE: &str = "docker-compose.yml";
/// Largest Dockerfile that is read.
pub(super) const MAX_DOCKERFILE_BYTES: u64 = 256 * 1024;

/// Where a challenge is.
#[derive(Debug, Clone)]
pub struct Found {
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
    /// Entries and bytes of the folder.
    total: (usize, u64),
}

/// Reads the folder.
pub(super) fn read(tree: &dyn Tree, found: &Found, policy: &Policy) -> Result<Folder, TreeError> {
    let mut reader = Reader { tree, found, policy, findings: Vec::new(), total: (0, 0) };
    let challenge = reader.challenge()?;
    let findings = reader.findings;
    let is_open = findings.iter().all(|finding| policy.gate.lets_through(finding));
    Ok(Folder {
        path: found.path.clone(),
        tree: found.tree,
        challenge: challenge.filter(|_| is_open).map(Arc::new),
        findings,
        n_entries: reader.total.0,
        total_bytes: reader.total.1,
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
        self.total = files.total();
        let encrypted = Encrypted::read(self.tree, &self.found.path, &files)?;
        let metadata = self.metadata(&files)?;
        let questions = metadata.questions.as_deref();
        let topology = metadata.topology.unwrap_or(Topology::Simple);
        let around = Surroundings { policy: self.policy, questions, topology };
        let compose = self.compose(&files, &around)?;
        let contexts = self.contexts(&compose.builds)?;
        files.report_links(|path| contexts.sends(path), &mut walk);
        let attachments = attachments(&files, &encrypted, &self.found.path, &mut walk);
        self.findings.extend(walk.into_findings());
        let exports = self.exports(&metadata, &compose, &attachments);
        self.judge(&files, &encrypted, &metadata, &compose)?;
        let Some(metadata) = metadata.metadata else { return Ok(None) };
        let metadata = Metadata { exports, ..metadata };
        Ok(Some(Challenge {
            id: self.found.id.clone(),
            path: self.found.path.clone(),
            bucket: self.found.bucket.clone(),
            tree: self.found.tree,
            metadata,
            compose: compose.compose,
            attachments,
            contexts: contexts.digests,
        }))
    }

    /// The files of services that are handed out.
    fn exports(
        &mut self,
        metadata: &metadata::Draft,
        compose: &compose::Draft,
        attachments: &[Attachment],
    ) -> Vec<Export> {
        let Some(map) = metadata.root.as_ref().and_then(Node::as_map) else { return Vec::new() };
        let runs = match (&compose.compose, &compose.root) {
            (Some(compose), _) => exports::Runs::These(&compose.services),
            (None, None) => exports::Runs::Nothing,
            (None, Some(_)) => exports::Runs::Unknown,
        };
        let mut report = self.report(METADATA);
        let read = metadata.metadata.as_ref();
        let runtime = read.map_or_else(Default::default, |it| it.instance.demands.runtime);
        let exports = exports::read(map, &runs, runtime, attachments, &mut report);
        self.findings.extend(report.into_findings());
        exports
    }

    /// Runs the rules over what was read, then what the author waives, then the lines they are
    /// about.
    fn judge(
        &mut self,
        files: &Files,
        encrypted: &Encrypted,
        metadata: &metadata::Draft,
        compose: &compose::Draft,
    ) -> Result<(), TreeError> {
        let subject = Subject {
            tree: self.tree,
            root: &self.found.path,
            files,
            encrypted,
            metadata: metadata.root.as_ref().and_then(Node::as_map),
            questions: metadata.questions.as_deref(),
            category: metadata.category,
            topology: metadata.topology,
            compose: compose.root.as_ref().and_then(Node::as_map),
            builds: &compose.builds,
            policy: self.policy,
            texts: Default::default(),
        };
        let mut report = self.report("");
        audit::run(&subject, &mut report)?;
        self.findings.extend(report.into_findings());
        let mut report = self.report("");
        allowlist::apply(&subject, &mut self.findings, &mut report)?;
        self.findings.extend(report.into_findings());
        self.findings = settle(std::mem::take(&mut self.findings), &self.found.id);
        snippet::attach(&subject, &mut self.findings)
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
        let hint = if fault.contains("more than") {
            format!("shorten it to at most {MAX_BYTES} bytes")
        } else {
            format!("write a regular file `{name}`")
        };
        report.refuse(rule, Default::default(), fault, hint);
        Ok(None)
    }

    fn metadata(&mut self, files: &Files) -> Result<metadata::Draft, TreeError> {
        let mut report = self.report(METADATA);
        let bytes = self.author_file(files, METADATA, rules::META000, &mut report)?;
        let draft = match bytes {
            Some(bytes) => metadata::read(spanned::parse(&bytes), self.policy, &mut report),
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
            return Ok(compose::Draft::default());
        }
        let mut report = self.report(COMPOSE);
        let bytes = self.author_file(files, COMPOSE, rules::COMPOSE000, &mut report)?;
        let draft = match bytes {
            Some(bytes) => compose::read(spanned::parse(&bytes), around, &mut report),
            None => compose::Draft::default(),
        };
        self.findings.extend(report.into_findings());
        Ok(draft)
    }

    /// The digests of all contexts. What no Dockerfile can be read from is judged by the rules
    /// (`audit::structure`); what cannot be sent is said here.
    fn contexts(&mut self, builds: &[BuildAt]) -> Result<Contexts, TreeError> {
        let mut report = self.report(COMPOSE);
        let mut contexts = Contexts::default();
        for build in builds {
            let spec = &build.spec;
            let root = join(&self.found.path, &spec.context);
            match context::contents(self.tree, &root, &spec.dockerfile) {
                Ok(contents) if contents.links.is_empty() => {
                    let digest = context::digest(&contents.files);
                    contexts.digests.insert(build.service.clone(), digest);
                }
                // Refused where they are (STRUCT020).
                Ok(contents) => {
                    let links = contents.links.iter().map(|link| join(&spec.context, link));
                    contexts.links.extend(links);
                }
                Err(ContextError::Tree(error @ TreeError::Unreadable { .. })) => return Err(error),
                Err(error) => {
                    contexts.unread.push(spec.context.clone());
                    if !is_judged_elsewhere(&error, &spec.dockerfile) {
                        let message = format!("the build context of `{}`: {error}", build.service);
                        report.refuse(rules::STRUCT004, build.at, message, "mend the context");
                    }
                }
            }
        }
        self.findings.extend(report.into_findings());
        Ok(contexts)
    }
}

/// What is known of the build contexts of a challenge.
#[derive(Debug, Default)]
struct Contexts {
    /// The digest of each that can be sent.
    digests: BTreeMap<ServiceName, ContextId>,
    /// Links that would be sent, by path inside the challenge.
    links: BTreeSet<String>,
    /// Contexts of which nobody can say what would be sent.
    unread: Vec<String>,
}

impl Contexts {
    /// Whether a build would send the link at `path`, for all that is known.
    fn sends(&self, path: &str) -> bool {
        self.links.contains(path) || self.unread.iter().any(|context| is_below(context, path))
    }
}

/// Whether a fault of a context is one that `audit::structure` or `files` names where it is.
fn is_judged_elsewhere(error: &ContextError, dockerfile: &str) -> bool {
    match error {
        ContextError::NoFolder { .. }
        | ContextError::NoDockerfile { .. }
        | ContextError::Symlink { .. }
        | ContextError::Submodule { .. }
        | ContextError::Twin { .. }
        | ContextError::Name { .. } => true,
        ContextError::NotRegular { path } | ContextError::FileTooLarge { path, .. } => {
            path == dockerfile
        }
        ContextError::Pattern { .. }
        | ContextError::TooManyPatterns { .. }
        | ContextError::NeverEncrypted { .. }
        | ContextError::Decrypt { .. }
        | ContextError::TooDeep { .. }
        | ContextError::TooManyFiles
        | ContextError::TooManyBytes
        | ContextError::Tree(_) => false,
    }
}

/// The files below `attachments/`; a template takes the place of a file of its public name.
fn attachments(
    files: &Files,
    encrypted: &Encrypted,
    root: &str,
    report: &mut Report,
) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    for (name, stored_bytes) in files.below("attachments") {
        let header = encrypted.header(&format!("attachments/{name}"));
        let plain = plain_name(name).unwrap_or(name);
        let templates = [format!("{plain}.tpl"), format!("{plain}.tpl.age")];
        let is_there = |it: &&String| files.kind(&format!("attachments/{it}")).is_some();
        if let Some(template) = templates.iter().find(is_there) {
            report.on_file(
                Weight::Warning,
                rules::TEMPLATE004,
                join(root, &format!("attachments/{}", shown(name))),
                format!("the template `{}` takes the place of this file", shown(template)),
                "remove one of the two",
            );
            continue;
        }
        attachments.push(Attachment {
            name: name.to_owned(),
            size_bytes: header.map_or(stored_bytes, |header| header.plain_bytes),
            is_encrypted: plain_name(name).is_some(),
            is_template: is_template(plain),
        });
    }
    attachments
}

/// Whether an attachment of this name, already decrypted, is rendered.
pub(super) fn is_template(plain: &str) -> bool {
    plain.strip_suffix(".tpl").is_some_and(|stem| !stem.is_empty() && !stem.ends_with('/'))
}

/// `base/name`, either of which may be empty.
pub(super) fn join(base: &str, name: &str) -> String {
    match (base.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => base.to_owned(),
        (false, false) => format!("{base}/{name}"),
    }
}
