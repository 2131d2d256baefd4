//! The data directory: whether it can be used by us and by nobody else, and how much is free.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::model::Disk;

use super::{Check, Verdict};

/// Below this much free space images and logs will soon fail.
const LOW_BYTES: u64 = 10 << 30;
/// Below this much the daemon holds builds and starts.
const FULL_BYTES: u64 = 1 << 30;

/// Checks the data directory at `path`.
pub(super) fn check_data_dir(path: &Path) -> Vec<Check> {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            let found = format!("`{shown}` is not a folder");
            let fix = "move it away, or set `data_dir`";
            return vec![Check::new(Verdict::Broken, "data directory", found, fix)];
        }
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let found = format!("`{shown}` does not exist yet; `flagops serve` makes it");
            // The disk is that of the nearest folder that does exist.
            let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
            let above = above.unwrap_or(Path::new("."));
            return vec![Check::ok("data directory", found), check_space("data disk", above)];
        }
        Err(error) => {
            let found = format!("could not look at `{shown}` ({error})");
            let fix = "run as the user that runs the daemon";
            return vec![Check::new(Verdict::Unknown, "data directory", found, fix)];
        }
    };
    let mut checks = vec![check_owner(path, &metadata), check_mode(path, &metadata, 0o700)];
    let token = path.join("admin.token");
    if let Ok(metadata) = std::fs::metadata(&token) {
        checks.push(check_mode(&token, &metadata, 0o600));
    }
    checks.push(check_space("data disk", path));
    checks
}

fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Check {
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let shown = path.display();
    if owner == us {
        return Check::ok("data directory", format!("`{shown}` is ours"));
    }
    Check::new(
        Verdict::Warning,
        "data directory",
        format!("`{shown}` belongs to user {owner}, and this is user {us}"),
        "run as the user that runs the daemon, or `chown -R` it",
    )
}

/// Checks that nobody gets more than `wanted` allows.
fn check_mode(path: &Path, metadata: &std::fs::Metadata, wanted: u32) -> Check {
    let mode = metadata.permissions().mode() & 0o777;
    let shown = path.display();
    if mode & !wanted == 0 {
        return Check::ok("permissions", format!("`{shown}` has mode {mode:04o}"));
    }
    Check::new(
        Verdict::Broken,
        "permissions",
        format!("`{shown}` has mode {mode:04o}: other users can reach secrets"),
        format!("chmod {wanted:04o} '{shown}'"),
    )
}

/// Checks the free space of the disk that `path` is on.
pub(super) fn check_space(name: &str, path: &Path) -> Check {
    let shown = path.display();
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            let found = format!("could not look at the disk of `{shown}` ({error})");
            let fix = "run as root, or on the machine of the engine";
            return Check::new(Verdict::Unknown, name, found, fix);
        }
    };
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let free_inodes_percent = stat.f_favail.saturating_mul(100).checked_div(stat.f_files);
    judge_space(name, &shown.to_string(), free_bytes, free_inodes_percent)
}

/// Checks whether images would go from the engine's disk, and builds wait when none may.
pub(super) fn check_mark(disk: Disk, high_percent: u32) -> Check {
    let found = format!("{} % used; `gc.high_percent` is {high_percent}", disk.used_percent());
    if !disk.is_at(high_percent) {
        return Check::ok("engine disk mark", found);
    }
    Check::new(
        Verdict::Warning,
        "engine disk mark",
        format!("{found}: images that nothing needs go, and builds wait when none is left"),
        "free some: `flagops gc --dry-run` shows what of it is ours; or raise the mark",
    )
}

/// `free_inodes_percent` is `None` where the file system has no fixed number.
fn judge_space(name: &str, path: &str, free_bytes: u64, free_inodes_percent: Option<u64>) -> Check {
    let verdict = match free_bytes {
        0..FULL_BYTES => Verdict::Broken,
        FULL_BYTES..LOW_BYTES => Verdict::Warning,
        _ => Verdict::Ok,
    };
    let gib = free_bytes as f64 / f64::from(1 << 30);
    let found = format!("{gib:.1} GiB free at `{path}`");
    if let Some(percent @ 0..5) = free_inodes_percent {
        let found = format!("{found}, but only {percent} % of its inodes");
        let fix = "remove small files: old images and build caches have most";
        return Check::new(verdict.max(Verdict::Warning), name, found, fix);
    }
    match verdict {
        Verdict::Ok => Check::ok(name, found),
        _ => Check::new(verdict, name, found, "free some: `docker system df` shows what is used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(path: &Path) -> Vec<Verdict> {
        let checks = check_data_dir(path);
        checks.iter().filter(|c| c.name != "data disk").map(|c| c.verdict).collect()
    }

    #[test]
    fn secrets_that_others_can_read_are_broken() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert_eq!(verdicts(&data), [Verdict::Ok]);
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::create_dir(&data).unwrap();
        mode(&data, 0o700);
        assert_eq!(verdicts(&data), [Verdict::Ok, Verdict::Ok]);
        mode(&data, 0o755);
        assert_eq!(verdicts(&data), [Verdict::Ok, Verdict::Broken]);
        mode(&data, 0o700);
        std::fs::write(data.join("admin.token"), "x").unwrap();
        mode(&data.join("admin.token"), 0o640);
        assert_eq!(verdicts(&data), [Verdict::Ok, Verdict::Ok, Verdict::Broken]);
        assert_eq!(verdicts(&data.join("admin.token")), [Verdict::Broken]);
    }

    #[test]
    fn a_disk_at_the_high_mark_is_a_warning() {
        let disk = |used_bytes| Disk { capacity_bytes: 100, used_bytes };
        assert_eq!(check_mark(disk(79), 80).verdict, Verdict::Ok);
        assert_eq!(check_mark(disk(80), 80).verdict, Verdict::Warning);
    }

    #[test]
    fn space_is_judged_by_bytes_and_inodes() {
        let verdict = |bytes, inodes| judge_space("disk", "/", bytes, inodes).verdict;
        assert_eq!(verdict(20 << 30, Some(50)), Verdict::Ok);
        assert_eq!(verdict(20 << 30, None), Verdict::Ok);
        assert_eq!(verdict(20 << 30, Some(4)), Verdict::Warning);
        assert_eq!(verdict(5 << 30, Some(50)), Verdict::Warning);
        assert_eq!(verdict(1 << 20, Some(1)), Verdict::Broken);
    }
}
