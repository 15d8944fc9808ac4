//! Single tables out of a server's files: the files are restored beside the target, a server in a sandbox replays its log,
//! and `pg_dump` takes the tables out. What is left is a dump, which can go into a running server.

use std::path::{Path, PathBuf};

use driver_api::{Driver as _, DriverError, RestoreRequest, Restored};
use driver_filesystem::FilesystemDriver;
use job_model::{FailureCode, OverwritePolicy, PhaseTiming};
use sha2::{Digest as _, Sha256};

use crate::facts::PhysicalFacts;
use crate::io_error;
use crate::logical::DUMP;
use crate::logical::client::{Clients, WorkDirectory};
use crate::logical::restore::{Into, refused};
use crate::options::Options;
use crate::owner::OwnedBy;
use crate::sandbox::{Cluster, Sandbox};
use crate::server::{Credentials, SslMode};
use crate::settings::PostgresSettings;
use crate::tool::User;

/// A file beside the dump that says what it is of.
const MARK: &str = "holdfast.tables";

/// Takes tables out.
pub(crate) fn run(
    settings: &PostgresSettings,
    request: &RestoreRequest<'_>,
    facts: &PhysicalFacts,
    options: &Options,
) -> Result<Restored, DriverError> {
    let database =
        options.database.as_deref().ok_or_else(|| refused("Database", "`Tables` needs it: the tables are of one"))?;
    if options.start_server {
        return Err(refused("StartServer", "tables that are taken out are no server; name one with `RestoreInto`"));
    }
    let into = options.restore_into.as_deref().map(|to| Into::open(settings, to, facts.major_version)).transpose()?;
    let target = request.target;
    let mark = mark(request, options);
    let mut restored = Restored { location: target.to_owned(), ..Restored::default() };
    if std::fs::read_to_string(target.join(MARK)).ok().as_deref() != Some(mark.as_str()) {
        if target.symlink_metadata().is_ok() {
            return Err(DriverError::TargetExists { path: target.display().to_string() });
        }
        restored.phases = take_out(settings, request, facts, options, database, &mark)?;
    }
    remove(&staging(request))?;
    if let Some(into) = into {
        let began = (request.elapsed_ms)();
        into.fill(settings, request, &Options { tables: Vec::new(), ..options.clone() })?;
        let duration_ms = (request.elapsed_ms)().saturating_sub(began);
        restored.phases.push(PhaseTiming { phase: "pg_restore".to_owned(), duration_ms });
    }
    Ok(restored)
}

/// The place beside the target where files and dump are made.
pub(crate) fn staging(request: &RestoreRequest<'_>) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(request.reader.root().as_bytes());
    hash.update(request.target.as_os_str().as_encoded_bytes());
    request.target.with_file_name(format!(".holdfast-tables-{}", hex::encode(&hash.finalize()[..8])))
}

fn mark(request: &RestoreRequest<'_>, options: &Options) -> String {
    let database = options.database.as_deref().unwrap_or_default();
    format!("{} {database} {}\n", request.reader.root().to_hex(), options.tables.join(","))
}

fn take_out(
    settings: &PostgresSettings,
    request: &RestoreRequest<'_>,
    facts: &PhysicalFacts,
    options: &Options,
    database: &str,
    mark: &str,
) -> Result<Vec<PhaseTiming>, DriverError> {
    let bin_dir = super::bin_dir(settings, facts)?;
    let user = User::to_run_as(&settings.run_as)?;
    let staging = staging(request);
    let (data, out) = (staging.join("data"), staging.join("out"));
    // A server that ran on the files changed them, so an attempt that got so far begins anew.
    if out.exists() {
        remove(&staging)?;
    }
    make(&staging)?;
    let view = OwnedBy::new(request.reader, &user);
    let files = RestoreRequest { reader: &view, target: &data, overwrite: OverwritePolicy::Exact, ..*request };
    let mut phases = FilesystemDriver.restore(files)?.phases;
    make(&out)?;
    let mut began = (request.elapsed_ms)();
    let mut end = |phase: &str| {
        let now = (request.elapsed_ms)();
        phases.push(PhaseTiming { phase: phase.to_owned(), duration_ms: now.saturating_sub(began) });
        began = now;
    };
    let mut sandbox = Sandbox::start(settings, &Cluster::Restored { data: &data, facts }, &bin_dir, &user)?;
    let timeout_ms = settings.start_timeout_seconds.saturating_mul(1000);
    if let Err(why) = sandbox.wait(request.control, request.elapsed_ms, timeout_ms)? {
        return Err(DriverError::Service {
            code: FailureCode::TargetInvalid,
            problem: format!("the restored server does not start; its log ends: {}", why.into_words()),
            source: None,
        });
    }
    end("start");
    let work = WorkDirectory::make(&settings.work_dir())?;
    let credentials = Credentials {
        user: facts.superuser.clone().unwrap_or_else(|| "postgres".to_owned()),
        password: None,
        ssl_mode: SslMode::Disable,
        root_certificate: None,
    };
    let server = sandbox.address();
    let clients = Clients::new(&server, &credentials, bin_dir, &work)?;
    let mut command = clients.command("pg_dump", database);
    command.args(["--format=directory", "--compress=0", "--no-password"]);
    command.arg(format!("--jobs={}", request.parallelism.max(1)));
    for table in &options.tables {
        command.arg(format!("--table={table}"));
    }
    command.arg("--file").arg(out.join(DUMP));
    clients.run(command, "pg_dump", request.control)?;
    end("pg_dump");
    drop(sandbox);
    let path = out.join(MARK);
    std::fs::write(&path, mark).map_err(|e| io_error("write", path.display().to_string(), e))?;
    let directory = std::fs::File::open(&out).map_err(|e| io_error("open", out.display().to_string(), e))?;
    rustix::fs::syncfs(&directory).map_err(|e| io_error("sync", out.display().to_string(), e))?;
    std::fs::rename(&out, request.target)
        .map_err(|e| io_error("rename to", request.target.display().to_string(), e))?;
    Ok(phases)
}

fn make(path: &Path) -> Result<(), DriverError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| io_error("make the directory", path.display().to_string(), e))
}

fn remove(path: &Path) -> Result<(), DriverError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error("remove", path.display().to_string(), error))
        }
        _ => Ok(()),
    }
}
