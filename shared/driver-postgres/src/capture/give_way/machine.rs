//! What the system tells of processors and threads: <https://man7.org/linux/man-pages/man5/proc_stat.5.html> and
//! <https://docs.kernel.org/scheduler/sched-stats.html>.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Times of all processors, since the system's start.
const PROCESSORS: &str = "/proc/stat";
/// Times of the thread that reads it, since its start.
const THREAD: &str = "/proc/thread-self/schedstat";

/// The processors that this process may use.
pub(super) struct Machine {
    processors: Vec<usize>,
    nanos_each_tick: u64,
}

impl Machine {
    /// None where the system does not tell what is needed.
    pub(super) fn here() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)).collect();
        // SAFETY: the call takes a number and gives one.
        let ticks_each_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
        let nanos_each_tick = super::SECOND.checked_div(ticks_each_second)?;
        (!processors.is_empty()).then_some(Self { processors, nanos_each_tick })
    }

    pub(super) fn processors(&self) -> u64 {
        self.processors.len() as u64
    }

    /// Reads the clocks.
    pub(super) fn count(&self) -> Option<Counted> {
        let ticks = idle_ticks(&fs::read_to_string(PROCESSORS).ok()?, &self.processors)?;
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = u64::try_from(own.tv_sec).ok()? * super::SECOND + u64::try_from(own.tv_nsec).ok()?;
        Some(Counted { idle: ticks.saturating_mul(self.nanos_each_tick), own })
    }
}

/// What clocks say that never go back, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How long the processors were idle, together. One that waits for a disk is idle.
    pub(super) idle: u64,
    /// What this process took of them.
    pub(super) own: u64,
}

/// Ticks that these processors were idle; none if there is no line for any.
fn idle_ticks(stat: &str, processors: &[usize]) -> Option<u64> {
    let lines = stat.lines().filter_map(|line| {
        let (number, times) = line.strip_prefix("cpu")?.split_once(' ')?;
        processors.contains(&number.parse().ok()?).then_some(times)
    });
    lines
        .map(|times| {
            // After those of users, users that are nice, and the system.
            let mut times = times.split_ascii_whitespace().skip(3);
            let mut next = || times.next()?.parse::<u64>().ok();
            Some(next()?.saturating_add(next().unwrap_or(0)))
        })
        .reduce(|all, one| Some(all?.saturating_add(one?)))?
}

/// Times of a thread, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadTimes {
    pub(super) ran: u64,
    /// Could have run, and another one did.
    pub(super) waited: u64,
}

impl ThreadTimes {
    /// Those of the calling thread; none where the system does not count them.
    pub(super) fn mine() -> Option<Self> {
        Self::parse(&fs::read_to_string(THREAD).ok()?)
    }

    fn parse(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
        Some(Self { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  58783 0 17428 40448 1134 0 876 29 0 0\n\
                        cpu0 28164 0 8411 22050 611 0 9 13 0 0\n\
                        cpu1 30618 0 9016 18397 522 0 867 16 0 0\n\
                        intr 2495211 0 0\n\
                        ctxt 88\n";

    #[test]
    fn idle_is_what_the_processors_in_question_did_not_do() {
        assert_eq!(idle_ticks(STAT, &[0]), Some(22_050 + 611));
        assert_eq!(idle_ticks(STAT, &[0, 1]), Some(22_050 + 611 + 18_397 + 522));
        assert_eq!(idle_ticks(STAT, &[7]), None, "it has gone offline");
        assert_eq!(idle_ticks("cpu0 1 2\n", &[0]), None);
        assert_eq!(
            idle_ticks("cpu0 1 2 3 4\n", &[0]),
            Some(4),
            "of a system from before there was a number for the disk"
        );
    }

    #[test]
    fn times_of_a_thread_are_its_first_two_numbers() {
        assert_eq!(ThreadTimes::parse("2463845 17 1\n"), Some(ThreadTimes { ran: 2_463_845, waited: 17 }));
        assert_eq!(ThreadTimes::parse(""), None);
    }

    #[test]
    fn this_system_tells() {
        let machine = Machine::here().unwrap();
        assert_eq!(machine.processors() as usize, std::thread::available_parallelism().unwrap().get());
        assert!(machine.count().is_some());
        assert!(ThreadTimes::mine().is_some());
    }
}
