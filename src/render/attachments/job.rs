//! The templates of one instance as one job, to be rendered in a process of its own: what goes in and
//! what comes out, as bytes.
//!
//! Fuel and bounds hold a template, but nothing in this process bounds memory. So whoever starts
//! instances lets a child do it that has limits of its own, and talks to it in these two shapes.
//!
//! In:  a [`Request`] as JSON.
//! Out: one reply for each template, in their order: a line of JSON, and after it the text.
//!
//! # Invariants
//! * A reply that is not whole is none: whoever counts them knows at which template a child ended.
//! * What is said of a failure is printable, short, and holds no value.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::{Facts, MAX_OUTPUT_BYTES, RenderError, Template, render};

/// Most bytes that the templates of one instance make together.
pub const MAX_TOTAL_BYTES: usize = 32 << 20;
/// Longest line before a text.
const MAX_LINE_BYTES: usize = 4096;
/// Most characters that are said about one failure.
const MAX_SAID_CHARS: usize = 300;

/// What is to be rendered. Secret: it holds answers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The templates.
    pub templates: Vec<Source>,
    /// Text files below `attachments/` that templates may include, by name.
    pub files: BTreeMap<String, String>,
    /// The variables.
    pub facts: Facts,
}

/// A template and its name below `attachments/`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Source {
    /// Its name, already decrypted.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What became of one template.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Its text. Secret.
    Rendered(Vec<u8>),
    /// Why it has none, for the owner of the instance.
    Failed(String),
}

/// The line before a text, or instead of one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Head {
    /// So many bytes follow.
    Bytes(usize),
    /// Nothing follows.
    Failed(String),
}

impl Request {
    /// The bytes that [`answer`] reads.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request has string keys only")
    }
}

/// Renders every template of the request in `bytes`, and writes a reply for each to `out`.
///
/// # Errors
/// When the request is none, or `out` does not take a reply.
pub fn answer(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let request: Request = serde_json::from_slice(bytes)?;
    let include = |name: &str| request.files.get(name).cloned();
    let mut left = MAX_TOTAL_BYTES;
    for source in &request.templates {
        let template = Template { name: &source.name, source: &source.text };
        let limit = left.min(MAX_OUTPUT_BYTES);
        let (head, text) = match render(template, &include, &request.facts, limit) {
            Ok(text) => (Head::Bytes(text.len()), text),
            Err(error) => (Head::Failed(said(&error)), String::new()),
        };
        left -= text.len();
        serde_json::to_writer(&mut *out, &head)?;
        out.write_all(b"\n")?;
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// The whole replies at the beginning of `bytes`, at most `n`.
pub fn replies(mut bytes: &[u8], n: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    while replies.len() < n {
        let Some(end) = bytes.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
            break;
        };
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let reply = match serde_json::from_slice(line) {
            Ok(Head::Bytes(n_bytes)) if n_bytes <= rest.len() => {
                bytes = &rest[n_bytes..];
                Reply::Rendered(rest[..n_bytes].to_vec())
            }
            Ok(Head::Failed(why)) => {
                bytes = rest;
                Reply::Failed(printable(&why))
            }
            Ok(Head::Bytes(_)) | Err(_) => break,
        };
        replies.push(reply);
    }
    replies
}

/// `notes.txt.tpl: 2:6 …`: where and what, in one line.
fn said(error: &RenderError) -> String {
    let RenderError { template, line, column, trouble } = error;
    let place = match (line, column) {
        (0, _) => String::new(),
        (line, 0) => format!("{line} "),
        (line, column) => format!("{line}:{column} "),
    };
    printable(&format!("{template}: {place}{trouble}"))
}

/// One line of at most so many characters.
fn printable(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_SAID_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(templates: &[(&str, &str)]) -> Request {
        let source = |(name, text): &(&str, &str)| Source {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        Request {
            templates: templates.iter().map(source).collect(),
            files: BTreeMap::from([("part.txt".to_owned(), "[{{ answer.flag }}]".to_owned())]),
            facts: Facts {
                answers: BTreeMap::from([("flag".to_owned(), "FLAG{{{ 7*7 }}".to_owned())]),
                ..Facts::default()
            },
        }
    }

    fn answered(request: &Request) -> (Vec<u8>, Vec<String>) {
        let mut out = Vec::new();
        answer(&request.encode(), &mut out).unwrap();
        let shown = replies(&out, 9).into_iter().map(|reply| match reply {
            Reply::Rendered(bytes) => String::from_utf8(bytes).unwrap(),
            Reply::Failed(why) => format!("failed: {why}"),
        });
        (out.clone(), shown.collect())
    }

    #[test]
    fn every_template_gets_its_own_reply() {
        let (_, shown) = answered(&request(&[
            ("a.tpl", "{{ answer.flag }}\n"),
            ("b.tpl", "x\n {{ answer.nope }}"),
            ("c.tpl", ""),
            ("d.tpl", "{% include 'part.txt' %}"),
            ("e.tpl", "{% include 'a.tpl' %}"),
        ]));
        assert_eq!(
            shown,
            [
                "FLAG{{{ 7*7 }}\n",
                "failed: b.tpl: 2:5 `answer.nope` is not defined",
                "",
                "[FLAG{{{ 7*7 }}]",
                "failed: e.tpl: 1:4 there is no file in `attachments/` `a.tpl`",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_cut_answer_gives_its_whole_replies_only(cut in 0_usize..2_000) {
            let long = "line\n{\"bytes\":3}\n".repeat(20);
            let request = request(&[("a.tpl", &long), ("b.tpl", "{{ nope }}"), ("c.tpl", "c")]);
            let (whole, shown) = answered(&request);
            let cut = cut.min(whole.len());
            let n_whole = replies(&whole[..cut], 9).len();
            prop_assert!(n_whole <= shown.len());
            prop_assert_eq!(n_whole == shown.len(), cut == whole.len());
        }

        #[test]
        fn no_answer_of_a_child_breaks_its_reader(bytes in any::<Vec<u8>>(), n in 0_usize..5) {
            prop_assert!(replies(&bytes, n).len() <= n);
        }
    }
}
