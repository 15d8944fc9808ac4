//! Logical captures: one database, or some of its tables, as `pg_dump` writes them, with the roles of the server.
//!
//! `data/dump/` is a dump in directory format, uncompressed so that equal content is stored once; `data/globals.sql` has the
//! roles and tablespaces (not where only some tables are dumped). After `restic restore`, `pg_restore` takes it as it is.
//! Rows are counted in the very snapshot the dump was made in, so the counts are exact whatever happens meanwhile.

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod restore;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use driver_api::{Capture, CaptureRequest, Chunking, DriverError, Probe, Reading, queue};
use job_model::{ChangeMethod, Consistency, FailureCode, Progress};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::capture::{Attributes, TreeBuilder, attributes_of, sidecar};
use crate::census::{self, Census, Taker};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::server::{Credentials, Location};
use crate::settings::PostgresSettings;
use crate::{io_error, tool};
use client::{Clients, WorkDirectory};

/// Newer programs read the dumps of older ones: so many versions are looked for.
const NEWER_VERSIONS: u32 = 6;

/// The directory of the dump, and the roles.
pub(crate) const DUMP: &str = "dump";
pub(crate) const GLOBALS: &str = "globals.sql";

/// Facts of a logical capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalFacts {
    /// [`crate::facts::FORMAT`].
    pub format: u32,
    /// Always `postgresql`.
    pub engine: String,
    /// Always `logical`.
    pub kind: String,
    /// The version of the server it was dumped from; servers of older versions may not understand it.
    pub major_version: u32,
    /// The database.
    pub database: String,
    /// The patterns of tables; empty for all.
    pub tables: Vec<String>,
    /// Whether there is a `globals.sql`.
    pub globals: bool,
    /// The file beside `recovery-point.json` with the row counts; none where nothing was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<String>,
}

impl LogicalFacts {
    /// Whether a description is of a logical capture.
    #[must_use]
    pub fn is_in(description: &serde_json::Value) -> bool {
        description.pointer("/driver/kind").and_then(serde_json::Value::as_str) == Some("logical")
    }

    /// The facts in a recovery point's description.
    ///
    /// # Errors
    /// [`DriverError::NotOurs`] when they are not there or not understood.
    pub fn read(description: &serde_json::Value) -> Result<Self, DriverError> {
        let driver = description.get("driver").cloned().unwrap_or_default();
        let facts: Self =
            serde_json::from_value(driver).map_err(|e| DriverError::NotOurs { problem: format!("its facts: {e}") })?;
        if facts.format != crate::facts::FORMAT || facts.engine != "postgresql" {
            return Err(DriverError::NotOurs { problem: format!("it has format {}", facts.format) });
        }
        Ok(facts)
    }
}

/// Programs of this version, or the oldest newer ones.
pub(crate) fn bin_dir(settings: &PostgresSettings, major_version: u32) -> Result<std::path::PathBuf, DriverError> {
    let found = (major_version..=major_version + NEWER_VERSIONS)
        .find_map(|version| tool::bin_dir(settings.bin_dir.as_deref(), version).ok());
    found.ok_or_else(|| DriverError::Service {
        code: FailureCode::VersionMismatch,
        problem: format!("PostgreSQL {major_version} or newer is not installed here; install it, or set `bin_dir`"),
        source: None,
    })
}

struct Server<'a> {
    location: &'a Location,
    database: &'a str,
    credentials: Credentials,
    connection: Connection,
    major_version: u32,
    is_superuser: bool,
    size_bytes: u64,
}

fn open<'a>(settings: &PostgresSettings, location: &'a Location) -> Result<Server<'a>, DriverError> {
    let database = location.first_database();
    let credentials = settings.credentials(&location.profile)?;
    let mut connection = Connection::open(&location.server, &credentials, Mode::Database(database))?;
    let rows = connection.query(
        "SELECT pg_database_size(current_database()), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
    )?;
    let major_version = connection.major_version().unwrap_or_default();
    let (size_bytes, is_superuser) = (rows.parse(0, 0)?, rows.value(0, 1) == Some("t"));
    Ok(Server { location, database, credentials, connection, major_version, is_superuser, size_bytes })
}

/// Whether the database can be dumped.
pub(crate) fn probe(settings: &PostgresSettings, location: &Location) -> Result<Probe, DriverError> {
    let server = open(settings, location)?;
    bin_dir(settings, server.major_version)?;
    Ok(Probe { size_bytes: Some(server.size_bytes), warnings: Vec::new() })
}

/// Dumps and stores.
pub(crate) fn capture(
    settings: &PostgresSettings,
    request: &CaptureRequest<'_>,
    location: &Location,
) -> Result<Capture, DriverError> {
    let mut server = open(settings, location)?;
    let bin_dir = bin_dir(settings, server.major_version)?;
    let work = WorkDirectory::make(&settings.work_dir())?;
    let credentials = server.credentials.clone();
    let clients = Clients::new(&location.server, &credentials, bin_dir, &work)?;
    // The snapshot is held here and given to all of pg_dump's connections, and to those that count.
    server.connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let snapshot = server.connection.query("SELECT pg_export_snapshot()")?.single()?.to_owned();
    dump(&clients, &server, request, &work, &snapshot)?;
    let census = count(settings, &clients, &mut server, &work);
    server.connection.query("COMMIT")?;
    let globals = location.tables.is_empty();
    if globals {
        let mut command = clients.command("pg_dumpall", server.database);
        command.args(["--globals-only", "--no-password", "--file"]).arg(work.path(GLOBALS));
        if !server.is_superuser {
            command.arg("--no-role-passwords");
        }
        clients.run(command, "pg_dumpall", request.control)?;
    }
    let facts = LogicalFacts {
        format: crate::facts::FORMAT,
        engine: "postgresql".to_owned(),
        kind: "logical".to_owned(),
        major_version: server.major_version,
        database: server.database.to_owned(),
        tables: location.tables.clone(),
        globals,
        census: census.as_ref().map(|_| census::FILE_NAME.to_owned()),
    };
    store(request, &work, facts, census)
}

fn dump(
    clients: &Clients<'_>,
    server: &Server<'_>,
    request: &CaptureRequest<'_>,
    work: &WorkDirectory,
    snapshot: &str,
) -> Result<(), DriverError> {
    let mut command = clients.command("pg_dump", server.database);
    command.args(["--format=directory", "--compress=0", "--no-password", "--lock-wait-timeout=60s"]);
    command.arg(format!("--snapshot={snapshot}")).arg(format!("--jobs={}", request.parallelism.max(1)));
    for table in &server.location.tables {
        command.arg(format!("--table={table}"));
    }
    command.arg("--file").arg(work.path(DUMP));
    request.control.advance(Progress { bytes_total: Some(server.size_bytes), ..Progress::default() });
    clients.run(command, "pg_dump", request.control)
}

/// Counts the tables of the dump in its snapshot; what goes wrong must not keep anybody from having a backup.
fn count(
    settings: &PostgresSettings,
    clients: &Clients<'_>,
    server: &mut Server<'_>,
    work: &WorkDirectory,
) -> Option<Vec<u8>> {
    if !settings.count_rows {
        return None;
    }
    let mut list = clients.command("pg_restore", server.database);
    list.arg("--list").arg(work.path(DUMP));
    let counted: Result<Census, DriverError> = clients.output(list, "pg_restore").and_then(|contents| {
        let connection = &mut server.connection;
        Ok(Taker::count_dumped(connection, server.database, &contents, settings.count_bytes_max)?)
    });
    match counted {
        Ok(census) => {
            for reason in &census.left_out {
                tracing::warn!(reason, "not counted");
            }
            Some(census.to_bytes())
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "rows are not counted");
            None
        }
    }
}

fn store(
    request: &CaptureRequest<'_>,
    work: &WorkDirectory,
    mut facts: LogicalFacts,
    census: Option<Vec<u8>>,
) -> Result<Capture, DriverError> {
    let mut files = list(&work.path(DUMP), DUMP)?;
    if facts.globals {
        files.insert(GLOBALS.to_owned(), work.path(GLOBALS));
    }
    let tree = Mutex::new(TreeBuilder::default());
    let dump = attributes(&work.path(DUMP))?;
    tree.lock().directory(DUMP, dump);
    request.control.advance(Progress { items_done: 1, ..Progress::default() });
    let files: Vec<_> = files.into_iter().collect();
    queue::for_each(request.parallelism, request.control, &files, |(path, place)| {
        let failed = |e| io_error("read", place.display().to_string(), e);
        let mut file = File::open(place).map_err(failed)?;
        let content = request.writer.write_content(Chunking::ContentDefined, &mut file)?;
        let size = content.size;
        tree.lock().file(path, content.blobs, size, attributes(place)?);
        request.control.advance(Progress { items_done: 1, bytes_done: size, bytes_read: size, ..Progress::default() });
        Ok(())
    })?;
    let tree = tree.into_inner();
    let (items, size_bytes) = (tree.items, tree.bytes);
    let data = tree.store(request.writer, dump)?;
    let mut sidecars = Vec::new();
    match census {
        Some(bytes) => sidecars.push(sidecar(request.writer, census::FILE_NAME, &bytes, dump)?),
        None => facts.census = None,
    }
    Ok(Capture {
        data,
        sidecars,
        consistency: Consistency::Database,
        size_bytes,
        items,
        change_detection: "full dump; equal content is stored once".to_owned(),
        exceptions: Vec::new(),
        // Strings, numbers and sequences of them always have a JSON form.
        facts: serde_json::to_value(facts).unwrap_or_default(),
        reading: Reading::live(ChangeMethod::FullRead),
        remains: None,
    })
}

fn attributes(place: &Path) -> Result<Attributes, DriverError> {
    let metadata = place.metadata().map_err(|e| io_error("look at", place.display().to_string(), e))?;
    Ok(attributes_of(&metadata))
}

/// The files of a directory, which has no directories.
fn list(place: &Path, below: &str) -> Result<BTreeMap<String, std::path::PathBuf>, DriverError> {
    let failed = |e| io_error("list", place.display().to_string(), e);
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| {
            DriverError::from(PgError::Unexpected { problem: format!("pg_dump made a file {name:?}") })
        })?;
        files.insert(format!("{below}/{name}"), entry.path());
    }
    Ok(files)
}
