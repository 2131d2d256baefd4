//! How full a disk is.

/// One file system, as whoever writes to it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What is used and what may still be used. Blocks reserved for root are not in it.
    pub capacity_bytes: u64,
    /// What is used.
    pub used_bytes: u64,
}

impl Disk {
    /// How much of it is used, rounded up as `df` does; an empty one of no size is full.
    pub fn used_percent(self) -> u64 {
        let used = u128::from(self.used_bytes) * 100;
        let percent = used.div_ceil(u128::from(self.capacity_bytes).max(1));
        if self.capacity_bytes == 0 { 100 } else { u64::try_from(percent).unwrap_or(100).min(100) }
    }

    /// Whether at least `percent` of it is used.
    pub fn is_at(self, percent: u32) -> bool {
        u128::from(self.used_bytes) * 100 >= u128::from(self.capacity_bytes) * u128::from(percent)
    }

    /// How much may still be used.
    pub fn free_bytes(self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes)
    }

    /// How many bytes `percent` of it are, rounded down.
    pub fn bytes_at(self, percent: u32) -> u64 {
        let bytes = u128::from(self.capacity_bytes) * u128::from(percent) / 100;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_reached_at_the_percent_they_name() {
        let disk = |used_bytes| Disk { capacity_bytes: 1000, used_bytes };
        assert_eq!([799, 800, 801].map(|used| disk(used).is_at(80)), [false, true, true]);
        assert_eq!([0, 1, 10, 11, 1000].map(|used| disk(used).used_percent()), [0, 1, 1, 2, 100]);
        assert!(disk(0).is_at(0), "a mark of 0 is always reached");
        assert_eq!(disk(5).bytes_at(70), 700);
        let none = Disk { capacity_bytes: 0, used_bytes: 0 };
        assert_eq!(none.used_percent(), 100);
        let huge = Disk { capacity_bytes: u64::MAX, used_bytes: u64::MAX };
        assert!(huge.is_at(100) && huge.bytes_at(100) == u64::MAX);
    }
}
