//! `test-runs`: run to its head. `test-run-entries`: run, key of the resource, to its entry. `test-runs-open`: runs that
//! have not ended. `restore-requests`: id of a request of ours to run and resource.

use jiff::Timestamp;
use job_model::{AccountId, Arn, Finding, JobId, PhaseTiming, Region, TestRunId, Verdict, resource_key};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const RUNS: Table<RunRow> = Table::new("test-runs");
const ENTRIES: Table<EntryRow> = Table::new("test-run-entries");
const OPEN: Table<OpenRow> = Table::new("test-runs-open");
const REQUESTS: Table<RequestRow> = Table::new("restore-requests");

/// The head of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRow {
    pub(crate) id: TestRunId,
    /// The plan's name.
    pub(crate) plan: String,
    /// Whose plan it is; the installation's own account's without one.
    #[serde(default)]
    pub(crate) account: Option<AccountId>,
    /// Where its facts are published.
    pub(crate) region: Region,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// What is not judged by then is timed out.
    pub(crate) deadline: Timestamp,
    /// When all entries were judged.
    pub(crate) ended_at: Option<Timestamp>,
    /// What the recovery points were drawn with.
    pub(crate) random: u64,
    /// Entries that are not judged yet.
    pub(crate) open_entries: u32,
}

/// One resource of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    pub(crate) resource: Arn,
    pub(crate) recovery_point: Option<Arn>,
    pub(crate) vault: Option<Arn>,
    /// The trace of the protection cycle that made the recovery point.
    pub(crate) traceparent: Option<String>,
    pub(crate) restore_job_id: Option<JobId>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) rto_phases: Vec<PhaseTiming>,
    pub(crate) bytes_checked: u64,
    pub(crate) items_checked: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenRow {}

#[derive(Debug, Serialize, Deserialize)]
struct RequestRow {
    run: TestRunId,
    resource: Arn,
}

impl Record for RunRow {
    const VERSION: u8 = 1;
}

impl Record for EntryRow {
    const VERSION: u8 = 1;
}

impl Record for OpenRow {
    const VERSION: u8 = 1;
}

impl Record for RequestRow {
    const VERSION: u8 = 1;
}

fn entry_key(run: TestRunId, resource: &Arn) -> Vec<u8> {
    let mut key = run.as_uuid().as_bytes().to_vec();
    key.extend_from_slice(resource_key(resource).as_bytes());
    key
}

pub(crate) fn run(tx: &Tx<'_>, id: TestRunId) -> Result<Option<RunRow>, StoreError> {
    tx.get(&RUNS, id.as_uuid().as_bytes())
}

/// Stores the head; whether the run is open follows from it.
pub(crate) fn put_run(tx: &mut Tx<'_>, row: &RunRow) -> Result<(), StoreError> {
    let key = row.id.as_uuid();
    tx.put(&RUNS, key.as_bytes(), row)?;
    if row.ended_at.is_none() {
        tx.put(&OPEN, key.as_bytes(), &OpenRow {})
    } else {
        tx.delete(&OPEN, key.as_bytes()).map(|_was_open| ())
    }
}

/// Forgets a run with everything that belongs to it.
pub(crate) fn delete_run(tx: &mut Tx<'_>, id: TestRunId, requests: &[String]) -> Result<(), StoreError> {
    for row in entries(tx, id)? {
        tx.delete(&ENTRIES, &entry_key(id, &row.resource))?;
    }
    for request in requests {
        tx.delete(&REQUESTS, request.as_bytes())?;
    }
    tx.delete(&OPEN, id.as_uuid().as_bytes())?;
    tx.delete(&RUNS, id.as_uuid().as_bytes()).map(|_was_there| ())
}

/// Newest first: the ids are of version 7 and sort by time.
pub(crate) fn all_runs(tx: &Tx<'_>) -> Result<Vec<RunRow>, StoreError> {
    let mut rows: Vec<RunRow> = tx.scan(&RUNS, &[])?.into_iter().map(|(_, row)| row).collect();
    rows.reverse();
    Ok(rows)
}

pub(crate) fn open_runs(tx: &Tx<'_>) -> Result<Vec<RunRow>, StoreError> {
    let mut rows = Vec::new();
    for (key, _) in tx.scan(&OPEN, &[])? {
        rows.extend(tx.get(&RUNS, &key)?);
    }
    Ok(rows)
}

pub(crate) fn entry(tx: &Tx<'_>, run: TestRunId, resource: &Arn) -> Result<Option<EntryRow>, StoreError> {
    tx.get(&ENTRIES, &entry_key(run, resource))
}

pub(crate) fn put_entry(tx: &mut Tx<'_>, run: TestRunId, row: &EntryRow) -> Result<(), StoreError> {
    tx.put(&ENTRIES, &entry_key(run, &row.resource), row)
}

/// Ordered by resource.
pub(crate) fn entries(tx: &Tx<'_>, run: TestRunId) -> Result<Vec<EntryRow>, StoreError> {
    let mut rows: Vec<EntryRow> =
        tx.scan(&ENTRIES, run.as_uuid().as_bytes())?.into_iter().map(|(_, row)| row).collect();
    rows.sort_by(|a, b| a.resource.cmp(&b.resource));
    Ok(rows)
}

pub(crate) fn put_request(tx: &mut Tx<'_>, id: &str, run: TestRunId, resource: &Arn) -> Result<(), StoreError> {
    tx.put(&REQUESTS, id.as_bytes(), &RequestRow { run, resource: resource.clone() })
}

/// The entry that a request of ours is about; none for requests of others.
pub(crate) fn entry_of_request(tx: &Tx<'_>, id: &str) -> Result<Option<(TestRunId, Arn)>, StoreError> {
    // Others choose their ids as they like; ours are UUIDs.
    if uuid::Uuid::try_parse(id).is_err() {
        return Ok(None);
    }
    Ok(tx.get(&REQUESTS, id.as_bytes())?.map(|row| (row.run, row.resource)))
}
