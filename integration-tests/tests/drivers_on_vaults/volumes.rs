//! Volumes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use driver_volume::VolumeDriver;

use crate::oracle::run;
use crate::referees::Referee;
use crate::source::noise;
use crate::volume_oracle::{self, MIB, allocated, difference};
use crate::workshop::{Workshop, capture, check, copy, examine, restore_new};

const SIZE: u64 = 140 * MIB + 5;

/// An image with data in two of its extents and at its very end.
fn image(place: &Path) {
    volume_oracle::image(place, SIZE, &[(3, 100), (70 * MIB - 1, 3 * MIB as usize), (SIZE - 5, 5)]);
}

#[test]
fn image_comes_back_from_a_vault_and_from_a_copy_of_it() {
    let workshop = Workshop::new();
    let source = workshop.path("source");
    image(&source);
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let first = capture(&vault, &VolumeDriver, &source, None);
    File::options().write(true).open(&source).unwrap().write_all_at(b"changed", 71 * MIB).unwrap();
    let second = capture(&vault, &VolumeDriver, &source, Some(&first));
    assert!(second.stats.bytes_new < 2 * MIB, "one chunk and a few trees: {:?}", second.stats);
    let elsewhere = workshop.create(&workshop.in_directory("elsewhere", "other"));
    let copied = copy(&vault, &second, &elsewhere).unwrap();
    for (vault, point, name) in [(&vault, &second, "restored"), (&elsewhere, &copied, "restored from the copy")] {
        let target = workshop.path(name);
        restore_new(vault, &VolumeDriver, point, &target);
        assert_eq!(difference(&source, &target), None);
        assert!(allocated(&target) < 8 * MIB);
        assert_eq!(check(vault, &VolumeDriver, point, &target).findings, []);
        assert!(examine(vault).is_sound());
    }
    let before = workshop.path("before the change");
    restore_new(&vault, &VolumeDriver, &first, &before);
    assert!(!check(&vault, &VolumeDriver, &second, &before).findings.is_empty());
}

/// The script that the driver's documentation promises to work.
fn documented_script() -> String {
    let documentation = include_str!("../../../shared/driver-volume/src/lib.rs");
    let lines = documentation.lines().skip_while(|line| *line != "//! ```sh").skip(1);
    let script: Vec<_> = lines.map_while(|line| line.strip_prefix("//! ").filter(|line| *line != "```")).collect();
    assert!(script.len() > 3);
    script.join("\n")
}

#[test]
fn image_is_rebuilt_without_holdfast_from_what_restic_and_rustic_restore() {
    let workshop = Workshop::new();
    let source = workshop.path("source");
    image(&source);
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let point = capture(&vault, &VolumeDriver, &source, None);
    for referee in Referee::present() {
        let reading = referee.reading(&workshop, "vault", "main");
        reading.agrees(&workshop);
        let place = workshop.path(&format!("{referee:?}"));
        reading.restore(&workshop, &point.snapshot.to_hex(), &place, None);
        let description = fs::read(place.join("holdfast/recovery-point.json")).unwrap();
        let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
        let script = format!("set -eu; size={}\n{}", description["driver"]["size"], documented_script());
        run("bash", &["-c", &script], &place);
        run("cmp", &[source.to_str().unwrap(), "image"], &place);
    }
}

/// Length of the volume, and of what is in it. The benchmarks do the same with 1 GB of data.
const SPARSE_BYTES: u64 = 200_000_000_000;
const SPARSE_DATA_BYTES: u64 = 64 << 20;

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

#[test]
fn what_a_sparse_volume_costs_goes_by_its_data_and_not_by_its_length() {
    let workshop = Workshop::new();
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let (source, restored) = (workshop.path("source"), workshop.path("restored"));
    let file = File::create(&source).unwrap();
    file.set_len(SPARSE_BYTES).unwrap();
    let pieces = 16;
    for number in 0..pieces {
        let offset = SPARSE_BYTES / pieces * number / 4096 * 4096;
        file.write_all_at(&noise(number, (SPARSE_DATA_BYTES / pieces) as usize), offset).unwrap();
    }
    file.sync_all().unwrap();
    // What the processors do for as much data without holes is the measure, on whatever machine.
    let dense = workshop.path("dense");
    fs::write(&dense, noise(pieces, SPARSE_DATA_BYTES as usize)).unwrap();
    let there_and_back = |source: &Path, target: &Path| {
        let began = processor_time();
        let point = capture(&vault, &VolumeDriver, source, None);
        restore_new(&vault, &VolumeDriver, &point, target);
        (point, processor_time() - began)
    };
    let (_, usual) = there_and_back(&dense, &workshop.path("dense again"));
    let (point, took) = there_and_back(&source, &restored);
    println!("{took:?} with holes, {usual:?} without");
    // The holes are three thousand times the data.
    assert!(took < usual * 10, "{took:?} with holes, {usual:?} without");
    assert!(point.stats.bytes_new < SPARSE_DATA_BYTES * 3 / 2, "{:?}", point.stats);
    let metadata = fs::metadata(&restored).unwrap();
    assert_eq!(metadata.len(), SPARSE_BYTES);
    // In units of 512 bytes.
    assert!(metadata.blocks() * 512 < SPARSE_DATA_BYTES * 3 / 2, "{}", metadata.blocks());
    assert_eq!(check(&vault, &VolumeDriver, &point, &restored).findings, []);
}
