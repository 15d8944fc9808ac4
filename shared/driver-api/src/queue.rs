//! Work shared out among threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::{Control, DriverError};

struct State<J> {
    /// Taken from the end, so that what was found last is done first and the queue stays short in deep trees.
    jobs: Vec<J>,
    /// Jobs queued or being done.
    open: usize,
    failed: Option<DriverError>,
}

/// Does the first jobs and all that come out of them, on so many threads. The first error ends it.
///
/// # Errors
/// The first that `work` returns; [`DriverError::Stopped`] when the control says so.
pub fn run<J: Send>(
    threads: usize,
    control: &dyn Control,
    first: Vec<J>,
    work: impl Fn(J, &mut Vec<J>) -> Result<(), DriverError> + Sync,
) -> Result<(), DriverError> {
    let open = first.len();
    let state = Mutex::new(State { jobs: first, open, failed: None });
    let changed = Condvar::new();
    let worker = || {
        let mut found = Vec::new();
        loop {
            let job = {
                let mut state = state.lock();
                loop {
                    if state.failed.is_some() || state.open == 0 {
                        return;
                    }
                    match state.jobs.pop() {
                        Some(job) => break job,
                        None => changed.wait(&mut state),
                    }
                }
            };
            let mut done = Done { state: &state, changed: &changed, outcome: Some(Err(DriverError::Stopped)) };
            let outcome = if control.is_stopped() { Err(DriverError::Stopped) } else { work(job, &mut found) };
            done.outcome = Some(outcome.map(|()| std::mem::take(&mut found)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(worker);
        }
        worker();
    });
    match state.into_inner().failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Reports a job's outcome, also when the thread panics: the others must not wait for ever.
struct Done<'a, J> {
    state: &'a Mutex<State<J>>,
    changed: &'a Condvar,
    outcome: Option<Result<Vec<J>, DriverError>>,
}

impl<J> Drop for Done<'_, J> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        match self.outcome.take() {
            Some(Ok(found)) => {
                state.open += found.len();
                state.jobs.extend(found);
            }
            Some(Err(error)) => {
                state.failed.get_or_insert(error);
            }
            None => {}
        }
        state.open -= 1;
        self.changed.notify_all();
    }
}

/// Does the same for each item, in any order, on so many threads. The first error ends it.
///
/// # Errors
/// The first that `work` returns; [`DriverError::Stopped`] when the control says so.
pub fn for_each<T: Sync>(
    threads: usize,
    control: &dyn Control,
    items: &[T],
    work: impl Fn(&T) -> Result<(), DriverError> + Sync,
) -> Result<(), DriverError> {
    let next = AtomicUsize::new(0);
    let threads = threads.clamp(1, items.len().max(1));
    run(threads, control, (0..threads).collect(), |_thread, _found| {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            work(item)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoControl;

    #[test]
    fn everything_found_on_the_way_is_done_once() {
        let sum = AtomicUsize::new(0);
        run(4, &NoControl, vec![10_usize], |job, found| {
            sum.fetch_add(1, Ordering::Relaxed);
            found.extend((0..job).rev().take(2));
            Ok(())
        })
        .unwrap();
        // Each job of n makes n-1 and n-2: the calls of the naive Fibonacci function.
        assert_eq!(sum.into_inner(), 232);
    }

    #[test]
    fn first_error_ends_the_work() {
        let result = for_each(3, &NoControl, &[1, 2, 3], |_| Err(DriverError::Stopped));
        assert!(matches!(result, Err(DriverError::Stopped)));
    }
}
