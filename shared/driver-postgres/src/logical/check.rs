//! Proves a dump: every file is what was captured, an empty server takes it without an error, and the rows are those that
//! were counted in its snapshot.

use driver_api::{Check, CheckRequest, Driver as _, DriverError};
use driver_filesystem::FilesystemDriver;
use job_model::{Finding, PhaseTiming, Severity};

use super::client::{Clients, WorkDirectory};
use super::restore::{quoted, refused};
use super::{DUMP, GLOBALS, LogicalFacts, bin_dir};
use crate::census;
use crate::check::{Climbing, Steps, failure, read_census};
use crate::error::PgError;
use crate::options::Options;
use crate::sandbox::{Cluster, Sandbox};
use crate::server::{Credentials, SslMode};
use crate::settings::PostgresSettings;
use crate::tool::User;

/// The role that owns the empty server. Not `postgres`: the dumped server may have a role of that name that is no owner.
const OWNER: &str = "holdfast_restore_test_owner";

/// Proves a restored dump.
pub(crate) fn run(settings: &PostgresSettings, request: &CheckRequest<'_>) -> Result<Check, DriverError> {
    let facts = LogicalFacts::read(request.description)?;
    let options = Options::parse(request.options)?;
    if options.start_server {
        return Err(refused("StartServer", "a restore test starts a server of its own"));
    }
    let mut steps = Steps::begin(request.elapsed_ms);
    let mut check = FilesystemDriver.check(*request)?;
    steps.end("manifest");
    check.first_correct_read_ms = None;
    if check.findings.iter().any(|finding| finding.severity == Severity::Failure) {
        check.steps = steps.into_phases();
        return Ok(check);
    }
    let result = climb(settings, request, &facts, &options, &mut check, &mut steps);
    check.steps = steps.into_phases();
    result.map(|()| check)
}

fn climb(
    settings: &PostgresSettings,
    request: &CheckRequest<'_>,
    facts: &LogicalFacts,
    options: &Options,
    check: &mut Check,
    steps: &mut Steps<'_>,
) -> Result<(), DriverError> {
    let user = User::to_run_as(&settings.run_as)?;
    let bin_dir = bin_dir(settings, facts.major_version)?;
    let cluster = Cluster::Empty { owner: OWNER };
    let mut sandbox = Sandbox::start(settings, &cluster, &bin_dir, &user)?;
    let timeout_ms = settings.start_timeout_seconds.saturating_mul(1000);
    if let Err(why) = sandbox.wait(request.control, request.elapsed_ms, timeout_ms)? {
        // There is nothing of the recovery point in it yet.
        return Err(PgError::Tool { tool: "postgres".to_owned(), problem: why.into_words() }.into());
    }
    let start = steps.end("start");
    let filled = fill(settings, request, facts, &sandbox, &bin_dir)?;
    let duration_ms = steps.end("pg_restore");
    if let Err(finding) = filled {
        check.findings.push(finding);
        return Ok(());
    }
    let deadline = (request.elapsed_ms)().saturating_add(settings.check_timeout_seconds.saturating_mul(1000));
    let climbing = Climbing::new(request, &sandbox, deadline);
    climbing.open(&facts.database)?.query("SELECT count(*) FROM pg_class")?;
    let first = steps.end("first-query");
    check.first_correct_read_ms = Some((request.elapsed_ms)());
    let phase = |name: &str, duration_ms| PhaseTiming { phase: name.to_owned(), duration_ms };
    check.rto_phases = vec![phase("start", start), phase("pg_restore", duration_ms), phase("first-query", first)];
    if let Some(census) = read_census(request.reader, facts.census.as_deref())? {
        let open = |name: &str| sandbox.open(name);
        check.findings.extend(census::compare(&census, &open)?.0);
        steps.end("rows");
    }
    if !options.assertions.is_empty() {
        climbing.assertions(options, &mut check.findings)?;
        steps.end("assertions");
    }
    Ok(())
}

/// Roles, then the database. An error of the dump is a finding.
fn fill(
    settings: &PostgresSettings,
    request: &CheckRequest<'_>,
    facts: &LogicalFacts,
    sandbox: &Sandbox,
    bin_dir: &std::path::Path,
) -> Result<Result<(), Finding>, DriverError> {
    let work = WorkDirectory::make(&settings.work_dir())?;
    let server = sandbox.address();
    let credentials =
        Credentials { user: OWNER.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
    let clients = Clients::new(&server, &credentials, bin_dir.to_owned(), &work)?;
    if facts.globals {
        let mut command = clients.command("psql", "postgres");
        // Roles only: tablespaces have places that are not here, so an error ends nothing.
        command.args(["--no-psqlrc", "--quiet", "--file"]).arg(request.restored.join(GLOBALS));
        clients.run(command, "psql", request.control)?;
    }
    if facts.database != "postgres" {
        sandbox.open("postgres")?.query(&format!("CREATE DATABASE {} TEMPLATE template0", quoted(&facts.database)))?;
    }
    let mut command = clients.command("pg_restore", &facts.database);
    command.args(["--exit-on-error", "--no-password", "--no-tablespaces"]);
    if !facts.globals {
        command.args(["--no-owner", "--no-privileges"]);
    }
    command.arg(format!("--jobs={}", request.parallelism.max(1)));
    command.arg(format!("--dbname={}", facts.database)).arg(request.restored.join(DUMP));
    match clients.run(command, "pg_restore", request.control) {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.is_stop() => Err(error),
        Err(error) => Ok(Err(failure(&facts.database, error.to_string()))),
    }
}
