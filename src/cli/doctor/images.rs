//! Whether the images that challenges begin with are on the engine, so that no build or start
//! depends on a registry during the event.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::catalog::{self, Policy};
use crate::git::WorkTree;
use crate::model::compose::ImageSource;
use crate::model::{Challenge, Tree};
use crate::runtime::Engine;

use super::{Check, Verdict};

/// Largest Dockerfile that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// Checks the images of the repository in folder `challenges`, if there is one.
pub(super) async fn check(engine: &dyn Engine, challenges: Option<&Path>) -> Vec<Check> {
    let Some(folder) = challenges else { return Vec::new() };
    let wanted = match wanted(folder) {
        Ok(wanted) => wanted,
        Err(error) => {
            let found = format!("could not read `{}` ({error})", folder.display());
            let fix = "name the repository with `--challenges PATH`";
            return vec![Check::new(Verdict::Unknown, "base images", found, fix)];
        }
    };
    let n_wanted = wanted.len();
    let mut checks = Vec::new();
    for (reference, users) in wanted {
        match engine.image(&reference).await {
            Ok(Some(_)) => (),
            Ok(None) => checks.push(Check::new(
                Verdict::Warning,
                "base images",
                format!("`{reference}` is not here; {} needs it", some(&users)),
                format!("docker pull {reference}"),
            )),
            Err(error) => checks.push(Check::new(
                Verdict::Unknown,
                "base images",
                format!("could not look for `{reference}` ({error})"),
                "see the checks of the engine",
            )),
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("base images", format!("all {n_wanted} are here")));
    }
    checks
}

/// `A, B and 3 more`.
fn some(users: &BTreeSet<String>) -> String {
    let first: Vec<&str> = users.iter().take(2).map(String::as_str).collect();
    match users.len().saturating_sub(first.len()) {
        0 => first.join(" and "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Every image that some challenge needs, with those challenges.
fn wanted(folder: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, crate::model::TreeError> {
    let tree = WorkTree::open(folder)?;
    let catalog = catalog::load(&tree, None, &Policy::default())?;
    let mut wanted = BTreeMap::<String, BTreeSet<String>>::new();
    for challenge in catalog.folders.values().filter_map(|folder| folder.challenge.as_ref()) {
        for image in images_of(&tree, challenge) {
            wanted.entry(image).or_default().insert(challenge.id.to_string());
        }
    }
    Ok(wanted)
}

fn images_of(tree: &dyn Tree, challenge: &Challenge) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    let services = challenge.compose.iter().flat_map(|compose| &compose.services);
    for service in services {
        match &service.image {
            ImageSource::Reference(reference) => {
                images.insert(reference.clone());
            }
            ImageSource::Gateway => images.extend(base_images(crate::render::vpn::DOCKERFILE)),
            ImageSource::Build(build) => {
                let path = dockerfile_path(&challenge.path, &build.context, &build.dockerfile);
                // What cannot be read is a finding of `check`, not of this.
                if let Ok(bytes) = tree.read(&path, LIMIT_BYTES) {
                    images.extend(base_images(&String::from_utf8_lossy(&bytes)));
                }
            }
        }
    }
    images
}

fn dockerfile_path(challenge: &str, context: &str, dockerfile: &str) -> String {
    let parts = challenge.split('/').chain(context.split('/')).chain(dockerfile.split('/'));
    parts.filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// What the `FROM` lines of a Dockerfile name, without stages, `scratch` and variables.
fn base_images(dockerfile: &str) -> BTreeSet<String> {
    let mut stages = BTreeSet::new();
    let mut images = BTreeSet::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            continue;
        }
        let mut words = words.skip_while(|word| word.starts_with("--"));
        let Some(image) = words.next() else { continue };
        let is_image = image != "scratch" && !image.contains('$');
        if is_image && !stages.contains(&image.to_ascii_lowercase()) {
            images.insert(image.to_owned());
        }
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("as")) {
            stages.extend(words.next().map(str::to_ascii_lowercase));
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_of_registries_are_wanted() {
        let dockerfile = "\
ARG BASE=x
FROM --platform=linux/amd64 golang:1.22 AS Build
RUN go build
from build as test
FROM $BASE
FROM scratch
FROM alpine:3.20
# FROM comment
";
        let images: Vec<_> = base_images(dockerfile).into_iter().collect();
        assert_eq!(images, ["alpine:3.20", "golang:1.22"]);
    }

    #[test]
    fn the_dockerfile_is_found_below_its_challenge() {
        assert_eq!(dockerfile_path("WEB/WEB-001", ".", "Dockerfile"), "WEB/WEB-001/Dockerfile");
        assert_eq!(dockerfile_path("A", "./app/", "docker/Dev"), "A/app/docker/Dev");
    }

    #[test]
    fn a_long_list_of_users_is_cut() {
        let users = |n: usize| (0..n).map(|i| format!("C-{i}")).collect();
        assert_eq!(some(&users(2)), "C-0 and C-1");
        assert_eq!(some(&users(5)), "C-0, C-1 and 3 more");
    }
}
