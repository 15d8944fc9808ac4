//! Walks the tree with several threads and stores what it finds.

mod changed;
mod file;
mod found;
mod instant;
mod node;
mod parent;
mod remains;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use driver_api::{Capture, CaptureRequest, Chunking, DriverError, QuiesceOutcome, Reading, file_path, queue};
use job_model::{ChangeMethod, Consistency, SourceView};
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind};

use crate::inode::Stat;
use crate::owners::Owners;
use crate::sidecar::{self, Attributes, SIDECAR_NAME};
use crate::{io_error, open_root};
use changed::{Comparison, Deferred};
use found::Found;
use instant::Instant;
use parent::Parent;
pub(crate) use remains::discard;
use walk::Job;

/// How many mount points are listed in the facts.
const MOUNT_POINTS_LISTED: usize = 100;

/// Captures the resource.
pub(crate) fn run(request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let started_at = (request.now)();
    let live = open_root(request.location)?;
    let failed = |e| io_error("read the attributes of", request.location, e);
    let device = Stat::of(&live).map_err(failed)?.device;
    let taken = instant::take(request, &file_path(request.location)?, live)?;
    let root = taken.root;
    let stat = Stat::of(&root).map_err(failed)?;
    let walk = Walk {
        request,
        device: stat.device,
        shown_device: device,
        mount: stat.mount,
        owners: Owners::load(),
        parent: request.parent.as_ref().and_then(|p| Parent::open(p, device)),
        instant: taken.instant,
        comparison: Comparison::new(request, taken.fallback),
        deferred: Mutex::default(),
        found: Mutex::new(Found::default()),
        linked: Mutex::default(),
        zeros: Mutex::default(),
    };
    let parent_tree = walk.parent.as_ref().and_then(Parent::root);
    let first = Job::Directory {
        holder: None,
        opened: Some(root),
        entry: Entry { name: b"data".to_vec(), path: Vec::new(), stat },
        parent_tree,
    };
    queue::run(request.parallelism, request.control, vec![first], |job, jobs| walk.work(job, jobs))?;
    if let Instant::Clones(clones) = &walk.instant {
        // All that is small was read and all that is large was cloned: whoever was brought to rest may go on.
        clones.view_taken()?;
        let deferred = std::mem::take(&mut *walk.deferred.lock());
        queue::run(request.parallelism, request.control, deferred, |job, _jobs| walk.deferred(job))?;
    }
    walk.finish(started_at, request)
}

impl Walk<'_> {
    fn finish(self, started_at: jiff::Timestamp, request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
        let mut found = self.found.into_inner();
        let Some(data) = found.root else {
            // The root was opened, so only its listing can have failed, and that leaves an empty directory.
            return Err(DriverError::NotFound { location: request.location.to_owned() });
        };
        found.exceptions.sort_by(|a, b| a.path.cmp(&b.path));
        found.mount_points.sort();
        let mut sidecars = Vec::new();
        let records = found.attributes.len();
        if let Some(bytes) = sidecar::encode(found.attributes) {
            let content = request.writer.write_content(Chunking::ContentDefined, &mut &bytes[..])?;
            sidecars.push(Node {
                name: SIDECAR_NAME.as_bytes().to_vec(),
                kind: NodeKind::File { content: content.blobs, size: content.size },
                mode: 0o600,
                links: 1,
                inode: 0,
                xattrs: Vec::new(),
                ..data.clone()
            });
        }
        let (remains, view, missed) = match &self.instant {
            Instant::Live => (None, SourceView::Live, None),
            Instant::Snapshot(remains) => (Some(remains.to_json()), SourceView::SubvolumeSnapshot, None),
            Instant::Clones(clones) => match clones.seal() {
                (Some(remains), why) => (Some(remains.to_json()), SourceView::LargeFileClones, why),
                (None, why) => (None, SourceView::Live, why),
            },
        };
        let seen = self.comparison.finish();
        let method = match (&self.parent, seen.files) {
            (None, _) => ChangeMethod::FullRead,
            (Some(_), 0) => ChangeMethod::FileMetadata,
            (Some(_), _) => ChangeMethod::ExtentComparison,
        };
        let mount_points = found.mount_points.len();
        found.mount_points.truncate(MOUNT_POINTS_LISTED);
        Ok(Capture {
            facts: serde_json::json!({
                "format": 1,
                "started_at": started_at,
                "device": self.shown_device,
                "sidecar": sidecars.first().map(|_| SIDECAR_NAME),
                "sidecar_records": records,
                "mount_points": mount_points,
                "mount_points_listed": found.mount_points,
            }),
            data,
            sidecars,
            consistency: match request.quiesced {
                QuiesceOutcome::NotQuiesced => Consistency::Crash,
                QuiesceOutcome::Application => Consistency::Application,
                QuiesceOutcome::Filesystem => Consistency::Filesystem,
            },
            size_bytes: found.bytes,
            items: found.items,
            change_detection: match method {
                ChangeMethod::FileMetadata => "file metadata (device, inode, ctime, mtime, size)".to_owned(),
                ChangeMethod::ExtentComparison => format!(
                    "file metadata (device, inode, ctime, mtime, size); of {} large files that changed, extents",
                    seen.files
                ),
                _ => "full read by hashing".to_owned(),
            },
            reading: Reading {
                method,
                view,
                held_bytes: (seen.files > 0).then_some(seen.held_bytes),
                fallback: missed.or(seen.fallback),
            },
            remains,
            exceptions: found.exceptions,
        })
    }
}

/// One walk over the resource.
struct Walk<'a> {
    request: &'a CaptureRequest<'a>,
    /// Of what is walked.
    device: u64,
    /// Of the tree itself: a snapshot of it has a number of its own, another one each time.
    shown_device: u64,
    mount: u64,
    owners: Owners,
    parent: Option<Parent<'a>>,
    instant: Instant<'a>,
    comparison: Comparison,
    /// Clones to read when nothing is read from the tree any more.
    deferred: Mutex<Vec<Deferred>>,
    found: Mutex<Found>,
    /// Files with several names, by inode: read once.
    linked: Mutex<HashMap<u64, Arc<Mutex<Option<Stored>>>>>,
    /// Ids of chunks of zeros by length.
    zeros: Mutex<HashMap<u64, Id>>,
}

/// A stored file: its node (named after the first of its names) and what the node cannot hold.
#[derive(Clone)]
struct Stored {
    node: Node,
    attributes: Attributes,
}

/// A directory's entry as it was listed.
struct Entry {
    name: Vec<u8>,
    path: Vec<u8>,
    stat: Stat,
}
