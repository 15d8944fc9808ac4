//! Lets work that can wait give way to the server on whose machine it is done.
//!
//! What reads, hashes and compresses gets the processor when nobody else wants it. What writes to the vault does not give
//! way: it may hold the journal of a file system on which the server waits for its own commits.
//!
//! The system keeps to it within a group of processes. A server that is in another one (a control group with a share of the
//! processor, or a session where `kernel.sched_autogroup_enabled` is set) would share equally with all that is done here, see
//! <https://man7.org/linux/man-pages/man7/sched.7.html>, "The autogroup feature". So captures take breaks besides
//! (`capture/give_way.rs`).

use std::io;

use serde::{Deserialize, Serialize};

/// How much of its machine is left to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Work beside a server has the same rights as the server.
    Normal,
    /// It gets about a tenth of processors that are wanted by the server as well.
    Low,
    /// It gets what nobody else wants, and a twentieth where they are never idle. Within a group the system may give it even less,
    /// and a capture may take very long.
    #[default]
    Idle,
}

/// `nice` of work that is to give way.
const NICE: i32 = 10;
/// <https://man7.org/linux/man-pages/man2/ioprio_set.2.html>: who is meant is a thread.
const WHO_PROCESS: libc::c_int = 1;
/// The class is in the bits above these.
const CLASS_SHIFT: libc::c_int = 13;
/// The usual class, in which the level goes by `nice` unless it is given.
const CLASS_BEST_EFFORT: libc::c_int = 2;
const LOWEST_LEVEL: libc::c_int = 7;
const CLASS_IDLE: libc::c_int = 3;

impl Priority {
    /// The same, but such that the work gets on under any load.
    pub(crate) const fn at_least_low(self) -> Self {
        match self {
            Self::Idle => Self::Low,
            other => other,
        }
    }

    /// What it has of all processors of a machine on which others want all of them too, as one part of so many; none where it has
    /// as much as they.
    pub(crate) const fn least_part(self) -> Option<u64> {
        match self {
            Self::Normal => None,
            Self::Low => Some(10),
            Self::Idle => Some(20),
        }
    }

    /// Does the work on a thread of this priority, and so what threads it starts. The calling thread stays as it is: an
    /// ordinary user could not take a lower priority back.
    pub(crate) fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        if self == Self::Normal {
            return work();
        }
        let span = tracing::Span::current();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _in_span = span.enter();
                if let Err(error) = self.take() {
                    // Slower for the server, not wrong.
                    tracing::warn!(%error, "a lower priority is not to be had; the work has the usual one");
                }
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives it to the calling thread.
    fn take(self) -> io::Result<()> {
        let (class, level) = match self {
            Self::Normal => return Ok(()),
            Self::Low => (CLASS_BEST_EFFORT, LOWEST_LEVEL),
            Self::Idle => (CLASS_IDLE, 0),
        };
        // A worker that gives way more already stays so.
        let nice = NICE.max(rustix::process::getpriority_process(None)?);
        rustix::process::setpriority_process(None, nice)?;
        if self == Self::Idle {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: the call reads the parameters; 0 is the calling thread.
            succeeded(libc::c_long::from(unsafe {
                libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters)
            }))?;
        }
        // SAFETY: the call takes numbers only; 0 is the calling thread.
        succeeded(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT | level) })
    }
}

fn succeeded(returned: libc::c_long) -> io::Result<()> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy, `nice` and I/O class of the calling thread.
    fn mine() -> (libc::c_int, i32, libc::c_long) {
        // SAFETY: the calls take numbers only; 0 is the calling thread.
        let (policy, io) =
            unsafe { (libc::sched_getscheduler(0), libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0)) };
        (policy, rustix::process::getpriority_process(None).unwrap(), io >> CLASS_SHIFT)
    }

    #[test]
    fn work_and_its_threads_give_way_and_the_caller_does_not() {
        let before = mine();
        let (own, below) = Priority::Idle.run(|| (mine(), std::thread::spawn(mine).join().unwrap()));
        assert_eq!((own.0, own.2), (libc::SCHED_IDLE, libc::c_long::from(CLASS_IDLE)));
        assert_eq!(below, own);
        let low = Priority::Low.run(mine);
        assert_eq!(low, (libc::SCHED_OTHER, NICE.max(before.1), libc::c_long::from(CLASS_BEST_EFFORT)));
        assert_eq!(Priority::Normal.run(mine), before);
        assert_eq!(mine(), before);
    }

    #[test]
    fn a_panic_of_the_work_is_the_callers() {
        let caught = std::panic::catch_unwind(|| Priority::Low.run(|| panic!("as expected")));
        assert!(caught.is_err());
    }
}
