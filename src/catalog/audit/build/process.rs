//! What an image says about the process: variables, user, folders, ports, labels.

use super::Judge;
use crate::catalog::decode::shown;
use crate::catalog::dockerfile::Instruction;
use crate::catalog::dockerfile::words::{Expanded, Word};
use crate::catalog::rules;

/// Parts of names that say: keep this to yourself.
const SECRET_WORDS: &[&str] =
    &["APIKEY", "CREDENTIAL", "CREDENTIALS", "PASSWD", "PASSWORD", "SECRET", "TOKEN"];
/// Name parts that make something else of a secret word: where it is, not what it is.
const PLACES: &[&str] = &["FILE", "PATH", "DIR", "NAME", "URL", "LENGTH", "SIZE"];
/// Labels that other programs on a node read.
const FOREIGN_LABELS: &[&str] = &["traefik.", "com.docker.", "flagops.", "io.podman."];
/// Most ports of one `EXPOSE` that look like documentation.
const MAX_EXPOSED: u32 = 32;

/// What no engine reads about the words of `it`, and the hint.
pub(super) fn shape_fault(it: &Instruction) -> Option<(String, &'static str)> {
    let n_words = it.words.len();
    let (is_fine, wanted) = match it.keyword.as_str() {
        "FROM" => (
            n_words == 1 || (n_words == 3 && it.words[1].text.eq_ignore_ascii_case("as")),
            "write `FROM image:tag` or `FROM image:tag AS name`",
        ),
        "ADD" | "COPY" => (
            n_words >= 2 || it.list.as_ref().is_some_and(|items| items.len() >= 2),
            "name a source and a target",
        ),
        "WORKDIR" | "USER" | "STOPSIGNAL" => (n_words >= 1, "write one value behind it"),
        "ENV" | "LABEL" => {
            (n_words >= 2 || (n_words == 1 && it.words[0].text.contains('=')), "write `NAME=value`")
        }
        "ARG" | "EXPOSE" | "VOLUME" | "ONBUILD" => (n_words >= 1, "write a value behind it"),
        _ => return None,
    };
    (!is_fine).then(|| (format!("`{}` is not complete, or has too much", it.keyword), wanted))
}

impl Judge<'_> {
    /// `ARG` and `ENV`.
    pub(super) fn variables(&mut self, it: &Instruction) {
        let pairs = pairs(it);
        // Every value of one `ENV` sees what was set before the instruction.
        let mut settings = Vec::new();
        for (name, value, word) in &pairs {
            if it.keyword == "ENV" {
                let value = self.scope.expand(value.as_deref().unwrap_or_default());
                self.secret(it, name, &value, word);
                settings.push((name, value));
                continue;
            }
            if let Some(value) = value {
                let value = self.scope.expand(value);
                self.secret(it, name, &value, word);
            }
            if self.stages.is_empty() {
                self.scope.declare_global(name, value.as_deref());
            } else {
                self.scope.declare(name, value.as_deref());
            }
        }
        for (name, value) in settings {
            self.scope.set(name, value);
        }
    }

    fn secret(&mut self, it: &Instruction, name: &str, value: &Expanded, word: &Word) {
        let upper = name.to_ascii_uppercase();
        let parts: Vec<&str> = upper.split(['_', '-', '.']).collect();
        let is_secret = parts.iter().any(|part| SECRET_WORDS.contains(part))
            || parts.last().is_some_and(|last| *last == "KEY" || *last == "PASS");
        let is_place = parts.last().is_some_and(|last| PLACES.contains(last))
            || value.text.starts_with(['/', '.'])
            || value.text.contains("://");
        if is_secret && !is_place && !value.text.is_empty() {
            let message = format!(
                "`{} {}` puts a secret into the image, where everybody who has the image reads it",
                it.keyword,
                shown(name)
            );
            let hint = "make it when the service starts, or read `/answers/<id>`";
            self.warn(rules::BUILD010, word.at, message, hint);
        }
    }

    /// `USER`.
    pub(super) fn user(&mut self, it: &Instruction) {
        let word = &it.words[0];
        let user = self.scope.expand(&word.text);
        let is_fine = |part: &str| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            !is_number || part.parse::<u32>().is_ok_and(|id| id <= i32::MAX.unsigned_abs())
        };
        let mut parts = user.text.split(':').filter(|part| !part.is_empty());
        if user.unknown_at.is_none() && !parts.all(is_fine) {
            let message = format!("`USER {}` is a number that no engine starts", shown(&user.text));
            let hint = "write a name, or a number of at most 2147483647";
            self.refuse(rules::BUILD014, word.at, message, hint);
        }
    }

    /// `WORKDIR`.
    pub(super) fn workdir(&mut self, it: &Instruction) {
        let word = &it.words[0];
        let path = self.scope.expand(&word.text);
        let parts = || path.text.split('/').filter(|part| !part.is_empty() && *part != ".");
        let is_kernel = path.text.starts_with('/')
            && parts().next().is_some_and(|top| matches!(top, "proc" | "sys" | "dev"));
        if is_kernel || (parts().any(|part| part == "..") && path.text.contains("/proc")) {
            let message = format!("`WORKDIR {}` is a folder of the kernel", shown(&path.text));
            self.refuse(rules::BUILD014, word.at, message, "write e.g. `WORKDIR /app`");
        }
    }

    /// `STOPSIGNAL`.
    pub(super) fn stop_signal(&mut self, it: &Instruction) {
        let word = &it.words[0];
        let signal = self.scope.expand(&word.text);
        let upper = signal.text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let is_fine = match name.parse::<u32>() {
            Ok(number) => (1..=64).contains(&number),
            Err(_) => is_signal(name),
        };
        if signal.unknown_at.is_none() && !is_fine {
            let message = format!("`STOPSIGNAL {}` is no signal", shown(&signal.text));
            self.refuse(rules::BUILD014, word.at, message, "write e.g. `STOPSIGNAL SIGTERM`");
        }
    }

    /// `EXPOSE`, which publishes nothing.
    pub(super) fn expose(&mut self, it: &Instruction) {
        for word in &it.words {
            let text = self.scope.expand(&word.text);
            if text.unknown_at.is_some() || text.text.is_empty() {
                continue;
            }
            match exposed(&text.text) {
                None => {
                    let message = format!("`EXPOSE {}` is no port", shown(&text.text));
                    let hint = "write e.g. `EXPOSE 8080` or `EXPOSE 53/udp`";
                    self.refuse(rules::BUILD014, word.at, message, hint);
                }
                Some(n_ports) if n_ports > MAX_EXPOSED => {
                    let message = format!(
                        "`EXPOSE {}` publishes none of its {n_ports} ports",
                        shown(&text.text)
                    );
                    let hint = "list the ports that players reach as `ports` of the service";
                    self.warn(rules::BUILD016, word.at, message, hint);
                }
                Some(_) => (),
            }
        }
    }

    /// `VOLUME`, whose content is not kept.
    pub(super) fn volume(&mut self, it: &Instruction) {
        let Some(word) = it.words.first() else { return };
        let paths = match &it.list {
            Some(items) => items.join("`, `"),
            None => it.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join("`, `"),
        };
        let message =
            format!("`VOLUME` makes `{}` an empty folder in memory at every start", shown(&paths));
        let hint = "remove it, or mount a named volume there in `docker-compose.yml`";
        self.warn(rules::BUILD015, word.at, message, hint);
    }

    /// `LABEL`: an engine gives the labels of an image to its containers.
    pub(super) fn labels(&mut self, it: &Instruction) {
        for (name, _, word) in pairs(it) {
            let name = self.scope.expand(&name).text.to_ascii_lowercase();
            if FOREIGN_LABELS.iter().any(|start| name.starts_with(start)) {
                let message = format!(
                    "the label `{}` would steer programs of the node: containers get it, too",
                    shown(&name)
                );
                self.refuse(rules::BUILD020, word.at, message, "remove it");
            }
        }
    }
}

/// The names and values of `ARG`, `ENV` or `LABEL`, not expanded.
fn pairs(it: &Instruction) -> Vec<(String, Option<String>, Word)> {
    let Some(first) = it.words.first() else { return Vec::new() };
    if it.keyword != "ARG" && !first.text.contains('=') {
        // `ENV name all the rest`.
        let value: Vec<&str> = it.words[1..].iter().map(|word| word.text.as_str()).collect();
        return vec![(first.text.clone(), Some(value.join(" ")), first.clone())];
    }
    it.words
        .iter()
        .map(|word| match word.text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned()), word.clone()),
            None => (word.text.clone(), None, word.clone()),
        })
        .collect()
}

fn is_signal(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    NAMES.contains(&name) || name.starts_with("RTMIN") || name.starts_with("RTMAX")
}

/// How many ports `EXPOSE text` names.
fn exposed(text: &str) -> Option<u32> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    // `host:container` is old, and read.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first <= last).then(|| u32::from(last - first) + 1)
}
