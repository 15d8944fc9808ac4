//! What no restore of the tree can do without: opening its content and making its files. Content lies sealed in memory; there
//! is no vault, index, pack, plan or comparison, and of metadata only what a file is made with and its time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use driver_api::Uncached;
use vault_format::{BlobOpener, BlobSealer, MasterKey};
use zeroize::Zeroizing;

use crate::error::BenchError;
use crate::sealed::{Sealed, each_group};
use crate::tools::remove;

/// Longest part of a file that is sealed at once: what content-defined chunks have on average.
const PART_BYTES: usize = 1 << 20;
/// Files of so many bytes are faster written past the page cache.
const UNCACHED_BYTES_MIN: usize = 64 << 10;
/// Threads for each processor: while one waits for the disk another one works.
const THREADS_PER_PROCESSOR: usize = 2;
/// Files that a thread takes at once; those of a directory lie together.
const TOGETHER: usize = 16;

/// Where the files are made.
pub(crate) const TARGET: &str = "tree-floor.d";

struct SourceFile {
    path: PathBuf,
    mode: u32,
    modified: SystemTime,
    parts: Vec<Sealed>,
}

/// Prints a JSON object: names and seconds. The files stay, below `scratch` in [`TARGET`], until nothing is measured any more: where
/// ext4 has just deleted many files it is slow to make new ones.
pub(crate) fn run(tree: &Path, scratch: &Path) -> Result<(), BenchError> {
    let key = MasterKey::from_bytes(Zeroizing::new(std::array::from_fn(|at| at as u8)));
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    let opened = |files: &mut [SourceFile], target: Option<&Path>| -> Result<f64, BenchError> {
        rustix::fs::sync();
        let began = Instant::now();
        each_group(files, TOGETHER, THREADS_PER_PROCESSOR, |group, opener| {
            group.iter_mut().try_for_each(|file| open_file(file, &key, opener, target))
        })?;
        if let Some(target) = target {
            let top = File::open(target).map_err(BenchError::io("open", target))?;
            rustix::fs::syncfs(top).map_err(|error| BenchError::io("sync", target)(error.into()))?;
        }
        Ok(began.elapsed().as_secs_f64())
    };
    // Opening works in place, so each time they are sealed anew.
    let (_, mut files) = read(tree, &key)?;
    found.insert("tree: content opened by all threads, seconds", opened(&mut files, None)?);
    let (directories, mut files) = read(tree, &key)?;
    let target = scratch.join(TARGET);
    remove(&target)?;
    for directory in &directories {
        let path = target.join(directory);
        fs::create_dir_all(&path).map_err(BenchError::io("create", &path))?;
    }
    found.insert("tree: content opened and files made by all threads, seconds", opened(&mut files, Some(&target))?);
    crate::print(&serde_json::to_string(&found)?)
}

/// All directories, and all files with their content sealed; paths are relative.
fn read(tree: &Path, key: &MasterKey) -> Result<(Vec<PathBuf>, Vec<SourceFile>), BenchError> {
    let mut directories = vec![PathBuf::new()];
    let mut files = Vec::new();
    let mut sealer = BlobSealer::new(1)?;
    let mut at = 0;
    while at < directories.len() {
        let path = tree.join(&directories[at]);
        let mut entries = fs::read_dir(&path)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(BenchError::io("list", &path))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = entry.file_type().map_err(BenchError::io("look at", &path))?;
            let relative = directories[at].join(entry.file_name());
            if kind.is_dir() {
                directories.push(relative);
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(BenchError::io("look at", &path))?;
                let content = fs::read(&path).map_err(BenchError::io("read", &path))?;
                let seal = |part: &[u8]| Sealed::new(&mut sealer, key, part);
                let parts = content.chunks(PART_BYTES).map(seal).collect::<Result<_, _>>()?;
                let modified = metadata.modified().map_err(BenchError::io("look at", &path))?;
                files.push(SourceFile { path: relative, mode: metadata.mode() & 0o777, modified, parts });
            }
        }
        at += 1;
    }
    Ok((directories, files))
}

/// Opens a file's content and, where there is a target, makes it there.
fn open_file(
    file: &mut SourceFile,
    key: &MasterKey,
    opener: &mut BlobOpener,
    target: Option<&Path>,
) -> Result<(), BenchError> {
    let path = target.map(|target| target.join(&file.path));
    let is_large = file.parts.iter().map(|part| part.length).sum::<usize>() >= UNCACHED_BYTES_MIN;
    let made = match &path {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(path);
            Some(made.map_err(BenchError::io("create", path))?)
        }
        None => None,
    };
    let uncached = match made {
        Some(made) if is_large => (None, Some(Uncached::new(made))),
        other => (other, None),
    };
    let mut offset = 0;
    for part in &mut file.parts {
        let content = opener.open(key, part.blob())?.plaintext;
        let written = match &uncached {
            (Some(made), _) => made.write_all_at(content, offset),
            (_, Some(made)) => made.write_all_at(content, offset),
            _ => {
                black_box(content);
                Ok(())
            }
        };
        written.map_err(BenchError::io("write", &file.path))?;
        offset += content.len() as u64;
    }
    if let Some(made) = uncached.0.as_ref().or(uncached.1.as_ref().map(Uncached::file)) {
        made.set_modified(file.modified).map_err(BenchError::io("set the time of", &file.path))?;
    }
    Ok(())
}
