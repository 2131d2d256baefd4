//! What one signed object is worth, in words that an organizer can act on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ObjectId, Timestamp};

/// What a signer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sign tags that may go live.
    Release,
    /// Sign commits of the branch.
    Commit,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Commit => "commit",
        })
    }
}

/// Which kind of object a verdict is about; the next step differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A tag object.
    Tag,
    /// A commit.
    Commit,
}

/// A person or machine behind a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The principal or name of the trust file, printable.
    pub name: String,
    /// `SHA256:…` of an SSH key, or the 40 hex digits of an OpenPGP key.
    pub key: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.name, self.key)
    }
}

/// What a tag or commit object is worth under one keyring.
///
/// `Display` is a fragment that reads after `tag event-1.0.0: `; [`Verdict::next_step`] says what
/// to do. Everything but [`Verdict::Good`] refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict")]
pub enum Verdict {
    /// Signed by one who may, at a time when the key was valid.
    Good {
        /// Who signed.
        signer: Signer,
        /// When, by the object's own date.
        at: Timestamp,
        /// The commit: the tag's target, or the commit's tree for a commit.
        target: ObjectId,
    },
    /// There is no signature.
    Unsigned,
    /// The tag is a name for a commit without an object of its own, so nothing can be signed.
    Lightweight,
    /// The object is not what git would write.
    Malformed {
        /// The first thing that is wrong.
        what: String,
    },
    /// The signed name is not the name of the ref: an old tag shown under a new name.
    TagNameMismatch {
        /// The name in the object.
        inner: String,
        /// The ref that was looked at.
        expected: String,
    },
    /// The tag points to another tag.
    NestedTag,
    /// The tag points to a tree or a blob.
    NotACommit {
        /// `tree` or `blob`.
        kind: String,
    },
    /// The trailer `Release-Repo` names another repository.
    WrongRepository {
        /// What the trailer says.
        written: String,
        /// The repository that is watched.
        watched: String,
    },
    /// The kind of signature or key is not checked by us.
    Unsupported {
        /// What it is.
        what: String,
    },
    /// The signature does not fit the object.
    BadSignature {
        /// How that was seen.
        why: String,
    },
    /// The signature was made for another purpose, or the key may not be used for this one.
    WrongNamespace {
        /// The namespace of the signature.
        namespace: String,
    },
    /// The signature is right, but the key is not in the keyring.
    UnknownSigner {
        /// The key's fingerprint, and its authority's when it has one.
        key: String,
    },
    /// The key, or what certified it, is revoked.
    SignerRevoked {
        /// Whose key.
        signer: Signer,
    },
    /// The key was no longer valid when the object was dated or first seen.
    SignerExpired {
        /// Whose key.
        signer: Signer,
        /// The end of its validity.
        until: Timestamp,
        /// The time that lies behind it.
        at: Timestamp,
    },
    /// The key was not valid yet when the object was dated.
    SignerNotYetValid {
        /// Whose key.
        signer: Signer,
        /// The begin of its validity.
        since: Timestamp,
        /// The time that lies before it.
        at: Timestamp,
    },
    /// The key is listed, but not made for signing, or its certificate does not cover this.
    KeyMayNotSign {
        /// Whose key.
        signer: Signer,
        /// What is missing.
        why: String,
    },
    /// The signer is known, and has not the role.
    RoleMissing {
        /// Who signed.
        signer: Signer,
        /// What would be needed.
        role: Role,
    },
    /// The object's date lies ahead of the time it was seen.
    FutureDate {
        /// Its date.
        at: Timestamp,
        /// When it was seen.
        seen: Timestamp,
    },
}

impl Verdict {
    /// Whether the object may be used.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }

    /// Whether this word can only mean that nobody signed.
    pub fn is_unsigned(&self) -> bool {
        matches!(self, Self::Unsigned | Self::Lightweight)
    }

    /// The stable word, for conditions, logs and the database.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Good { .. } => "Good",
            Self::Unsigned => "Unsigned",
            Self::Lightweight => "Lightweight",
            Self::Malformed { .. } => "Malformed",
            Self::TagNameMismatch { .. } => "TagNameMismatch",
            Self::NestedTag => "NestedTag",
            Self::NotACommit { .. } => "NotACommit",
            Self::WrongRepository { .. } => "WrongRepository",
            Self::Unsupported { .. } => "Unsupported",
            Self::BadSignature { .. } => "BadSignature",
            Self::WrongNamespace { .. } => "WrongNamespace",
            Self::UnknownSigner { .. } => "UnknownSigner",
            Self::SignerRevoked { .. } => "SignerRevoked",
            Self::SignerExpired { .. } => "SignerExpired",
            Self::SignerNotYetValid { .. } => "SignerNotYetValid",
            Self::KeyMayNotSign { .. } => "KeyMayNotSign",
            Self::RoleMissing { .. } => "RoleMissing",
            Self::FutureDate { .. } => "FutureDate",
        }
    }

    /// What the organizer does next. One sentence.
    pub fn next_step(&self, subject: Subject) -> String {
        let again = match subject {
            Subject::Tag => "make a new tag with `git tag -s NAME COMMIT` and push it",
            Subject::Commit => "sign it with `git commit --amend -S` and push it",
        };
        match self {
            Self::Good { .. } => "Nothing is to be done.".to_owned(),
            Self::Unsigned | Self::Lightweight => match subject {
                Subject::Tag => format!("Sign the release: {again}."),
                Subject::Commit => format!("The commit needs a signature: {again}."),
            },
            Self::Malformed { .. } => format!("Git does not write this by itself: {again}."),
            Self::TagNameMismatch { inner, .. } => format!(
                "Somebody pushed the signed tag `{inner}` under another name. Find out who; to \
                 release that commit, {again}."
            ),
            Self::NestedTag | Self::NotACommit { .. } => {
                format!("Name the commit itself: {again}.")
            }
            Self::WrongRepository { watched, .. } => format!(
                "The tag was made for another repository. To release it here, write \
                 `Release-Repo: {watched}` into the message or leave the line out, and {again}."
            ),
            Self::Unsupported { .. } => {
                format!("Use an Ed25519 key (`ssh-keygen -t ed25519`): {again}.")
            }
            Self::BadSignature { .. } => {
                format!("The object was changed, or signed with a faulty program: {again}.")
            }
            Self::WrongNamespace { .. } => format!(
                "Sign with git (`gpg.format = ssh`), which uses the namespace `git`, and let the \
                 key's line in the allowed signers say `namespaces=\"git\"` or nothing: {again}."
            ),
            Self::UnknownSigner { .. } => {
                "If the key is an organizer's, add it to the trust file; otherwise find out who \
                 pushed this."
                    .to_owned()
            }
            Self::SignerRevoked { .. } => {
                format!("Sign with a key that is not revoked: {again}.")
            }
            Self::SignerExpired { .. } | Self::SignerNotYetValid { .. } => format!(
                "Extend the key's validity in the trust file, or sign with a valid key: {again}."
            ),
            Self::KeyMayNotSign { .. } => {
                format!("Sign with a key that is made for signing: {again}.")
            }
            Self::RoleMissing { signer, role } => format!(
                "Give `{}` the role `{role}` under `[roles]` in the trust file, or let somebody \
                 sign who has it.",
                signer.name
            ),
            Self::FutureDate { .. } => {
                format!("Set the clock of the machine that signs, then {again}.")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { signer, at, .. } => write!(f, "signed by {signer} at {at}"),
            Self::Unsigned => f.write_str("there is no signature"),
            Self::Lightweight => {
                f.write_str("it is a lightweight tag, which has nothing that could be signed")
            }
            Self::Malformed { what } => write!(f, "the object is malformed: {what}"),
            Self::TagNameMismatch { inner, expected } => {
                write!(f, "the signed name is `{inner}`, but the ref is `{expected}`")
            }
            Self::NestedTag => f.write_str("it points to another tag, not to a commit"),
            Self::NotACommit { kind } => write!(f, "it points to a {kind}, not to a commit"),
            Self::WrongRepository { written, watched } => {
                write!(f, "it was made for the repository `{written}`, not for `{watched}`")
            }
            Self::Unsupported { what } => write!(f, "{what} cannot be checked here"),
            Self::BadSignature { why } => write!(f, "the signature is not valid: {why}"),
            Self::WrongNamespace { namespace } => write!(
                f,
                "the key may not be used here with the namespace `{namespace}` of the signature"
            ),
            Self::UnknownSigner { key } => {
                write!(f, "signed with the key {key}, which is not in the keyring")
            }
            Self::SignerRevoked { signer } => write!(f, "the key of {signer} is revoked"),
            Self::SignerExpired { signer, until, at } => {
                write!(f, "the key of {signer} was valid until {until}, which is before {at}")
            }
            Self::SignerNotYetValid { signer, since, at } => {
                write!(f, "the key of {signer} is valid from {since}, which is after {at}")
            }
            Self::KeyMayNotSign { signer, why } => {
                write!(f, "the key of {signer} may not sign this: {why}")
            }
            Self::RoleMissing { signer, role } => {
                write!(f, "signed by {signer}, who has not the role `{role}`")
            }
            Self::FutureDate { at, seen } => {
                write!(f, "it is dated {at}, which is after it was seen ({seen})")
            }
        }
    }
}

/// `bytes` as they may stand in a message: at most 80 characters, nothing that hides or misleads.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let mut out = String::new();
    for (nth, c) in text.chars().enumerate() {
        if nth == 80 {
            out.push('…');
            break;
        }
        match c {
            '`' => out.push('\''),
            _ if c.is_ascii_graphic() || c == ' ' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    out
}
