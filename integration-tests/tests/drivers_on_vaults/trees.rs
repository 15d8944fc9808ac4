//! File trees.

use std::fs;
use std::path::Path;

use driver_filesystem::FilesystemDriver;
use job_model::OverwritePolicy;
use vault_engine::VaultError;

use crate::oracle::{difference, run};
use crate::referees::Referee;
use crate::source::{allocated, noise, torture};
use crate::workshop::{Workshop, capture, check, copy, examine, restore, restore_new};

/// restic of Debian writes its holes out, all five GiB.
const TOO_MUCH_FOR_RESTIC: &str = "sparse huge";

#[test]
fn everything_a_file_system_holds_comes_back_from_a_vault_and_from_a_copy_of_it() {
    let workshop = Workshop::new();
    let source = workshop.path("source");
    torture(&source);
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let first = capture(&vault, &FilesystemDriver, &source, None);
    let second = capture(&vault, &FilesystemDriver, &source, Some(&first));
    assert!(second.stats.bytes_new < 16 << 10, "only the description is new: {:?}", second.stats);

    let elsewhere = workshop.create(&workshop.in_directory("elsewhere", "other"));
    let copied = copy(&vault, &second, &elsewhere).unwrap();
    assert_eq!(copied.tree, second.tree);
    let again = copy(&vault, &second, &elsewhere).unwrap();
    assert_eq!((again.snapshot, again.stats.blobs_new), (copied.snapshot, 0));

    for (vault, point, name) in [(&vault, &second, "restored"), (&elsewhere, &copied, "restored from the copy")] {
        let target = workshop.path(name);
        restore_new(vault, &FilesystemDriver, point, &target);
        assert_eq!(difference(&source, &target), None);
        assert!(allocated(&target.join("sparse huge")) < 1 << 20);
        assert_eq!(check(vault, &FilesystemDriver, point, &target).findings, []);
        // Over itself, nothing is written again.
        restore(vault, &FilesystemDriver, point, &target, OverwritePolicy::Exact).unwrap();
        assert_eq!(difference(&source, &target), None);
        let report = examine(vault);
        assert!(report.is_sound() && report.packs_read > 0, "{report:?}");
    }
    // The vaults know nothing of each other's keys.
    let wrong = workshop.open(&workshop.in_directory("elsewhere", "main")).unwrap_err();
    assert!(matches!(wrong, VaultError::WrongKey { .. }), "{wrong}");
}

#[test]
fn restic_and_rustic_restore_all_that_they_keep() {
    let workshop = Workshop::new();
    let source = workshop.path("source");
    torture(&source);
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let point = capture(&vault, &FilesystemDriver, &source, None);
    for referee in Referee::present() {
        let reading = referee.reading(&workshop, "vault", "main");
        reading.agrees(&workshop);
        let target = workshop.path(&format!("{referee:?}"));
        reading.restore(&workshop, &point.snapshot.to_hex(), &target, Some(TOO_MUCH_FOR_RESTIC));
        assert!(fs::metadata(target.join("holdfast/recovery-point.json")).unwrap().len() > 100);
        // What it keeps is what it restores of a backup of its own.
        let own_target = workshop.path(&format!("{referee:?} by itself"));
        let own = referee.reading(&workshop, &format!("{referee:?} repository"), "main");
        own.back_up(&workshop, &source, TOO_MUCH_FOR_RESTIC);
        own.restore(&workshop, "latest", &own_target, None);
        let own_target = own_target.join(source.strip_prefix("/").unwrap());
        let own_losses = plain_difference(&source, &own_target);
        assert!(own_losses.lines().count() < 12, "{referee:?}: {own_losses}");
        // In the form that restic gave to trees a mode of nothing is left out, and rustic sets none then.
        let of_the_form = |loss: &str| referee == Referee::Rustic && loss == ".f...p..... closed";
        for loss in plain_difference(&source, &target.join("data")).lines().filter(|loss| !of_the_form(loss)) {
            assert!(own_losses.lines().any(|own| own == loss), "{referee:?}: {loss}\nof its own: {own_losses}");
        }
    }
}

/// What rsync sees, but for sockets and what was left out. Flags and the space that files take are not its business.
fn plain_difference(left: &Path, right: &Path) -> String {
    let slashed = |path: &Path| format!("{}/", path.display());
    let (left, right) = (slashed(left), slashed(right));
    let exclude = format!("--exclude={TOO_MUCH_FOR_RESTIC}");
    let arguments =
        ["-naHAXSi", "--checksum", "--delete", "--numeric-ids", &exclude, "--exclude=/socket", &left, &right];
    run("rsync", &arguments, Path::new("/"))
}

#[test]
fn many_files_and_a_change_in_few_of_them_come_back() {
    let workshop = Workshop::new();
    let source = workshop.path("source");
    for number in 0..1000_u64 {
        let directory = source.join(format!("{}", number % 30));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("file {number}")), noise(number, 2000)).unwrap();
    }
    let vault = workshop.create(&workshop.in_directory("vault", "main"));
    let first = capture(&vault, &FilesystemDriver, &source, None);
    let target = workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &first, &target);
    for number in (0..1000_u64).step_by(50) {
        fs::write(source.join(format!("{}/file {number}", number % 30)), noise(number + 9000, 3000)).unwrap();
    }
    fs::remove_dir_all(source.join("7")).unwrap();
    let second = capture(&vault, &FilesystemDriver, &source, Some(&first));
    assert!(second.stats.bytes_new < 1 << 20, "{:?}", second.stats);
    // The older state becomes the newer one, and goes back again.
    restore(&vault, &FilesystemDriver, &second, &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&source, &target), None);
    restore(&vault, &FilesystemDriver, &first, &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(check(&vault, &FilesystemDriver, &first, &target).findings, []);
    assert!(examine(&vault).is_sound());
}
