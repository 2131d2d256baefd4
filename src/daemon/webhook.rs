//! Whether a call of a webhook comes from the forge: its path and its signature, nothing else.
//!
//! In:  the id of the path, the headers, the body as it came.
//! Out: a verdict, and what the forge calls the delivery.
//!
//! # Invariants
//! * The body is hashed and never parsed: nothing that it says is believed.
//! * An unknown id costs as much time as a wrong signature, and every comparison takes the same time
//!   whatever differs.
//! * Secrets are read anew for every call, so that they are changed without a restart, and are in no
//!   error or log.
//!
//! # Not here
//! How much may come (`api::hooks`), what follows (`hints`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use crate::config::{Secret, SecretError, WebhookConfig, WebhookKind};

/// The shortest secret that is taken, in bytes.
const MIN_SECRET: usize = 16;

/// The longest name of a delivery that is looked at, in bytes.
const MAX_DELIVERY: usize = 200;

/// Headers by their lower-case name. Hostile.
pub type Headers = BTreeMap<String, Vec<u8>>;

/// One webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    kind: WebhookKind,
    id: String,
    secret_file: PathBuf,
    other_secret_file: Option<PathBuf>,
}

/// Why a webhook cannot be used.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// A file is absent, or holds nothing.
    #[error("the webhook has no secret")]
    Secret(#[from] SecretError),
    /// A secret that can be guessed is none.
    #[error(
        "the secret in `{}` has fewer than {MIN_SECRET} characters; put the output of `openssl rand \
         -hex 32` there, and into the settings of the forge", .path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
    },
}

/// What a call is.
#[derive(Debug)]
pub(crate) enum Call {
    /// It comes from the forge, which calls it by this name if by any.
    Good(Option<Vec<u8>>),
    /// There is no such webhook.
    UnknownId,
    /// It is not signed with a secret of ours.
    BadSignature,
}

impl Webhook {
    /// The webhook that is configured, if any.
    ///
    /// # Errors
    /// When a secret is not there or too short.
    pub(crate) fn open(config: &WebhookConfig) -> Result<Option<Self>, WebhookError> {
        let (Some(kind), Some(id), Some(secret_file)) =
            (config.kind, config.id.clone(), config.secret_file.clone())
        else {
            return Ok(None);
        };
        let other_secret_file = config.other_secret_file.clone();
        let webhook = Self { kind, id, secret_file, other_secret_file };
        webhook.secrets()?;
        Ok(Some(webhook))
    }

    /// Whether `id` is its own.
    pub(crate) fn is_called(&self, id: &str) -> bool {
        is_same(id.as_bytes(), self.id.as_bytes()).into()
    }

    /// What the call of `id` is.
    ///
    /// # Errors
    /// When a secret is no longer there: then nobody can say.
    pub(crate) fn judge(
        &self,
        id: &str,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Call, WebhookError> {
        // Also for a stranger, so that they cannot tell by the time.
        let is_signed = is_signed(self.kind, headers, body, &self.secrets()?);
        Ok(match (self.is_called(id), is_signed) {
            (false, _) => Call::UnknownId,
            (true, false) => Call::BadSignature,
            (true, true) => Call::Good(delivery(self.kind, headers)),
        })
    }

    fn secrets(&self) -> Result<Vec<Secret<String>>, WebhookError> {
        let files = std::iter::once(&self.secret_file).chain(&self.other_secret_file);
        files
            .map(|path| {
                let secret = Secret::read(path)?;
                let is_long = secret.reveal().len() >= MIN_SECRET;
                is_long.then_some(secret).ok_or_else(|| WebhookError::Short { path: path.clone() })
            })
            .collect()
    }
}

/// Whether one of `secrets` signed `body`. Every secret is tried, whatever the others say.
fn is_signed(
    kind: WebhookKind,
    headers: &Headers,
    body: &[u8],
    secrets: &[Secret<String>],
) -> bool {
    let claim = first(headers, signature_headers(kind)).unwrap_or_default();
    let mut is_signed = Choice::from(0);
    for secret in secrets {
        let secret = secret.reveal().as_bytes();
        is_signed |= match kind {
            WebhookKind::Gitlab => is_same(claim, secret),
            WebhookKind::Github
            | WebhookKind::Gitea
            | WebhookKind::Forgejo
            | WebhookKind::Generic => is_same(&unhex(claim), &code(secret, body)),
        };
    }
    is_signed.into()
}

fn code(secret: &[u8], body: &[u8]) -> Vec<u8> {
    let mut code = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC accepts keys of any length");
    code.update(body);
    code.finalize().into_bytes().to_vec()
}

/// Compares digests: these have one length, and differ everywhere when anything does.
fn is_same(left: &[u8], right: &[u8]) -> Choice {
    Sha256::digest(left).ct_eq(&Sha256::digest(right))
}

/// The bytes of `sha256=…` or of hex digits alone; empty for anything else.
fn unhex(claim: &[u8]) -> Vec<u8> {
    let digits = claim.strip_prefix(b"sha256=").unwrap_or(claim);
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().unwrap_or_default()
}

/// Where a forge puts what proves that it called.
fn signature_headers(kind: WebhookKind) -> &'static [&'static str] {
    match kind {
        WebhookKind::Github => &["x-hub-signature-256"],
        WebhookKind::Gitea => &["x-gitea-signature"],
        WebhookKind::Forgejo => &["x-forgejo-signature", "x-gitea-signature"],
        WebhookKind::Gitlab => &["x-gitlab-token"],
        WebhookKind::Generic => {
            &["x-flagops-signature-256", "x-hub-signature-256", "x-hub-signature"]
        }
    }
}

/// What a forge calls this delivery, also when it tries again.
fn delivery(kind: WebhookKind, headers: &Headers) -> Option<Vec<u8>> {
    let names: &[&str] = match kind {
        WebhookKind::Github => &["x-github-delivery"],
        WebhookKind::Gitea => &["x-gitea-delivery"],
        WebhookKind::Forgejo => &["x-forgejo-delivery", "x-gitea-delivery"],
        WebhookKind::Gitlab => &["idempotency-key", "x-gitlab-event-uuid"],
        WebhookKind::Generic => &["x-flagops-delivery", "x-request-uuid"],
    };
    let name = first(headers, names)?;
    (1..=MAX_DELIVERY).contains(&name.len()).then(|| name.to_vec())
}

fn first<'a>(headers: &'a Headers, names: &[&str]) -> Option<&'a [u8]> {
    names.iter().find_map(|name| headers.get(*name)).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::hex;

    /// From GitHub's documentation of webhooks.
    const SECRET: &str = "It's a Secret to Everybody";
    const PAYLOAD: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(kind: WebhookKind, header: &str, value: &str, secrets: &[&str]) -> bool {
        let headers = Headers::from([(header.to_owned(), value.as_bytes().to_vec())]);
        let secrets: Vec<_> = secrets.iter().map(|it| Secret::new((*it).to_owned())).collect();
        is_signed(kind, &headers, PAYLOAD, &secrets)
    }

    #[test]
    fn every_forge_is_known_by_its_own_header() {
        let prefixed = format!("sha256={SIGNATURE}");
        for (kind, header, value) in [
            (WebhookKind::Github, "x-hub-signature-256", prefixed.as_str()),
            (WebhookKind::Gitea, "x-gitea-signature", SIGNATURE),
            (WebhookKind::Forgejo, "x-forgejo-signature", SIGNATURE),
            (WebhookKind::Forgejo, "x-gitea-signature", SIGNATURE),
            (WebhookKind::Gitlab, "x-gitlab-token", SECRET),
            (WebhookKind::Generic, "x-flagops-signature-256", prefixed.as_str()),
            (WebhookKind::Generic, "x-hub-signature", prefixed.as_str()),
        ] {
            assert!(check(kind, header, value, &[SECRET]), "{kind:?} {header}");
            assert!(check(kind, header, value, &["another", SECRET]), "the other secret is good");
            assert!(!check(kind, header, value, &["another"]), "{kind:?}: a wrong secret");
            assert!(!check(kind, header, value, &[]), "{kind:?}: without a secret");
            assert!(!check(kind, "x-other", value, &[SECRET]), "{kind:?}: without the header");
            assert!(!check(kind, header, "", &[SECRET]), "{kind:?}: an empty one");
            assert!(!check(kind, header, &value[1..], &[SECRET]), "{kind:?}: cut");
        }
    }

    #[test]
    fn the_header_of_another_forge_is_none() {
        let prefixed = format!("sha256={SIGNATURE}");
        assert!(!check(WebhookKind::Gitea, "x-hub-signature-256", &prefixed, &[SECRET]));
        assert!(!check(WebhookKind::Github, "x-gitlab-token", SECRET, &[SECRET]));
        // The weaker signature that GitHub sends too.
        assert!(!check(WebhookKind::Github, "x-hub-signature", &prefixed, &[SECRET]));
    }

    #[test]
    fn a_delivery_has_the_name_that_the_forge_gives_it() {
        let headers =
            |name: &str, value: &str| Headers::from([(name.to_owned(), value.as_bytes().to_vec())]);
        for (kind, name) in [
            (WebhookKind::Github, "x-github-delivery"),
            (WebhookKind::Gitea, "x-gitea-delivery"),
            (WebhookKind::Forgejo, "x-forgejo-delivery"),
            (WebhookKind::Gitlab, "idempotency-key"),
            (WebhookKind::Gitlab, "x-gitlab-event-uuid"),
            (WebhookKind::Generic, "x-flagops-delivery"),
        ] {
            assert_eq!(delivery(kind, &headers(name, "7")), Some(b"7".to_vec()), "{kind:?}");
            assert_eq!(delivery(kind, &headers("x-other", "7")), None);
            assert_eq!(delivery(kind, &headers(name, "")), None);
            assert_eq!(delivery(kind, &headers(name, &"7".repeat(201))), None);
        }
    }

    #[test]
    fn a_webhook_without_a_good_secret_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let config = WebhookConfig {
            kind: Some(WebhookKind::Github),
            id: Some("0123456789abcdef".to_owned()),
            secret_file: Some(path.clone()),
            other_secret_file: None,
        };
        assert!(Webhook::open(&WebhookConfig::default()).unwrap().is_none());
        assert!(matches!(Webhook::open(&config), Err(WebhookError::Secret(_))));
        std::fs::write(&path, "short").unwrap();
        let error = Webhook::open(&config).unwrap_err().to_string();
        assert!(error.contains("openssl rand") && !error.contains("short\""), "{error}");
        std::fs::write(&path, SECRET).unwrap();
        assert!(Webhook::open(&config).unwrap().is_some());
        let other_secret_file = Some(folder.path().join("absent"));
        let error = Webhook::open(&WebhookConfig { other_secret_file, ..config }).unwrap_err();
        assert!(matches!(error, WebhookError::Secret(_)), "{error}");
    }

    proptest! {
        #[test]
        fn only_the_very_body_and_secret_are_good(
            secret in "[ -~]{16,40}", other in "[ -~]{16,40}",
            body in prop::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
        ) {
            let signature = format!("sha256={}", hex(&code(secret.as_bytes(), &body)));
            let headers = Headers::from([("x-hub-signature-256".to_owned(), signature.into_bytes())]);
            let judge = |body: &[u8], secret: &str| {
                is_signed(WebhookKind::Github, &headers, body, &[Secret::new(secret.to_owned())])
            };
            prop_assert!(judge(&body, &secret));
            prop_assert_eq!(judge(&body, &other), secret == other);
            let mut changed = body.clone();
            if changed.is_empty() { changed.push(0) } else { let at = flip.index(changed.len()); changed[at] ^= 1; }
            prop_assert!(!judge(&changed, &secret));
        }

        #[test]
        fn no_claim_makes_judging_panic(claim in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in [WebhookKind::Github, WebhookKind::Gitlab] {
                let name = signature_headers(kind)[0].to_owned();
                let headers = Headers::from([(name, claim.clone())]);
                let secret = Secret::new(SECRET.to_owned());
                prop_assert!(!is_signed(kind, &headers, PAYLOAD, &[secret]));
            }
        }
    }
}
