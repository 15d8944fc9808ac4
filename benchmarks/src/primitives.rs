//! How fast this machine does what nobody can do without: the bound of every row.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use driver_api::{Uncached, reserve};
use vault_format::{BlobCompressor, BlobOpener, BlobSealer, BlobToOpen, Id, MasterKey};
use zeroize::Zeroizing;

use crate::error::BenchError;

const CHUNK: usize = 1 << 20;
/// Bytes of the image that the single primitives are measured with.
const SAMPLE: usize = 512 << 20;
const SMALL_FILES: usize = 20_000;

/// Prints a JSON object: names, and millions of bytes in a second of one thread where nothing else is said.
pub(crate) fn run(image: &Path, scratch: &Path) -> Result<(), BenchError> {
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    let file = File::open(image).map_err(BenchError::io("open", image))?;
    let length = file.metadata().map_err(BenchError::io("look at", image))?.len();
    let key = MasterKey::from_bytes(Zeroizing::new(std::array::from_fn(|at| at as u8)));
    let sample = sample(&file, length).map_err(BenchError::io("read", image))?;
    let bytes = sample.len() as f64;
    let rate = |began: Instant| bytes / 1e6 / began.elapsed().as_secs_f64();

    let began = Instant::now();
    let mut buffer = vec![0; CHUNK];
    for at in (0..sample.len()).step_by(CHUNK) {
        file.read_exact_at(&mut buffer, at as u64).map_err(BenchError::io("read", image))?;
        black_box(&buffer);
    }
    found.insert("read from the page cache", rate(began));

    let began = Instant::now();
    for chunk in sample.chunks(CHUNK) {
        black_box(Id::of(chunk));
    }
    found.insert("SHA-256", rate(began));

    let began = Instant::now();
    let chunks: Vec<&[u8]> = sample.chunks(VOLUME_CHUNK).collect();
    for batch in chunks.chunks(Id::at_once()) {
        black_box(Id::of_each(batch));
    }
    found.insert("SHA-256 of several texts", rate(began));

    for level in [1, 3] {
        let mut compressor = BlobCompressor::new(level)?;
        let began = Instant::now();
        let mut compressed = Vec::new();
        for chunk in sample.chunks(CHUNK) {
            let stored = compressor.compress(chunk)?;
            compressed.push(stored.unwrap_or_else(|| chunk.to_vec()));
        }
        found.insert(if level == 1 { "zstd 1" } else { "zstd 3" }, rate(began));
        if level == 1 {
            let began = Instant::now();
            for (stored, chunk) in compressed.iter().zip(sample.chunks(CHUNK)) {
                let raw_length = (stored.len() < chunk.len()).then_some(chunk.len() as u32);
                black_box(vault_format::unpack_blob(stored, raw_length, &Id::of(chunk))?);
            }
            // Hashed twice: once for the id, once by the verification.
            found.insert("zstd 1 back, hashed twice", rate(began));
        }
    }

    let mut sealed = Vec::new();
    let began = Instant::now();
    for chunk in sample.chunks(CHUNK) {
        sealed.clear();
        key.seal_into([1; 16], chunk, &mut sealed);
        black_box(&sealed);
    }
    found.insert("AES-256-CTR with Poly1305", rate(began));

    let restored = open_all(&key, &sample)?;
    found.insert("decrypted, decompressed and hashed by all threads", bytes / 1e6 / restored);

    let path = scratch.join("primitives");
    let began = Instant::now();
    let written = File::create(&path).map_err(BenchError::io("create", &path))?;
    for (at, chunk) in sample.chunks(CHUNK).enumerate() {
        written.write_all_at(chunk, (at * CHUNK) as u64).map_err(BenchError::io("write", &path))?;
    }
    found.insert("write to the page cache", rate(began));
    let began = Instant::now();
    written.sync_all().map_err(BenchError::io("sync", &path))?;
    found.insert("write back to the disk", rate(began));
    fs::remove_file(&path).map_err(BenchError::io("remove", &path))?;
    let began = Instant::now();
    let uncached = Uncached::new(File::create(&path).map_err(BenchError::io("create", &path))?);
    reserve(uncached.file(), 0, sample.len() as u64).map_err(BenchError::io("reserve", &path))?;
    for (at, chunk) in sample.chunks(CHUNK).enumerate() {
        uncached.write_all_at(chunk, (at * CHUNK) as u64).map_err(BenchError::io("write", &path))?;
    }
    found.insert("write past the page cache", rate(began));
    drop(uncached);
    fs::remove_file(&path).map_err(BenchError::io("remove", &path))?;

    let small = scratch.join("primitives.d");
    fs::create_dir_all(&small).map_err(BenchError::io("create", &small))?;
    let began = Instant::now();
    for number in 0..SMALL_FILES {
        let path = small.join(number.to_string());
        fs::write(&path, &sample[..4096]).map_err(BenchError::io("write", &path))?;
    }
    found.insert("files of 4 KiB made in a second", SMALL_FILES as f64 / began.elapsed().as_secs_f64());
    fs::remove_dir_all(&small).map_err(BenchError::io("remove", &small))?;
    drop(sample);

    let began = Instant::now();
    through(&file, length, |chunks, _| {
        black_box(Id::of_each(chunks));
        Ok(())
    })?;
    found.insert("whole volume read and hashed by all threads, seconds", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let stored = AtomicU64::new(0);
    through(&file, length, |chunks, (compressor, sealed)| {
        black_box(Id::of_each(chunks));
        for chunk in chunks {
            let compressed = compressor.compress(chunk)?;
            sealed.clear();
            key.seal_into([1; 16], compressed.as_deref().unwrap_or(chunk), sealed);
            stored.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    })?;
    found.insert("the same, compressed (zstd 1) and sealed, seconds", began.elapsed().as_secs_f64());
    found.insert("bytes that this makes, millions", stored.into_inner() as f64 / 1e6);
    crate::print(&serde_json::to_string(&found)?)
}

/// Bytes of the chunks of a volume.
const VOLUME_CHUNK: usize = 256 << 10;
/// Bytes of as many of them as any processor works on at once.
const STEP: usize = 16 * VOLUME_CHUNK;

/// Seconds in which all threads together open the sample, sealed in chunks as volumes are, as many at a time as the processor works
/// on: what a check and a restore cannot do without.
fn open_all(key: &MasterKey, sample: &[u8]) -> Result<f64, BenchError> {
    let mut sealer = BlobSealer::new(1)?;
    let seal = |chunk: &[u8]| -> Result<_, BenchError> {
        let sealed = sealer.seal(key, [1; 16], chunk)?;
        Ok((sealed.bytes.to_vec(), sealed.raw_length, Id::of(chunk)))
    };
    let mut sealed = sample.chunks(VOLUME_CHUNK).map(seal).collect::<Result<Vec<_>, _>>()?;
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Whole batches for every thread.
    let at_once = Id::at_once();
    let share = sealed.len().div_ceil(at_once * threads) * at_once;
    let open = |part: &mut [(Vec<u8>, Option<u32>, Id)]| -> Result<(), BenchError> {
        let mut opener = BlobOpener::new()?;
        for batch in part.chunks_mut(at_once) {
            let blobs = batch.iter_mut().map(|(sealed, raw_length, id)| BlobToOpen {
                sealed,
                raw_length: *raw_length,
                id: *id,
            });
            for opened in opener.open_each(key, blobs.collect()) {
                black_box(opened?);
            }
        }
        Ok(())
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let handles: Vec<_> = sealed.chunks_mut(share).map(|part| scope.spawn(move || open(part))).collect();
        for handle in handles {
            handle.join().map_err(|_| BenchError::Wrong("a thread died".to_owned()))??;
        }
        Ok::<_, BenchError>(())
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn sample(file: &File, length: u64) -> std::io::Result<Vec<u8>> {
    let mut sample = Vec::with_capacity(SAMPLE);
    let mut chunk = vec![0; CHUNK];
    let chunks = length / CHUNK as u64;
    let wanted = (SAMPLE / CHUNK) as u64;
    for number in 0..wanted.min(chunks) {
        // Spread over the whole image.
        file.read_exact_at(&mut chunk, number * (chunks / wanted).max(1) * CHUNK as u64)?;
        sample.extend_from_slice(&chunk);
    }
    Ok(sample)
}

type State = (BlobCompressor, Vec<u8>);

/// Gives all chunks with data to as many threads as there are processors.
fn through(
    file: &File,
    length: u64,
    work: impl Fn(&[&[u8]], &mut State) -> Result<(), BenchError> + Sync,
) -> Result<(), BenchError> {
    let next = AtomicU64::new(0);
    let one = || -> Result<(), BenchError> {
        let mut buffer = vec![0; STEP];
        let mut state = (BlobCompressor::new(1)?, Vec::new());
        loop {
            let offset = next.fetch_add(STEP as u64, Ordering::Relaxed);
            if offset + STEP as u64 > length {
                return Ok(());
            }
            let data = rustix::fs::seek(
                &file.try_clone().map_err(BenchError::io("open", "the image"))?,
                rustix::fs::SeekFrom::Data(offset),
            );
            if data.map_or(true, |at| at >= offset + STEP as u64) {
                continue;
            }
            file.read_exact_at(&mut buffer, offset).map_err(BenchError::io("read", "the image"))?;
            let chunks: Vec<&[u8]> = buffer.chunks(VOLUME_CHUNK).collect();
            work(&chunks, &mut state)?;
        }
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for handle in handles {
            handle.join().map_err(|_| BenchError::Wrong("a thread died".to_owned()))??;
        }
        Ok(())
    })
}
