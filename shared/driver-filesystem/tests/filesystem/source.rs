//! Trees to capture.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use super::oracle::run;

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

pub(crate) fn set_time(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// Some of everything that a file system can hold.
pub(crate) fn torture(root: &Path) {
    fs::create_dir(root).unwrap();
    let at = |name: &str| root.join(name);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("small"), "hello\n").unwrap();
    fs::write(at("large"), noise(1, 3 << 20)).unwrap();
    fs::create_dir_all(at("a/b/c/d")).unwrap();
    fs::create_dir(at("empty directory")).unwrap();
    for number in 0..50 {
        fs::write(at(&format!("a/b/file {number}")), noise(number, 100 * number as usize)).unwrap();
    }
    // Names.
    for name in
        [&b"\xff\xfe not utf-8"[..], b"new\nline", b"-rf", "größe ✓".as_bytes(), &[b'n'; 255], b"back\\slash\"q'"]
    {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut deep = at("deep");
    fs::create_dir(&deep).unwrap();
    for _ in 0..8 {
        deep.push("d".repeat(200));
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("bottom"), "deep").unwrap();
    // Links.
    fs::hard_link(at("large"), at("a/large, second name")).unwrap();
    fs::hard_link(at("small"), at("a/b/c/small, second name")).unwrap();
    fs::hard_link(at("small"), at("small, third name")).unwrap();
    symlink("small", at("link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xfe\xff"), at("link to bytes")).unwrap();
    fs::hard_link(at("link"), at("link, second name")).unwrap();
    // Specials.
    drop(UnixListener::bind(at("socket")).unwrap());
    node(&at("fifo"), FileType::Fifo, 0);
    fs::hard_link(at("fifo"), at("fifo, second name")).unwrap();
    node(&at("block"), FileType::BlockDevice, rustix::fs::makedev(259, 70_000));
    node(&at("char"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    sparse(root);
    attributes(root);
    times(root);
    // Last: nothing can be changed after that.
    for (flags, name) in [("+i", "immutable"), ("+a", "append"), ("+dA", "nodump"), ("+S", "sync")] {
        fs::write(at(name), name).unwrap();
        set_time(&at(name), 1_000_000_000, 5);
        run("chattr", &[flags, name], root);
    }
    fs::create_dir(at("immutable directory")).unwrap();
    fs::write(at("immutable directory/x"), "x").unwrap();
    run("chattr", &["+id", "immutable directory"], root);
    set_time(root, 1_234_567_890, 123_456_789);
}

/// Files with holes at the beginning, in the middle, at the end, everywhere, and a huge one.
fn sparse(root: &Path) {
    for (name, size, data) in [
        ("sparse huge", 5 << 30, &[(3_u64 << 30, 1024_usize)][..]),
        ("sparse begin", 9 << 20, &[(8 << 20, 1 << 20)]),
        ("sparse end", 9 << 20, &[(0, 4096)]),
        ("sparse middle", (6 << 20) + 17, &[(0, 5000), (6 << 20, 17)]),
        ("sparse fine", 1 << 20, &[(4096, 4096), (65536, 100), (500_000, 1)]),
        ("sparse all", 3 << 20, &[]),
        ("sparse tiny", 4096 * 3, &[(4096, 4096)]),
    ] {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, length) in data {
            file.write_all_at(&noise(*offset + 7, *length), *offset).unwrap();
        }
        file.sync_all().unwrap();
    }
    // Zeros that take space are not holes.
    fs::write(root.join("zeros"), vec![0; 2 << 20]).unwrap();
    File::open(root.join("zeros")).unwrap().sync_all().unwrap();
}

fn attributes(root: &Path) {
    let at = |name: &str| root.join(name);
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("closed", 0o000), ("all", 0o777)] {
        fs::write(at(name), name).unwrap();
        std::os::unix::fs::chown(at(name), Some(1234), Some(5678)).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(at("sticky")).unwrap();
    fs::set_permissions(at("sticky"), Permissions::from_mode(0o3777)).unwrap();
    std::os::unix::fs::lchown(at("dangling"), Some(4_000_000_000), Some(65_534)).unwrap();
    fs::write(at("xattrs"), "x").unwrap();
    for (name, value) in [("user.comment", &b"hello"[..]), ("user.binary", b"\0\xff\n"), ("user.empty", b"")] {
        xattr::set(at("xattrs"), name, value).unwrap();
    }
    xattr::set(at("xattrs"), "user.large", &noise(9, 2000)).unwrap();
    xattr::set(at("xattrs"), "trusted.secret", b"t").unwrap();
    xattr::set(at("a"), "user.on a directory", b"d").unwrap();
    xattr::set(at("dangling"), "trusted.on a link", b"l").unwrap();
    xattr::set(at("fifo"), "trusted.on a pipe", b"p").unwrap();
    xattr::set(root, "user.root", b"r").unwrap();
    // cap_net_bind_service+ep, as `setcap` writes it.
    fs::write(at("capable"), "#!/bin/sh\n").unwrap();
    std::os::unix::fs::chown(at("capable"), Some(7), Some(7)).unwrap();
    fs::set_permissions(at("capable"), Permissions::from_mode(0o4755)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(at("capable"), "security.capability", &capability).unwrap();
    fs::write(at("acl"), "x").unwrap();
    run("setfacl", &["-m", "u:1000:rwx,u:2000:r,g:3000:-,m:rx", "acl"], root);
    fs::create_dir(at("acl directory")).unwrap();
    run("setfacl", &["-m", "u:1000:rwx,d:u:1000:rwx,d:g:9:rx", "acl directory"], root);
    fs::write(at("acl directory/child"), "x").unwrap();
    fs::create_dir(at("acl directory/child directory")).unwrap();
}

fn times(root: &Path) {
    for (name, seconds, nanoseconds) in [
        ("time of 1901", -2_147_483_648, 0),
        ("time of 1969", -1, 999_999_999),
        ("time of the epoch", 0, 0),
        ("time of 2040", 2_208_988_800, 1),
        ("time of 2400", 13_569_465_600, 123_456_789),
    ] {
        fs::write(root.join(name), name).unwrap();
        set_time(&root.join(name), seconds, nanoseconds);
    }
    set_time(&root.join("dangling"), 86_400, 42);
    set_time(&root.join("fifo"), 86_401, 43);
    set_time(&root.join("socket"), 86_402, 44);
    set_time(&root.join("a/b"), 86_403, 45);
    set_time(&root.join("empty directory"), -5, 500_000_000);
}

/// Clears the flags that would keep a temporary directory from being removed.
pub(crate) struct Unlock<'a>(pub(crate) &'a Path);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chattr")
            .args(["-R", "-f", "-ia"])
            .arg(self.0)
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Something mounted, until it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    pub(crate) fn new(arguments: &[&str], place: &Path, directory: &Path) -> Self {
        run("mount", &[arguments, &[place.to_str().unwrap()]].concat(), directory);
        Self(place.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// Bytes that a tree's files take on disk.
pub(crate) fn allocated(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().blocks() * 512
}
