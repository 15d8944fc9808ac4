//! Waiting for what the schedule does: jobs are looked at until they ended.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use job_events::{Answer, Query};
use job_model::{Arn, Job, JobDetail, JobKind, RecoveryPoint, RecoveryPointId};

use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::names::short_name;
use crate::render::job_state;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// A backup and the copy that followed it, both ended.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) backup: Job,
    pub(super) copy: Job,
}

/// Waits until for each resource a scheduled run of the rule, made after the instant, and its copy have ended.
pub(super) async fn scheduled_run(
    client: &Client<'_>,
    rule: &str,
    resources: &[Arn],
    after: Timestamp,
    within: Duration,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Pair>, CliError> {
    let deadline = Instant::now() + within;
    let mut told = Vec::new();
    loop {
        let backups = jobs(client, JobKind::Backup).await?;
        let copies = jobs(client, JobKind::Copy).await?;
        for job in backups.iter().filter(|job| is_of(job, rule, after)).chain(follows(&copies, &backups, rule, after)) {
            let line = format!("{} of {}: {}", kind(job), short_name(&job.resource), job_state(job.state));
            if !told.contains(&(job.id, job.state)) {
                told.push((job.id, job.state));
                progress(&line);
            }
        }
        let pairs: Vec<Pair> =
            resources.iter().filter_map(|arn| ended_pair(&backups, &copies, rule, arn, after)).collect();
        if pairs.len() == resources.len() {
            return Ok(pairs);
        }
        if Instant::now() > deadline {
            let missing: Vec<String> = resources
                .iter()
                .filter(|arn| pairs.iter().all(|pair| pair.backup.resource != **arn))
                .map(short_name)
                .collect();
            return Err(CliError::NotProven {
                message: format!(
                    "the schedule did not back up and copy {} within {} s",
                    missing.join(" and "),
                    within.as_secs()
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The earliest scheduled backup of a resource after the instant, with its copy, once both ended. A backup that ended
/// badly has no copy; it is a pair with itself, so that the caller sees why.
fn ended_pair(backups: &[Job], copies: &[Job], rule: &str, resource: &Arn, after: Timestamp) -> Option<Pair> {
    let backup = backups
        .iter()
        .filter(|job| job.resource == *resource && is_of(job, rule, after))
        .min_by_key(|job| job.created_at)?;
    if !backup.state.is_terminal() {
        return None;
    }
    if backup.state != job_model::JobState::Completed {
        return Some(Pair { backup: backup.clone(), copy: backup.clone() });
    }
    let copy = copies.iter().find(|job| job.parent == Some(backup.id))?;
    copy.state.is_terminal().then(|| Pair { backup: backup.clone(), copy: copy.clone() })
}

fn is_of(job: &Job, rule: &str, after: Timestamp) -> bool {
    job.created_at > after && job.created_by.as_ref().is_some_and(|by| by.rule_name == rule)
}

fn follows<'a>(
    copies: &'a [Job],
    backups: &'a [Job],
    rule: &'a str,
    after: Timestamp,
) -> impl Iterator<Item = &'a Job> {
    let of_run = move |id| backups.iter().any(|job| job.id == id && is_of(job, rule, after));
    copies.iter().filter(move |job| job.parent.is_some_and(of_run))
}

const fn kind(job: &Job) -> &'static str {
    match job.kind {
        JobKind::Backup => "backup",
        JobKind::Copy => "copy",
        JobKind::Restore => "restore",
        JobKind::Verification => "verification",
        JobKind::Maintenance => "upkeep",
    }
}

/// The newest jobs of a kind.
pub(super) async fn jobs(client: &Client<'_>, kind: JobKind) -> Result<Vec<Job>, CliError> {
    let query = Query::ListJobs { kind: Some(kind), state: None, resource: None, limit: Some(200) };
    match client.query(&query).await? {
        Answer::Jobs(jobs) => Ok(jobs),
        other => Err(unexpected("planner", &other)),
    }
}

/// The recovery points that a backup and its copy made.
pub(super) async fn points(client: &Client<'_>, pair: &Pair) -> Result<(RecoveryPoint, RecoveryPoint), CliError> {
    let query = Query::ListRecoveryPoints { vault: None, resource: Some(pair.backup.resource.clone()) };
    let points = match client.query(&query).await? {
        Answer::RecoveryPoints(points) => points,
        other => return Err(unexpected("planner", &other)),
    };
    let find = |id: Option<RecoveryPointId>| points.iter().find(|p| Some(p.id) == id).cloned();
    let (made, copied) = (find(made_by(&pair.backup)), find(made_by(&pair.copy)));
    made.zip(copied).ok_or_else(|| CliError::NotProven {
        message: format!("the recovery points of {} are not in the catalogue", short_name(&pair.backup.resource)),
    })
}

const fn made_by(job: &Job) -> Option<RecoveryPointId> {
    match &job.detail {
        JobDetail::Backup { recovery_point_id, .. } | JobDetail::Copy { recovery_point_id, .. } => {
            Some(*recovery_point_id)
        }
        _ => None,
    }
}
