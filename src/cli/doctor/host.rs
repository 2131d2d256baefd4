//! The kernel's settings and the packet filter of this machine.

use std::path::{Path, PathBuf};

use crate::config::{CaptureMode, Wall};

use super::{Check, Verdict};

/// How a value must compare.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Exactly this text.
    Is(&'static str),
    /// This number or more.
    AtLeast(u64),
    /// Not a program that runs as root of the host.
    NoPipe,
}

/// A kernel setting that hostile containers make matter.
struct Setting {
    key: &'static str,
    wanted: Wanted,
    /// What happens otherwise.
    why: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        key: "fs.inotify.max_user_instances",
        wanted: Wanted::AtLeast(65_536),
        why: "one container can use up what every other container watches files with",
    },
    Setting {
        key: "fs.inotify.max_user_watches",
        wanted: Wanted::AtLeast(1_048_576),
        why: "one container can use up what every other container watches files with",
    },
    Setting {
        key: "net.netfilter.nf_conntrack_max",
        wanted: Wanted::AtLeast(524_288),
        why: "one flood of connections ends everybody's connections",
    },
    Setting {
        key: "kernel.core_pattern",
        wanted: Wanted::NoPipe,
        why: "a crash inside a container runs a program as root of the host",
    },
    Setting {
        key: "kernel.dmesg_restrict",
        wanted: Wanted::Is("1"),
        why: "containers can read the kernel's log",
    },
    Setting {
        key: "kernel.kptr_restrict",
        wanted: Wanted::Is("2"),
        why: "containers can learn kernel addresses",
    },
    Setting {
        key: "kernel.unprivileged_bpf_disabled",
        wanted: Wanted::AtLeast(1),
        why: "containers can load BPF programs",
    },
    Setting {
        key: "net.ipv4.conf.all.accept_redirects",
        wanted: Wanted::Is("0"),
        why: "a container can redirect the host's traffic",
    },
    Setting {
        key: "net.ipv4.conf.all.send_redirects",
        wanted: Wanted::Is("0"),
        why: "the host tells containers about other routes",
    },
    Setting {
        key: "net.ipv4.conf.all.rp_filter",
        wanted: Wanted::Is("1"),
        why: "containers can send with addresses that are not theirs",
    },
    Setting {
        key: "net.ipv4.conf.all.route_localnet",
        wanted: Wanted::Is("0"),
        why: "containers can reach what listens on the host's loopback only",
    },
    Setting {
        key: "net.ipv4.conf.default.route_localnet",
        wanted: Wanted::Is("0"),
        why: "containers can reach what listens on the host's loopback only",
    },
    Setting {
        key: "net.ipv4.ip_forward",
        wanted: Wanted::Is("1"),
        why: "published ports do not reach containers",
    },
];

/// Checks kernel settings and the packet filter.
pub(super) fn check(wall: Wall, capture: CaptureMode) -> Vec<Check> {
    let mut checks = check_settings(Path::new("/proc/sys"));
    checks.push(check_nft(wall, find_program("nft").as_deref()));
    checks.push(check_capture(capture, find_program("tcpdump").as_deref()));
    checks.push(check_tunnel(Path::new("/dev/net/tun")));
    checks
}

/// What captures packets.
fn check_capture(mode: CaptureMode, tcpdump: Option<&Path>) -> Check {
    match (mode, tcpdump) {
        (CaptureMode::Off, _) => Check::ok("packet capture", "off (`capture.mode`)"),
        (CaptureMode::Asked | CaptureMode::All, Some(path)) => {
            Check::ok("packet capture", format!("`{}`", path.display()))
        }
        (CaptureMode::Asked, None) => Check::new(
            Verdict::Warning,
            "packet capture",
            "`tcpdump` is not installed: of challenges that ask for it no packets are captured",
            "install the package `tcpdump`, or set `capture.mode = \"off\"`",
        ),
        (CaptureMode::All, None) => Check::new(
            Verdict::Broken,
            "packet capture",
            "`capture.mode` is \"all\" and `tcpdump` is not installed: nothing is captured",
            "install the package `tcpdump`",
        ),
    }
}

/// What VPN gateways make their tunnels with.
fn check_tunnel(device: &Path) -> Check {
    if device.exists() {
        return Check::ok("tunnel device", format!("`{}`", device.display()));
    }
    Check::new(
        Verdict::Warning,
        "tunnel device",
        format!(
            "`{}` is not there: engagements (challenges behind a VPN) do not start",
            device.display()
        ),
        "`modprobe tun`, and on a rented container ask its host for the device",
    )
}

fn check_settings(proc_sys: &Path) -> Vec<Check> {
    SETTINGS
        .iter()
        .map(|setting| {
            let value = std::fs::read_to_string(proc_sys.join(setting.key.replace('.', "/")));
            judge(setting, value.as_deref().map(str::trim).map_err(ToString::to_string))
        })
        .collect()
}

fn judge(setting: &Setting, value: Result<&str, String>) -> Check {
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            let found = format!("could not be read ({error})");
            let fix = "load the module, or look on the machine of the engine";
            return Check::new(Verdict::Unknown, setting.key, found, fix);
        }
    };
    let (is_right, better) = match setting.wanted {
        Wanted::Is(wanted) => (value == wanted, wanted.to_owned()),
        Wanted::AtLeast(floor) => {
            (value.parse::<u64>().is_ok_and(|number| number >= floor), floor.to_string())
        }
        Wanted::NoPipe => (!value.starts_with('|'), "core".to_owned()),
    };
    if is_right {
        return Check::ok(setting.key, value);
    }
    let line = format!("{} = {better}", setting.key);
    Check::new(
        Verdict::Warning,
        setting.key,
        format!("is `{value}`: {}", setting.why),
        format!("put `{line}` into /etc/sysctl.d/90-flagops.conf, then `sysctl --system`"),
    )
}

fn check_nft(wall: Wall, program: Option<&Path>) -> Check {
    match (wall, program) {
        (Wall::Off, _) => Check::new(
            Verdict::Warning,
            "packet filter",
            "`network.wall` is \"off\": instances can reach the host and cloud metadata",
            "set `network.wall = \"required\"` unless other rules keep them apart",
        ),
        (Wall::Auto | Wall::Required, Some(path)) => {
            Check::ok("packet filter", format!("`{}`", path.display()))
        }
        (Wall::Required, None) => Check::new(
            Verdict::Broken,
            "packet filter",
            "`nft` is not installed, so no instance starts",
            "install the package `nftables`, or set `network.wall = \"auto\"` to run without",
        ),
        (Wall::Auto, None) => Check::new(
            Verdict::Warning,
            "packet filter",
            "`nft` is not installed: instances can reach the host and cloud metadata",
            "install the package `nftables`",
        ),
    }
}

/// Where `name` is: in `PATH`, or where administrators' programs are.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let admin = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(admin).map(|folder| folder.join(name)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_judged() {
        let folder = tempfile::tempdir().unwrap();
        let put = |key: &str, value: &str| {
            let path = folder.path().join(key.replace('.', "/"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value).unwrap();
        };
        put("fs.inotify.max_user_instances", "128\n");
        put("fs.inotify.max_user_watches", "2000000\n");
        put("kernel.core_pattern", "|/usr/share/apport/apport %p\n");
        put("kernel.dmesg_restrict", "1\n");
        let checks = check_settings(folder.path());
        let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(of("fs.inotify.max_user_instances").verdict, Verdict::Warning);
        assert_eq!(of("fs.inotify.max_user_watches").verdict, Verdict::Ok);
        assert_eq!(of("kernel.dmesg_restrict").verdict, Verdict::Ok);
        assert_eq!(of("kernel.kptr_restrict").verdict, Verdict::Unknown);
        let pattern = of("kernel.core_pattern");
        assert_eq!(pattern.verdict, Verdict::Warning);
        assert!(pattern.fix.contains("`kernel.core_pattern = core`"), "{pattern:?}");
    }

    #[test]
    fn a_missing_packet_filter_is_a_warning() {
        assert_eq!(check_nft(Wall::Auto, None).verdict, Verdict::Warning);
        assert_eq!(check_nft(Wall::Required, None).verdict, Verdict::Broken);
        assert_eq!(check_nft(Wall::Off, Some(Path::new("/sbin/nft"))).verdict, Verdict::Warning);
        assert_eq!(check_nft(Wall::Auto, Some(Path::new("/sbin/nft"))).verdict, Verdict::Ok);
    }

    #[test]
    fn a_machine_that_cannot_capture_is_told_when_somebody_wants_it() {
        let there = Some(Path::new("/usr/bin/tcpdump"));
        assert_eq!(check_capture(CaptureMode::Asked, there).verdict, Verdict::Ok);
        assert_eq!(check_capture(CaptureMode::Off, None).verdict, Verdict::Ok);
        assert_eq!(check_capture(CaptureMode::Asked, None).verdict, Verdict::Warning);
        assert_eq!(check_capture(CaptureMode::All, None).verdict, Verdict::Broken);
    }

    #[test]
    fn a_machine_without_tunnels_is_told() {
        assert_eq!(check_tunnel(Path::new("/dev/null")).verdict, Verdict::Ok);
        let missing = check_tunnel(Path::new("/dev/no/tun"));
        assert_eq!(missing.verdict, Verdict::Warning);
        assert!(missing.found.contains("engagements"), "{missing:?}");
    }
}
