//! Block devices: loop devices on images.

use std::path::Path;

use driver_api::conformance::{Bench, StoppingControl};
use driver_api::{DriverError, ReadError};
use job_model::OverwritePolicy;

use super::images::Plain;
use super::oracle::{Loop, MIB, image, run};

const SIZE: u64 = 130 * MIB;

fn compare(left: &str, right: &str) -> bool {
    std::process::Command::new("cmp").args([left, right]).output().unwrap().status.success()
}

#[test]
fn device_is_captured_and_written_in_place() {
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    image(&source, SIZE, &[(0, 2 * MIB as usize), (129 * MIB, MIB as usize)]);
    image(&target, SIZE, &[(0, MIB as usize), (64 * MIB, 3 * MIB as usize), (128 * MIB, 2 * MIB as usize)]);
    let (source, target) = (Loop::attach(&source), Loop::attach(&target));
    let point = bench.capture(&Plain, Path::new(&source.0), None);
    assert_eq!(point.capture.size_bytes, SIZE);
    let device = Path::new(&target.0);
    let refused = bench.restore(&Plain, &point, device, OverwritePolicy::Refuse);
    assert!(matches!(refused, Err(DriverError::TargetExists { .. })), "{refused:?}");
    assert!(!compare(&source.0, &target.0));
    let found = bench.check(&Plain, &point, device).unwrap().findings;
    assert!(!found.is_empty());
    let age = bench.restore(&Plain, &point, device, OverwritePolicy::IfNewer);
    assert!(matches!(age, Err(DriverError::BadLocation { .. })), "{age:?}");
    bench.restore(&Plain, &point, device, OverwritePolicy::IfChanged).unwrap();
    assert!(compare(&source.0, &target.0));
    assert_eq!(bench.check(&Plain, &point, device).unwrap().findings, []);
    bench.restore(&Plain, &point, device, OverwritePolicy::Refuse).unwrap();
}

#[test]
fn damaged_vault_leaves_a_device_alone_and_an_interrupted_restore_goes_on() {
    let bench = Bench::new();
    let (source, target, before) = (bench.path("source"), bench.path("target"), bench.path("before"));
    image(&source, SIZE, &[(0, 9 * MIB as usize), (90 * MIB, MIB as usize)]);
    image(&target, SIZE, &[(5, 20 * MIB as usize)]);
    run("cp", &[target.to_str().unwrap(), before.to_str().unwrap()]);
    let point = bench.capture(&Plain, &source, None);
    let device = Loop::attach(&target);
    let last = *bench.data_blobs(&point).last().unwrap();
    bench.vault.damage(&last);
    let result = bench.restore(&Plain, &point, Path::new(&device.0), OverwritePolicy::Exact);
    assert!(matches!(result, Err(DriverError::Read(ReadError::Damaged { .. }))), "{result:?}");
    assert!(compare(before.to_str().unwrap(), &device.0), "the device is as it was");
    bench.vault.repair(&last);
    let mut questions = 100;
    let mut interrupted = 0;
    loop {
        let control = StoppingControl::after(questions);
        match bench.restore_with(&Plain, &point, Path::new(&device.0), OverwritePolicy::Exact, &control) {
            Ok(_) => break,
            Err(DriverError::Stopped) => interrupted += 1,
            Err(error) => panic!("{error:?}"),
        }
        questions += 15;
    }
    assert!(interrupted > 2);
    assert!(compare(source.to_str().unwrap(), &device.0));
}

#[test]
fn device_that_is_mounted_or_too_small_is_refused() {
    let bench = Bench::new();
    let (source, small, mounted) = (bench.path("source"), bench.path("small"), bench.path("mounted"));
    image(&source, SIZE, &[(0, MIB as usize)]);
    image(&small, SIZE - 4096, &[]);
    image(&mounted, SIZE, &[]);
    let point = bench.capture(&Plain, &source, None);
    run("mkfs.ext4", &["-q", mounted.to_str().unwrap()]);
    let (small, mounted) = (Loop::attach(&small), Loop::attach(&mounted));
    let result = bench.restore(&Plain, &point, Path::new(&small.0), OverwritePolicy::Exact);
    assert!(
        matches!(&result, Err(DriverError::BadLocation { problem, .. }) if problem.contains("needs")),
        "{result:?}"
    );
    let place = bench.path("place");
    std::fs::create_dir(&place).unwrap();
    run("mount", &[&mounted.0, place.to_str().unwrap()]);
    let result = bench.restore(&Plain, &point, Path::new(&mounted.0), OverwritePolicy::Exact);
    run("umount", &[place.to_str().unwrap()]);
    assert!(
        matches!(&result, Err(DriverError::BadLocation { problem, .. }) if problem.contains("mounted")),
        "{result:?}"
    );
}
