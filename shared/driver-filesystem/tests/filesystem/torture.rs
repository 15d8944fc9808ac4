//! The tree with some of everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use driver_api::conformance::{Bench, CountingControl, Damage, Subject, files};
use driver_api::{Control, Driver, DriverError, NoControl};
use driver_filesystem::FilesystemDriver;
use job_model::{ExceptionKind, OverwritePolicy, Progress};

use super::oracle::{self, difference, run};
use super::source::{Mount, Unlock, allocated, noise, torture};

/// Only the driver: these tests build their trees themselves.
pub(crate) struct Plain;

impl Subject for Plain {
    fn driver(&self) -> &dyn Driver {
        &FilesystemDriver
    }
    fn build(&self, place: &Path) {
        torture(place);
    }
    fn change(&self, _place: &Path) -> u64 {
        0
    }
    fn skips_unchanged(&self) -> bool {
        true
    }
    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        difference(left, right)
    }
    fn damages(&self) -> Vec<Damage> {
        Vec::new()
    }
    fn privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

#[test]
fn everything_a_file_system_holds_comes_back() {
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    let _unlock = Unlock(&bench.path(""));
    torture(&source);
    bench.settle();
    let first = bench.capture(&Plain, &source, None);
    assert!(files(&first).len() > 80);
    let second = bench.capture(&Plain, &source, Some(&first));
    assert_eq!(first.capture.data, second.capture.data);
    let restored = bench.restore(&Plain, &second, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(restored.findings, []);
    assert_eq!(difference(&source, &target), None);
    assert!(allocated(&target.join("sparse huge")) < 1 << 20);
    let check = bench.check(&Plain, &second, &target).unwrap();
    assert_eq!(check.findings, []);
    let control = CountingControl::default();
    bench.check_with(&Plain, &second, &target, &control).unwrap();
    let (done, read) = (control.sum().bytes_done, control.sum().bytes_read);
    assert!(done > 5 << 30 && read < 64 << 20, "{read} of {done} bytes were read: holes are not");
    // Over itself: locked entries are replaced, nothing is left behind.
    run("chattr", &["-i", "immutable"], &target);
    fs::write(target.join("immutable"), "immutably").unwrap();
    run("chattr", &["+i", "immutable"], &target);
    bench.restore(&Plain, &second, &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&source, &target), None);
}

#[test]
fn oracle_sees_what_it_is_trusted_to_see() {
    let bench = Bench::new();
    let (source, copy) = (bench.path("source"), bench.path("copy"));
    let _unlock = Unlock(&bench.path(""));
    torture(&source);
    run("cp", &["-a", "source", "copy"], &bench.path(""));
    assert!(oracle::difference(&source, &copy).is_some_and(|d| d.starts_with("lsattr")), "cp keeps no flags");
}

#[test]
fn other_file_systems_below_the_root_are_empty_directories() {
    let bench = Bench::new();
    let source = bench.path("source");
    fs::create_dir_all(source.join("mounted")).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    let mount = Mount::new(&["-t", "tmpfs", "none"], &source.join("mounted"), &bench.path(""));
    fs::write(source.join("mounted/inside"), "not to be captured").unwrap();
    bench.settle();
    let point = bench.capture_with(&Plain, &source, None, &NoControl);
    let target = bench.path("target");
    let restored = point.as_ref().map(|p| bench.restore(&Plain, p, &target, OverwritePolicy::Refuse));
    drop(mount);
    restored.unwrap().unwrap();
    let point = point.unwrap();
    assert_eq!(point.capture.items, 2);
    assert_eq!(point.capture.facts["mount_points_listed"], serde_json::json!(["mounted"]));
    assert_eq!(fs::read_dir(target.join("mounted")).unwrap().count(), 0);
}

#[test]
fn project_ids_come_back_where_the_file_system_has_them() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    run("mkfs.xfs", &["-q", "image"], &bench.path(""));
    let mounted = bench.path("mounted");
    fs::create_dir(&mounted).unwrap();
    let _mount = Mount::new(&["-o", "loop", "image"], &mounted, &bench.path(""));
    let (source, target) = (mounted.join("source"), mounted.join("target"));
    fs::create_dir_all(source.join("inherits")).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    run("chattr", &["-p", "42", "file"], &source);
    run("chattr", &["+P", "-p", "43", "inherits"], &source);
    fs::write(source.join("inherits/child"), "x").unwrap();
    bench.settle();
    let point = bench.capture(&Plain, &source, None);
    bench.restore(&Plain, &point, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&source, &target), None);
    assert_eq!(run("lsattr", &["-pR", "."], &source), run("lsattr", &["-pR", "."], &target));
    assert_eq!(bench.check(&Plain, &point, &target).unwrap().findings, []);
    run("chattr", &["-p", "44", "file"], &target);
    assert!(!bench.check(&Plain, &point, &target).unwrap().findings.is_empty());
}

/// Changes a file whenever some of it was read, so that its time shows it.
struct NeverRests(PathBuf, AtomicU64);

impl Control for NeverRests {
    fn is_stopped(&self) -> bool {
        false
    }

    fn advance(&self, difference: Progress) {
        use std::os::unix::fs::FileExt;

        if difference.bytes_read == 0 {
            return;
        }
        let file = fs::File::options().write(true).open(&self.0).unwrap();
        let modified = || file.metadata().unwrap().modified().unwrap();
        let before = modified();
        // Until the clock of the file system has moved on.
        while modified() == before {
            file.write_all_at(&self.1.fetch_add(1, Ordering::Relaxed).to_le_bytes(), 2 << 20).unwrap();
        }
    }
}

#[test]
fn file_that_never_rests_is_an_exception_and_the_rest_is_captured() {
    let bench = Bench::new();
    let source = bench.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("restless"), noise(1, 4 << 20)).unwrap();
    fs::write(source.join("still"), "x").unwrap();
    bench.settle();
    let control = NeverRests(source.join("restless"), AtomicU64::new(0));
    let point = bench.capture_with(&Plain, &source, None, &control).unwrap();
    let found: Vec<_> = point.capture.exceptions.iter().map(|e| (e.path.as_str(), e.kind)).collect();
    assert_eq!(found, [("restless", ExceptionKind::ChangedWhileReading)]);
    assert_eq!(point.capture.items, 2);
    // What is a mixture is never taken for unchanged.
    bench.settle();
    let next = bench.capture(&Plain, &source, Some(&point));
    bench.restore(&Plain, &next, &bench.path("target"), OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&source, &bench.path("target")), None);
}

#[test]
fn without_root_data_comes_back_and_what_cannot_be_set_is_listed() {
    // The whole test runs again in a process of another user.
    if rustix::process::geteuid().is_root() {
        let bench = Bench::new();
        let place = bench.path("");
        run("chmod", &["0777", "."], &place);
        fs::create_dir(place.join("source")).unwrap();
        fs::write(place.join("source/file"), "mine").unwrap();
        xattr::set(place.join("source/file"), "user.x", b"y").unwrap();
        fs::write(place.join("source/closed"), "not yours").unwrap();
        run("chmod", &["0600", "source/closed"], &place);
        run("chmod", &["4755", "source/file"], &place);
        let executable = place.join("tests");
        fs::copy(std::env::current_exe().unwrap(), &executable).unwrap();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&executable)
            .args(["--exact", "torture::without_root_data_comes_back_and_what_cannot_be_set_is_listed", "--nocapture"])
            .env("SOURCE_OF_ROOT", place.join("source"))
            .env("TMPDIR", &place)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("ran as another user"), "{text}");
        return;
    }
    let Some(source) = std::env::var_os("SOURCE_OF_ROOT") else { return };
    let bench = Bench::new();
    let point = bench.capture_with(&Plain, Path::new(&source), None, &NoControl).unwrap();
    let denied: Vec<_> = point.capture.exceptions.iter().map(|e| (e.path.as_str(), e.kind)).collect();
    assert_eq!(denied, [("closed", ExceptionKind::PermissionDenied)]);
    let target = bench.path("target");
    let restored = bench.restore(&Plain, &point, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "mine");
    assert_eq!(xattr::get(target.join("file"), "user.x").unwrap(), Some(b"y".to_vec()));
    assert!(restored.findings.iter().any(|f| f.subject == "file" && f.message.contains("owner")), "{restored:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(target.join("file")).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755, "nobody gets somebody else's set-user-id program");
    assert_eq!(bench.check(&Plain, &point, &target).unwrap().findings, []);
    let again = bench.restore(&Plain, &point, &target, OverwritePolicy::Refuse);
    assert!(again.is_ok(), "{again:?}");
    assert!(matches!(
        bench.capture_with(&Plain, Path::new("/root/nowhere"), None, &NoControl),
        Err(DriverError::Io { .. } | DriverError::NotFound { .. })
    ));
    println!("ran as another user");
}
