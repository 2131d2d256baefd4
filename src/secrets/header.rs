//! What can be told of an encrypted file without a key: for whom, how large, whether it can be used.
//!
//! The format is age v1 (<https://c2sp.org/age>). Everything here is public: an author's checks
//! need no key.

use std::borrow::Cow;

use thiserror::Error;

use super::{MAX_FILE_BYTES, MAX_PLAIN_BYTES, MAX_RECIPIENTS, armor};

const MAGIC: &[u8] = b"age-encryption.org/";
const VERSION: &[u8] = b"v1";
/// Most bytes before the content; a hundred recipients take a tenth of it.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// Most stanzas; some tools add one that nobody can read, so that readers learn to skip it.
const MAX_STANZAS: usize = MAX_RECIPIENTS + 20;
/// Characters of a full line of a stanza.
const COLUMNS: usize = 64;
/// The random bytes before the content.
const NONCE_BYTES: u64 = 16;
/// Plain bytes of a full chunk, and what encrypting adds to each.
const CHUNK_BYTES: u64 = 64 << 10;
const TAG_BYTES: u64 = 16;

/// How an encrypted file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As bytes.
    Binary,
    /// As text.
    Armored,
}

/// What an encrypted file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How it is stored.
    pub encoding: Encoding,
    /// For how many X25519 keys; whose they are, nobody can tell.
    pub n_recipients: usize,
    /// Bytes of its content.
    pub plain_bytes: u64,
}

/// Why no key of ours can open a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Something else.
    #[error("it is no age file")]
    NotAge,
    /// Of a format that is newer than we are.
    #[error("it has a newer format than age v1")]
    Newer,
    /// The text form is broken.
    #[error("its armor is broken at line {line}: {what}")]
    Armor {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The part before the content is broken.
    #[error("its header is broken: {what}")]
    Header {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its end is missing.
    #[error("its end is missing")]
    Truncated,
    /// More than we read.
    #[error("it holds more than {} MiB", MAX_PLAIN_BYTES >> 20)]
    TooLarge,
    /// A passphrase opens it.
    #[error(
        "it is encrypted with a passphrase, which a server cannot type, and trying one can be made \
         to take minutes"
    )]
    Passphrase,
    /// Only keys of other kinds open it.
    #[error("it is encrypted for no X25519 key (`age1…`), the only kind that nodes have")]
    OtherKeys,
}

impl Unusable {
    /// Whether it is an age file, but one for somebody else.
    pub fn is_for_others(&self) -> bool {
        matches!(self, Self::Passphrase | Self::OtherKeys)
    }
}

/// Looks at an encrypted file without a key. Linear in its size; at most [`MAX_FILE_BYTES`].
///
/// # Errors
/// When no identity of ours could ever open it.
pub fn inspect(bytes: &[u8]) -> Result<Header, Unusable> {
    Ok(read(bytes)?.0)
}

/// As [`inspect`], with the binary form.
pub(super) fn read(bytes: &[u8]) -> Result<(Header, Cow<'_, [u8]>), Unusable> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Unusable::TooLarge);
    }
    let (encoding, binary) = if armor::is_armored(bytes) {
        (Encoding::Armored, Cow::Owned(armor::decode(bytes)?))
    } else {
        (Encoding::Binary, Cow::Borrowed(bytes))
    };
    let (n_recipients, content) = read_head(&binary)?;
    let plain_bytes = plain_bytes(content.len() as u64)?;
    Ok((Header { encoding, n_recipients, plain_bytes }, binary))
}

/// The number of X25519 stanzas, and what follows the header.
fn read_head(binary: &[u8]) -> Result<(usize, &[u8]), Unusable> {
    let broken = |what| Unusable::Header { what };
    let version = binary.strip_prefix(MAGIC).ok_or(Unusable::NotAge)?;
    let mut lines = Lines { rest: version, n_left: MAX_HEADER_BYTES };
    if lines.next()? != VERSION {
        return Err(Unusable::Newer);
    }
    let (mut n_stanzas, mut n_recipients, mut has_passphrase) = (0, 0, false);
    loop {
        let line = lines.next()?;
        if let Some(mac) = line.strip_prefix(b"--- ") {
            if mac.len() != 43 || !mac.iter().all(|byte| is_base64(*byte)) {
                return Err(broken("the last line is none"));
            }
            break;
        }
        let stanza = line.strip_prefix(b"-> ").ok_or(broken("a line begins no recipient"))?;
        n_stanzas += 1;
        if n_stanzas > MAX_STANZAS {
            return Err(broken("it has more than a hundred recipients"));
        }
        let mut words = stanza.split(|byte| *byte == b' ');
        let kind = words.next().unwrap_or_default();
        if stanza.split(|byte| *byte == b' ').any(|word| !is_word(word)) {
            return Err(broken("a recipient has no name"));
        }
        has_passphrase |= kind == b"scrypt";
        n_recipients += usize::from(kind == b"X25519");
        read_body(&mut lines)?;
    }
    match (has_passphrase, n_stanzas, n_recipients) {
        (true, ..) => Err(Unusable::Passphrase),
        (false, 0, _) => Err(broken("it has no recipient")),
        (false, _, 0) => Err(Unusable::OtherKeys),
        (false, _, MAX_RECIPIENTS..) if n_recipients > MAX_RECIPIENTS => {
            Err(broken("it has more than a hundred recipients"))
        }
        (false, ..) => Ok((n_recipients, lines.rest)),
    }
}

/// Passes the lines of a stanza: full ones, then a shorter one.
fn read_body(lines: &mut Lines<'_>) -> Result<(), Unusable> {
    loop {
        let line = lines.next()?;
        if line.len() > COLUMNS || !line.iter().all(|byte| is_base64(*byte)) {
            return Err(Unusable::Header { what: "a line of a recipient is no base64" });
        }
        if line.len() < COLUMNS {
            return Ok(());
        }
    }
}

/// Lines of a header, as many bytes as one may have.
struct Lines<'a> {
    rest: &'a [u8],
    n_left: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], Unusable> {
        let Some(end) = self.rest.iter().take(self.n_left).position(|byte| *byte == b'\n') else {
            let is_over = self.rest.len() >= self.n_left;
            return Err(if is_over {
                Unusable::Header { what: "it has more than 128 KiB" }
            } else {
                Unusable::Truncated
            });
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.n_left -= end + 1;
        Ok(line)
    }
}

/// The size of the content that `content_bytes` after the header hold.
fn plain_bytes(content_bytes: u64) -> Result<u64, Unusable> {
    let sealed = content_bytes.checked_sub(NONCE_BYTES).ok_or(Unusable::Truncated)?;
    let n_chunks = sealed.div_ceil(CHUNK_BYTES + TAG_BYTES).max(1);
    let last = sealed - (n_chunks - 1) * (CHUNK_BYTES + TAG_BYTES);
    // Only the one chunk of an empty file is empty.
    if last < TAG_BYTES + u64::from(n_chunks > 1) {
        return Err(Unusable::Truncated);
    }
    let plain_bytes = sealed - n_chunks * TAG_BYTES;
    if plain_bytes > MAX_PLAIN_BYTES { Err(Unusable::TooLarge) } else { Ok(plain_bytes) }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

fn is_word(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_graphic)
}
