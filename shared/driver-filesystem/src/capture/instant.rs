//! What a capture reads from: the tree as it is, a snapshot of it, or clones of its large files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use driver_api::{CaptureRequest, DriverError, QuiesceOutcome, Tracking};
use file_clones::{CloneError, Identity};
use parking_lot::Mutex;

use super::remains::{Kept, Manifest, Remains};
use crate::chain;

/// Files from this size on are cloned and compared by their extents. Below, a clone with its two syncs costs about as much
/// as reading the file does.
pub(crate) const LARGE_BYTES: u64 = 64 << 20;
/// No more files are cloned by one capture; the others are read as they are.
const CLONES_MAX: usize = 1000;

/// See the module.
pub(super) enum Instant<'a> {
    Live,
    /// A snapshot of the whole tree; what stays of it.
    Snapshot(Remains),
    Clones(CloneSet<'a>),
}

/// Where to walk, and why that is not what it should be.
pub(super) struct Taken<'a> {
    pub(super) root: OwnedFd,
    pub(super) instant: Instant<'a>,
    pub(super) fallback: Option<String>,
}

/// Takes a snapshot where there is one. Whatever goes wrong makes the capture slower, not impossible.
pub(super) fn take<'a>(request: &CaptureRequest<'a>, path: &Path, root: OwnedFd) -> Result<Taken<'a>, DriverError> {
    let live = |root, fallback| Ok(Taken { root, instant: Instant::Live, fallback });
    let Some(tracking) = request.tracking else { return live(root, None) };
    if !file_clones::may_share_extents(&root).unwrap_or(false) {
        return live(root, None);
    }
    if request.quiesced == QuiesceOutcome::Filesystem {
        let why = "the hooks hold the tree's file system frozen, and nothing can be cloned on it; use hooks that bring the \
                   application to rest, or none";
        return live(root, Some(why.to_owned()));
    }
    let free = free_percent(&root);
    if free < tracking.settings().min_free_percent {
        return live(root, Some(too_full(free, tracking)));
    }
    if file_clones::is_subvolume(&root).unwrap_or(false) {
        return match snapshot(tracking, path, &root) {
            Ok((at, remains)) => {
                tracking.view_taken()?;
                Ok(Taken { root: at, instant: Instant::Snapshot(remains), fallback: None })
            }
            Err(Failure::Driver(error)) => Err(error),
            Err(Failure::Because(why)) => live(root, Some(why)),
        };
    }
    let clones = CloneSet { tracking, path: path.to_owned(), state: Mutex::default() };
    Ok(Taken { root, instant: Instant::Clones(clones), fallback: None })
}

enum Failure {
    /// It should have been possible.
    Because(String),
    /// The capture cannot go on.
    Driver(DriverError),
}

fn snapshot(tracking: &dyn Tracking, path: &Path, root: &OwnedFd) -> Result<(OwnedFd, Remains), Failure> {
    let because = |error: &CloneError| Failure::Because(format!("no snapshot could be made: {}", chain(error)));
    let places = file_clones::places(path, &tracking.settings().directories).map_err(|error| because(&error))?;
    let mut last = None;
    for place in places {
        let at = place.join(tracking.name());
        let remains = Remains::Snapshot { path: at.clone(), of: path.to_owned() };
        tracking.intend(&remains.to_json()).map_err(Failure::Driver)?;
        match file_clones::snapshot(root, &at) {
            Ok(snapshot) => return Ok((snapshot, remains)),
            // The place is on another file system, or nobody may write there: the next may do.
            Err(error) => last = Some(error),
        }
    }
    Err(last.as_ref().map_or_else(|| Failure::Because("there is no place for a snapshot".to_owned()), because))
}

fn free_percent(root: &OwnedFd) -> u64 {
    root.try_clone().ok().and_then(|root| file_clones::free_percent(&File::from(root)).ok()).unwrap_or(100)
}

fn too_full(free: u64, tracking: &dyn Tracking) -> String {
    let least = tracking.settings().min_free_percent;
    format!("only {free} % of the tree's file system is free, and clones are kept from {least} % on")
}

/// Clones of large files, made one by one in a directory that is made with the first.
pub(super) struct CloneSet<'a> {
    tracking: &'a dyn Tracking,
    path: PathBuf,
    state: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    directory: Option<PathBuf>,
    files: BTreeMap<u64, Kept>,
    /// No more are made.
    ended: bool,
    why: Option<String>,
}

/// What became of a clone.
pub(super) enum Cloned {
    /// It is at this path and its content has this identity.
    Yes(PathBuf, Identity),
    /// The file is to be read as it is.
    No,
}

impl CloneSet<'_> {
    /// Clones an open file with one name. `source` is what it was before.
    pub(super) fn clone_file(&self, file: &File, source: Identity) -> Result<Cloned, DriverError> {
        let directory = {
            let mut made = self.state.lock();
            if made.ended || made.files.len() >= CLONES_MAX {
                return Ok(Cloned::No);
            }
            match self.directory(&mut made, file)? {
                Some(directory) => directory,
                None => return Ok(Cloned::No),
            }
        };
        let at = directory.join(source.inode.to_string());
        let cloned = file_clones::clone_file(file, &at);
        let mut made = self.state.lock();
        match cloned.map(|clone| Identity::of(&clone)) {
            Ok(Ok(clone)) => {
                let source = Identity { size: clone.size, ..source };
                made.files.insert(source.inode, Kept { source, clone });
                Ok(Cloned::Yes(at, source))
            }
            Ok(Err(error)) => {
                made.why.get_or_insert_with(|| format!("a clone cannot be looked at: {error}"));
                Ok(Cloned::No)
            }
            // XFS may be without; nothing is wrong then.
            Err(CloneError::Unsupported { .. }) => {
                made.ended = true;
                Ok(Cloned::No)
            }
            Err(error) => {
                // What one file has against it, others may not have; a full disk, all.
                made.ended = error_is_final(&error);
                made.why.get_or_insert_with(|| format!("no clone could be made: {}", chain(&error)));
                Ok(Cloned::No)
            }
        }
    }

    fn directory(&self, made: &mut Made, file: &File) -> Result<Option<PathBuf>, DriverError> {
        if let Some(directory) = &made.directory {
            return Ok(Some(directory.clone()));
        }
        let place = match self.place(file) {
            Ok(place) => place,
            Err(why) => {
                made.ended = true;
                made.why = Some(why);
                return Ok(None);
            }
        };
        let directory = place.join(self.tracking.name());
        self.tracking.intend(&self.remains(&directory, None).to_json())?;
        if let Err(error) = file_clones::make_directory(&directory) {
            made.ended = true;
            made.why = Some(format!("no clone could be made: {}", chain(&error)));
            return Ok(None);
        }
        made.directory = Some(directory.clone());
        Ok(Some(directory))
    }

    /// The first directory on the file system of the tree.
    fn place(&self, file: &File) -> Result<PathBuf, String> {
        let device = file.metadata().map_err(|error| error.to_string())?.dev();
        let places = file_clones::places(&self.path, &self.tracking.settings().directories);
        let on_it = |place: &PathBuf| {
            let found = std::fs::metadata(place).or_else(|_| std::fs::metadata(place.parent().unwrap_or(place)));
            found.is_ok_and(|metadata| metadata.dev() == device)
        };
        let found = places.map_err(|error| chain(&error))?.into_iter().find(on_it);
        found.ok_or_else(|| "there is no place for clones on the tree's file system".to_owned())
    }

    fn remains(&self, directory: &Path, manifest: Option<String>) -> Remains {
        Remains::Clones { path: directory.to_owned(), of: self.path.clone(), manifest }
    }

    /// Ends the cloning: nothing is read from the tree any more.
    pub(super) fn view_taken(&self) -> Result<(), DriverError> {
        self.tracking.view_taken()
    }

    /// Lists what was made; what stays of it, and why it is not what it should be.
    pub(super) fn seal(&self) -> (Option<Remains>, Option<String>) {
        let mut made = self.state.lock();
        let why = made.why.take();
        let Some(directory) = made.directory.clone().filter(|_| !made.files.is_empty()) else { return (None, why) };
        let manifest = Manifest { files: std::mem::take(&mut made.files) };
        match manifest.write(&directory) {
            Ok(digest) => (Some(self.remains(&directory, Some(digest))), why),
            Err(error) => {
                let lost = format!("the list of clones cannot be written to `{}`: {error}", directory.display());
                (None, why.or(Some(lost)))
            }
        }
    }
}

fn error_is_final(error: &CloneError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};

    match error {
        CloneError::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem),
        _ => true,
    }
}
