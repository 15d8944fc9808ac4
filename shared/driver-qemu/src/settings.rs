//! What a worker can be told about QEMU: `[qemu]` in its configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[qemu]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QemuSettings {
    /// Processes that serve volumes, by name: `[qemu.profiles.NAME]`. Locations name one.
    pub profiles: BTreeMap<String, QemuProfile>,
}

/// A process of QEMU: a virtual machine or a `qemu-storage-daemon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuProfile {
    /// The socket of a QMP monitor that nobody else holds open: QEMU answers one client at a time.
    pub qmp_socket: PathBuf,
    /// The socket where its NBD server listens, or shall listen: it is started there when it does not run. The directory
    /// must be closed to others, for whoever may enter can read what is exported.
    pub nbd_socket: PathBuf,
    /// A directory that this worker and QEMU can both write, where what is overwritten during a capture is put aside.
    pub scratch_directory: PathBuf,
    /// How much of a volume's size must be free there for a capture to begin, in percent; 25 unless given. Where it fills during
    /// a capture, QEMU fails the write of the guest.
    #[serde(default = "scratch_free")]
    pub scratch_min_free_percent: u64,
    /// Seconds to wait for an answer; 30 unless given.
    #[serde(default = "answer_within")]
    pub timeout_seconds: u64,
}

const fn answer_within() -> u64 {
    30
}

const fn scratch_free() -> u64 {
    25
}

/// Longest path of a socket: `sun_path` of Linux's `include/uapi/linux/un.h`, with its ending zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl QemuSettings {
    /// Whether they can be used: the key, its value, and the mend.
    ///
    /// # Errors
    /// The first key that cannot.
    pub fn validate(&self) -> Result<(), (String, String, &'static str)> {
        for (name, profile) in &self.profiles {
            let wrong = |key: &str, path: &Path, mend| {
                Err((format!("qemu.profiles.{name}.{key}"), path.display().to_string(), mend))
            };
            for (key, path) in [("qmp_socket", &profile.qmp_socket), ("nbd_socket", &profile.nbd_socket)] {
                if !path.is_absolute() {
                    return wrong(key, path, "write the absolute path of the socket");
                }
                if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
                    return wrong(key, path, "take a shorter path: a socket's has at most 107 bytes");
                }
            }
            if !profile.scratch_directory.is_absolute() {
                return wrong("scratch_directory", &profile.scratch_directory, "write an absolute path");
            }
            if profile.timeout_seconds == 0 {
                return Err((format!("qemu.profiles.{name}.timeout_seconds"), "0".to_owned(), "write at least 1"));
            }
        }
        Ok(())
    }
}

impl QemuProfile {
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_cannot_work_is_refused_with_its_key() {
        let good = QemuProfile {
            qmp_socket: "/run/vm.qmp".into(),
            nbd_socket: "/run/vm.nbd".into(),
            scratch_directory: "/var/tmp".into(),
            scratch_min_free_percent: 25,
            timeout_seconds: 30,
        };
        let refused = |profile: QemuProfile| {
            let settings = QemuSettings { profiles: [("vm".to_owned(), profile)].into() };
            settings.validate().err().map(|(key, ..)| key)
        };
        assert_eq!(refused(good.clone()), None);
        let long = PathBuf::from(format!("/{}", "n".repeat(107)));
        for (profile, key) in [
            (QemuProfile { qmp_socket: "vm.qmp".into(), ..good.clone() }, "qmp_socket"),
            (QemuProfile { nbd_socket: long, ..good.clone() }, "nbd_socket"),
            (QemuProfile { scratch_directory: "tmp".into(), ..good.clone() }, "scratch_directory"),
            (QemuProfile { timeout_seconds: 0, ..good.clone() }, "timeout_seconds"),
        ] {
            assert_eq!(refused(profile), Some(format!("qemu.profiles.vm.{key}")));
        }
    }
}
