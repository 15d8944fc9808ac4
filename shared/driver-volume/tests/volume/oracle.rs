//! Images to capture, and a judge that has nothing to do with the driver.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

pub(crate) const MIB: u64 = 1 << 20;

/// Bytes that neither compress nor repeat.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// A sparse image with noise at these places.
pub(crate) fn image(place: &Path, size: u64, data: &[(u64, usize)]) {
    let file = File::create(place).unwrap();
    file.set_len(size).unwrap();
    for (offset, length) in data {
        file.write_all_at(&noise(*offset + 1, *length), *offset).unwrap();
    }
    file.sync_all().unwrap();
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How two images differ: in a byte, or in owner, mode and time.
pub(crate) fn difference(left: &Path, right: &Path) -> Option<String> {
    let output = Command::new("cmp").args([left, right]).output().unwrap();
    if !output.status.success() {
        return Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr));
    }
    let facts = |path: &Path| {
        let m = std::fs::metadata(path).unwrap();
        (m.len(), m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec())
    };
    (facts(left) != facts(right)).then(|| format!("{:?} <> {:?}", facts(left), facts(right)))
}

/// Bytes that an image takes on disk.
pub(crate) fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// An attached loop device, until it is dropped.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn attach(image: &Path) -> Self {
        Self(run("losetup", &["-f", "--show", image.to_str().unwrap()]))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}
