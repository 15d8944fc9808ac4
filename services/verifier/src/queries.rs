//! Answers to queries about plans and runs.

use job_events::{Answer, Query, TestRun, TestRunEntry};
use job_model::{AccountId, RestoreTestingPlan};
use state_store::{StateStore, StoreError, Tx};

use crate::store::{self, EntryRow, PlanRow, RunRow};

/// Runs listed unless told otherwise, and at most.
const RUNS_LISTED: u32 = 100;
const RUNS_LISTED_MAX: u32 = 1_000;

/// Answers a query; errors are answers too.
pub(crate) async fn answer(state: &StateStore, own: &AccountId, payload: &[u8]) -> Answer {
    let query: Query = match serde_json::from_slice(payload) {
        Ok(query) => query,
        Err(error) => {
            return refused(
                "InvalidParameterValueException",
                "query",
                format!("no query can be read from it: {error}"),
            );
        }
    };
    let own = own.clone();
    state.read(move |tx| look_up(tx, &own, &query)).await.unwrap_or_else(|error| {
        let error = service_host::error_chain(&error);
        tracing::error!(error, "a query could not be answered");
        refused("ServiceUnavailableException", "", format!("the verifier's state cannot be read: {error}"))
    })
}

fn look_up(tx: &Tx<'_>, own: &AccountId, query: &Query) -> Result<Answer, StoreError> {
    match query {
        Query::ListRestoreTestingPlans => {
            Ok(Answer::RestoreTestingPlans(store::all_plans(tx)?.into_iter().map(shown_plan).collect()))
        }
        Query::ListTestRuns { account, limit } => {
            let limit = limit.unwrap_or(RUNS_LISTED);
            if !(1..=RUNS_LISTED_MAX).contains(&limit) {
                let message = format!("`limit` `{limit}`: must be from 1 to {RUNS_LISTED_MAX}");
                return Ok(refused("InvalidParameterValueException", "limit", message));
            }
            let is_wanted =
                |row: &RunRow| account.as_ref().is_none_or(|account| row.account.as_ref().unwrap_or(own) == account);
            let rows = store::all_runs(tx)?.into_iter().filter(is_wanted);
            let rows = rows.take(usize::try_from(limit).unwrap_or(usize::MAX));
            rows.map(|row| whole(tx, row)).collect::<Result<_, _>>().map(Answer::TestRuns)
        }
        Query::ShowTestRun { test_run } => match store::run(tx, *test_run)? {
            Some(row) => whole(tx, row).map(Answer::TestRun),
            None => {
                let message = format!("`test_run` `{test_run}`: there is no such run; list them and correct it");
                Ok(refused("ResourceNotFoundException", "test_run", message))
            }
        },
        Query::ShowRestoreTestingPlan { account, region, name } => {
            let found = store::all_plans(tx)?.into_iter().find(|row| {
                let whose = row.plan.account.as_ref().unwrap_or(own);
                let place = row.plan.region.as_ref().unwrap_or(&row.region);
                row.plan.name == *name
                    && account.as_ref().unwrap_or(own) == whose
                    && region.as_ref().is_none_or(|region| region == place)
            });
            Ok(match found {
                Some(row) => Answer::RestoreTestingPlan(Box::new(shown_plan(row))),
                None => {
                    let message = format!("`name` `{name}`: no restore testing plan has this name");
                    refused("ResourceNotFoundException", "name", message)
                }
            })
        }
        Query::ListTags { arn } => {
            let found = store::all_plans(tx)?
                .into_iter()
                .find(|row| row.plan.arn(&row.region, own).is_ok_and(|named| named == *arn));
            Ok(match found {
                Some(row) => Answer::Tags(row.plan.tags),
                None => refused(
                    "ResourceNotFoundException",
                    "arn",
                    format!("`arn` `{arn}`: no restore testing plan has it"),
                ),
            })
        }
        other => {
            let message = format!("`{}` is answered by the {}; ask there", other.name(), other.service());
            Ok(refused("InvalidRequestException", "query", message))
        }
    }
}

/// A plan with the region it was put in.
fn shown_plan(row: PlanRow) -> RestoreTestingPlan {
    RestoreTestingPlan { region: row.plan.region.clone().or(Some(row.region)), ..row.plan }
}

fn whole(tx: &Tx<'_>, row: RunRow) -> Result<TestRun, StoreError> {
    let entries = store::entries(tx, row.id)?.into_iter().map(shown).collect();
    let RunRow { id, plan, account, started_at, ended_at, .. } = row;
    Ok(TestRun { id, restore_testing_plan: plan, account, started_at, ended_at, entries })
}

fn shown(row: EntryRow) -> TestRunEntry {
    TestRunEntry {
        resource: row.resource,
        recovery_point: row.recovery_point,
        vault: row.vault,
        restore_job_id: row.restore_job_id,
        verdict: row.verdict,
        findings: row.findings,
        rto_phases: row.rto_phases,
        bytes_checked: row.bytes_checked,
        items_checked: row.items_checked,
    }
}

fn refused(code: &str, field: &str, message: String) -> Answer {
    Answer::Refused { code: code.to_owned(), field: field.to_owned(), message }
}
