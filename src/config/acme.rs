//! `[ingress.acme]`: the authority that gives the certificate of the ingress.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::layers::Layers;

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// `[ingress.acme]`: a wildcard certificate that flagops orders and renews by itself (ACME with the
/// challenge `dns-01`), in place of `ingress.certificate`. It is off without a `hook`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AcmeConfig {
    /// A program that writes the record which proves that the domain is yours: it is run as
    /// `HOOK present NAME VALUE` and `HOOK cleanup NAME VALUE`. Setting it agrees to the terms of the authority.
    #[schemars(length(min = 1))]
    pub hook: Option<PathBuf>,
    /// The authority's directory (default: Let's Encrypt).
    #[schemars(regex(pattern = r"^https://"))]
    pub directory: String,
    /// Where the authority may write to, an e-mail address; taken when the account is made.
    #[schemars(regex(pattern = r"^[^@\s]+@[^@\s]+$"))]
    pub contact: Option<String>,
    /// The root certificate of the authority's own TLS, where it is one of your own; a PEM file.
    #[schemars(length(min = 1))]
    pub ca_file: Option<PathBuf>,
    /// How long after the hook the authority is told to look, in seconds (default 30): until all name servers
    /// of the zone have the record.
    #[schemars(range(min = 0, max = 3600))]
    pub propagation_secs: u32,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            hook: None,
            directory: DIRECTORY.to_owned(),
            contact: None,
            ca_file: None,
            propagation_secs: 30,
        }
    }
}

pub(super) fn take(layers: &mut Layers, default: &AcmeConfig) -> AcmeConfig {
    AcmeConfig {
        hook: layers.take_optional("ingress.acme.hook"),
        directory: layers.take("ingress.acme.directory", default.directory.clone()),
        contact: layers.take_optional("ingress.acme.contact"),
        ca_file: layers.take_optional("ingress.acme.ca_file"),
        propagation_secs: layers.take_in(
            "ingress.acme.propagation_secs",
            default.propagation_secs,
            0..=3600,
        ),
    }
}

/// Notes every contradiction.
pub(super) fn check(layers: &mut Layers, acme: &AcmeConfig) {
    if let Some(hook) = acme.hook.as_ref().filter(|hook| !hook.is_absolute()) {
        layers.refuse(
            "ingress.acme.hook",
            format_args!("is `{}`, which depends on where flagops is started", hook.display()),
            "give the path from `/` on",
        );
    }
    let is_address = |it: &url::Url| it.scheme() == "https" && it.username().is_empty();
    if url::Url::parse(&acme.directory).ok().filter(is_address).is_none() {
        layers.refuse(
            "ingress.acme.directory",
            "is no `https` address",
            "give the address of the authority's directory, \
             e.g. https://acme-staging-v02.api.letsencrypt.org/directory",
        );
    }
    let is_mail = |contact: &String| {
        let parts = contact.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
            && !contact.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
    };
    if acme.contact.as_ref().is_some_and(|contact| !is_mail(contact)) {
        layers.refuse(
            "ingress.acme.contact",
            "is no e-mail address",
            "give one, e.g. `ops@ctf.example`, without `mailto:`",
        );
    }
}

/// The section as a file would say it.
pub(super) fn defaults(acme: &AcmeConfig) -> Value {
    let AcmeConfig { hook, directory, contact, ca_file, propagation_secs } = acme;
    json!({
        "hook": hook,
        "directory": directory,
        "contact": contact,
        "ca_file": ca_file,
        "propagation_secs": propagation_secs,
    })
}
