//! Backup manifests: read, judged, and written: <https://www.postgresql.org/docs/current/backup-manifest-format.html>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use driver_api::DriverError;
use job_model::FailureCode;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::read::ReadFile;
use crate::selection;
use crate::wal::Lsn;

/// Its file in the data directory.
pub(super) const NAME: &str = "backup_manifest";

/// The log that a backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WalRange {
    pub(super) timeline: u32,
    pub(super) start: Lsn,
    pub(super) end: Lsn,
}

/// The version that names the cluster, as a server wants it that is to send what changed since.
const VERSION_WITH_SYSTEM: u64 = 2;

/// What a manifest says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) bytes: u64,
    /// None where the manifest has a checksum of another kind.
    pub(super) crc: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version", default)]
    version: u64,
    files: Vec<ManifestFile>,
    #[serde(rename = "WAL-Ranges", default)]
    wal_ranges: Vec<ManifestRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestFile {
    path: Option<String>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestRange {
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

/// Holds a server's manifest against what arrived, and gives the log the backup needs.
pub(super) fn verify(text: &str, arrived: &BTreeMap<String, ReadFile>) -> Result<WalRange, DriverError> {
    let damaged = |problem: String| DriverError::Service {
        code: FailureCode::SourceReadFailed,
        problem: format!("the backup did not arrive as the server sent it: {problem}; it is tried again"),
        source: None,
    };
    let marker = "\"Manifest-Checksum\"";
    let at = text.rfind(marker).ok_or_else(|| damaged("the manifest has no checksum".to_owned()))?;
    let stated: String = text[at + marker.len()..].chars().filter(char::is_ascii_hexdigit).collect();
    if hex::encode(Sha256::digest(&text.as_bytes()[..at])) != stated {
        return Err(damaged("the manifest's own checksum is wrong".to_owned()));
    }
    let manifest: Manifest = serde_json::from_str(text).map_err(|e| damaged(format!("the manifest: {e}")))?;
    for file in &manifest.files {
        let Some(path) = &file.path else { continue };
        let Some(found) = arrived.get(path) else { return Err(damaged(format!("`{path}` is missing"))) };
        if found.bytes != file.size {
            return Err(damaged(format!("`{path}` has {} bytes instead of {}", found.bytes, file.size)));
        }
        if let (Some("CRC32C"), Some(stated)) = (file.algorithm.as_deref(), &file.checksum)
            && *stated != crc_text(found.crc)
        {
            return Err(damaged(format!("the checksum of `{path}` is wrong")));
        }
    }
    let range = manifest.wal_ranges.first().ok_or_else(|| damaged("the manifest names no log".to_owned()))?;
    let lsn = |text: &str| text.parse().map_err(|e| damaged(format!("the manifest: {e}")));
    Ok(WalRange { timeline: range.timeline, start: lsn(&range.start)?, end: lsn(&range.end)? })
}

/// What a manifest knows of its files; none when a server would not take it as that of the backup before.
pub(super) fn known(text: &str) -> Option<BTreeMap<String, Known>> {
    let manifest: Manifest = serde_json::from_str(text).ok()?;
    if manifest.version < VERSION_WITH_SYSTEM || manifest.wal_ranges.is_empty() {
        return None;
    }
    let known = manifest.files.into_iter().filter_map(|file| {
        let is_crc = file.algorithm.as_deref() == Some("CRC32C");
        let crc = file.checksum.filter(|_| is_crc).and_then(|text| hex::decode(text).ok()?.try_into().ok());
        Some((file.path?, Known { bytes: file.size, crc: crc.map(u32::from_le_bytes) }))
    });
    Some(known.collect())
}

/// The bytes of a CRC-32C as the server writes them: in the order of memory.
fn crc_text(crc: u32) -> String {
    hex::encode(crc.to_le_bytes())
}

/// A manifest of what was read, as the server would have written it, so that `pg_verifybackup` can judge a restored
/// data directory. The log is not in it. Versions that know incremental backups have the cluster's id in theirs.
pub(super) fn write(
    read: &BTreeMap<String, ReadFile>,
    range: Option<WalRange>,
    system_identifier: Option<&str>,
) -> String {
    let mut text = match system_identifier {
        Some(system) => format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": {VERSION_WITH_SYSTEM},\n\"System-Identifier\": {system},\n\"Files\": ["
        ),
        None => "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [".to_owned(),
    };
    let mut separator = "\n";
    for (path, file) in read.iter().filter(|(path, _)| !is_log(path)) {
        let modified = file.mtime.strftime("%Y-%m-%d %H:%M:%S GMT");
        // Strings always have a JSON form.
        let path = serde_json::to_string(path).unwrap_or_default();
        let crc = crc_text(file.crc);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{separator}{{ \"Path\": {path}, \"Size\": {}, \"Last-Modified\": \"{modified}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{crc}\" }}",
            file.bytes
        );
        separator = ",\n";
    }
    text.push_str("\n],\n\"WAL-Ranges\": [");
    if let Some(range) = range {
        let _ = write!(
            text,
            "\n{{ \"Timeline\": {}, \"Start-LSN\": \"{}\", \"End-LSN\": \"{}\" }}",
            range.timeline, range.start, range.end
        );
    }
    text.push_str("\n],\n");
    let checksum = hex::encode(Sha256::digest(text.as_bytes()));
    let _ = writeln!(text, "\"Manifest-Checksum\": \"{checksum}\"}}");
    text
}

fn is_log(path: &str) -> bool {
    path.strip_prefix("pg_wal/").is_some_and(|name| selection::is_segment(name) || name.ends_with(".history"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn read() -> BTreeMap<String, ReadFile> {
        let file = |bytes: &[u8]| ReadFile {
            bytes: bytes.len() as u64,
            crc: crc32c::crc32c(bytes),
            mtime: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        BTreeMap::from([("PG_VERSION".to_owned(), file(b"15\n")), ("base/5/1".to_owned(), file(b"abc"))])
    }

    fn range() -> WalRange {
        WalRange { timeline: 1, start: Lsn(0x200_0028), end: Lsn(0x200_0100) }
    }

    #[test]
    fn what_is_written_is_accepted() {
        for system in [None, Some("7391837465")] {
            assert_eq!(verify(&write(&read(), Some(range()), system), &read()).unwrap(), range());
        }
        // A server takes it for that of the backup before when it names the cluster.
        assert_eq!(known(&write(&read(), Some(range()), None)), None);
        assert_eq!(known(&write(&read(), None, Some("7391837465"))), None);
        let known = known(&write(&read(), Some(range()), Some("7391837465"))).unwrap();
        assert_eq!(known["base/5/1"], Known { bytes: 3, crc: Some(crc32c::crc32c(b"abc")) });
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let text = write(&read(), Some(range()), None);
        let mut missing = read();
        missing.remove("base/5/1");
        let mut other = read();
        other.get_mut("base/5/1").unwrap().crc ^= 1;
        let mut short = read();
        short.get_mut("PG_VERSION").unwrap().bytes = 2;
        for (text, arrived, problem) in [
            (text.clone(), missing, "`base/5/1` is missing"),
            (text.clone(), other, "checksum of `base/5/1`"),
            (text.clone(), short, "`PG_VERSION` has 2 bytes instead of 3"),
            (text.replace("15", "16").replace("Size\": 3", "Size\": 4"), read(), "own checksum"),
        ] {
            let error = verify(&text, &arrived).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
