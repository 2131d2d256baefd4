//! What an author is told while a play waits for its instance: why a service is not healthy yet, and
//! that somebody still waits.
//!
//! In:  how long it waited, the phase, the doubts about its services. Out: lines to be told now.
//!
//! # Invariants
//! * A reason is told once, until there is another one; nobody waits for longer than
//!   [`HEARTBEAT`] without a line.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::daemon::platform::Doubt;
use crate::model::ServiceName;
use crate::runtime::probe::FailedCheck;

use super::super::output;

/// A line that says that we still wait comes at least this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A service that starts fails a probe or two: that is no news. One whose check cannot be run is.
const GRACE: Duration = Duration::from_secs(2);
/// Characters of a reason that are shown.
const SHOWN_CHARS: usize = 200;

/// The memory of one wait.
#[derive(Debug)]
pub(super) struct Vigil {
    deadline: Duration,
    beat_at: Duration,
    /// Since when each service is in doubt, and what was told of it when.
    services: BTreeMap<ServiceName, Told>,
}

#[derive(Debug)]
struct Told {
    since: Duration,
    last: Option<(Duration, FailedCheck)>,
}

impl Vigil {
    /// A wait that ends after `deadline`.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, beat_at: Duration::ZERO, services: BTreeMap::new() }
    }

    /// What is to be told after `waited`; hostile text.
    pub(super) fn look(
        &mut self,
        waited: Duration,
        phase: &str,
        doubts: &BTreeMap<ServiceName, Doubt>,
    ) -> Vec<String> {
        self.services.retain(|name, _| doubts.contains_key(name));
        let mut lines = Vec::new();
        for (name, doubt) in doubts {
            let told =
                self.services.entry(name.clone()).or_insert(Told { since: waited, last: None });
            if told.is_due(waited, &doubt.check) {
                told.last = Some((waited, doubt.check.clone()));
                lines.push(line(name, doubt));
            }
        }
        if !lines.is_empty() {
            self.beat_at = waited;
        } else if waited >= self.beat_at + HEARTBEAT {
            self.beat_at = waited;
            lines.push(self.heartbeat(waited, phase, doubts));
        }
        lines
    }

    fn heartbeat(
        &self,
        waited: Duration,
        phase: &str,
        doubts: &BTreeMap<ServiceName, Doubt>,
    ) -> String {
        let names: Vec<&str> = doubts.keys().map(ServiceName::as_str).collect();
        let who = match names.as_slice() {
            [] => String::new(),
            [name] => format!(": {name} is not healthy yet"),
            names => format!(": {} are not healthy yet", names.join(", ")),
        };
        format!("{phase} for {} s of at most {} s{who}", waited.as_secs(), self.deadline.as_secs())
    }
}

impl Told {
    fn is_due(&self, now: Duration, check: &FailedCheck) -> bool {
        let is_hopeless = matches!(check, FailedCheck::CannotRun { .. });
        match &self.last {
            Some((_, told)) if told == check => false,
            // Output that differs each time must not flood the terminal.
            Some((at, _)) => now >= *at + GRACE,
            None => is_hopeless || now >= self.since + GRACE,
        }
    }
}

fn line(name: &ServiceName, doubt: &Doubt) -> String {
    let why = output::cut(&doubt.check.to_string(), SHOWN_CHARS);
    format!("{name} is not healthy yet: {why} (probe {})", doubt.since_probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(check: FailedCheck, since_probe: u32) -> BTreeMap<ServiceName, Doubt> {
        BTreeMap::from([("web".parse().unwrap(), Doubt { check, since_probe })])
    }

    fn port(reason: &str) -> FailedCheck {
        FailedCheck::Port { port: 80, reason: reason.to_owned() }
    }

    /// Looks every second of the first `n` and gives what was told, by second.
    fn told(n: u64, seen: impl Fn(u64) -> BTreeMap<ServiceName, Doubt>) -> Vec<(u64, String)> {
        let mut vigil = Vigil::new(Duration::from_secs(120));
        let mut all = Vec::new();
        for second in 0..n {
            let lines = vigil.look(Duration::from_secs(second), "probing", &seen(second));
            all.extend(lines.into_iter().map(|line| (second, line)));
        }
        all
    }

    #[test]
    fn a_check_that_cannot_be_run_is_told_at_once_and_then_that_we_wait() {
        let reason = "exec \"nc\": executable file not found in $PATH".to_owned();
        let check = FailedCheck::CannotRun { code: 126, reason };
        let told = told(31, |_| doubts(check.clone(), 1));
        insta::assert_debug_snapshot!(told, @r#"
        [
            (
                0,
                "web is not healthy yet: the health command cannot be run: exec \"nc\": executable file not found in $PATH (probe 1)",
            ),
            (
                15,
                "probing for 15 s of at most 120 s: web is not healthy yet",
            ),
            (
                30,
                "probing for 30 s of at most 120 s: web is not healthy yet",
            ),
        ]
        "#);
    }

    #[test]
    fn a_service_that_only_starts_is_no_news_and_a_new_reason_is() {
        let seen = |second| match second {
            0..=1 => doubts(port("refused"), 1),
            2..=5 => BTreeMap::new(),
            6..=10 => doubts(port("refused"), 1),
            _ => doubts(port("reset"), 9),
        };
        let port = |reason| {
            format!("web is not healthy yet: port 80 does not accept connections ({reason})")
        };
        let wanted = [
            (8, format!("{} (probe 1)", port("refused"))),
            (11, format!("{} (probe 9)", port("reset"))),
        ];
        assert_eq!(told(20, seen), wanted);
    }

    #[test]
    fn output_that_always_differs_does_not_flood() {
        let flapping = |second: u64| doubts(port(&second.to_string()), 1);
        let seconds: Vec<u64> = told(8, flapping).into_iter().map(|(second, _)| second).collect();
        assert_eq!(seconds, [2, 4, 6]);
    }
}
