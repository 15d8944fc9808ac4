//! The suite every driver must pass, with a sparse image.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use driver_api::Driver;
use driver_api::conformance::{Damage, Subject};
use driver_volume::VolumeDriver;
use job_model::FindingKind;

use super::oracle::{self, MIB, image, noise};

struct Image;

/// Changes an image without leaving a trace in its times.
fn quietly(path: &Path, change: impl FnOnce(&File)) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    change(&file);
    file.set_modified(modified).unwrap();
}

impl Subject for Image {
    fn driver(&self) -> &dyn Driver {
        &VolumeDriver
    }

    fn build(&self, place: &Path) {
        // Three extents with data, one that is all hole, and an odd end.
        let data = [(0, 3 * MIB as usize), (10 * MIB + 5, 100), (70 * MIB, 2 * MIB as usize), (260 * MIB, 17)];
        image(place, 260 * MIB + 12_345, &data);
    }

    fn change(&self, place: &Path) -> u64 {
        let file = File::options().write(true).open(place).unwrap();
        file.write_all_at(&noise(77, 5000), MIB + 17).unwrap();
        file.write_all_at(b"in a hole", 150 * MIB).unwrap();
        2 * MIB
    }

    fn skips_unchanged(&self) -> bool {
        false
    }

    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        oracle::difference(left, right)
    }

    fn damages(&self) -> Vec<Damage> {
        use FindingKind::{ContentDiffers, EntryMissing, MetadataDiffers};
        let damage = |name, finding, apply| Damage { name, apply, finding };
        vec![
            damage("flipped byte", ContentDiffers, |path| {
                quietly(path, |file| {
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, 2 * MIB + 3).unwrap();
                    file.write_all_at(&[byte[0] ^ 1], 2 * MIB + 3).unwrap();
                });
            }),
            damage("data in an absent extent", ContentDiffers, |path| {
                quietly(path, |file| file.write_all_at(b"x", 200 * MIB).unwrap());
            }),
            damage("data in a hole of an extent", ContentDiffers, |path| {
                quietly(path, |file| file.write_all_at(b"x", 40 * MIB).unwrap());
            }),
            damage("cut", ContentDiffers, |path| quietly(path, |file| file.set_len(260 * MIB).unwrap())),
            damage("grown", ContentDiffers, |path| quietly(path, |file| file.set_len(261 * MIB).unwrap())),
            damage("other mode", MetadataDiffers, |path| {
                std::fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
            }),
            damage("gone", EntryMissing, |path| std::fs::remove_file(path).unwrap()),
        ]
    }

    fn privileged(&self) -> bool {
        true
    }
}

driver_api::driver_conformance!(Image);
