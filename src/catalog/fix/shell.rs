//! Whether the image of a service is known to have a shell and the usual small programs.
//!
//! Known is what the Dockerfile shows: a `RUN` line that a shell carries out in the last stage, or
//! a base image of which everybody knows it. Everything else is unknown, not absent.
//!
//! # Not here
//! What is wrong with a Dockerfile (`audit::build`).

use crate::catalog::fix::Overlay;
use crate::catalog::folder::join;
use crate::catalog::spanned::Map;
use crate::model::Tree as _;

/// Largest Dockerfile that is looked at.
const MAX_BYTES: u64 = 256 * 1024;
/// Longest chain of stages that is followed.
const MAX_STAGES: usize = 20;

/// Base images with a shell and `grep` in all their usual variants.
const WITH_SHELL: &[&str] = &[
    "alpine",
    "almalinux",
    "archlinux",
    "bash",
    "buildpack-deps",
    "busybox",
    "composer",
    "debian",
    "eclipse-temurin",
    "fedora",
    "gcc",
    "golang",
    "haproxy",
    "httpd",
    "mariadb",
    "memcached",
    "mongo",
    "mysql",
    "nginx",
    "node",
    "openjdk",
    "perl",
    "php",
    "postgres",
    "python",
    "redis",
    "rockylinux",
    "ruby",
    "rust",
    "tomcat",
    "ubuntu",
    "wordpress",
];

/// Variants of them that may have none.
const BARE: &[&str] = &["distroless", "scratch", "nanoserver", "windowsservercore", "hardened"];

/// The images of a challenge.
pub(super) struct Images<'a> {
    /// Where Dockerfiles are read.
    pub tree: &'a Overlay,
    /// The challenge folder.
    pub folder: &'a str,
}

impl Images<'_> {
    /// Whether the image of `service` is known to have a shell.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn have_shell(&self, service: &Map) -> Result<(), String> {
        let is_known = match (service.get("build"), service.get("image")) {
            (Some(build), _) => {
                let (context, dockerfile) = match build.value.as_map() {
                    Some(map) => {
                        if map.get("target").is_some() {
                            return Err(unknown("its `build.target` names a stage"));
                        }
                        let text = |key: &str| Some(map.get(key)?.value.as_scalar()?.text.clone());
                        (text("context"), text("dockerfile"))
                    }
                    None => (build.value.as_scalar().map(|it| it.text.clone()), None),
                };
                let dockerfile = dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
                self.dockerfile(&context.unwrap_or_else(|| ".".to_owned()), &dockerfile)
                    .is_some_and(|text| stage_has_shell(&text))
            }
            (None, Some(image)) => {
                image.value.as_scalar().is_some_and(|scalar| image_has_shell(&scalar.text))
            }
            (None, None) => false,
        };
        if is_known { Ok(()) } else { Err(unknown("its Dockerfile does not show one")) }
    }

    /// The text of a Dockerfile inside the challenge.
    fn dockerfile(&self, context: &str, name: &str) -> Option<String> {
        let context = context.trim_start_matches("./").trim_end_matches('/');
        let context = if context == "." { "" } else { context };
        let path = join(context, name.trim_start_matches("./"));
        let is_inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside {
            return None;
        }
        let bytes = self.tree.read(&join(self.folder, &path), MAX_BYTES).ok()?;
        String::from_utf8(bytes).ok()
    }
}

fn unknown(why: &str) -> String {
    format!("nothing says that its image has a shell, which a stub needs ({why})")
}

/// One `FROM` with what follows it.
struct Stage<'t> {
    image: &'t str,
    name: Option<&'t str>,
    runs_shell: bool,
    is_odd: bool,
}

/// Whether the last stage of a Dockerfile shows a shell.
fn stage_has_shell(text: &str) -> bool {
    let joined = joined(text);
    let stages = stages(&joined);
    let Some(mut stage) = stages.last() else { return false };
    for _ in 0..MAX_STAGES {
        if stage.is_odd {
            return false;
        }
        if stage.runs_shell || image_has_shell(stage.image) {
            return true;
        }
        let earlier = stages
            .iter()
            .find(|it| it.name.is_some_and(|name| name.eq_ignore_ascii_case(stage.image)));
        match earlier {
            Some(earlier) => stage = earlier,
            None => return false,
        }
    }
    false
}

/// Instructions on one line each, without comments.
fn joined(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.trim_end().strip_suffix('\\') {
            Some(line) => {
                out += line;
                out.push(' ');
            }
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    out
}

fn stages(text: &str) -> Vec<Stage<'_>> {
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("--"));
        let Some(instruction) = words.next() else { continue };
        let mut words = words.skip_while(|word| word.starts_with("--"));
        match (instruction.to_ascii_uppercase().as_str(), stages.last_mut()) {
            ("FROM", _) => {
                let image = words.next().unwrap_or_default();
                let name = words.next().filter(|word| word.eq_ignore_ascii_case("as"));
                let name = name.and_then(|_| words.next());
                stages.push(Stage { image, name, runs_shell: false, is_odd: false });
            }
            ("RUN", Some(stage)) => {
                stage.is_odd |= takes_shell_away(line);
                stage.runs_shell |= words.next().is_some_and(|word| !word.starts_with('['));
            }
            ("SHELL", Some(stage)) => stage.is_odd = true,
            _ => (),
        }
    }
    stages
}

/// Whether one command of the line removes a shell, or what a stub needs beside it.
fn takes_shell_away(line: &str) -> bool {
    const PROGRAMS: [&str; 6] = ["/bin/sh", "busybox", "/bin/bash", "/bin/dash", "/bin/*", "grep"];
    line.split(['&', ';', '|']).any(|command| {
        let removes = command.split_whitespace().any(|word| matches!(word, "rm" | "/bin/rm"));
        removes && PROGRAMS.iter().any(|program| command.contains(program))
    })
}

/// Whether everybody knows that `image` has a shell.
fn image_has_shell(image: &str) -> bool {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let base = name.split([':', '@']).next().unwrap_or_default();
    WITH_SHELL.contains(&base) && !BARE.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_known_from_the_last_stage_only() {
        for (text, want) in [
            ("FROM debian:bookworm-slim\n", true),
            ("FROM docker.io/library/python:3.12-slim@sha256:00\n", true),
            ("FROM --platform=linux/amd64 busybox AS x\nFROM x\n", true),
            ("FROM ghcr.io/me/base\nRUN apt-get update \\\n  && true\n", true),
            ("from ghcr.io/me/base\nrun --mount=type=cache,target=/x make\n", true),
            ("FROM ghcr.io/me/base\nRUN [\"/app\", \"init\"]\n", false),
            (
                "FROM golang:1 AS build\nRUN go build\nFROM scratch\nCOPY --from=build /a /a\n",
                false,
            ),
            ("FROM gcr.io/distroless/static\n", false),
            ("FROM alpine\nRUN rm -rf /bin/sh\n", false),
            ("FROM x\nRUN apt-get install -y busybox grep && rm -rf /var/lib/apt/lists/*\n", true),
            ("FROM alpine\nRUN true; rm -f /bin/busybox\n", false),
            ("FROM alpine\nSHELL [\"pwsh\"]\nRUN x\n", false),
            ("FROM evil.example/alpine\n", false),
            ("FROM $BASE\n# RUN x\n", false),
            ("FROM a AS b\nFROM b AS a\n", false),
            ("RUN x\n", false),
            ("", false),
        ] {
            assert_eq!(stage_has_shell(text), want, "{text}");
        }
    }
}
