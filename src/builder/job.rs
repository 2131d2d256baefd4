//! One image that is wanted, how it is got, and why it was not.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::log::LogTail;
use crate::catalog::context::ContextError;
use crate::model::compose::BuildSpec;
use crate::model::{
    BuildKey, ChallengeId, Disposition, InstallationId, RetryClass, ServiceName, TreeId,
};
use crate::runtime::{BuildError, BuildNetwork, EngineError};

/// Makes the context when it is the job's turn; called in a blocking task.
pub type ContextSource = Arc<dyn Fn() -> Result<Bytes, ContextError> + Send + Sync>;

/// One image to get.
#[derive(Clone)]
pub struct BuildJob {
    /// What determines the image.
    pub key: BuildKey,
    /// The challenge that asked.
    pub challenge: ChallengeId,
    /// The service that asked.
    pub service: ServiceName,
    /// The challenge's folder that it asked with.
    pub tree: TreeId,
    /// Higher goes first; ten points are worth 100 s of waiting. Equal ones go in order.
    pub priority: i32,
    /// Where it comes from.
    pub wish: ImageWish,
}

/// Where an image comes from.
#[derive(Clone)]
pub enum ImageWish {
    /// It is built.
    Dockerfile {
        /// Makes the context.
        context: ContextSource,
        /// Dockerfile, target and arguments.
        spec: BuildSpec,
        /// The tag to give, see [`image_tag`].
        tag: String,
    },
    /// It is there already, or is pulled.
    Reference(String),
}

impl fmt::Debug for BuildJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildJob")
            .field("key", &self.key)
            .field("challenge", &self.challenge)
            .field("service", &self.service)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// Why an image was not got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFailure {
    /// One line: what failed, why, and what to do.
    pub error: String,
    /// Whether trying the same input again can help.
    pub is_retryable: bool,
}

impl fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

/// The tag of an image of ours, e.g. `flagops/web-001-web:0123456789abcdef-01234567`: a valid
/// reference for any challenge and service. Only the part after `:` tells images apart: what is in
/// it, and whose it is. Two installations on one engine that build the same do not take each
/// other's tag away.
pub fn image_tag(
    installation: &InstallationId,
    challenge: &ChallengeId,
    service: &ServiceName,
    key: BuildKey,
) -> String {
    let challenge = path_component(challenge.as_str());
    let service = path_component(service.as_str());
    format!("flagops/{challenge}-{service}:{}-{}", key.short(), installation.short())
}

/// Lower case, and single dashes for runs of separators, none at the end: what a reference allows.
fn path_component(name: &str) -> String {
    let mut component = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            component.push(c.to_ascii_lowercase());
        } else if !component.ends_with('-') {
            component.push('-');
        }
    }
    component.trim_matches('-').to_owned()
}

/// A failure that may pass by itself.
pub(super) const AGAIN: Disposition = Disposition::Retry(RetryClass::Build);

/// The registry or the network did not answer: the same input may work later.
const AWAY: &[&str] = &[
    "no such host",
    "i/o timeout",
    "tls handshake timeout",
    "server misbehaving",
    "temporary failure in name resolution",
    "temporary failure resolving",
    "could not resolve host",
    "network is unreachable",
    "connection refused",
    "connection reset",
    "context deadline exceeded",
    "client.timeout exceeded",
    "toomanyrequests",
    "too many requests",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
];
const FULL: &[&str] = &["no space left on device", "disk quota exceeded"];

fn says(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// One line of at most 600 characters.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}

impl BuildFailure {
    pub(super) fn new(error: &str, disposition: Disposition) -> Self {
        Self { error: one_line(error), is_retryable: disposition != Disposition::Terminal }
    }

    pub(super) fn from_context(error: &ContextError) -> Self {
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            text = format!("{text}: {source}");
        }
        if matches!(error, ContextError::Decrypt { .. }) {
            // Nothing else changes with the key, so nothing else asks for the image again.
            text.push_str("; `flagops builds retry` builds it once the key is there");
        }
        Self::new(&text, error.disposition())
    }

    pub(super) fn from_engine(error: &EngineError) -> Self {
        Self::new(&error.to_string(), error.disposition())
    }

    /// What a failed build says: the instruction, the reason, and a hint when it is known.
    pub(super) fn from_build(error: &BuildError, log: &LogTail, network: BuildNetwork) -> Self {
        let BuildError::Failed { message } = error else {
            return Self::new(&error.to_string(), error.disposition());
        };
        let step = log.progress().step;
        // Before the first step, or at a `FROM`, it is the registry that the engine asked.
        let instruction = log.instruction().unwrap_or("FROM");
        let is_from = instruction.to_ascii_uppercase().starts_with("FROM");
        let what = match log.instruction() {
            Some(instruction) if !message.contains(instruction) => {
                let instruction: String = instruction.chars().take(160).collect();
                format!("`{instruction}` (step {step}) failed: {message}")
            }
            _ => format!("the build failed: {message}"),
        };
        let is_away = says(message, AWAY) || (!is_from && log.mentions(AWAY));
        let (hint, disposition) = if says(message, FULL) || log.mentions(FULL) {
            (
                "; the disk of the container engine is full, make room; it is tried again by itself",
                AGAIN,
            )
        } else if is_away && is_from {
            ("; no registry answered, `docker pull` or `docker load` the base image", AGAIN)
        } else if is_away && network == BuildNetwork::None {
            (
                "; builds have no network here, put what it downloads into the repository",
                Disposition::Terminal,
            )
        } else if is_away {
            ("; a host that it downloads from did not answer", AGAIN)
        } else {
            ("", error.disposition())
        };
        // The hint must survive the cut.
        let what: String = one_line(&what).chars().take(480).collect();
        Self::new(&format!("{what}{hint}"), disposition)
    }

    /// What a reference that is not on the engine says.
    pub(super) fn from_pull(reference: &str, error: &EngineError) -> Self {
        let text = error.to_string();
        let reference: String = reference.chars().take(120).collect();
        let is_away = says(&text, AWAY);
        let why = if is_away { "no registry answered" } else { "its registry did not give it" };
        let cause: String = one_line(&text).chars().take(250).collect();
        let error_text = format!(
            "image `{reference}` is not on this node and {why} ({cause}); check the reference, or \
             bring it with `docker pull` or `docker load`"
        );
        Self::new(&error_text, if is_away { AGAIN } else { error.disposition() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(lines: &[&str], message: &str, network: BuildNetwork) -> String {
        let mut log = LogTail::default();
        lines.iter().for_each(|line| log.push(line));
        let error = BuildError::Failed { message: message.to_owned() };
        let failure = BuildFailure::from_build(&error, &log, network);
        format!("{} [retry: {}]", failure.error, failure.is_retryable)
    }

    #[test]
    fn a_failed_build_names_the_instruction_and_gives_a_hint() {
        let steps = ["Step 1/3 : FROM alpine", "Step 2/3 : RUN make"];
        insta::assert_snapshot!(
            failure(&steps, "returned a non-zero code: 2", BuildNetwork::None),
            @"`RUN make` (step 2/3) failed: returned a non-zero code: 2 [retry: false]"
        );
        insta::assert_snapshot!(
            failure(&[], "failed to parse Dockerfile\nline 3", BuildNetwork::None),
            @"the build failed: failed to parse Dockerfile line 3 [retry: false]"
        );
        insta::assert_snapshot!(
            failure(&steps[..1], "dial tcp: lookup registry-1.docker.io: no such host", BuildNetwork::None),
            @"`FROM alpine` (step 1/3) failed: dial tcp: lookup registry-1.docker.io: no such host; no registry answered, `docker pull` or `docker load` the base image [retry: true]"
        );
        let apt = ["Step 2/3 : RUN apt-get update", "Temporary failure resolving 'deb.debian.org'"];
        insta::assert_snapshot!(
            failure(&apt, "exit code: 100", BuildNetwork::None),
            @"`RUN apt-get update` (step 2/3) failed: exit code: 100; builds have no network here, put what it downloads into the repository [retry: false]"
        );
        insta::assert_snapshot!(
            failure(&apt, "exit code: 100", BuildNetwork::Default),
            @"`RUN apt-get update` (step 2/3) failed: exit code: 100; a host that it downloads from did not answer [retry: true]"
        );
        insta::assert_snapshot!(
            failure(&steps, "write /x: no space left on device", BuildNetwork::None),
            @"`RUN make` (step 2/3) failed: write /x: no space left on device; the disk of the container engine is full, make room; it is tried again by itself [retry: true]"
        );
    }

    #[test]
    fn a_reference_that_nobody_has_says_what_to_do() {
        let error = EngineError::NotFound { what: "image `nope:1`".to_owned() };
        let failure = BuildFailure::from_pull("nope:1", &error);
        insta::assert_snapshot!(
            failure.error,
            @"image `nope:1` is not on this node and its registry did not give it (image `nope:1` does not exist on the container engine); check the reference, or bring it with `docker pull` or `docker load`"
        );
        assert!(!failure.is_retryable);
        let error = EngineError::Refused {
            what: "pull".to_owned(),
            reason: "lookup registry-1.docker.io: no such host".to_owned(),
        };
        let failure = BuildFailure::from_pull("nope:1", &error);
        assert!(failure.error.contains("no registry answered") && failure.is_retryable);
    }

    fn installation() -> InstallationId {
        "0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn two_installations_never_share_a_tag() {
        let key = BuildKey::from_digest([1; 32]);
        let (challenge, service) = ("WEB-001".parse().unwrap(), "web".parse().unwrap());
        let other = "1123456789abcdef".parse().unwrap();
        assert_ne!(
            image_tag(&installation(), &challenge, &service, key),
            image_tag(&other, &challenge, &service, key)
        );
    }

    #[test]
    fn tags_read_like_the_challenge() {
        let key = BuildKey::from_digest([1; 32]);
        for (challenge, service, wanted) in [
            ("WEB-001", "web", "flagops/web-001-web:0101010101010101-01234567"),
            ("a..__--B-", "S._", "flagops/a-b-s:0101010101010101-01234567"),
        ] {
            let (challenge, service) = (challenge.parse().unwrap(), service.parse().unwrap());
            let tag = image_tag(&installation(), &challenge, &service, key);
            assert_eq!(tag, wanted);
        }
    }

    proptest! {
        #[test]
        fn every_challenge_and_service_gives_a_valid_reference(
            challenge in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            service in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
        ) {
            let key = BuildKey::from_digest([7; 32]);
            let (challenge, service) = (challenge.parse().unwrap(), service.parse().unwrap());
            let tag = image_tag(&installation(), &challenge, &service, key);
            let name = tag.strip_prefix("flagops/").unwrap().split_once(':').unwrap().0;
            prop_assert!(tag.len() <= 255);
            prop_assert!(name.split('-').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            }), "{}", tag);
        }

        #[test]
        fn an_error_is_one_short_line(message in ".{0,60}", line in ".{0,60}", n in 1..40_usize) {
            let mut log = LogTail::default();
            log.push(&format!("Step 1/2 : {}", line.repeat(n)));
            let error = BuildError::Failed { message: message.repeat(n) };
            let failure = BuildFailure::from_build(&error, &log, BuildNetwork::None);
            prop_assert!(failure.error.chars().count() <= 600);
            prop_assert!(!failure.error.chars().any(char::is_control));
        }
    }
}
