//! Removes sandboxes that nobody asks to remove, and what restores left beside their targets that nobody went on with:
//! their restore job has been over for longer than allowed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use job_model::JobId;
use service_host::error_chain;
use telemetry::KeyValue;
use tokio_util::sync::CancellationToken;

use crate::removal::remove_tree;
use crate::sandbox::SandboxRow;
use crate::staging::StagingRow;
use crate::work::Tools;

/// How often the sweeper looks.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Restore jobs that this process is at.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    jobs: Arc<Mutex<BTreeMap<JobId, usize>>>,
}

/// Holds a job's sandbox until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    in_use: InUse,
    job: JobId,
}

impl InUse {
    /// Keeps the sweeper from the job's sandbox.
    pub(crate) fn hold(&self, job: JobId) -> Held {
        *self.lock().entry(job).or_default() += 1;
        Held { in_use: self.clone(), job }
    }

    fn contains(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, usize>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut jobs = self.in_use.lock();
        if let Some(count) = jobs.get_mut(&self.job) {
            *count -= 1;
            if *count == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}

/// Sweeps now and then until told to stop.
pub(crate) async fn run(tools: Tools, stop: CancellationToken) {
    loop {
        sweep(&tools).await;
        sweep_stagings(&tools).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tools.clock.sleep(SWEEP_EVERY) => {}
        }
    }
}

/// Removes what is due. What cannot be removed stays written down and is tried again.
pub(crate) async fn sweep(tools: &Tools) {
    let rows = match tools.sandboxes.all().await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(error = error_chain(&error), "the list of sandboxes cannot be read");
            return;
        }
    };
    telemetry::metrics().sandboxes.record(rows.len() as u64, &[KeyValue::new("region", tools.region())]);
    for job in due(&rows, tools.clock.now(), tools.config.sandbox_life_max, |job| tools.in_use.contains(job)) {
        let directory = tools.sandboxes.directory(job);
        let removed = tokio::task::spawn_blocking(move || remove_tree(&directory).map_err(|e| error_chain(&e))).await;
        match removed.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(_) => {
                tracing::warn!(restore_job = %job, "a sandbox that nobody removed was swept");
                if let Err(error) = tools.sandboxes.strike_out(job).await {
                    tracing::error!(error = error_chain(&error), "a sandbox cannot be struck out");
                }
            }
            Err(error) => tracing::error!(restore_job = %job, error, "a sandbox cannot be swept; remove it by hand"),
        }
    }
}

/// The jobs whose sandboxes are due.
fn due(rows: &[SandboxRow], now: Timestamp, life_max: Duration, in_use: impl Fn(JobId) -> bool) -> Vec<JobId> {
    let over = |row: &&SandboxRow| is_over(row.used_at, now, life_max) && !in_use(row.job_id);
    rows.iter().filter(over).map(|row| row.job_id).collect()
}

fn is_over(used_at: Timestamp, now: Timestamp, life_max: Duration) -> bool {
    now.duration_since(used_at) > SignedDuration::try_from(life_max).unwrap_or(SignedDuration::MAX)
}

/// Removes what is due beside targets.
async fn sweep_stagings(tools: &Tools) {
    let rows = match tools.stagings.all().await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(error = error_chain(&error), "the list of stagings cannot be read");
            return;
        }
    };
    let (now, life_max) = (tools.clock.now(), tools.config.staging_life_max);
    for row in rows.into_iter().filter(|row| is_over(row.used_at, now, life_max)) {
        if !tools.in_use.contains(row.job_id) {
            remove_staging(tools, &row).await;
        }
    }
}

/// Removes what is at the place and strikes it out; what cannot be removed stays written down.
pub(crate) async fn remove_staging(tools: &Tools, row: &StagingRow) {
    let (path, roots) = (row.path.clone(), tools.config.target_roots.clone());
    let removed = tokio::task::spawn_blocking(move || {
        // Links could have been put on the way, and the configuration could have changed.
        let resolved = worker_host::within(&roots, &path, "target_roots").map_err(|e| error_chain(&e))?;
        if resolved != path {
            return Err(format!("a link on the way leads to `{}` now", resolved.display()));
        }
        remove_tree(&path).map_err(|e| error_chain(&e))
    });
    let path = row.path.display();
    match removed.await.unwrap_or_else(|panic| Err(panic.to_string())) {
        Ok(was_there) => {
            if was_there {
                tracing::info!(restore_job = %row.job_id, %path, "what a restore left beside its target was removed");
            }
            if let Err(error) = tools.stagings.strike_out(&row.path).await {
                tracing::error!(error = error_chain(&error), "a staging cannot be struck out");
            }
        }
        Err(error) => {
            tracing::error!(restore_job = %row.job_id, %path, error, "what a restore left cannot be removed; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u8) -> JobId {
        format!("00000000-0000-7000-8000-0000000000{number:02}").parse().unwrap()
    }

    #[test]
    fn only_old_sandboxes_that_nobody_uses_are_due() {
        let row = |number, second| SandboxRow { job_id: job(number), used_at: Timestamp::from_second(second).unwrap() };
        let rows = [row(1, 0), row(2, 0), row(3, 4000)];
        let now = Timestamp::from_second(4001).unwrap();
        assert_eq!(due(&rows, now, Duration::from_secs(4000), |j| j == job(2)), [job(1)]);
    }

    #[test]
    fn a_sandbox_is_held_as_long_as_anybody_holds_it() {
        let in_use = InUse::default();
        let (first, second) = (in_use.hold(job(1)), in_use.hold(job(1)));
        drop(first);
        assert!(in_use.contains(job(1)));
        drop(second);
        assert!(!in_use.contains(job(1)));
    }
}
