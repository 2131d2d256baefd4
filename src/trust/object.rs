//! Reads raw tag and commit objects: headers, what was signed, and the signature.
//!
//! Stricter than git: what git itself would not write is refused, because an organizer reads the
//! tag with git and we must see the same. The signed bytes are those that git hands to its
//! verifier: everything before the last signature of a tag, and a commit without its signature.

use super::verdict::{Verdict, shown};
use crate::model::{ObjectId, Timestamp};

/// Largest object that is looked at. A message of a megabyte is no message.
const MAX_BYTES: usize = 1 << 20;

/// A tag object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagObject<'a> {
    /// What it points to.
    pub(super) target: ObjectId,
    /// `commit`, or what else.
    pub(super) kind: &'a str,
    /// The name in the object.
    pub(super) name: &'a [u8],
    /// The tagger's date.
    pub(super) at: Timestamp,
    /// The message, without the signature.
    pub(super) message: &'a [u8],
    /// What was signed.
    pub(super) payload: &'a [u8],
    /// The armoured signature, if there is one.
    pub(super) signature: Option<Armor<'a>>,
}

/// A commit object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommitObject {
    /// Its tree.
    pub(super) tree: ObjectId,
    /// The committer's date.
    pub(super) at: Timestamp,
    /// What was signed.
    pub(super) payload: Vec<u8>,
    /// The armoured signature, if there is one; unfolded.
    pub(super) signature: Option<Vec<u8>>,
}

/// An armoured signature, by its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Armor<'a> {
    /// `-----BEGIN SSH SIGNATURE-----`.
    Ssh(&'a [u8]),
    /// `-----BEGIN PGP SIGNATURE-----`.
    OpenPgp(&'a [u8]),
    /// Another kind that git knows, by name.
    Other(&'static str),
}

const SSH: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
const SSH_END: &[u8] = b"-----END SSH SIGNATURE-----";
const OPENPGP: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const OPENPGP_END: &[u8] = b"-----END PGP SIGNATURE-----";
/// Others that git takes for the begin of a signature, and what they are called.
const OTHERS: [(&[u8], &str); 2] = [
    (b"-----BEGIN PGP MESSAGE-----", "an OpenPGP message in the place of a signature"),
    (b"-----BEGIN SIGNED MESSAGE-----", "an X.509 signature"),
];

impl<'a> Armor<'a> {
    /// The signature that `block` is. It begins with one of the known lines.
    ///
    /// Behind its last line there may be nothing but blank lines.
    pub(super) fn parse(block: &'a [u8]) -> Result<Self, Verdict> {
        if let Some((_, name)) = OTHERS.iter().find(|(begin, _)| block.starts_with(begin)) {
            return Ok(Self::Other(name));
        }
        let first = block.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match first.trim_ascii_end() {
            SSH => whole(block, SSH_END).map(Self::Ssh),
            OPENPGP => whole(block, OPENPGP_END).map(Self::OpenPgp),
            _ => Err(bad("it does not begin like a signature")),
        }
    }
}

/// `block` up to the line `end`, behind which nothing but blank lines may stand.
fn whole<'a>(block: &'a [u8], end: &[u8]) -> Result<&'a [u8], Verdict> {
    let mut at = 0;
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.trim_ascii_end() == end {
            let is_over = block[at..].iter().all(u8::is_ascii_whitespace);
            let more = || bad("there is something behind its last line");
            return is_over.then_some(&block[..at]).ok_or_else(more);
        }
    }
    Err(bad("its last line is missing"))
}

fn bad(why: &str) -> Verdict {
    Verdict::BadSignature { why: why.to_owned() }
}

fn malformed(what: impl Into<String>) -> Verdict {
    Verdict::Malformed { what: what.into() }
}

/// Where the last signature begins: the offset, or the length when there is none.
fn signature_start(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut start = bytes.len();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_begin = line.starts_with(SSH)
            || line.starts_with(OPENPGP)
            || OTHERS.iter().any(|(begin, _)| line.starts_with(begin));
        if is_begin {
            start = at;
        }
        at += line.len();
    }
    start
}

impl<'a> TagObject<'a> {
    /// Reads a raw tag object.
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, Verdict> {
        if raw.len() > MAX_BYTES {
            return Err(malformed(format!("{} bytes are too many", raw.len())));
        }
        if raw.starts_with(b"tree ") {
            return Err(Verdict::Lightweight);
        }
        let start = signature_start(raw);
        let (payload, block) = raw.split_at(start);
        let mut headers = Headers(payload);
        let target = object_id(headers.take("object")?)?;
        let kind = std::str::from_utf8(headers.take("type")?)
            .map_err(|_| malformed("the type is not text"))?;
        if !["commit", "tag", "tree", "blob"].contains(&kind) {
            return Err(malformed(format!("`{}` is no type", shown(kind.as_bytes()))));
        }
        let name = headers.take("tag")?;
        let at = date(headers.take("tagger")?)?;
        let message = headers.message()?;
        let signature = if block.is_empty() { None } else { Some(Armor::parse(block)?) };
        Ok(Self { target, kind, name, at, message, payload, signature })
    }

    /// The values of all `Release-Repo:` lines of the message.
    pub(super) fn repositories(&self) -> impl Iterator<Item = &'a [u8]> {
        const KEY: &[u8] = b"release-repo:";
        self.message.split(|byte| *byte == b'\n').filter_map(|line| {
            let (key, value) = line.split_at_checked(KEY.len())?;
            key.eq_ignore_ascii_case(KEY).then(|| value.trim_ascii())
        })
    }
}

impl CommitObject {
    /// Reads a raw commit object.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, Verdict> {
        if raw.len() > MAX_BYTES {
            return Err(malformed(format!("{} bytes are too many", raw.len())));
        }
        let mut headers = Headers(raw);
        let tree = object_id(headers.take("tree")?)?;
        while headers.0.starts_with(b"parent ") {
            object_id(headers.take("parent")?)?;
        }
        date(headers.take("author")?)?;
        let at = date(headers.take("committer")?)?;
        let n_fixed = raw.len() - headers.0.len();
        let (payload, signature) = without_signature(raw, n_fixed)?;
        Ok(Self { tree, at, payload, signature })
    }
}

/// Splits a commit, whose headers up to `n_fixed` are read, into what was signed and the signature.
fn without_signature(raw: &[u8], n_fixed: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), Verdict> {
    let mut payload = raw[..n_fixed].to_vec();
    let mut signature: Option<Vec<u8>> = None;
    let mut is_inside = false;
    let mut at = n_fixed;
    for line in raw[n_fixed..].split_inclusive(|byte| *byte == b'\n') {
        if line == b"\n" {
            payload.extend_from_slice(&raw[at..]);
            return Ok((payload, signature));
        }
        at += line.len();
        if let (true, Some(rest), Some(signature)) =
            (is_inside, line.strip_prefix(b" "), signature.as_mut())
        {
            signature.extend_from_slice(rest);
            continue;
        }
        is_inside = false;
        if let Some(rest) = line.strip_prefix(b"gpgsig ") {
            if signature.is_some() {
                return Err(malformed("there are two signatures"));
            }
            signature = Some(rest.to_vec());
            is_inside = true;
        } else if line.starts_with(b"gpgsig") {
            return Err(malformed("there is a signature for another kind of object id"));
        } else {
            payload.extend_from_slice(line);
        }
    }
    Err(malformed("there is no message"))
}

/// Headers that are still to be read, one a line, in their order.
struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// The value of the next header, which is `name`.
    fn take(&mut self, name: &str) -> Result<&'a [u8], Verdict> {
        let missing = || malformed(format!("there is no `{name}` line in its place"));
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or_else(missing)?;
        let (line, rest) = self.0.split_at(end);
        let value = line
            .strip_prefix(name.as_bytes())
            .and_then(|line| line.strip_prefix(b" "))
            .ok_or_else(missing)?;
        if value.contains(&0) {
            return Err(malformed(format!("there is a NUL byte in the `{name}` line")));
        }
        self.0 = &rest[1..];
        Ok(value)
    }

    /// What follows the blank line behind the last header.
    fn message(&self) -> Result<&'a [u8], Verdict> {
        self.0.strip_prefix(b"\n").ok_or_else(|| malformed("there are more lines than git writes"))
    }
}

fn object_id(value: &[u8]) -> Result<ObjectId, Verdict> {
    let text = std::str::from_utf8(value).ok().filter(|text| {
        // git writes lower case, and only that is compared.
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed(format!("`{}` is no object id", shown(value))))
}

/// The date of `Name <mail> 1700000000 +0100`.
fn date(value: &[u8]) -> Result<Timestamp, Verdict> {
    let broken = || malformed(format!("`{}` is no name with a date", shown(value)));
    let mail_end = value.iter().rposition(|byte| *byte == b'>').ok_or_else(broken)?;
    let rest = std::str::from_utf8(&value[mail_end + 1..]).map_err(|_| broken())?;
    let (secs, zone) =
        rest.strip_prefix(' ').and_then(|rest| rest.split_once(' ')).ok_or_else(broken)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_zone = zone.len() == 5 && zone.starts_with(['+', '-']) && is_number(&zone[1..]);
    // Twelve digits end in the year 33658.
    if !is_number(secs) || secs.len() > 12 || !is_zone || !value[..mail_end].contains(&b'<') {
        return Err(broken());
    }
    let secs: i64 = secs.parse().map_err(|_| broken())?;
    Ok(Timestamp::from_millis(secs * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "object 1111111111111111111111111111111111111111\ntype commit\ntag v1\n\
                        tagger A <a@b> 1700000000 +0100\n";
    const ARMOR: &str = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n";

    fn reason(text: &str) -> &'static str {
        TagObject::parse(text.as_bytes()).map_or_else(|verdict| verdict.reason(), |_| "ok")
    }

    #[test]
    fn a_tag_is_split_where_git_splits_it() {
        let text = format!("{HEAD}\nquoted:\n{ARMOR}\nend\n{ARMOR}");
        let tag = TagObject::parse(text.as_bytes()).unwrap();
        assert_eq!(tag.name, b"v1");
        assert_eq!(tag.at, Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(tag.payload, format!("{HEAD}\nquoted:\n{ARMOR}\nend\n").as_bytes());
        assert_eq!(tag.signature, Some(Armor::Ssh(ARMOR.as_bytes())));
    }

    #[test]
    fn what_git_would_not_write_is_refused() {
        let check = |text: &str, wanted: &str| assert_eq!(reason(text), wanted, "{text}");
        check(&format!("{HEAD}\nm\n"), "ok");
        check("", "Malformed");
        check("tree 1111\n", "Lightweight");
        check(HEAD, "Malformed");
        check(&format!("{HEAD}gpgsig-sha256 x\n\nm\n"), "Malformed");
        check(&HEAD.replace("tag v1\n", "tag v1\ntag v2\n"), "Malformed");
        check(&format!("{}\nm\n", HEAD.replace("commit", "commits")), "Malformed");
        check(&format!("{}\nm\n", HEAD.replace("1111\n", "111A\n")), "Malformed");
        check(&format!("{}\nm\n", HEAD.replace("1700000000", "-1")), "Malformed");
        check(&format!("{}\nm\n", HEAD.replace("+0100", "0100")), "Malformed");
        check(&format!("{}\nm\n", HEAD.replace("tag v1", "tag v\0")), "Malformed");
        check(&format!("{HEAD}\nm\n{ARMOR}more\n"), "BadSignature");
        check(&format!("{HEAD}\nm\n-----BEGIN PGP SIGNATURE-----\n"), "BadSignature");
    }

    #[test]
    fn a_commit_is_signed_without_its_signature_and_signed_once() {
        let head = "tree 2222222222222222222222222222222222222222\n\
                    parent 1111111111111111111111111111111111111111\n\
                    author A <a@b> 1 +0000\ncommitter A <a@b> 2 +0000\n";
        let signed = format!("{head}encoding x\ngpgsig one\n two\n \nother z\n\nm\ngpgsig no\n");
        let commit = CommitObject::parse(signed.as_bytes()).unwrap();
        assert_eq!(commit.signature.as_deref(), Some(b"one\ntwo\n\n".as_slice()));
        let payload = format!("{head}encoding x\nother z\n\nm\ngpgsig no\n");
        assert_eq!(String::from_utf8(commit.payload).unwrap(), payload);
        for more in ["gpgsig a\ngpgsig b\n\nm\n", "gpgsig-sha256 a\n\nm\n", "gpgsig a\n"] {
            let verdict = CommitObject::parse(format!("{head}{more}").as_bytes()).unwrap_err();
            assert_eq!(verdict.reason(), "Malformed", "{more}");
        }
    }

    #[test]
    fn every_line_that_binds_to_a_repository_is_seen() {
        let text = format!("{HEAD}\nm\n\nRelease-Repo: https://a/b\nrelease-repo:x \n");
        let tag = TagObject::parse(text.as_bytes()).unwrap();
        let seen: Vec<_> = tag.repositories().collect();
        assert_eq!(seen, [b"https://a/b".as_slice(), b"x"]);
    }
}
