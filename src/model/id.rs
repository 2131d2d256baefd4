//! Newtypes for every id and hash: parsed once at the door, trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Why a text is not the id it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {wanted}")]
pub struct IdError {
    /// The refused text, cut at 80 characters.
    pub text: String,
    /// What would have been right, e.g. `a challenge id (letters, digits, …)`.
    pub wanted: &'static str,
}

impl IdError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), wanted }
    }
}

/// Implements `Display`, `FromStr`, serde and `as_str` for a checked string newtype.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $wanted:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(IdError::new(text, $wanted)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// Implements `Display`, `FromStr` and serde for a newtype around [`Uuid`].
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that the caller made.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the spelling that we print: 36 characters with dashes.
                let parsed = Uuid::try_parse(text).map_err(|_| IdError::new(text, $wanted))?;
                if text.len() == 36 { Ok(Self(parsed)) } else { Err(IdError::new(text, $wanted)) }
            }
        }
    };
}

fn is_name(text: &str, max: usize, extra: &str) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// The rules of git-check-ref-format(1) for what comes after `refs/tags/`.
fn is_tag_name(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    let is_forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    (1..=200).contains(&text.len())
        && !text.starts_with('-')
        && text != "@"
        && !text.contains(is_forbidden)
        && !text.contains("..")
        && !text.contains("@{")
        && text.split('/').all(is_part)
}

string_id!(
    /// A challenge: the name of its folder, e.g. `WEB-001`. Letters, digits, `.`, `_`, `-`; 1–64.
    ChallengeId,
    "a challenge id (1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or digit)",
    |text| is_name(text, 64, "._-")
);

string_id!(
    /// A competition: the name of its file, `^[a-z0-9][a-z0-9-]*$`, at most 64.
    CompetitionId,
    "a competition id (1 to 64 lower-case letters, digits or `-`, beginning with a letter or digit)",
    |text| is_name(text, 64, "-") && !text.bytes().any(|byte| byte.is_ascii_uppercase())
);

string_id!(
    /// A question of a challenge: `^[a-z][a-z0-9_]*$`, at most 64.
    QuestionId,
    "a question id (`^[a-z][a-z0-9_]*$`, at most 64 characters)",
    |text| text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
);

string_id!(
    /// A tag of the repository, without `refs/tags/`: what `git check-ref-format` takes, at most 200
    /// bytes, and never one that a command line could take for an option.
    TagName,
    "a tag name (what `git check-ref-format refs/tags/NAME` takes; at most 200 bytes, no `-` first)",
    is_tag_name
);

string_id!(
    /// A service of a compose file, also its DNS name inside the instance; 1–63.
    ServiceName,
    "a service name (1 to 63 letters, digits, `.`, `_` or `-`, beginning with a letter or digit)",
    |text| is_name(text, 63, "._-")
);

string_id!(
    /// A node that runs instances; the embedded one is `local`.
    NodeId,
    "a node id (1 to 64 letters, digits, `.`, `_` or `-`)",
    |text| is_name(text, 64, "._-")
);

string_id!(
    /// This installation: 16 lower-case hex digits, made once in the data directory. Everything
    /// that we create in an engine bears it as a label; what does not is never touched.
    InstallationId,
    "an installation id (16 lower-case hex digits)",
    |text| text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

impl InstallationId {
    /// The first 8 digits, used inside names of containers and networks.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl TeamId {
    /// Whose canaries are: instances that the solver starts to run a challenge's own exploit
    /// against. No row of `teams` has this id and none is ever made, so nobody plays for it.
    pub const CANARY: Self = Self(Uuid::from_u128(0x666c_6167_6f70_8000_8000_6361_6e61_7279));
}

impl NodeId {
    /// The embedded node.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

uuid_id!(
    /// An event platform of others that speaks for its own teams and users.
    IntegrationId,
    "the id of an integration (a UUID)"
);

uuid_id!(
    /// One running (or stopped) copy of a challenge.
    InstanceId,
    "an instance id (a UUID with dashes)"
);
uuid_id!(
    /// A team.
    TeamId,
    "a team id (a UUID with dashes)"
);
uuid_id!(
    /// A person with an account.
    UserId,
    "a user id (a UUID with dashes)"
);
uuid_id!(
    /// One graded attempt.
    SubmissionId,
    "a submission id (a UUID with dashes)"
);

/// A git object id (SHA-1, 20 bytes), printed as 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// From the raw 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The raw 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The first 10 hex digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..5])
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Implements hex `Display`, `FromStr`, `Debug` and serde glue for a byte-array newtype.
macro_rules! hex_id {
    ($name:ident, $wanted:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                unhex(text).map(Self).ok_or_else(|| IdError::new(text, $wanted))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

hex_id!(ObjectId, "a git object id (40 hex digits)");

/// A commit of the challenge repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub ObjectId);

/// The git tree of one challenge folder: its identity. An unchanged tree is never parsed or built
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeId(pub ObjectId);

impl Revision {
    /// The first 10 hex digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TreeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

/// The hash of everything that determines an image (`release::identity::build_key`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildKey([u8; 32]);

impl BuildKey {
    /// From a SHA-256 digest.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The first 16 hex digits, used as the image's tag.
    pub fn short(&self) -> String {
        hex(&self.0[..8])
    }
}

hex_id!(BuildKey, "a build key (64 hex digits)");

/// The hash of a build context's files after `.dockerignore` (`catalog::context::digest`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContextId([u8; 32]);

impl ContextId {
    /// From a SHA-256 digest.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

hex_id!(ContextId, "a context id (64 hex digits)");

/// The SHA-256 of everything that decides whom we trust. Another keyring, another digest: what was
/// judged with the old one is judged anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyringDigest([u8; 32]);

impl KeyringDigest {
    /// From a SHA-256 digest.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

hex_id!(KeyringDigest, "a digest of a keyring (64 hex digits)");

string_id!(
    /// The versioned hash of the fields that we set on an instance's containers, `v1:<64 hex>`.
    SpecHash,
    "a spec hash (`v1:` and 64 hex digits)",
    |text| text.split_once(':').is_some_and(|(version, digest)| {
        version.starts_with('v') && digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
    })
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_refuse_what_could_reach_a_path_or_a_shell() {
        for text in ["", ".", "..", "-x", "a/b", "a b", "$(id)", "a\nb", "é", &"a".repeat(65)] {
            assert!(text.parse::<ChallengeId>().is_err(), "{text:?}");
        }
        assert!("Flag".parse::<QuestionId>().is_err());
        assert!("550e8400e29b41d4a716446655440000".parse::<InstanceId>().is_err());
    }

    proptest! {
        #[test]
        fn object_ids_round_trip(bytes in any::<[u8; 20]>()) {
            let id = ObjectId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_an_id_panic(text in ".*") {
            let _ = text.parse::<ChallengeId>();
            let _ = text.parse::<ObjectId>();
            let _ = text.parse::<SpecHash>();
            let _ = text.parse::<TeamId>();
        }
    }
}
