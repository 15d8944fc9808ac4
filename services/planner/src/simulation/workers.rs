//! Workers that answer orders as told: how long they take, how often they fail, whether they are there at all.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use job_events::{
    Assignment, AttemptFailed, AttemptHeader, AttemptStarted, AttemptStopped, BaseOutcome, Disposition, Fact,
    FollowEnded, FollowResource, FollowTask, LogFollowed, OrderBody, RecoveryPointCopied, RecoveryPointRestored,
    SandboxRemoved, SnapshotCaptured, SnapshotForgotten, VaultChecked, VaultCreated, VaultProtected, VaultPruned,
    VerdictReached,
};
use job_model::{
    Arn, CaptureSummary, Consistency, Continuous, ExceptionKind, FollowState, JobId, Progress, ReadException, Verdict,
    VerdictStatus,
};

use crate::decide::Out;

/// How the workers deal with a resource.
#[derive(Clone, Debug)]
pub(crate) struct Temper {
    /// Time of one attempt.
    pub(crate) takes: SignedDuration,
    /// This many first attempts of each job fail with this disposition.
    pub(crate) fails: Option<(u32, Disposition)>,
    /// No worker takes its orders.
    pub(crate) absent: bool,
    /// Does not heed a stop, and says nothing any more.
    pub(crate) deaf: bool,
    /// Entries that cannot be captured.
    pub(crate) exceptions: u64,
    /// What checks of its restores say.
    pub(crate) proven: bool,
}

impl Default for Temper {
    fn default() -> Self {
        Self {
            takes: SignedDuration::from_mins(10),
            fails: None,
            absent: false,
            deaf: false,
            exceptions: 0,
            proven: true,
        }
    }
}

/// All workers of all regions.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    /// By resource or vault; the default for others.
    pub(crate) tempers: BTreeMap<Arn, Temper>,
    /// Orders seen, in order.
    pub(crate) orders: Vec<OrderBody>,
    /// Assignments seen, in order.
    pub(crate) assignments: Vec<FollowResource>,
    facts: BTreeMap<(Timestamp, u64), (JobId, Fact)>,
    told: u64,
    epoch: u64,
}

impl Workers {
    pub(crate) fn temper(&mut self, resource: &Arn) -> &mut Temper {
        self.tempers.entry(resource.clone()).or_default()
    }

    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.facts.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Fact> {
        let key = *self.facts.keys().next().filter(|(at, _)| *at <= now)?;
        self.facts.remove(&key).map(|(_, fact)| fact)
    }

    pub(crate) fn hear(&mut self, now: Timestamp, out: &Out) {
        match out {
            Out::Order { body, .. } => self.take(now, body),
            Out::Stop { job, .. } => self.stop(now, *job),
            Out::Assignment { body } => self.assigned(now, body),
            Out::Fact { .. } | Out::Confirm(_) => {}
        }
    }

    /// One worker has the lease, and says soon how it fares.
    fn assigned(&mut self, now: Timestamp, body: &Assignment) {
        let Assignment::FollowResource(follow) = body;
        self.assignments.push(follow.clone());
        self.epoch += 1;
        let at = now.checked_add(SignedDuration::from_secs(2)).unwrap();
        let about = JobId::new(follow.recovery_point_id.as_uuid());
        let (recovery_point, resource) = (follow.recovery_point.clone(), follow.resource.clone());
        let (epoch, worker) = (self.epoch, "simulated/1".to_owned());
        match follow.task {
            FollowTask::Follow => {
                let continuous = Continuous { state: FollowState::Following, ..Continuous::default() };
                let bases_retired = Vec::new();
                let told = LogFollowed { recovery_point, resource, epoch, worker, at, continuous, bases_retired };
                self.tell(at, about, told);
            }
            FollowTask::Release => {
                let told = FollowEnded { recovery_point, resource, epoch, worker, at, left_behind: None };
                self.tell(at, about, told);
            }
            FollowTask::Nothing => {}
        }
    }

    /// The order is taken from the queue: nobody starts it any more.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.facts.retain(|_, (of, fact)| *of != job || !matches!(fact, Fact::AttemptStarted(_)));
    }

    fn tell(&mut self, at: Timestamp, job: JobId, fact: impl Into<Fact>) {
        self.told += 1;
        self.facts.insert((at, self.told), (job, fact.into()));
    }

    fn take(&mut self, now: Timestamp, body: &OrderBody) {
        self.orders.push(body.clone());
        let header = body.header().clone();
        let temper = self.tempers.get(&subject(body)).cloned().unwrap_or_default();
        if temper.absent {
            return;
        }
        self.epoch += 1;
        let started = now.checked_add(SignedDuration::from_secs(5)).unwrap();
        let ended = started.checked_add(temper.takes).unwrap();
        let attempt = |at| AttemptHeader {
            job_id: header.job_id,
            attempt: header.attempt,
            epoch: self.epoch,
            worker: "simulated/1".to_owned(),
            at,
        };
        let (begin, end) = (attempt(started), attempt(ended));
        self.tell(started, header.job_id, AttemptStarted { attempt: begin });
        match temper.fails {
            Some((attempts, disposition)) if header.attempt <= attempts => {
                let failed = AttemptFailed {
                    attempt: end,
                    code: "SOURCE_READ_FAILED".to_owned(),
                    message: "the simulated source could not be read".to_owned(),
                    disposition,
                    progress: Progress::default(),
                };
                self.tell(ended, header.job_id, failed);
            }
            _ => {
                let fact = result(body, end, &temper);
                self.tell(ended, header.job_id, fact);
            }
        }
    }

    /// A worker that has the job stops after a second; what it would have told is never told.
    fn stop(&mut self, now: Timestamp, job: JobId) {
        let its: Vec<(Timestamp, u64)> = self
            .facts
            .iter()
            .filter(|(_, (of, fact))| *of == job && !matches!(fact, Fact::AttemptStarted(_)))
            .map(|(key, _)| *key)
            .collect();
        let Some(last) = its.last() else { return };
        let deaf = self
            .orders
            .iter()
            .rev()
            .find(|o| o.header().job_id == job)
            .is_some_and(|o| self.tempers.get(&subject(o)).is_some_and(|temper| temper.deaf));
        let attempt = attempt_of(&self.facts[last].1);
        for key in its {
            self.facts.remove(&key);
        }
        if deaf {
            return;
        }
        let at = now.checked_add(SignedDuration::from_secs(1)).unwrap();
        let stopped = AttemptStopped { attempt: AttemptHeader { at, ..attempt }, progress: Progress::default() };
        self.tell(at, job, stopped);
    }
}

/// Whose temper counts: the resource, or for upkeep the vault.
fn subject(body: &OrderBody) -> Arn {
    match body {
        OrderBody::RestoreRecoveryPoint(order) => order.recovery_point.clone(),
        _ => body.header().resource.clone(),
    }
}

fn attempt_of(fact: &Fact) -> AttemptHeader {
    match fact {
        Fact::SnapshotCaptured(f) => f.attempt.clone(),
        Fact::RecoveryPointCopied(f) => f.attempt.clone(),
        Fact::RecoveryPointRestored(f) => f.attempt.clone(),
        Fact::AttemptFailed(f) => f.attempt.clone(),
        Fact::AttemptStopped(f) => f.attempt.clone(),
        other => panic!("no attempt in {}", other.name()),
    }
}

fn result(body: &OrderBody, attempt: AttemptHeader, temper: &Temper) -> Fact {
    let at = attempt.at;
    let id = attempt.job_id;
    match body {
        OrderBody::CaptureSnapshot(order) => SnapshotCaptured {
            attempt,
            snapshot_id: format!("snapshot-{}", order.recovery_point_id),
            summary: summary(id, at, temper),
            progress: Progress { bytes_done: 1_000_000, bytes_read: 400_000, ..Progress::default() },
            phases: Vec::new(),
            base: order.base_of.as_ref().map(|_| BaseOutcome::Base),
        }
        .into(),
        OrderBody::CopyRecoveryPoint(order) => RecoveryPointCopied {
            attempt,
            snapshot_id: format!("copied-{}", order.recovery_point_id),
            tree_id: order.tree_id.clone(),
            progress: Progress::default(),
            phases: Vec::new(),
        }
        .into(),
        OrderBody::RestoreRecoveryPoint(order) => RecoveryPointRestored {
            attempt,
            location: format!("file:///sandbox/{}", order.order.job_id),
            findings: Vec::new(),
            progress: Progress::default(),
            phases: Vec::new(),
        }
        .into(),
        OrderBody::VerifyRestore(order) => VerdictReached {
            attempt,
            test_run: order.test_run,
            restore_job_id: order.restore_job_id,
            recovery_point: order.recovery_point.clone(),
            resource: order.order.resource.clone(),
            verdict: Verdict {
                status: if temper.proven { VerdictStatus::Successful } else { VerdictStatus::Failed },
                message: if temper.proven { "equal to what was captured" } else { "2 files differ" }.to_owned(),
                judged_at: at,
                restore_job_id: Some(order.restore_job_id),
                rto_ms: 605_000,
                rpo_ms: 3_600_000,
            },
            findings: Vec::new(),
            rto_phases: Vec::new(),
            progress: Progress::default(),
            check_steps: Vec::new(),
        }
        .into(),
        OrderBody::CreateVault(_) => VaultCreated { attempt, repository_id: format!("repository-{id}") }.into(),
        OrderBody::CheckVault(_) => VaultChecked {
            attempt,
            findings: Vec::new(),
            packs_read: 3,
            bytes_read: 300,
            snapshots: 2,
            recovery_points_damaged: 0,
            recovery_points: Vec::new(),
            coverage: None,
        }
        .into(),
        OrderBody::PruneVault(order) => VaultPruned {
            attempt,
            plan_only: order.plan_only,
            plan: String::new(),
            packs_removed: 1,
            bytes_freed: 100,
            packs_marked: 0,
            packs_repacked: 0,
            packs_restored: 0,
            packs_waiting: 0,
            held_up_by: Vec::new(),
            packs_damaged: Vec::new(),
        }
        .into(),
        OrderBody::ProtectVault(order) => VaultProtected {
            attempt,
            digest: order.digest.clone(),
            locked: order.lock.is_some(),
            holds: order.holds.iter().map(|held| held.hold).collect(),
            entries: 1,
        }
        .into(),
        OrderBody::DeleteRecoveryPointOrder(order) => {
            SnapshotForgotten { attempt, recovery_point: order.recovery_point.clone() }.into()
        }
        OrderBody::ForgetWarmSnapshot(order) => {
            SnapshotForgotten { attempt, recovery_point: order.recovery_point.clone() }.into()
        }
        OrderBody::RemoveSandbox(order) => SandboxRemoved { attempt, restore_job_id: order.restore_job_id }.into(),
    }
}

fn summary(id: JobId, at: Timestamp, temper: &Temper) -> CaptureSummary {
    let exception = ReadException {
        path: "etc/shadow".to_owned(),
        kind: ExceptionKind::PermissionDenied,
        message: "permission denied".to_owned(),
    };
    CaptureSummary {
        tree_id: format!("tree-{id}"),
        consistency: Consistency::Crash,
        capture_started_at: at.checked_sub(temper.takes).unwrap(),
        capture_ended_at: at,
        size_bytes: 1_000_000,
        items: 100,
        change_detection: "file metadata".to_owned(),
        reading: None,
        exception_count: temper.exceptions,
        exceptions: (0..temper.exceptions).map(|_| exception.clone()).collect(),
    }
}
