//! Workers that move no bytes: they take orders from the real queues and tell what real ones would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use job_bus::{Bus, Publish};
use job_events::subjects::{self, Queue, Service};
use job_events::{
    AttemptFailed, AttemptHeader, AttemptStarted, Disposition, Envelope, Fact, OrderBody, RecoveryPointCopied,
    RecoveryPointRestored, SandboxRemoved, SnapshotCaptured, SnapshotForgotten, VaultChecked, VaultCreated,
    VaultProtected, VaultPruned, VerdictReached,
};
use job_model::{
    CaptureSummary, Consistency, ExceptionKind, FailureCode, Progress, ReadException, Region, Verdict, VerdictStatus,
};
use service_host::{Clock as _, Ids as _, SystemClock, SystemIds};
use tokio::task::JoinSet;

#[derive(Debug, Default)]
struct Temper {
    exceptions: AtomicU64,
    vaults_fail: AtomicBool,
}

pub(crate) struct Workers {
    tasks: JoinSet<()>,
    temper: Arc<Temper>,
}

impl Workers {
    pub(crate) fn start(bus: &Bus, regions: &[Region]) -> Self {
        let temper = Arc::new(Temper::default());
        let mut tasks = JoinSet::new();
        for region in regions {
            for queue in Queue::ALL {
                tasks.spawn(work(bus.clone(), region.clone(), queue, temper.clone()));
            }
        }
        Self { tasks, temper }
    }

    pub(crate) fn exceptions(&self, count: u64) {
        self.temper.exceptions.store(count, Ordering::SeqCst);
    }

    pub(crate) fn fail_vaults(&self) {
        self.temper.vaults_fail.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn work(bus: Bus, region: Region, queue: Queue, temper: Arc<Temper>) {
    loop {
        let Ok(consumer) = bus.consumer(&queue.stream(&region), queue.service().as_str()).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(Some(delivery)) = consumer.next(Duration::from_secs(1)).await else { continue };
        let order = Envelope::from_bytes(&delivery.payload).unwrap().order().unwrap();
        let attempt = attempt(&order, delivery.sequence);
        tell(&bus, &region, AttemptStarted { attempt: attempt.clone() }.into()).await;
        tell(&bus, &region, result(&order, attempt, &temper)).await;
        delivery.ack().await.unwrap();
    }
}

pub(crate) fn attempt(order: &OrderBody, epoch: u64) -> AttemptHeader {
    AttemptHeader {
        job_id: order.header().job_id,
        attempt: order.header().attempt,
        epoch,
        worker: format!("{}/test", order.queue().service()),
        at: SystemClock::new().now(),
    }
}

pub(crate) async fn tell(bus: &Bus, region: &Region, fact: Fact) {
    let id = SystemIds.uuid();
    let envelope = Envelope::new(
        id.to_string(),
        "/test/worker".to_owned(),
        fact.event_type(),
        SystemClock::new().now(),
        fact.to_value().unwrap(),
    );
    let publish = Publish {
        subject: subjects::fact(region, Service::SnapshotWorker, fact.name(), &id.to_string(), 1, 1),
        id: id.to_string(),
        payload: envelope.to_bytes().unwrap().into(),
        traceparent: None,
        expect_stream: subjects::fact_stream(region),
        once_per_subject: true,
    };
    bus.publish(&publish).await.unwrap();
}

pub(crate) fn failed(attempt: AttemptHeader) -> Fact {
    AttemptFailed {
        attempt,
        code: FailureCode::LeaseLost.as_str().to_owned(),
        message: "the lease was lost".to_owned(),
        disposition: Disposition::Fail,
        progress: Progress::default(),
    }
    .into()
}

pub(crate) fn captured(order: &OrderBody, attempt: AttemptHeader, exceptions: u64) -> Fact {
    let at = attempt.at;
    let exception = ReadException {
        path: "etc/shadow".to_owned(),
        kind: ExceptionKind::PermissionDenied,
        message: "permission denied".to_owned(),
    };
    SnapshotCaptured {
        snapshot_id: format!("{:0>64}", order.header().job_id.as_uuid().simple()),
        summary: CaptureSummary {
            tree_id: format!("{:1>64}", attempt.job_id.as_uuid().simple()),
            consistency: Consistency::Crash,
            capture_started_at: at,
            capture_ended_at: at,
            size_bytes: 1,
            items: 1,
            change_detection: "file metadata".to_owned(),
            reading: None,
            exception_count: exceptions,
            exceptions: (0..exceptions).map(|_| exception.clone()).collect(),
        },
        progress: Progress::default(),
        phases: Vec::new(),
        base: None,
        attempt,
    }
    .into()
}

fn result(order: &OrderBody, attempt: AttemptHeader, temper: &Temper) -> Fact {
    let at = attempt.at;
    match order {
        OrderBody::CaptureSnapshot(_) => captured(order, attempt, temper.exceptions.load(Ordering::SeqCst)),
        OrderBody::CreateVault(_) if temper.vaults_fail.load(Ordering::SeqCst) => AttemptFailed {
            attempt,
            code: FailureCode::VaultLocationTaken.as_str().to_owned(),
            message: "something else is there".to_owned(),
            disposition: Disposition::Fail,
            progress: Progress::default(),
        }
        .into(),
        OrderBody::CreateVault(order) => {
            VaultCreated { attempt, repository_id: format!("repository of {}", order.vault.location) }.into()
        }
        OrderBody::CheckVault(_) => VaultChecked {
            attempt,
            findings: Vec::new(),
            packs_read: 0,
            bytes_read: 0,
            snapshots: 0,
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
        OrderBody::CopyRecoveryPoint(order) => RecoveryPointCopied {
            attempt,
            snapshot_id: format!("{:2>64}", order.order.job_id.as_uuid().simple()),
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
        OrderBody::RemoveSandbox(order) => SandboxRemoved { attempt, restore_job_id: order.restore_job_id }.into(),
        OrderBody::VerifyRestore(order) => VerdictReached {
            attempt,
            test_run: order.test_run,
            restore_job_id: order.restore_job_id,
            recovery_point: order.recovery_point.clone(),
            resource: order.order.resource.clone(),
            verdict: Verdict {
                status: VerdictStatus::Successful,
                message: "equal to what was captured".to_owned(),
                judged_at: at,
                restore_job_id: Some(order.restore_job_id),
                rto_ms: 1,
                rpo_ms: 1,
            },
            findings: Vec::new(),
            rto_phases: Vec::new(),
            progress: Progress::default(),
            check_steps: Vec::new(),
        }
        .into(),
    }
}
