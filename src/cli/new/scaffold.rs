//! The scaffolds that the binary carries: small challenges that are complete, run and are solved.
//!
//! In:  a category and a stack, and what the author says about the challenge.
//! Out: the files, in memory.
//!
//! # Not here
//! Where they go (`place`), how they get there (`files`).

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};

use super::lock;
use super::yaml;
use crate::model::Difficulty;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/scaffold");

/// Files of a challenge by their path inside of it.
pub(in crate::cli) type Files = BTreeMap<String, Vec<u8>>;

/// What kind of challenge is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Kind {
    /// A web site
    Web,
    /// A program that is reached over TCP
    Pwn,
    /// A cipher to break
    Crypto,
    /// A program to understand; nothing runs
    Reverse,
    /// A quiz, or a service of another kind
    Misc,
    /// A network behind a VPN
    Engagement,
}

impl Kind {
    /// Every kind, in the order in which they are shown.
    pub(in crate::cli) const ALL: [Self; 6] =
        [Self::Web, Self::Pwn, Self::Crypto, Self::Reverse, Self::Misc, Self::Engagement];

    /// The word on the command line.
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Pwn => "pwn",
            Self::Crypto => "crypto",
            Self::Reverse => "reverse",
            Self::Misc => "misc",
            Self::Engagement => "engagement",
        }
    }

    /// Names of its bucket, the usual one first.
    pub(in crate::cli) fn buckets(self) -> &'static [&'static str] {
        match self {
            Self::Web => &["WEB", "CTFARENA"],
            Self::Pwn => &["PWN"],
            Self::Crypto => &["CRYPTO"],
            Self::Reverse => &["REVERSE", "REV"],
            Self::Misc => &["MISC"],
            Self::Engagement => &["LAB", "ENGAGEMENT"],
        }
    }

    /// The kind that usually lives in this bucket.
    pub(in crate::cli) fn of_bucket(bucket: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.buckets().contains(&bucket))
    }
}

/// One scaffold.
#[derive(Debug)]
pub(in crate::cli) struct Scaffold {
    /// What it begins.
    pub kind: Kind,
    /// With what it is made; one per kind has this name.
    pub stack: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// The title, unless the author has one.
    title: &'static str,
    /// The tags, unless the author has some.
    tags: &'static [&'static str],
    parts: &'static [Part],
}

/// Where files of a scaffold come from.
#[derive(Debug)]
enum Part {
    /// Everything in a folder of the templates.
    Folder(&'static str),
    /// The same, put into a folder of the challenge.
    FolderInto(&'static str, &'static str),
    /// One file once more, elsewhere in the challenge: players are given what runs.
    Twice(&'static str, &'static str),
}

use Part::{Folder, FolderInto, Twice};

/// A web site; each is the same challenge, so that one solution fits all.
const fn web(stack: &'static str, summary: &'static str, parts: &'static [Part]) -> Scaffold {
    let title = "The director's coat";
    Scaffold { kind: Kind::Web, stack, summary, title, tags: &["web", "beginner"], parts }
}

/// Every scaffold; the first of a kind is its default.
pub(in crate::cli) const ALL: &[Scaffold] = &[
    web(
        "python",
        "Python's own HTTP server",
        &[Folder("rotator"), Folder("web/common"), Folder("web/python")],
    ),
    web(
        "python-flask",
        "Flask behind waitress",
        &[Folder("rotator"), Folder("web/common"), Folder("web/python-flask")],
    ),
    web(
        "node",
        "Node's own HTTP server",
        &[Folder("rotator"), Folder("web/common"), Folder("web/node")],
    ),
    web(
        "node-express",
        "Express",
        &[Folder("rotator"), Folder("web/common"), Folder("web/node-express")],
    ),
    web(
        "ruby-sinatra",
        "Sinatra on webrick",
        &[Folder("rotator"), Folder("web/common"), Folder("web/ruby-sinatra")],
    ),
    web(
        "php",
        "PHP's own HTTP server",
        &[Folder("rotator"), Folder("web/common"), Folder("web/php-pages"), Folder("web/php")],
    ),
    web(
        "php-apache",
        "PHP in Apache",
        &[
            Folder("rotator"),
            Folder("web/common"),
            Folder("web/php-pages"),
            Folder("web/php-apache"),
        ],
    ),
    web(
        "go",
        "one static Go program",
        &[Folder("rotator"), Folder("web/common"), Folder("web/go")],
    ),
    web(
        "static",
        "pages and a CGI script of shell",
        &[Folder("rotator"), Folder("web/common"), Folder("web/static")],
    ),
    Scaffold {
        kind: Kind::Pwn,
        stack: "c",
        summary: "a C program behind socat, its source as attachment",
        title: "Ticket to the bridge",
        tags: &["pwn", "beginner"],
        parts: &[
            Folder("rotator"),
            Folder("pwn/c"),
            Twice("services/chal/desk.c", "attachments/desk.c"),
            Twice("services/chal/Makefile", "attachments/Makefile"),
        ],
    },
    Scaffold {
        kind: Kind::Crypto,
        stack: "python",
        summary: "a Python oracle, its source and a rendered file as attachments",
        title: "The machine in the cellar",
        tags: &["crypto", "beginner"],
        parts: &[
            Folder("rotator"),
            Folder("crypto/python"),
            Twice("services/machine/machine.py", "attachments/machine.py"),
        ],
    },
    Scaffold {
        kind: Kind::Reverse,
        stack: "python",
        summary: "a program for a little machine, with a phrase of its own; nothing runs",
        title: "The observatory lock",
        tags: &["reverse", "beginner"],
        parts: &[Folder("reverse/python")],
    },
    Scaffold {
        kind: Kind::Misc,
        stack: "quiz",
        summary: "questions with answers and choices; nothing runs",
        title: "Before the first byte",
        tags: &["quiz", "beginner"],
        parts: &[Folder("misc/quiz")],
    },
    Scaffold {
        kind: Kind::Misc,
        stack: "service",
        summary: "a Python service that is spoken to over TCP",
        title: "A hundred sums",
        tags: &["misc", "scripting", "beginner"],
        parts: &[Folder("rotator"), Folder("misc/service")],
    },
    Scaffold {
        kind: Kind::Engagement,
        stack: "openvpn",
        summary: "a web site that only the VPN reaches",
        title: "The opera's own network",
        tags: &["network", "web"],
        parts: &[
            Folder("rotator"),
            Folder("engagement/openvpn"),
            FolderInto("web/python/services/web", "services/cloakroom"),
            FolderInto("web/common/solution", "solution"),
        ],
    },
];

/// The scaffolds of a kind, its default first.
pub(in crate::cli) fn of(kind: Kind) -> impl Iterator<Item = &'static Scaffold> {
    ALL.iter().filter(move |scaffold| scaffold.kind == kind)
}

/// What an author says about a challenge.
#[derive(Debug)]
pub(in crate::cli) struct Sayings {
    /// The title, or the scaffold's.
    pub title: Option<String>,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// The tags, or the scaffold's when there are none.
    pub tags: Vec<String>,
    /// The phrase of a lock; of no use in other scaffolds.
    pub phrase: String,
}

impl Scaffold {
    /// Whether `flagops play` starts it: in a quiz nothing runs.
    pub(in crate::cli) fn can_be_played(&self) -> bool {
        self.stack != "quiz"
    }

    /// The title that the challenge gets.
    pub(in crate::cli) fn title(&self, sayings: &Sayings) -> String {
        sayings.title.clone().unwrap_or_else(|| self.title.to_owned())
    }

    /// The tags that the challenge gets.
    pub(in crate::cli) fn tags(&self, sayings: &Sayings) -> Vec<String> {
        let own = || self.tags.iter().map(|tag| (*tag).to_owned()).collect();
        if sayings.tags.is_empty() { own() } else { sayings.tags.clone() }
    }

    /// The files of the challenge.
    pub(in crate::cli) fn files(&self, sayings: &Sayings) -> Files {
        let values = [
            ("@@TITLE@@", yaml::scalar(&self.title(sayings))),
            ("@@DIFFICULTY@@", sayings.difficulty.to_string()),
            ("@@TAGS@@", yaml::list(&self.tags(sayings))),
            ("@@PHRASE@@", yaml::scalar(&sayings.phrase)),
            ("@@PROGRAM@@", lock::program(&sayings.phrase)),
        ];
        let mut files = Files::new();
        for part in self.parts {
            match part {
                Folder(from) => collect(from, "", &mut files),
                FolderInto(from, to) => collect(from, to, &mut files),
                Twice(from, to) => {
                    let file = files.get(*from).expect("a file is taken twice after its folder");
                    files.insert((*to).to_owned(), file.clone());
                }
            }
        }
        for content in files.values_mut() {
            let text = std::str::from_utf8(content).expect("templates are text");
            *content = fill(text, &values).into_bytes();
        }
        files
    }
}

/// Adds every file below `from` of the templates to `files`, in folder `to`.
fn collect(from: &str, to: &str, files: &mut Files) {
    let folder = TEMPLATES.get_dir(from).expect("the parts of a scaffold are in the binary");
    let mut open = vec![folder];
    while let Some(folder) = open.pop() {
        open.extend(folder.dirs());
        for file in folder.files() {
            let path = file.path().strip_prefix(from).expect("it is below");
            let path = path.to_str().expect("names of templates are ASCII");
            let path = if to.is_empty() { path.to_owned() } else { format!("{to}/{path}") };
            files.insert(path, file.contents().to_vec());
        }
    }
}

/// `text` with each name of `values` replaced. What was put in is not looked at again, so that a
/// title may be `@@TAGS@@`.
fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("@@") {
        let (before, here) = rest.split_at(at);
        filled.push_str(before);
        match values.iter().find(|(name, _)| here.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &here[name.len()..];
            }
            None => {
                filled.push_str("@@");
                rest = &here[2..];
            }
        }
    }
    filled.push_str(rest);
    filled
}
