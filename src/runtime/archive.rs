//! One regular file out of the archive that an engine makes of a path. Nothing is written anywhere.
//!
//! # Invariants
//! * Whatever the archive holds, at most `limit_bytes` of content come out, and no link is followed.
//! * Its names are not looked at: the path was asked for, and decides nothing.

use std::io::Read as _;

use bytes::Bytes;
use thiserror::Error;

/// A file of an image, or of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Its content.
    pub bytes: Bytes,
    /// Whether anybody may execute it.
    pub is_executable: bool,
}

/// Why there is no file. Of an image there never will be: it does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoFile {
    /// It has nothing there.
    #[error("is not in the image")]
    Missing,
    /// It has a folder, a link or a device there.
    #[error("is no regular file in the image")]
    NotRegular,
    /// It has more than the caller wants.
    #[error("is larger than it may be in the image")]
    TooLarge,
}

/// Most bytes around a content: headers, long names, the end.
pub(super) const OVERHEAD_BYTES: u64 = 64 << 10;

/// The one file of `archive`.
pub(super) fn one_file(archive: &[u8], limit_bytes: u64) -> Result<ImageFile, NoFile> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().map_err(|_| NoFile::NotRegular)?;
    let mut file = None;
    for entry in entries {
        let mut entry = entry.map_err(|_| NoFile::NotRegular)?;
        if file.is_some() || !entry.header().entry_type().is_file() {
            return Err(NoFile::NotRegular);
        }
        let size = entry.size();
        if size > limit_bytes {
            return Err(NoFile::TooLarge);
        }
        let mut bytes = Vec::new();
        let n_read = (&mut entry).take(limit_bytes).read_to_end(&mut bytes);
        if n_read.map_err(|_| NoFile::NotRegular)? as u64 != size {
            return Err(NoFile::NotRegular);
        }
        let mode = entry.header().mode().unwrap_or_default();
        file = Some(ImageFile { bytes: bytes.into(), is_executable: mode & 0o111 != 0 });
    }
    file.ok_or(NoFile::Missing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tar_of(entries: &[(tar::EntryType, &str, &[u8], u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, content, mode) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            // As it comes: also names that climb.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn t10_exactly_one_regular_file_comes_out_of_an_archive() {
        use tar::EntryType as Kind;
        let good = tar_of(&[(Kind::Regular, "chal", b"ELF", 0o755)]);
        let file = one_file(&good, 3).unwrap();
        assert_eq!((&file.bytes[..], file.is_executable), (&b"ELF"[..], true));
        assert_eq!(one_file(&good, 2), Err(NoFile::TooLarge));
        let climbs = tar_of(&[(Kind::Regular, "../../etc/cron.d/x", b"x", 0o644)]);
        assert_eq!(&one_file(&climbs, 9).unwrap().bytes[..], b"x", "its name is nothing to us");
        for (entries, wanted) in [
            (vec![], NoFile::Missing),
            (vec![(Kind::Symlink, "chal", &b""[..], 0o777)], NoFile::NotRegular),
            (vec![(Kind::Link, "chal", b"", 0o777)], NoFile::NotRegular),
            (vec![(Kind::Directory, "chal/", b"", 0o755)], NoFile::NotRegular),
            (vec![(Kind::Char, "null", b"", 0o666)], NoFile::NotRegular),
            (vec![(Kind::Fifo, "pipe", b"", 0o666)], NoFile::NotRegular),
            (
                vec![(Kind::Regular, "a", b"1", 0o644), (Kind::Regular, "a", b"2", 0o644)],
                NoFile::NotRegular,
            ),
            (
                vec![(Kind::Symlink, "a", b"", 0o777), (Kind::Regular, "a/x", b"2", 0o644)],
                NoFile::NotRegular,
            ),
        ] {
            assert_eq!(one_file(&tar_of(&entries), 99), Err(wanted), "{entries:?}");
        }
        let cut = &good[..513];
        assert!(one_file(cut, 99).is_err());
    }

    proptest! {
        #[test]
        fn no_archive_breaks_its_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            if let Ok(file) = one_file(&bytes, 100) {
                prop_assert!(file.bytes.len() <= 100);
            }
        }
    }
}
