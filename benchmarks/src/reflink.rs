//! A file system that shares extents, with the image in it, and one that is ten times as large.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::error::BenchError;
use crate::measure::measure;

/// How many times the image is in the large one.
const TIMES: u64 = 10;
/// By so much more than the one before it each copy is shifted, so that no chunk of it is one of another's: a block, which can
/// be shared.
const SHIFT_BYTES: u64 = 4096;

/// XFS in a file, mounted while this lives.
pub(crate) struct Reflink {
    at: PathBuf,
}

impl Reflink {
    /// None where it cannot be mounted, after saying so.
    pub(crate) fn mount(dir: &Path, image_mib: u64) -> Result<Option<Self>, BenchError> {
        if !rustix::process::geteuid().is_root() {
            crate::print("NOT MEASURED: rows with change tracking need root, to mount XFS from a loop device")?;
            return Ok(None);
        }
        let (backing, at) = (dir.join("reflink.xfs"), dir.join("reflink"));
        fs::create_dir_all(&at).map_err(BenchError::io("create", &at))?;
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        let log = dir.join("reflink.log");
        let this = Self { at: at.clone() };
        if device(dir).ok() != device(&at).ok() {
            // An earlier run was killed.
            return Ok(Some(this));
        }
        if !backing.exists() {
            let unfinished = dir.join("reflink.unfinished");
            let file = File::create(&unfinished).map_err(BenchError::io("create", &unfinished))?;
            // The image twice, the changes of both, and the logs of the file system.
            file.set_len((3 * image_mib + 4096) << 20).map_err(BenchError::io("lengthen", &unfinished))?;
            measure(tool("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]).arg(&unfinished), &log)?;
            fs::rename(&unfinished, &backing).map_err(BenchError::io("rename", &unfinished))?;
        }
        match measure(tool("mount").args(["-o", "loop"]).arg(&backing).arg(&at), &log) {
            Ok(_) => Ok(Some(this)),
            Err(error) => {
                std::mem::forget(this);
                crate::print(&format!("NOT MEASURED: rows with change tracking need XFS on a loop device: {error}"))?;
                Ok(None)
            }
        }
    }

    /// The image on it.
    pub(crate) fn image(&self, image: &Path) -> Result<PathBuf, BenchError> {
        self.copied(image, "volume")
    }

    fn copied(&self, image: &Path, name: &str) -> Result<PathBuf, BenchError> {
        let (to, unfinished) = (self.at.join(format!("{name}.img")), self.at.join(format!("{name}.unfinished")));
        if !to.exists() {
            // Holes stay holes, and there are no more than that: with one for each block of zeros the copy is in tens of thousands of
            // pieces, as no volume is, and to clone those is most of what is measured.
            measure(tool("cp").arg("--sparse=auto").args([image, &unfinished]), &self.at.with_extension("log"))?;
            fs::rename(&unfinished, &to).map_err(BenchError::io("rename", &unfinished))?;
        }
        Ok(to)
    }

    /// Ten images in one, without room for ten: their extents are shared. No chunk is there twice. They are of a copy that nothing
    /// was changed in: the changes of one image are not ten times as many in the large one.
    pub(crate) fn large(&self, image: &Path) -> Result<PathBuf, BenchError> {
        let (to, unfinished) = (self.at.join("large.img"), self.at.join("large.unfinished"));
        if !to.exists() {
            make_large(&self.copied(image, "unchanged")?, &unfinished).map_err(BenchError::io("make", &unfinished))?;
            fs::rename(&unfinished, &to).map_err(BenchError::io("rename", &unfinished))?;
        }
        Ok(to)
    }
}

/// Seconds in which the system clones a file, lists the extents of both, and removes the clone: nobody who tracks changes by
/// clones can do it in less.
pub(crate) fn system_seconds(source: &Path) -> Result<f64, BenchError> {
    let at = source.with_extension("clone");
    let file = File::open(source).map_err(BenchError::io("open", source))?;
    let began = Instant::now();
    let clone = File::create(&at).map_err(BenchError::io("create", &at))?;
    rustix::fs::ioctl_ficlone(&clone, &file).map_err(|error| BenchError::io("clone to", &at)(error.into()))?;
    let changes = file_clones::changed(&file, &clone, driver_volume::CHUNK_BYTES, source);
    let changes = changes.map_err(|error| BenchError::Wrong(format!("extents of `{}`: {error}", source.display())))?;
    fs::remove_file(&at).map_err(BenchError::io("remove", &at))?;
    drop(clone);
    std::hint::black_box(changes);
    Ok(began.elapsed().as_secs_f64())
}

fn make_large(image: &Path, large: &Path) -> io::Result<()> {
    let from = File::open(image)?;
    let length = from.metadata()?.len();
    let to = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(large)?;
    to.set_len(length * TIMES)?;
    for copy in 0..TIMES {
        let base = copy * (length + SHIFT_BYTES);
        for (start, end) in data(&from, length)? {
            let end = end.min(length - copy * SHIFT_BYTES);
            let (mut read, mut write) = (start, base + start);
            while read < end {
                let wanted = usize::try_from((end - read).min(1 << 30)).map_err(io::Error::other)?;
                // On one file system whole blocks are shared, not copied.
                let count = rustix::fs::copy_file_range(&from, Some(&mut read), &to, Some(&mut write), wanted)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
    to.sync_all()
}

/// Parts with data: where each starts and ends.
fn data(file: &File, length: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut position = 0;
    while position < length {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
        parts.push((start, end));
        position = end;
    }
    Ok(parts)
}

fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command
}

impl Drop for Reflink {
    fn drop(&mut self) {
        // Where it stays mounted, the next run finds it.
        let _ = measure(tool("umount").arg(&self.at), &self.at.with_extension("log"));
    }
}
