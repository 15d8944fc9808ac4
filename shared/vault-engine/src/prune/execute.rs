//! Makes a plan and carries it out.

use std::collections::{BTreeMap, HashMap, HashSet};

use driver_api::ReadError;
use job_model::Progress;
use vault_format::{BlobKind, Id, IndexedPack};

use super::marks::{Holder, Marks};
use super::plan::{NamedPack, PlannedPack, PrunePlan, Situation, decide};
use super::survey::{Survey, unknown};
use super::{PruneOptions, PruneReport};
use crate::error::chain;
use crate::index::{pack_path, read_index};
use crate::locks::{Lock, Operation};
use crate::ranges::{Gaps, Wanted, read_all};
use crate::retention::Pass;
use crate::{Vault, VaultError, Writer, index_files};

/// Threads that read packs which are packed anew; each holds one range.
const REPACK_THREADS: usize = 4;

/// What is known when a plan has been made.
struct Prepared {
    lock: Lock,
    survey: Survey,
    marks: Marks,
    plan: PrunePlan,
    /// Where each needed blob is kept, by pack number.
    kept: HashMap<u32, HashSet<(BlobKind, Id)>>,
}

pub(crate) fn plan(vault: &Vault, options: &PruneOptions<'_>) -> Result<PrunePlan, VaultError> {
    let lock = lock(vault)?;
    let survey = Survey::make(vault, options.control)?;
    Ok(prepare(vault, options, lock, survey)?.plan)
}

pub(crate) fn run(vault: &Vault, options: &PruneOptions<'_>) -> Result<PruneReport, VaultError> {
    let lock = lock(vault)?;
    let indexes_healed = heal_index(vault, &lock)?;
    let mut survey = Survey::make(vault, options.control)?;
    let mut packs_restored = 0;
    bring_back(vault, options, &lock, &mut survey, &mut packs_restored)?;
    if let Some((_, id)) = survey.missing.iter().find(|(kind, _)| *kind == BlobKind::Tree) {
        return Err(unknown(format!("tree {id} is in no pack of the vault")));
    }
    let mut prepared = prepare(vault, options, lock, survey)?;
    let mut report = PruneReport {
        plan: prepared.plan.clone(),
        indexes_healed,
        packs_restored,
        packs_repacked: 0,
        bytes_repacked: 0,
        packs_marked: 0,
        packs_removed: 0,
        bytes_freed: 0,
        packs_unreadable: Vec::new(),
    };
    sweep(vault, options, &mut prepared, &mut report)?;
    mark(vault, options, &mut prepared, &mut report)?;
    Ok(report)
}

/// Our lock, if nobody else prunes: two of us would be safe, and undo each other's work.
fn lock(vault: &Vault) -> Result<Lock, VaultError> {
    let lock = vault.lock_for(Operation::Prune)?;
    let prunes = |purpose: &vault_format::LockPurpose| purpose.operation == Operation::Prune.as_str();
    if let Some(other) = lock.others()?.into_iter().find(|other| other.holdfast.as_ref().is_some_and(prunes)) {
        return Err(VaultError::Locked { hostname: other.hostname, pid: other.pid, since: other.time });
    }
    vault.refuse_when_protected_are_missing(&lock)?;
    Ok(lock)
}

/// Names packs again until nothing is missing that is in the store: trees that were missing may need more.
fn bring_back(
    vault: &Vault,
    options: &PruneOptions<'_>,
    lock: &Lock,
    survey: &mut Survey,
    packs_restored: &mut u64,
) -> Result<(), VaultError> {
    loop {
        let found = survey.find_missing(vault);
        if found.is_empty() {
            return Ok(());
        }
        lock.verify()?;
        *packs_restored += found.len() as u64;
        vault.name_again(found)?;
        survey.refresh(vault, options.control)?;
    }
}

/// Names the packs that only damaged index files name in new ones, from the packs' own headers, and removes the damaged
/// files. Whoever began before has the same packs from the same headers.
fn heal_index(vault: &Vault, lock: &Lock) -> Result<u64, VaultError> {
    let index = vault.load_index()?;
    let (files, packs): (Vec<_>, Vec<_>) = index.damaged().iter().partition(|file| file.path.starts_with("index/"));
    if files.is_empty() {
        return Ok(0);
    }
    if let Some(pack) = packs.first() {
        // What it holds may be needed, and nobody else says where in it.
        return Err(unknown(format!("`{}` is damaged, and so may be what names `{}`", files[0].path, pack.path)));
    }
    let mut blobs = index.blobs_by_pack();
    let recovered = index.packs().iter().enumerate().filter(|(_, pack)| pack.recovered);
    let recovered = recovered.map(|(number, pack)| {
        // Fewer than 2^31 packs, by the form of the index in memory.
        let blobs = blobs.remove(&(number as u32)).unwrap_or_default();
        IndexedPack { id: pack.id, blobs }
    });
    let recovered: Vec<IndexedPack> = recovered.collect();
    lock.verify()?;
    vault.name_again(recovered)?;
    let mut healed = 0;
    for file in files {
        // It may have been read badly once, or put right since.
        let name = file.path.trim_start_matches("index/");
        if read_index(vault.store(), vault.key(), name)?.is_err() {
            tracing::warn!(vault = vault.location(), path = file.path, problem = file.problem, "index made anew");
            healed += u64::from(vault.store().delete(&file.path).map_err(|error| error.when("remove an index"))?);
        }
    }
    vault.store().barrier().map_err(|error| error.when("remove damaged indexes"))?;
    Ok(healed)
}

fn prepare(vault: &Vault, options: &PruneOptions<'_>, lock: Lock, survey: Survey) -> Result<Prepared, VaultError> {
    let marks = Marks::load(vault)?;
    let others = lock.others()?;
    let (named, kept) = take_stock(&survey, &vault.damaged_packs()?);
    let names: HashSet<Id> = named.iter().map(|pack| pack.id).collect();
    let unnamed: BTreeMap<Id, u64> =
        survey.stored.iter().filter(|(id, _)| !names.contains(*id)).map(|(id, size)| (*id, *size)).collect();
    let restore = survey.find_missing(vault).into_iter();
    let restore =
        restore.map(|pack| PlannedPack { pack: pack.id, bytes: survey.stored.get(&pack.id).copied().unwrap_or(0) });
    let holders: Vec<Option<Holder>> = others.iter().map(Holder::of).collect();
    let plan = decide(Situation {
        repository_id: vault.repository_id().to_owned(),
        snapshots: survey.snapshots.len() as u64,
        named,
        unnamed,
        restore: restore.collect(),
        marked: marks.by_pack(),
        living: holders.into_iter().flatten().map(|holder| holder.holder).collect(),
        foreign: foreign(&others),
        now: vault.surroundings().now(),
        store_now: lock.store_time()?,
        grace: options.grace,
        max_unused_percent: options.max_unused_percent,
        repack_bytes_max: options.repack_bytes_max,
    });
    Ok(Prepared { lock, survey, marks, plan, kept })
}

/// Locks that are no Holdfast's: their holders know nothing of marks.
fn foreign(locks: &[vault_format::LockFile]) -> Vec<String> {
    let foreign = locks.iter().filter(|lock| lock.holdfast.is_none());
    foreign.map(|lock| format!("process {} on `{}`", lock.pid, lock.hostname)).collect()
}

/// Chooses for each needed blob the pack that keeps it: one that is whole, and then the one with the most needed bytes.
#[expect(clippy::type_complexity, reason = "both are taken apart at once")]
fn take_stock(survey: &Survey, damaged: &HashSet<Id>) -> (Vec<NamedPack>, HashMap<u32, HashSet<(BlobKind, Id)>>) {
    let index = &survey.index;
    let packs = index.packs();
    let stored = |pack: u32| survey.stored.get(&packs[pack as usize].id).copied();
    let is_whole = |pack: u32| {
        let known = &packs[pack as usize];
        stored(pack) == Some(known.length) && !damaged.contains(&known.id)
    };
    let mut bytes = vec![0_u64; packs.len()];
    for location in survey.needed.iter().flat_map(|(kind, id)| index.find(*kind, id)) {
        bytes[location.pack as usize] += u64::from(location.blob.length);
    }
    let mut kept: HashMap<u32, HashSet<(BlobKind, Id)>> = HashMap::new();
    let mut kept_bytes = vec![0_u64; packs.len()];
    for (kind, id) in &survey.needed {
        let best = index.find(*kind, id).max_by_key(|location| {
            let pack = location.pack;
            (is_whole(pack), stored(pack).is_some(), bytes[pack as usize], std::cmp::Reverse(pack))
        });
        // What is in no index is in the report of a check; there is nothing to keep.
        if let Some(location) = best
            && kept.entry(location.pack).or_default().insert((*kind, *id))
        {
            kept_bytes[location.pack as usize] += u64::from(location.blob.length);
        }
    }
    let by_pack = index.blobs_by_pack();
    let named = packs.iter().enumerate().map(|(number, pack)| {
        // Fewer than 2^31 packs, by the form of the index in memory.
        let at = number as u32;
        NamedPack {
            id: pack.id,
            length: pack.length,
            stored: stored(at),
            blobs: by_pack.get(&at).map_or(0, |blobs| blobs.len() as u64),
            kept_blobs: kept.get(&at).map_or(0, |blobs| blobs.len() as u64),
            kept_bytes: kept_bytes[number],
        }
    });
    (named.collect(), kept)
}

/// Removes what may go, after one more look at the snapshots, the index and our lock.
fn sweep(
    vault: &Vault,
    options: &PruneOptions<'_>,
    prepared: &mut Prepared,
    report: &mut PruneReport,
) -> Result<(), VaultError> {
    if prepared.plan.remove.is_empty() {
        return Ok(());
    }
    prepared.survey.refresh(vault, options.control)?;
    // Somebody without a lock may have relied on what was marked.
    bring_back(vault, options, &prepared.lock, &mut prepared.survey, &mut report.packs_restored)?;
    let named: HashSet<Id> = prepared.survey.index.packs().iter().map(|pack| pack.id).collect();
    for PlannedPack { pack, bytes } in &prepared.plan.remove {
        if options.control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        if named.contains(pack) {
            continue;
        }
        prepared.lock.verify()?;
        if vault.store().delete(&pack_path(pack)).map_err(|error| error.when("remove a pack"))? {
            report.packs_removed += 1;
            report.bytes_freed += bytes;
            options.control.advance(Progress { items_done: 1, bytes_done: *bytes, ..Progress::default() });
        }
    }
    vault.store().barrier().map_err(|error| error.when("remove packs"))
}

/// Takes packs out of the index and notes all that are out of it.
fn mark(
    vault: &Vault,
    options: &PruneOptions<'_>,
    prepared: &mut Prepared,
    report: &mut PruneReport,
) -> Result<(), VaultError> {
    let Prepared { lock, survey, marks, plan, kept } = prepared;
    if !plan.restore.is_empty() || !foreign(&lock.others()?).is_empty() {
        return Ok(());
    }
    let mut leaving: HashSet<Id> =
        plan.unreferenced.iter().chain(&plan.forget_lost).map(|planned| planned.pack).collect();
    repack(vault, options, plan, survey, kept, &mut leaving, report)?;
    let named: HashSet<Id> = survey.index.packs().iter().map(|pack| pack.id).collect();
    // Before they leave again: an old note about a pack that came back says nothing about when it leaves now.
    let (stored, swept) = (&survey.stored, report.packs_removed > 0);
    let gone: HashSet<Id> =
        if swept { plan.remove.iter().map(|planned| planned.pack).collect() } else { HashSet::new() };
    marks.release(vault, |pack| named.contains(pack) || gone.contains(pack) || !stored.contains_key(pack))?;
    lock.verify()?;
    if !leaving.is_empty() {
        // What stays has to be kept by the store for as long as what goes was.
        vault.retain_all(lock, &Pass { leaving: &leaving, entry: None, sample: false, control: options.control })?;
        lock.verify()?;
    }
    index_files::take_out(vault, &leaving)?;
    // From here on nobody who begins relies on them. Who began before is either among the locks now, or has ended, and
    // then its snapshot is there.
    survey.refresh(vault, options.control)?;
    let others = lock.others()?;
    bring_back(vault, options, lock, survey, &mut report.packs_restored)?;
    if !foreign(&others).is_empty() {
        // A restic that began meanwhile may have read the old index.
        let planned = plan.unreferenced.iter().map(|planned| planned.pack);
        let left: HashSet<Id> = planned.chain(plan.repack.iter().map(|planned| planned.pack)).collect();
        let back = headers(vault, survey, &left);
        report.packs_restored += back.len() as u64;
        return vault.name_again(back);
    }
    let named: HashSet<Id> = survey.index.packs().iter().map(|pack| pack.id).collect();
    let unnamed: HashSet<Id> = survey.stored.keys().copied().filter(|pack| !named.contains(pack)).collect();
    let holders: Vec<Holder> = others.iter().filter_map(Holder::of).collect();
    report.packs_marked = marks.add(vault, &unnamed, &holders)?;
    Ok(())
}

/// These packs by their own headers, as far as they have left the index.
fn headers(vault: &Vault, survey: &Survey, packs: &HashSet<Id>) -> Vec<IndexedPack> {
    let named: HashSet<Id> = survey.index.packs().iter().map(|pack| pack.id).collect();
    let left = packs.iter().filter(|pack| !named.contains(*pack));
    left.filter_map(|pack| {
        let size = survey.stored.get(pack)?;
        let blobs = crate::index::read_pack_header(vault.store(), vault.key(), pack, *size).ok()?;
        Some(IndexedPack { id: *pack, blobs })
    })
    .collect()
}

/// Stores what is needed of packs that are used in part, pack by pack; those that could be read whole join `leaving`.
fn repack(
    vault: &Vault,
    options: &PruneOptions<'_>,
    plan: &PrunePlan,
    survey: &Survey,
    kept: &HashMap<u32, HashSet<(BlobKind, Id)>>,
    leaving: &mut HashSet<Id>,
    report: &mut PruneReport,
) -> Result<(), VaultError> {
    if plan.repack.is_empty() {
        return Ok(());
    }
    let planned: HashSet<Id> = plan.repack.iter().map(|planned| planned.pack).collect();
    let all: HashSet<Id> = planned.union(leaving).copied().collect();
    let writer = Writer::begin_repack(vault, options.control, &all)?;
    let nothing = HashSet::new();
    for (number, pack) in survey.index.packs().iter().enumerate().filter(|(_, pack)| planned.contains(&pack.id)) {
        let blobs = kept.get(&(number as u32)).unwrap_or(&nothing);
        let here = |(kind, id): &(BlobKind, Id)| {
            survey.index.find(*kind, id).find(|location| location.pack as usize == number)
        };
        let wanted = blobs.iter().filter_map(here).map(|location| Wanted { location, note: () }).collect();
        let read =
            read_all(vault, &survey.index, wanted, Gaps::Short, REPACK_THREADS, options.control, &|same, opened| {
                let blob = same[0].location.blob;
                writer.store_encoded(blob.kind, blob.id, opened.stored, opened.raw_length, opened.plaintext.len())?;
                Ok(())
            });
        match read {
            Ok(()) => {
                leaving.insert(pack.id);
                report.packs_repacked += 1;
            }
            Err(ReadError::Stopped) => return Err(VaultError::Stopped),
            Err(error @ (ReadError::Missing { .. } | ReadError::Damaged { .. })) => {
                tracing::error!(vault = vault.location(), pack = %pack.id, error = chain(&error), "not packed anew");
                report.packs_unreadable.push(pack.id.to_hex());
            }
            Err(other) => return Err(VaultError::of_read(other, || format!("pack {}", pack.id))),
        }
    }
    report.bytes_repacked = writer.finish_repack()?.bytes_stored;
    Ok(())
}
