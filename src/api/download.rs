//! A file as an HTTP answer: entity tag, ranges, and a file name that cannot break a header.
//!
//! # Invariants
//! * Whatever a file is called, the headers are printable ASCII and the browser saves it instead
//!   of showing it: no script of a challenge ever runs in the platform's origin.
//! * Of a file on disk one chunk is in memory, however large it is and whatever part is asked for.

use std::fmt::Write as _;
use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::daemon::platform::{Content, Download, DownloadSlot, Packets};

/// Most that is read of a file on disk at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Says that older packets than these had to go.
const CUT: HeaderName = HeaderName::from_static("flagops-capture-cut");

/// Answers captured packets of the instance `id`, which is one.
pub(crate) fn packets(id: &str, packets: Packets) -> Response {
    let name = format!("attachment; filename=\"{}.pcap\"", super::error::cut(id));
    let name = HeaderValue::try_from(name);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.tcpdump.pcap")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_DISPOSITION, name.unwrap_or(HeaderValue::from_static("attachment"))),
    ];
    let mut response = (headers, packets.pcap).into_response();
    if packets.is_cut {
        response.headers_mut().insert(CUT, HeaderValue::from_static("true"));
    }
    response
}

/// Answers `file` as the file `name` (its leaf), or the part of it that `headers` ask for. `slot` is
/// held until the last byte is on its way, or nobody wants it any more.
pub(crate) fn answer(
    name: &str,
    file: Download,
    slot: DownloadSlot,
    headers: &HeaderMap,
) -> Response {
    let tag = format!("\"{}\"", file.tag);
    let size = match &file.content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(_, size) => *size,
    };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|known| matches(known, &tag)) {
        return with_headers(StatusCode::NOT_MODIFIED, name, &tag, Body::empty());
    }
    let is_same = text(header::IF_RANGE).is_none_or(|known| known.trim() == tag);
    let wanted = text(header::RANGE).filter(|_| is_same).map(|range| part(range, size));
    let (status, range) = match wanted {
        None | Some(Part::Whole) => (StatusCode::OK, 0..size),
        Some(Part::Slice(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Part::Unsatisfiable) => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let response = with_headers(status, name, &tag, Body::empty());
            return with_range(response, format!("bytes */{size}"));
        }
    };
    let (place, n_bytes) = (
        format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1)),
        range.end - range.start,
    );
    let Ok(body) = body(file.content, range, slot) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = with_headers(status, name, &tag, body);
    response.headers_mut().insert(header::CONTENT_LENGTH, n_bytes.into());
    if status == StatusCode::PARTIAL_CONTENT { with_range(response, place) } else { response }
}

/// The bytes `range` of a content; a file is read as it is sent.
fn body(content: Content, range: Range<u64>, slot: DownloadSlot) -> io::Result<Body> {
    let hold = move |chunk: io::Result<Bytes>| {
        let _until_the_end = &slot;
        chunk
    };
    match content {
        Content::Bytes(bytes) => {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let (start, end) = (at(range.start), at(range.end));
            let part = Bytes::from(bytes).slice(start..end);
            Ok(Body::from_stream(stream::iter([Ok(part)]).map(hold)))
        }
        Content::File(mut file, _) => {
            file.seek(SeekFrom::Start(range.start))?;
            let part = tokio::fs::File::from_std(file).take(range.end - range.start);
            Ok(Body::from_stream(ReaderStream::with_capacity(part, CHUNK_BYTES).map(hold)))
        }
    }
}

fn with_headers(status: StatusCode, name: &str, tag: &str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition(name)),
        (header::ETAG, tag.to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
    ];
    (status, headers, body).into_response()
}

fn with_range(mut response: Response, place: String) -> Response {
    if let Ok(value) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// Whether `tag` is in an `If-None-Match` list; weak comparison.
fn matches(known: &str, tag: &str) -> bool {
    known
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one == tag)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Everything: also for several ranges and for what is no range.
    Whole,
    /// A part of at least one byte.
    Slice(Range<u64>),
    /// Nothing of the file.
    Unsatisfiable,
}

/// Reads `bytes=from-to` against a file of `size` bytes (RFC 9110 §14).
fn part(header: &str, size: u64) -> Part {
    let Some((first, last)) = header.trim().strip_prefix("bytes=").and_then(|r| r.split_once('-'))
    else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let slice = match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return Part::Whole,
    };
    if slice.start < slice.end { Part::Slice(slice) } else { Part::Unsatisfiable }
}

/// Digits only; more than fit are as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `attachment` with the leaf of `name`, in both spellings of RFC 6266: plain ASCII for old
/// clients, percent-encoded UTF-8 for the others.
pub(crate) fn disposition(name: &str) -> String {
    let leaf = name.rsplit('/').next().unwrap_or(name);
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ';
    let plain: String = leaf.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != leaf {
        text.push_str("; filename*=UTF-8''");
        for byte in leaf.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn file_names_cannot_break_out_of_the_header() {
        let names = [
            "readme.txt",
            "src/deep/main.c",
            "a\"; filename=\"evil.exe",
            "line\r\nSet-Cookie: x=1",
            "Übung 1.pdf",
            "100%.txt",
        ];
        insta::assert_snapshot!(names.map(disposition).join("\n"), @r#"
        attachment; filename="readme.txt"
        attachment; filename="main.c"
        attachment; filename="a_; filename=_evil.exe"; filename*=UTF-8''a%22%3B%20filename%3D%22evil.exe
        attachment; filename="line__Set-Cookie: x=1"; filename*=UTF-8''line%0D%0ASet-Cookie%3A%20x%3D1
        attachment; filename="_bung 1.pdf"; filename*=UTF-8''%C3%9Cbung%201.pdf
        attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt
        "#);
    }

    #[test]
    fn ranges_follow_the_rfc() {
        let cases = [
            ("bytes=0-3", Part::Slice(0..4)),
            ("bytes=2-", Part::Slice(2..10)),
            ("bytes=-3", Part::Slice(7..10)),
            ("bytes=-99", Part::Slice(0..10)),
            ("bytes=5-99999999999999999999999", Part::Slice(5..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=0-3", Part::Whole),
        ];
        for (header, wanted) in cases {
            assert_eq!(part(header, 10), wanted, "{header}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
    }

    fn answered(headers: &HeaderMap) -> Response {
        answer("a.txt", file(b"0123456789"), slot(), headers)
    }

    /// A file on disk.
    fn file(bytes: &[u8]) -> Download {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        Download { content: Content::File(file, bytes.len() as u64), tag: "0".repeat(32) }
    }

    fn slot() -> DownloadSlot {
        DownloadSlot::free()
    }

    fn check(ask: &[(HeaderName, &str)]) -> (u16, Option<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in ask {
            headers.insert(name.clone(), value.parse().unwrap());
        }
        let response = answered(&headers);
        let range = response.headers().get(header::CONTENT_RANGE);
        (response.status().as_u16(), range.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_known_tag_saves_the_transfer_and_guards_a_range() {
        let whole = answered(&HeaderMap::new());
        let tag = whole.headers()[header::ETAG].to_str().unwrap();
        let range = (header::RANGE, "bytes=2-4");
        assert_eq!(check(&[(header::IF_NONE_MATCH, tag)]), (304, None));
        assert_eq!(check(&[(header::IF_NONE_MATCH, "\"other\"")]), (200, None));
        let sliced = (206, Some("bytes 2-4/10".to_owned()));
        assert_eq!(check(&[range.clone(), (header::IF_RANGE, tag)]), sliced);
        assert_eq!(check(&[range, (header::IF_RANGE, "\"old\"")]), (200, None));
        let beyond = (416, Some("bytes */10".to_owned()));
        assert_eq!(check(&[(header::RANGE, "bytes=20-")]), beyond);
    }

    /// Everything that is sent for a `Range`, and whether its length was announced.
    async fn sent(download: Download, range: &str) -> Vec<u8> {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
        let response = answer("a.txt", download, slot(), &headers);
        let announced = response.headers().get(header::CONTENT_LENGTH).cloned();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        if let Some(announced) = announced {
            assert_eq!(announced, body.len().to_string());
        }
        body.to_vec()
    }

    #[tokio::test]
    async fn t11_parts_of_files_on_disk_and_in_memory_are_the_same() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let memory = || Download { content: Content::Bytes(bytes.clone()), tag: String::new() };
        for (range, part) in [
            ("bytes=0-", &bytes[..]),
            ("bytes=65535-65536", &bytes[65_535..65_537]),
            ("bytes=-1", &bytes[199_999..]),
            ("bytes=199999-18446744073709551615", &bytes[199_999..]),
            ("bytes=200000-", &[][..]),
            ("bytes=0-0,5-9,3-", &bytes[..]),
            ("bytes=-18446744073709551616", &bytes[..]),
        ] {
            assert!(sent(file(&bytes), range).await == part, "{range} of a file");
            assert!(sent(memory(), range).await == part, "{range} of memory");
        }
        let many = format!("bytes={}", "0-,".repeat(1_000));
        assert!(sent(file(&bytes), &many).await == bytes, "one range or everything");
    }

    proptest! {
        #[test]
        fn every_name_makes_a_good_header(name in ".*") {
            prop_assert!(HeaderValue::from_str(&disposition(&name)).is_ok());
        }

        #[test]
        fn no_range_reaches_outside(header in "bytes=[0-9]{0,30}-[0-9]{0,30}", size in 0_u64..100) {
            if let Part::Slice(range) = part(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
