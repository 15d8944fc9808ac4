//! The demo's volume: a raw ext4 image made of the working copy, the same bytes for the same content and times of files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::CliError;

/// Fixed, so that two runs make the same image.
const UUID: &str = "5f0e1d2c-3b4a-4958-8776-650403020100";
/// Seed of the directory hashes; fixed for the same reason.
const HASH_SEED: &str = "0f1e2d3c-4b5a-4968-8776-150413121110";
/// The instant the tools take for now, seconds of the Unix epoch.
const FAKE_TIME: &str = "1767225600";
/// The smallest image.
const BYTES_MIN: u64 = 32 << 20;
/// Sizes are multiples of this.
const STEP: u64 = 16 << 20;
/// Size of the file system's blocks.
const BLOCK: u64 = 4096;
/// Size of an inode.
const INODE: u64 = 256;
/// Size of the journal.
const JOURNAL_MIB: u64 = 4;
/// Where distributions put the tools when they are not on an ordinary user's PATH.
const SBIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// What a directory tree takes in a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Bytes of content in whole blocks, directories included.
    bytes: u64,
    /// Inodes.
    entries: u64,
}

impl Footprint {
    /// Of a directory tree.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut footprint = Self::default();
        let mut queue = vec![root.to_owned()];
        while let Some(dir) = queue.pop() {
            footprint.entries += 1;
            let mut directory_bytes = 0;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                // Two names with their headers, for blocks that are not full.
                directory_bytes += 2 * (8 + entry.file_name().len() as u64);
                let meta = fs::symlink_metadata(entry.path())?;
                if meta.is_dir() {
                    queue.push(entry.path());
                } else {
                    footprint.entries += 1;
                    footprint.bytes += meta.len().next_multiple_of(BLOCK);
                }
            }
            footprint.bytes += BLOCK + directory_bytes.next_multiple_of(BLOCK);
        }
        Ok(footprint)
    }

    /// Inodes that an image of it gets; some are spare.
    const fn inodes(self) -> u64 {
        self.entries + self.entries / 4 + 1024
    }

    /// Size of an image that holds it, with the file system's own needs and a little to spare.
    pub(super) fn image_bytes(self) -> u64 {
        let own = (JOURNAL_MIB << 20) + self.inodes() * INODE + (8 << 20);
        (self.bytes + self.bytes / 50 + own).max(BYTES_MIN).next_multiple_of(STEP)
    }
}

/// Makes the image anew, and returns its size. It takes its place whole or not at all.
///
/// One byte more in one file moves everything behind it: a volume that is to be backed up again is not made again.
pub(super) fn make(content: &Path, image: &Path) -> Result<u64, CliError> {
    let footprint =
        Footprint::of(content).map_err(CliError::io(format!("look at the files in `{}`", content.display())))?;
    let bytes = footprint.image_bytes();
    let mkfs = tool("mkfs.ext4")?;
    let temporary = image.with_extension("new");
    let failed = |step: &str| CliError::io(format!("{step} `{}`", temporary.display()));
    File::create(&temporary).and_then(|file| file.set_len(bytes)).map_err(failed("make"))?;
    let mut command = Command::new(mkfs);
    command
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "holdfast-demo", "-U", UUID])
        .args(["-E", &format!("hash_seed={HASH_SEED},lazy_itable_init=0,root_owner=0:0")])
        .args(["-J", &format!("size={JOURNAL_MIB}"), "-N", &footprint.inodes().to_string()])
        .arg("-d")
        .arg(content)
        .arg(&temporary);
    run(&mut command, "mkfs.ext4")?;
    fs::rename(&temporary, image).map_err(failed("put in place"))?;
    Ok(bytes)
}

/// Writes a file into the file system of the image, as its owner would have.
pub(super) fn write_file(image: &Path, name: &str, content: &Path) -> Result<(), CliError> {
    let debugfs = tool("debugfs")?;
    // Both names are the demo's own: no quoting is needed.
    let request = format!("write {} {name}", content.display());
    run(Command::new(debugfs).arg("-w").arg("-R").arg(request).arg(image), "debugfs")
}

fn run(command: &mut Command, program: &'static str) -> Result<(), CliError> {
    let output = command
        .env("E2FSPROGS_FAKE_TIME", FAKE_TIME)
        .stdin(Stdio::null())
        .output()
        .map_err(CliError::io(format!("run `{program}`")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CliError::Start {
        step: format!("`{program}` could not write the demo's volume ({})", output.status),
        source: said.into(),
    })
}

/// Where a tool of e2fsprogs is.
pub(super) fn tool(program: &'static str) -> Result<PathBuf, CliError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SBIN.map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(CliError::ProgramMissing { program, mend: "install e2fsprogs" })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_same_content_makes_the_same_image_and_a_written_file_changes_little_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let content = dir.path().join("content");
        fs::create_dir(&content).unwrap();
        for index in 0..20 {
            fs::write(content.join(format!("file-{index}")), vec![index; 100_000]).unwrap();
        }
        // The image takes access times over, and making one reads the files. Times ahead stay as they are.
        let in_2036 = SystemTime::UNIX_EPOCH + Duration::from_secs(2_100_000_000);
        let ahead = fs::FileTimes::new().set_accessed(in_2036);
        for entry in fs::read_dir(&content).unwrap() {
            File::open(entry.unwrap().path()).unwrap().set_times(ahead).unwrap();
        }
        File::open(&content).unwrap().set_times(ahead).unwrap();
        let (first, second) = (dir.path().join("a.img"), dir.path().join("b.img"));
        make(&content, &first).unwrap();
        make(&content, &second).unwrap();
        let before = fs::read(&first).unwrap();
        assert!(before == fs::read(&second).unwrap(), "two images of one directory differ");

        let addition = dir.path().join("addition");
        fs::write(&addition, vec![0xa5; 65_536]).unwrap();
        write_file(&first, "addition", &addition).unwrap();
        let after = fs::read(&first).unwrap();
        let blocks = |bytes: &[u8]| bytes.chunks(4096).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let changed = blocks(&before).iter().zip(&blocks(&after)).filter(|(a, b)| a != b).count();
        assert!((16..64).contains(&changed), "{changed} blocks changed");
    }

    #[test]
    fn a_tree_of_many_small_files_and_empty_directories_fits_into_its_image() {
        let dir = tempfile::tempdir().unwrap();
        let content = dir.path().join("content");
        for index in 0..3_000 {
            let place = content.join(format!("a-directory-with-a-long-name-{index}"));
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("one-byte"), "1").unwrap();
        }
        let bytes = make(&content, &dir.path().join("a.img")).unwrap();
        assert!((BYTES_MIN..256 << 20).contains(&bytes), "{bytes}");
    }
}
