//! What a planner and a restore-worker would say and ask.

use std::collections::BTreeMap;

use job_events::subjects::{self, Queue, Service as ServiceName};
use job_events::{
    Envelope, Fact, JobChanged, OrderBody, OrderHeader, RecoveryPointCreated, Request, RequestAccepted, StartRestore,
    VerifyRestore,
};
use job_model::{
    Arn, CaptureSummary, Consistency, Job, JobDetail, JobId, JobKind, JobState, Lifecycle, MessageCategory,
    OverwritePolicy, PhaseTiming, Progress, RecoveryPoint, RecoveryPointId, RecoveryPointKind, RecoveryPointStatus,
    ResourceType, RestoreTarget, TestRunId, resource_key,
};
use uuid::Uuid;

use crate::vault::Captured;
use crate::world::{PATIENCE, World, instant, region};

pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) fn resource(name: &str) -> Arn {
    format!("arn:aws:files:ap-northeast-1:000000000000:tree/{name}").parse().unwrap()
}

pub(crate) fn vault_arn() -> Arn {
    "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:main".parse().unwrap()
}

pub(crate) fn point_id() -> RecoveryPointId {
    RecoveryPointId::new(Uuid::from_u128(5))
}

pub(crate) fn point_arn() -> Arn {
    Arn::recovery_point(&region(), &"000000000000".parse().unwrap(), point_id()).unwrap()
}

/// The recovery point of a captured tree.
pub(crate) fn recovery_point(captured: &Captured, of: &str) -> RecoveryPoint {
    RecoveryPoint {
        id: point_id(),
        arn: point_arn(),
        kind: RecoveryPointKind::Snapshot,
        vault: vault_arn(),
        storage_class: job_model::StorageClass::Warm,
        snapshot_id: captured.snapshot_id.clone(),
        resource: resource(of),
        resource_type: ResourceType::Files,
        status: RecoveryPointStatus::Completed,
        status_message: None,
        job_id: JobId::new(Uuid::from_u128(1)),
        created_by: None,
        copied_from: None,
        created_at: captured.ended_at,
        completed_at: captured.ended_at,
        summary: CaptureSummary {
            tree_id: captured.tree_id.clone(),
            consistency: Consistency::Crash,
            capture_started_at: captured.ended_at,
            capture_ended_at: captured.ended_at,
            size_bytes: 100_020,
            items: 4,
            change_detection: "full read by hashing".to_owned(),
            reading: None,
            exception_count: 0,
            exceptions: Vec::new(),
        },
        lifecycle: Lifecycle::default(),
        generations: None,
        time_zone: "UTC".to_owned(),
        tags: BTreeMap::new(),
        traceparent: Some(TRACE.to_owned()),
        last_verdict: None,
        iam_role: None,
        last_restored_at: None,
        continuous: None,
    }
}

impl World {
    /// Says a fact as the planner.
    pub(crate) async fn say(&self, fact: impl Into<Fact>) {
        let fact = fact.into();
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, instant().to_string().as_bytes()).to_string();
        let subject = subjects::fact(&region(), ServiceName::Planner, fact.name(), &id, 1, 1);
        let envelope =
            Envelope::new(id, "/holdfast/planner/1".to_owned(), fact.event_type(), instant(), fact.to_value().unwrap());
        self.publish(subject, subjects::fact_stream(&region()), &envelope).await;
    }

    /// Says that a recovery point exists, and waits until the verifier has taken it over.
    pub(crate) async fn say_created(&self, recovery_point: RecoveryPoint) {
        self.say(RecoveryPointCreated { recovery_point }).await;
        self.has_taken_over().await;
    }

    /// Waits until the verifier is through with all that was said.
    pub(crate) async fn has_taken_over(&self) {
        let stream = subjects::fact_stream(&region());
        let taken_over = async {
            let last = self.bus.stream_identity(&stream).await.unwrap().last_sequence;
            while self.acknowledged(&stream).await < last {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, taken_over).await.unwrap();
    }

    /// The last fact that the verifier is through with.
    async fn acknowledged(&self, stream: &str) -> u64 {
        let subject = format!("$JS.API.CONSUMER.INFO.{stream}.verifier");
        let bytes = self.bus.query(&subject, Vec::new(), PATIENCE).await.unwrap();
        let info: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        info["ack_floor"]["stream_seq"].as_u64().unwrap()
    }

    /// The next request that the verifier sent to the planner.
    pub(crate) async fn next_for_planner(&self) -> (Envelope, Request) {
        let stream = subjects::request_stream(&region());
        let consumer = self.bus.consumer(&stream, "planner").await.unwrap();
        let delivery = consumer.next(PATIENCE).await.unwrap().unwrap();
        delivery.ack().await.unwrap();
        let envelope = Envelope::from_bytes(&delivery.payload).unwrap();
        let request = envelope.request().unwrap();
        (envelope, request)
    }

    /// The next restore the verifier asks for.
    pub(crate) async fn next_restore(&self) -> (Envelope, StartRestore) {
        match self.next_for_planner().await {
            (envelope, Request::StartRestore(restore)) => (envelope, restore),
            (_, other) => panic!("`{}` instead of a restore", other.name()),
        }
    }

    /// Accepts a restore as a job.
    pub(crate) async fn accept(&self, request: &Envelope, job: JobId) {
        self.say(RequestAccepted { request_id: request.id.clone(), job_id: Some(job), result: None }).await;
    }

    /// Says that the restore of a test ended in a state.
    pub(crate) async fn say_restore_ended(&self, job: JobId, run: TestRunId, of: &str, state: JobState, why: &str) {
        let detail = JobDetail::Restore {
            recovery_point: point_arn(),
            vault: vault_arn(),
            target: RestoreTarget::Sandbox,
            overwrite: OverwritePolicy::Refuse,
            test_run: Some(run),
            restore_testing_plan: Some("proof".to_owned()),
            created_location: None,
            verdict: None,
            sandbox_removed: None,
            metadata: std::collections::BTreeMap::new(),
            validation: None,
        };
        let job = Job {
            id: job,
            kind: JobKind::Restore,
            state,
            status_message: Some(why.to_owned()),
            message_category: MessageCategory::Failure,
            resource: resource(of),
            resource_type: Some(ResourceType::Files),
            region: region(),
            created_at: instant(),
            scheduled_at: instant(),
            start_by: None,
            complete_by: None,
            started_at: None,
            ended_at: None,
            attempt: 1,
            not_before: None,
            created_by: None,
            parent: None,
            traceparent: None,
            progress: Progress::default(),
            phases: Vec::new(),
            detail,
            iam_role: None,
        };
        self.say(JobChanged { job, from: Some(JobState::Running) }).await;
    }

    /// Orders the verification of a restored tree.
    pub(crate) async fn order(
        &self,
        captured: &Captured,
        of: &str,
        change: impl FnOnce(&mut VerifyRestore),
    ) -> VerifyRestore {
        let job_id = JobId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, instant().to_string().as_bytes()));
        let mut order = VerifyRestore {
            order: OrderHeader {
                job_id,
                attempt: 1,
                region: region(),
                resource: resource(of),
                issued_at: instant(),
                deadline: None,
            },
            resource_type: ResourceType::Files,
            restore_job_id: JobId::new(Uuid::from_u128(8)),
            test_run: TestRunId::new(Uuid::from_u128(7)),
            vault: captured.access.clone(),
            recovery_point: point_arn(),
            snapshot_id: captured.snapshot_id.clone(),
            tree_id: captured.tree_id.clone(),
            restored_location: String::new(),
            restore_ordered_at: captured.ended_at,
            restore_phases: vec![PhaseTiming { phase: "fetch".to_owned(), duration_ms: 1 }],
            capture_ended_at: captured.ended_at,
            exception_count: 0,
            metadata: std::collections::BTreeMap::default(),
        };
        change(&mut order);
        let body = OrderBody::from(order.clone());
        let mut envelope = Envelope::new(
            job_id.to_string(),
            "/holdfast/planner/1".to_owned(),
            body.event_type(),
            instant(),
            body.to_value().unwrap(),
        );
        envelope.generation = Some(1);
        envelope.traceparent = Some(TRACE.to_owned());
        let subject = subjects::order(&region(), Queue::Verify, &resource_key(&order.order.resource));
        self.publish(subject, Queue::Verify.stream(&region()), &envelope).await;
        order
    }
}
