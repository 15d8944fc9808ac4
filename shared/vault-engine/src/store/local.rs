//! A repository in a directory. Files appear by rename; the barrier is `syncfs`, one call for any number of files.

mod unsettled;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use driver_api::{Uncached, reserve};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use self::unsettled::Unsettled;
use super::{Listed, Store, StoreError};

/// Files being written; what a crash leaves here is nothing to anybody, and goes when it is old.
const UNFINISHED: &str = "tmp";
/// Directories of a new repository.
const DIRECTORIES: [&str; 6] = ["data", "index", "keys", "locks", "snapshots", UNFINISHED];

/// Files of so many bytes are brought to the disk as they are written, past the page cache.
const WRITTEN_BACK_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct LocalStore {
    root: PathBuf,
    next: AtomicU64,
    unsettled: Unsettled,
    /// Directories whose own names are known to be on the disk.
    settled: Mutex<HashSet<PathBuf>>,
}

/// A directory of which others' files are relied on: whoever has read an index may have it from somebody who died before he
/// settled.
const INDEX: &str = "index";

impl LocalStore {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, next: AtomicU64::new(0), unsettled: Unsettled::default(), settled: Mutex::default() }
    }

    /// Writes a file beside the repository's own and says where.
    fn write_unfinished(&self, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let directory = self.root.join(UNFINISHED);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}", std::process::id()));
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = match opened {
                Ok(file) => file,
                // Left by a process that died and had our number; the next name is free.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                // The root itself must be there: an unmounted vault is not made anew.
                Err(error) if error.kind() == ErrorKind::NotFound && self.root.is_dir() && !directory.exists() => {
                    make_directory(&directory)?;
                    continue;
                }
                Err(error) => return Err(failed("create", &path, error)),
            };
            return match write(file, bytes) {
                Ok(()) => Ok(path),
                Err(error) => {
                    // The first error is the one to tell.
                    let _ = fs::remove_file(&path);
                    Err(failed("write", &path, error))
                }
            };
        }
    }

    fn move_into_place(
        &self,
        path: &str,
        bytes: &[u8],
        rename: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let unfinished = self.write_unfinished(bytes)?;
        let target = self.root.join(path);
        let mut renamed = rename(&unfinished, &target);
        if let (Err(error), Some(parent)) = (&renamed, target.parent())
            && error.kind() == ErrorKind::NotFound
        {
            make_directory(parent)?;
            self.unsettled.made(parent, &self.root);
            self.settled.lock().remove(parent);
            renamed = rename(&unfinished, &target);
        }
        if renamed.is_ok() {
            self.unsettled.entry(&target);
        }
        renamed.map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            failed("rename", &target, error)
        })
    }

    fn open(&self, path: &str) -> Result<(File, PathBuf), StoreError> {
        let full = self.root.join(path);
        match File::open(&full) {
            Ok(file) => Ok((file, full)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NotFound { path: path.to_owned() }),
            Err(error) => Err(failed("open", &full, error)),
        }
    }
}

impl Store for LocalStore {
    /// The content of everything but packs first, then the name: a power cut must not leave a lock, an index or a snapshot
    /// that is cut off. A pack that is cut off is in no index yet, and nobody misses it.
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let is_pack = path.starts_with("data/");
        self.move_into_place(path, &bytes, |from, to| {
            if !is_pack {
                File::open(from)?.sync_data()?;
            }
            fs::rename(from, to)?;
            if is_pack && bytes.len() < WRITTEN_BACK_BYTES {
                self.unsettled.content(to);
            }
            Ok(())
        })
    }

    /// The content first, then the name: whoever finds the name finds the content.
    fn put_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let full = self.root.join(path);
        self.move_into_place(path, bytes, |from, to| {
            File::open(from)?.sync_data()?;
            fs::rename(from, to)
        })?;
        // A new directory's own name lies in the one above it, which is synced once.
        let mut synced = Vec::new();
        for directory in full.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.root)) {
            let sync = File::open(directory).and_then(|file| file.sync_all());
            sync.map_err(|error| failed("sync", directory, error))?;
            if self.settled.lock().contains(directory) {
                break;
            }
            synced.push(directory.to_owned());
        }
        self.settled.lock().extend(synced);
        Ok(())
    }

    fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let moved = self.move_into_place(path, &bytes, |from, to| {
            File::open(from)?.sync_data()?;
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                // Some network file systems cannot rename without replacing; a hard link refuses as well.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
                }
                other => other.map_err(io::Error::from),
            }
        });
        match moved {
            Ok(()) => Ok(true),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (file, full) = self.open(path)?;
        let size = file.metadata().map_err(|error| failed("look at", &full, error))?.len();
        if size > limit {
            return Err(StoreError::TooLarge { path: path.to_owned(), found: size, limit });
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", &full, error))?;
        Ok(bytes)
    }

    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.get_range_into(path, offset, length, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range_into(&self, path: &str, offset: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let (file, full) = self.open(path)?;
        buffer.resize(length, 0);
        match file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(StoreError::Short { path: path.to_owned(), needed: offset + length as u64 })
            }
            Err(error) => Err(failed("read", &full, error)),
        }
    }

    fn is_near(&self) -> bool {
        true
    }

    fn list(&self, directory: &str) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        let mut open = vec![self.root.join(directory)];
        while let Some(path) = open.pop() {
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("list", &path, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("list", &path, error))?;
                let kind = entry.file_type().map_err(|error| failed("look at", &entry.path(), error))?;
                if kind.is_dir() {
                    open.push(entry.path());
                    continue;
                }
                match entry.metadata() {
                    Ok(metadata) => found.push(Listed {
                        name: entry.file_name().to_string_lossy().into_owned(),
                        size: metadata.len(),
                        modified: modified(&metadata),
                    }),
                    // Removed since it was listed.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(failed("look at", &entry.path(), error)),
                }
            }
        }
        Ok(found)
    }

    fn top_level(&self) -> Result<Vec<String>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &self.root, error)),
        };
        entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(|error| failed("list", &self.root, error))
    }

    fn delete(&self, path: &str) -> Result<bool, StoreError> {
        let full = self.root.join(path);
        match fs::remove_file(&full) {
            Ok(()) => {
                self.unsettled.entry(&full);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &full, error)),
        }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        for directory in DIRECTORIES {
            make_directory(&self.root.join(directory))?;
        }
        for byte in 0..=u8::MAX {
            make_directory(&self.root.join("data").join(format!("{byte:02x}")))?;
        }
        // The entry of the root lies in its parent, which may be on another file system.
        let parent = self.root.parent().unwrap_or(&self.root);
        File::open(parent).and_then(|file| file.sync_all()).map_err(|error| failed("sync", parent, error))
    }

    /// Whoever still wrote one of them gets an error when he renames it, and would have been rid of his lock long ago.
    fn remove_unfinished(&self, before: Timestamp) -> Result<(), StoreError> {
        let directory = self.root.join(UNFINISHED);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", &directory, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| failed("list", &directory, error))?.path();
            if !is_ours(&path) {
                continue;
            }
            let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            let is_old = modified.is_ok_and(|time| Timestamp::try_from(time).is_ok_and(|time| time < before));
            if is_old {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &path, error)),
                    _ => tracing::info!(path = %path.display(), "removed what a killed process left"),
                }
            }
        }
        Ok(())
    }

    fn settle(&self) -> Result<(), StoreError> {
        match self.unsettled.settle(&self.root.join(INDEX)) {
            Ok(()) => Ok(()),
            // Some network file systems sync no directories.
            Err((_, error)) if cannot_sync(&error) => self.barrier(),
            Err((path, error)) => Err(failed("sync", &path, error)),
        }
    }

    fn barrier(&self) -> Result<(), StoreError> {
        self.unsettled.settle_by(|| {
            let root = File::open(&self.root).map_err(|error| failed("open", &self.root, error))?;
            syncfs(&root).map_err(|error| failed("sync", &self.root, error.into()))
        })
    }
}

/// Writes a file. A pack goes past the page cache, which it would only fill: nobody reads it soon. It is brought to the disk
/// while others are still being made, so that whoever settles finds little to do. Where the file system has no such call, he
/// finds none either and makes everything durable.
fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() < WRITTEN_BACK_BYTES {
        return file.write_all(bytes);
    }
    reserve(&file, 0, bytes.len() as u64)?;
    let file = Uncached::new(file);
    file.write_all_at(bytes, 0)?;
    match file.file().sync_data() {
        Err(error) if cannot_sync(&error) => Ok(()),
        other => other,
    }
}

/// Whether the file system has no such call.
fn cannot_sync(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Whether a file has a name that [`LocalStore::write_unfinished`] gives.
fn is_ours(path: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('-')).is_some_and(|(pid, number)| is_number(pid) && is_number(number))
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed("create directory", path, error))
}

/// A file system without such times makes everything look new, which keeps it.
fn modified(metadata: &fs::Metadata) -> Timestamp {
    let time = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    time.unwrap_or(Timestamp::MAX)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.display().to_string(), source }
}
