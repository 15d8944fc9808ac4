//! The suite every driver must pass, with a tree that has some of everything.

use std::fs;
use std::path::Path;

use driver_api::Driver;
use driver_api::conformance::{Damage, Subject};
use driver_filesystem::FilesystemDriver;
use job_model::FindingKind;

use super::oracle;
use super::source::{noise, set_time};

pub(crate) struct Trees;

impl Subject for Trees {
    fn driver(&self) -> &dyn Driver {
        &FilesystemDriver
    }

    fn build(&self, place: &Path) {
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::create_dir(place.join("empty")).unwrap();
        fs::write(place.join("large"), noise(1, 2 << 20)).unwrap();
        fs::write(place.join("a/changing"), noise(2, 100_000)).unwrap();
        fs::write(place.join("a/b/nothing"), "").unwrap();
        for number in 0..20 {
            fs::write(place.join(format!("a/b/{number}")), noise(number + 10, 3000)).unwrap();
        }
        fs::hard_link(place.join("large"), place.join("a/large")).unwrap();
        std::os::unix::fs::symlink("large", place.join("link")).unwrap();
        let sparse = fs::File::create(place.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(3, 5000), 6 << 20).unwrap();
        sparse.set_len(8 << 20).unwrap();
        sparse.sync_all().unwrap();
        xattr::set(place.join("a/changing"), "user.note", b"n").unwrap();
        oracle::run("chattr", &["+d", "a/b/1"], place);
        for path in ["large", "a/changing", "a/b/nothing", "sparse", "link", "a/b", "a", "empty", "."] {
            set_time(&place.join(path), 1_600_000_000, 7);
        }
        for number in 0..20 {
            set_time(&place.join(format!("a/b/{number}")), 1_600_000_000, 8);
        }
    }

    fn change(&self, place: &Path) -> u64 {
        fs::write(place.join("a/changing"), noise(99, 100_000)).unwrap();
        fs::write(place.join("a/new"), noise(98, 5000)).unwrap();
        fs::remove_file(place.join("a/b/7")).unwrap();
        std::os::unix::fs::chown(place.join("empty"), Some(77), Some(78)).unwrap();
        // The files, and the list of attributes where it changes.
        105_000 + 1000
    }

    fn skips_unchanged(&self) -> bool {
        true
    }

    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        oracle::difference(left, right)
    }

    fn damages(&self) -> Vec<Damage> {
        use FindingKind::{ContentDiffers, EntryMissing, EntryUnexpected, MetadataDiffers};
        fn keep_time(path: &Path, change: impl FnOnce(&Path)) {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            change(path);
            fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        }
        let damage = |name, finding, apply| Damage { name, apply, finding };
        vec![
            damage("flipped byte with the time set back", ContentDiffers, |root| {
                keep_time(&root.join("large"), |path| {
                    let mut bytes = fs::read(path).unwrap();
                    bytes[1_500_000] ^= 1;
                    fs::write(path, bytes).unwrap();
                });
            }),
            damage("flipped byte in a hole", ContentDiffers, |root| {
                keep_time(&root.join("sparse"), |path| {
                    let file = fs::File::options().write(true).open(path).unwrap();
                    std::os::unix::fs::FileExt::write_all_at(&file, b"!", 3 << 20).unwrap();
                });
            }),
            damage("cut file", ContentDiffers, |root| {
                keep_time(&root.join("a/b/3"), |path| {
                    fs::File::options().write(true).open(path).unwrap().set_len(2999).unwrap();
                });
            }),
            damage("missing file", EntryMissing, |root| fs::remove_file(root.join("a/b/5")).unwrap()),
            damage("missing directory", EntryMissing, |root| fs::remove_dir_all(root.join("a/b")).unwrap()),
            damage("missing link", EntryMissing, |root| fs::remove_file(root.join("link")).unwrap()),
            damage("extra file", EntryUnexpected, |root| fs::write(root.join("a/extra"), "x").unwrap()),
            damage("extra directory", EntryUnexpected, |root| fs::create_dir_all(root.join("empty/x/y")).unwrap()),
            damage("other mode", MetadataDiffers, |root| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(root.join("a/b/2"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            damage("other owner", MetadataDiffers, |root| {
                std::os::unix::fs::chown(root.join("a"), Some(5), None).unwrap();
            }),
            damage("other time", MetadataDiffers, |root| set_time(&root.join("large"), 1_600_000_000, 8)),
            damage("other time of a link", MetadataDiffers, |root| set_time(&root.join("link"), 1_600_000_000, 8)),
            damage("other attribute", MetadataDiffers, |root| {
                xattr::set(root.join("a/changing"), "user.note", b"m").unwrap();
            }),
            damage("extra attribute", MetadataDiffers, |root| xattr::set(root.join("a"), "user.x", b"").unwrap()),
            damage("other flags", MetadataDiffers, |root| {
                oracle::run("chattr", &["+S", "a/b/4"], root);
            }),
            damage("missing flags", MetadataDiffers, |root| {
                oracle::run("chattr", &["-d", "a/b/1"], root);
            }),
            damage("other link target", MetadataDiffers, |root| {
                fs::remove_file(root.join("link")).unwrap();
                std::os::unix::fs::symlink("other", root.join("link")).unwrap();
                set_time(&root.join("link"), 1_600_000_000, 7);
            }),
            damage("other type", MetadataDiffers, |root| {
                fs::remove_file(root.join("a/b/6")).unwrap();
                fs::create_dir(root.join("a/b/6")).unwrap();
            }),
            damage("broken hard link", MetadataDiffers, |root| {
                fs::copy(root.join("large"), root.join("copy")).unwrap();
                fs::rename(root.join("copy"), root.join("a/large")).unwrap();
            }),
        ]
    }

    fn privileged(&self) -> bool {
        true
    }
}

driver_api::driver_conformance!(Trees);
