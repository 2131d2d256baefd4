//! The settings about forges: the webhook that wakes us, and the commit statuses that we post.
//!
//! # Invariants
//! * A webhook without a secret, or a forge without a token, is a fault and not a default.

use std::path::PathBuf;

use schemars::JsonSchema;

use super::Config;
use super::layers::{Layers, Setting};
use super::sections::word_setting;

/// `[source.webhook]`: who may ask for a look at the repository at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Who calls; without it there is no webhook.
    #[schemars(with = "WebhookKind")]
    pub kind: Option<WebhookKind>,
    /// The last part of its path, `/hooks/ID`: 16 to 64 random letters and digits.
    #[schemars(length(min = 16, max = 64), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub id: Option<String>,
    /// A file with the secret that the forge was given, at least 16 characters.
    #[schemars(length(min = 1))]
    pub secret_file: Option<PathBuf>,
    /// A file with the secret before or after that one; both are good while it is changed.
    #[schemars(length(min = 1))]
    pub other_secret_file: Option<PathBuf>,
}

/// `[statuses]`: what the forge shows beside a commit.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StatusesConfig {
    /// What the forge is; without it no status is posted.
    #[schemars(with = "ForgeKind")]
    pub kind: Option<ForgeKind>,
    /// Where its API is (default: that of github.com or gitlab.com).
    #[schemars(regex(pattern = r"^https?://[^\s@?#/][^\s@?#]*$"))]
    pub api_url: Option<String>,
    /// The repository there, `owner/name`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$"))]
    pub repository: Option<String>,
    /// A file with a token that may post statuses.
    #[schemars(length(min = 1))]
    pub token_file: Option<PathBuf>,
    /// Where a click on a status leads.
    #[schemars(regex(pattern = r"^https?://[^\s/]\S*$"))]
    pub target_url: Option<String>,
    /// Whether statuses name challenges: whoever can see the repository's commits then knows what
    /// is not released yet (default false).
    pub names: bool,
}

impl StatusesConfig {
    /// Statuses are not posted.
    pub(super) const OFF: Self = Self {
        kind: None,
        api_url: None,
        repository: None,
        token_file: None,
        target_url: None,
        names: false,
    };
}

word_setting!(
    /// Who calls a webhook.
    WebhookKind, "\"github\", \"gitea\", \"forgejo\", \"gitlab\" or \"generic\"" {
        /// GitHub.
        Github = "github",
        /// Gitea.
        Gitea = "gitea",
        /// Forgejo.
        Forgejo = "forgejo",
        /// GitLab.
        Gitlab = "gitlab",
        /// Whoever signs the body with HMAC-SHA256.
        Generic = "generic",
    }
);

word_setting!(
    /// Where statuses are posted.
    ForgeKind, "\"github\", \"gitea\", \"forgejo\" or \"gitlab\"" {
        /// GitHub.
        Github = "github",
        /// Gitea.
        Gitea = "gitea",
        /// Forgejo.
        Forgejo = "forgejo",
        /// GitLab.
        Gitlab = "gitlab",
    }
);

pub(super) fn take_webhook(layers: &mut Layers) -> WebhookConfig {
    WebhookConfig {
        kind: layers.take_optional("source.webhook.kind"),
        id: layers.take_optional("source.webhook.id"),
        secret_file: layers.take_optional("source.webhook.secret_file"),
        other_secret_file: layers.take_optional("source.webhook.other_secret_file"),
    }
}

pub(super) fn take_statuses(layers: &mut Layers, default: &StatusesConfig) -> StatusesConfig {
    StatusesConfig {
        kind: layers.take_optional("statuses.kind"),
        api_url: layers.take_optional("statuses.api_url"),
        repository: layers.take_optional("statuses.repository"),
        token_file: layers.take_optional("statuses.token_file"),
        target_url: layers.take_optional("statuses.target_url"),
        names: layers.take("statuses.names", default.names),
    }
}

/// Notes what is missing or wrong in what was set.
pub(super) fn check(layers: &mut Layers, config: &Config) {
    check_webhook(layers, &config.source.webhook);
    check_statuses(layers, &config.statuses);
}

fn check_webhook(layers: &mut Layers, webhook: &WebhookConfig) {
    let keys = [
        (
            "source.webhook.kind",
            "say who calls: \"github\", \"gitea\", \"forgejo\", \"gitlab\" or \"generic\"",
        ),
        ("source.webhook.id", "give the output of `openssl rand -hex 16`"),
        (
            "source.webhook.secret_file",
            "put the output of `openssl rand -hex 32` into a file and name it",
        ),
    ];
    let is_wanted = layers.is_set("source.webhook.other_secret_file")
        || keys.iter().any(|(key, _)| layers.is_set(key));
    if is_wanted {
        require(layers, "a webhook needs it: without a secret anybody could call", &keys);
    }
    if let Some(id) = &webhook.id
        && !(is_word(id) && (16..=64).contains(&id.len()))
    {
        layers.refuse(
            "source.webhook.id",
            "is not 16 to 64 letters and digits",
            "give the output of `openssl rand -hex 16`",
        );
    }
}

fn check_statuses(layers: &mut Layers, statuses: &StatusesConfig) {
    let keys = [
        (
            "statuses.kind",
            "say what the forge is: \"github\", \"gitea\", \"forgejo\" or \"gitlab\"",
        ),
        ("statuses.repository", "give `owner/name` as in the address of its page"),
        (
            "statuses.token_file",
            "put a token that may post commit statuses into a file and name it",
        ),
    ];
    let others = ["statuses.api_url", "statuses.target_url", "statuses.names"];
    let is_wanted = statuses.names || others[..2].iter().any(|key| layers.is_set(key));
    if is_wanted || keys.iter().any(|(key, _)| layers.is_set(key)) {
        require(layers, "is needed to post statuses", &keys);
    }
    let is_own_host = matches!(statuses.kind, Some(ForgeKind::Gitea | ForgeKind::Forgejo));
    if is_own_host && !layers.is_set("statuses.api_url") {
        let fix = "give `https://git.example.org/api/v1`";
        layers.refuse("statuses.api_url", "is not set, and nobody else knows your forge", fix);
    }
    if let Some(repository) = &statuses.repository {
        check_repository(layers, repository, statuses.kind);
    }
    if statuses.api_url.as_deref().is_some_and(|url| !is_address(url) || url.contains(['?', '#'])) {
        let fix = "give `https://host/path`, without a user, a token or a query";
        layers.refuse("statuses.api_url", "is not the address of an API", fix);
    }
    if statuses.target_url.as_deref().is_some_and(|url| !is_address(url)) {
        let fix = "give an address that begins with `https://`, without a user";
        layers.refuse("statuses.target_url", "is not an address", fix);
    }
}

fn check_repository(layers: &mut Layers, repository: &str, kind: Option<ForgeKind>) {
    let parts: Vec<&str> = repository.split('/').collect();
    let is_part = |part: &&str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !["", ".", ".."].contains(part)
    };
    // Only GitLab has groups inside of groups.
    let n_is_fine = parts.len() == 2 || (kind == Some(ForgeKind::Gitlab) && parts.len() > 2);
    if !n_is_fine || !parts.iter().all(is_part) {
        let fix = "give `owner/name` as in the address of its page";
        layers.refuse("statuses.repository", "is not the name of a repository", fix);
    }
}

/// Notes every one of `keys` that nobody set.
fn require(layers: &mut Layers, why: &str, keys: &[(&'static str, &str)]) {
    for (key, fix) in keys {
        if !layers.is_set(key) {
            layers.refuse(key, format_args!("is not set: {why}"), fix);
        }
    }
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// Whether `url` is one of the web, without credentials and without what is no part of an address.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && rest.chars().all(is_plain)
    })
}
