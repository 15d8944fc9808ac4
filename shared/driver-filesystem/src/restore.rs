//! Restores: plan, fetch, metadata, sync.

mod clean;
mod decide;
mod destination;
mod fetch;
mod findings;
mod left;
mod met;
mod metadata;
mod patch;
mod place;
mod target;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use driver_api::{DriverError, RestoreRequest, Restored, write_back_while};
use job_model::{OverwritePolicy, PhaseTiming, Progress};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::io_error;
use crate::plan::{Entry, Plan};
use decide::Action;
use destination::Destination;
use driver_api::compare::ZeroChunks;
use findings::Findings;
use met::Met;

pub(crate) use target::{Target, open_beneath};

/// Between two times that what was written is brought to the disk. Making files waits for the journal meanwhile.
const WRITE_BACK_PAUSE: Duration = Duration::from_millis(700);

/// Restores a tree, with windows of so many bytes. With `last`, files that are there are changed where they lie; see
/// [`crate::FilesystemDriver::restore_in_place`].
pub(crate) fn run(
    request: &RestoreRequest<'_>,
    last: Option<&str>,
    window_bytes: usize,
) -> Result<Restored, DriverError> {
    let mut phases = Phases { request, began: (request.elapsed_ms)(), done: Vec::new() };
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let plan = Plan::load(request.reader, request.description, request.include, window_bytes)?;
    let key = key(request);
    let Some(destination) = Destination::open(request, &key, window_bytes)? else {
        phases.end("plan");
        return Ok(Restored { location: request.target.to_owned(), findings: Vec::new(), phases: phases.done });
    };
    let in_place = last.is_some() && !destination.is_new();
    let mut work = Work {
        request,
        in_place,
        last_path: last.filter(|_| in_place).map(str::as_bytes),
        last: None,
        patches: HashMap::new(),
        begun: Mutex::default(),
        target: &destination.target,
        policy: destination.policy,
        staged: destination.is_new(),
        fresh: destination.is_fresh(),
        bare: destination.is_bare(),
        key: &key,
        zeros: ZeroChunks::default(),
        met: Met::new(window_bytes / 3),
        findings: Findings::default(),
        actions: vec![Action::Skip; plan.entries],
        plan: &plan,
    };
    work.announce();
    if !work.fresh {
        plan.windows(|window| {
            work.decide(window)?;
            work.compare(window)
        })?;
        work.write_last();
    }
    work.read_through()?;
    phases.end("plan");
    destination.begin(&key)?;
    let sync = || rustix::fs::syncfs(destination.target.root()).map_err(std::io::Error::from);
    let placed = write_back_while(WRITE_BACK_PAUSE, sync, || work.make());
    placed.map_err(|e| io_error("sync", request.target.display().to_string(), e))??;
    phases.end("fetch");
    if !work.fresh {
        plan.windows(|window| {
            work.clean(window)?;
            work.finish_kept(window)
        })?;
    }
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

/// What every step needs. Of each entry only its action is held; all else is in the window that is worked on.
struct Work<'a> {
    request: &'a RestoreRequest<'a>,
    plan: &'a Plan<'a>,
    target: &'a Target,
    policy: OverwritePolicy,
    /// Whether nobody sees the target before it is whole: then what is missing is made at its own place.
    staged: bool,
    /// Whether moreover nothing is there yet.
    fresh: bool,
    /// Whether files that are there are changed where they lie.
    in_place: bool,
    /// The path of the entry that is put in place when all else is.
    last_path: Option<&'a [u8]>,
    /// That entry, as soon as it was met.
    last: Option<Entry>,
    /// Which chunks differ in files that are changed where they lie, in order.
    patches: HashMap<usize, Box<[u32]>>,
    /// Files of many chunks that were begun by this attempt.
    begun: Mutex<HashSet<usize>>,
    /// Whether what is made new has no extended attributes of its own.
    bare: bool,
    /// Part of the names of everything temporary.
    key: &'a str,
    zeros: ZeroChunks,
    findings: Findings,
    /// The directories, if they are few enough; else they are walked to once more.
    met: Met,
    /// What to do about each entry.
    actions: Vec<Action>,
}

impl Work<'_> {
    /// Says how much there is to do.
    fn announce(&self) {
        self.request.control.advance(Progress {
            bytes_total: Some(self.plan.bytes),
            items_total: Some(self.plan.entries as u64 - 1),
            ..Progress::default()
        });
    }

    /// Fetches what is missing and puts it in place. Where the target can be seen, nothing that exists is touched before
    /// all of it was fetched, whatever the vault turns out to have lost.
    fn make(&mut self) -> Result<(), DriverError> {
        let plan = self.plan;
        plan.windows(|window| {
            if self.fresh {
                self.decide_all_missing(window);
            }
            self.count_what_is_right(window);
            self.met.take_in(window);
            self.make_directories(window)?;
            self.fetch(window)?;
            if self.staged { self.place(window) } else { Ok(()) }
        })?;
        if !self.staged {
            if self.actions.contains(&Action::Write { replaces: true }) {
                // What replaces something must be on disk before it does.
                rustix::fs::syncfs(self.target.root()).map_err(|e| io_error("sync", "", e))?;
            }
            self.move_last_aside()?;
            plan.windows(|window| {
                self.patch(window)?;
                self.place(window)
            })?;
        }
        self.place_links()
    }

    /// The name something temporary has beside an entry: the same whenever this restore is repeated.
    fn beside(&self, entry: &Entry, ending: &str) -> Vec<u8> {
        format!(".holdfast-{}-{:x}{ending}", self.key, entry.number).into_bytes()
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
