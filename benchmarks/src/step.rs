//! One operation of ours, done as the workers do it, in a process of its own so that its cost can be told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Subcommand, ValueEnum};
use driver_api::{
    CaptureRequest, Driver, NoControl, ParentPoint, QuiesceOutcome, RestoreRequest, Restored, SnapshotReader, Tracking,
    file_location,
};
use driver_filesystem::FilesystemDriver;
use driver_postgres::{PostgresDriver, PostgresSettings};
use driver_volume::VolumeDriver;
use jiff::Timestamp;
use job_model::{OverwritePolicy, RecoveryPointId, VaultAccess};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vault_engine::{
    CheckOptions, CopyRequest, DESCRIPTION_SCHEMA, KeyProfile, Profiles, RecoveryPointDescription, SnapshotInput,
    Surroundings, Vault, copy_snapshot, read_description, recovery_point_tag, snapshot_root,
};
use vault_format::Id;

use crate::error::BenchError;
use crate::keeper::Keeper;
use crate::postgres::step as postgres;
use crate::results::Moved;
use crate::{index_load, primitives, tree_floor, volume_floor};

/// Secrets of the measured repositories, for all tools.
pub(crate) const PASSWORD: &str = "a secret of the benchmarks";
pub(crate) const OTHER_PASSWORD: &str = "another secret of the benchmarks";

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Volume,
    Tree,
    /// A server; its source is a location and no path.
    Postgres,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Step {
    /// Makes a vault.
    Init { vault: PathBuf },
    /// Captures; compares with the last capture into this vault.
    Backup {
        /// Keeps a clone for the next capture to compare with, as workers do.
        #[arg(long)]
        tracked: bool,
        /// Most bytes that are read of a server's files in a second.
        #[arg(long)]
        read_bytes_per_second_max: Option<u64>,
        vault: PathBuf,
        kind: Kind,
        source: PathBuf,
    },
    /// Restores the last capture.
    Restore {
        /// Restore metadata, as `Key=value`.
        #[arg(long = "option")]
        options: Vec<String>,
        vault: PathBuf,
        kind: Kind,
        target: PathBuf,
    },
    /// Follows a server until it is killed.
    Follow { vault: PathBuf, sockets: PathBuf, spool: PathBuf },
    /// Restores the last capture and rolls it forward to an instant, with the log that was followed.
    Recover {
        /// Restore metadata, as `Key=value`.
        #[arg(long = "option")]
        options: Vec<String>,
        vault: PathBuf,
        target: PathBuf,
        instant: Timestamp,
    },
    /// Reads and verifies everything.
    Check { vault: PathBuf },
    /// Copies the last capture.
    Copy { vault: PathBuf, to: PathBuf },
    /// Speeds of the primitives.
    Primitives { image: PathBuf, scratch: PathBuf },
    /// What no restore of the volume can do without.
    VolumeFloor { image: PathBuf, scratch: PathBuf },
    /// What no restore of the tree can do without.
    TreeFloor { tree: PathBuf, scratch: PathBuf },
    /// Writes index files that name so many chunks.
    FillIndex { vault: PathBuf, chunks: u64 },
    /// Loads the index and tells what memory it takes.
    LoadIndex { vault: PathBuf },
}

/// The last capture, kept in a file beside the vault.
#[derive(Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) snapshot: String,
    tree: String,
    /// What it left beside the resource.
    #[serde(default)]
    remains: Option<serde_json::Value>,
}

pub(crate) fn run(step: Step) -> Result<(), BenchError> {
    match step {
        Step::Init { vault } => Vault::create(&access(&vault)?, &profiles(), &surroundings()).map(drop)?,
        Step::Backup { tracked, read_bytes_per_second_max, vault, kind, source } => {
            backup(&vault, kind, &source, tracked, driver(kind, read_bytes_per_second_max).as_ref())?;
        }
        Step::Restore { options, vault, kind, target } => {
            restore(&vault, driver(kind, None).as_ref(), &target, &options)?;
        }
        Step::Follow { vault, sockets, spool } => postgres::follow(&open(&vault)?, sockets, spool)?,
        Step::Recover { options, vault, target, instant } => postgres::recover(&vault, &target, instant, &options)?,
        Step::Check { vault } => {
            let report = open(&vault)?.check(&CheckOptions { read_data: true, control: &NoControl })?;
            if !report.is_sound() {
                return Err(BenchError::Wrong(format!("{report:?}")));
            }
        }
        Step::Copy { vault, to } => copy(&vault, &to)?,
        Step::Primitives { image, scratch } => primitives::run(&image, &scratch)?,
        Step::VolumeFloor { image, scratch } => volume_floor::run(&image, &scratch)?,
        Step::TreeFloor { tree, scratch } => tree_floor::run(&tree, &scratch)?,
        Step::FillIndex { vault, chunks } => index_load::fill(&vault, chunks)?,
        Step::LoadIndex { vault } => index_load::load(&open(&vault)?)?,
    }
    Ok(())
}

fn driver(kind: Kind, read_bytes_per_second_max: Option<u64>) -> Box<dyn Driver> {
    match kind {
        Kind::Volume => Box::new(VolumeDriver::new()),
        Kind::Tree => Box::new(FilesystemDriver::new()),
        Kind::Postgres => {
            Box::new(PostgresDriver::new(PostgresSettings { read_bytes_per_second_max, ..postgres::settings() }))
        }
    }
}

pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn backup(path: &Path, kind: Kind, source: &Path, tracked: bool, driver: &dyn Driver) -> Result<(), BenchError> {
    let vault = open(path)?;
    let last = last(path)?;
    let base = last.as_ref().and_then(|last| last.remains.clone());
    let point = RecoveryPointId::new(Uuid::from_u128(rand::random()));
    let keeper = Keeper::new(base, point.to_string(), path.with_extension("intent.json"));
    let parent = match &last {
        Some(last) => {
            let reader = vault.reader(id(&last.snapshot)?)?;
            let description = serde_json::to_value(read_description(&reader)?)?;
            Some((reader, description))
        }
        None => None,
    };
    let writer = vault.writer(&NoControl)?;
    let (location, resource) = match kind {
        Kind::Postgres => (source.display().to_string(), "arn:aws:rds:ap-northeast-1:000000000000:db:benchmark"),
        Kind::Volume | Kind::Tree => {
            (location(source)?, "arn:aws:holdfast:ap-northeast-1:000000000000:files/benchmark")
        }
    };
    let started_at = now();
    let mut capture = driver.capture(CaptureRequest {
        location: &location,
        writer: &writer,
        parent: parent
            .as_ref()
            .map(|(reader, description)| ParentPoint { reader: reader as &dyn SnapshotReader, description }),
        quiesced: QuiesceOutcome::NotQuiesced,
        tracking: tracked.then_some(&keeper as &dyn Tracking),
        parallelism: threads(),
        control: &NoControl,
        now: &now,
    })?;
    if let Some(exception) = capture.exceptions.first() {
        return Err(BenchError::Wrong(format!("not captured as it should be: {exception:?}")));
    }
    keeper.must_have_tracked(&capture.reading)?;
    let ended_at = now();
    let remains = capture.remains.take();
    if let Some(remains) = &remains {
        keeper.write_down(remains)?;
    }
    let sidecars = std::mem::take(&mut capture.sidecars);
    let arn = |text: String| text.parse().map_err(|error| BenchError::Wrong(format!("`{text}`: {error}")));
    let description = RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: arn(format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{point}"))?,
        resource: arn(resource.to_owned())?,
        resource_type: driver.resource_type(),
        consistency: capture.consistency,
        capture_started_at: started_at,
        capture_ended_at: ended_at,
        change_detection: capture.change_detection,
        reading: None,
        size_bytes: capture.size_bytes,
        items: capture.items,
        exceptions: capture.exceptions,
        driver: capture.facts,
    };
    let root = snapshot_root(&writer, capture.data, &description, sidecars, ended_at)?;
    let committed = writer.commit(SnapshotInput {
        root,
        time: started_at,
        hostname: String::new(),
        paths: vec![location],
        tags: vec![recovery_point_tag(point)],
        parent: None,
    })?;
    let last = Last { snapshot: committed.snapshot_id.to_hex(), tree: committed.tree_id.to_hex(), remains };
    let beside = last_path(path);
    fs::write(&beside, serde_json::to_vec(&last)?).map_err(BenchError::io("write", &beside))?;
    keeper.base().map_or(Ok(()), |base| Ok(driver.discard(base)?))
}

fn restore(path: &Path, driver: &dyn Driver, target: &Path, options: &[String]) -> Result<(), BenchError> {
    let vault = open(path)?;
    let began = Instant::now();
    let reader = vault.reader(id(&needed(path)?.snapshot)?)?;
    let description = serde_json::to_value(read_description(&reader)?)?;
    let restored = driver.restore(RestoreRequest {
        options: &metadata(options)?,
        reader: &reader,
        description: &description,
        target,
        overwrite: OverwritePolicy::Refuse,
        include: &[],
        parallelism: threads(),
        control: &NoControl,
        elapsed_ms: &|| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })?;
    as_it_should_be(&restored)
}

/// Restore metadata from `Key=value`.
pub(crate) fn metadata(options: &[String]) -> Result<BTreeMap<String, String>, BenchError> {
    let pair = |option: &String| match option.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(BenchError::Wrong(format!("`{option}` is no `Key=value`"))),
    };
    options.iter().map(pair).collect()
}

/// Prints the phases of a restore without findings.
pub(crate) fn as_it_should_be(restored: &Restored) -> Result<(), BenchError> {
    match restored.findings.first() {
        Some(finding) => Err(BenchError::Wrong(format!("not restored as it should be: {finding:?}"))),
        None => crate::print(&format!("{:?}", restored.phases)),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
    let (source, destination) = (open(from)?, open(to)?);
    let last = needed(from)?;
    let before = transferred()?;
    let point = RecoveryPointId::new(Uuid::from_u128(rand::random()));
    let copied = copy_snapshot(&CopyRequest {
        source: &source,
        snapshot_id: id(&last.snapshot)?,
        expected_tree: id(&last.tree)?,
        destination: &destination,
        tags: vec![recovery_point_tag(point)],
        parallelism: threads(),
        control: &NoControl,
    })?;
    let after = transferred()?;
    let moved = Moved { read: after.0 - before.0, written: after.1 - before.1, missing: copied.stats.bytes_stored };
    crate::print(&serde_json::to_string(&moved)?)
}

/// Bytes that this process has read and written with system calls.
fn transferred() -> Result<(u64, u64), BenchError> {
    let path = "/proc/self/io";
    let text = fs::read_to_string(path).map_err(BenchError::io("read", path))?;
    let count = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().parse().ok());
        value.ok_or_else(|| BenchError::Wrong(format!("`{path}` has no `{name}`")))
    };
    Ok((count("rchar:")?, count("wchar:")?))
}

fn last_path(vault: &Path) -> PathBuf {
    vault.with_extension("last.json")
}

fn last(vault: &Path) -> Result<Option<Last>, BenchError> {
    match fs::read(last_path(vault)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BenchError::io("read", last_path(vault))(error)),
    }
}

pub(crate) fn needed(vault: &Path) -> Result<Last, BenchError> {
    last(vault)?.ok_or_else(|| BenchError::Wrong(format!("nothing was captured into `{}`", vault.display())))
}

pub(crate) fn id(text: &str) -> Result<Id, BenchError> {
    text.parse().map_err(|error| BenchError::Wrong(format!("{error}")))
}

fn location(path: &Path) -> Result<String, BenchError> {
    file_location(path).ok_or_else(|| BenchError::Wrong(format!("`{}` is no absolute path", path.display())))
}

/// A vault whose name ends in `other` has the other key.
fn access(vault: &Path) -> Result<VaultAccess, BenchError> {
    let other = vault.to_string_lossy().ends_with("other");
    let arn = "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:benchmark";
    Ok(VaultAccess {
        arn: arn.parse().map_err(|error| BenchError::Wrong(format!("`{arn}`: {error}")))?,
        location: location(vault)?,
        key_profile: if other { "other" } else { "main" }.to_owned(),
        repository_id: None,
    })
}

fn profiles() -> Profiles {
    let mut profiles = Profiles::default();
    for (name, password) in [("main", PASSWORD), ("other", OTHER_PASSWORD)] {
        let password_command = Some(vec!["printf".to_owned(), "%s".to_owned(), password.to_owned()]);
        profiles.keys.insert(name.to_owned(), KeyProfile { password_command, ..KeyProfile::default() });
    }
    profiles
}

fn surroundings() -> Surroundings {
    Surroundings::new(now)
}

pub(crate) fn open(vault: &Path) -> Result<Vault, BenchError> {
    Ok(Vault::open(&access(vault)?, &profiles(), &surroundings())?)
}

#[expect(clippy::disallowed_methods, reason = "a measurement has no other clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
