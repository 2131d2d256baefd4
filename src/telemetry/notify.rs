//! Tells the service manager how we are: ready, stopping, still alive.
//!
//! Without a service manager every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// We serve; `status` is shown by `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// We finish requests and end.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// What we do now, in one line.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// We are alive. Call it from the loop that matters, every [`watchdog_interval`].
pub fn watchdog_ping() {
    send(&[NotifyState::Watchdog]);
}

/// How often to ping: half of what the service manager allows. `None` when it does not watch.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager did not take a message");
    }
}

/// The protocol has one assignment per line: a second line would be another message.
fn one_line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_stays_one_assignment() {
        assert_eq!(one_line("serving\nWATCHDOG=trigger"), "serving WATCHDOG=trigger");
    }
}
