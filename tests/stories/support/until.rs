//! Waiting for a fact, never for a time.

use std::time::{Duration, Instant};

/// How long a story waits for what takes a second or two on a quiet machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Looks again and again until `look` gives a value; `Err` is what it saw instead.
///
/// # Panics
/// After `within`, with what was seen last.
pub(crate) async fn until<T, F, L>(what: &str, within: Duration, mut look: F) -> T
where
    F: FnMut() -> L,
    L: Future<Output = Result<T, String>>,
{
    let begin = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        let seen = match look().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(
            begin.elapsed() < within,
            "waited {} s until {what}; last seen: {seen}",
            within.as_secs()
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}
