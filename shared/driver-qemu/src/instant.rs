//! An instant of a disk that QEMU serves, and the bitmap that says what is written after it.
//!
//! In one transaction: a new bitmap begins to record for the next capture; a copy is made of the bitmap that has recorded
//! since the parent; and a job begins that puts aside what is overwritten (a temporary overlay whose backing is the disk:
//! reading the overlay gives the disk as it was). The parent's bitmap goes on recording until the new recovery point is
//! committed: a capture that fails at any instant takes nothing from it, so that there is nothing to merge back.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::{QemuError, chain};
use crate::location::Location;
use crate::nbd::{Client, STATE_DIRTY, dirty_context};
use crate::qmp::{Bitmap, Monitor, Node};
use crate::settings::{QemuProfile, QemuSettings};

/// What one bit of a new bitmap stands for, in bytes.
pub(crate) const GRANULARITY_BYTES: u64 = 64 << 10;
/// Digits of the names that are given; a block node's has 31 bytes at most.
const KEY_BYTES: usize = 10;

/// What a capture makes and what stays of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Remains {
    /// A dirty bitmap.
    QemuBitmap {
        profile: String,
        node: String,
        /// From which all names are made.
        key: String,
        /// In bytes.
        granularity: u64,
        /// Where overwritten data is put aside during the capture.
        scratch: PathBuf,
        /// Whether it is kept in the image when the process ends in order; none before that is known.
        persistent: bool,
    },
}

impl Remains {
    pub(crate) fn new(location: &Location, profile: &QemuProfile, name: &str, persistent: bool) -> Self {
        let key = hex::encode(&Sha256::digest(name)[..KEY_BYTES]);
        Self::QemuBitmap {
            profile: location.profile.clone(),
            node: location.node.clone(),
            granularity: GRANULARITY_BYTES,
            scratch: profile.scratch_directory.join(format!("holdfast-{key}.qcow2")),
            key,
            persistent,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        // Strings, numbers and maps of them always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn names(&self) -> Names<'_> {
        let Self::QemuBitmap { node, key, scratch, .. } = self;
        Names {
            node,
            bitmap: format!("holdfast-{key}"),
            read: format!("holdfast-read-{key}"),
            file: format!("hf-file-{key}"),
            overlay: format!("hf-over-{key}"),
            job: format!("hf-job-{key}"),
            export: format!("hf-export-{key}"),
            scratch,
        }
    }
}

struct Names<'a> {
    node: &'a str,
    /// Records from this instant on.
    bitmap: String,
    /// What the parent's bitmap had at this instant.
    read: String,
    file: String,
    overlay: String,
    job: String,
    export: String,
    scratch: &'a Path,
}

/// The parent's bitmap, or why there is none to trust.
pub(crate) fn base_of(
    base: Option<&serde_json::Value>,
    location: &Location,
    bitmaps: &[Bitmap],
) -> Result<String, String> {
    let base = base.ok_or("this worker keeps no bitmap of the parent recovery point")?;
    let base = Remains::deserialize(base).map_err(|error| format!("what is kept of the parent: {error}"))?;
    let Remains::QemuBitmap { profile, node, granularity, .. } = &base;
    if (profile, node) != (&location.profile, &location.node) {
        return Err(format!("the parent was captured from node `{node}` of profile `{profile}`"));
    }
    let name = base.names().bitmap;
    let Some(found) = bitmaps.iter().find(|bitmap| bitmap.name == name) else {
        return Err(format!("the bitmap `{name}` is gone; was the process ended, or the image exchanged?"));
    };
    let problem = if found.inconsistent {
        "was not saved; the process was killed or the machine lost its power"
    } else if found.granularity != *granularity {
        "has another granularity than it was made with"
    } else if !found.recording {
        "does not record; somebody disabled it"
    } else if found.busy {
        "is used by somebody else"
    } else {
        return Ok(name);
    };
    Err(format!("the bitmap `{name}` {problem}"))
}

/// An instant that is held.
pub(crate) struct Instant {
    monitor: Monitor,
    remains: Remains,
    /// Whether the bitmap of what changed could be copied.
    has_changes: bool,
}

impl Instant {
    /// Takes it. What it makes was intended before; whoever gives up calls [`remove`].
    pub(crate) fn take(
        mut monitor: Monitor,
        profile: &QemuProfile,
        remains: Remains,
        node: &Node,
        base: Option<&str>,
    ) -> Result<Self, QemuError> {
        let names = remains.names();
        let Remains::QemuBitmap { granularity, persistent, .. } = &remains;
        let scratch = names.scratch.display().to_string();
        let file = json!({ "driver": "file", "filename": scratch, "size": 0 });
        monitor.job("blockdev-create", &format!("{}-f", names.job), json!({ "options": file }))?;
        monitor.run("blockdev-add", json!({ "driver": "file", "node-name": names.file, "filename": scratch }))?;
        let overlay = json!({ "driver": "qcow2", "file": names.file, "size": node.image.size });
        monitor.job("blockdev-create", &format!("{}-q", names.job), json!({ "options": overlay }))?;
        monitor.run(
            "blockdev-add",
            json!({ "driver": "qcow2", "node-name": names.overlay, "file": names.file, "backing": names.node }),
        )?;
        let mut actions = vec![json!({ "type": "block-dirty-bitmap-add", "data": {
            "node": names.node, "name": names.bitmap, "granularity": granularity, "persistent": persistent } })];
        if let Some(base) = base {
            actions.push(json!({ "type": "block-dirty-bitmap-add", "data": {
                "node": names.node, "name": names.read, "granularity": granularity, "disabled": true } }));
            actions.push(json!({ "type": "block-dirty-bitmap-merge", "data": {
                "node": names.node, "target": names.read, "bitmaps": [base] } }));
        }
        // Where it cannot put something aside it fails the write of the guest: what is read is one instant or nothing.
        let backup = json!({ "job-id": names.job, "device": names.node, "target": names.overlay, "sync": "none" });
        actions.push(json!({ "type": "blockdev-backup", "data": backup }));
        monitor.run("transaction", json!({ "actions": actions }))?;
        let address = json!({ "type": "unix", "data": { "path": profile.nbd_socket.display().to_string() } });
        match monitor.run("nbd-server-start", json!({ "addr": address })) {
            Ok(_) => {}
            // Another capture has started it, or the operator.
            Err(QemuError::Refused { problem, .. }) if problem.contains("already running") => {}
            Err(error) => return Err(error),
        }
        let bitmaps: Vec<&str> = base.iter().map(|_| names.read.as_str()).collect();
        monitor.run(
            "block-export-add",
            json!({ "type": "nbd", "id": names.export, "node-name": names.overlay, "name": names.export,
                    "writable": false, "bitmaps": bitmaps }),
        )?;
        let has_changes = base.is_some();
        Ok(Self { monitor, remains, has_changes })
    }

    /// The name of the export.
    pub(crate) fn export(&self) -> String {
        self.remains.names().export
    }

    /// What was written since the parent, in order and apart; none when that is not known.
    pub(crate) fn changed(&self, profile: &QemuProfile) -> Result<Option<Vec<(u64, u64)>>, QemuError> {
        if !self.has_changes {
            return Ok(None);
        }
        let context = dirty_context(&self.remains.names().read);
        let mut client = Client::connect(profile, &self.export(), Some(&context))?;
        let size = client.size();
        let status = client.status(0, size)?;
        let dirty = status.iter().filter(|status| status.flags & STATE_DIRTY != 0);
        Ok(Some(dirty.map(|status| (status.start, status.end)).collect()))
    }

    /// Ends it after everything was read: fails when what was read may not have been one instant. The bitmap stays.
    pub(crate) fn finish(mut self) -> Result<Remains, QemuError> {
        self.monitor.must_run(&self.remains.names().job)?;
        release(&mut self.monitor, &self.remains.names())?;
        Ok(self.remains)
    }
}

/// Takes all away but the bitmap. What is gone is success.
fn release(monitor: &mut Monitor, names: &Names<'_>) -> Result<(), QemuError> {
    lenient(monitor.run("block-export-del", json!({ "id": names.export, "mode": "hard" })))?;
    for suffix in ["", "-f", "-q"] {
        monitor.cancel(&format!("{}{suffix}", names.job))?;
    }
    for node in [&names.overlay, &names.file] {
        if monitor.node(node)?.is_some() {
            monitor.run("blockdev-del", json!({ "node-name": node }))?;
        }
    }
    remove_bitmap(monitor, names.node, &names.read)?;
    remove_scratch(names.scratch)
}

/// A command on something that may be gone.
fn lenient(done: Result<serde_json::Value, QemuError>) -> Result<(), QemuError> {
    match done {
        Ok(_) => Ok(()),
        Err(QemuError::Refused { problem, .. }) if problem.contains("not found") => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_bitmap(monitor: &mut Monitor, node: &str, bitmap: &str) -> Result<(), QemuError> {
    match monitor.node(node)? {
        Some(found) if found.bitmaps.iter().any(|known| known.name == bitmap) => {
            monitor.run("block-dirty-bitmap-remove", json!({ "node": node, "name": bitmap })).map(drop)
        }
        _ => Ok(()),
    }
}

fn remove_scratch(path: &Path) -> Result<(), QemuError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(QemuError::Failed { problem: format!("`{}` cannot be removed: {error}", path.display()) })
        }
        _ => Ok(()),
    }
}

/// Whether these are of this driver.
pub(crate) fn is_ours(remains: &serde_json::Value) -> bool {
    remains.get("kind").and_then(serde_json::Value::as_str) == Some("qemu-bitmap")
}

/// Removes everything that a capture made, its bitmap too. What is gone is success.
pub(crate) fn remove(settings: &QemuSettings, remains: &serde_json::Value) -> Result<(), String> {
    let remains = Remains::deserialize(remains).map_err(|error| format!("what is kept for it: {error}"))?;
    let Remains::QemuBitmap { profile, node, persistent, .. } = &remains;
    let names = remains.names();
    let profile = settings.profiles.get(profile).ok_or_else(|| {
        format!("no profile `{profile}` in this worker's configuration; add `[qemu.profiles.{profile}]` again")
    })?;
    let removed = match Monitor::connect(profile) {
        Ok(mut monitor) => {
            release(&mut monitor, &names).and_then(|()| remove_bitmap(&mut monitor, node, &names.bitmap))
        }
        // What is not in the image ended with the process.
        Err(error) if error.is_absent() && !persistent => remove_scratch(names.scratch),
        Err(error) if error.is_absent() => remove_scratch(names.scratch).and(Err(error)),
        Err(error) => Err(error),
    };
    removed.map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location { profile: "vm".to_owned(), node: "disk0".to_owned() }
    }

    fn remains(name: &str) -> Remains {
        let profile = QemuProfile {
            qmp_socket: "/run/q".into(),
            nbd_socket: "/run/n".into(),
            scratch_directory: "/tmp".into(),
            scratch_min_free_percent: 25,
            timeout_seconds: 1,
        };
        Remains::new(&location(), &profile, name, true)
    }

    #[test]
    fn a_bitmap_that_cannot_be_trusted_is_not_used_and_it_is_said_why() {
        let kept = remains("one");
        let good = Bitmap {
            name: kept.names().bitmap,
            granularity: GRANULARITY_BYTES,
            recording: true,
            busy: false,
            inconsistent: false,
        };
        let base = |bitmaps: &[Bitmap]| base_of(Some(&kept.to_json()), &location(), bitmaps);
        assert_eq!(base(std::slice::from_ref(&good)), Ok(good.name.clone()));
        for (bitmap, why) in [
            (Bitmap { inconsistent: true, ..good.clone() }, "was not saved"),
            (Bitmap { granularity: 4096, ..good.clone() }, "another granularity"),
            (Bitmap { recording: false, ..good.clone() }, "does not record"),
            (Bitmap { busy: true, ..good.clone() }, "somebody else"),
            (Bitmap { name: remains("two").names().bitmap, ..good.clone() }, "is gone"),
        ] {
            let said = base(&[bitmap]).unwrap_err();
            assert!(said.contains(why), "`{said}` does not say `{why}`");
        }
        assert!(base_of(None, &location(), &[]).unwrap_err().contains("keeps no bitmap"));
        let elsewhere = Location { node: "disk1".to_owned(), ..location() };
        assert!(base_of(Some(&kept.to_json()), &elsewhere, &[good]).unwrap_err().contains("disk0"));
    }

    #[test]
    fn names_fit_what_qemu_allows() {
        let remains = remains("0f0e0d0c-1111-4222-8333-444444444444-18446744073709551615");
        let names = remains.names();
        assert!(names.file.len() <= 31 && names.overlay.len() <= 31, "{} {}", names.file, names.overlay);
        assert!(is_ours(&remains.to_json()) && !is_ours(&json!({ "kind": "clone" })));
    }
}
