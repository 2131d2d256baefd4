//! The container engine: whether it answers, really creates, and is new enough.

use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::model::InstallationId;
use crate::runtime::docker::Docker;
use crate::runtime::{Engine, EngineError, EngineInfo};
use crate::telemetry::Chain;

use super::disk;
use super::{Check, Verdict};

/// The oldest engine that we speak to.
const OLDEST: (u32, u32) = (20, 10);
/// The first engine that keeps published ports of loopback on loopback.
const RECOMMENDED: (u32, u32) = (28, 0);
/// What is made to prove the engine bears this installation, so that no daemon takes it for its
/// own.
const DOCTOR: &str = "00000000000d0c70";
/// A proof that takes longer is a broken engine, whatever its own deadlines are.
const DEADLINE: Duration = Duration::from_secs(60);

/// Checks the engine; returns it when it answers.
pub(super) async fn check(config: &Config) -> (Vec<Check>, Option<Box<dyn Engine>>) {
    let endpoint = &config.engine.endpoint;
    let installation: InstallationId = DOCTOR.parse().expect("16 lower-case hex digits");
    let engine: Box<dyn Engine> = match Docker::connect(endpoint, installation) {
        Ok(engine) => Box::new(engine),
        Err(error) => return (vec![unavailable(endpoint, &error)], None),
    };
    let info = match within(engine.info()).await {
        Ok(info) => info,
        Err(error) => return (vec![unavailable(endpoint, &error)], None),
    };
    let mut checks = judge(&info);
    checks.push(match within(engine.prove()).await {
        Ok(()) => Check::ok("engine create", "a container was made and removed"),
        Err(error) => Check::new(
            Verdict::Broken,
            "engine create",
            Chain(&error).to_string(),
            "restart the engine; `journalctl -u docker -u containerd` says more",
        ),
    });
    if endpoint.starts_with("unix://") {
        checks.push(disk::check_space("engine disk", Path::new(&info.root_dir)));
        if let Ok(Some(disk)) = within(engine.disk()).await {
            checks.push(disk::check_mark(disk, config.gc.high_percent));
        }
    }
    (checks, Some(engine))
}

async fn within<T>(call: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| {
        Err(EngineError::TimedOut { what: "doctor".to_owned(), secs: DEADLINE.as_secs() })
    })
}

fn unavailable(endpoint: &str, error: &EngineError) -> Check {
    let socket = Path::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    let fix = if !endpoint.starts_with("unix://") {
        "check the address, and that the engine listens there".to_owned()
    } else if socket.exists() {
        "join the group of the socket (`usermod -aG docker USER`), or start the engine".to_owned()
    } else {
        "install and start Docker, or set `engine.endpoint` (DOCKER_HOST)".to_owned()
    };
    Check::new(Verdict::Broken, "engine", Chain(error).to_string(), fix)
}

fn judge(info: &EngineInfo) -> Vec<Check> {
    let what = format!(
        "{} (API {}), {} on cgroup v{}, kernel {}",
        info.version, info.api_version, info.storage_driver, info.cgroup_version, info.kernel
    );
    let version = match parse_version(&info.version) {
        Some(version) if version < OLDEST => Check::new(
            Verdict::Broken,
            "engine",
            format!("{what}: too old"),
            "install Docker 20.10 or newer; 28 is recommended",
        ),
        Some(version) if version < RECOMMENDED => Check::new(
            Verdict::Warning,
            "engine",
            format!(
                "{what}: works, but before 28 neighbours on the LAN can reach ports that are \
                     published on loopback"
            ),
            "install Docker 28 or newer, or keep `network.wall = \"required\"`",
        ),
        _ => Check::ok("engine", what),
    };
    let live_restore = if info.has_live_restore {
        Check::ok("live-restore", "instances survive a restart of the engine")
    } else {
        Check::new(
            Verdict::Warning,
            "live-restore",
            "a restart of the engine ends every instance",
            "put `\"live-restore\": true` into /etc/docker/daemon.json, then reload the engine",
        )
    };
    vec![version, live_restore]
}

/// Major and minor of e.g. `20.10.24+dfsg1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> EngineInfo {
        EngineInfo {
            version: version.to_owned(),
            api_version: "1.41".to_owned(),
            storage_driver: "overlay2".to_owned(),
            root_dir: "/var/lib/docker".to_owned(),
            n_cpus: 2,
            memory_bytes: 1 << 33,
            cgroup_version: "2".to_owned(),
            kernel: "6.1.0".to_owned(),
            has_live_restore: false,
            runtimes: ["runc".to_owned()].into(),
        }
    }

    #[test]
    fn versions_are_judged_by_our_floors() {
        for (version, verdict) in [
            ("19.03.1", Verdict::Broken),
            ("20.10.24+dfsg1", Verdict::Warning),
            ("28.0.1", Verdict::Ok),
            ("29.3.0-rc.1", Verdict::Ok),
            ("dev", Verdict::Ok),
        ] {
            assert_eq!(judge(&info(version))[0].verdict, verdict, "{version}");
        }
    }

    #[test]
    fn an_engine_without_live_restore_is_a_warning_with_the_key() {
        let check = &judge(&info("28.0.0"))[1];
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.fix.contains("live-restore"), "{check:?}");
    }

    #[test]
    fn a_missing_socket_and_a_refused_one_have_different_fixes() {
        let error = EngineError::Unavailable { endpoint: "x".into(), reason: "y".into() };
        assert!(unavailable("unix:///nonexistent.sock", &error).fix.contains("install and start"));
        assert!(unavailable("unix:///dev/null", &error).fix.contains("usermod"));
        assert!(unavailable("tcp://10.0.0.1:2375", &error).fix.contains("address"));
    }
}
