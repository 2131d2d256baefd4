//! Follows the messages of an HTTP/1 connection byte by byte, and refuses each that two programs could
//! understand differently.
//!
//! In:  bytes as they arrive, however they are cut.
//! Out: the same bytes, as far as they may go on; a head only when all of it was judged.
//!
//! # Invariants
//! * What is handed on has one reading: lines end in CR LF, at most one of `Content-Length` and
//!   `Transfer-Encoding` says how long a body is, and it says so once.
//! * How the bytes are cut changes nothing.
//! * No more than one head, of at most `max_head` bytes, is kept.
//!
//! # Not here
//! What the parser behind this one makes of the message (`hyper`), and whose host it names (`proxy`).

/// A request that stands in for one that was refused: it makes the parser ask for an answer, and that
/// answer says why.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Most headers of a request.
const MAX_HEADERS: usize = 100;

/// Most empty lines before a request: old clients send one after a body.
const MAX_BLANK_LINES: u8 = 2;

/// Most hexadecimal digits of the size of a chunk.
const MAX_SIZE_DIGITS: u8 = 15;

/// Most bytes of extensions of one chunk, and of all trailers of a body.
const MAX_EXTRAS: u32 = 8 << 10;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The first line is not method, target and version with single spaces.
    RequestLine,
    /// `CONNECT` asks for a tunnel to anywhere.
    Connect,
    /// A line does not end in CR LF, or CR or LF is inside of one.
    LineEnd,
    /// A line begins with a space: once that continued the line before.
    Fold,
    /// A space is before the colon of a header.
    SpaceBeforeColon,
    /// A header without a name, or with a character that none may have.
    Header,
    /// Larger than allowed, or too many headers.
    TooLarge,
    /// Both `Content-Length` and `Transfer-Encoding`.
    BothLengths,
    /// `Content-Length` more than once, or no plain number.
    ContentLength,
    /// `Transfer-Encoding` other than one `chunked` in HTTP/1.1.
    TransferEncoding,
    /// Not exactly one `Host`.
    Host,
    /// A chunk that is not size, CR LF, as many bytes, CR LF.
    Chunk,
}

impl Refusal {
    /// The status, and the reason in a sentence.
    pub(super) fn words(self) -> (u16, &'static str) {
        match self {
            Self::RequestLine => (400, "The request line is malformed."),
            Self::Connect => (405, "CONNECT is not served here."),
            Self::LineEnd => (400, "Lines must end in CR LF."),
            Self::Fold => (400, "A header must not continue on another line."),
            Self::SpaceBeforeColon => (400, "No space may be before the colon of a header."),
            Self::Header => (400, "A header is malformed."),
            Self::TooLarge => (431, "The headers are too large."),
            Self::BothLengths => (400, "Content-Length and Transfer-Encoding exclude each other."),
            Self::ContentLength => (400, "Content-Length must be there once, as a number."),
            Self::TransferEncoding => (400, "Transfer-Encoding must be chunked and nothing else."),
            Self::Host => (400, "Host must be there once."),
            Self::Chunk => (400, "The chunked body is malformed."),
        }
    }
}

/// What became of a request to speak another protocol from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It is spoken: what follows is no HTTP.
    Accepted,
    /// It is not: the next request follows.
    Declined,
}

/// Where a connection is between two messages or inside of one.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// The head so far, when the state is one.
    head: Vec<u8>,
    n_blank_lines: u8,
    /// Messages whose heads went on.
    n_messages: u64,
    max_head: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are left.
    Length(u64),
    Chunked(Chunked),
    /// An upgrade was asked for; left by [`Framing::resume`].
    Asked,
    Tunnel,
    Refused(Refusal, Place),
}

/// Where a refusal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body,
}

/// Where a chunked body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunked {
    Size {
        value: u64,
        n_digits: u8,
    },
    Extension {
        value: u64,
        n: u32,
    },
    SizeEnd {
        value: u64,
    },
    Data(u64),
    DataEnd,
    DataLf,
    /// At the beginning of a line of trailers; `n` bytes of them were seen.
    Line {
        n: u32,
    },
    Trailer {
        n: u32,
    },
    TrailerEnd {
        n: u32,
    },
    LastLf,
}

impl Framing {
    /// Before the first message.
    pub(super) fn new(max_head: usize) -> Self {
        Self { state: State::Head, head: Vec::new(), n_blank_lines: 0, n_messages: 0, max_head }
    }

    /// Takes some of `input`, adds what may go on to `out`, and returns how many bytes it took: fewer
    /// than all only while an upgrade is asked for.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            at += match self.state {
                State::Head => self.feed_head(rest, out),
                State::Length(left) => {
                    let n = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&rest[..n]);
                    self.advance(n);
                    n
                }
                State::Chunked(chunked) => self.feed_chunked(chunked, rest, out),
                State::Asked => return at,
                State::Tunnel => {
                    out.extend_from_slice(rest);
                    rest.len()
                }
                State::Refused(..) => rest.len(),
            };
        }
        at
    }

    /// How many bytes may go on without a look at them.
    pub(super) fn unseen(&self) -> u64 {
        match self.state {
            State::Length(left) => left,
            State::Tunnel => u64::MAX,
            State::Head | State::Chunked(_) | State::Asked | State::Refused(..) => 0,
        }
    }

    /// Notes that `n` of the bytes of [`Framing::unseen`] went on.
    pub(super) fn advance(&mut self, n: usize) {
        if let State::Length(left) = self.state {
            let left = left.saturating_sub(n as u64);
            self.state = if left == 0 { State::Head } else { State::Length(left) };
        }
    }

    /// Which message, counted from 1, asks for an upgrade; nothing is taken before [`Framing::resume`].
    pub(super) fn asked(&self) -> Option<u64> {
        (self.state == State::Asked).then_some(self.n_messages)
    }

    /// Goes on after an upgrade was asked for.
    pub(super) fn resume(&mut self, outcome: Upgrade) {
        if self.state == State::Asked {
            self.state = match outcome {
                Upgrade::Accepted => State::Tunnel,
                Upgrade::Declined => State::Head,
            };
        }
    }

    /// Why the connection ends.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.state {
            State::Refused(refusal, _) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the refusal came inside of a message, part of which went on already.
    pub(super) fn is_cut_short(&self) -> bool {
        matches!(self.state, State::Refused(_, Place::Body))
    }

    fn feed_head(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        for (nth, &byte) in input.iter().enumerate() {
            let is_after_cr = self.head.last() == Some(&b'\r');
            if is_after_cr != (byte == b'\n') {
                return self.refuse(Refusal::LineEnd, input, out);
            }
            if self.head.len() == self.max_head {
                return self.refuse(Refusal::TooLarge, input, out);
            }
            self.head.push(byte);
            if byte != b'\n' {
                continue;
            }
            if self.head.len() == 2 {
                self.head.clear();
                self.n_blank_lines += 1;
                if self.n_blank_lines > MAX_BLANK_LINES {
                    return self.refuse(Refusal::RequestLine, input, out);
                }
            } else if self.head.ends_with(b"\r\n\r\n") {
                match judge(&self.head) {
                    Ok(next) => {
                        out.append(&mut self.head);
                        self.n_blank_lines = 0;
                        self.n_messages += 1;
                        self.state = next;
                        return nth + 1;
                    }
                    Err(refusal) => return self.refuse(refusal, input, out),
                }
            }
        }
        input.len()
    }

    fn refuse(&mut self, refusal: Refusal, input: &[u8], out: &mut Vec<u8>) -> usize {
        self.head = Vec::new();
        self.state = State::Refused(refusal, Place::Head);
        out.extend_from_slice(STAND_IN);
        input.len()
    }

    fn feed_chunked(&mut self, mut chunked: Chunked, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < input.len() {
            if let Chunked::Data(left) = chunked {
                let n = (input.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                at += n;
                let left = left - n as u64;
                chunked = if left == 0 { Chunked::DataEnd } else { Chunked::Data(left) };
                continue;
            }
            match chunked.step(input[at]) {
                Ok(Some(next)) => chunked = next,
                Ok(None) => {
                    self.state = State::Head;
                    out.extend_from_slice(&input[..=at]);
                    return at + 1;
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal, Place::Body);
                    out.extend_from_slice(&input[..at]);
                    return input.len();
                }
            }
            at += 1;
        }
        self.state = State::Chunked(chunked);
        out.extend_from_slice(input);
        input.len()
    }
}

impl Chunked {
    const BEGIN: Self = Self::Size { value: 0, n_digits: 0 };

    /// The place after `byte`; `None` after the last byte of the body.
    fn step(self, byte: u8) -> Result<Option<Self>, Refusal> {
        let next = match (self, byte) {
            (Self::Size { value, n_digits }, byte) if byte.is_ascii_hexdigit() => {
                if n_digits == MAX_SIZE_DIGITS {
                    return Err(Refusal::Chunk);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Self::Size { value: value << 4 | digit, n_digits: n_digits + 1 }
            }
            (Self::Size { value, n_digits: 1.. }, b'\r') => Self::SizeEnd { value },
            (Self::Size { value, n_digits: 1.. }, b';') => Self::Extension { value, n: 0 },
            (Self::Extension { value, .. }, b'\r') => Self::SizeEnd { value },
            (Self::Extension { value, n }, byte) if is_text(byte) && n < MAX_EXTRAS => {
                Self::Extension { value, n: n + 1 }
            }
            (Self::SizeEnd { value: 0 }, b'\n') => Self::Line { n: 0 },
            (Self::SizeEnd { value }, b'\n') => Self::Data(value),
            (Self::DataEnd, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::BEGIN,
            (Self::Line { .. }, b'\r') => Self::LastLf,
            (Self::Line { n }, byte) if is_token(byte) => Self::Trailer { n },
            (Self::Trailer { n }, b'\r') => Self::TrailerEnd { n },
            (Self::Trailer { n }, byte) if is_text(byte) && n < MAX_EXTRAS => {
                Self::Trailer { n: n + 1 }
            }
            (Self::TrailerEnd { n }, b'\n') => Self::Line { n },
            (Self::LastLf, b'\n') => return Ok(None),
            _ => return Err(Refusal::Chunk),
        };
        Ok(Some(next))
    }
}

/// What comes after a head: lines that end in CR LF, the last one empty.
fn judge(head: &[u8]) -> Result<State, Refusal> {
    let mut lines =
        head.split(|&byte| byte == b'\n').map(|it| it.strip_suffix(b"\r").unwrap_or(it));
    let request = RequestLine::parse(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    for (nth, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if nth == MAX_HEADERS {
            return Err(Refusal::TooLarge);
        }
        seen.note(line)?;
    }
    seen.verdict(request)
}

/// The first line, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct RequestLine {
    is_get: bool,
    is_http_11: bool,
}

impl RequestLine {
    fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        let is_method = !method.is_empty() && method.iter().all(|&byte| is_token(byte));
        let is_target =
            !target.is_empty() && target.iter().all(|&byte| is_text(byte) && byte != b'\t');
        let is_version = matches!(version, b"HTTP/1.1" | b"HTTP/1.0");
        if !(is_method && is_target && is_version) {
            return Err(Refusal::RequestLine);
        }
        if method == b"CONNECT" {
            return Err(Refusal::Connect);
        }
        Ok(Self { is_get: method == b"GET", is_http_11: version == b"HTTP/1.1" })
    }
}

/// What the headers say about where the message ends.
#[derive(Debug, Default)]
struct Seen {
    length: Option<u64>,
    is_chunked: bool,
    n_hosts: u32,
    is_upgrade: bool,
    is_websocket: bool,
}

impl Seen {
    fn note(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Fold);
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Refusal::Header)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if matches!(name.last(), Some(b' ' | b'\t')) {
            return Err(Refusal::SpaceBeforeColon);
        }
        let is_name = !name.is_empty() && name.iter().all(|&byte| is_token(byte));
        if !(is_name && value.iter().all(|&byte| is_text(byte))) {
            return Err(Refusal::Header);
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::ContentLength);
            }
            self.length = Some(number(value).ok_or(Refusal::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferEncoding);
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.n_hosts += 1;
        } else if name.eq_ignore_ascii_case(b"connection") {
            let mut words = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            self.is_upgrade |= words.any(|word| word.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.is_websocket = value.eq_ignore_ascii_case(b"websocket");
        }
        Ok(())
    }

    fn verdict(&self, request: RequestLine) -> Result<State, Refusal> {
        if self.n_hosts != 1 {
            return Err(Refusal::Host);
        }
        if self.is_chunked && !request.is_http_11 {
            return Err(Refusal::TransferEncoding);
        }
        let is_upgrade =
            self.is_upgrade && self.is_websocket && request.is_get && request.is_http_11;
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Refusal::BothLengths),
            (None, true) => Ok(State::Chunked(Chunked::BEGIN)),
            (Some(0) | None, false) if is_upgrade => Ok(State::Asked),
            (Some(0) | None, false) => Ok(State::Head),
            (Some(length), false) => Ok(State::Length(length)),
        }
    }
}

/// A number of digits only: `+5`, `5,5` and `0x5` are none.
fn number(value: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_plain.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// What names of methods and headers are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What targets and values are made of: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
