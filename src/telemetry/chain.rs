//! An error with its causes, in one line.

use std::error::Error;
use std::fmt;

/// Shows an error and everything that caused it: `could not fetch: connection refused`.
///
/// A cause that its parent already quotes is not repeated.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

/// Deepest chain that is shown; a longer one is a loop.
const MAX_CAUSES: usize = 32;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut next = self.0.source();
        for _ in 0..MAX_CAUSES {
            let Some(cause) = next else { break };
            next = cause.source();
            let text = cause.to_string();
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Sample {
        #[error("{0}")]
        Leaf(&'static str),
        #[error("could not fetch")]
        Fetch(#[source] Box<Sample>),
        #[error("the poll failed ({0})")]
        Quoting(#[source] Box<Sample>),
    }

    #[test]
    fn causes_follow_in_order_and_are_not_repeated() {
        let leaf = || Box::new(Sample::Leaf("connection refused"));
        let fetch = Sample::Fetch(leaf());
        assert_eq!(Chain(&fetch).to_string(), "could not fetch: connection refused");
        let quoting = Sample::Quoting(leaf());
        assert_eq!(Chain(&quoting).to_string(), "the poll failed (connection refused)");
        let deep = Sample::Quoting(Box::new(Sample::Fetch(leaf())));
        assert_eq!(
            Chain(&deep).to_string(),
            "the poll failed (could not fetch): connection refused"
        );
    }
}
