//! Whether the packs are what the index says.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use job_model::Progress;
use parking_lot::Mutex;
use vault_format::{BlobKind, BlobOpener, Id, PACK_TRAILER_BYTES, PackedBlob, decode_pack_header, pack_header_length};

use super::{CheckFindingKind, CheckReport, LostBlobs, Reading};
use crate::error::chain;
use crate::index::{Index, KnownPack, pack_path};
use crate::store::StoreError;
use crate::{Vault, VaultError, ranges};

/// Longest pack that is read, in bytes. restic makes none of more than 128 MiB.
const PACK_BYTES_MAX: u64 = 256 << 20;
/// Bytes at the end of a pack in which most headers are.
const TAIL_BYTES: u32 = 16 << 10;
/// Most packs that are read at the same time.
const THREADS_MAX: usize = 4;

struct Seen<'a> {
    report: &'a mut CheckReport,
    /// Blobs that are sound in some pack.
    sound: HashSet<(BlobKind, Id)>,
    unsound: LostBlobs,
}

/// What a thread uses again for each pack.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    opener: Option<BlobOpener>,
}

/// Checks that all packs are there and have their length; reads them where asked to. Returns the blobs that are lost.
pub(super) fn check_packs(
    vault: &Vault,
    index: &Index,
    reading: &Reading<'_>,
    report: &mut CheckReport,
) -> Result<LostBlobs, VaultError> {
    let listed = vault.store().list("data").map_err(|error| error.when("list the packs"))?;
    let sizes: HashMap<Id, u64> =
        listed.into_iter().filter_map(|file| Some((file.name.parse().ok()?, file.size))).collect();
    let by_pack = index.blobs_by_pack();
    report.packs = index.packs().len() as u64;
    report.packs_unreferenced = (sizes.len() as u64)
        .saturating_sub(index.packs().iter().filter(|pack| sizes.contains_key(&pack.id)).count() as u64);
    let seen = Mutex::new(Seen { report, sound: HashSet::new(), unsound: HashSet::new() });
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let nothing = Vec::new();
    let work = || {
        let mut buffers = Buffers::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(pack) = index.packs().get(number) else { return };
            if reading.control.is_stopped() {
                stopped.store(true, Ordering::Relaxed);
                return;
            }
            let blobs = by_pack.get(&(number as u32)).unwrap_or(&nothing);
            let checked = check_pack(vault, pack, blobs, sizes.get(&pack.id).copied(), reading, &seen, &mut buffers);
            if let Err(error) = checked {
                failure.lock().get_or_insert(error);
                return;
            }
        }
    };
    let reads = index.packs().iter().any(|pack| (reading.chosen)(&pack.id));
    let threads = if reads { thread::available_parallelism().map_or(2, NonZero::get).min(THREADS_MAX) } else { 1 };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    if stopped.into_inner() {
        return Err(VaultError::Stopped);
    }
    let Seen { sound, unsound, report } = seen.into_inner();
    report.findings.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
    Ok(unsound.into_iter().filter(|blob| !sound.contains(blob)).collect())
}

fn check_pack(
    vault: &Vault,
    pack: &KnownPack,
    blobs: &[PackedBlob],
    size: Option<u64>,
    reading: &Reading<'_>,
    seen: &Mutex<Seen<'_>>,
    buffers: &mut Buffers,
) -> Result<(), VaultError> {
    let path = pack_path(&pack.id);
    let is_chosen = (reading.chosen)(&pack.id);
    let done = |sound| {
        if is_chosen {
            (reading.done)(&pack.id, sound);
        }
    };
    let Some(size) = size else {
        done(false);
        let mut seen = seen.lock();
        seen.report.add(CheckFindingKind::PackMissing, &path, format!("{} blobs are in no other place", blobs.len()));
        seen.unsound.extend(blobs.iter().map(|blob| (blob.kind, blob.id)));
        return Ok(());
    };
    if size != pack.length {
        let problem = format!("it has {size} bytes, its index says {}", pack.length);
        seen.lock().report.add(CheckFindingKind::PackDamaged, &path, problem);
    }
    let fits = |blob: &PackedBlob| u64::from(blob.offset) + u64::from(blob.length) <= size;
    if !is_chosen {
        let mut seen = seen.lock();
        for blob in blobs {
            let place = (blob.kind, blob.id);
            if fits(blob) {
                seen.sound.insert(place)
            } else {
                seen.unsound.insert(place)
            };
        }
        return Ok(());
    }
    let Read { header, unsound } = match read_pack(vault, &path, size, blobs, buffers) {
        Ok(read) => read,
        Err(error @ (StoreError::NotFound { .. } | StoreError::Short { .. } | StoreError::TooLarge { .. })) => {
            done(false);
            let mut seen = seen.lock();
            seen.report.add(CheckFindingKind::PackDamaged, &path, error.to_string());
            seen.unsound.extend(blobs.iter().map(|blob| (blob.kind, blob.id)));
            return Ok(());
        }
        Err(error) => return Err(error.when("read a pack")),
    };
    // Where header and blobs are authentic and nothing else is there, every byte was looked at, and a digest of the whole
    // could tell nothing more. For that it is read again.
    let mut header = header;
    if header != Ok(Covers::All) || !unsound.is_empty() {
        let again = vault.store().get_range_into(&path, 0, size as usize, &mut buffers.bytes);
        let found = again.map(|()| Id::of(&buffers.bytes)).map_err(|error| error.when("read a pack"))?;
        if found != pack.id {
            header = Err(format!("its SHA-256 is {found}"));
        }
    }
    done(header.is_ok() && unsound.is_empty());
    let mut seen = seen.lock();
    seen.report.packs_read += 1;
    seen.report.bytes_read += size;
    if let Err(problem) = header {
        seen.report.add(CheckFindingKind::PackDamaged, &path, problem);
    }
    let damaged: HashSet<u32> = unsound.iter().map(|(blob, _)| blob.offset).collect();
    seen.sound.extend(blobs.iter().filter(|blob| !damaged.contains(&blob.offset)).map(|blob| (blob.kind, blob.id)));
    for (blob, problem) in unsound {
        let subject = format!("{} blob {} in `{path}`", blob.kind.as_str(), blob.id);
        seen.report.add(CheckFindingKind::BlobDamaged, subject, problem);
        seen.unsound.insert((blob.kind, blob.id));
    }
    drop(seen);
    reading.control.advance(Progress { bytes_read: size, items_done: 1, ..Progress::default() });
    Ok(())
}

/// How much of a pack the index knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    All,
    Some,
}

/// What a pack holds.
struct Read {
    header: Result<Covers, String>,
    /// Blobs that are not what the index says, and how that shows.
    unsound: Vec<(PackedBlob, String)>,
}

/// Reads a pack: whole where a request costs time, else piece by piece.
fn read_pack(
    vault: &Vault,
    path: &str,
    size: u64,
    blobs: &[PackedBlob],
    buffers: &mut Buffers,
) -> Result<Read, StoreError> {
    let Buffers { bytes, opener } = buffers;
    let too_large = || StoreError::TooLarge { path: path.to_owned(), found: size, limit: PACK_BYTES_MAX };
    let length = u32::try_from(size).ok().filter(|_| size <= PACK_BYTES_MAX).ok_or_else(too_large)?;
    let is_near = vault.store().is_near();
    let read = |from: u32, to: u32, bytes: &mut Vec<u8>| {
        vault.store().get_range_into(path, from.into(), (to - from) as usize, bytes)
    };
    read(if is_near { length.saturating_sub(TAIL_BYTES) } else { 0 }, length, bytes)?;
    let header = match header_length(bytes, size) {
        Ok(header) if header > bytes.len() => {
            read(length - header as u32, length, bytes)?;
            read_header(vault, bytes, size, blobs)
        }
        Ok(_) => read_header(vault, bytes, size, blobs),
        Err(problem) => Err(problem),
    };
    let mut unsound = Vec::new();
    let mut judge = |blobs: &[PackedBlob], begin: u32, bytes: &mut [u8]| {
        let opened = ranges::open_all(vault, opener, bytes, begin, blobs, |number, opened| {
            unsound.extend(opened.err().map(|problem| (blobs[number], problem)));
            Ok::<_, Infallible>(())
        });
        let Ok(()) = opened;
    };
    if !is_near {
        judge(blobs, 0, bytes);
        return Ok(Read { header, unsound });
    }
    // Sorted by their offsets: those that end beyond the pack may lie between others.
    let (within, beyond): (Vec<PackedBlob>, Vec<PackedBlob>) =
        blobs.iter().copied().partition(|blob| u64::from(blob.offset) + u64::from(blob.length) <= size);
    for part in ranges::plan(&within, |blob| (0, *blob), 0, ranges::NEAR_RANGE_BYTES_MAX, Id::at_once()) {
        let part = &within[part];
        let end = part.iter().map(|blob| blob.offset + blob.length).max().unwrap_or(0);
        read(part[0].offset, end, bytes)?;
        judge(part, part[0].offset, bytes);
    }
    unsound.extend(beyond.into_iter().map(|blob| (blob, "it lies beyond the end of its pack".to_owned())));
    Ok(Read { header, unsound })
}

/// Bytes that the header takes at the end of a pack, its length included. `tail` is the end of the pack.
fn header_length(tail: &[u8], size: u64) -> Result<usize, String> {
    let trailer = tail.last_chunk().ok_or("it is shorter than a pack can be")?;
    Ok(pack_header_length(*trailer, size).map_err(|error| chain(&error))? + PACK_TRAILER_BYTES)
}

/// Whether the pack's own header lists what the index lists, and whether it lists more. `tail` is the end of the pack and
/// has all of the header.
fn read_header(vault: &Vault, tail: &[u8], size: u64, blobs: &[PackedBlob]) -> Result<Covers, String> {
    let length = header_length(tail, size)?;
    let mut header = tail[tail.len() - length..tail.len() - PACK_TRAILER_BYTES].to_vec();
    let header = vault.key().open_in_place(&mut header).map_err(|error| format!("its header: {error}"))?;
    let listed = decode_pack_header(header, size).map_err(|error| format!("its header: {error}"))?;
    let own: HashSet<_> = listed.iter().map(|blob| (blob.kind, blob.id, blob.offset, blob.length)).collect();
    match blobs.iter().find(|blob| !own.contains(&(blob.kind, blob.id, blob.offset, blob.length))) {
        Some(blob) => Err(format!("its header does not list blob {}, its index does", blob.id)),
        None if own.len() == blobs.len() => Ok(Covers::All),
        None => Ok(Covers::Some),
    }
}
