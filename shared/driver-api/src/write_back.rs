//! Brings what a restore writes to the disk while it still writes, so that disk and processors work at the same time and
//! little is left for the sync at its end.

use std::io;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Does the work while another thread calls `sync` again and again, with `pause` between the calls: each makes the file
/// system write its journal, which others wait for when they make files. The caller still syncs when the work is done, for
/// what was written last.
///
/// # Errors
/// The first that `sync` returns: the system tells each failed write only once, so the caller's own sync would not hear
/// of it again.
pub fn write_back_while<R>(
    pause: Duration,
    sync: impl Fn() -> io::Result<()> + Sync,
    work: impl FnOnce() -> R,
) -> io::Result<R> {
    let (ended, changed) = (Mutex::new(false), Condvar::new());
    let again = || -> io::Result<()> {
        loop {
            let mut ended = ended.lock();
            if !*ended {
                changed.wait_for(&mut ended, pause);
            }
            if *ended {
                return Ok(());
            }
            drop(ended);
            sync()?;
        }
    };
    /// Ends the thread also when the work panics.
    struct End<'a>(&'a Mutex<bool>, &'a Condvar);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            *self.0.lock() = true;
            self.1.notify_all();
        }
    }
    thread::scope(|scope| {
        let thread = scope.spawn(again);
        let end = End(&ended, &changed);
        let result = work();
        drop(end);
        thread.join().map_err(|_| io::Error::other("the thread that writes back died"))??;
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_written_is_synced_until_the_work_is_done() {
        let count = AtomicUsize::new(0);
        let sync = || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let result = write_back_while(Duration::from_millis(1), sync, || {
            while count.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            7
        });
        assert_eq!(result.unwrap(), 7);
        assert!(count.into_inner() >= 2);
    }

    #[test]
    fn a_write_that_failed_is_told_at_the_end() {
        let failed = Mutex::new(false);
        let sync = || {
            *failed.lock() = true;
            Err(io::ErrorKind::StorageFull.into())
        };
        let result = write_back_while(Duration::from_millis(1), sync, || {
            while !*failed.lock() {
                thread::yield_now();
            }
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
