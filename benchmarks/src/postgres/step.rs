//! What ours does with a server besides capture and restore, each in a process of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use driver_api::{NoControl, RestoreRequest};
use driver_postgres::facts::PhysicalFacts;
use driver_postgres::follow::{FollowSettings, Follower};
use driver_postgres::server::{CredentialProfile, Host, ServerAddress, SslMode};
use driver_postgres::wal::SegmentSize;
use driver_postgres::window::{Base, Target, plan};
use driver_postgres::{Forward, PostgresDriver, PostgresSettings, ledger};
use jiff::Timestamp;
use job_model::{OverwritePolicy, RecoveryPointId, ResourceType};
use vault_engine::{StreamSubject, Vault, read_description};

use super::source::credentials;
use crate::error::BenchError;
use crate::step::{as_it_should_be, id, metadata, needed, now, open, threads};

/// The continuous recovery point.
const POINT: &str = "0192f0c1-2345-7000-8000-000000000001";

/// A worker's settings. Rows are not counted: no other tool does.
pub(crate) fn settings() -> PostgresSettings {
    let mut settings = PostgresSettings { count_rows: false, ..PostgresSettings::default() };
    let profile = CredentialProfile { user: credentials().user, ssl_mode: SslMode::Disable, ..Default::default() };
    settings.profiles.insert("main".to_owned(), profile);
    settings
}

fn point() -> Result<RecoveryPointId, BenchError> {
    POINT.parse().map_err(|error| BenchError::Wrong(format!("`{POINT}`: {error}")))
}

/// Follows until it is killed.
pub(crate) fn follow(vault: &Vault, sockets: PathBuf, spool: PathBuf) -> Result<(), BenchError> {
    let point = point()?;
    let arn = |text: String| text.parse().map_err(|error| BenchError::Wrong(format!("`{text}`: {error}")));
    let subject = StreamSubject {
        recovery_point_id: point,
        recovery_point: arn(format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{point}"))?,
        resource: arn("arn:aws:rds:ap-northeast-1:000000000000:db:benchmark".to_owned())?,
        resource_type: ResourceType::Rds,
        location: "postgresql://benchmark".to_owned(),
    };
    let server = ServerAddress { host: Host::Socket(sockets), port: 5432 };
    let settings =
        FollowSettings::new(server, credentials(), "postgres".to_owned(), "holdfast_benchmark".to_owned(), spool);
    // Each follower succeeds the one before.
    let epoch = u64::try_from(now().as_second()).unwrap_or_default();
    let store = vault.follow(subject, epoch, &NoControl)?;
    let follower = Follower {
        settings: &settings,
        store: &store,
        control: &NoControl,
        now: &now,
        keep_from: &|| None,
        watch: &|_| {},
    };
    Ok(follower.run()?)
}

/// Restores the last capture and rolls it forward.
pub(crate) fn recover(path: &Path, target: &Path, instant: Timestamp, options: &[String]) -> Result<(), BenchError> {
    let vault = open(path)?;
    let began = Instant::now();
    let last = needed(path)?;
    let reader = vault.reader(id(&last.snapshot)?)?;
    let description = serde_json::to_value(read_description(&reader)?)?;
    let facts = PhysicalFacts::read(&description)?;
    let base = Base::of(&last.snapshot, &facts)
        .ok_or_else(|| BenchError::Wrong("the last capture cannot be rolled forward".to_owned()))?;
    let stream = vault.stream(point()?);
    let (stored, log) = ledger::survey(&stream, SegmentSize::DEFAULT)?;
    let plan = plan(&[base], &log, &Target::Time(instant)).map_err(|e| BenchError::Wrong(e.to_string()))?;
    let request = RestoreRequest {
        options: &metadata(options)?,
        reader: &reader,
        description: &description,
        target,
        overwrite: OverwritePolicy::Refuse,
        include: &[],
        parallelism: threads(),
        control: &NoControl,
        elapsed_ms: &|| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let forward = Forward { source: &stream, stored: &stored, log: &log, plan: &plan };
    as_it_should_be(&PostgresDriver::new(settings()).restore_to(request, &forward)?)
}
