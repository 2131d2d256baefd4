//! The last lines of a build's output, and what they say about its progress.
//!
//! Output is hostile text: control characters are dropped, lines and the whole are cut.

use std::collections::VecDeque;

use crate::model::build::BuildProgress;

/// Most bytes kept.
pub const MAX_TAIL_BYTES: usize = 16 << 10;
/// Longest line kept.
const MAX_LINE_BYTES: usize = 2 << 10;

/// A ring of the last lines.
#[derive(Debug, Clone, Default)]
pub struct LogTail {
    lines: VecDeque<String>,
    n_bytes: usize,
    progress: BuildProgress,
    instruction: Option<String>,
}

impl LogTail {
    /// Takes a piece of output: one or more lines.
    pub fn push(&mut self, text: &str) {
        for raw in text.split(['\n', '\r']) {
            let line = clean(raw);
            if line.is_empty() {
                continue;
            }
            if let Some((step, instruction)) = parse_step(&line) {
                step.clone_into(&mut self.progress.step);
                if !instruction.is_empty() {
                    self.instruction = Some(instruction.to_owned());
                }
            }
            self.progress.line.clone_from(&line);
            self.n_bytes += line.len() + 1;
            self.lines.push_back(line);
            while self.n_bytes > MAX_TAIL_BYTES {
                let Some(oldest) = self.lines.pop_front() else { break };
                self.n_bytes -= oldest.len() + 1;
            }
        }
    }

    /// The lines kept, each with its end; at most [`MAX_TAIL_BYTES`].
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.n_bytes);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Where the build is.
    pub fn progress(&self) -> BuildProgress {
        self.progress.clone()
    }

    /// The instruction that ran last, e.g. `RUN make`.
    pub fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// Whether any kept line holds one of `words`, in any case.
    pub fn mentions(&self, words: &[&str]) -> bool {
        self.lines.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            words.iter().any(|word| line.contains(word))
        })
    }
}

/// One line without control characters and colours, cut at [`MAX_LINE_BYTES`].
fn clean(raw: &str) -> String {
    let mut line = String::new();
    let mut rest = raw.trim_end().chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
            // A colour or cursor sequence ends with a letter.
            while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            rest.next();
        } else if c == '\t' {
            line.push(' ');
        } else if !c.is_control() {
            line.push(c);
        }
        if line.len() >= MAX_LINE_BYTES {
            line.push('…');
            break;
        }
    }
    line
}

/// `Step 3/7 : RUN make` of the classic builder and `#7 [build 3/7] RUN make` of BuildKit, into
/// `3/7` and the instruction.
fn parse_step(line: &str) -> Option<(&str, &str)> {
    if let Some(rest) = line.strip_prefix("Step ") {
        let (step, instruction) = rest.split_once(" : ").unwrap_or((rest, ""));
        return is_step(step).then_some((step, instruction.trim()));
    }
    let rest = match line.split_once(' ') {
        Some((number, rest)) if number.starts_with('#') => rest,
        _ => line,
    };
    let (inside, instruction) = rest.strip_prefix('[')?.split_once(']')?;
    let step = inside.rsplit(' ').next()?;
    is_step(step).then_some((step, instruction.trim()))
}

fn is_step(text: &str) -> bool {
    let is_number =
        |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('/').is_some_and(|(n, m)| is_number(n) && is_number(m))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_of_both_builders_are_understood() {
        for (line, step, instruction) in [
            ("Step 3/7 : RUN make all", "3/7", Some("RUN make all")),
            ("#7 [build 3/7] RUN make", "3/7", Some("RUN make")),
            ("[2/5] COPY . .", "2/5", Some("COPY . .")),
            ("#5 [internal] load build definition", "", None),
            ("Step x : RUN", "", None),
            ("Step 3/7", "3/7", None),
            ("---> Running in 0123", "", None),
            ("[a/b] x", "", None),
        ] {
            let mut tail = LogTail::default();
            tail.push(line);
            assert_eq!(tail.progress().step, step, "{line}");
            assert_eq!(tail.instruction(), instruction, "{line}");
            assert_eq!(tail.progress().line, line);
        }
    }

    #[test]
    fn colours_and_control_characters_are_dropped() {
        let mut tail = LogTail::default();
        tail.push("\u{1b}[31mred\u{1b}[0m\u{7}\tx\r\n\n\0y");
        assert_eq!(tail.text(), "red x\ny\n");
        assert!(tail.mentions(&["red"]) && !tail.mentions(&["green"]));
    }

    proptest! {
        #[test]
        fn the_tail_is_bounded_and_ends_with_the_last_line(lengths in prop::collection::vec(0..3000_usize, 0..40)) {
            let mut tail = LogTail::default();
            for length in lengths {
                tail.push(&"é".repeat(length));
            }
            tail.push("the end");
            prop_assert!(tail.text().len() <= MAX_TAIL_BYTES);
            prop_assert!(tail.text().ends_with("the end\n"));
        }
    }
}
