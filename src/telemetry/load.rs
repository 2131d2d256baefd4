//! How busy this machine is, as the kernel tells it. What cannot be read is 0.

use std::fs;

/// Processor time since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    busy: u64,
    total: u64,
}

impl CpuTime {
    /// Now.
    pub fn read() -> Self {
        fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| Self::parse(&text))
            .unwrap_or_default()
    }

    /// The line `cpu`: user, nice, system, idle, iowait and so on (proc_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("cpu "))?;
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().skip(1).map_while(|it| it.parse().ok()).collect();
        let total = ticks.iter().take(8).sum();
        let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
        Some(Self { busy: u64::saturating_sub(total, idle), total })
    }

    /// Percent of all processors that were busy since `before`.
    pub fn percent_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        if total == 0 {
            return 0.0;
        }
        let percent = self.busy.saturating_sub(before.busy) as f64 * 100.0 / total as f64;
        percent.clamp(0.0, 100.0)
    }
}

/// Percent of the memory that is in use: what is not available to programs.
pub fn memory_percent() -> f64 {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| used_percent(&text)).unwrap_or(0.0)
}

fn used_percent(text: &str) -> Option<f64> {
    let value = |name: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let (total, available) = (value("MemTotal:")?, value("MemAvailable:")?);
    (total > 0.0).then(|| ((total - available) * 100.0 / total).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let before = CpuTime::parse("cpu  100 0 100 800 0 0 0 0 0 0\n").unwrap();
        let after = CpuTime::parse("cpu  150 0 150 850 50 0 0 0 0 0\ncpu0 1 2\n").unwrap();
        assert!((after.percent_since(before) - 50.0).abs() < 0.01);
        assert!(before.percent_since(after).abs() < 0.01, "a counter never goes back");
        assert_eq!(CpuTime::parse("intr 1"), None);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let text = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    250 kB\n";
        assert!((used_percent(text).unwrap() - 75.0).abs() < 0.01);
        assert_eq!(used_percent("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
    }
}
