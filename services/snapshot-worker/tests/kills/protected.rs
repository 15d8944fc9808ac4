//! Resources that are changed and captured again and again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use driver_api::conformance::Mount;
use driver_api::{Driver, NoControl, RestoreRequest};
use driver_filesystem::FilesystemDriver;
use driver_qemu::{QemuSettings, ServedVolumeDriver};
use job_events::{CaptureSnapshot, Fact, ParentSnapshot};
use job_model::{Arn, JobId, OverwritePolicy, RecoveryPointId, ResourceType, SourceReading, SourceView, VaultAccess};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};
use vault_engine::{Vault, read_description, recovery_point_tag};
use worker_host::testing::{Bench, location};

const MIB: u64 = 1 << 20;
/// Size of an image and of the large file of a tree; files from 64 MiB on are tracked by extents.
const LARGE_BYTES: u64 = 66 * MIB;
/// Small files of a tree.
const SMALL_FILES: u64 = 150;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tree,
    Volume,
}

/// One resource and its newest recovery point.
pub(crate) struct Protected {
    arn: Arn,
    kind: Kind,
    place: PathBuf,
    view: SourceView,
    newest: Option<Point>,
    wanted: Option<CaptureSnapshot>,
}

struct Point {
    id: RecoveryPointId,
    snapshot: ParentSnapshot,
}

impl Protected {
    /// Makes it on a file system, where such a resource is captured from such a view.
    pub(crate) fn new(mount: &Mount, kind: Kind, view: SourceView, random: &mut StdRng) -> Self {
        let name = match (kind, view) {
            (Kind::Tree, SourceView::SubvolumeSnapshot) => {
                run("btrfs", &["subvolume", "create", mount.path("tree").to_str().unwrap()]);
                "tree"
            }
            (Kind::Tree, _) => {
                fs::create_dir(mount.path("tree")).unwrap();
                "tree"
            }
            (Kind::Volume, _) => "disk.img",
        };
        let place = mount.path(name);
        let on = mount.root().file_name().unwrap().to_string_lossy().replace('.', "");
        let arn = match kind {
            Kind::Tree => format!("arn:aws:files:ap-northeast-1:000000000000:tree/{on}"),
            Kind::Volume => format!("arn:aws:ec2:ap-northeast-1:000000000000:volume/{on}"),
        };
        let made = Self { arn: arn.parse().unwrap(), kind, place, view, newest: None, wanted: None };
        fs::write(made.large(), noise(random, LARGE_BYTES)).unwrap();
        if kind == Kind::Tree {
            for number in 0..SMALL_FILES {
                fs::write(made.small(number), noise(random, 100 * number)).unwrap();
            }
        }
        made
    }

    pub(crate) fn name(&self) -> String {
        self.place.display().to_string()
    }

    pub(crate) const fn view(&self) -> SourceView {
        self.view
    }

    pub(crate) fn newest_id(&self) -> RecoveryPointId {
        self.newest.as_ref().unwrap().id
    }

    pub(crate) fn wanted_id(&self) -> RecoveryPointId {
        self.wanted.as_ref().unwrap().recovery_point_id
    }

    fn large(&self) -> PathBuf {
        match self.kind {
            Kind::Tree => self.place.join("large"),
            Kind::Volume => self.place.clone(),
        }
    }

    fn small(&self, number: u64) -> PathBuf {
        self.place.join(format!("small-{number}"))
    }

    /// Writes here and there, in place; in a tree also makes, replaces and removes files.
    pub(crate) fn change(&self, random: &mut StdRng) {
        let file = File::options().write(true).open(self.large()).unwrap();
        for _ in 0..random.random_range(1..8) {
            let length = random.random_range(1..2 * MIB);
            let offset = random.random_range(0..LARGE_BYTES - length);
            file.write_all_at(&noise(random, length), offset).unwrap();
        }
        if self.kind == Kind::Tree {
            for _ in 0..20 {
                let small = self.small(random.random_range(0..SMALL_FILES));
                if random.random_bool(0.2) {
                    let _not_there = fs::remove_file(small);
                } else {
                    let length = random.random_range(0..20_000);
                    fs::write(small, noise(random, length)).unwrap();
                }
            }
        }
    }

    /// Orders a recovery point of what is there now.
    pub(crate) async fn order(&mut self, bench: &Bench, vault: &VaultAccess) {
        let (recovery_point_id, recovery_point) = bench.recovery_point();
        self.wanted = Some(CaptureSnapshot {
            order: bench.header(&self.arn),
            resource_type: match self.kind {
                Kind::Tree => ResourceType::Files,
                Kind::Volume => ResourceType::Volume,
            },
            location: location(&self.place),
            hooks: None,
            vault: vault.clone(),
            recovery_point_id,
            recovery_point,
            parent: self.newest.as_ref().map(|point| point.snapshot.clone()),
            tags: BTreeMap::new(),
            created_at: bench.now(),
            base_of: None,
        });
        bench.order(self.wanted.clone().unwrap()).await;
    }

    /// Orders the same recovery point once more, as the planner does when an attempt was lost.
    pub(crate) async fn order_again(&mut self, bench: &Bench) {
        let wanted = self.wanted.as_mut().unwrap();
        wanted.order.attempt += 1;
        bench.order(wanted.clone()).await;
    }

    /// The job that is to make it.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.wanted.as_ref().map(|wanted| wanted.order.job_id)
    }

    /// Takes the end of an attempt over; gives how the source was read when that was the recovery point.
    pub(crate) fn hear(&mut self, fact: Fact) -> Option<SourceReading> {
        let wanted = self.wanted.as_ref().unwrap();
        match fact {
            Fact::SnapshotCaptured(captured) => {
                let snapshot = ParentSnapshot { snapshot_id: captured.snapshot_id, tree_id: captured.summary.tree_id };
                self.newest = Some(Point { id: wanted.recovery_point_id, snapshot });
                self.wanted = None;
                captured.summary.reading
            }
            // What a life before said of its attempt comes late.
            Fact::AttemptFailed(failed) if failed.attempt.attempt < wanted.order.attempt => None,
            other => panic!("{}: {other:?}", self.name()),
        }
    }

    /// Whether the recovery point that was ordered is in the vault.
    pub(crate) fn is_committed(&self, vault: &Vault) -> bool {
        vault.find_snapshot_by_tag(&recovery_point_tag(self.wanted_id())).unwrap().is_some()
    }

    /// How the newest recovery point, restored, differs from the resource, which nobody has changed since.
    pub(crate) fn difference(&self, vault: &Vault) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("restored");
        let newest = self.newest.as_ref().unwrap();
        let reader = vault.reader(newest.snapshot.snapshot_id.parse().unwrap()).unwrap();
        let description = serde_json::to_value(read_description(&reader).unwrap()).unwrap();
        let driver: &dyn Driver = match self.kind {
            Kind::Tree => &FilesystemDriver,
            Kind::Volume => &ServedVolumeDriver::new(QemuSettings::default()),
        };
        let request = RestoreRequest {
            reader: &reader,
            description: &description,
            target: &target,
            overwrite: OverwritePolicy::Refuse,
            include: &[],
            options: &BTreeMap::new(),
            parallelism: 2,
            control: &NoControl,
            elapsed_ms: &|| 0,
        };
        assert_eq!(driver.restore(request).unwrap().findings, []);
        let output = Command::new("diff").arg("-r").args([&self.place, &target]).output().unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that neither compress nor repeat.
fn noise(random: &mut StdRng, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    random.fill_bytes(&mut bytes);
    bytes
}
