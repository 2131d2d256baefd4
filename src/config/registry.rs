//! `[registry]`: where images that one machine built are fetched from by the others.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::layers::Layers;

/// Longest name of a repository that every registry takes.
const MAX_REPOSITORY: usize = 200;

/// `[registry]`: an OCI registry that images travel through where `builder.build` is `once`, instead of
/// through the platform. Every machine that names the same repository uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Registry and repository, e.g. `registry.ctf.example:5000/flagops`; without it there is none.
    #[schemars(regex(
        pattern = r"^(localhost|[a-z0-9-]+:[0-9]{1,5}|[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?)(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$"
    ))]
    pub repository: Option<String>,
    /// Who we are there; without it nobody.
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// A file with the password or token, read anew each time.
    #[schemars(length(min = 1))]
    pub password_file: Option<PathBuf>,
}

pub(super) fn take(layers: &mut Layers) -> RegistryConfig {
    RegistryConfig {
        repository: layers.take_optional("registry.repository"),
        username: layers.take_optional("registry.username"),
        password_file: layers.take_optional("registry.password_file"),
    }
}

/// As in the documentation.
pub(super) fn defaults(registry: &RegistryConfig) -> Value {
    let RegistryConfig { repository, username, password_file } = registry;
    json!({ "repository": repository, "username": username, "password_file": password_file })
}

/// Notes every contradiction.
pub(super) fn check(layers: &mut Layers, registry: &RegistryConfig) {
    if let Some(repository) = &registry.repository
        && let Err(problem) = check_repository(repository)
    {
        layers.refuse(
            "registry.repository",
            problem,
            "give the registry and a repository of it, e.g. `registry.ctf.example:5000/flagops`",
        );
    }
    match (&registry.username, &registry.password_file) {
        (Some(_), None) => layers.refuse(
            "registry.password_file",
            "is missing, and `registry.username` is set",
            "give a file with the password or token, mode 0600",
        ),
        (None, Some(_)) => layers.refuse(
            "registry.username",
            "is missing, and `registry.password_file` is set",
            "give the name that the password is of",
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// The names that an engine takes for a repository with its registry before it
/// (`distribution/reference`, as of 2.8).
fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_REPOSITORY {
        return Err("has more than 200 characters");
    }
    let (host, path) = text.split_once('/').ok_or("has no repository after the registry")?;
    // An engine takes a first part without dot and port for a folder of the public hub.
    if host != "localhost" && !host.contains(['.', ':']) {
        return Err("begins with a name that an engine takes for a folder of the public hub");
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !name.split('.').all(is_label) {
        return Err("names no registry in lower case");
    }
    if port.parse::<u16>().is_err() {
        return Err("names a port that is none");
    }
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_component = |part: &str| {
        part.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
            && part.bytes().next().is_some_and(is_plain)
            && part.bytes().last().is_some_and(is_plain)
            && !["..", "._", "_.", "-.", ".-", "-_", "_-", "___"].iter().any(|it| part.contains(it))
    };
    if !path.split('/').all(is_component) {
        return Err(
            "is no name of a repository: lower case, digits, and single separators, no tag",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        for good in [
            "registry.ctf.example/flagops",
            "127.0.0.1:5000/a/b_c/d--e",
            "localhost/x",
            "registry.example:443/ctf-2026/flagops.images",
        ] {
            assert_eq!(check_repository(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "flagops",
            "library/flagops",
            "registry.example",
            "registry.example/",
            "registry.example/a:tag",
            "registry.example/a@sha256:00",
            "registry.example/A",
            "registry.example/a..b",
            "registry.example/-a",
            "registry.example:x/a",
            "registry.example:70000/a",
            "user@registry.example/a",
            "https://registry.example/a",
            ".example/a",
        ] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
    }
}
