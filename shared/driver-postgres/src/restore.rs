//! Restores a data directory, and starts a server on it where that is asked for.

pub(crate) mod forward;
mod server;
mod tables;
mod unsynced;

use std::io;
use std::path::{Path, PathBuf};

use driver_api::{Driver as _, DriverError, RestoreRequest, Restored};
use driver_filesystem::FilesystemDriver;
use job_model::{FailureCode, Finding, FindingKind, PhaseTiming, Severity};

use crate::capture::is_running;
use crate::facts::PhysicalFacts;
use crate::io_error;
use crate::logical::LogicalFacts;
use crate::options::Options;
use crate::owner::OwnedBy;
use crate::settings::PostgresSettings;
use crate::tool::{self, User};

/// A file in a restored data directory that says which recovery point it is of: a server that runs changes all others.
const MARK: &str = "holdfast.restored";

/// Without it no server starts, so it is the last of a restore over an old data directory.
const CONTROL_FILE: &str = "global/pg_control";

/// Restores a physical recovery point.
pub(crate) fn run(settings: &PostgresSettings, request: &RestoreRequest<'_>) -> Result<Restored, DriverError> {
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    if LogicalFacts::is_in(request.description) {
        return crate::logical::restore::run(settings, request);
    }
    let facts = PhysicalFacts::read(request.description)?;
    let options = Options::parse(request.options)?;
    if !options.tables.is_empty() {
        return tables::run(settings, request, &facts, &options);
    }
    if options.restore_into.is_some() {
        return Err(crate::logical::restore::refused(
            "RestoreInto",
            "it is for dumps, and for `Tables` out of a server's files",
        ));
    }
    let user = User::to_run_as(&settings.run_as)?;
    let mark = request.reader.root().to_hex();
    let mut findings = notes(&facts, &options);
    // Whatever is missing for the start is found before anything is written.
    let bin_dir = match options.start_server {
        true => Some(bin_dir(settings, &facts)?),
        false => None,
    };
    let is_done = options.start_server && read_mark(request.target).as_deref() == Some(&mark);
    let mut restored = if is_done {
        Restored { location: request.target.to_owned(), ..Restored::default() }
    } else {
        judge_target(request.target, &facts)?;
        let view = OwnedBy::new(request.reader, &user);
        FilesystemDriver.restore_in_place(&RestoreRequest { reader: &view, ..*request }, CONTROL_FILE)?
    };
    if let Some(bin_dir) = bin_dir {
        if !is_done {
            write_mark(request.target, &mark, &user)?;
        }
        let began = (request.elapsed_ms)();
        server::start(settings, request, &facts, &options, &bin_dir, &user)?;
        let duration_ms = (request.elapsed_ms)().saturating_sub(began);
        restored.phases.push(PhaseTiming { phase: "start".to_owned(), duration_ms });
    }
    restored.findings.append(&mut findings);
    Ok(restored)
}

/// Where a data directory that does not exist is built.
pub(crate) fn staging(request: &RestoreRequest<'_>) -> PathBuf {
    let takes_tables = request.options.contains_key("Tables") && !LogicalFacts::is_in(request.description);
    if takes_tables { tables::staging(request) } else { FilesystemDriver.staging(request) }
}

fn notes(facts: &PhysicalFacts, options: &Options) -> Vec<Finding> {
    let note = |subject: String, message: String| Finding {
        kind: FindingKind::MetadataDiffers,
        severity: Severity::Note,
        subject,
        message,
    };
    let mut notes: Vec<_> = facts
        .tablespaces
        .iter()
        .map(|space| {
            let message = format!("the tablespace lies inside the data directory now; it was in `{}`", space.location);
            note(format!("pg_tblspc/{}", space.oid), message)
        })
        .collect();
    notes.extend(options.without_meaning.iter().map(|key| {
        note(String::new(), format!("restore metadata `{key}` describes a machine of AWS and has no meaning here"))
    }));
    notes
}

/// The programs of the recovery point's version.
pub(crate) fn bin_dir(settings: &PostgresSettings, facts: &PhysicalFacts) -> Result<PathBuf, DriverError> {
    tool::bin_dir(settings.bin_dir.as_deref(), facts.major_version).map_err(|error| DriverError::Service {
        code: FailureCode::VersionMismatch,
        problem: error.to_string(),
        source: Some(Box::new(error)),
    })
}

fn running(target: &Path) -> DriverError {
    DriverError::Service {
        code: FailureCode::TargetExists,
        problem: format!("a server runs on `{}`; stop it, or choose another target", target.display()),
        source: None,
    }
}

/// Refuses a directory that is in use, or of another version.
fn judge_target(target: &Path, facts: &PhysicalFacts) -> Result<(), DriverError> {
    if is_running(target) {
        return Err(running(target));
    }
    let found = match std::fs::read_to_string(target.join("PG_VERSION")) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(io_error("read", target.join("PG_VERSION").display().to_string(), error)),
    };
    if found.trim() == facts.major_version.to_string() {
        return Ok(());
    }
    Err(DriverError::Service {
        code: FailureCode::VersionMismatch,
        problem: format!(
            "`{}` is a data directory of version {} and the recovery point is of version {}; choose another target",
            target.display(),
            found.trim(),
            facts.major_version
        ),
        source: None,
    })
}

/// What the mark says; nothing while another restore over it was cut short.
fn read_mark(target: &Path) -> Option<String> {
    target.join(CONTROL_FILE).symlink_metadata().ok()?;
    Some(std::fs::read_to_string(target.join(MARK)).ok()?.trim().to_owned())
}

fn write_mark(target: &Path, mark: &str, user: &User) -> Result<(), DriverError> {
    let path = target.join(MARK);
    let failed = |error| io_error("write", path.display().to_string(), error);
    std::fs::write(&path, format!("{mark}\n")).map_err(failed)?;
    server::give(&path, user).map_err(failed)?;
    // An empty one after a power cut would make the directory somebody else's.
    std::fs::File::open(&path).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::File::open(target).and_then(|directory| directory.sync_all()).map_err(failed)
}
