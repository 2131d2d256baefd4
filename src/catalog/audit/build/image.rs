//! Images that a build takes from elsewhere: `FROM`, `--from`, and the stage that is built.

use super::Judge;
use super::stages::{MAX_STAGES, Stage};
use crate::catalog::audit::Subject;
use crate::catalog::decode::{Report, shown, suggestion};
use crate::catalog::dockerfile::words::Expanded;
use crate::catalog::dockerfile::{Flag, Instruction};
use crate::catalog::finding::Weight;
use crate::catalog::rules;
use crate::catalog::spanned::Span;

/// How well a reference says which image is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pin {
    /// By digest, or a tag other than `latest`.
    Pinned,
    /// `latest`, or nothing.
    Moving,
    /// An image that flagops built for some challenge.
    Platform,
}

impl Judge<'_> {
    /// Begins a stage.
    pub(super) fn from(&mut self, it: &Instruction) {
        self.close_stage();
        if self.stages.len() == MAX_STAGES {
            let message = format!("the Dockerfile has more than {MAX_STAGES} stages");
            self.refuse(rules::BUILD013, it.at, message, "use fewer");
        }
        let word = &it.words[0];
        let name = it.words.get(2).map(|name| name.text.to_lowercase());
        let mut stage =
            Stage { name, at: it.at, may_start: false, n_layers: 0, inherited: Default::default() };
        let image = self.scope.expand_global(&word.text);
        if image.text.is_empty() && image.unknown_at.is_none() {
            let message = format!("`FROM {}` names no image: nothing sets it", shown(&word.text));
            let hint = "write `ARG NAME=default` before it, or set it in `build.args`";
            self.refuse(rules::BUILD002, word.at, message, hint);
            stage.may_start = true;
            self.scope.enter_image();
        } else if let Some(base) = self.stages.named(&image.text) {
            stage.may_start = base.may_start;
            let inherited = base.inherited.clone();
            self.scope.enter(&inherited);
        } else if image.text == "scratch" {
            self.scope.enter(&Default::default());
        } else {
            stage.may_start = true;
            self.base(&image, word.at);
            self.scope.enter_image();
        }
        self.platform(it);
        if self.stages.len() < MAX_STAGES {
            self.stages.push(stage);
        }
    }

    /// Notes what the stage that ends hands on.
    fn close_stage(&mut self) {
        let inherited = self.scope.inherited();
        if let Some(stage) = self.stages.last_mut() {
            stage.inherited = inherited;
        }
    }

    fn base(&mut self, reference: &Expanded, at: Span) {
        let image = reference.text.as_str();
        match pin(image) {
            Pin::Platform => self.platform_image(image, at),
            Pin::Moving if reference.unknown_at.is_none() => {
                let message = format!(
                    "the base image `{}` can be another one tomorrow: it has no tag but `latest`",
                    shown(image)
                );
                let hint =
                    format!("name a version, such as `{}:1.2.3`, or a digest", repository(image));
                self.warn(rules::BUILD011, at, message, &hint);
            }
            Pin::Moving | Pin::Pinned => (),
        }
    }

    fn platform_image(&mut self, image: &str, at: Span) {
        let message = format!("`{}` is an image of the platform, of some challenge", shown(image));
        let hint = "copy the files that you need into this challenge";
        self.refuse(rules::BUILD008, at, message, hint);
    }

    /// `FROM --platform=…`.
    fn platform(&mut self, it: &Instruction) {
        for flag in it.flags("platform") {
            let platform = self.scope.expand_global(&flag.value);
            let is_usual = platform.unknown_at.is_some()
                || platform.text.starts_with("linux/amd64")
                || platform.text == "linux/x86_64";
            if !is_usual {
                let message =
                    format!("an image for `{}` starts on such a node only", shown(&platform.text));
                let hint = "remove `--platform`: the image is built for the node";
                self.warn(rules::BUILD017, flag.at, message, hint);
            }
        }
    }

    /// `--from=…` of `COPY` and `--mount`: `text` is where files are taken from.
    pub(super) fn source_image(&mut self, flag: &Flag, text: &str) {
        let n_known = self.stages.len();
        let is_stage = self.stages.find(text).is_some();
        if is_stage || text.is_empty() {
            return;
        }
        if text.parse::<usize>().is_ok() {
            let message = format!("there is no stage `{}` before this one", shown(text));
            let hint = format!("there are {n_known}, counted from 0");
            self.say(Weight::Refusal, rules::BUILD007, flag.at, message, hint);
            return;
        }
        match pin(text) {
            Pin::Pinned => (),
            Pin::Platform => self.platform_image(text, flag.at),
            Pin::Moving => {
                let message = format!(
                    "`{}` is no stage of this file, so an image of that name is fetched, without \
                     a version",
                    shown(text)
                );
                let hint = match suggestion(text, &self.stages.names()) {
                    nearest if nearest.starts_with("did you") => nearest,
                    _ => format!("name a stage, or a version such as `{}:1.2.3`", repository(text)),
                };
                self.warn(rules::BUILD007, flag.at, message, &hint);
            }
        }
    }

    /// Whether the stage that the compose file asks for is there.
    pub(super) fn target(&mut self) {
        let Some(target) = &self.build.spec.target else { return };
        if self.stages.find(target).is_none() {
            let message = format!(
                "`build.target` of `{}` is `{}`, which is no stage of this Dockerfile",
                self.build.service,
                shown(target)
            );
            let hint = match self.stages.names().as_slice() {
                [] => "name a stage with `FROM image AS name`, or remove `target`".to_owned(),
                names => suggestion(target, names),
            };
            self.say(Weight::Refusal, rules::BUILD018, Span::default(), message, hint);
        }
    }

    /// Whether there is something to start.
    pub(super) fn command(&mut self, subject: &Subject<'_>) {
        let target = self.build.spec.target.as_deref();
        let Some(stage) = self.stages.built(target).filter(|stage| !stage.may_start) else {
            return;
        };
        let at = stage.at;
        let service = self.build.service.as_str();
        let has_command = subject.services().any(|(entry, map)| {
            entry.key == service
                && ["command", "entrypoint"].iter().any(|key| map.get(key).is_some())
        });
        if !has_command {
            let message = format!("the image of `{service}` has no command, so it cannot start");
            let hint = "add `CMD [\"/program\"]`, or `command` in `docker-compose.yml`";
            self.refuse(rules::BUILD019, at, message, hint);
        }
    }
}

/// BUILD011 for images that a service takes as they are.
pub(super) fn check_services(subject: &Subject<'_>, report: &mut Report) {
    for (_, service) in subject.services().filter(|(_, map)| map.get("build").is_none()) {
        let Some(entry) = service.get("image") else { continue };
        let Some(image) = entry.value.as_scalar().map(|scalar| scalar.text.as_str()) else {
            continue;
        };
        // What is no reference is refused as such (COMPOSE007).
        let is_odd = |c: char| c == '$' || c == ' ' || c.is_ascii_uppercase();
        let is_name = !image.is_empty() && !image.contains(is_odd) && !entry.value.is_null();
        if is_name && pin(image) == Pin::Moving {
            let message = format!(
                "the image `{}` can be another one tomorrow: it has no tag but `latest`",
                shown(image)
            );
            let hint =
                format!("name a version, such as `{}:1.2.3`, or a digest", repository(image));
            let path = subject.path("docker-compose.yml");
            report.at(Weight::Warning, rules::BUILD011, path, entry.value.span, message, hint);
        }
    }
}

/// How well `image` is pinned.
fn pin(image: &str) -> Pin {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, it)| (name, Some(it)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let path = path.strip_prefix("docker.io/").unwrap_or(path);
    if path.starts_with("flagops/") {
        Pin::Platform
    } else if digest.is_some() || tag.is_some_and(|tag| tag != "latest" && !tag.is_empty()) {
        Pin::Pinned
    } else {
        Pin::Moving
    }
}

/// `image` without tag, fit for a hint.
fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    shown(match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path,
        _ => name,
    })
}
