//! The table that a run prints.

use std::time::Duration;

/// Rows of the table.
pub(crate) struct Report {
    rows: Vec<[String; 6]>,
}

impl Report {
    /// No rows yet.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Ours beside the floor; `goal` is the largest ratio that is fine, NaN for none.
    pub(crate) fn ratio(&mut self, name: &str, ours: &[Duration], floor: &[Duration], goal: f64) {
        let ratio = millis(median(ours)) / millis(median(floor));
        let goal = if goal.is_nan() { String::new() } else { format!("<= {goal:.1} x") };
        self.rows.push([
            name.to_owned(),
            format!("{:.1}", millis(median(ours))),
            format!("{:.1}", millis(percentile(ours, 95))),
            format!("{:.1}", millis(median(floor))),
            format!("{ratio:.2} x"),
            goal,
        ]);
    }

    /// A time without a floor.
    pub(crate) fn time(&mut self, name: &str, ours: &[Duration], goal: &str) {
        self.rows.push([
            name.to_owned(),
            format!("{:.1}", millis(median(ours))),
            format!("{:.1}", millis(percentile(ours, 95))),
            String::new(),
            String::new(),
            goal.to_owned(),
        ]);
    }

    /// A plain number.
    pub(crate) fn number(&mut self, name: &str, value: String, goal: &str) {
        self.rows.push([
            name.to_owned(),
            value,
            String::new(),
            String::new(),
            String::new(),
            goal.to_owned(),
        ]);
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["what", "median ms", "p95 ms", "floor ms", "ratio", "goal"]);
        for row in &self.rows {
            table.add_row(row);
        }
        println!("{table}");
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(times: &[Duration]) -> Duration {
    percentile(times, 50)
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
