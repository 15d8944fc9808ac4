//! Restores: plan, fetch, metadata, sync.

mod clean;
mod decide;
mod destination;
mod fetch;
mod findings;
mod metadata;
mod patch;
mod place;
mod target;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use driver_api::{BlobSpan, DriverError, RestoreRequest, Restored, write_back_while};
use job_model::{OverwritePolicy, PhaseTiming, Progress};
use sha2::{Digest, Sha256};

use crate::io_error;
use crate::plan::Plan;
use decide::Action;
use destination::Destination;
use driver_api::compare::ZeroChunks;
use findings::Findings;

pub(crate) use target::{Target, open_beneath};

/// Between two times that what was written is brought to the disk. Making files waits for the journal meanwhile.
const WRITE_BACK_PAUSE: Duration = Duration::from_millis(700);

/// Restores a tree. With `last`, files that are there are changed where they lie; see
/// [`crate::FilesystemDriver::restore_in_place`].
pub(crate) fn run(request: &RestoreRequest<'_>, last: Option<&str>) -> Result<Restored, DriverError> {
    let mut phases = Phases { request, began: (request.elapsed_ms)(), done: Vec::new() };
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let plan = Plan::load(request.reader, request.description, request.include)?;
    let key = key(request);
    let Some(destination) = Destination::open(request, &key)? else {
        phases.end("plan");
        return Ok(Restored { location: request.target.to_owned(), findings: Vec::new(), phases: phases.done });
    };
    let in_place = last.is_some() && !destination.is_new();
    let last = last.filter(|_| in_place).and_then(|path| plan.entries.iter().position(|e| e.path == path.as_bytes()));
    let mut work = Work {
        request,
        in_place,
        last,
        patches: HashMap::new(),
        target: &destination.target,
        policy: destination.policy,
        staged: destination.is_new(),
        bare: destination.is_bare(),
        key: &key,
        zeros: ZeroChunks::default(),
        findings: Findings::default(),
        actions: decide::decide(&plan, &destination.target, destination.policy, in_place)?,
        plan,
    };
    if destination.is_new() {
        work.actions[0] = Action::Update { locked: false };
    }
    work.announce();
    work.compare()?;
    work.read_through()?;
    phases.end("plan");
    destination.begin(&key)?;
    work.make_directories()?;
    let sync = || rustix::fs::syncfs(destination.target.root()).map_err(std::io::Error::from);
    let placed = write_back_while(WRITE_BACK_PAUSE, sync, || {
        work.fetch()?;
        work.place_others()?;
        work.place_links()
    });
    placed.map_err(|e| io_error("sync", request.target.display().to_string(), e))??;
    phases.end("fetch");
    work.clean()?;
    work.finish_kept()?;
    work.place_last()?;
    work.finish_directories()?;
    work.finish_flags()?;
    phases.end("metadata");
    destination.complete(&key)?;
    work.finish_root_flags(&destination)?;
    phases.end("sync");
    Ok(Restored { location: request.target.to_owned(), findings: work.findings.into_list(), phases: phases.done })
}

/// Where a target that does not exist is built.
pub(crate) fn staging(request: &RestoreRequest<'_>) -> PathBuf {
    request.target.with_file_name(OsStr::from_bytes(&destination::mark(&key(request))))
}

/// What every step needs.
struct Work<'a> {
    request: &'a RestoreRequest<'a>,
    plan: Plan,
    target: &'a Target,
    policy: OverwritePolicy,
    /// Whether nobody sees the target before it is whole: then what is missing is made at its own place.
    staged: bool,
    /// Whether files that are there are changed where they lie.
    in_place: bool,
    /// The entry that is put in place when all else is.
    last: Option<usize>,
    /// What differs in files that are changed where they lie.
    patches: HashMap<usize, Vec<BlobSpan>>,
    /// Whether what is made new has no extended attributes of its own.
    bare: bool,
    /// Part of the names of everything temporary.
    key: &'a str,
    zeros: ZeroChunks,
    findings: Findings,
    /// What to do about each entry.
    actions: Vec<Action>,
}

impl Work<'_> {
    /// Says how much there is to do.
    fn announce(&self) {
        let bytes = self.plan.entries.iter().filter(|e| e.leader.is_none()).map(crate::plan::Entry::size).sum::<u64>()
            + self.plan.groups.keys().map(|leader| self.plan.entries[*leader].size()).sum::<u64>();
        let items = self.plan.below_root().len() as u64;
        self.request.control.advance(Progress {
            bytes_total: Some(bytes),
            items_total: Some(items),
            ..Progress::default()
        });
    }

    /// The name something temporary has beside an entry: the same whenever this restore is repeated.
    fn beside(&self, index: usize, ending: &str) -> Vec<u8> {
        format!(".holdfast-{}-{index:x}{ending}", self.key).into_bytes()
    }

    fn stop_if_told(&self) -> Result<(), DriverError> {
        if self.request.control.is_stopped() { Err(DriverError::Stopped) } else { Ok(()) }
    }

    fn item_done(&self) {
        self.request.control.advance(Progress { items_done: 1, ..Progress::default() });
    }
}

/// 16 digits that stand for this recovery point, selection and target.
fn key(request: &RestoreRequest<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(request.reader.root().as_bytes());
    for path in request.include {
        hash.update(path.as_bytes());
        hash.update([0]);
    }
    hash.update(request.target.as_os_str().as_encoded_bytes());
    hex::encode(&hash.finalize()[..8])
}

struct Phases<'a> {
    request: &'a RestoreRequest<'a>,
    began: u64,
    done: Vec<PhaseTiming>,
}

impl Phases<'_> {
    fn end(&mut self, phase: &str) {
        let now = (self.request.elapsed_ms)();
        let duration_ms = now.saturating_sub(self.began);
        self.done.push(PhaseTiming { phase: phase.to_owned(), duration_ms });
        self.began = now;
    }
}
