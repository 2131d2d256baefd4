//! How long an instance may live (`contract/http-api.md` §5.1, §5.4).
//!
//! A lease is granted at the start and again at every renewal, which begins anew from that moment.

use crate::model::{InstanceSettings, Timestamp};

/// The platform's own default and bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseBounds {
    /// Granted when nobody says otherwise.
    pub default_secs: u32,
    /// Never more than this.
    pub max_secs: u32,
}

impl Default for LeaseBounds {
    /// One day, both.
    fn default() -> Self {
        Self { default_secs: 86_400, max_secs: 86_400 }
    }
}

/// The lease in seconds for a wish.
///
/// No wish, or one below a second, gives the challenge's default or else the platform's; nothing
/// exceeds the smaller of their bounds. Never 0. There is no lower bound beyond that: clients rely
/// on getting the short lease they ask for.
pub fn grant(requested: Option<i64>, challenge: &InstanceSettings, platform: LeaseBounds) -> u32 {
    let max = challenge.max_ttl_secs.unwrap_or(u32::MAX).min(platform.max_secs).max(1);
    let default = challenge.ttl_secs.unwrap_or(platform.default_secs).max(1);
    let wanted = match requested {
        Some(secs) if secs >= 1 => u32::try_from(secs).unwrap_or(u32::MAX),
        Some(_) | None => default,
    };
    wanted.min(max)
}

/// When a lease of `ttl_secs` that begins at `now` is over. A renewal replaces the old end, also
/// by an earlier one.
pub fn expires_at(now: Timestamp, ttl_secs: u32) -> Timestamp {
    now.plus_secs(i64::from(ttl_secs))
}

/// Whether a lease that ends at `expires_at` is over.
pub fn is_over(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at <= now
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(ttl_secs: Option<u32>, max_ttl_secs: Option<u32>) -> InstanceSettings {
        InstanceSettings { ttl_secs, max_ttl_secs, ..InstanceSettings::default() }
    }

    #[test]
    fn a_wish_is_granted_within_the_smaller_bound() {
        let platform = LeaseBounds { default_secs: 3600, max_secs: 7200 };
        for (wish, ttl, max_ttl, granted) in [
            (None, None, None, 3600),
            (Some(0), None, None, 3600),
            (Some(-5), None, None, 3600),
            (Some(i64::MIN), None, None, 3600),
            (Some(1), None, None, 1),
            (Some(600), None, None, 600),
            (Some(100_000), None, None, 7200),
            (Some(i64::MAX), None, None, 7200),
            (None, Some(120), None, 120),
            (Some(600), Some(120), None, 600),
            (Some(600), Some(120), Some(300), 300),
            (None, Some(900), Some(300), 300),
            (None, None, Some(300), 300),
            (Some(100_000), None, Some(90_000), 7200),
            (None, Some(0), None, 1),
        ] {
            assert_eq!(grant(wish, &settings(ttl, max_ttl), platform), granted, "{wish:?} {ttl:?}");
        }
    }

    #[test]
    fn a_lease_is_over_at_its_last_millisecond() {
        let now = Timestamp::from_millis(1_000);
        let end = expires_at(now, 5);
        assert_eq!(end, Timestamp::from_millis(6_000));
        assert!(!is_over(end, Timestamp::from_millis(5_999)));
        assert!(is_over(end, end));
    }

    proptest! {
        #[test]
        fn a_lease_is_never_empty_and_never_exceeds_a_bound(
            wish in any::<Option<i64>>(),
            ttl in any::<Option<u32>>(),
            max_ttl in proptest::option::of(1_u32..),
            default_secs in 1_u32..,
            max_secs in 1_u32..,
        ) {
            let granted = grant(wish, &settings(ttl, max_ttl), LeaseBounds { default_secs, max_secs });
            prop_assert!(granted >= 1);
            prop_assert!(granted <= max_secs);
            prop_assert!(max_ttl.is_none_or(|max| granted <= max));
        }
    }
}
