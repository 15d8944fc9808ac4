//! The steps after the files were found right.

use std::path::Path;

use driver_api::{Check, CheckRequest, DriverError, SnapshotReader};
use job_model::{Finding, FindingKind, PhaseTiming, Severity};
use vault_format::NodeKind;

use super::Steps;

use crate::census::{self, Census};
use crate::connection::{Connection, Rows};
use crate::error::PgError;
use crate::facts::PhysicalFacts;
use crate::options::Options;
use crate::sandbox::{Cluster, NotStarted, Sandbox};
use crate::settings::PostgresSettings;
use crate::tool::User;

/// The role the user's assertions run as: it can read and nothing else.
const READER: &str = "holdfast_restore_test";

/// Climbs as far as it goes; a step that fails does not keep the others from being tried while the server runs.
#[expect(clippy::too_many_arguments, reason = "all of it is needed by one step or another")]
pub(super) fn climb(
    settings: &PostgresSettings,
    request: &CheckRequest<'_>,
    facts: &PhysicalFacts,
    options: &Options,
    bin_dir: &Path,
    user: &User,
    check: &mut Check,
    steps: &mut Steps<'_>,
) -> Result<(), DriverError> {
    let began = (request.elapsed_ms)();
    let mut sandbox = Sandbox::start(settings, &Cluster::Restored { data: request.restored, facts }, bin_dir, user)?;
    let waited =
        sandbox.wait(request.control, request.elapsed_ms, settings.start_timeout_seconds.saturating_mul(1000))?;
    let answered = match waited {
        Ok(answered) => answered,
        Err(NotStarted::Ended(words)) => {
            check.findings.push(failure("server", format!("it does not start; its log ends: {words}")));
            return Ok(());
        }
        Err(NotStarted::TooSlow(words)) => {
            let seconds = settings.start_timeout_seconds;
            let message = format!("it did not answer within {seconds} seconds; its log ends: {words}");
            check.findings.push(Finding { kind: FindingKind::TimedOut, ..failure("server", message) });
            return Ok(());
        }
    };
    let promoted = steps.end("promoted");
    let start = answered.saturating_sub(began).min(promoted);
    check.rto_phases = vec![phase("start", start), phase("replay", promoted - start)];
    let deadline = (request.elapsed_ms)().saturating_add(settings.check_timeout_seconds.saturating_mul(1000));
    let climbing = Climbing::new(request, &sandbox, deadline);
    let first = climbing.first_query(facts)?;
    let first_query = steps.end("first-query");
    match first {
        Ok(()) => {
            check.first_correct_read_ms = Some((request.elapsed_ms)());
            check.rto_phases.push(phase("first-query", first_query));
        }
        Err(finding) => check.findings.push(finding),
    }
    let databases = climbing.databases()?;
    climbing.amcheck(&databases, &mut check.findings)?;
    steps.end("amcheck");
    if let Some(census) = read_census(request.reader, facts.census.as_deref())? {
        let open = |name: &str| sandbox.open(name);
        let (findings, _) = census::compare(&census, &open)?;
        check.findings.extend(findings);
        steps.end("rows");
    }
    climbing.foreign_keys(&databases, &mut check.findings)?;
    steps.end("foreign-keys");
    if !options.assertions.is_empty() {
        climbing.assertions(options, &mut check.findings)?;
        steps.end("assertions");
    }
    if !sandbox.stop() {
        check
            .findings
            .push(failure("server", format!("it does not shut down; its log ends: {}", sandbox.last_words())));
        return Ok(());
    }
    steps.end("stop");
    if facts.data_checksums {
        check.findings.extend(page_checksums(request, facts)?);
        steps.end("page-checksums");
    }
    Ok(())
}

fn phase(name: &str, duration_ms: u64) -> PhaseTiming {
    PhaseTiming { phase: name.to_owned(), duration_ms }
}

pub(crate) fn failure(subject: &str, message: String) -> Finding {
    Finding { kind: FindingKind::CheckFailed, severity: Severity::Failure, subject: subject.to_owned(), message }
}

/// The census of the recovery point; none where nothing was counted.
pub(crate) fn read_census(reader: &dyn SnapshotReader, name: Option<&str>) -> Result<Option<Census>, DriverError> {
    let Some(name) = name else { return Ok(None) };
    let lost = || DriverError::NotOurs { problem: format!("its `holdfast/{name}` is missing") };
    let root = reader.tree(&reader.root())?;
    let holdfast = root.nodes.iter().find(|node| node.name == b"holdfast").ok_or_else(lost)?;
    let NodeKind::Dir { subtree } = &holdfast.kind else { return Err(lost()) };
    let tree = reader.tree(subtree)?;
    let file = tree.nodes.iter().find(|node| node.name == name.as_bytes()).ok_or_else(lost)?;
    let NodeKind::File { content, .. } = &file.kind else { return Err(lost()) };
    let mut bytes = Vec::new();
    for id in content {
        bytes.extend(reader.blob(id)?);
    }
    Census::from_bytes(&bytes).map(Some)
}

/// What a running server is asked.
pub(crate) struct Climbing<'a> {
    request: &'a CheckRequest<'a>,
    sandbox: &'a Sandbox,
    /// When all of it must be over.
    deadline: u64,
}

impl<'a> Climbing<'a> {
    pub(crate) const fn new(request: &'a CheckRequest<'a>, sandbox: &'a Sandbox, deadline: u64) -> Self {
        Self { request, sandbox, deadline }
    }

    /// Opens a connection whose statements end in time.
    pub(crate) fn open(&self, database: &str) -> Result<Connection, DriverError> {
        if self.request.control.is_stopped() {
            return Err(DriverError::Stopped);
        }
        let mut connection = self.sandbox.open(database)?;
        let left = self.deadline.saturating_sub((self.request.elapsed_ms)()).max(1);
        connection.query(&format!("SET statement_timeout TO {}", left.min(i32::MAX as u64)))?;
        Ok(connection)
    }

    fn first_query(&self, facts: &PhysicalFacts) -> Result<Result<(), Finding>, DriverError> {
        let mut connection = self.open("template1")?;
        let rows =
            connection.query("SELECT (SELECT system_identifier FROM pg_control_system()), count(*) FROM pg_class")?;
        let found = rows.value(0, 0).unwrap_or_default();
        if found == facts.system_identifier {
            return Ok(Ok(()));
        }
        let message = format!("it is cluster {found} and {} was captured", facts.system_identifier);
        Ok(Err(Finding { kind: FindingKind::ContentDiffers, ..failure("server", message) }))
    }

    fn databases(&self) -> Result<Vec<String>, DriverError> {
        let rows = self.open("template1")?.query("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")?;
        Ok(rows.iter().filter_map(|row| row.first()?.clone()).collect())
    }

    /// Every B-tree against its table, and every table's own structure.
    fn amcheck(&self, databases: &[String], findings: &mut Vec<Finding>) -> Result<(), DriverError> {
        for database in databases {
            let mut connection = self.open(database)?;
            if let Err(error) =
                connection.query("SET client_min_messages TO error; CREATE EXTENSION IF NOT EXISTS amcheck")
            {
                let message = format!("indexes were not checked, install the contributed modules: {error}");
                findings.push(Finding { severity: Severity::Warning, ..failure(database, message) });
                continue;
            }
            let schema = connection.query(
                "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
                 WHERE extname = 'amcheck'",
            )?;
            let schema = schema.single()?.to_owned();
            let indexes = connection.query(
                "SELECT c.oid, c.oid::regclass::text FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid \
                 JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relkind = 'i' \
                 AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready ORDER BY c.oid",
            )?;
            self.each(&mut connection, database, &indexes, findings, |oid| {
                format!("SELECT {schema}.bt_index_parent_check({oid}, true)")
            })?;
            let tables = connection.query(
                "SELECT c.oid, c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam \
                 WHERE a.amname = 'heap' AND c.relkind IN ('r', 't', 'm') AND c.relpersistence = 'p' ORDER BY c.oid",
            )?;
            self.each(&mut connection, database, &tables, findings, |oid| {
                format!("SELECT blkno, offnum, attnum, msg FROM {schema}.verify_heapam({oid}::regclass) LIMIT 5")
            })?;
        }
        Ok(())
    }

    /// Runs a check for each object; an error and a row are findings.
    fn each(
        &self,
        connection: &mut Connection,
        database: &str,
        objects: &Rows,
        findings: &mut Vec<Finding>,
        sql: impl Fn(u32) -> String,
    ) -> Result<(), DriverError> {
        for row in 0..objects.len() {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            let oid: u32 = objects.parse(row, 0)?;
            let subject = format!("{database}.{}", objects.value(row, 1).unwrap_or_default());
            match connection.query(&sql(oid)) {
                Ok(rows) => {
                    for found in rows.iter().filter(|found| found.len() == 4) {
                        let text = |column: usize| found[column].as_deref().unwrap_or("?");
                        let message = format!("block {}, row {}: {}", text(0), text(1), text(3));
                        findings.push(failure(&subject, message));
                    }
                }
                Err(PgError::Server(error)) => findings.push(failure(&subject, error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Rows whose foreign key leads nowhere: a physical restore never looks.
    fn foreign_keys(&self, databases: &[String], findings: &mut Vec<Finding>) -> Result<(), DriverError> {
        for database in databases {
            let mut connection = self.open(database)?;
            connection.query("SET row_security TO off")?;
            let keys = connection.query(FOREIGN_KEYS)?;
            for row in 0..keys.len() {
                if self.request.control.is_stopped() {
                    return Err(DriverError::Stopped);
                }
                let name = keys.value(row, 0).unwrap_or_default();
                let subject = format!("{database}.{name}");
                match connection.query(keys.value(row, 1).unwrap_or_default()) {
                    Ok(count) => {
                        let orphans: u64 = count.parse(0, 0)?;
                        if orphans > 0 {
                            let message = format!("{orphans} rows refer to rows that are not there");
                            let kind = FindingKind::ContentDiffers;
                            findings.push(Finding { kind, ..failure(&subject, message) });
                        }
                    }
                    Err(PgError::Server(error)) => findings.push(failure(&subject, error.to_string())),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Whatever the user wants to be true, as a role that can only read: SQL of a superuser could run programs.
    pub(crate) fn assertions(&self, options: &Options, findings: &mut Vec<Finding>) -> Result<(), DriverError> {
        self.open("template1")?.query(&format!(
            "DROP ROLE IF EXISTS {READER}; CREATE ROLE {READER} LOGIN; GRANT pg_read_all_data TO {READER}"
        ))?;
        for assertion in &options.assertions {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            let left = self.deadline.saturating_sub((self.request.elapsed_ms)()).clamp(1, i32::MAX as u64);
            let value = self.sandbox.open_as(READER, &assertion.database).and_then(|mut connection| {
                connection.query(&format!("SET statement_timeout TO {left}"))?;
                Ok(connection.query(&assertion.sql)?.single()?.to_owned())
            });
            let problem = match value {
                Ok(value) if value == "t" => continue,
                Ok(value) => format!("it is `{value}` and not true"),
                Err(PgError::Server(error)) => error.to_string(),
                Err(error @ PgError::Unexpected { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            let kind = FindingKind::ContentDiffers;
            findings.push(Finding { kind, ..failure(&format!("assertion {}", assertion.name), problem) });
        }
        Ok(())
    }
}

/// Each foreign key with a query that counts the rows it does not hold for; NULLs refer to nothing.
const FOREIGN_KEYS: &str = "SELECT k.conrelid::regclass || '.' || quote_ident(k.conname), \
    format('SELECT count(*) FROM %s AS f WHERE %s AND NOT EXISTS (SELECT 1 FROM %s AS p WHERE %s)', \
        k.conrelid::regclass, string_agg(format('f.%I IS NOT NULL', a.attname), ' AND ' ORDER BY u.n), \
        k.confrelid::regclass, string_agg(format('p.%I = f.%I', b.attname, a.attname), ' AND ' ORDER BY u.n)) \
    FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS u(f, p, n) \
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.f \
    JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.p \
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated \
    GROUP BY k.oid, k.conname, k.conrelid, k.confrelid ORDER BY 1";

/// Every page of the server that was shut down.
fn page_checksums(request: &CheckRequest<'_>, facts: &PhysicalFacts) -> Result<Vec<Finding>, DriverError> {
    let damaged = crate::capture::damaged_pages(request)?;
    let known = facts.damaged_pages > 0;
    let findings = damaged.into_iter().map(|(path, message)| {
        let message = if known { format!("{message}; pages were damaged at the source already") } else { message };
        Finding { kind: FindingKind::ContentDiffers, ..failure(&path, message) }
    });
    Ok(findings.collect())
}
