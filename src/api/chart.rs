//! Bars over time: they end now, the oldest comes first, and the last is not over.

use utoipa::IntoParams;

use super::extract::{FromParams, Params};
use crate::model::Timestamp;

/// The chart that is wanted.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Chart {
    /// How far back, in seconds.
    #[param(minimum = 60, maximum = 604_800, default = 86_400, required = false)]
    pub(crate) window: i64,
    /// How much is one bar, in seconds.
    #[param(minimum = 60, maximum = 86_400, default = 3_600, required = false)]
    pub(crate) bucket: i64,
}

impl FromParams for Chart {
    fn read(params: &mut Params) -> Self {
        Self {
            window: params.integer("window", 60..=604_800).unwrap_or(86_400),
            bucket: params.integer("bucket", 60..=86_400).unwrap_or(3_600),
        }
    }
}

/// The bars of a chart, empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bars {
    /// When the first begins.
    pub(crate) since: Timestamp,
    /// How many there are.
    pub(crate) n_bars: usize,
    bucket: i64,
}

impl Bars {
    /// Those of `chart`, as of `now`.
    pub(crate) fn of(chart: Chart, now: Timestamp) -> Self {
        let bucket = chart.bucket.max(1);
        let n_bars = (chart.window + bucket - 1) / bucket;
        let since = now.plus_secs(-n_bars * bucket);
        Self { since, n_bars: usize::try_from(n_bars).unwrap_or(0), bucket }
    }

    /// When bar `nth` begins.
    pub(crate) fn begin(&self, nth: usize) -> Timestamp {
        self.since.plus_secs(i64::try_from(nth).unwrap_or(i64::MAX).saturating_mul(self.bucket))
    }

    /// Whether bar `nth` is not over.
    pub(crate) fn is_partial(&self, nth: usize) -> bool {
        nth + 1 == self.n_bars
    }

    /// The bar that `at` is in. What happened this very moment is in the last.
    pub(crate) fn position(&self, at: Timestamp) -> Option<usize> {
        let millis = at.millis_since(self.since);
        let nth = usize::try_from(millis.div_euclid(self.bucket * 1000)).ok()?;
        match nth.cmp(&self.n_bars) {
            std::cmp::Ordering::Less => Some(nth),
            std::cmp::Ordering::Equal if at == self.begin(self.n_bars) => nth.checked_sub(1),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => None,
        }
    }

    /// How many of `times` are in each bar.
    pub(crate) fn counts(&self, times: impl IntoIterator<Item = Timestamp>) -> Vec<u32> {
        let mut counts = vec![0_u32; self.n_bars];
        for nth in times.into_iter().filter_map(|at| self.position(at)) {
            counts[nth] = counts[nth].saturating_add(1);
        }
        counts
    }
}

/// The value at `percent` of those that are sorted: nearest rank; 0 of none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn bars_end_now_and_cover_at_least_the_window() {
        let bars = Bars::of(Chart { window: 100, bucket: 60 }, at(1000));
        assert_eq!((bars.since, bars.n_bars), (at(880), 2));
        assert_eq!((bars.begin(1), bars.is_partial(0), bars.is_partial(1)), (at(940), false, true));
        let times = [879, 880, 939, 940, 999, 1000, 1001].map(at);
        assert_eq!(bars.counts(times), [2, 3]);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([0, 25, 50, 95, 100].map(|p| percentile(&sorted, p)), [1.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!(percentile(&[], 50), 0.0);
        assert_eq!(percentile(&[7.0], 95), 7.0);
    }

    proptest! {
        #[test]
        fn every_moment_of_the_window_is_in_exactly_one_bar(
            window in 60_i64..604_800, bucket in 60_i64..86_400, ago in 0_i64..604_800,
        ) {
            let now = at(10_000_000);
            let bars = Bars::of(Chart { window, bucket }, now);
            let counts = bars.counts([now.plus_secs(-ago)]);
            let n_seen: u32 = counts.iter().sum();
            prop_assert!(ago > window || n_seen == 1);
            prop_assert!(n_seen <= 1);
        }
    }
}
