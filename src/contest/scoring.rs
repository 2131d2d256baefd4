//! What a right answer is worth, given how many teams have it.
//!
//! # Invariants
//! * A value never rises with the number of teams, and lies between minimum and value.

use crate::model::competition::{Scoring, ScoringFunction};

/// What each of `n_teams` teams gets that have the answer, without the bonus of the first. For no
/// team it is what the first would get.
pub fn value(scoring: &Scoring, n_teams: u32) -> u32 {
    let Scoring { value, minimum, decay, .. } = *scoring;
    let minimum = minimum.min(value);
    // The first team takes nothing off.
    let n_later = n_teams.saturating_sub(1).min(decay.max(1));
    let (span, n, decay) =
        (u64::from(value - minimum), u64::from(n_later), u64::from(decay.max(1)));
    // Everybody gets whole points, in favour of players.
    let off = match scoring.function {
        ScoringFunction::Static => 0,
        ScoringFunction::Linear => span * n / decay,
        ScoringFunction::Logarithmic => {
            let (span, n, decay) = (u128::from(span), u128::from(n), u128::from(decay));
            u64::try_from(span * n * n / (decay * decay)).unwrap_or(u64::MAX)
        }
    };
    value.saturating_sub(u32::try_from(off).unwrap_or(u32::MAX)).max(minimum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scoring(function: ScoringFunction) -> Scoring {
        Scoring { function, value: 500, minimum: 100, decay: 10, first_blood: 0 }
    }

    #[test]
    fn values_sink_as_they_say() {
        let row = |function| {
            [0, 1, 2, 6, 10, 11, 50].map(|n| value(&scoring(function), n).to_string()).join(" ")
        };
        assert_eq!(row(ScoringFunction::Static), "500 500 500 500 500 500 500");
        assert_eq!(row(ScoringFunction::Linear), "500 500 460 300 140 100 100");
        assert_eq!(row(ScoringFunction::Logarithmic), "500 500 496 400 176 100 100");
    }

    fn any_scoring() -> impl Strategy<Value = Scoring> {
        let functions = prop_oneof![
            Just(ScoringFunction::Static),
            Just(ScoringFunction::Linear),
            Just(ScoringFunction::Logarithmic),
        ];
        (functions, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(function, value, minimum, decay)| Scoring {
                function,
                value,
                minimum,
                decay,
                first_blood: 0,
            },
        )
    }

    proptest! {
        #[test]
        fn a_value_never_rises_and_stays_in_bounds(it in any_scoring(), n in any::<u32>()) {
            let now = value(&it, n);
            prop_assert!(now <= it.value);
            prop_assert!(now >= it.minimum.min(it.value));
            prop_assert!(value(&it, n.saturating_add(1)) <= now);
            prop_assert_eq!(value(&it, 0), value(&it, 1));
        }
    }
}
