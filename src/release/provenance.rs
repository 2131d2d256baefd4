//! Where a generation comes from, in the words that other programs read: an in-toto statement with
//! the provenance predicate of SLSA.
//!
//! In:  a generation, its manifest, and the images that it went live with.
//! Out: a [`Statement`] whose text is the same whoever asks and when.
//!
//! # Invariants
//! * Every image and every folder of the manifest is a subject.
//! * Nothing of what is written depends on the time, on the version of flagops, or on what happened
//!   after the generation went live.
//! * No credential of the remote's address is written.
//!
//! # Not here
//! A signature over the statement: flagops has no key of its own to sign with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::identity::BuildUnit;
use super::manifest::{Entry, Generation, Manifest};
use crate::model::compose::ImageSource;
use crate::model::{BuildKey, ChallengeId, InstallationId, Timestamp};

/// The shape of a statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The shape of its predicate.
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What `externalParameters` mean; docs/releases.md describes it.
const BUILD_TYPE: &str = "urn:flagops:build-type:release:v1";
/// The media type of a statement.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// An image as a generation went live with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The engine's id, `sha256:…`.
    pub image: String,
    /// When the attempt that made it began.
    pub started_at: Option<Timestamp>,
}

/// What a statement is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who built it.
    pub installation: &'a InstallationId,
    /// The remote.
    pub repository: &'a str,
    /// What went live.
    pub generation: &'a Generation,
    /// What it consists of.
    pub manifest: &'a Manifest,
    /// Which services the images of each challenge are for.
    pub units: &'a BTreeMap<ChallengeId, Vec<BuildUnit>>,
    /// The images, as far as anybody noted them.
    pub images: &'a BTreeMap<BuildKey, ImageRecord>,
}

/// An in-toto statement, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Resource>,
    predicate_type: &'static str,
    predicate: Predicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: &'static str,
    external_parameters: ExternalParameters,
    internal_parameters: InternalParameters,
    resolved_dependencies: Vec<Resource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ExternalParameters {
    repository: String,
    /// The commit that was released.
    commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<TagParameter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TagParameter {
    name: String,
    object: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct InternalParameters {
    /// `branch`, `tag`, `rollback` or `revert`.
    cause: &'static str,
    /// The id of the manifest.
    release: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Builder {
    id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    started_on: String,
    finished_on: String,
}

/// A `ResourceDescriptor`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Resource {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Statement {
    /// The statement about one generation.
    pub fn of(facts: &Facts<'_>) -> Self {
        Self {
            kind: STATEMENT,
            subject: subjects(facts),
            predicate_type: PREDICATE,
            predicate: Predicate {
                build_definition: definition(facts),
                run_details: run_details(facts),
            },
        }
    }

    /// Its text: the same statement is the same bytes.
    pub fn text(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a statement has string keys only");
        text.push('\n');
        text
    }
}

/// Every folder, and after it every image of it.
fn subjects(facts: &Facts<'_>) -> Vec<Resource> {
    let mut subjects = Vec::new();
    for (id, entry) in &facts.manifest.challenges {
        subjects.push(Resource {
            name: Some(entry.path.clone()),
            uri: None,
            digest: BTreeMap::from([("gitTree", entry.tree.to_string())]),
            annotations: BTreeMap::from([
                ("challenge", id.to_string()),
                ("commit", entry.revision.to_string()),
                ("disposition", entry.disposition.to_string()),
            ]),
        });
        for (name, key) in named(entry, facts.units.get(id).map_or(&[], Vec::as_slice)) {
            subjects.push(image(name, key, facts));
        }
    }
    subjects
}

/// The images of a challenge and what to call them: by service, else by their key.
fn named(entry: &Entry, units: &[BuildUnit]) -> Vec<(String, BuildKey)> {
    let is_listed = |unit: &&BuildUnit| entry.images.contains(&unit.key);
    let by_service = units.iter().filter(is_listed);
    let mut images: Vec<_> =
        by_service.map(|unit| (format!("{}/{}", entry.path, unit.service), unit.key)).collect();
    let keys: BTreeSet<_> = entry.images.iter().copied().collect();
    for key in keys {
        if !units.iter().any(|unit| unit.key == key) {
            images.push((format!("{}/{}", entry.path, key.short()), key));
        }
    }
    images
}

fn image(name: String, key: BuildKey, facts: &Facts<'_>) -> Resource {
    // The key determines the image, so it identifies what nobody noted the id of.
    let by_key = || ("flagopsBuildKey", key.to_string());
    let digest = facts.images.get(&key).and_then(digest).unwrap_or_else(by_key);
    Resource {
        name: Some(name),
        uri: None,
        digest: BTreeMap::from([digest]),
        annotations: BTreeMap::from([("buildKey", key.to_string())]),
    }
}

/// An image's id as a digest, if it is one.
fn digest(record: &ImageRecord) -> Option<(&'static str, String)> {
    let hex = record.image.strip_prefix("sha256:")?;
    let is_digest = hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit());
    is_digest.then(|| ("sha256", hex.to_owned()))
}

fn definition(facts: &Facts<'_>) -> BuildDefinition {
    let manifest = facts.manifest;
    let tag = manifest
        .tag
        .as_ref()
        .map(|(name, object)| TagParameter { name: name.to_string(), object: object.to_string() });
    BuildDefinition {
        build_type: BUILD_TYPE,
        external_parameters: ExternalParameters {
            repository: without_credentials(facts.repository),
            commit: manifest.revision.to_string(),
            tag,
        },
        internal_parameters: InternalParameters {
            cause: facts.generation.cause.as_str(),
            release: facts.generation.release.to_string(),
        },
        resolved_dependencies: dependencies(facts),
    }
}

/// Every commit that something is read from, the released one first, and every image that is taken
/// as it is.
fn dependencies(facts: &Facts<'_>) -> Vec<Resource> {
    let released = facts.manifest.revision;
    let kept: BTreeSet<_> = facts.manifest.challenges.values().map(|it| it.revision).collect();
    let uri = git_uri(&without_credentials(facts.repository));
    let commit = |revision: crate::model::Revision| Resource {
        name: None,
        uri: Some(uri.clone()),
        digest: BTreeMap::from([("gitCommit", revision.to_string())]),
        annotations: BTreeMap::new(),
    };
    let others = kept.into_iter().filter(|revision| *revision != released);
    let mut all: Vec<_> = std::iter::once(released).chain(others).map(commit).collect();
    all.extend(taken_as_they_are(facts));
    all
}

fn taken_as_they_are(facts: &Facts<'_>) -> BTreeSet<Resource> {
    let listed = facts.manifest.challenges.iter().flat_map(|(id, entry)| {
        let units = facts.units.get(id).into_iter().flatten();
        units.filter(|unit| entry.images.contains(&unit.key))
    });
    let resource = |unit: &BuildUnit| {
        let ImageSource::Reference(reference) = &unit.source else { return None };
        Some(Resource {
            name: Some(reference.clone()),
            uri: None,
            digest: BTreeMap::from([facts.images.get(&unit.key).and_then(digest)?]),
            annotations: BTreeMap::new(),
        })
    };
    listed.filter_map(resource).collect()
}

/// It begins with the first of its images, and ends when players have it.
fn run_details(facts: &Facts<'_>) -> RunDetails {
    let end = facts.generation.at;
    let keys: BTreeSet<_> = facts.manifest.challenges.values().flat_map(|it| &it.images).collect();
    let of_it = facts.images.iter().filter(|(key, _)| keys.contains(key));
    let begin = of_it.filter_map(|(_, record)| record.started_at).min();
    RunDetails {
        builder: Builder { id: format!("urn:flagops:installation:{}", facts.installation) },
        metadata: Metadata {
            invocation_id: facts.generation.number.to_string(),
            started_on: begin.map_or(end, |begin| begin.min(end)).rfc3339(),
            finished_on: end.rfc3339(),
        },
    }
}

/// Where to fetch from, as SPDX writes it.
fn git_uri(repository: &str) -> String {
    match repository.split_once(':') {
        _ if repository.contains("://") => format!("git+{repository}"),
        Some((host, path)) if !host.contains('/') => format!("git+ssh://{host}/{path}"),
        _ => format!("git+file://{repository}"),
    }
}

/// The address without what lets somebody in: user, password, query and fragment. Rather too little
/// of it than a part of a password, which may hold `/` and `@` where somebody wrote it by hand.
fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        // A folder, or `user@host:path`, which has no place for a password.
        return address.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let may_hide_user = rest[..end].contains([':', '@']);
    let begin = rest.rfind('@').filter(|_| may_hide_user).map_or(0, |at| at + 1);
    let shown = rest[begin..].split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{shown}")
}

#[cfg(test)]
#[path = "provenance_tests.rs"]
mod tests;
