//! The order to verify a restore: open the vault, compare, check, judge.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use attempt_control::{Steering, WorkError, off_the_runtime};
use driver_api::{Check, CheckRequest, DriverError, SnapshotReader, file_path};
use driver_postgres::PostgresSettings;
use jiff::{SignedDuration, Timestamp};
use job_events::{Fact, OrderBody, VerdictReached, VerifyRestore};
use job_model::{FailureCode, Finding, FindingKind, PhaseTiming, Progress, Severity, VerdictStatus};
use order_runner::{Attempt, Work, WorkFailure};
use service_host::Clock;
use telemetry::KeyValue;
use vault_engine::{Profiles, Surroundings, Vault, read_description};

use crate::drivers::driver;
use crate::judge::{Judgement, Measured, capture_finding, judge};

/// What every verification needs.
#[derive(Clone, Debug)]
pub(crate) struct VerifyWork {
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) surroundings: Surroundings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: usize,
    pub(crate) postgres: Arc<PostgresSettings>,
}

#[async_trait]
impl Work for VerifyWork {
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        let (tools, order, attempt) = (self.clone(), order.clone(), attempt.clone());
        off_the_runtime(move || match order {
            OrderBody::VerifyRestore(order) => {
                let steering = Steering::new(attempt.control());
                let (judgement, progress, check_steps) = tools.verify(&order, &steering)?;
                count(&order, &judgement);
                Ok(VerdictReached {
                    attempt: attempt.header(judgement.verdict.judged_at),
                    test_run: order.test_run,
                    restore_job_id: order.restore_job_id,
                    recovery_point: order.recovery_point,
                    resource: order.order.resource,
                    verdict: judgement.verdict,
                    findings: judgement.findings,
                    rto_phases: judgement.rto_phases,
                    check_steps,
                    progress,
                }
                .into())
            }
            other => Err(WorkError::refused(
                FailureCode::OrderInvalid,
                format!("`{}` is no order for a verifier; look at the planner's version", other.name()),
            )),
        })
        .await
    }
}

impl VerifyWork {
    fn verify(
        &self,
        order: &VerifyRestore,
        steering: &Steering,
    ) -> Result<(Judgement, Progress, Vec<PhaseTiming>), WorkError> {
        let verify_started_at = self.clock.now();
        let mut findings: Vec<Finding> = capture_finding(order.exception_count).into_iter().collect();
        let mut check_started_at = verify_started_at;
        let mut check = Check::default();
        let result = self.compare(order, steering, &mut check_started_at);
        match result {
            Ok(done) => check = done,
            Err(error) => findings.push(finding_of(error, order)?),
        }
        let ended_at = self.clock.now();
        let read_before_ms = check.first_correct_read_ms.map(|at| self.clock.elapsed_ms().saturating_sub(at));
        let nothing_to_read = check.bytes == 0 && check.items > 0;
        let measured = Measured {
            restore_ordered_at: order.restore_ordered_at,
            restore_phases: order.restore_phases.clone(),
            verify_started_at,
            check_started_at,
            first_correct_read_at: match read_before_ms {
                Some(before) => Some(back(ended_at, before)),
                // A resource without content is usable when its entries were found right.
                None if nothing_to_read => Some(ended_at),
                None => None,
            },
            ended_at,
            capture_ended_at: order.capture_ended_at,
            bytes: check.bytes,
            items: check.items,
            rto_phases: std::mem::take(&mut check.rto_phases),
            compared: check.compared.take(),
        };
        let check_steps = std::mem::take(&mut check.steps);
        let progress = Progress {
            bytes_total: Some(check.bytes),
            bytes_done: check.bytes,
            bytes_read: check.bytes,
            items_total: Some(check.items),
            items_done: check.items,
            ..steering.progress()
        };
        findings.extend(check.findings);
        Ok((judge(findings, &measured, order.restore_job_id), progress, check_steps))
    }

    /// Compares what was restored with what was captured.
    fn compare(
        &self,
        order: &VerifyRestore,
        steering: &Steering,
        check_started_at: &mut Timestamp,
    ) -> Result<Check, WorkError> {
        let driver = driver(order.resource_type, &self.postgres)?;
        let restored = file_path(&order.restored_location).map_err(WorkError::Target)?;
        let vault = Vault::open(&order.vault, &self.profiles, &self.surroundings)?;
        let snapshot = order.snapshot_id.parse().map_err(|_| {
            let message = format!("snapshot id `{}` is not 64 hexadecimal digits", order.snapshot_id);
            WorkError::refused(FailureCode::OrderInvalid, message)
        })?;
        let reader = vault.reader(snapshot)?;
        if reader.root().to_string() != order.tree_id {
            return Ok(Check { findings: vec![tree_differs(order, &reader.root().to_string())], ..Check::default() });
        }
        let description = serde_json::to_value(read_description(&reader)?)
            .map_err(|error| WorkError::refused(FailureCode::Internal, error.to_string()))?;
        *check_started_at = self.clock.now();
        let clock = self.clock.clone();
        let elapsed_ms = move || clock.elapsed_ms();
        let request = CheckRequest {
            reader: &reader,
            description: &description,
            restored: &restored,
            options: &order.metadata,
            privileged: is_root(),
            parallelism: self.threads,
            control: steering,
            elapsed_ms: &elapsed_ms,
        };
        driver.check(request).map_err(WorkError::Target)
    }
}

/// What an error says of the recovery point, when it says something; an error that may pass, or that only says that this
/// verifier cannot look, is none of the recovery point's and fails the attempt instead.
fn finding_of(error: WorkError, order: &VerifyRestore) -> Result<Finding, WorkError> {
    let finding = |kind, subject: &str, message: String| Finding {
        kind,
        severity: Severity::Failure,
        subject: subject.to_owned(),
        message,
    };
    if let WorkError::Target(DriverError::NotFound { location }) = &error {
        let message = "what was restored is not there any more".to_owned();
        return Ok(finding(FindingKind::EntryMissing, location, message));
    }
    let message = service_host::error_chain(&error);
    match error.code() {
        _ if error.is_stop() => Err(error),
        FailureCode::SnapshotMissing | FailureCode::SnapshotDiffers | FailureCode::VaultNotTheSame => {
            Ok(finding(FindingKind::TreeDiffers, &order.snapshot_id, message))
        }
        FailureCode::VaultDamaged => Ok(finding(FindingKind::CheckFailed, &order.snapshot_id, message)),
        _ => Err(error),
    }
}

fn tree_differs(order: &VerifyRestore, found: &str) -> Finding {
    Finding {
        kind: FindingKind::TreeDiffers,
        severity: Severity::Failure,
        subject: order.snapshot_id.clone(),
        message: format!("its tree is `{found}`, captured was `{}`; treat the vault as tampered with", order.tree_id),
    }
}

/// The metrics of a verdict. Only a successful one has an RTO and an RPO worth a statistic.
fn count(order: &VerifyRestore, judgement: &Judgement) {
    let (resource_type, region) = (order.resource_type.as_str(), order.order.region.to_string());
    let attributes = [KeyValue::new("resource_type", resource_type), KeyValue::new("region", region)];
    let (status, is_proven) = match judgement.verdict.status {
        VerdictStatus::Successful => ("SUCCESSFUL", true),
        VerdictStatus::Failed => ("FAILED", false),
    };
    let [a, b] = attributes.clone();
    telemetry::metrics().verdicts.add(1, &[KeyValue::new("status", status), a, b]);
    if is_proven {
        telemetry::metrics().rto_seconds.record(seconds(judgement.verdict.rto_ms), &attributes);
        telemetry::metrics().rpo_seconds.record(seconds(judgement.verdict.rpo_ms), &attributes);
    }
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

fn back(from: Timestamp, milliseconds: u64) -> Timestamp {
    let span = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    from.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// Whether this process runs as root, as the restore-worker beside it then does: owners are compared only then.
fn is_root() -> bool {
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|metadata| metadata.uid() == 0)
}
