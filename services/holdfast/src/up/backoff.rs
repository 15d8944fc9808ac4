//! How long a child that ended stays down before it is started again. Pure.

use std::time::Duration;

/// The pause after the first failure; doubles with each that follows.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(15);
/// Who ran this long has recovered: its next failure counts as the first.
const STEADY: Duration = Duration::from_secs(60);

/// The failures in a row of one child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures(u32);

impl Failures {
    /// Counts an end after the given time of running, and says how long to pause before the next start.
    #[must_use]
    pub(super) fn ended_after(self, ran: Duration) -> (Self, Duration) {
        let before = if ran >= STEADY { 0 } else { self.0 };
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST);
        (Self(before.saturating_add(1)), pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_over_after_a_steady_run() {
        let mut failures = Failures::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let (next, pause) = failures.ended_after(Duration::from_secs(1));
            failures = next;
            pauses.push(pause);
        }
        assert_eq!(pauses[0], Duration::from_millis(250));
        assert_eq!(pauses[1], Duration::from_millis(500));
        assert_eq!(pauses[39], Duration::from_secs(15));
        let (_, pause) = failures.ended_after(Duration::from_secs(61));
        assert_eq!(pause, Duration::from_millis(250));
    }
}
