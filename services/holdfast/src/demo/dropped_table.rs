//! A table that is dropped by mistake, and comes back: the server is restored to the second before, as another server.

use std::time::{Duration, Instant};

use driver_postgres::connection::Connection;
use driver_postgres::error::PgError;
use jiff::Timestamp;
use job_events::{Answer, Query, StartRestore};
use job_model::{
    Arn, Continuous, FollowState, Job, OverwritePolicy, PhaseTiming, RESTORE_TIME, RecoveryPoint, RecoveryPointKind,
    RestorableInterval, RestoreTarget,
};
use serde::Serialize;

use super::database::{Database, SHOP};
use super::narrator::Narrator;
use super::server::{PORT, clock};
use crate::client::{Client, unexpected};
use crate::commands::job_of;
use crate::error::CliError;
use crate::follow;
use crate::names;
use crate::render::{Output, count, millis};

/// The table that is dropped.
const TABLE: &str = "invoices";
/// Rows that it gets before, and rows that another table gets afterwards.
const ROWS: u64 = 50;
/// What marks the rows that were written afterwards.
const LATER: &str = "after the drop";
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A second of the server's clock takes no longer than this on a busy machine.
const SECOND_WITHIN: Duration = Duration::from_secs(10);
/// A commit is durable and told within this; the first full capture needs its schedule, which comes every minute.
const WINDOW_WITHIN: Duration = Duration::from_secs(120);

/// What was dropped, what came back, and how long that took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DroppedTable {
    /// Its name.
    pub(super) table: &'static str,
    /// The continuous recovery point of the server.
    pub(super) recovery_point: Arn,
    /// The server's clock just before the drop.
    pub(super) dropped_at: Timestamp,
    /// The whole second before, which was restored.
    pub(super) restored_to: Timestamp,
    /// What could be restored by then.
    pub(super) window: Vec<RestorableInterval>,
    /// The restore.
    pub(super) job: String,
    /// Rows it had before the drop.
    pub(super) rows_before: u64,
    /// Rows it has in the restored server.
    pub(super) rows_restored: u64,
    /// Whether every row of it, and of the table that was written to afterwards, is the one that was there before the drop.
    pub(super) rows_are_equal: bool,
    /// Rows that were written into another table after the drop.
    pub(super) later_rows: u64,
    /// How many of them are in the restored server.
    pub(super) later_rows_restored: u64,
    /// From the request to the first correct answer of the restored server.
    pub(super) rto_ms: u64,
    /// Phases that add up to it.
    pub(super) rto_phases: Vec<PhaseTiming>,
    /// From the restored second to the drop: what was committed meanwhile is not in the restored server.
    pub(super) rpo_ms: u64,
}

impl DroppedTable {
    /// What came of it, on one line.
    pub(super) fn line(&self) -> String {
        format!(
            "`{}` is back with {} of {} rows, and {} of {} rows that came later, {} after the restore was asked for",
            self.table,
            count(self.rows_restored),
            count(self.rows_before),
            count(self.later_rows_restored),
            count(self.later_rows),
            millis(self.rto_ms)
        )
    }

    /// What came of it, for the report.
    pub(super) fn text(&self) -> String {
        let window: Vec<String> =
            self.window.iter().map(|interval| format!("{} to {}", interval.from, interval.to)).collect();
        format!(
            "\nDropped at {}: the table `{}` with {} rows. Restorable was any second of {}.\n\
             Restored as another server to {}, the second before: {} rows, {}; of {} rows that were written after the \
             drop there are {}.\n\
             RTO to the first correct answer {}, by phase: {}\nRPO {}: from the restored second to the drop.\n",
            self.dropped_at,
            self.table,
            count(self.rows_before),
            window.join(" and "),
            self.restored_to,
            count(self.rows_restored),
            if self.rows_are_equal { "each as it was" } else { "NOT as they were" },
            count(self.later_rows),
            count(self.later_rows_restored),
            millis(self.rto_ms),
            super::report::phases(&self.rto_phases),
            millis(self.rpo_ms)
        )
    }
}

/// The tables at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows {
    dropped: u64,
    later: u64,
    /// Over every row of both tables, in whatever order.
    digests: [String; 2],
}

/// Drops the table and brings the second before back. `begun` is when the demo asked for continuous backup.
///
/// # Errors
/// When that could not be tried, or the restore failed. What came back is judged elsewhere.
pub(super) async fn bring_back(
    client: &Client<'_>,
    database: &Database,
    resource: &Arn,
    begun: Timestamp,
    narrator: &Narrator,
) -> Result<DroppedTable, CliError> {
    // Nothing can be brought back before the first full capture and a commit after it are durable.
    window_beyond(client, resource, begun, begun).await?;
    let mut shop = database.source().open(SHOP).map_err(server("the protected server"))?;
    let before = fill(&mut shop).map_err(server("the protected server"))?;
    another_second(&mut shop).await?;
    let dropped_at = drop_table(&mut shop).map_err(server("the protected server"))?;
    let later_rows = write_later(&mut shop).map_err(server("the protected server"))?;
    let last = clock(&mut shop).map_err(server("the protected server"))?;
    narrator.say(&format!(
        "dropped the table `{TABLE}` with {} rows \"by mistake\", and wrote {} rows elsewhere",
        count(before.dropped),
        count(later_rows)
    ));
    let restored_to = whole_second(dropped_at)?;
    let point = window_beyond(client, resource, begun, last).await?;
    narrator.say(&format!("restoring the server to {restored_to}, the second before, as another server"));

    let asked = Instant::now();
    let job = restore(client, database, &point.arn, restored_to).await?;
    let restored_ms = milliseconds(asked.elapsed());
    let found =
        database.restored().open(SHOP).and_then(|mut shop| rows(&mut shop)).map_err(server("the restored server"))?;
    let rto_ms = milliseconds(asked.elapsed());
    Ok(DroppedTable {
        table: TABLE,
        recovery_point: point.arn,
        dropped_at,
        restored_to,
        window: point.continuous.map(|continuous| continuous.window).unwrap_or_default(),
        job: job.id.to_string(),
        rows_before: before.dropped,
        rows_restored: found.dropped,
        rows_are_equal: found.digests == before.digests,
        later_rows,
        later_rows_restored: found.later,
        rto_ms,
        rto_phases: phases(&job, restored_ms, rto_ms),
        rpo_ms: u64::try_from(dropped_at.duration_since(restored_to).as_millis()).unwrap_or_default(),
    })
}

/// Waits until nobody follows the server any more: only then is nothing kept back for it there.
///
/// # Errors
/// When that does not come, or something is left behind.
pub(super) async fn until_released(client: &Client<'_>, resource: &Arn, begun: Timestamp) -> Result<(), CliError> {
    let is_over = |continuous: &Continuous| continuous.state == FollowState::Stopped;
    let point = until(client, resource, begun, "the server is given back", is_over).await?;
    match point.continuous.and_then(|continuous| continuous.message) {
        Some(message) => Err(CliError::NotProven { message }),
        None => Ok(()),
    }
}

/// Waits until the window reaches beyond an instant.
async fn window_beyond(
    client: &Client<'_>,
    resource: &Arn,
    begun: Timestamp,
    at: Timestamp,
) -> Result<RecoveryPoint, CliError> {
    let reaches = |continuous: &Continuous| continuous.window.last().is_some_and(|interval| interval.to > at);
    until(client, resource, begun, &format!("{at} is restorable"), reaches).await
}

/// Waits until the continuous recovery point that was begun after an instant is as wanted.
async fn until(
    client: &Client<'_>,
    resource: &Arn,
    begun: Timestamp,
    what: &str,
    is_so: impl Fn(&Continuous) -> bool,
) -> Result<RecoveryPoint, CliError> {
    let deadline = Instant::now() + WINDOW_WITHIN;
    loop {
        let query = Query::ListRecoveryPoints { vault: None, resource: Some(resource.clone()) };
        let points = match client.query(&query).await? {
            Answer::RecoveryPoints(points) => points,
            other => return Err(unexpected("planner", &other)),
        };
        // An earlier run with the same directory left one of another server.
        let point =
            points.into_iter().find(|point| point.kind == RecoveryPointKind::Continuous && point.created_at > begun);
        if let Some(point) = &point
            && point.continuous.as_ref().is_some_and(&is_so)
        {
            return Ok(point.clone());
        }
        if Instant::now() > deadline {
            let state = point.and_then(|point| point.continuous).map_or_else(
                || "there is no continuous recovery point".to_owned(),
                |continuous| format!("{:?}, {}", continuous.state, continuous.message.unwrap_or_default()),
            );
            return Err(CliError::NotProven {
                message: format!("waited {} s until {what}: {state}", WINDOW_WITHIN.as_secs()),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Adds the last rows before the drop, so that the newest commits must come back too.
fn fill(shop: &mut Connection) -> Result<Rows, PgError> {
    shop.query(&format!("INSERT INTO {TABLE} (for_order, amount) SELECT n, n FROM generate_series(1, {ROWS}) n"))?;
    rows(shop)
}

fn rows(shop: &mut Connection) -> Result<Rows, PgError> {
    let digest = "coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0)";
    let dropped = shop.query(&format!("SELECT count(*), {digest} FROM {TABLE} t"))?;
    let other = shop.query(&format!("SELECT count(*) FILTER (WHERE note = '{LATER}'), {digest} FROM orders t"))?;
    Ok(Rows {
        dropped: dropped.parse(0, 0)?,
        later: other.parse(0, 0)?,
        digests: [dropped.parse(0, 1)?, other.parse(0, 1)?],
    })
}

/// Waits until the server's clock is in the next second: what was committed until now is older than its beginning.
async fn another_second(shop: &mut Connection) -> Result<(), CliError> {
    let deadline = Instant::now() + SECOND_WITHIN;
    let first = clock(shop).map_err(server("the protected server"))?;
    while clock(shop).map_err(server("the protected server"))?.as_second() == first.as_second() {
        if Instant::now() > deadline {
            return Err(CliError::NotProven { message: "the clock of the server stands still".to_owned() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Drops it; says when that was decided.
fn drop_table(shop: &mut Connection) -> Result<Timestamp, PgError> {
    let at = clock(shop)?;
    shop.query(&format!("DROP TABLE {TABLE}"))?;
    Ok(at)
}

fn write_later(shop: &mut Connection) -> Result<u64, PgError> {
    shop.query(&format!(
        "INSERT INTO orders (customer, amount, note) SELECT n, n, '{LATER}' FROM generate_series(1, {ROWS}) n"
    ))?;
    shop.query(&format!("SELECT count(*) FROM orders WHERE note = '{LATER}'"))?.parse(0, 0)
}

fn whole_second(at: Timestamp) -> Result<Timestamp, CliError> {
    Timestamp::from_second(at.as_second()).map_err(|e| CliError::usage(e.to_string()))
}

async fn restore(client: &Client<'_>, database: &Database, point: &Arn, at: Timestamp) -> Result<Job, CliError> {
    let place = database.restored();
    let metadata = [
        (RESTORE_TIME, at.to_string()),
        ("Port", PORT.to_string()),
        ("SocketDirectory", place.sockets.display().to_string()),
        ("StartServer", "true".to_owned()),
    ];
    let request = StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: names::path_url(&place.data)? },
        overwrite: OverwritePolicy::Refuse,
        include: Vec::new(),
        test: None,
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        iam_role: None,
    };
    let fact = client.request(&request.into()).await?;
    let job = follow::until_ended(client, job_of(&fact)?, Output::quiet()).await?;
    follow::require_completed(&job)?;
    Ok(job)
}

/// The restore's own phases, what it waited for besides, and the first correct answer; they add up to the whole.
fn phases(job: &Job, restored_ms: u64, rto_ms: u64) -> Vec<PhaseTiming> {
    let phase = |name: &str, duration_ms| PhaseTiming { phase: name.to_owned(), duration_ms };
    let worked_ms: u64 = job.phases.iter().map(|phase| phase.duration_ms).sum();
    let mut phases = vec![phase("wait", restored_ms.saturating_sub(worked_ms))];
    phases.extend(job.phases.iter().cloned());
    phases.push(phase("first-query", rto_ms.saturating_sub(restored_ms)));
    phases
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn server(which: &'static str) -> impl Fn(PgError) -> CliError {
    move |error| CliError::Start { step: format!("ask {which}"), source: Box::new(error) }
}
