//! What a debug build does at a point: writes its name down, counts, and ends the process.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Where the trap is told of.
const KILL: &str = "FLAGOPS_TEST_KILL";
/// Where names go.
const TRACE: &str = "FLAGOPS_TEST_TRACE";

/// What the variables of this process ask for.
pub(super) struct Points {
    order: Option<Order>,
    state: Mutex<State>,
}

/// Where the text of a trap stands.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    /// In the variable.
    Text(String),
    /// In a file that comes and goes.
    File(PathBuf),
}

/// What was passed so far.
#[derive(Default)]
struct State {
    /// The text that is counted for.
    text: String,
    n_hits: u64,
    trace: Option<File>,
}

/// The points of this process; `None` when nobody asked for any.
pub(super) fn points() -> Option<&'static Points> {
    static POINTS: LazyLock<Option<Points>> = LazyLock::new(Points::from_environment);
    POINTS.as_ref()
}

impl Points {
    fn from_environment() -> Option<Self> {
        let order = std::env::var(KILL).ok().map(Order::parse);
        let trace = std::env::var_os(TRACE)
            .and_then(|path| File::options().create(true).append(true).open(path).ok());
        let is_asked = order.is_some() || trace.is_some();
        let state = Mutex::new(State { trace, ..State::default() });
        is_asked.then_some(Self { order, state })
    }

    /// Notes that `name` is passed; does not come back when the trap closes.
    pub(super) fn pass(&self, name: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trace) = &mut state.trace {
            // One write, so that a line is whole whatever comes next.
            let _ = trace.write_all(format!("{name}\n").as_bytes());
        }
        let text = self.order.as_ref().and_then(Order::read).unwrap_or_default();
        if state.closes(&text, name) && self.order.as_ref().is_some_and(Order::take) {
            power_cut();
        }
    }
}

impl Order {
    fn parse(text: String) -> Self {
        match text.strip_prefix('@') {
            Some(path) => Self::File(PathBuf::from(path)),
            None => Self::Text(text),
        }
    }

    /// `None` while there is no trap.
    fn read(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::File(path) => fs::read_to_string(path).ok(),
        }
    }

    /// Takes the trap away; whether it was there still. Only one of us and who set it takes it, so
    /// whoever takes a trap back knows whether it closed.
    fn take(&self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::File(path) => fs::remove_file(path).is_ok(),
        }
    }
}

impl State {
    /// Whether passing `name` closes the trap `text`; an empty one never does.
    fn closes(&mut self, text: &str, name: &str) -> bool {
        if self.text != text {
            (self.text, self.n_hits) = (text.to_owned(), 0);
        }
        let (wanted, nth) = text.trim().rsplit_once(':').unwrap_or((text.trim(), "1"));
        if wanted != name {
            return false;
        }
        self.n_hits += 1;
        nth.parse() == Ok(self.n_hits)
    }
}

fn power_cut() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_closes_at_the_wanted_time_of_the_wanted_name() {
        let mut state = State::default();
        let mut pass = |text: &str, name: &str| state.closes(text, name);
        assert!(!pass("", "store.pin.before"), "there is no trap");
        assert!(pass("store.pin.before", "store.pin.before"), "the first time");
        assert!(!pass("store.pin.before", "store.pin.before"), "that was the second");
        assert!(!pass("store.pin.after:2", "store.pin.before"));
        assert!(!pass("store.pin.after:2\n", "store.pin.after"), "another trap counts anew");
        assert!(pass("store.pin.after:2\n", "store.pin.after"));
        assert!(!pass("store.pin.after:x", "store.pin.after"));
    }

    #[test]
    fn a_trap_in_a_file_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trap");
        let order = Order::parse(format!("@{}", file.display()));
        assert_eq!(order.read(), None);
        fs::write(&file, "git.pin.after:2").unwrap();
        assert_eq!(order.read().as_deref(), Some("git.pin.after:2"));
        assert_eq!(Order::parse("git.pin.after:2".to_owned()).read(), order.read());
        assert!(order.take() && !order.take(), "it closes once");
    }
}
