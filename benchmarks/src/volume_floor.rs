//! What no restore of the volume can do without: opening its content and writing it. Content lies sealed in memory; there is no
//! vault, index, pack, plan or comparison.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use driver_api::{Runs, Uncached, reserve};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use vault_format::{BlobSealer, Id, MasterKey};
use zeroize::Zeroizing;

use crate::error::BenchError;
use crate::sealed::{Sealed, each_group};
use crate::tools::remove;

/// Bytes of a volume's chunk.
const CHUNK: usize = 256 << 10;
/// Chunks that a thread takes at once, which lie in a row.
const TOGETHER: usize = 16;
/// Bytes that are written at once.
const RUN_BYTES: usize = 2 << 20;
/// Threads for each processor: while some wait for the disk another one works.
const THREADS_PER_PROCESSOR: usize = 4;

#[derive(Clone)]
struct Chunk {
    offset: u64,
    sealed: Sealed,
}

impl Chunk {
    fn length(&self) -> u64 {
        self.sealed.length as u64
    }
}

/// Prints a JSON object: names and seconds.
pub(crate) fn run(image: &Path, scratch: &Path) -> Result<(), BenchError> {
    let key = MasterKey::from_bytes(Zeroizing::new(std::array::from_fn(|at| at as u8)));
    let source = File::open(image).map_err(BenchError::io("open", image))?;
    let chunks = read(&source, &key, image)?;
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();

    // Opening works in place.
    let mut sealed = chunks.clone();
    let began = Instant::now();
    each(&mut sealed, &key, |_, content| {
        black_box(content);
        Ok(())
    })?;
    found.insert("volume: content opened by all threads, seconds", began.elapsed().as_secs_f64());

    let mut sealed = chunks;
    let target = scratch.join("volume-floor");
    let failed = |error: std::io::Error| BenchError::io("write", &target)(error);
    rustix::fs::sync();
    let began = Instant::now();
    let file = File::create(&target).map_err(failed)?;
    let length = source.metadata().map_err(BenchError::io("look at", image))?.len();
    file.set_len(length).map_err(failed)?;
    for row in sealed.chunk_by(|a, b| a.offset + a.length() == b.offset) {
        reserve(&file, row[0].offset, row.iter().map(Chunk::length).sum()).map_err(failed)?;
    }
    let file = Arc::new(Uncached::new(file));
    let runs = Runs::new(1, RUN_BYTES);
    each(&mut sealed, &key, |offset, content| {
        runs.write_at(0, || Ok(Arc::clone(&file)), offset, content).map_err(failed)
    })?;
    runs.finish().map_err(failed)?;
    file.file().sync_all().map_err(failed)?;
    found.insert("volume: content opened and written by all threads, seconds", began.elapsed().as_secs_f64());
    drop(file);
    remove(&target)?;
    crate::print(&serde_json::to_string(&found)?)
}

/// All chunks with data, sealed.
fn read(source: &File, key: &MasterKey, image: &Path) -> Result<Vec<Chunk>, BenchError> {
    let failed = BenchError::io("read", image);
    let length = match source.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) => return Err(failed(error)),
    };
    let mut sealer = BlobSealer::new(1)?;
    let mut chunks = Vec::new();
    let mut position = 0;
    while position < length {
        position = match rustix::fs::seek(source, SeekFrom::Data(position)) {
            Ok(at) => at / CHUNK as u64 * CHUNK as u64,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(failed(error.into())),
        };
        let mut content = vec![0; usize::try_from(length - position).unwrap_or(CHUNK).min(CHUNK)];
        if let Err(error) = source.read_exact_at(&mut content, position) {
            return Err(failed(error));
        }
        if content.iter().any(|byte| *byte != 0) {
            chunks.push(Chunk { offset: position, sealed: Sealed::new(&mut sealer, key, &content)? });
        }
        position += content.len() as u64;
    }
    Ok(chunks)
}

/// Opens all of them, as many at a time as the processor works on, and hands them on with their offsets.
fn each(
    chunks: &mut [Chunk],
    key: &MasterKey,
    take: impl Fn(u64, &[u8]) -> Result<(), BenchError> + Sync,
) -> Result<(), BenchError> {
    each_group(chunks, TOGETHER, THREADS_PER_PROCESSOR, |group, opener| {
        for batch in group.chunks_mut(Id::at_once()) {
            let offsets: Vec<u64> = batch.iter().map(|chunk| chunk.offset).collect();
            let blobs = batch.iter_mut().map(|chunk| chunk.sealed.blob()).collect();
            for (offset, opened) in offsets.into_iter().zip(opener.open_each(key, blobs)) {
                take(offset, opened?.plaintext)?;
            }
        }
        Ok(())
    })
}
