//! Where captured packets are: `captures/<instance>/<number>-<bridge>.pcap` in the data directory.
//!
//! # Invariants
//! * Folders are 0700 and files 0600 from their first moment.
//! * A file is a capture of whole packets; a kill may leave the last of them cut, which readers know.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::model::InstanceId;
use crate::planner::capture::Target;
use crate::traffic::pcap;

/// How files end.
const SUFFIX: &str = ".pcap";
/// Says that older packets of the instance had to go.
const CUT: &str = "cut";

/// The folder of all captures. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The one at `root`, which need not exist.
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    fn of(&self, id: InstanceId) -> PathBuf {
        self.root.join(id.to_string())
    }

    fn place(&self, number: u64, target: &Target) -> PathBuf {
        self.of(target.instance).join(format!("{number:016x}-{}{SUFFIX}", target.bridge))
    }

    /// Begins a segment.
    ///
    /// # Errors
    /// When the disk refuses, or it is there.
    pub(super) fn begin(&self, number: u64, target: &Target) -> io::Result<File> {
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700).create(self.of(target.instance))?;
        let place = self.place(number, target);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
        file.write_all(&pcap::header())?;
        Ok(file)
    }

    /// Writes a segment as a whole.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is there.
    pub(super) fn keep(&self, number: u64, target: &Target, capture: &[u8]) -> io::Result<()> {
        let written = self.begin(number, target).and_then(|mut file| {
            file.write_all(capture.get(pcap::HEADER_BYTES..).unwrap_or_default())?;
            file.sync_all()
        });
        if written.is_err() {
            let _ = fs::remove_file(self.place(number, target));
        }
        written
    }

    /// Removes a segment that had to go for newer ones.
    pub(super) fn remove(&self, number: u64, target: &Target) {
        let place = self.place(number, target);
        if let Err(error) = fs::remove_file(&place)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                path = %place.display(), error = %error,
                "could not remove old captured packets; the disk holds more than `capture` allows"
            );
        }
        let mark = self.of(target.instance).join(CUT);
        // Without it a capture only does not say that it had more.
        let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(mark);
    }

    /// Removes everything of an instance.
    pub(super) fn discard(&self, id: InstanceId) {
        if let Err(error) = fs::remove_dir_all(self.of(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                instance.id = %id, error = %error,
                "could not remove the captured packets of instance {id}; the next start looks again"
            );
        }
    }

    /// Every segment on the disk, with its size.
    pub(super) fn list(&self) -> Vec<(u64, Target, u64)> {
        let folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let ids = folders.filter_map(|it| it.file_name().to_str()?.parse::<InstanceId>().ok());
        ids.flat_map(|id| self.segments(id)).collect()
    }

    /// What there is of an instance, the oldest first.
    fn segments(&self, id: InstanceId) -> Vec<(u64, Target, u64)> {
        let entries = fs::read_dir(self.of(id)).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let (number, bridge) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
                let number = u64::from_str_radix(number, 16).ok()?;
                let target = Target { instance: id, bridge: bridge.to_owned() };
                Some((number, target, entry.metadata().ok()?.len()))
            })
            .collect();
        all.sort();
        all
    }

    /// How many bytes there are of an instance.
    pub(super) fn n_bytes(&self, id: InstanceId) -> u64 {
        self.segments(id).iter().map(|(_, _, n_bytes)| n_bytes).sum()
    }

    /// One capture of all segments of an instance, by time, and whether older packets had to go.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub(super) fn read(&self, id: InstanceId) -> io::Result<Option<(Vec<u8>, bool)>> {
        let mut files = Vec::new();
        for (number, target, _) in self.segments(id) {
            match File::open(self.place(number, &target)) {
                Ok(file) => files.push(BufReader::new(file)),
                // It had to go for newer packets meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        let mut merged = Vec::new();
        pcap::merge(files, &mut merged)?;
        Ok(Some((merged, self.of(id).join(CUT).exists())))
    }
}
