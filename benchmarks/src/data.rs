//! The data that is backed up: an image of a file system, a tree of files, a large sparse volume.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::error::BenchError;
use crate::measure::measure;

/// What of this machine becomes data, in this order.
const SOURCES: [&str; 3] = ["/usr/share", "/usr/include", "/usr/lib"];
/// Random changes of the volume.
const CHANGES: u64 = 300;
/// Bytes of each change.
const CHANGE_BYTES: usize = 64 << 10;
/// What is read before each change and behind it, so that no tool pays for the disk.
const AROUND_BYTES: usize = 1 << 20;
/// Length of the sparse volume.
const SPARSE_BYTES: u64 = 200_000_000_000;
/// Data in it, in pieces of 4 MiB.
const SPARSE_PIECES: u64 = 238;
const SPARSE_PIECE_BYTES: usize = 4 << 20;

/// The raw image, made with `mkfs.ext4 -d /usr/lib` where it is missing.
pub(crate) fn image(dir: &Path, mebibytes: u64) -> Result<PathBuf, BenchError> {
    let image = dir.join("volume.img");
    if !image.exists() {
        let unfinished = dir.join("volume.img.unfinished");
        let _ = fs::remove_file(&unfinished);
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-q", "-F", "-d", "/usr/lib"]);
        mkfs.arg(&unfinished).arg(format!("{mebibytes}M"));
        measure(&mut mkfs, &dir.join("mkfs.log"))?;
        fs::rename(&unfinished, &image).map_err(BenchError::io("rename", &unfinished))?;
    }
    Ok(image)
}

/// Overwrites pieces of the image at random places, where it has data already.
pub(crate) fn change(image: &Path, seed: u64) -> Result<(), BenchError> {
    let file = OpenOptions::new().read(true).write(true).open(image).map_err(BenchError::io("open", image))?;
    let length = file.metadata().map_err(BenchError::io("look at", image))?.len();
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; CHANGE_BYTES];
    let mut around_it = vec![0; AROUND_BYTES];
    let mut done = 0;
    while done < CHANGES {
        let offset = random.random_range(0..length / 4096) * 4096;
        let end = offset + CHANGE_BYTES as u64;
        let is_data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(offset)).is_ok_and(|at| at == offset);
        if !is_data || end > length {
            continue;
        }
        random.fill_bytes(&mut bytes);
        file.write_all_at(&bytes, offset).map_err(BenchError::io("write", image))?;
        // What lies around it is in memory too: every tool reads more than what changed.
        let around = offset.saturating_sub(AROUND_BYTES as u64);
        let read = &mut around_it[..AROUND_BYTES.min((length - around) as usize)];
        file.read_exact_at(read, around).map_err(BenchError::io("read", image))?;
        done += 1;
    }
    file.sync_all().map_err(BenchError::io("sync", image))
}

/// The tree: files of this machine, copied until there are enough; from the second round on each with a line of its own,
/// so that no content is there twice.
pub(crate) fn tree(dir: &Path, files: usize) -> Result<PathBuf, BenchError> {
    let tree = dir.join("tree");
    if tree.exists() {
        return Ok(tree);
    }
    let unfinished = dir.join("tree.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(BenchError::io("remove", &unfinished))?;
    }
    let mut copied = 0;
    let mut round = 0;
    while copied < files {
        let before = copied;
        for source in SOURCES {
            let to = unfinished.join(round.to_string()).join(source.trim_start_matches('/'));
            copy_tree(Path::new(source), &to, round, files, &mut copied)?;
        }
        if copied == before {
            return Err(BenchError::Wrong(format!("there are no files in {SOURCES:?}")));
        }
        round += 1;
    }
    fs::rename(&unfinished, &tree).map_err(BenchError::io("rename", &unfinished))?;
    Ok(tree)
}

fn copy_tree(from: &Path, to: &Path, round: usize, files: usize, copied: &mut usize) -> Result<(), BenchError> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to).map_err(BenchError::io("create", to))?;
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *copied >= files {
            return Ok(());
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            copy_tree(&path, &target, round, files, copied)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&path).map_err(BenchError::io("read", &path))?;
            std::os::unix::fs::symlink(link, &target).map_err(BenchError::io("link", &target))?;
        } else if kind.is_file() && fs::copy(&path, &target).is_ok() {
            *copied += 1;
            if round > 0 {
                let mut file =
                    OpenOptions::new().append(true).open(&target).map_err(BenchError::io("open", &target))?;
                writeln!(file, "{round} {}", path.display()).map_err(BenchError::io("write", &target))?;
            }
        }
    }
    Ok(())
}

/// 200 GB with 1 GB of data that cannot be compressed, at random places.
pub(crate) fn sparse(dir: &Path) -> Result<PathBuf, BenchError> {
    let path = dir.join("sparse.img");
    if path.exists() {
        return Ok(path);
    }
    let unfinished = dir.join("sparse.unfinished");
    let make = || -> io::Result<()> {
        let file = File::create(&unfinished)?;
        file.set_len(SPARSE_BYTES)?;
        let mut random = StdRng::seed_from_u64(7);
        let mut bytes = vec![0; SPARSE_PIECE_BYTES];
        for _ in 0..SPARSE_PIECES {
            random.fill_bytes(&mut bytes);
            let offset = random.random_range(0..SPARSE_BYTES / 4096 - 1024) * 4096;
            file.write_all_at(&bytes, offset)?;
        }
        file.sync_all()
    };
    make().map_err(BenchError::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(BenchError::io("rename", &unfinished))?;
    Ok(path)
}

/// Reads everything once, so that no tool pays for the disk.
pub(crate) fn warm(path: &Path) -> Result<(), BenchError> {
    let metadata = fs::symlink_metadata(path).map_err(BenchError::io("look at", path))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(BenchError::io("list", path))? {
            warm(&entry.map_err(BenchError::io("list", path))?.path())?;
        }
    } else if metadata.is_file() {
        let mut file = File::open(path).map_err(BenchError::io("open", path))?;
        io::copy(&mut file, &mut io::sink()).map_err(BenchError::io("read", path))?;
    }
    Ok(())
}
