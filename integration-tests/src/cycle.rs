//! One protection cycle against an installation: back up, copy, restore the copy in a sandbox, judge. And the count of what
//! it left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use job_events::{
    Answer, CreateVaultRequest, Fact, PutRestoreTestingPlan, Query, RegisterResource, RunRestoreTest, StartBackup,
    TestRun,
};
use job_model::{
    Arn, CopyAction, Job, JobDetail, JobId, JobState, Lifecycle, PointAlgorithm, ProtectedResourceConditions,
    RecoveryPoint, ResourceType, RestoreTestingSelection, TestRunId, VaultState, VerdictStatus,
};

use crate::installation::{Failure, Installation, Talk, wait_until};

/// What cycles run between.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Vault of the first region.
    pub primary: Arn,
    /// Vault of the second.
    pub copy: Arn,
}

/// What one cycle came to.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// The backup job.
    pub backup: Job,
    /// The copy job.
    pub copy: Job,
    /// The restore test.
    pub test: TestRun,
}

impl Installation {
    /// Makes a vault in each region and waits until both can be used.
    ///
    /// # Errors
    /// When one is refused or fails.
    pub async fn make_vaults(&self) -> Result<Stage, Failure> {
        let mut vaults = Vec::new();
        for (region, name) in self.regions.iter().zip(["primary", "copies"]) {
            let location = format!("file://{}", self.vault_dir(name).display());
            vaults.push(self.make_vault(region, name, &location).await?);
        }
        match vaults.as_slice() {
            [primary, copy] => Ok(Stage { primary: primary.clone(), copy: copy.clone() }),
            _ => Err("two regions make two vaults".into()),
        }
    }

    /// Where a vault made by [`Installation::make_vaults`] lies.
    #[must_use]
    pub fn vault_dir(&self, name: &str) -> PathBuf {
        self.dir.join("vaults").join(name)
    }

    /// Makes a small file tree and registers it.
    ///
    /// # Errors
    /// When the disk or the planner refuses.
    pub async fn make_resource(&self, name: &str) -> Result<Arn, Failure> {
        let dir = self.dir.join("resources").join(name);
        fs::create_dir_all(dir.join("below"))?;
        for number in 0..20 {
            fs::write(dir.join(format!("file-{number}")), format!("{name} {number}\n").repeat(1 + number * 997))?;
        }
        fs::write(dir.join("below/one"), name)?;
        self.register(name, ResourceType::Files, &dir).await
    }

    /// Waits until restore tests have left nothing behind.
    ///
    /// # Errors
    /// When something is still there after a long time.
    pub async fn sandboxes_empty(&self) -> Result<(), Failure> {
        wait_until("the sandboxes to be empty", || async {
            for region in 0..self.regions.len() {
                if fs::read_dir(self.sandbox(region))?.next().is_some() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }
}

impl Talk {
    /// Makes one vault under the key that every test configuration has, and waits until it can be used.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn make_vault(&self, region: &job_model::Region, name: &str, location: &str) -> Result<Arn, Failure> {
        self.make_vault_under(region, name, location, "main").await
    }

    /// Makes one vault under a key of the workers' configuration, and waits until it can be used.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn make_vault_under(
        &self,
        region: &job_model::Region,
        name: &str,
        location: &str,
        key_profile: &str,
    ) -> Result<Arn, Failure> {
        self.make_vault_as(CreateVaultRequest {
            name: name.to_owned(),
            region: region.clone(),
            location: location.to_owned(),
            key_profile: key_profile.to_owned(),
            cold_location: None,
            cold_key_profile: None,
            min_retention_days: None,
            max_retention_days: None,
            vault_type: job_model::VaultType::BackupVault,
            tags: std::collections::BTreeMap::new(),
        })
        .await
    }

    /// Makes one vault as it is asked for, and waits until it can be used.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn make_vault_as(&self, request: CreateVaultRequest) -> Result<Arn, Failure> {
        let name = request.name.clone();
        self.request(request).await?;
        wait_until(&format!("vault {name}"), || async {
            let Answer::Vaults(vaults) = self.query(&Query::ListVaults).await? else { return Ok(None) };
            let vault = vaults.into_iter().find(|vault| vault.name == name);
            Ok(vault.filter(|vault| vault.state == VaultState::Available).map(|vault| vault.access.arn))
        })
        .await
    }

    /// Registers a resource of the first region.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn register(&self, name: &str, kind: ResourceType, path: &std::path::Path) -> Result<Arn, Failure> {
        self.register_at(name, kind, &format!("file://{}", path.display())).await
    }

    /// Registers a resource of the first region that need not be a file.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn register_at(&self, name: &str, kind: ResourceType, location: &str) -> Result<Arn, Failure> {
        let region = self.regions[0].clone();
        let arn: Arn = match kind {
            ResourceType::Volume => format!("arn:aws:ec2:{region}:000000000000:volume/{name}"),
            _ => format!("arn:aws:files:{region}:000000000000:tree/{name}"),
        }
        .parse()?;
        let request = RegisterResource {
            arn: arn.clone(),
            resource_type: kind,
            region,
            location: location.to_owned(),
            hooks: None,
            tags: BTreeMap::new(),
        };
        self.request(request).await?;
        Ok(arn)
    }

    /// Starts a backup that is followed by a copy.
    ///
    /// # Errors
    /// When the planner refuses.
    pub async fn start_backup(&self, resource: &Arn, stage: &Stage) -> Result<JobId, Failure> {
        let request = StartBackup {
            resource: resource.clone(),
            vault: stage.primary.clone(),
            lifecycle: Lifecycle::default(),
            start_window_minutes: None,
            completion_window_minutes: None,
            recovery_point_tags: BTreeMap::new(),
            copy_actions: vec![CopyAction { destination_vault: stage.copy.clone(), lifecycle: Lifecycle::default() }],
            iam_role: None,
        };
        self.request(request).await?.job_id.ok_or_else(|| "a backup has a job".into())
    }

    /// The copy job that follows a backup, once it has ended.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn copy_after(&self, backup: JobId) -> Result<Job, Failure> {
        let list =
            Query::ListJobs { kind: Some(job_model::JobKind::Copy), state: None, resource: None, limit: Some(1000) };
        wait_until("the copy to end", || async {
            let Answer::Jobs(jobs) = self.query(&list).await? else { return Ok(None) };
            Ok(jobs.into_iter().find(|job| job.parent == Some(backup) && job.state.is_terminal()))
        })
        .await
    }

    /// Runs a restore test of one resource from a vault, and waits for its end.
    ///
    /// # Errors
    /// When it is refused or does not end in time.
    pub async fn prove(&self, resource: &Arn, kind: ResourceType, vault: &Arn) -> Result<TestRun, Failure> {
        let name = format!("prove_{}", job_model::resource_key(resource).get(..12).unwrap_or("resource"));
        let plan = PutRestoreTestingPlan {
            name: name.clone(),
            schedule: None,
            time_zone: None,
            start_window_hours: None,
            algorithm: PointAlgorithm::LatestWithinWindow,
            include_vaults: vec![vault.to_string()],
            exclude_vaults: Vec::new(),
            selection_window_days: None,
            selections: vec![RestoreTestingSelection {
                name: "one".to_owned(),
                resource_type: kind,
                protected_resources: vec![resource.to_string()],
                conditions: ProtectedResourceConditions::default(),
                validation_window_hours: 0,
                iam_role: None,
                creator_request_id: None,
                created_at: None,
                updated_at: None,
                restore_metadata_overrides: std::collections::BTreeMap::new(),
            }],
        };
        self.request(plan).await?;
        let accepted = self.request(RunRestoreTest { name }).await?;
        let run: TestRunId = accepted.result.ok_or("a run has an id")?.parse()?;
        wait_until("the restore test to end", || async {
            let Answer::TestRun(run) = self.query(&Query::ShowTestRun { test_run: run }).await? else {
                return Ok(None);
            };
            Ok(run.ended_at.is_some().then_some(run))
        })
        .await
    }

    /// A whole cycle of one resource.
    ///
    /// # Errors
    /// When a step is refused or does not end in time.
    pub async fn cycle(&self, resource: &Arn, kind: ResourceType, stage: &Stage) -> Result<Cycle, Failure> {
        let job_id = self.start_backup(resource, stage).await?;
        let backup = self.job_ended(job_id).await?;
        let copy = self.copy_after(job_id).await?;
        let test = self.prove(resource, kind, &stage.copy).await?;
        Ok(Cycle { backup, copy, test })
    }

    /// The recovery points of a resource.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn recovery_points(&self, resource: &Arn) -> Result<Vec<RecoveryPoint>, Failure> {
        let query = Query::ListRecoveryPoints { vault: None, resource: Some(resource.clone()) };
        match self.query(&query).await? {
            Answer::RecoveryPoints(points) => Ok(points),
            other => Err(format!("no recovery points: {other:?}").into()),
        }
    }

    /// What is wrong with the traces that a proven cycle left: every effect must be there once, and nothing else.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn faults_of(&self, resource: &Arn, cycle: &Cycle) -> Result<Vec<String>, Failure> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        expect(cycle.backup.state == JobState::Completed, format!("backup is {:?}", cycle.backup));
        expect(cycle.copy.state == JobState::Completed, format!("copy is {:?}", cycle.copy));
        let verdicts: Vec<_> = cycle.test.entries.iter().map(|e| e.verdict.as_ref().map(|v| v.status)).collect();
        expect(verdicts == [Some(VerdictStatus::Successful)], format!("test run is {:?}", cycle.test));
        let points = self.recovery_points(resource).await?;
        expect(points.len() == 2, format!("{} recovery points instead of two", points.len()));
        for (region, job) in [(0, &cycle.backup), (1, &cycle.copy)] {
            let facts = self.facts(region).await?;
            let ended = facts.iter().filter(|(_, fact)| {
                matches!(fact, Fact::JobChanged(change) if change.job.id == job.id && change.job.state.is_terminal())
            });
            let ended = ended.count();
            expect(ended == 1, format!("{} ended {ended} times", job.id));
            let made = facts.iter().filter(
                |(_, fact)| matches!(fact, Fact::RecoveryPointCreated(made) if made.recovery_point.job_id == job.id),
            );
            let made = made.count();
            expect(made == 1, format!("{} announced {made} recovery points", job.id));
        }
        Ok(faults)
    }

    /// The restore job of a test run's only entry.
    ///
    /// # Errors
    /// When it has none.
    pub async fn restore_job(&self, run: &TestRun) -> Result<Job, Failure> {
        let id = run.entries.first().and_then(|entry| entry.restore_job_id).ok_or("the test has a restore job")?;
        let job = self.job(id).await?;
        match job.detail {
            JobDetail::Restore { .. } => Ok(job),
            _ => Err(format!("{id} is no restore").into()),
        }
    }
}
