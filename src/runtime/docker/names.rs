//! What may be put into a path of the engine's API.
//!
//! The client library does not escape path segments: `../containers/x` as an image reference of an
//! author would ask for something else altogether.

use super::errors;
use crate::runtime::EngineError;

/// `name`, if it can be the name or id of a container, network or volume.
///
/// # Errors
/// [`EngineError::Refused`] otherwise.
pub(super) fn object(name: &str) -> Result<&str, EngineError> {
    let is_sound = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if is_sound { Ok(name) } else { Err(refused(name, "a name of an object")) }
}

/// `reference`, if it can be an image's id or reference: `[host[:port]/]path[:tag][@sha256:…]`.
///
/// # Errors
/// [`EngineError::Refused`] otherwise.
pub(super) fn image(reference: &str) -> Result<&str, EngineError> {
    let is_sound = reference.len() <= 512
        && reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
        && reference.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_sound { Ok(reference) } else { Err(refused(reference, "an image reference")) }
}

fn refused(text: &str, wanted: &str) -> EngineError {
    EngineError::Refused {
        what: errors::line(text),
        reason: format!("it is not {wanted}, so the engine is not asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_path_of_another_object() {
        for text in [
            "",
            "..",
            "../containers/x",
            "a/../b",
            "a?force=1",
            "a#b",
            "a%2fb",
            "a b",
            "/a",
            "a//b",
        ] {
            assert!(image(text).is_err(), "{text:?}");
            assert!(object(text).is_err(), "{text:?}");
        }
        assert!(object("a/b").is_err());
    }

    #[test]
    fn ordinary_names_pass() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in
            ["busybox", "busybox:1.36", "localhost:5000/a/b:c", &digest, &format!("a/b@{digest}")]
        {
            assert_eq!(image(text).unwrap(), text);
        }
        assert_eq!(object("fo-01234567-web_1.2").unwrap(), "fo-01234567-web_1.2");
    }
}
