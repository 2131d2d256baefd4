//! What was tried and what became of it, as a table and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

/// Everything that was tried, by the name of the fault and in the order of the first try.
#[derive(Debug, Default)]
pub(super) struct Score {
    order: Vec<String>,
    rows: BTreeMap<String, Row>,
}

/// One fault.
#[derive(Debug, Default)]
struct Row {
    recoveries: Vec<Duration>,
    failures: Vec<String>,
}

impl Row {
    fn n_tried(&self) -> usize {
        self.recoveries.len() + self.failures.len()
    }

    /// The recovery in the middle and the longest one, in seconds.
    fn times(&self) -> Option<(f64, f64)> {
        let mut sorted = self.recoveries.clone();
        sorted.sort();
        let worst = sorted.last()?.as_secs_f64();
        Some((sorted[sorted.len() / 2].as_secs_f64(), worst))
    }
}

impl Score {
    fn row(&mut self, fault: &str) -> &mut Row {
        if !self.rows.contains_key(fault) {
            self.order.push(fault.to_owned());
        }
        self.rows.entry(fault.to_owned()).or_default()
    }

    /// It was survived, and all was in order again after `recovery`.
    pub(super) fn survived(&mut self, fault: &str, recovery: Duration) {
        self.row(fault).recoveries.push(recovery);
    }

    /// It was not; `why` says where and what was seen.
    pub(super) fn failed(&mut self, fault: &str, why: String) {
        self.row(fault).failures.push(why);
    }

    /// How often this fault was tried.
    pub(super) fn n_tried(&self, fault: &str) -> usize {
        self.rows.get(fault).map_or(0, Row::n_tried)
    }

    /// Aligned columns, a fault a line.
    pub(super) fn table(&self) -> String {
        let head = ["fault", "tried", "survived", "median recovery", "worst recovery"];
        let mut lines = vec![head.map(str::to_owned)];
        for (fault, row) in self.ordered() {
            let time = |secs: f64| format!("{secs:.1} s");
            let (median, worst) = row
                .times()
                .map_or(("-".to_owned(), "-".to_owned()), |times| (time(times.0), time(times.1)));
            let (n_tried, n_survived) = (row.n_tried(), row.recoveries.len());
            let line =
                [fault.to_owned(), n_tried.to_string(), n_survived.to_string(), median, worst];
            lines.push(line);
        }
        let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        let mut text = String::new();
        for line in &lines {
            let mut cells = vec![format!("{:<1$}", line[0], widths[0])];
            cells.extend(line.iter().zip(widths).skip(1).map(|(cell, n)| format!("{cell:>n$}")));
            text.push_str(&cells.join("  "));
            text.push('\n');
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self, seed: u64) -> String {
        let rows: Vec<_> = self
            .ordered()
            .map(|(fault, row)| {
                let times = row.times();
                json!({
                    "fault": fault,
                    "tried": row.n_tried(),
                    "survived": row.recoveries.len(),
                    "median_recovery_seconds": times.map(|times| times.0),
                    "worst_recovery_seconds": times.map(|times| times.1),
                    "failures": row.failures,
                })
            })
            .collect();
        json!({ "seed": seed, "faults": rows }).to_string()
    }

    /// # Panics
    /// When something was not survived, or nothing was tried.
    pub(super) fn expect_survival(&self, seed: u64) {
        assert!(!self.rows.is_empty(), "nothing was tried");
        let failures: Vec<_> = self
            .ordered()
            .flat_map(|(fault, row)| row.failures.iter().map(move |why| format!("{fault}: {why}")))
            .collect();
        assert!(
            failures.is_empty(),
            "not survived, with FLAGOPS_TEST_SEED={seed}:\n{}",
            failures.join("\n")
        );
    }

    fn ordered(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.order.iter().map(|fault| (fault.as_str(), &self.rows[fault]))
    }
}

#[test]
fn a_table_has_a_line_for_each_fault_and_a_failure_names_fault_and_seed() {
    let mut score = Score::default();
    for millis in [900, 2_000, 1_000] {
        score.survived("kill at start", Duration::from_millis(millis));
    }
    score.expect_survival(7);
    score.failed("disk full", "it never came back".to_owned());
    insta::assert_snapshot!(score.table(), @"
    fault          tried  survived  median recovery  worst recovery
    kill at start      3         3            1.0 s           2.0 s
    disk full          1         0                -               -
    ");
    let failure = std::panic::catch_unwind(|| score.expect_survival(7)).expect_err("one failed");
    let words = failure.downcast_ref::<String>().expect("it has words");
    assert_eq!(words, "not survived, with FLAGOPS_TEST_SEED=7:\ndisk full: it never came back");
    assert_eq!((score.n_tried("disk full"), score.n_tried("nothing")), (1, 0));
}
