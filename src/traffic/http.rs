//! HTTP/1 in what both ends of a connection said: requests, and the answers in their order.
//!
//! # Invariants
//! * Reading ends at the first thing that is not HTTP/1; what came before it stays.
//! * Texts and lists are cut to bounds; a body that was cut ends with [`CUT`].

use std::collections::BTreeMap;

use httparse::{EMPTY_HEADER, Header, Status};
use time::OffsetDateTime;

use super::flow::{Flow, Metadata, Request, Response, Side};
use super::stream::{Half, Talk};

/// How a body ends that goes on.
pub(super) const CUT: &str = "... [truncated]";
/// Most bytes of a body that are shown.
const MAX_BODY: usize = 16 << 10;
/// Most characters of a name, a value or a target.
const MAX_TEXT: usize = 4 << 10;
/// Most headers of a message; one with more is not read.
const MAX_HEADERS: usize = 100;
/// Most keys of a query.
const MAX_QUERY: usize = 100;

/// One message: where it is in its direction, and its body.
struct Message<T> {
    head: T,
    begin: usize,
    end: usize,
    body: Body,
}

/// A body, as far as it is shown.
#[derive(Debug, Default)]
struct Body {
    shown: Vec<u8>,
    /// How long what was seen of it is.
    n_bytes: usize,
    /// Whether the end of it was not seen.
    is_partial: bool,
}

impl Body {
    fn add(&mut self, bytes: &[u8]) {
        let room = MAX_BODY - self.shown.len();
        self.shown.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.n_bytes += bytes.len();
    }

    fn text(&self) -> Option<String> {
        if self.n_bytes == 0 {
            return None;
        }
        let mut text = String::from_utf8_lossy(&self.shown).into_owned();
        if self.is_partial || self.n_bytes > self.shown.len() {
            text.push_str(CUT);
        }
        Some(text)
    }
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
    UntilEnd,
}

/// The exchanges of one connection, the first first.
pub(super) fn exchanges(talk: &Talk) -> Vec<Flow> {
    let mut flows = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    while let Some(request) = request(&talk.asked.bytes, asked) {
        asked = request.end;
        let response = response(&talk.answered.bytes, answered, &request.head.method);
        if let Some(response) = &response {
            answered = response.end;
        }
        let is_over = response.as_ref().is_none_or(|it| it.head.status_code == 101);
        flows.push(flow(talk, request, response));
        if is_over {
            break;
        }
    }
    flows
}

fn flow(talk: &Talk, asked: Message<Request>, answered: Option<Message<Response>>) -> Flow {
    let begun = talk.asked.time_of(asked.begin);
    let over = answered.as_ref().map_or(begun, |it| last(&talk.answered, it));
    let mut request = asked.head;
    request.body = asked.body.text();
    if request.host.is_empty() {
        request.host = format!("{}:{}", talk.server.ip, talk.server.port);
    }
    if request.url.starts_with('/') {
        request.url = format!("http://{}{}", request.host, request.url);
    }
    let response = answered.map(|message| Response {
        body: message.body.text(),
        content_length: message.body.n_bytes as u64,
        ..message.head
    });
    #[expect(clippy::cast_precision_loss, reason = "fractions of milliseconds")]
    let duration = over.saturating_sub(begun) as f64 / 1000.0;
    let metadata = Metadata { timestamp: timestamp(begun), duration, side: Side::Inside };
    Flow { request, response, metadata, client: talk.client, server: talk.server }
}

fn last<T>(half: &Half, message: &Message<T>) -> u64 {
    half.time_of(message.end.saturating_sub(1))
}

/// RFC 3339 with microseconds.
fn timestamp(at_micros: u64) -> String {
    let nanos = i128::from(at_micros) * 1000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (at.date(), at.time());
    format!(
        "{date}T{:02}:{:02}:{:02}.{:06}Z",
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.microsecond()
    )
}

fn request(bytes: &[u8], begin: usize) -> Option<Message<Request>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let rest = bytes.get(begin..)?;
    let Ok(Status::Complete(n_head)) = parsed.parse(rest) else { return None };
    let target = cut(parsed.path?);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let length = match length(parsed.headers) {
        Length::UntilEnd => Length::Bytes(0),
        length => length,
    };
    let headers = headers_of(parsed.headers);
    let head = Request {
        method: cut(parsed.method?),
        host: headers.get("host").cloned().unwrap_or_default(),
        path: path.to_owned(),
        version: version(parsed.version),
        query: query_of(query),
        url: target.clone(),
        headers,
        body: None,
    };
    let (body, end) = body(bytes, begin + n_head, length);
    Some(Message { head, begin, end, body })
}

/// The answer to a request with `method`: interim ones are skipped.
fn response(bytes: &[u8], mut begin: usize, method: &str) -> Option<Message<Response>> {
    loop {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let rest = bytes.get(begin..)?;
        let Ok(Status::Complete(n_head)) = parsed.parse(rest) else { return None };
        let status_code = parsed.code?;
        if (100..200).contains(&status_code) && status_code != 101 {
            begin += n_head;
            continue;
        }
        let has_none = method == "HEAD" || matches!(status_code, 101 | 204 | 304);
        let length = if has_none { Length::Bytes(0) } else { length(parsed.headers) };
        let headers = headers_of(parsed.headers);
        let content_type = headers.get("content-type").cloned().unwrap_or_default();
        let head = Response { status_code, headers, body: None, content_type, content_length: 0 };
        let (body, end) = body(bytes, begin + n_head, length);
        return Some(Message { head, begin, end, body });
    }
}

fn length(headers: &[Header<'_>]) -> Length {
    let find = |name: &str| headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    let text =
        |header: &Header<'_>| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
    if find("transfer-encoding").is_some_and(|it| text(it).ends_with("chunked")) {
        return Length::Chunked;
    }
    let said = find("content-length").and_then(|it| text(it).parse().ok());
    said.map_or(Length::UntilEnd, Length::Bytes)
}

/// The body that begins at `begin`, and where what follows it begins.
fn body(bytes: &[u8], begin: usize, length: Length) -> (Body, usize) {
    let mut body = Body::default();
    let rest = bytes.get(begin..).unwrap_or_default();
    match length {
        Length::Chunked => {
            let end = chunks(rest, &mut body);
            (body, begin + end)
        }
        Length::UntilEnd => {
            body.add(rest);
            (body, bytes.len())
        }
        Length::Bytes(n_bytes) => {
            body.is_partial = n_bytes > rest.len();
            let seen = rest.get(..n_bytes).unwrap_or(rest);
            body.add(seen);
            (body, begin + seen.len())
        }
    }
}

/// Reads chunks into `body`, and returns where they end.
fn chunks(bytes: &[u8], body: &mut Body) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Ok(Status::Complete((n_line, size))) = httparse::parse_chunk_size(rest) else {
            body.is_partial = true;
            return bytes.len();
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let rest = rest.get(n_line..).unwrap_or_default();
        at += n_line;
        if size == 0 {
            return at + trailers(rest);
        }
        let chunk = rest.get(..size).unwrap_or(rest);
        body.add(chunk);
        if chunk.len() < size {
            body.is_partial = true;
            return bytes.len();
        }
        // The line break after it.
        at += size + 2;
    }
}

/// Where the lines after the last chunk end.
fn trailers(bytes: &[u8]) -> usize {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(Status::Complete((n_bytes, _))) => n_bytes,
        _ => bytes.len(),
    }
}

fn headers_of(headers: &[Header<'_>]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for header in headers {
        let value = cut(&String::from_utf8_lossy(header.value));
        let known = all.entry(cut(&header.name.to_ascii_lowercase())).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(&value);
    }
    all
}

fn query_of(query: &str) -> BTreeMap<String, String> {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).take(MAX_QUERY);
    pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

fn version(minor: Option<u8>) -> String {
    format!("HTTP/1.{}", minor.unwrap_or(1))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
