//! The output of containers, kept before they are removed, and how long the archive is kept.
//!
//! In:  an instance that is wanted gone, and what of it is still there.
//! Out: its output in the archive (`store::records`), answers masked, packed, bounded.
//!
//! # Invariants
//! * The end of an instance never waits longer than [`PATIENCE`] for its output, and never fails for
//!   it: what could not be read is asked for again by the next pass, as long as it is there.
//! * No answer of the instance is in what is kept.
//!
//! # Not here
//! The record itself: it is written in the transaction that ends the instance.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use futures_util::future::join_all;

use super::executor::{Job, answers_of};
use super::last_words::{masked, without};
use super::shared::Shared;
use super::specs;
use crate::model::{Instance, InstanceId, ServiceName};
use crate::node::NodeError;
use crate::planner::Observed;
use crate::runtime::{Engine, EngineError};
use crate::store::StoreError;
use crate::telemetry::Chain;

/// Lines of each container that are kept, from the end.
const LINES: u32 = 5000;
/// Most bytes that are kept of one instance, before they are packed.
const MAX_BYTES: usize = 1 << 20;
/// How long the output is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// Keeps what the containers of an instance wrote, which are about to be removed.
pub(crate) async fn keep_log(job: &Job, observed: &Observed) {
    let id = job.instance.id;
    let is_moot = job.instance.is_canary() || observed.services.is_empty();
    if is_moot || is_kept(&job.shared, id, job.n_resets).await {
        return;
    }
    let containers = observed.services.iter().map(|(name, seen)| (name, seen.container.as_str()));
    let read = read_all(job.shared.engine.as_ref(), containers.collect());
    let text = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(text)) => masked(job, text),
        Ok(Err(error)) => return skip(id, &Chain(&error).to_string()),
        Err(_) => return skip(id, "it did not come in time"),
    };
    keep(&job.shared, &job.instance, text).await;
}

/// Keeps what a node says that the containers of one of its instances wrote.
pub(crate) async fn keep_log_of(
    shared: &Shared,
    row: &Instance,
    read: impl Future<Output = Result<String, NodeError>>,
) {
    if is_kept(shared, row.id, row.n_resets).await {
        return;
    }
    // Else it knows nothing of it; or whoever asks it to stop will say that it does not answer.
    let Ok(Ok(text)) = tokio::time::timeout(PATIENCE, read).await else { return };
    let answers = match specs::of(shared, row).await {
        Ok(Some(stored)) => answers_of(shared, row, &stored.spec),
        Ok(None) => BTreeMap::new(),
        Err(error) => return skip(row.id, &Chain(&error).to_string()),
    };
    keep(shared, row, without(answers.values(), text)).await;
}

/// What is kept of the output of an instance; empty when nothing is.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn log_of(shared: &Shared, id: InstanceId) -> Result<String, StoreError> {
    let Some(packed) = shared.store.kept_log(id).await? else { return Ok(String::new()) };
    let unpacked = tokio::task::spawn_blocking(move || unpack(&packed)).await;
    Ok(unpacked.unwrap_or_default())
}

/// Takes away what is older than organizers want to keep it, or more.
pub(crate) async fn prune(shared: &Shared) {
    let config = &shared.config.records;
    // What a lost database knew is looked at by a person first.
    if shared.awaits_acceptance() {
        return;
    }
    let before = shared.now().plus_millis(-i64::from(config.keep_days) * DAY_MILLIS);
    let max_bytes = u64::from(config.max_mib) << 20;
    super::shells::prune(shared, before, max_bytes).await;
    match shared.store.prune_records(before, max_bytes).await {
        Ok(pruned) if pruned.n_records + pruned.n_logs > 0 => tracing::info!(
            record.n = pruned.n_records,
            log.n = pruned.n_logs,
            "{} records and {} outputs of instances were older or larger than what is kept",
            pruned.n_records,
            pruned.n_logs
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            error = %Chain(&error),
            "could not prune the archive of instances, trying again in a few minutes"
        ),
    }
}

/// Whether the output of this incarnation is kept already: an earlier pass was cut off after that.
async fn is_kept(shared: &Shared, id: InstanceId, n_resets: u32) -> bool {
    let kept = shared.store.log_incarnation(id).await;
    kept.is_ok_and(|kept| kept == Some(n_resets))
}

async fn read_all(
    engine: &dyn Engine,
    containers: Vec<(&ServiceName, &str)>,
) -> Result<String, EngineError> {
    let share = MAX_BYTES / containers.len().max(1);
    let outputs = join_all(containers.iter().map(|(_, id)| engine.logs(id, LINES))).await;
    let mut text = String::new();
    for ((name, _), output) in containers.iter().zip(outputs) {
        let output = match output {
            // Somebody removed it meanwhile: that is no reason to lose the others.
            Err(EngineError::NotFound { .. }) => continue,
            output => output?,
        };
        text.push_str(&labelled(name.as_str(), &output, share));
    }
    Ok(text)
}

/// The lines of one service with its name before each; the last ones where they are more than
/// `max_bytes`.
pub(crate) fn labelled(service: &str, output: &str, max_bytes: usize) -> String {
    let lines = output.lines().map(|line| format!("{service} | {line}\n")).collect::<Vec<_>>();
    let mut left = max_bytes;
    let n_fitting = lines.iter().rev().take_while(|line| {
        let fits = line.len() <= left;
        left = left.saturating_sub(line.len());
        fits
    });
    let n_skipped = lines.len() - n_fitting.count();
    lines.get(n_skipped..).unwrap_or_default().concat()
}

async fn keep(shared: &Shared, row: &Instance, text: String) {
    let (id, n_resets) = (row.id, row.n_resets);
    let Ok(packed) = tokio::task::spawn_blocking(move || pack(&text)).await else { return };
    if let Err(error) = shared.store.keep_log(id, n_resets, packed, shared.now()).await {
        skip(id, &Chain(&error).to_string());
    }
}

fn skip(id: InstanceId, why: &str) {
    tracing::warn!(
        instance.id = %id,
        "the output of the containers of instance {id} could not be kept, it ends without: {why}"
    );
}

fn pack(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish())
        .expect("a vector takes everything that is written to it")
}

/// What was packed; as much of it as can be read.
fn unpack(packed: &[u8]) -> String {
    let mut bytes = Vec::new();
    let bound = u64::try_from(MAX_BYTES * 2).unwrap_or(u64::MAX);
    // What was read before a fault is worth more than nothing.
    let _ = ZlibDecoder::new(packed).take(bound).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_bear_the_name_of_their_service_and_the_last_ones_stay() {
        assert_eq!(labelled("web", "one\ntwo\n", 1000), "web | one\nweb | two\n");
        assert_eq!(labelled("web", "one\ntwo\n", 10), "web | two\n");
        assert_eq!(labelled("web", "one\ntwo\n", 9), "");
        assert_eq!(labelled("web", "", 9), "");
    }

    #[test]
    fn what_is_damaged_is_read_as_far_as_it_goes() {
        let mut packed = pack(&"a line like any other\n".repeat(100));
        assert!(packed.len() < 200, "{} bytes", packed.len());
        packed.truncate(packed.len() / 2);
        assert!(unpack(&packed).len() < 2200);
        assert_eq!(unpack(b"never packed"), "");
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(text in "\\PC{0,400}") {
            prop_assert_eq!(unpack(&pack(&text)), text);
        }

        #[test]
        fn output_is_bounded_and_ends_as_it_did(output in "[a-z\n]{0,300}", max in 0_usize..200) {
            let kept = labelled("db", &output, max);
            prop_assert!(kept.len() <= max);
            prop_assert!(labelled("db", &output, usize::MAX).ends_with(&kept));
        }
    }
}
