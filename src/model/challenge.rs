//! A challenge that passed every check: what players see, what is asked, what runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChallengeId, Compose, ContextId, QuestionId, ServiceName, Timestamp, TreeId};

/// One valid challenge at one tree. Made only by `catalog`.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    /// The name of the folder.
    pub id: ChallengeId,
    /// The folder inside the repository, e.g. `WEB/WEB-001`.
    pub path: String,
    /// The parent folder's name; `None` in a flat layout.
    pub bucket: Option<String>,
    /// The git tree of the folder: equal trees are equal challenges.
    pub tree: TreeId,
    /// `metadata.yaml`.
    pub metadata: Metadata,
    /// `docker-compose.yml`, if there is one.
    pub compose: Option<Compose>,
    /// The files below `attachments/`, sorted by name; templates included.
    pub attachments: Vec<Attachment>,
    /// For each service that is built: what its context holds after `.dockerignore`.
    pub contexts: BTreeMap<ServiceName, ContextId>,
}

impl Challenge {
    /// Whether this is a quiz: category misc, nothing to run, and every question has an answer.
    pub fn is_qa_only(&self) -> bool {
        self.metadata.category == Category::Misc
            && self.compose.is_none()
            && !self.metadata.questions.is_empty()
            && self.metadata.questions.iter().all(|question| !question.mode.is_dynamic())
    }

    /// The question with this id.
    pub fn question(&self, id: &str) -> Option<&Question> {
        self.metadata.questions.iter().find(|question| question.id.as_str() == id)
    }
}

/// The content of `metadata.yaml` (`contract/challenges.md` §2, design §10).
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Display name.
    pub name: String,
    /// The brief, served verbatim.
    pub description: String,
    /// How hard.
    pub difficulty: Difficulty,
    /// At least one.
    pub tags: Vec<String>,
    /// Kind of challenge.
    pub category: Category,
    /// How players reach it.
    pub topology: Topology,
    /// Absolute http(s) URLs shown on the instance.
    pub entry_urls: Vec<String>,
    /// In the author's order; never empty.
    pub questions: Vec<Question>,
    /// How instances live.
    pub instance: InstanceSettings,
    /// `name <mail>`, if given.
    pub author: Option<String>,
    /// Not visible and not startable before.
    pub release_at: Option<Timestamp>,
    /// Files of its services that players may download.
    pub exports: Vec<Export>,
}

/// A file of a service that players may download: out of its built image, or out of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Whose image.
    pub service: ServiceName,
    /// Where it is there: absolute, without `.` and `..`.
    pub path: String,
    /// The name it is downloaded by; no attachment has it.
    pub name: String,
    /// Whether each instance has its own, which its service writes when it starts; else it is in the
    /// image, and the same for everybody.
    pub is_per_team: bool,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique in the challenge; also the file name under `/answers/`.
    pub id: QuestionId,
    /// What is asked.
    pub prompt: String,
    /// How it is graded.
    pub mode: QuestionMode,
    /// Questions that must be solved first; acyclic.
    pub requires: Vec<QuestionId>,
}

/// How an answer is graded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionMode {
    /// Minted per instance.
    Dynamic {
        /// Shape of the minted value.
        format: AnswerFormat,
    },
    /// One fixed text.
    Static {
        /// The right text.
        answer: String,
    },
    /// One of several texts.
    SingleSelect {
        /// The right choice.
        answer: String,
        /// All choices.
        choices: Vec<String>,
    },
    /// A set of several texts.
    MultiSelect {
        /// The right set.
        answers: Vec<String>,
        /// All choices.
        choices: Vec<String>,
    },
}

impl QuestionMode {
    /// Whether the answer is minted per instance.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Self::Dynamic { .. })
    }

    /// The wire word: `dynamic`, `static`, `single_select` or `multi_select`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Dynamic { .. } => "dynamic",
            Self::Static { .. } => "static",
            Self::SingleSelect { .. } => "single_select",
            Self::MultiSelect { .. } => "multi_select",
        }
    }

    /// The choices a player picks from, if any.
    pub fn choices(&self) -> Option<&[String]> {
        match self {
            Self::SingleSelect { choices, .. } | Self::MultiSelect { choices, .. } => Some(choices),
            Self::Dynamic { .. } | Self::Static { .. } => None,
        }
    }
}

/// Shape of a minted answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFormat {
    /// `FLAG{` + 32 lower-case hex + `}`.
    Flag,
    /// 32 lower-case hex.
    Raw,
}

/// One word enums of the contract: the variants, their words, and parsing.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word, in the fixed order of the contract.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as written in files and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of `word`, if it is one.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use word_enum;

word_enum!(
    /// How hard a challenge is.
    Difficulty {
        /// For beginners.
        Easy = "easy",
        /// In between.
        Medium = "medium",
        /// For experts.
        Hard = "hard"
    }
);

word_enum!(
    /// Kind of a challenge.
    Category {
        /// A web application.
        Web = "web",
        /// Memory corruption and the like.
        Pwn = "pwn",
        /// Reverse engineering.
        Reverse = "reverse",
        /// Cryptography.
        Crypto = "crypto",
        /// Anything else, quizzes included.
        Misc = "misc",
    }
);

word_enum!(
    /// How players reach an instance.
    Topology {
        /// Declared ports are published.
        Simple = "simple",
        /// Through the instance's own OpenVPN gateway only.
        Engagement = "engagement",
    }
);

word_enum!(
    /// Who shares an instance.
    InstanceScope {
        /// One copy per team.
        Team = "team",
        /// One copy for everybody.
        Shared = "shared",
    }
);

/// How instances of a challenge live; all optional in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSettings {
    /// Who shares one.
    pub scope: InstanceScope,
    /// Default lease in seconds; `None` is the platform's default.
    pub ttl_secs: Option<u32>,
    /// Bound of every lease in seconds; `None` is the platform's.
    pub max_ttl_secs: Option<u32>,
    /// What happens to running instances when another version goes live.
    pub update: UpdatePolicy,
    /// What it asks of the node beside room.
    pub demands: Demands,
    /// What becomes of an instance whose node was lost.
    pub on_node_loss: OnNodeLoss,
    /// Labels that its node must have.
    pub node: BTreeMap<String, String>,
}

/// What a challenge asks of the node beside room. Whatever it does not ask for is not in a specification,
/// so that what runs keeps its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Demands {
    /// Where its services may connect to.
    #[serde(default, skip_serializing_if = "Egress::is_none")]
    pub egress: Egress,
    /// Most MiB on the node's disk; `None` is the node's own budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u32>,
    /// What runs its containers.
    #[serde(default, skip_serializing_if = "ContainerRuntime::is_default")]
    pub runtime: ContainerRuntime,
    /// How hard its containers are shut in.
    #[serde(default, skip_serializing_if = "Hardening::is_default")]
    pub profile: Hardening,
    /// What is kept of what goes over its networks.
    #[serde(default, skip_serializing_if = "Capture::is_none")]
    pub capture: Capture,
}

impl Demands {
    /// Whether it asks for nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

word_enum!(
    /// Where services of an instance may connect to, beside each other.
    #[derive(Default)]
    Egress {
        /// Nowhere.
        #[default]
        None = "none",
        /// To public addresses of the internet.
        Internet = "internet",
    }
);

word_enum!(
    /// What runs the containers of an instance.
    #[derive(Default)]
    ContainerRuntime {
        /// What the engine runs everything with.
        #[default]
        Default = "default",
        /// gVisor: a kernel of its own between the container and the host's.
        Runsc = "runsc",
    }
);

impl ContainerRuntime {
    /// Whether it is the engine's own.
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

word_enum!(
    /// How hard containers are shut in (`contract/security.md` §3.2).
    #[derive(Default)]
    Hardening {
        /// As every service is.
        #[default]
        Default = "default",
        /// No capability, a root that cannot be written, nothing that runs from memory.
        Strict = "strict",
    }
);

impl Hardening {
    /// Whether it is as every service is.
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

word_enum!(
    /// What is kept of what goes over the networks of an instance.
    #[derive(Default)]
    Capture {
        /// Nothing.
        #[default]
        None = "none",
        /// The newest packets.
        Packets = "packets",
    }
);

impl Capture {
    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Egress {
    /// Whether it is nowhere.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

word_enum!(
    /// What happens to running instances when another version goes live.
    UpdatePolicy {
        /// Nothing: they keep what they were started from until their lease ends.
        OnNextStart = "on_next_start",
        /// Their leases are not renewed any more.
        Drain = "drain",
        /// They end, and their players are told to start anew.
        Force = "force",
    }
);

impl Default for InstanceSettings {
    fn default() -> Self {
        Self {
            scope: InstanceScope::Team,
            ttl_secs: None,
            max_ttl_secs: None,
            update: UpdatePolicy::OnNextStart,
            demands: Demands::default(),
            on_node_loss: OnNodeLoss::Fail,
            node: BTreeMap::new(),
        }
    }
}

word_enum!(
    /// What becomes of an instance whose node was lost, or is being emptied.
    OnNodeLoss {
        /// It fails, and its owner reads why. While its node only does not reach the platform, it goes on
        /// serving.
        Fail = "fail",
        /// It is made anew on another node with the same answers; what was changed in it is gone. Its
        /// node takes it down when the platform was not heard of for a while, so that there are never
        /// two.
        Move = "move",
    }
);

/// A file below `attachments/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Path below `attachments/`, as stored (an encrypted one keeps its `.age`, a template its
    /// `.tpl`).
    pub name: String,
    /// Size in bytes: decrypted where it is encrypted, of the template where it is one.
    pub size_bytes: u64,
    /// Whether it is decrypted before anything else is done with it.
    pub is_encrypted: bool,
    /// Whether it is rendered per instance.
    pub is_template: bool,
}

impl Attachment {
    /// The name players see: without `.age` and then without `.tpl`.
    pub fn public_name(&self) -> &str {
        let plain = match self.is_encrypted {
            true => plain_name(&self.name).unwrap_or(&self.name),
            false => &self.name,
        };
        match self.is_template {
            true => plain.strip_suffix(".tpl").unwrap_or(plain),
            false => plain,
        }
    }
}

/// What the encrypted file at path `name` is called once it is decrypted; `None` when it is no
/// encrypted file: the last part of a path has to end in `.age` and to be a name without it.
pub fn plain_name(name: &str) -> Option<&str> {
    let plain = name.strip_suffix(".age")?;
    let last = plain.rsplit('/').next().unwrap_or(plain);
    // `...age` would be the folder above.
    (!matches!(last, "" | "." | "..")).then_some(plain)
}
