//! Captures a resource into a vault.
//!
//! May be repeated at any point: until the snapshot is committed nothing is visible and what was stored is found by
//! deduplication; afterwards the recovery point's tag finds the snapshot, and the same result is given again.

use std::sync::atomic::Ordering;

use attempt_control::{Steering, WorkError};
use driver_api::{
    Capture, CaptureRequest, Driver, DriverError, ParentPoint, QuiesceHooks, SnapshotReader as _, Tracking,
};
use driver_postgres::follow::{self, slot_name};
use driver_postgres::server::{Location, LogFrom};
use jiff::Timestamp;
use job_events::{AttemptHeader, BaseOf, BaseOutcome, CaptureSnapshot, ParentSnapshot, SnapshotCaptured};
use job_model::{Arn, CaptureSummary, Consistency, FailureCode, PhaseTiming, Progress, ResourceType, SourceReading};
use service_host::error_chain;
use state_store::StoreError;
use telemetry::KeyValue;
use vault_engine::{
    Committed, DESCRIPTION_SCHEMA, Reader, RecoveryPointDescription, SnapshotInput, SnapshotSummary, Vault, VaultError,
    read_description, recovery_point_tag, snapshot_root, stream_base_tag,
};
use vault_format::{Id, Tree, encode_tree};

use crate::drivers::driver;
use crate::kept::Tracker;
use crate::work::Tools;

/// Exceptions that a summary carries; the description in the vault has all.
const EXCEPTIONS_MAX: usize = 20;

/// A recovery point that is durable in its vault.
pub(crate) struct Captured {
    snapshot_id: Id,
    summary: CaptureSummary,
    progress: Progress,
    phases: Vec<PhaseTiming>,
    base: Option<BaseOutcome>,
}

impl Captured {
    pub(crate) fn into_fact(self, attempt: AttemptHeader) -> SnapshotCaptured {
        SnapshotCaptured {
            attempt,
            snapshot_id: self.snapshot_id.to_hex(),
            summary: self.summary,
            progress: self.progress,
            phases: self.phases,
            base: self.base,
        }
    }
}

pub(crate) fn run(tools: &Tools, order: &CaptureSnapshot, steering: &Steering) -> Result<Captured, WorkError> {
    let mut watch = tools.stopwatch("backup");
    let vault = Vault::open(&order.vault, &tools.profiles, &tools.surroundings)?;
    // Before anything of the source is looked at: it may be gone by now, and the recovery point is there all the same.
    let own_tag = recovery_point_tag(order.recovery_point_id);
    let base_tag = stream_base_tag(&order.order.job_id.to_string());
    let tags = [Some(&own_tag), order.base_of.as_ref().map(|_| &base_tag)];
    for (place, tag) in tags.into_iter().enumerate().filter_map(|(place, tag)| Some((place, tag?))) {
        if let Some(committed) = vault.find_whole_snapshot_by_tag(tag, steering)? {
            tracing::info!(snapshot = %committed.id, "an earlier attempt had committed the recovery point");
            watch.end("open");
            tools.kept.recognised(order, committed.tree);
            return recognise(&vault, &committed, order, place == 1, watch.phases());
        }
    }
    let (base_of, base) = match &order.base_of {
        Some(base_of) => match reserve(tools, order, base_of)? {
            None => (Some(base_of), Some(BaseOutcome::Base)),
            Some(reason) => (None, Some(BaseOutcome::FellBack { reason })),
        },
        None => (None, None),
    };
    let hooks = hooks(tools, order)?;
    let driver = driver(order.resource_type, &tools.config.drivers())?;
    probe(tools, order, driver.as_ref())?;
    let (parent, unusable) = match parent(&vault, order.parent.as_ref())? {
        Usable::Yes(parent) => (Some(*parent), None),
        Usable::None => (None, None),
        Usable::No(why) => (None, Some(format!("the parent cannot be used: {why}"))),
    };
    let writer = vault.writer(steering)?;
    watch.end("open");

    let settings = tools.config.tracking.settings();
    let mut tracker = Tracker::begin(&tools.kept, order, settings, tools.clock.now()).map_err(state)?;
    let quiesced = match hooks {
        Some((name, hooks)) => Some(hooks.quiesce(name).map_err(WorkError::Source)?),
        None => None,
    };
    watch.end("quiesce");
    let quiesced = tracker.hold(quiesced);
    let started_at = tools.clock.now();
    let capture = driver.capture(CaptureRequest {
        location: &order.location,
        writer: &writer,
        parent: parent.as_ref().map(|p| ParentPoint { reader: &p.reader, description: &p.description }),
        tracking: tools.config.tracking.enabled.then_some(&tracker as &dyn Tracking),
        quiesced,
        parallelism: tools.config.threads(),
        control: steering,
        now: &|| tools.clock.now(),
    });
    let ended_at = tools.clock.now();
    watch.end("capture");
    // The thaw comes before the capture's own result: what is frozen stops somebody's work.
    let held = tracker.thaw().map_err(WorkError::Source)?;
    let mut capture = capture.map_err(WorkError::Source)?;
    if !held {
        tracing::warn!("the hold ended before the capture; the recovery point is only crash-consistent");
        capture.consistency = Consistency::Crash;
    }

    if capture.reading.fallback.is_none() && tools.config.tracking.enabled {
        capture.reading.fallback = unusable;
    }
    warn_of_fallback(tools, order, &capture);
    let remains = capture.remains.take();
    let sidecars = std::mem::take(&mut capture.sidecars);
    let data = capture.data.clone();
    let bytes_read = steering.progress().bytes_read;
    let point = base_of.map_or(&order.recovery_point, |base_of| &base_of.recovery_point);
    let description = describe(order, point, capture, bytes_read, (started_at, ended_at));
    let root = snapshot_root(&writer, data, &description, sidecars, ended_at)?;
    tracker.seal(remains, tree_id(&root)?).map_err(state)?;
    steering.guard()?;
    fail::fail_point!("snapshot-worker::before_commit", |_| std::process::abort());
    let committed = writer.commit(SnapshotInput {
        root,
        time: started_at,
        hostname: String::new(),
        paths: vec![order.location.clone()],
        tags: match base_of {
            Some(base_of) => vec![recovery_point_tag(base_of.recovery_point_id), base_tag],
            None => vec![own_tag],
        },
        parent: parent.map(|p| p.id),
    })?;
    fail::fail_point!("snapshot-worker::after_commit", |_| std::process::abort());
    if base_of.is_some() {
        tools.captures.fetch_add(1, Ordering::AcqRel);
    }
    tracker.committed();
    tools.kept.discard_old(tools.clock.now(), tools.config.tracking.keep_days);
    watch.end("commit");
    count(tools, order, &description, &committed, steering);
    Ok(Captured {
        snapshot_id: committed.snapshot_id,
        summary: summarise(&description, committed.tree_id),
        progress: Progress {
            bytes_new: committed.stats.bytes_new,
            bytes_stored: committed.stats.bytes_stored,
            ..steering.progress()
        },
        phases: watch.phases(),
        base,
    })
}

/// Has the server keep its log from before a full capture on, so that whoever follows it has all that comes after. Gives
/// back why it cannot be followed.
fn reserve(tools: &Tools, order: &CaptureSnapshot, base_of: &BaseOf) -> Result<Option<String>, WorkError> {
    let location = Location::parse(&order.location).map_err(WorkError::Source)?;
    let postgres = &tools.config.postgres;
    let reserved = postgres.credentials(&location.profile).and_then(|credentials| {
        let (server, database) = (&location.server, location.first_database());
        let slot = slot_name(&base_of.recovery_point_id.to_string());
        match location.log {
            LogFrom::Slot => follow::reserve(server, &credentials, database, &slot),
            LogFrom::Archive => {
                let directory = postgres.archive_dir(&location.profile)?;
                follow::reserve_archive(server, &credentials, database, &directory, &slot)
            }
        }
    });
    match reserved {
        Ok(()) => Ok(None),
        Err(error) if error.failure_code() == FailureCode::ServerUnreachable => {
            Err(WorkError::Source(DriverError::from(error)))
        }
        Err(error) => {
            let reason = error_chain(&DriverError::from(error));
            tracing::warn!(resource = %order.order.resource, reason, "the resource cannot be followed");
            Ok(Some(reason))
        }
    }
}

/// The hook set of the order, from this worker's configuration and nowhere else.
fn hooks<'a>(tools: &'a Tools, order: &'a CaptureSnapshot) -> Result<Option<(&'a str, &'a QuiesceHooks)>, WorkError> {
    let Some(name) = &order.hooks else { return Ok(None) };
    match tools.config.hooks.get(name) {
        Some(hooks) => Ok(Some((name, hooks))),
        None => Err(WorkError::refused(
            FailureCode::HookUnknown,
            format!("no hook set `{name}` in this worker's configuration; add `[hooks.{name}]`"),
        )),
    }
}

/// Whether the resource may be read and can be.
fn probe(tools: &Tools, order: &CaptureSnapshot, driver: &dyn Driver) -> Result<(), WorkError> {
    // What is not a file is reached with credentials or sockets, and those are of this worker's configuration.
    let is_served = match order.resource_type {
        ResourceType::Rds => true,
        ResourceType::Volume => order.location.starts_with(driver_qemu::SCHEME),
        _ => false,
    };
    if order.location.starts_with("file:") || !is_served {
        let path = driver_api::file_path(&order.location).map_err(WorkError::Source)?;
        worker_host::within(&tools.config.source_roots, &path, "source_roots")
            .map_err(|e| WorkError::refused(FailureCode::ResourceLocationInvalid, service_host::error_chain(&e)))?;
    }
    let probe = driver.probe(&order.location).map_err(WorkError::Source)?;
    for warning in probe.warnings {
        tracing::warn!(resource = %order.order.resource, warning, "probe");
    }
    Ok(())
}

/// A parent that can be trusted.
struct Parent<'a> {
    id: Id,
    reader: Reader<'a>,
    description: serde_json::Value,
}

/// Whether the ordered parent can be used.
enum Usable<'a> {
    Yes(Box<Parent<'a>>),
    /// None was ordered.
    None,
    /// It cannot, and why.
    No(String),
}

/// The ordered parent, if it is still there and still the same. Without one everything is read: slower, never wrong.
fn parent<'a>(vault: &'a Vault, ordered: Option<&ParentSnapshot>) -> Result<Usable<'a>, WorkError> {
    let Some(ordered) = ordered else { return Ok(Usable::None) };
    let unusable = |why: String| {
        tracing::warn!(snapshot = ordered.snapshot_id, why, "the parent cannot be used; everything is read");
        Ok(Usable::No(why))
    };
    let id: Id = match ordered.snapshot_id.parse() {
        Ok(id) => id,
        Err(error) => return unusable(format!("{error}")),
    };
    let reader = match vault.reader(id) {
        Ok(reader) => reader,
        Err(error @ (VaultError::SnapshotMissing { .. } | VaultError::Damaged { .. })) => {
            return unusable(error.to_string());
        }
        Err(error) => return Err(error.into()),
    };
    if reader.root().to_hex() != ordered.tree_id {
        return unusable(format!("its tree is `{}`, not `{}`", reader.root(), ordered.tree_id));
    }
    let description = read_description(&reader).map_err(|e| e.to_string());
    match description.and_then(|d| serde_json::to_value(d).map_err(|e| e.to_string())) {
        Ok(description) => Ok(Usable::Yes(Box::new(Parent { id, reader, description }))),
        Err(why) => unusable(why),
    }
}

/// The id that the root will have in the vault.
fn tree_id(root: &Tree) -> Result<Id, WorkError> {
    let json = encode_tree(&mut root.clone())
        .map_err(|error| WorkError::refused(FailureCode::Internal, format!("encode the root tree: {error}")))?;
    Ok(Id::of(&json))
}

fn state(error: StoreError) -> WorkError {
    WorkError::refused(FailureCode::Internal, format!("the worker's state: {}", error_chain(&error)))
}

fn warn_of_fallback(tools: &Tools, order: &CaptureSnapshot, capture: &Capture) {
    let Some(why) = &capture.reading.fallback else { return };
    tracing::warn!(resource = %order.order.resource, why, "changes could not be tracked; more was read than had changed");
    let region = KeyValue::new("region", tools.config.region.as_ref().map(ToString::to_string).unwrap_or_default());
    let resource_type = KeyValue::new("resource_type", order.resource_type.as_str());
    telemetry::metrics().tracking_fallbacks.add(1, &[resource_type, region]);
}

fn describe(
    order: &CaptureSnapshot,
    point: &Arn,
    capture: Capture,
    bytes_read: u64,
    window: (Timestamp, Timestamp),
) -> RecoveryPointDescription {
    let driver_api::Reading { method, view, held_bytes, fallback } = capture.reading;
    RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: point.clone(),
        resource: order.order.resource.clone(),
        resource_type: order.resource_type,
        consistency: capture.consistency,
        capture_started_at: window.0,
        capture_ended_at: window.1,
        change_detection: capture.change_detection,
        reading: Some(SourceReading { method, view, bytes_read, held_bytes, fallback }),
        size_bytes: capture.size_bytes,
        items: capture.items,
        exceptions: capture.exceptions,
        driver: capture.facts,
    }
}

fn summarise(description: &RecoveryPointDescription, tree: Id) -> CaptureSummary {
    CaptureSummary {
        tree_id: tree.to_hex(),
        consistency: description.consistency,
        capture_started_at: description.capture_started_at,
        capture_ended_at: description.capture_ended_at,
        size_bytes: description.size_bytes,
        items: description.items,
        change_detection: description.change_detection.clone(),
        reading: description.reading.clone(),
        exception_count: description.exceptions.len() as u64,
        exceptions: description.exceptions.iter().take(EXCEPTIONS_MAX).cloned().collect(),
    }
}

/// The result of an earlier attempt, from what it left in the vault. The tag alone proves nothing: the description must be
/// of this recovery point.
fn recognise(
    vault: &Vault,
    committed: &SnapshotSummary,
    order: &CaptureSnapshot,
    is_base: bool,
    phases: Vec<PhaseTiming>,
) -> Result<Captured, WorkError> {
    let description = read_description(&vault.reader(committed.id)?)?;
    let base_of = order.base_of.as_ref().filter(|_| is_base);
    let point = base_of.map_or(&order.recovery_point, |base_of| &base_of.recovery_point);
    if description.recovery_point != *point || description.resource != order.order.resource {
        return Err(WorkError::refused(
            FailureCode::SnapshotDiffers,
            format!(
                "snapshot `{}` has this recovery point's tag and describes `{}` of `{}`; look who wrote it",
                committed.id, description.recovery_point, description.resource
            ),
        ));
    }
    let progress = Progress {
        bytes_total: Some(description.size_bytes),
        bytes_done: description.size_bytes,
        items_total: Some(description.items),
        items_done: description.items,
        ..Progress::default()
    };
    let base = match (&order.base_of, is_base) {
        (None, _) => None,
        (Some(_), true) => Some(BaseOutcome::Base),
        (Some(_), false) => {
            let reason =
                "an earlier attempt found that the resource cannot be followed; see the worker's log".to_owned();
            Some(BaseOutcome::FellBack { reason })
        }
    };
    Ok(Captured { snapshot_id: committed.id, summary: summarise(&description, committed.tree), progress, phases, base })
}

fn count(
    tools: &Tools,
    order: &CaptureSnapshot,
    description: &RecoveryPointDescription,
    committed: &Committed,
    steering: &Steering,
) {
    tracing::info!(
        resource = %order.order.resource,
        snapshot = %committed.snapshot_id,
        bytes = description.size_bytes,
        bytes_new = committed.stats.bytes_new,
        exceptions = description.exceptions.len(),
        "captured"
    );
    let region = KeyValue::new("region", tools.config.region.as_ref().map(ToString::to_string).unwrap_or_default());
    let kind = KeyValue::new("kind", "backup");
    let attributes = [kind, region.clone()];
    let metrics = telemetry::metrics();
    metrics.bytes_read.add(steering.progress().bytes_read, &attributes);
    metrics.bytes_new.add(committed.stats.bytes_new, &attributes);
    metrics.bytes_stored.add(committed.stats.bytes_stored, &attributes);
    let resource_type = KeyValue::new("resource_type", order.resource_type.as_str());
    metrics.capture_exceptions.add(description.exceptions.len() as u64, &[resource_type, region]);
}
