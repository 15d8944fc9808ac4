//! How long the phases of a job take.

use std::sync::Arc;

use job_model::PhaseTiming;
use service_host::Clock;
use telemetry::KeyValue;

/// Times one phase after the other.
#[derive(Debug)]
pub struct Stopwatch {
    clock: Arc<dyn Clock>,
    kind: &'static str,
    region: String,
    began_ms: u64,
    phases: Vec<PhaseTiming>,
}

impl Stopwatch {
    /// Starts the first phase. The kind of job and the region are attributes of the metric.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>, kind: &'static str, region: impl ToString) -> Self {
        let began_ms = clock.elapsed_ms();
        Self { clock, kind, region: region.to_string(), began_ms, phases: Vec::new() }
    }

    /// Ends the current phase, names it, and starts the next one.
    pub fn end(&mut self, phase: &str) {
        let now_ms = self.clock.elapsed_ms();
        let duration_ms = now_ms.saturating_sub(self.began_ms);
        self.began_ms = now_ms;
        self.add(PhaseTiming { phase: phase.to_owned(), duration_ms });
    }

    /// Takes over phases that somebody else timed, and starts the next one.
    pub fn take_over(&mut self, phases: impl IntoIterator<Item = PhaseTiming>) {
        self.began_ms = self.clock.elapsed_ms();
        for phase in phases {
            self.add(phase);
        }
    }

    fn add(&mut self, timing: PhaseTiming) {
        let attributes = [
            KeyValue::new("kind", self.kind),
            KeyValue::new("phase", timing.phase.clone()),
            KeyValue::new("region", self.region.clone()),
        ];
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a job are far below 2^52")]
        telemetry::metrics().phase_duration.record(timing.duration_ms as f64 / 1000.0, &attributes);
        self.phases.push(timing);
    }

    /// All phases so far.
    #[must_use]
    pub fn phases(self) -> Vec<PhaseTiming> {
        self.phases
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service_host::ManualClock;

    use super::*;

    #[test]
    fn phases_follow_one_another_without_gaps() {
        let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        let mut watch = Stopwatch::start(clock.clone(), "backup", "ap-northeast-1");
        clock.advance(Duration::from_millis(20));
        watch.end("open");
        clock.advance(Duration::from_millis(300));
        watch.end("capture");
        let phases: Vec<_> = watch.phases().into_iter().map(|p| (p.phase, p.duration_ms)).collect();
        assert_eq!(phases, [("open".to_owned(), 20), ("capture".to_owned(), 300)]);
    }
}
