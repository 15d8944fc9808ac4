//! What one store has changed and not brought to the disk yet.
//!
//! `syncfs` brings everything to the disk that anybody has written to the file system. Where a database server writes to
//! it as well, that is its work too, in one burst, and its commits wait behind it. So whoever only needs his own files
//! durable has these synced, and the directories that name them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    changed: Mutex<Changed>,
    /// Held while anything is brought to the disk: what somebody else has taken over is not there before he is done.
    settling: Mutex<()>,
}

#[derive(Debug, Default)]
struct Changed {
    /// Files whose content is not on the disk.
    files: BTreeSet<PathBuf>,
    /// Directories whose entries are not.
    directories: BTreeSet<PathBuf>,
}

/// What could not be synced, and why.
pub(super) type Failed = (PathBuf, io::Error);

impl Unsettled {
    /// A file came here or went.
    pub(super) fn entry(&self, file: &Path) {
        if let Some(directory) = file.parent() {
            self.changed.lock().directories.insert(directory.to_owned());
        }
    }

    /// The content of a file that came here is not on the disk.
    pub(super) fn content(&self, file: &Path) {
        self.changed.lock().files.insert(file.to_owned());
    }

    /// A directory was made, and perhaps some above it, but for `root`.
    pub(super) fn made(&self, directory: &Path, root: &Path) {
        let above = directory.ancestors().skip(1).take_while(|above| above.starts_with(root));
        self.changed.lock().directories.extend(above.map(Path::to_owned));
    }

    /// Brings all of it to the disk, and the entries of the directory `besides`. What could not be brought there is still unsettled.
    pub(super) fn settle(&self, besides: &Path) -> Result<(), Failed> {
        let _settling = self.settling.lock();
        let mut changed = mem::take(&mut *self.changed.lock());
        changed.directories.insert(besides.to_owned());
        let settled = changed.settle();
        if settled.is_err() {
            self.take_back(changed);
        }
        settled
    }

    /// Nothing is left to settle when `bring` has brought everything to the disk.
    pub(super) fn settle_by<E>(&self, bring: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let _settling = self.settling.lock();
        let changed = mem::take(&mut *self.changed.lock());
        let brought = bring();
        if brought.is_err() {
            self.take_back(changed);
        }
        brought
    }

    fn take_back(&self, changed: Changed) {
        let mut since = self.changed.lock();
        since.files.extend(changed.files);
        since.directories.extend(changed.directories);
    }
}

impl Changed {
    /// Contents first: whoever finds a name finds what it stands for.
    fn settle(&self) -> Result<(), Failed> {
        for file in &self.files {
            sync(file, File::sync_data)?;
        }
        for directory in &self.directories {
            sync(directory, File::sync_all)?;
        }
        Ok(())
    }
}

/// What was removed since needs no sync.
fn sync(path: &Path, how: impl Fn(&File) -> io::Result<()>) -> Result<(), Failed> {
    match File::open(path).and_then(|file| how(&file)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err((path.to_owned(), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_brought_to_the_disk_stays_unsettled() {
        let unsettled = Unsettled::default();
        unsettled.entry(Path::new("/vault/data/ab/pack"));
        let failed: Result<(), &str> = unsettled.settle_by(|| Err("the disk is away"));
        assert!(failed.is_err());
        assert_eq!(unsettled.changed.lock().directories.len(), 1);
        unsettled.settle_by(|| Ok::<(), &str>(())).unwrap();
        assert!(unsettled.changed.lock().directories.is_empty());
    }

    #[test]
    fn names_of_new_directories_are_settled_up_to_the_root() {
        let unsettled = Unsettled::default();
        unsettled.made(Path::new("/vault/holdfast/streams/one"), Path::new("/vault"));
        let directories: Vec<_> = unsettled.changed.lock().directories.iter().cloned().collect();
        assert_eq!(directories, ["/vault", "/vault/holdfast", "/vault/holdfast/streams"].map(PathBuf::from));
    }

    #[test]
    fn a_file_that_went_before_it_was_settled_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let unsettled = Unsettled::default();
        let file = directory.path().join("pack");
        unsettled.content(&file);
        unsettled.entry(&file);
        unsettled.settle(&directory.path().join("index")).unwrap();
    }

    #[test]
    fn who_settles_waits_for_whoever_is_settling_what_was_there_before() {
        let unsettled = Unsettled::default();
        let order = Mutex::new(Vec::new());
        let (began, begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                unsettled.settle_by(|| {
                    began.send(()).unwrap();
                    // Time for the other to come by, if it could.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    order.lock().push("first");
                    Ok::<(), ()>(())
                })
            });
            begun.recv().unwrap();
            unsettled.settle(Path::new("/none")).unwrap();
            order.lock().push("second");
        });
        assert_eq!(*order.lock(), ["first", "second"]);
    }
}
