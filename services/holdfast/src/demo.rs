//! `holdfast demo`: scheduled backups, copies to another region and restores from the copies, shown on the reader's own
//! data. Says only what facts and queries say.

mod changes;
mod database;
mod dropped_table;
mod image;
mod narrator;
mod proof;
mod report;
mod server;
mod setting;
mod stage;
mod waiting;
mod working_copy;

use std::path::Path;
use std::time::Duration;

use job_events::RunRestoreTest;
use service_host::{Clock, Ids, SystemClock, SystemIds};
use tokio::signal::unix::{SignalKind, signal};

use self::database::Database;
use self::narrator::Narrator;
use self::report::{Cycle, Kept, Report, Run, TestLine, VaultLine};
use self::setting::Setting;
use self::stage::{Stage, VAULTS};
use self::waiting::Pair;
use crate::args::{Connection, DemoArgs};
use crate::client::Client;
use crate::commands::test_run_until_ended;
use crate::connection;
use crate::endpoint::{Endpoint, write_private};
use crate::error::CliError;
use crate::render::{Output, bytes, count};

/// A run is due within a minute and takes some seconds; a busy machine needs longer.
const RUN_WITHIN: Duration = Duration::from_secs(170);

/// Runs the demo.
///
/// # Errors
/// When anything is not proven, or could not be tried.
pub(crate) async fn run(
    args: &DemoArgs,
    connection: &Connection,
    clock: &SystemClock,
    output: Output,
) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::io("take over signals"))?;
    let narrator = Narrator::new();
    // Before anything is made: nothing is left behind when a tool is missing.
    image::tool("mkfs.ext4")?;
    image::tool("debugfs")?;
    job_bus::server_process::find_binary()
        .map_err(|e| CliError::Start { step: "the demo needs nats-server".to_owned(), source: Box::new(e) })?;
    let stage = Stage::set(args.keep.as_deref())?;
    let mut report = Report {
        holdfast: env!("CARGO_PKG_VERSION"),
        proven: false,
        problems: Vec::new(),
        started_at: clock.now(),
        duration_ms: 0,
        directory: None,
        vaults: Vec::new(),
        runs: Vec::new(),
        bytes_stored: 0,
        changes: None,
        dropped_table: None,
        restore_test: None,
        kept: None,
    };
    let played = tokio::select! {
        played = play(args, connection, clock, &stage, &narrator, &mut report) => played,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        _ = terminate.recv() => Err(CliError::Interrupted),
    };
    let result = conclude(&stage, &narrator, &mut report, played, output);
    stage.strike().and(result)
}

/// The whole story, between the making of the directory and its removal.
async fn play(
    args: &DemoArgs,
    connection: &Connection,
    clock: &SystemClock,
    stage: &Stage,
    narrator: &Narrator,
    report: &mut Report,
) -> Result<(), CliError> {
    make_sources(args, stage, narrator, report)?;
    let database = make_database(narrator);
    if database.is_some() {
        stage.write_postgres(&Database::settings())?;
    }
    narrator.say("starting a private bus and all services, one process each");
    let (up, endpoint) = stage.start_up(args).await?;
    stage.link_passwords()?;
    let acted = act(connection, &endpoint, clock, stage, database.as_ref(), narrator, report).await;
    narrator.say("stopping the services");
    stage.stop_up(up).await;
    acted
}

/// The working copy of the directory and the volume made from it.
fn make_sources(args: &DemoArgs, stage: &Stage, narrator: &Narrator, report: &mut Report) -> Result<(), CliError> {
    let source = args.path.canonicalize().map_err(|e| CliError::ReadFile { path: args.path.clone(), source: e })?;
    let leave_out = [stage.root().to_owned()];
    let copied = working_copy::refresh(&source, &stage.files(), &leave_out, working_copy::LIMITS)?;
    narrator.say(&format!(
        "the demo changes files, so it works on a copy of `{}`: {} in {} files{}",
        source.display(),
        bytes(copied.bytes),
        count(copied.files),
        if copied.complete { "" } else { " (a part: its limit is 256 MiB and 5 000 files)" }
    ));
    narrator.say(&volume(stage, &source)?);
    report.directory = Some(copied);
    Ok(())
}

/// A small PostgreSQL server, where its programs are installed.
fn make_database(narrator: &Narrator) -> Option<Database> {
    match Database::start() {
        Ok(database) => {
            narrator.say(&format!("started a PostgreSQL {} server with a small shop in it", database.version()));
            Some(database)
        }
        Err(error) => {
            narrator.say(&format!("PostgreSQL is left out: {}", error.chain()));
            None
        }
    }
}

/// Makes the volume, or takes the one that an earlier run with the same directories made; says which.
fn volume(stage: &Stage, source: &Path) -> Result<String, CliError> {
    let (image, note) = (stage.image(), stage.image_source());
    let mark = source.as_os_str().as_encoded_bytes();
    if image.is_file() && std::fs::read(&note).is_ok_and(|earlier| earlier == mark) {
        return Ok("the ext4 volume of the earlier run is used again".to_owned());
    }
    let size = image::make(&stage.files(), &image)?;
    // Written last: a volume without it is made again.
    write_private(&note, mark).map_err(CliError::io(format!("write `{}`", note.display())))?;
    Ok(format!("made a raw ext4 volume of {} from the same files", bytes(size)))
}

/// What happens while the services run.
async fn act(
    connection: &Connection,
    endpoint: &Endpoint,
    clock: &SystemClock,
    stage: &Stage,
    database: Option<&Database>,
    narrator: &Narrator,
    report: &mut Report,
) -> Result<(), CliError> {
    let client = connect(connection, endpoint, clock, stage).await?;
    let setting = setting::prepare(&client, stage, database).await?;
    report.vaults = vault_lines(stage, &setting);
    narrator.say("vaults `tokyo` (ap-northeast-1) and `osaka` (ap-northeast-3) are ready, each with a key of its own");

    let begin = clock.now();
    setting::start_schedule(&client, &setting).await?;
    narrator.say("a plan backs all of them up every minute and copies to osaka; waiting for the schedule");
    if setting.database().is_some() {
        setting::start_following(&client, &setting).await?;
        narrator.say("another plan protects the database continuously: what it commits is in the vault a second later");
    }
    let first = scheduled(&client, &setting, begin, narrator).await?;
    report.add(described("first", &client, &first).await?);

    let changed_at = clock.now();
    let seed = SystemIds.random_u64();
    let mut changes = changes::change_files(&stage.files(), seed)?;
    changes::change_volume(&stage.image(), &stage.scratch(), seed, &mut changes)?;
    if let Some(database) = database {
        changes.rows_changed = database.change()?;
        narrator.say(&format!("changed and added {} rows in the database", count(changes.rows_changed)));
    }
    narrator.say(&format!(
        "changed {}, added {} and deleted {} files; wrote a file of {} into the volume",
        changes.files_changed,
        changes.files_added,
        changes.files_deleted,
        bytes(changes.volume_written_bytes)
    ));
    report.changes = Some(changes);
    // In the time until the schedule comes again.
    if let (Some(database), Some(resource)) = (database, setting.database()) {
        let brought = dropped_table::bring_back(&client, database, resource, begin, narrator).await?;
        narrator.say(&brought.line());
        report.dropped_table = Some(brought);
        setting::stop_following(&client).await?;
        dropped_table::until_released(&client, resource, begin).await?;
    }
    narrator.say("waiting for the schedule");
    // A run that began before the change may have seen a part of it: only what was made afterwards counts.
    let second = scheduled(&client, &setting, changed_at, narrator).await?;
    setting::stop_schedule(&client).await?;
    report.add(described("second", &client, &second).await?);

    narrator.say("restoring all of them from the copies in osaka, with osaka's key, and checking every byte");
    setting::put_test_plan(&client, &setting).await?;
    let fact = client.request(&RunRestoreTest { name: setting::TEST_PLAN.to_owned() }.into()).await?;
    let tested = test_run_until_ended(&client, &fact, Output::quiet()).await?;
    report.restore_test = Some(TestLine {
        run: tested.id.to_string(),
        plan: tested.restore_testing_plan.clone(),
        entries: tested.entries,
    });
    report.problems = proof::problems(report, &setting);
    Ok(())
}

async fn connect<'a>(
    connection: &Connection,
    endpoint: &Endpoint,
    clock: &'a SystemClock,
    stage: &Stage,
) -> Result<Client<'a>, CliError> {
    // The demo has services of its own; the bus and region of the command line are other people's.
    let own =
        Connection { region: endpoint.regions[..1].to_vec(), timeout: connection.timeout, ..Connection::default() };
    let destination = connection::destination(&own, &stage.state())?;
    Client::connect(destination, clock, &SystemIds).await
}

async fn scheduled(
    client: &Client<'_>,
    setting: &Setting,
    after: jiff::Timestamp,
    narrator: &Narrator,
) -> Result<Vec<Pair>, CliError> {
    waiting::scheduled_run(client, setting::RULE, &setting.resources, after, RUN_WITHIN, |line| narrator.say(line))
        .await
}

/// A run with its recovery points; fails when one of its jobs did.
async fn described(name: &'static str, client: &Client<'_>, pairs: &[Pair]) -> Result<Run, CliError> {
    let mut cycles = Vec::new();
    for pair in pairs {
        crate::follow::require_completed(&pair.backup)?;
        crate::follow::require_completed(&pair.copy)?;
        let (point, copied) = waiting::points(client, pair).await?;
        cycles.push(Cycle::of(&pair.backup, &pair.copy, &point, &copied));
    }
    Ok(Run { name, cycles })
}

fn vault_lines(stage: &Stage, setting: &Setting) -> Vec<VaultLine> {
    let line = |vault: &job_model::Vault| VaultLine {
        name: vault.name.clone(),
        region: vault.region.to_string(),
        location: vault.access.location.clone(),
        restic_check: stage.is_kept().then(|| {
            format!(
                "restic -r {} --password-file {} check --read-data",
                quoted(&stage.vault(&vault.name)),
                quoted(&stage.password_file(&vault.name))
            )
        }),
    };
    setting.vaults.iter().map(line).collect()
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | '@' | ':');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Writes the report, and says how it all ended.
fn conclude(
    stage: &Stage,
    narrator: &Narrator,
    report: &mut Report,
    played: Result<(), CliError>,
    output: Output,
) -> Result<(), CliError> {
    if let Err(error) = &played {
        report.problems.push(error.chain());
    }
    report.proven = report.problems.is_empty();
    report.duration_ms = narrator.elapsed_ms();
    if stage.is_kept() {
        report.kept = Some(Kept {
            directory: stage.root().to_owned(),
            vaults: stage.vaults(),
            state: stage.state(),
            logs: stage.state().join("logs"),
            report: stage.report(),
        });
        let document = serde_json::to_vec_pretty(report)
            .map_err(|e| CliError::Io { step: "write the report".to_owned(), source: e.into() })?;
        write_private(&stage.report(), &document)
            .map_err(CliError::io(format!("write `{}`", stage.report().display())))?;
    }
    output.result(report, || report.text())?;
    played?;
    if report.proven {
        return Ok(());
    }
    Err(CliError::NotProven {
        message: format!(
            "the demo did not prove everything: {} (vaults: {})",
            report.problems.join("; "),
            VAULTS.join(", ")
        ),
    })
}
