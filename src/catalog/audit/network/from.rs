//! Which image the last stage of a Dockerfile stands on.
//!
//! Stages are followed to the image behind them, arguments before the first `FROM` have their
//! defaults, and neither comments nor here-documents count.
//!
//! # Not here
//! Whether the Dockerfile is a good one (`audit::build`).

use std::collections::BTreeMap;

/// Most stages that are followed.
const MAX_STAGES: usize = 200;

/// The image at the bottom of a stage.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::catalog::audit) struct Base {
    /// As written, defaults of arguments filled in.
    pub image: String,
    /// The line of its `FROM`.
    pub line: u32,
}

/// The image that stage `target` stands on, or the last stage when there is no such target.
pub(in crate::catalog::audit) fn base_of(dockerfile: &str, target: Option<&str>) -> Option<Base> {
    let stages = stages(dockerfile);
    let named = |name: &str, before: usize| {
        let stages = stages.get(..before)?;
        stages.iter().rposition(|stage| {
            stage.name.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(name))
        })
    };
    let mut nth = target
        .and_then(|target| named(target, stages.len()).or_else(|| target.parse().ok()))
        .filter(|nth| *nth < stages.len())
        .or_else(|| stages.len().checked_sub(1))?;
    // A stage stands only on one before it, so this ends.
    while let Some(below) = named(&stages[nth].image, nth) {
        nth = below;
    }
    let stage = &stages[nth];
    Some(Base { image: stage.image.clone(), line: stage.line })
}

/// One `FROM`.
struct Stage {
    image: String,
    name: Option<String>,
    line: u32,
}

fn stages(dockerfile: &str) -> Vec<Stage> {
    let mut arguments = BTreeMap::new();
    let mut stages = Vec::new();
    let instructions = instructions(dockerfile);
    for (line, text) in &instructions {
        let mut words = text.split_whitespace();
        let Some(keyword) = words.next() else { continue };
        if keyword.eq_ignore_ascii_case("ARG") && stages.is_empty() {
            arguments.extend(words.filter_map(default_of));
        } else if keyword.eq_ignore_ascii_case("FROM") && stages.len() < MAX_STAGES {
            let mut words = words.filter(|word| !word.starts_with("--"));
            let Some(image) = words.next() else { continue };
            let is_named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS"));
            let name = words.next().filter(|_| is_named).map(str::to_owned);
            stages.push(Stage { image: filled(image, &arguments), name, line: *line });
        }
    }
    stages
}

/// `NAME=default`, quotes taken off.
fn default_of(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    Some((name, value.trim_matches(['"', '\''])))
}

/// `text` with `$NAME` and `${NAME}` replaced by defaults; anything else stays as it is.
fn filled(text: &str, arguments: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let (name, tail) = match braced {
            Some((name, tail)) => (name, tail),
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        match arguments.get(name) {
            Some(value) => {
                out += value;
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

/// Every instruction on one line, with the number of its first line.
fn instructions(dockerfile: &str) -> Vec<(u32, String)> {
    let text = dockerfile.strip_prefix('\u{feff}').unwrap_or(dockerfile);
    let mut instructions: Vec<(u32, String)> = Vec::new();
    let mut open: Option<(u32, String)> = None;
    let mut documents: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if let Some(end) = documents.first() {
            if trimmed == end {
                documents.remove(0);
            }
            continue;
        }
        if trimmed.starts_with('#') || (trimmed.is_empty() && open.is_none()) {
            continue;
        }
        let (first, mut whole) = open.take().unwrap_or((number, String::new()));
        match trimmed.strip_suffix('\\') {
            Some(part) => {
                whole += part;
                whole.push(' ');
                open = Some((first, whole));
            }
            None => {
                whole += trimmed;
                documents = here_documents(&whole);
                instructions.push((first, whole));
            }
        }
    }
    instructions.extend(open);
    instructions
}

/// The words that end the here-documents which an instruction opens.
fn here_documents(instruction: &str) -> Vec<String> {
    let keyword = instruction.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].iter().any(|it| keyword.eq_ignore_ascii_case(it)) {
        return Vec::new();
    }
    let mut words = Vec::new();
    for part in instruction.split("<<").skip(1) {
        let word = part.trim_start_matches('-').trim_start_matches(['"', '\'']);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        // `<<<` and shifts are none.
        if end > 0 && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            words.push(word[..end].to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base(dockerfile: &str) -> Option<String> {
        base_of(dockerfile, None).map(|base| format!("{}@{}", base.image, base.line))
    }

    #[test]
    fn the_last_stage_is_followed_to_its_image() {
        for (dockerfile, want) in [
            ("FROM a:1\n", Some("a:1@1")),
            ("# x\n\nfrom --platform=linux/amd64 a AS b\nRUN x\n", Some("a@3")),
            ("FROM a AS x\nFROM b\n", Some("b@2")),
            ("FROM a AS x\nFROM x AS y\nFROM Y\n", Some("a@1")),
            ("FROM a\nFROM a\n", Some("a@2")),
            ("FROM a AS a\n", Some("a@1")),
            ("ARG V=1\nARG B=\"a\"\nFROM $B:${V}\n", Some("a:1@3")),
            ("ARG V\nFROM a:$V\n", Some("a:$V@2")),
            ("FROM ${B:-a}\n", Some("${B:-a}@1")),
            ("FROM \\\n  a\n", Some("a@1")),
            ("FROM a\nRUN cat <<EOF\nFROM b\nEOF\n", Some("a@1")),
            ("FROM a\nRUN echo $((1 << 2))\nFROM b\n", Some("b@3")),
            ("FROM\n", None),
            ("RUN x\n", None),
            ("", None),
            ("\u{feff}FROM a\r\n", Some("a@1")),
        ] {
            assert_eq!(base(dockerfile).as_deref(), want, "{dockerfile}");
        }
    }

    #[test]
    fn a_target_is_a_name_or_a_number() {
        let dockerfile = "FROM a AS x\nFROM b AS y\nFROM x AS z\n";
        for (target, want) in
            [("x", "a"), ("Y", "b"), ("z", "a"), ("1", "b"), ("9", "a"), ("no", "a")]
        {
            assert_eq!(base_of(dockerfile, Some(target)).unwrap().image, want, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_dockerfile_makes_it_panic(text in "((FROM|ARG|RUN|from) ?[a-z$\\{\\}:=<'\" \\\\\n-]{0,12}\n?){0,12}") {
            let _ = base_of(&text, Some("a"));
        }
    }
}
