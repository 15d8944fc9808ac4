//! Single jobs: asked for, watched, and what was said about them on the way.

use std::collections::BTreeMap;
use std::path::Path;

use job_events::{Fact, StartBackup, StartRestore, StopJob};
use job_model::{Arn, Job, JobId, JobState, Lifecycle, OverwritePolicy, RecoveryPoint, RestoreTarget};

use crate::installation::{Failure, Talk, wait_until};

impl Talk {
    /// Starts a backup that no copy follows.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn start_plain_backup(&self, resource: &Arn, vault: &Arn) -> Result<JobId, Failure> {
        let request = StartBackup {
            resource: resource.clone(),
            vault: vault.clone(),
            lifecycle: Lifecycle::default(),
            start_window_minutes: None,
            completion_window_minutes: None,
            recovery_point_tags: BTreeMap::new(),
            copy_actions: Vec::new(),
            iam_role: None,
        };
        self.request(request).await?.job_id.ok_or_else(|| "a backup has a job".into())
    }

    /// A backup that must complete, and the recovery point it made.
    ///
    /// # Errors
    /// When it does not complete.
    pub async fn backed_up(&self, resource: &Arn, vault: &Arn) -> Result<RecoveryPoint, Failure> {
        let job = self.start_plain_backup(resource, vault).await?;
        self.completed(job).await?;
        self.made_by(resource, job).await
    }

    /// The recovery point that a job made.
    ///
    /// # Errors
    /// When it made none.
    pub async fn made_by(&self, resource: &Arn, job: JobId) -> Result<RecoveryPoint, Failure> {
        let points = self.recovery_points(resource).await?;
        let point = points.into_iter().find(|point| point.job_id == job);
        point.ok_or_else(|| format!("{job} made no recovery point").into())
    }

    /// Starts a restore to a path.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn start_restore(
        &self,
        point: &Arn,
        target: &Path,
        overwrite: OverwritePolicy,
    ) -> Result<JobId, Failure> {
        let request = StartRestore {
            recovery_point: point.clone(),
            target: RestoreTarget::Location { url: format!("file://{}", target.display()) },
            overwrite,
            include: Vec::new(),
            test: None,
            metadata: std::collections::BTreeMap::new(),
            iam_role: None,
        };
        self.request(request).await?.job_id.ok_or_else(|| "a restore has a job".into())
    }

    /// Waits for the end of a job that must complete.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn completed(&self, job: JobId) -> Result<Job, Failure> {
        let job = self.job_ended(job).await?;
        if job.state == JobState::Completed { Ok(job) } else { Err(format!("not completed: {job:?}").into()) }
    }

    /// Waits until a job's status message has the words: then an attempt failed for this cause, and the job either ended
    /// or waits for its next attempt.
    ///
    /// # Errors
    /// When nothing of the kind is said in time.
    pub async fn job_says(&self, job: JobId, words: &str) -> Result<Job, Failure> {
        wait_until(&format!("job {job} to say `{words}`"), || async {
            let now = self.job(job).await?;
            let said = now.status_message.as_ref().is_some_and(|message| message.contains(words));
            if !said && now.state.is_terminal() {
                // Waiting longer would not help; the caller's comparison shows what was said instead.
                return Ok(Some(now));
            }
            Ok(said.then_some(now))
        })
        .await
    }

    /// Asks to stop a job.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn stop_job(&self, job_id: JobId) -> Result<(), Failure> {
        self.request(StopJob { job_id }).await.map(drop)
    }

    /// Every state a job went through, with what was said of it, as its facts tell.
    ///
    /// # Errors
    /// When the facts cannot be read.
    pub async fn story(&self, region: usize, id: JobId) -> Result<Vec<(JobState, String)>, Failure> {
        let told = self.facts(region).await?.into_iter().filter_map(|(_, fact)| match fact {
            Fact::JobChanged(change) if change.job.id == id => {
                Some((change.job.state, change.job.status_message.unwrap_or_default()))
            }
            _ => None,
        });
        Ok(told.collect())
    }
}
