//! Stable jitter: spreads starts over a window, always the same for the same name.

use jiff::SignedDuration;

/// A share of `window` that only depends on `key`: at least zero, less than the window, whole seconds. The same key
/// starts at the same distance from its scheduled time every day, and different keys start at different ones.
#[must_use]
pub fn spread(key: &str, window: SignedDuration) -> SignedDuration {
    let Ok(seconds) = u64::try_from(window.as_secs()) else { return SignedDuration::ZERO };
    if seconds == 0 {
        return SignedDuration::ZERO;
    }
    let share = mix(key) % seconds;
    // A share is below the window, which came from an `i64`.
    SignedDuration::from_secs(i64::try_from(share).unwrap_or_default())
}

/// FNV-1a over the bytes, then the finaliser of MurmurHash3, because FNV's low bits mix badly for short keys.
fn mix(key: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_has_the_same_share_for_ever() {
        let hour = SignedDuration::from_hours(1);
        assert_eq!(spread("nightly", hour), spread("nightly", hour));
        // Pinned: a changed hash would move every start.
        assert_eq!(spread("nightly", hour), SignedDuration::from_secs(i64::try_from(mix("nightly") % 3600).unwrap()));
        assert_eq!(mix(""), 0xefd0_1f60_ba99_2926);
    }

    #[test]
    fn shares_stay_in_the_window_and_differ_between_keys() {
        let day = SignedDuration::from_hours(24);
        let shares: std::collections::BTreeSet<_> = (0..200).map(|n| spread(&format!("plan-{n}"), day)).collect();
        assert!(shares.len() > 190, "only {} different shares", shares.len());
        assert!(shares.iter().all(|share| *share >= SignedDuration::ZERO && *share < day));
    }

    #[test]
    fn no_window_has_no_share() {
        assert_eq!(spread("x", SignedDuration::ZERO), SignedDuration::ZERO);
        assert_eq!(spread("x", SignedDuration::from_secs(-5)), SignedDuration::ZERO);
    }
}
