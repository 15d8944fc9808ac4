//! Restores a dump: as a directory, and into a server where that is asked for.
//!
//! A database is filled under another name and gets its own when it is whole, so that nobody meets half of one, and a
//! repeated restore finds what an earlier one did.

use driver_api::{Driver as _, DriverError, RestoreRequest, Restored};
use driver_filesystem::FilesystemDriver;
use job_model::{FailureCode, Finding, FindingKind, PhaseTiming, Severity};

use super::client::{Clients, WorkDirectory};
use super::{DUMP, LogicalFacts, bin_dir};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::options::Options;
use crate::server::Location;
use crate::settings::PostgresSettings;

/// Digits of the recovery point's id in the name of a database on its way.
const KEY_DIGITS: usize = 12;

/// Longest name of a database.
const NAME_BYTES_MAX: usize = 63;

/// Restores a logical recovery point.
pub(crate) fn run(settings: &PostgresSettings, request: &RestoreRequest<'_>) -> Result<Restored, DriverError> {
    let facts = LogicalFacts::read(request.description)?;
    let options = Options::parse(request.options)?;
    if options.start_server {
        return Err(refused("StartServer", "a dump is no server; name one with `RestoreInto`"));
    }
    if options.restore_into.is_none() && !options.tables.is_empty() {
        return Err(refused("RestoreInto", "`Tables` of a dump need it"));
    }
    // What is wrong with the server is found before anything is written.
    let into = options
        .restore_into
        .as_deref()
        .map(|location| Into::open(settings, location, facts.major_version))
        .transpose()?;
    let mut restored = FilesystemDriver.restore(*request)?;
    if let Some(into) = into {
        let began = (request.elapsed_ms)();
        into.fill(settings, request, &options)?;
        let duration_ms = (request.elapsed_ms)().saturating_sub(began);
        restored.phases.push(PhaseTiming { phase: "pg_restore".to_owned(), duration_ms });
    }
    restored.findings.extend(options.without_meaning.iter().map(|key| Finding {
        kind: FindingKind::MetadataDiffers,
        severity: Severity::Note,
        subject: String::new(),
        message: format!("restore metadata `{key}` describes a machine of AWS and has no meaning here"),
    }));
    Ok(restored)
}

pub(crate) fn refused(key: &str, problem: &str) -> DriverError {
    DriverError::Service {
        code: FailureCode::TargetInvalid,
        problem: format!("restore metadata `{key}`: {problem}"),
        source: None,
    }
}

/// A server and the database that is to be made there.
pub(crate) struct Into {
    location: Location,
    database: String,
}

impl Into {
    pub(crate) fn open(settings: &PostgresSettings, location: &str, major_version: u32) -> Result<Self, DriverError> {
        let location = Location::parse(location)?;
        let database = location
            .database
            .clone()
            .ok_or_else(|| refused("RestoreInto", "name the database: `postgresql://host:5432/name?profile=main`"))?;
        if database.len() + KEY_DIGITS + 1 > NAME_BYTES_MAX {
            return Err(refused("RestoreInto", "the database's name is too long"));
        }
        let into = Self { location, database };
        let connection = into.connect(settings, "postgres")?;
        let version = connection.major_version().unwrap_or_default();
        if version < major_version {
            return Err(DriverError::Service {
                code: FailureCode::VersionMismatch,
                problem: format!(
                    "the server has version {version} and the dump is of version {major_version}; restore into one as new"
                ),
                source: None,
            });
        }
        Ok(into)
    }

    fn connect(&self, settings: &PostgresSettings, database: &str) -> Result<Connection, PgError> {
        let credentials = settings.credentials(&self.location.profile)?;
        Connection::open(&self.location.server, &credentials, Mode::Database(database))
    }

    pub(crate) fn fill(
        &self,
        settings: &PostgresSettings,
        request: &RestoreRequest<'_>,
        options: &Options,
    ) -> Result<(), DriverError> {
        let root = request.reader.root().to_hex();
        let mut connection = self.connect(settings, "postgres")?;
        let comment = format!("restored by holdfast from {root}");
        let found = connection.query(&format!(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}",
            literal(&self.database)
        ))?;
        if !found.is_empty() {
            if found.value(0, 0) == Some(&comment) {
                return Ok(());
            }
            return Err(DriverError::TargetExists {
                path: format!("database {} of {}", self.database, self.location.server),
            });
        }
        let partial = format!("{}_{}", self.database, &root[..KEY_DIGITS]);
        connection.query(&format!("DROP DATABASE IF EXISTS {} (FORCE)", quoted(&partial)))?;
        connection.query(&format!("CREATE DATABASE {} TEMPLATE template0", quoted(&partial)))?;
        let version = connection.major_version().unwrap_or_default();
        let result = self.pg_restore(settings, request, options, &partial, version);
        if let Err(error) = result {
            // What is there is of no use to anybody.
            if let Err(left) = connection.query(&format!("DROP DATABASE IF EXISTS {} (FORCE)", quoted(&partial))) {
                tracing::warn!(error = &left as &dyn std::error::Error, partial, "half of a database is left");
            }
            return Err(error);
        }
        connection.query(&format!("COMMENT ON DATABASE {} IS {}", quoted(&partial), literal(&comment)))?;
        connection.query(&format!("ALTER DATABASE {} RENAME TO {}", quoted(&partial), quoted(&self.database)))?;
        Ok(())
    }

    fn pg_restore(
        &self,
        settings: &PostgresSettings,
        request: &RestoreRequest<'_>,
        options: &Options,
        partial: &str,
        version: u32,
    ) -> Result<(), DriverError> {
        let work = WorkDirectory::make(&settings.work_dir())?;
        let credentials = settings.credentials(&self.location.profile)?;
        let clients = Clients::new(&self.location.server, &credentials, bin_dir(settings, version)?, &work)?;
        let mut command = clients.command("pg_restore", partial);
        command.args(["--exit-on-error", "--no-password"]).arg(format!("--jobs={}", request.parallelism.max(1)));
        if options.without_owners {
            command.args(["--no-owner", "--no-privileges"]);
        }
        for section in &options.sections {
            command.arg(format!("--section={section}"));
        }
        for table in &options.tables {
            command.arg(format!("--table={table}"));
        }
        command.arg(format!("--dbname={partial}")).arg(request.target.join(DUMP));
        clients.run(command, "pg_restore", request.control)
    }
}

pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
