//! What the index of a large vault costs in memory.

use std::fs;
use std::path::Path;
use std::time::Instant;

use driver_api::NoControl;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vault_engine::Vault;
use vault_format::{BlobKind, Id, IndexFile, IndexedPack, KeyFile, MasterKey, PackedBlob, encode_unpacked};

use crate::error::BenchError;
use crate::step::PASSWORD;

/// Blobs of a pack: of one mebibyte each, compressed to half of it.
const BLOBS_OF_PACK: u64 = 32;
/// Blobs of an index file, as the engine writes it.
const BLOBS_OF_FILE: u64 = 40_000;
const BLOB_BYTES: u32 = 512 << 10;

/// Writes index files with made-up packs under the vault's key.
pub(crate) fn fill(vault: &Path, chunks: u64) -> Result<(), BenchError> {
    let key = key(vault)?;
    let mut random = StdRng::seed_from_u64(4);
    let mut id = || {
        let mut bytes = [0; 32];
        random.fill_bytes(&mut bytes);
        Id::new(bytes)
    };
    let mut left = chunks;
    while left > 0 {
        let mut packs = Vec::new();
        for _ in 0..BLOBS_OF_FILE.min(left).div_ceil(BLOBS_OF_PACK) {
            let blobs = (0..BLOBS_OF_PACK.min(left) as u32).map(|number| PackedBlob {
                kind: BlobKind::Data,
                id: id(),
                offset: number * BLOB_BYTES,
                length: BLOB_BYTES,
                raw_length: Some(1 << 20),
            });
            let blobs: Vec<_> = blobs.collect();
            left -= blobs.len() as u64;
            packs.push(IndexedPack { id: id(), blobs });
        }
        let json = IndexFile { packs, ..IndexFile::default() }.encode()?;
        let nonce = std::array::from_fn(|at| id().as_bytes()[at]);
        let sealed = encode_unpacked(&key, nonce, &json)?;
        let path = vault.join("index").join(Id::of(&sealed).to_hex());
        fs::write(&path, sealed).map_err(BenchError::io("write", &path))?;
    }
    Ok(())
}

fn key(vault: &Path) -> Result<MasterKey, BenchError> {
    let keys = vault.join("keys");
    let mut files = fs::read_dir(&keys).map_err(BenchError::io("list", &keys))?;
    let file = files.next().transpose().map_err(BenchError::io("list", &keys))?;
    let path = file.ok_or_else(|| BenchError::Wrong(format!("`{}` is empty", keys.display())))?.path();
    let bytes = fs::read(&path).map_err(BenchError::io("read", &path))?;
    Ok(KeyFile::decode(&bytes)?.open(PASSWORD.as_bytes())?)
}

/// Loads it as a backup does, and prints the bytes that became resident by it.
pub(crate) fn load(vault: &Vault) -> Result<(), BenchError> {
    let (before, began) = (resident()?, Instant::now());
    let writer = vault.writer(&NoControl)?;
    let bytes = resident()?.saturating_sub(before);
    crate::print(&serde_json::json!({ "bytes": bytes, "seconds": began.elapsed().as_secs_f64() }).to_string())?;
    drop(writer);
    Ok(())
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64, BenchError> {
    let path = "/proc/self/status";
    let text = fs::read_to_string(path).map_err(BenchError::io("read", path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map(|k| k * 1024).ok_or_else(|| BenchError::Wrong(format!("`{path}` has no `VmRSS`")))
}
