//! The life of a run: begin, conclude each entry, end. Every function is one part of a transaction.

use jiff::{SignedDuration, Timestamp};
use job_events::{
    ResourceUnproven, RestoreTest, RestoreTestEnded, RestoreTestStarted, StartRestore, StopJob, VerdictReached,
};
use job_model::{
    AccountId, Arn, Finding, FindingKind, JobId, OverwritePolicy, RecoveryPoint, Region, RestoreTarget,
    RestoreTestingPlan, Severity, TestRunId, Verdict, VerdictStatus,
};
use state_store::{StoreError, Tx};

use crate::judge;
use crate::pick::{Pick, pick};
use crate::speak::{Saying, Speaker};
use crate::store::{self, EntryRow, PlanRow, RunRow};

/// What runs need besides the store.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Says facts.
    pub(crate) speaker: Speaker,
    /// The regions with a planner to ask.
    pub(crate) regions: Vec<Region>,
    /// The installation's own account: that of plans without one.
    pub(crate) account: AccountId,
    /// A run that has not ended after this long is timed out.
    pub(crate) run_timeout: SignedDuration,
}

/// What a new run is drawn with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// Its id.
    pub(crate) id: TestRunId,
    /// Decides between eligible recovery points; kept with the run.
    pub(crate) random: u64,
}

/// Begins a run of a plan: one entry for each selected resource, and a request for each restore.
pub(crate) fn begin(
    tx: &mut Tx<'_>,
    rules: &Rules,
    plan: &PlanRow,
    draw: Draw,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut kept = plan.clone();
    kept.plan.last_started_at = Some(now);
    store::put_plan(tx, &kept)?;
    let points: Vec<RecoveryPoint> =
        store::all_points(tx)?.into_iter().filter(|point| is_in_scope(&plan.plan, point)).collect();
    let picks = pick(&plan.plan, &points, now, draw.random);
    let row = RunRow {
        id: draw.id,
        plan: plan.plan.name.clone(),
        account: plan.plan.account.clone(),
        region: plan.region.clone(),
        started_at: now,
        deadline: now.checked_add(rules.run_timeout).unwrap_or(Timestamp::MAX),
        ended_at: None,
        random: draw.random,
        open_entries: u32::try_from(picks.len()).unwrap_or(u32::MAX),
    };
    store::put_run(tx, &row)?;
    let started = RestoreTestStarted {
        test_run: row.id,
        restore_testing_plan: row.plan.clone(),
        resources: picks.iter().map(|pick| pick.resource.clone()).collect(),
        at: now,
    };
    rules.speaker.fact(tx, about_run(&row), &started.into(), now)?;
    tracing::info!(test_run = %row.id, plan = row.plan, resources = picks.len(), "restore test began");
    for pick in &picks {
        add_entry(tx, rules, &row, pick, now)?;
    }
    end_if_judged(tx, rules, row.id, now)
}

/// A plan with an account tests what that account has in the plan's region.
fn is_in_scope(plan: &RestoreTestingPlan, point: &RecoveryPoint) -> bool {
    plan.account.as_ref().is_none_or(|account| account.as_str() == point.vault.account())
        && plan.region.as_ref().is_none_or(|region| region.as_str() == point.vault.region())
}

/// The id of the request for the restore of a resource in a run.
fn request_id(run: TestRunId, resource: &Arn) -> String {
    run.derive(&format!("restore:{resource}")).to_string()
}

/// Forgets runs that ended before an instant; how many there were.
pub(crate) fn forget(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let old: Vec<RunRow> =
        store::all_runs(tx)?.into_iter().filter(|run| run.ended_at.is_some_and(|at| at < before)).take(100).collect();
    for run in &old {
        let requests: Vec<String> =
            store::entries(tx, run.id)?.iter().map(|entry| request_id(run.id, &entry.resource)).collect();
        store::delete_run(tx, run.id, &requests)?;
    }
    Ok(old.len())
}

/// Takes over that somebody outside found a restore wrong that the check found right. Nothing raises a verdict.
pub(crate) fn lowered(tx: &mut Tx<'_>, run: TestRunId, resource: &Arn, verdict: &Verdict) -> Result<(), StoreError> {
    match store::entry(tx, run, resource)? {
        Some(mut entry)
            if verdict.status == VerdictStatus::Failed
                && entry.verdict.as_ref().is_some_and(|before| before.status == VerdictStatus::Successful) =>
        {
            entry.verdict = Some(verdict.clone());
            store::put_entry(tx, run, &entry)
        }
        _ => Ok(()),
    }
}

fn add_entry(tx: &mut Tx<'_>, rules: &Rules, run: &RunRow, pick: &Pick, now: Timestamp) -> Result<(), StoreError> {
    let point = pick.choice.as_ref().ok();
    let entry = EntryRow {
        resource: pick.resource.clone(),
        recovery_point: point.map(|point| point.arn.clone()),
        vault: point.map(|point| point.vault.clone()),
        traceparent: point.and_then(|point| point.traceparent.clone()),
        restore_job_id: None,
        verdict: None,
        findings: Vec::new(),
        rto_phases: Vec::new(),
        bytes_checked: 0,
        items_checked: 0,
    };
    store::put_entry(tx, run.id, &entry)?;
    match &pick.choice {
        Err(reason) => {
            let finding = failure(FindingKind::NoEligibleRecoveryPoint, &pick.resource, reason.clone());
            unproven(tx, rules, run.id, &pick.resource, finding, now)
        }
        Ok(point) => match rules.regions.iter().find(|region| region.as_str() == point.vault.region()) {
            Some(region) => ask_for_restore(tx, rules, run, pick, (point, region), now),
            None => {
                let message = format!(
                    "no region `{}` in the verifier's configuration, where vault `{}` is; add `[regions.{}]`",
                    point.vault.region(),
                    point.vault,
                    point.vault.region()
                );
                unproven(
                    tx,
                    rules,
                    run.id,
                    &pick.resource,
                    failure(FindingKind::RestoreFailed, &point.arn, message),
                    now,
                )
            }
        },
    }
}

fn ask_for_restore(
    tx: &mut Tx<'_>,
    rules: &Rules,
    run: &RunRow,
    pick: &Pick,
    (point, region): (&RecoveryPoint, &Region),
    now: Timestamp,
) -> Result<(), StoreError> {
    let request = StartRestore {
        recovery_point: point.arn.clone(),
        target: RestoreTarget::Sandbox,
        overwrite: OverwritePolicy::Refuse,
        include: Vec::new(),
        test: Some(RestoreTest {
            test_run: run.id,
            restore_testing_plan: run.plan.clone(),
            validation_window_hours: pick.validation_window_hours,
        }),
        metadata: pick.metadata.clone(),
        iam_role: pick.iam_role.clone(),
    };
    let id = request_id(run.id, &pick.resource);
    store::put_request(tx, &id, run.id, &pick.resource)?;
    // The restore and its verdict belong to the trace of the backup: one story from schedule to proof.
    rules.speaker.ask_planner(tx, region, id, &request.into(), point.traceparent.clone(), now)
}

/// Remembers which job restores for an entry.
pub(crate) fn restore_accepted(tx: &mut Tx<'_>, run: TestRunId, resource: &Arn, job: JobId) -> Result<(), StoreError> {
    match store::entry(tx, run, resource)? {
        Some(mut entry) if entry.restore_job_id.is_none() => {
            entry.restore_job_id = Some(job);
            store::put_entry(tx, run, &entry)
        }
        _ => Ok(()),
    }
}

/// Takes a verdict over that a verification reached.
pub(crate) fn verdict_reached(
    tx: &mut Tx<'_>,
    rules: &Rules,
    reached: VerdictReached,
    now: Timestamp,
) -> Result<(), StoreError> {
    let VerdictReached { test_run, restore_job_id, resource, verdict, findings, rto_phases, progress, .. } = reached;
    conclude(tx, rules, test_run, &resource, now, |entry| {
        entry.restore_job_id = Some(restore_job_id);
        entry.verdict = Some(verdict);
        entry.findings = findings;
        entry.rto_phases = rto_phases;
        entry.bytes_checked = progress.bytes_done;
        entry.items_checked = progress.items_done;
    })
    .map(|_concluded| ())
}

/// Concludes an entry that nothing will prove, and says so.
pub(crate) fn unproven(
    tx: &mut Tx<'_>,
    rules: &Rules,
    run_id: TestRunId,
    resource: &Arn,
    finding: Finding,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (Some(run), Some(entry)) = (store::run(tx, run_id)?, store::entry(tx, run_id, resource)?) else {
        return Ok(());
    };
    if entry.verdict.is_some() {
        return Ok(());
    }
    let verdict = judge::unproven(&finding, entry.restore_job_id, now);
    let fact = ResourceUnproven {
        test_run: run_id,
        restore_testing_plan: run.plan.clone(),
        resource: resource.clone(),
        recovery_point: entry.recovery_point.clone(),
        verdict: verdict.clone(),
        finding: finding.clone(),
    };
    let saying =
        Saying { subject: Some(resource.to_string()), traceparent: entry.traceparent.clone(), ..about_run(&run) };
    rules.speaker.fact(tx, saying, &fact.into(), now)?;
    tracing::warn!(test_run = %run_id, %resource, reason = finding.message, "resource is not proven restorable");
    conclude(tx, rules, run_id, resource, now, |entry| {
        entry.verdict = Some(verdict);
        entry.findings = vec![finding];
    })
    .map(|_concluded| ())
}

/// Gives up on what is not judged at the deadline of a run. Restores that still run are stopped.
pub(crate) fn time_out(tx: &mut Tx<'_>, rules: &Rules, run_id: TestRunId, now: Timestamp) -> Result<(), StoreError> {
    let Some(run) = store::run(tx, run_id)?.filter(|run| run.ended_at.is_none() && run.deadline <= now) else {
        return Ok(());
    };
    for entry in store::entries(tx, run_id)?.into_iter().filter(|entry| entry.verdict.is_none()) {
        let region = rules.regions.iter().find(|r| entry.vault.as_ref().is_some_and(|v| v.region() == r.as_str()));
        if let (Some(job_id), Some(region)) = (entry.restore_job_id, region) {
            let id = run_id.derive(&format!("stop:{job_id}")).to_string();
            rules.speaker.ask_planner(tx, region, id, &StopJob { job_id }.into(), entry.traceparent.clone(), now)?;
        }
        let message = format!("no verdict until {}; look at the restore job and its worker", run.deadline);
        unproven(tx, rules, run_id, &entry.resource, failure(FindingKind::TimedOut, &entry.resource, message), now)?;
    }
    Ok(())
}

/// A finding that makes a verdict fail.
pub(crate) fn failure(kind: FindingKind, subject: &Arn, message: String) -> Finding {
    Finding { kind, severity: Severity::Failure, subject: subject.to_string(), message }
}

/// Changes an entry that has no verdict yet; the first verdict stays.
fn conclude(
    tx: &mut Tx<'_>,
    rules: &Rules,
    run_id: TestRunId,
    resource: &Arn,
    now: Timestamp,
    change: impl FnOnce(&mut EntryRow),
) -> Result<bool, StoreError> {
    let Some(mut entry) = store::entry(tx, run_id, resource)?.filter(|entry| entry.verdict.is_none()) else {
        return Ok(false);
    };
    let Some(mut run) = store::run(tx, run_id)? else { return Ok(false) };
    change(&mut entry);
    store::put_entry(tx, run_id, &entry)?;
    run.open_entries = run.open_entries.saturating_sub(1);
    store::put_run(tx, &run)?;
    end_if_judged(tx, rules, run_id, now)?;
    Ok(true)
}

fn end_if_judged(tx: &mut Tx<'_>, rules: &Rules, run_id: TestRunId, now: Timestamp) -> Result<(), StoreError> {
    let Some(mut run) = store::run(tx, run_id)?.filter(|run| run.ended_at.is_none() && run.open_entries == 0) else {
        return Ok(());
    };
    run.ended_at = Some(now);
    store::put_run(tx, &run)?;
    let verdicts: Vec<Option<Verdict>> = store::entries(tx, run_id)?.into_iter().map(|entry| entry.verdict).collect();
    let count = |status: VerdictStatus| {
        let matching = verdicts.iter().flatten().filter(|verdict| verdict.status == status).count();
        u32::try_from(matching).unwrap_or(u32::MAX)
    };
    let (proven, unproven) = (count(VerdictStatus::Successful), count(VerdictStatus::Failed));
    let ended =
        RestoreTestEnded { test_run: run_id, restore_testing_plan: run.plan.clone(), proven, unproven, at: now };
    tracing::info!(test_run = %run_id, plan = run.plan, proven, unproven, "restore test ended");
    rules.speaker.fact(tx, about_run(&run), &ended.into(), now)
}

fn about_run(run: &RunRow) -> Saying<'_> {
    Saying {
        region: &run.region,
        about: run.id.to_string(),
        run: Some(run.id),
        subject: None,
        causation: None,
        traceparent: None,
    }
}
