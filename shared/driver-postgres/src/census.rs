//! Row counts and digests taken at the source while it is captured, to hold a restored server against.
//!
//! A restored server has every transaction whose commit is in the captured log: an instant R that no query at the source
//! can see exactly, because nothing may be held up there. So the source is asked twice: in a snapshot S from before the
//! backup's end, and in a snapshot E from after it. Only rows count whose transaction had ended before S began: those with
//! an `xmin` outside of [xmin(S), xmax(E)). Such rows can be deleted or replaced between S and E but never appear, so that
//!
//! * rows(E) <= rows(R) <= rows(S), and where both ends are equal the very same rows are in R: their digest too;
//! * each row that is still there in E is in R: a sample of their digests is kept.
//!
//! Nobody waits for it, no setting is needed, and at rest it is exact. Large tables are counted in a sample of blocks,
//! which a physical copy has at the same places.

use driver_api::{Control, DriverError};
use job_model::{Finding, FindingKind, Severity};
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::error::PgError;
use crate::wal::Lsn;

/// The file beside `recovery-point.json`.
pub const FILE_NAME: &str = "postgres-census.json";

/// Digests kept of a table that changed meanwhile.
const SAMPLED_ROWS: u32 = 32;

/// Longest time to wait for a lock that somebody's change of a table holds.
const LOCK_TIMEOUT_MS: u32 = 2000;

/// Transaction numbers on pages have 32 bits.
const XID_SPAN: u64 = 1 << 32;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Each database that can be connected to.
    pub databases: Vec<DatabaseCensus>,
    /// What was not counted, and why.
    pub left_out: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCensus {
    /// Its name.
    pub name: String,
    /// The oldest transaction that ran when S was taken.
    pub from_xid: u64,
    /// The next transaction when E was taken.
    pub to_xid: u64,
    /// Its tables.
    pub tables: Vec<TableCensus>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCensus {
    /// Its object id.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Per cent of its blocks that were looked at, as text that SQL takes; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<String>,
    /// Rows in E: at least so many are in a restored server.
    pub rows_least: u64,
    /// Rows in S: at most so many are.
    pub rows_most: u64,
    /// Sum of the rows' digests, where S and E have the same rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digests of single rows in E, where they have not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

impl Census {
    /// As it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and sequences of them always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As it was stored.
    ///
    /// # Errors
    /// [`DriverError::NotOurs`] when it is not understood.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DriverError> {
        serde_json::from_slice(bytes).map_err(|e| DriverError::NotOurs { problem: format!("`{FILE_NAME}`: {e}") })
    }

    /// Tables in it.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.databases.iter().map(|database| database.tables.len()).sum()
    }
}

/// Opens a connection to a database.
pub(crate) type Open<'a> = &'a (dyn Fn(&str) -> Result<Connection, PgError> + Sync);

/// A census that has begun: snapshot S is held in every database.
pub(crate) struct Taker {
    databases: Vec<Held>,
    left_out: Vec<String>,
    /// Where the log was when the last of the snapshots had been taken.
    lsn: Lsn,
    bytes_max: u64,
}

struct Held {
    name: String,
    connection: Connection,
    xmin: u64,
    xmax: u64,
    counted: Vec<Counted>,
}

struct Counted {
    table: Table,
    rows: u64,
    digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    oid: u32,
    schema: String,
    name: String,
    filenode: String,
    percent: Option<String>,
}

impl Taker {
    /// Takes S. Quick: nothing is counted yet.
    pub(crate) fn begin(open: Open<'_>, first_database: &str, bytes_max: u64) -> Result<Self, PgError> {
        let mut first = open(first_database)?;
        let names =
            first.query("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")?;
        let mut taker = Self { databases: Vec::new(), left_out: Vec::new(), lsn: Lsn::default(), bytes_max };
        for row in 0..names.len() {
            let name: String = names.parse(row, 0)?;
            match hold(open, &name) {
                Ok(held) => taker.databases.push(held),
                Err(error) => taker.left_out.push(format!("database `{name}`: {}", chain(&error))),
            }
        }
        taker.lsn = position(&mut first)?;
        Ok(taker)
    }

    /// Where the log was when S had been taken.
    pub(crate) const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Counts in S. Ends soon when it is told to stop: no table is begun any more, and none takes longer than its share.
    pub(crate) fn count(&mut self, control: &dyn Control) {
        for held in &mut self.databases {
            let tables = match tables(&mut held.connection, self.bytes_max, &mut self.left_out, &held.name) {
                Ok(tables) => tables,
                Err(error) => {
                    self.left_out.push(format!("database `{}`: {}", held.name, chain(&error)));
                    continue;
                }
            };
            for table in tables {
                if control.is_stopped() {
                    return;
                }
                let window = (held.xmin, held.xmax);
                match count(&mut held.connection, &table, window) {
                    Ok((rows, digest)) => held.counted.push(Counted { table, rows, digest }),
                    Err(error) => self.left_out.push(left_out(&held.name, &table, &error)),
                }
            }
        }
    }

    /// Takes E and counts again, where anything can have changed.
    pub(crate) fn finish(mut self, control: &dyn Control) -> Census {
        let mut census = Census { databases: Vec::new(), left_out: std::mem::take(&mut self.left_out) };
        for held in self.databases {
            let name = held.name.clone();
            match finish_database(held, self.bytes_max, &mut census.left_out, control) {
                Ok(database) => census.databases.push(database),
                Err(error) => census.left_out.push(format!("database `{name}`: {}", chain(&error))),
            }
        }
        census
    }
}

impl Taker {
    /// Counts what a dump has, in the transaction whose snapshot it was made in: the counts are exact, and all rows count.
    /// `contents` is the dump's table of contents as `pg_restore --list` prints it.
    pub(crate) fn count_dumped(
        connection: &mut Connection,
        database: &str,
        contents: &str,
        bytes_max: u64,
    ) -> Result<Census, PgError> {
        prepare(connection)?;
        let mut census = Census::default();
        let mut counted = DatabaseCensus { name: database.to_owned(), from_xid: 0, to_xid: 0, tables: Vec::new() };
        for table in tables(connection, bytes_max, &mut census.left_out, database)? {
            let Table { schema, name, .. } = &table;
            let is_dumped = ["TABLE DATA", "MATERIALIZED VIEW DATA"]
                .iter()
                .any(|kind| contents.contains(&format!(" {kind} {schema} {name} ")));
            if !is_dumped {
                continue;
            }
            // Blocks of a dump are not at their places, so a large table is counted and no digest made of it.
            let is_large = table.percent.is_some();
            let whole = Table { percent: None, ..table.clone() };
            match count(connection, &whole, (0, 0)) {
                Ok((rows, digest)) => counted.tables.push(TableCensus {
                    oid: whole.oid,
                    schema: whole.schema,
                    name: whole.name,
                    percent: None,
                    rows_least: rows,
                    rows_most: rows,
                    digest: (!is_large).then_some(digest),
                    samples: Vec::new(),
                }),
                Err(error) => census.left_out.push(left_out(database, &table, &error)),
            }
        }
        census.databases.push(counted);
        Ok(census)
    }
}

fn hold(open: Open<'_>, name: &str) -> Result<Held, PgError> {
    let mut connection = open(name)?;
    prepare(&mut connection)?;
    let (xmin, xmax) = snapshot(&mut connection)?;
    Ok(Held { name: name.to_owned(), connection, xmin, xmax, counted: Vec::new() })
}

/// Settings that the text of a row depends on, and those that keep this session out of the way of others.
fn prepare(connection: &mut Connection) -> Result<(), PgError> {
    connection.query(&format!(
        "SET search_path TO ''; SET row_security TO off; SET lc_monetary TO 'C'; SET xmlbinary TO base64; \
         SET max_parallel_workers_per_gather TO 0; SET jit TO off; SET lock_timeout TO {LOCK_TIMEOUT_MS}; \
         SET statement_timeout TO 0"
    ))?;
    Ok(())
}

fn snapshot(connection: &mut Connection) -> Result<(u64, u64), PgError> {
    connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let rows = connection
        .query("SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s")?;
    Ok((rows.parse(0, 0)?, rows.parse(0, 1)?))
}

/// Where the log is now.
pub(crate) fn position(connection: &mut Connection) -> Result<Lsn, PgError> {
    let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END";
    connection.query(sql)?.parse(0, 0)
}

/// The user's tables that survive a crash.
fn tables(
    connection: &mut Connection,
    bytes_max: u64,
    left_out: &mut Vec<String>,
    database: &str,
) -> Result<Vec<Table>, PgError> {
    let rows = connection.query(
        "SELECT c.oid, n.nspname, c.relname, pg_catalog.pg_relation_filenode(c.oid), pg_catalog.pg_relation_size(c.oid), \
         pg_catalog.has_table_privilege(c.oid, 'SELECT') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.oid >= 16384 AND c.relispopulated \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY c.oid",
    )?;
    let mut tables = Vec::new();
    for row in 0..rows.len() {
        let bytes: u64 = rows.parse(row, 4)?;
        let table = Table {
            oid: rows.parse(row, 0)?,
            schema: rows.parse(row, 1)?,
            name: rows.parse(row, 2)?,
            filenode: rows.value(row, 3).unwrap_or_default().to_owned(),
            percent: (bytes > bytes_max).then(|| percent(bytes_max, bytes)),
        };
        if rows.value(row, 5) == Some("t") {
            tables.push(table);
        } else {
            left_out.push(format!(
                "`{database}`: `{}.{}`: no right to read it; make the role a member of `pg_read_all_data`",
                table.schema, table.name
            ));
        }
    }
    Ok(tables)
}

/// A share of `whole` as per cent with six digits, at least the smallest.
fn percent(part: u64, whole: u64) -> String {
    let millionths = (u128::from(part) * 100_000_000 / u128::from(whole.max(1))).max(1);
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// `FROM` and `WHERE` for the rows that count; see the top of this file.
fn rows_that_count(schema: &str, name: &str, percent: Option<&str>, window: (u64, u64)) -> String {
    let sample = percent.map(|p| format!(" TABLESAMPLE SYSTEM ({p}) REPEATABLE (1)")).unwrap_or_default();
    let (from, span) = (window.0 % XID_SPAN, window.1.saturating_sub(window.0).min(XID_SPAN / 2));
    format!(
        "FROM ONLY {}.{} AS holdfast_row_{sample} \
         WHERE (holdfast_row_.xmin::text::bigint - {from} + {XID_SPAN}) % {XID_SPAN} >= {span}",
        quoted(schema),
        quoted(name)
    )
}

/// Of the whole row, also where a column has the alias's name.
const DIGEST: &str = "pg_catalog.md5((holdfast_row_.*)::text)";

fn count(connection: &mut Connection, table: &Table, window: (u64, u64)) -> Result<(u64, String), PgError> {
    let rows = connection
        .query("SAVEPOINT holdfast")
        .and_then(|_| connection.query(&count_sql(&table.schema, &table.name, table.percent.as_deref(), window)));
    match rows {
        Ok(rows) => Ok((rows.parse(0, 0)?, rows.parse(0, 1)?)),
        Err(error) => {
            connection.query("ROLLBACK TO SAVEPOINT holdfast")?;
            Err(error)
        }
    }
}

fn count_sql(schema: &str, name: &str, percent: Option<&str>, window: (u64, u64)) -> String {
    format!(
        "SELECT count(*), coalesce(sum(('x' || substr({DIGEST}, 1, 15))::bit(60)::bigint), 0)::text {}",
        rows_that_count(schema, name, percent, window)
    )
}

fn finish_database(
    held: Held,
    bytes_max: u64,
    left_out_list: &mut Vec<String>,
    control: &dyn Control,
) -> Result<DatabaseCensus, PgError> {
    let Held { name, mut connection, xmin, xmax, counted } = held;
    connection.query("COMMIT")?;
    let (_, to_xid) = snapshot(&mut connection)?;
    let mut census = DatabaseCensus { name, from_xid: xmin, to_xid, tables: Vec::new() };
    // No transaction ran at S and none has begun since: every row is where it was.
    let nothing_happened = xmin == xmax && to_xid == xmax;
    let still = tables(&mut connection, bytes_max, &mut Vec::new(), &census.name)?;
    for Counted { table, rows, digest } in counted {
        if control.is_stopped() {
            break;
        }
        // A table that was emptied, rewritten or dropped meanwhile can be in either state.
        if !still.iter().any(|other| other.oid == table.oid && other.filenode == table.filenode) {
            left_out_list.push(format!(
                "`{}`: `{}.{}`: it was rewritten or dropped while it was captured",
                census.name, table.schema, table.name
            ));
            continue;
        }
        let (mut least, mut same, mut samples) = (rows, true, Vec::new());
        if !nothing_happened {
            let window = (xmin, to_xid);
            match count(&mut connection, &table, window) {
                Ok((rows_after, digest_after)) => {
                    same = rows_after == rows && digest_after == digest;
                    least = rows_after.min(rows);
                }
                Err(error) => {
                    left_out_list.push(left_out(&census.name, &table, &error));
                    continue;
                }
            }
            if !same {
                let from = rows_that_count(&table.schema, &table.name, table.percent.as_deref(), window);
                let sampled = connection.query(&format!("SELECT {DIGEST} {from} ORDER BY 1 LIMIT {SAMPLED_ROWS}"))?;
                samples = sampled.iter().filter_map(|row| row.first()?.clone()).collect();
            }
        }
        census.tables.push(TableCensus {
            oid: table.oid,
            schema: table.schema,
            name: table.name,
            percent: table.percent,
            rows_least: least,
            rows_most: rows,
            digest: same.then_some(digest),
            samples,
        });
    }
    Ok(census)
}

fn left_out(database: &str, table: &Table, error: &PgError) -> String {
    format!("`{database}`: `{}.{}`: {}", table.schema, table.name, chain(error))
}

fn chain(error: &PgError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Holds a restored server against a census. Gives the findings and the rows that were looked at.
pub(crate) fn compare(census: &Census, open: Open<'_>) -> Result<(Vec<Finding>, u64), PgError> {
    let (mut findings, mut looked_at) = (Vec::new(), 0);
    for database in &census.databases {
        let mut connection = match open(&database.name) {
            Ok(connection) => connection,
            Err(error) if error.sql_state() == Some("3D000") => {
                findings.push(failure(FindingKind::EntryMissing, &database.name, "the database is missing".to_owned()));
                continue;
            }
            Err(error) => return Err(error),
        };
        prepare(&mut connection)?;
        for table in &database.tables {
            looked_at += compare_table(&mut connection, database, table, &mut findings)?;
        }
    }
    Ok((findings, looked_at))
}

fn compare_table(
    connection: &mut Connection,
    database: &DatabaseCensus,
    table: &TableCensus,
    findings: &mut Vec<Finding>,
) -> Result<u64, PgError> {
    let window = (database.from_xid, database.to_xid);
    let subject = format!("{}.{}.{}", database.name, table.schema, table.name);
    let counted = connection.query(&count_sql(&table.schema, &table.name, table.percent.as_deref(), window));
    let rows = match counted {
        Ok(rows) => rows,
        Err(error) if error.sql_state() == Some("42P01") => {
            findings.push(failure(FindingKind::EntryMissing, &subject, "the table is missing".to_owned()));
            return Ok(0);
        }
        Err(PgError::Server(error)) => {
            findings.push(failure(FindingKind::CheckFailed, &subject, format!("it cannot be read: {error}")));
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let (found, digest): (u64, String) = (rows.parse(0, 0)?, rows.parse(0, 1)?);
    if let Some((kind, message)) = judge(table, found, &digest) {
        findings.push(failure(kind, &subject, message));
        return Ok(found);
    }
    if !table.samples.is_empty() {
        // Digests have hexadecimal digits only; anything else in a census somebody forged finds nothing.
        let wanted: Vec<String> = table
            .samples
            .iter()
            .filter(|digest| digest.bytes().all(|b| b.is_ascii_hexdigit()))
            .map(|digest| format!("'{digest}'"))
            .collect();
        let from = rows_that_count(&table.schema, &table.name, table.percent.as_deref(), window);
        let sql = format!("SELECT count(DISTINCT {DIGEST}) {from} AND {DIGEST} IN ({})", wanted.join(", "));
        let found: usize = connection.query(&sql)?.parse(0, 0)?;
        let distinct: std::collections::BTreeSet<_> = table.samples.iter().collect();
        if found != distinct.len() {
            let message = format!("{} of {} sampled rows are not as they were", distinct.len() - found, distinct.len());
            findings.push(failure(FindingKind::ContentDiffers, &subject, message));
        }
    }
    Ok(found)
}

/// What is wrong with a table that has so many rows with this digest.
fn judge(table: &TableCensus, found: u64, digest: &str) -> Option<(FindingKind, String)> {
    let TableCensus { rows_least: least, rows_most: most, .. } = table;
    if !(*least..=*most).contains(&found) {
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        return Some((FindingKind::ContentDiffers, format!("it has {found} rows instead of {expected}")));
    }
    let differs = table.digest.as_deref().is_some_and(|expected| expected != digest);
    differs.then(|| (FindingKind::ContentDiffers, "its rows are not those that were captured".to_owned()))
}

fn failure(kind: FindingKind, subject: &str, message: String) -> Finding {
    Finding { kind, severity: Severity::Failure, subject: subject.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(least: u64, most: u64, digest: Option<&str>) -> TableCensus {
        TableCensus {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            percent: None,
            rows_least: least,
            rows_most: most,
            digest: digest.map(str::to_owned),
            samples: Vec::new(),
        }
    }

    #[test]
    fn counts_between_the_ends_are_right_and_all_others_are_named() {
        assert_eq!(judge(&table(5, 9, None), 7, "1"), None);
        assert_eq!(judge(&table(5, 5, Some("1")), 5, "1"), None);
        assert!(judge(&table(5, 9, None), 10, "1").unwrap().1.contains("10 rows instead of 5 to 9"));
        assert!(judge(&table(5, 5, Some("1")), 4, "1").unwrap().1.contains("4 rows instead of 5"));
        assert!(judge(&table(5, 5, Some("1")), 5, "2").unwrap().1.contains("not those"));
    }

    #[test]
    fn shares_are_never_nothing_and_names_are_quoted() {
        assert_eq!(percent(1, 4), "25.000000");
        assert_eq!(percent(1, u64::MAX), "0.000001");
        let sql = rows_that_count("a\"b", "c", Some("1.5"), ((1 << 32) + 7, (1 << 32) + 9));
        assert!(sql.contains("\"a\"\"b\".\"c\"") && sql.contains("- 7 +") && sql.ends_with(">= 2"), "{sql}");
    }
}
