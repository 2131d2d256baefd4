//! What reaches outside of a build: fetches of the engine, mounts, networks, privileges.

use super::Judge;
use crate::catalog::decode::shown;
use crate::catalog::dockerfile::words::Expanded;
use crate::catalog::dockerfile::{Flag, Instruction};
use crate::catalog::rules;
use crate::catalog::spanned::Span;

/// What an engine fetches instead of copying.
const REMOTE: &[&str] = &["http://", "https://", "git://", "git@", "ssh://", "github.com/"];
/// Flags that the frontend inside of Docker before 23.0 does not know, by instruction.
const NEW_FLAGS: &[(&str, &[&str])] = &[
    ("ADD", &["link", "checksum", "keep-git-dir", "exclude", "unpack"]),
    ("COPY", &["link", "parents", "exclude"]),
    ("RUN", &["network", "security", "device"]),
];

impl Judge<'_> {
    /// `ADD` and `COPY`.
    pub(super) fn copy(&mut self, it: &Instruction) {
        self.new_flags(it);
        for flag in it.flags("from") {
            self.source_image(flag, &flag.value);
        }
        for (source, at) in sources(it) {
            let source = self.scope.expand(&source);
            if could_be_remote(&source) {
                self.fetch(&it.keyword, &source, at);
            }
        }
    }

    fn fetch(&mut self, keyword: &str, source: &Expanded, at: Span) {
        let text = shown(&source.text);
        if keyword == "COPY" {
            if source.unknown_at.is_none() {
                let message = format!("`COPY` cannot fetch `{text}`");
                let hint = "fetch it with `RUN`, or commit the file";
                self.refuse(rules::BUILD001, at, message, hint);
            }
            return;
        }
        if source.unknown_at.is_some() {
            let message = "`ADD` of a source that only the base image knows could be a fetch by \
                           the engine, from the node's own network";
            let hint = "write `COPY`, which never fetches, or give the variable a value here";
            self.refuse(rules::BUILD003, at, message.to_owned(), hint);
            return;
        }
        let message = format!("`ADD {text}` is fetched by the engine, from the node's own network");
        let hint = "fetch it with `RUN`, which is shut in the build's network, or commit the file";
        self.refuse(rules::BUILD003, at, message, hint);
    }

    /// `RUN`.
    pub(super) fn run(&mut self, it: &Instruction) {
        let mut is_refused = false;
        for flag in &it.flags {
            let what = match (flag.name.as_str(), flag.value.as_str()) {
                ("security", "insecure") => "every privilege of the node",
                ("network", "host") => "the network of the node",
                ("device", _) => "a device of the node",
                _ => continue,
            };
            is_refused = true;
            let message = format!("`RUN --{}={}` asks for {what}", flag.name, shown(&flag.value));
            self.refuse(rules::BUILD005, flag.at, message, "remove the flag");
        }
        if !is_refused {
            self.new_flags(it);
        }
        for flag in it.flags("mount") {
            self.mount(flag);
        }
    }

    /// `RUN --mount=type=…`.
    fn mount(&mut self, flag: &Flag) {
        let option = |names: &[&str]| {
            flag.value.split(',').find_map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                names.contains(&name.to_ascii_lowercase().as_str()).then(|| value.to_owned())
            })
        };
        let kind = option(&["type"]).unwrap_or_else(|| "bind".to_owned()).to_ascii_lowercase();
        match kind.as_str() {
            "secret" | "ssh" => {
                let message = format!("`--mount=type={kind}`: no {kind} is handed to a build");
                let hint = "commit what the build needs; everything in an image is public anyway";
                self.refuse(rules::BUILD006, flag.at, message, hint);
            }
            _ => {
                if let Some(from) = option(&["from"]) {
                    self.source_image(flag, &from);
                }
            }
        }
    }

    /// Flags that need a newer engine.
    fn new_flags(&mut self, it: &Instruction) {
        let known = NEW_FLAGS.iter().find(|(keyword, _)| *keyword == it.keyword);
        let Some((_, names)) = known else { return };
        for flag in it.flags.iter().filter(|flag| names.contains(&flag.name.as_str())) {
            let message =
                format!("`{} --{}` needs an engine of Docker 23.0 or later", it.keyword, flag.name);
            let hint = "do without it, unless your engine is newer";
            self.warn(rules::BUILD012, flag.at, message, hint);
        }
    }
}

/// What `ADD` or `COPY` takes, without the target.
fn sources(it: &Instruction) -> Vec<(String, Span)> {
    let at = it.words.first().map_or(it.at, |word| word.at);
    let mut sources: Vec<(String, Span)> = match &it.list {
        Some(items) => items.iter().map(|item| (item.clone(), at)).collect(),
        None => it
            .words
            .iter()
            // A list that is no JSON to us may be one to the engine.
            .map(|word| {
                let text = word.text.trim_matches(['[', ']', ',']);
                (text.to_owned(), word.at)
            })
            .collect(),
    };
    sources.pop();
    sources
}

/// Whether the engine could fetch `source` instead of copying it.
fn could_be_remote(source: &Expanded) -> bool {
    let text = source.text.to_ascii_lowercase();
    match source.unknown_at.and_then(|at| text.get(..at)) {
        None => REMOTE.iter().any(|start| text.starts_with(start)),
        Some(known) => {
            REMOTE.iter().any(|start| known.starts_with(start) || start.starts_with(known))
        }
    }
}
