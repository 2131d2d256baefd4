//! What the engine's words mean to us.
//!
//! Docker has few error codes and says the rest in prose, so the prose is read here and nowhere
//! else. Its words are shown to people, cut to one line: they can quote what an author wrote.
//!
//! # Invariants
//! * A failure of the transport is never mistaken for an answer, and never for an absence.

use std::error::Error as _;

use bollard::errors::Error;

use super::connect::Call;
use crate::runtime::EngineError;

/// Longest text of the engine that gets into an error, in characters.
const REASON_CHARS: usize = 400;

/// The status of a refusal; `None` when the engine did not answer.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The engine's own words, on one line.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => line(message),
        Error::DockerStreamError { error } => line(error),
        other => {
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            line(&text)
        }
    }
}

/// `text` on one line, without control characters, cut to [`REASON_CHARS`].
pub(super) fn line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(REASON_CHARS) {
        Some((cut, _)) => format!("{}…", &joined[..cut]),
        None => joined,
    }
}

/// The engine is too old or too new for the version we named.
pub(super) fn is_version_refusal(error: &Error) -> bool {
    status(error) == Some(400) && {
        let reason = reason(error);
        reason.contains("client version")
            && (reason.contains("too old") || reason.contains("too new"))
    }
}

/// The deadline of `call` has passed.
pub(super) fn timed_out(call: &Call) -> EngineError {
    EngineError::TimedOut { what: call.what.clone(), secs: call.deadline.as_secs() }
}

/// What `error` means when the call itself says no more. 404 is the object of the call.
pub(super) fn map(error: &Error, call: &Call, endpoint: &str) -> EngineError {
    let reason = reason(error);
    let what = call.what.clone();
    match (error, status(error)) {
        (Error::RequestTimeoutError, _) => timed_out(call),
        (_, Some(status)) if is_passing(status, &reason) => {
            EngineError::Unavailable { endpoint: endpoint.to_owned(), reason }
        }
        (Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. }, status) => {
            if is_disk_full(&reason) {
                EngineError::DiskFull { reason }
            } else if status == Some(404) {
                EngineError::NotFound { what: format!("what `{what}` needs ({reason})") }
            } else {
                EngineError::Refused { what, reason }
            }
        }
        // Everything else is the transport: no socket, refused, reset, cut in the middle.
        _ => EngineError::Unavailable { endpoint: endpoint.to_owned(), reason },
    }
}

/// Whether the engine's disk is full.
pub(super) fn is_disk_full(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("no space left on device") || reason.contains("disk quota exceeded")
}

/// A 5xx that says: not now.
fn is_passing(status: u16, reason: &str) -> bool {
    const WORDS: [&str; 10] = [
        "context deadline exceeded",
        "context canceled",
        "connection refused",
        "connection error",
        "transport is closing",
        "ttrpc: closed",
        "resource temporarily unavailable",
        "too many open files",
        "cannot allocate memory",
        "error while dialing",
    ];
    let reason = reason.to_ascii_lowercase();
    status == 503
        || status >= 500
            && !is_disk_full(&reason)
            && WORDS.iter().any(|words| reason.contains(words))
}

/// Whether a network was refused because its subnet, bridge or name is in use.
///
/// Not by status: an exhausted pool is a 404, an overlap a 403, a taken bridge a 403 or a 500.
pub(super) fn is_subnet_taken(error: &Error) -> bool {
    const WORDS: [&str; 7] = [
        "pool overlaps",
        "conflicts with network",
        "non-overlapping",
        "have same bridge name",
        "with the same name",
        "already exists",
        "address already in use",
    ];
    let reason = reason(error).to_ascii_lowercase();
    status(error).is_some() && WORDS.iter().any(|words| reason.contains(words))
}

/// Whether a start was refused because a host port is in use.
pub(super) fn is_port_taken(error: &Error) -> bool {
    let reason = reason(error).to_ascii_lowercase();
    status(error).is_some()
        && (reason.contains("port is already allocated")
            || reason.contains("address already in use")
            || reason.contains("ports are not available"))
}

/// Whether a pull or the base image of a build failed because its registry was not reached.
pub(super) fn is_registry_unreachable(reason: &str) -> bool {
    const WORDS: [&str; 8] = [
        "dial tcp",
        "no such host",
        "i/o timeout",
        "tls handshake timeout",
        "toomanyrequests",
        "client.timeout exceeded",
        "connection reset by peer",
        "unexpected eof",
    ];
    let reason = reason.to_ascii_lowercase();
    WORDS.iter().any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    fn check(error: &Error) -> String {
        map(error, &Call::read("start container x"), "unix:///d.sock").to_string()
    }

    #[test]
    fn the_engines_words_become_situations() {
        insta::assert_snapshot!(check(&refusal(404, "No such container: x")), @"what `start container x` needs (No such container: x) does not exist on the container engine");
        insta::assert_snapshot!(check(&refusal(500, "write /x: no space left on device")), @"the disk of the container engine is full (write /x: no space left on device)");
        insta::assert_snapshot!(check(&refusal(500, "failed to dial: context deadline exceeded")), @"the container engine at `unix:///d.sock` does not answer (failed to dial: context deadline exceeded)");
        insta::assert_snapshot!(check(&refusal(400, "invalid\nmount")), @"the container engine refused `start container x`: invalid mount");
        insta::assert_snapshot!(check(&Error::SocketNotFoundError("/d.sock".into())), @"the container engine at `unix:///d.sock` does not answer (Socket not found: /d.sock)");
        insta::assert_snapshot!(check(&Error::RequestTimeoutError), @"the container engine did not finish `start container x` within 10 s");
    }

    #[test]
    fn an_exhausted_pool_is_a_taken_subnet_although_docker_says_404() {
        let words =
            "could not find an available, non-overlapping IPv4 address pool among the defaults";
        assert!(is_subnet_taken(&refusal(404, words)));
        assert!(is_subnet_taken(&refusal(
            403,
            "Pool overlaps with other one on this address space"
        )));
        assert!(is_subnet_taken(&refusal(409, "network with name fo-1 already exists")));
        assert!(!is_subnet_taken(&refusal(404, "plugin \"bridge\" not found")));
        assert!(!is_subnet_taken(&Error::RequestTimeoutError));
    }

    #[test]
    fn hostile_words_stay_short_and_on_one_line() {
        let text = line(&"a\u{1b}[31m\r\n".repeat(1000));
        assert!(!text.contains(char::is_control));
        assert_eq!(text.chars().count(), REASON_CHARS + 1);
    }

    #[test]
    fn only_a_version_refusal_makes_us_negotiate_again() {
        let words = "client version 1.51 is too new. Maximum supported API version is 1.41";
        assert!(is_version_refusal(&refusal(400, words)));
        assert!(is_version_refusal(&refusal(400, "client version 1.41 is too old. Minimum …")));
        assert!(!is_version_refusal(&refusal(400, "invalid mount: too new")));
        assert!(!is_version_refusal(&refusal(500, words)));
    }
}
