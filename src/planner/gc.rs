//! Decides which images of ours go when the disk of the engine runs full, and why the others stay.
//!
//! [`plan`] is pure: the daemon, `flagops gc --dry-run` and the property tests run the very same
//! code. The caller carries out the first step, looks again, and plans again, until nothing is
//! left: sizes are estimates (layers are shared), the disk is the truth.
//!
//! In:  the images of ours on the engine, what pins them (read from the database for each plan),
//!      how full the disk is, the marks, the time.
//! Out: a [`GcPlan`]: what is trimmed and removed, in order, and every other image with its reason.
//!
//! # Invariants
//! * A pinned, young, refused or foreign image, or one of unknown age, is never removed.
//! * A partial view removes nothing.
//! * Nothing is removed below the high mark; removals stop at the low mark; longest unused first.
//! * Every image is either removed or held. The same input gives the same plan, in any order; a
//!   converged input gives an empty one.
//!
//! # Not here
//! What pins an image (`daemon::gc`), doing (the same), instances and networks.
#![warn(clippy::wildcard_enum_match_arm)]

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{BuildKey, ChallengeId, Disk, InstanceId, Timestamp};

/// With so much left, a disk over its mark is no reason to let builds wait.
pub const ROOM_BYTES: u64 = 20 << 30;

/// When images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcSettings {
    /// Removal begins when this much of the disk is used.
    pub high_percent: u32,
    /// And ends when no more than this is.
    pub low_percent: u32,
    /// Images that were made or used within this time stay.
    pub min_age_millis: i64,
    /// What may be done with the build cache.
    pub cache: CacheRule,
}

/// What may be done with the build cache, which bears no label: it belongs to whoever uses the
/// engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheRule {
    /// Nothing.
    Leave,
    /// It is trimmed to this size, and further when the disk is over the high mark.
    Trim {
        /// Most bytes that it may have.
        cap_bytes: u64,
    },
}

/// An image that bears our label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GcImage {
    /// The engine's id.
    pub id: String,
    /// The build key of its label. Without one it is not an image that we built.
    pub key: Option<BuildKey>,
    /// Its size with all layers, those it shares too: removing it frees this much at most.
    pub size_bytes: u64,
    /// When it was made, or last used for something; `None` when nobody knows.
    pub last_use: Option<Timestamp>,
    /// Whether the engine refused to remove it: a container or another image uses it.
    pub is_refused: bool,
}

/// Why an image must stay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// The version that players get.
    Live(ChallengeId),
    /// The newest revision: what goes live next.
    Newest(ChallengeId),
    /// A version that was live just before: what an operator goes back to.
    Previous(ChallengeId),
    /// An instance that is not over runs it.
    Instance(InstanceId),
    /// It is wanted, and not recorded as built yet.
    Wanted,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(id) => write!(f, "live in {id}"),
            Self::Newest(id) => write!(f, "newest version of {id}"),
            Self::Previous(id) => write!(f, "previous version of {id}"),
            Self::Instance(id) => write!(f, "instance {id}"),
            Self::Wanted => f.write_str("being built"),
        }
    }
}

/// What must stay, by build key and by the engine's id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    keys: BTreeMap<BuildKey, BTreeSet<Pin>>,
    ids: BTreeMap<String, BTreeSet<Pin>>,
}

impl Pins {
    /// The image of this key must stay.
    pub fn pin_key(&mut self, key: BuildKey, pin: Pin) {
        self.keys.entry(key).or_default().insert(pin);
    }

    /// The image of this id must stay.
    pub fn pin_id(&mut self, id: String, pin: Pin) {
        self.ids.entry(id).or_default().insert(pin);
    }

    /// Everything that pins `image`.
    pub fn of(&self, image: &GcImage) -> BTreeSet<Pin> {
        let by_key = image.key.and_then(|key| self.keys.get(&key));
        by_key.into_iter().chain(self.ids.get(&image.id)).flatten().cloned().collect()
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcView {
    /// The images that bear our label.
    pub images: Vec<GcImage>,
    /// Whether everything that could pin them was read.
    pub coverage: Coverage,
    /// The disk that the engine keeps its data on; `None` when it cannot be seen from here.
    pub disk: Option<Disk>,
    /// Whether removals go on that began at the high mark.
    pub phase: GcPhase,
    /// Size of the build cache; `None` when it is not known or was trimmed just now.
    pub cache_bytes: Option<u64>,
}

/// Whether images go already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcPhase {
    /// None do: they begin to at the high mark.
    Watching,
    /// Some went: more do until the low mark.
    Freeing,
}

/// Whether a view shows everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// It does.
    Full,
    /// What pins images could not all be read.
    Partial,
}

/// What [`plan`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPlan {
    /// Trim the build cache to this many bytes, before anything else.
    pub trim_cache_to: Option<u64>,
    /// Remove these, in this order.
    pub remove: Vec<GcImage>,
    /// Every other image, by id.
    pub held: Vec<HeldImage>,
    /// How full the disk is.
    pub pressure: Pressure,
}

impl GcPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.trim_cache_to.is_none() && self.remove.is_empty()
    }
}

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// The image.
    pub image: GcImage,
    /// Why.
    pub why: ImageHold,
}

/// Why an image stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageHold {
    /// These need it.
    Pinned(BTreeSet<Pin>),
    /// It was made or used a moment ago.
    Young {
        /// When it no longer is.
        until: Timestamp,
    },
    /// Nobody knows when it was made or used.
    Undated,
    /// The engine refused to remove it.
    Refused,
    /// It does not say what it was built from.
    Foreign,
    /// What could pin it was not all read.
    Unseen,
    /// It could go; the disk has room.
    Spare,
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// It cannot be seen.
    Unknown,
    /// Below the high mark, or with [`ROOM_BYTES`] left and nothing that may go.
    Fine,
    /// Over it, and something can be done.
    HighWatermark,
    /// Over it, and nothing is left that may go.
    NothingToFree,
}

/// Plans what to trim and to remove.
///
/// Never fails: what cannot be decided is held with its reason. O(n log n) in images.
pub fn plan(view: &GcView, pins: &Pins, settings: &GcSettings, now: Timestamp) -> GcPlan {
    let excess = view.disk.and_then(|disk| excess_bytes(disk, view.phase, settings));
    let trim_cache_to = trim(view.cache_bytes, settings.cache, excess.unwrap_or_default());
    let trimmed = match (view.cache_bytes, trim_cache_to) {
        (Some(size), Some(keep)) => size - keep,
        (None, _) | (_, None) => 0,
    };
    let mut left = excess.unwrap_or_default().saturating_sub(trimmed);
    let (mut free, mut held) = (Vec::new(), Vec::new());
    for image in &view.images {
        match hold(image, view.coverage, pins, settings, now) {
            Some(why) => held.push(HeldImage { image: image.clone(), why }),
            None => free.push(image.clone()),
        }
    }
    free.sort_by(|a, b| (a.last_use, a).cmp(&(b.last_use, b)));
    let mut remove = Vec::new();
    for image in free {
        if left == 0 {
            held.push(HeldImage { image, why: ImageHold::Spare });
        } else {
            left = left.saturating_sub(image.size_bytes);
            remove.push(image);
        }
    }
    held.sort_by(|a, b| a.image.cmp(&b.image));
    let is_over = view.disk.map(|disk| disk.is_at(settings.high_percent));
    let can_free = trim_cache_to.is_some() || !remove.is_empty();
    let pressure = match (is_over, view.coverage) {
        (None, _) => Pressure::Unknown,
        (Some(false), _) if remove.is_empty() => Pressure::Fine,
        (Some(true), Coverage::Full) if !can_free => match view.disk {
            // A large disk has room for builds long after its mark. A mark of 0 takes any disk for
            // full, whatever is left.
            Some(disk) if settings.high_percent > 0 && disk.free_bytes() >= ROOM_BYTES => {
                Pressure::Fine
            }
            Some(_) | None => Pressure::NothingToFree,
        },
        (Some(_), Coverage::Full | Coverage::Partial) => Pressure::HighWatermark,
    };
    GcPlan { trim_cache_to, remove, held, pressure }
}

/// How many bytes are to be freed: from the high mark on, down to the low one.
fn excess_bytes(disk: Disk, phase: GcPhase, settings: &GcSettings) -> Option<u64> {
    let low = disk.bytes_at(settings.low_percent.min(settings.high_percent));
    let excess = disk.used_bytes.saturating_sub(low);
    if disk.is_at(settings.high_percent) {
        // At least one, so that a high mark which is the low mark asks for something too.
        return Some(excess.max(1));
    }
    (phase == GcPhase::Freeing && excess > 0).then_some(excess)
}

/// What the build cache is trimmed to, if that makes it smaller.
fn trim(cache_bytes: Option<u64>, rule: CacheRule, excess: u64) -> Option<u64> {
    let (CacheRule::Trim { cap_bytes }, Some(size)) = (rule, cache_bytes) else { return None };
    let keep = size.saturating_sub(excess).min(cap_bytes);
    (keep < size).then_some(keep)
}

/// Why `image` may not go, however full the disk is.
fn hold(
    image: &GcImage,
    coverage: Coverage,
    pins: &Pins,
    settings: &GcSettings,
    now: Timestamp,
) -> Option<ImageHold> {
    let pinned_by = pins.of(image);
    if image.key.is_none() {
        return Some(ImageHold::Foreign);
    }
    if !pinned_by.is_empty() {
        return Some(ImageHold::Pinned(pinned_by));
    }
    if coverage == Coverage::Partial {
        return Some(ImageHold::Unseen);
    }
    let Some(last_use) = image.last_use else { return Some(ImageHold::Undated) };
    let until = last_use.plus_millis(settings.min_age_millis.max(0));
    if now < until {
        return Some(ImageHold::Young { until });
    }
    image.is_refused.then_some(ImageHold::Refused)
}
