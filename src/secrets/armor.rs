//! The text form of an encrypted file, which diffs and mails take: strict PEM.
//!
//! # Invariants
//! * What is decoded is what was encoded: no other text gives the same bytes, but for line ends and
//!   white space around the whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::header::Unusable;

const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";
/// Characters of a full line.
const COLUMNS: usize = 64;

/// Whether `bytes` look like this form.
pub(super) fn is_armored(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN)
}

/// The binary form of an armored file.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, Unusable> {
    let skipped = &bytes[..bytes.len() - bytes.trim_ascii_start().len()];
    let first = 1 + skipped.iter().filter(|byte| **byte == b'\n').count();
    let mut lines = (first..).zip(bytes.trim_ascii().split(|byte| *byte == b'\n'));
    // The caller saw that it begins so; more on the line is a fault.
    let begins = lines.next().is_some_and(|(_, line)| without_return(line) == BEGIN);
    let mut binary = Vec::with_capacity(bytes.len() / 4 * 3);
    let mut is_last = false;
    let wrong = |line, what| Err(Unusable::Armor { line, what });
    if !begins {
        return wrong(first, "the first line has more than it should");
    }
    // Said before anything else: of a file that was cut off, the last line is mostly broken too.
    if !lines.clone().any(|(_, line)| without_return(line) == END) {
        return Err(Unusable::Truncated);
    }
    while let Some((number, line)) = lines.next() {
        let line = without_return(line);
        if line == END {
            return match lines.next() {
                Some((number, _)) => wrong(number, "something follows the last line"),
                None => Ok(binary),
            };
        }
        if is_last {
            return wrong(number, "a line follows a shorter one");
        }
        is_last = line.len() < COLUMNS;
        let is_decoded = !line.is_empty()
            && line.len() <= COLUMNS
            && STANDARD.decode_vec(line, &mut binary).is_ok();
        if !is_decoded {
            return wrong(number, "the line is no base64 of at most 64 characters");
        }
        // Padding ends the text.
        is_last |= line.ends_with(b"=");
    }
    Err(Unusable::Truncated)
}

/// The armored form of a binary file.
pub(super) fn encode(binary: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(binary);
    let mut armored = Vec::with_capacity(text.len() + text.len() / COLUMNS + 80);
    let lines = text.as_bytes().chunks(COLUMNS);
    for line in std::iter::once(BEGIN).chain(lines).chain(std::iter::once(END)) {
        armored.extend_from_slice(line);
        armored.push(b'\n');
    }
    armored
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
