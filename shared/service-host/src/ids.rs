//! Ids and randomness as an argument.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Draws ids and random numbers.
pub trait Ids: Debug + Send + Sync {
    /// A new UUID of version 7: later ones sort after earlier ones.
    fn uuid(&self) -> Uuid;

    /// A random number, for jitter and sampling; not for secrets.
    fn random_u64(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random_u64(&self) -> u64 {
        rand::random()
    }
}

/// Counts: the same ids in the same order in every run of a test.
#[derive(Debug, Default)]
pub struct ManualIds {
    next: AtomicU64,
}

impl ManualIds {
    /// Starts after the number.
    #[must_use]
    pub const fn starting_after(number: u64) -> Self {
        Self { next: AtomicU64::new(number) }
    }

    fn count(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Ids for ManualIds {
    fn uuid(&self) -> Uuid {
        // Version 7 and the variant of RFC 9562 in their places, the count in the last 62 bits.
        Uuid::from_u128((0x7 << 76) | (0b10 << 62) | (u128::from(self.count()) & ((1 << 62) - 1)))
    }

    /// Spread over the whole range by the finaliser of SplitMix64.
    fn random_u64(&self) -> u64 {
        let mut x = self.count().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_ids_are_different_and_of_version_7() {
        let ids = ManualIds::default();
        let (first, second) = (ids.uuid(), ids.uuid());
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
        assert!(first < second);
        assert_eq!(ManualIds::default().uuid(), first);
    }

    #[test]
    fn drawn_ids_sort_by_time() {
        let (first, second) = (SystemIds.uuid(), SystemIds.uuid());
        assert!(first < second);
    }
}
