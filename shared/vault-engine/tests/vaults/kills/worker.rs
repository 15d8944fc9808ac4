//! A process that captures, copies, prunes or reads until it is killed.

use std::env;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driver_api::{NoControl, ReadError};
use job_model::RecoveryPointId;
use vault_engine::{
    CheckOptions, CopyRequest, PruneOptions, SnapshotSummary, Vault, VaultError, copy_snapshot, recovery_point_tag,
};

use super::journal::{Deed, Journal, Side};
use crate::support::{Files, Workshop, content, data_nodes, files, input, read_file, write_files};

/// Recovery points of a vault that are kept; older ones are forgotten.
const KEPT: usize = 2;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Capture,
    /// Copies the recovery points with even or with odd numbers.
    CopyEven,
    CopyOdd,
    PruneHere,
    PruneThere,
    LookHere,
}

impl Role {
    pub(super) const ALL: [Self; 6] =
        [Self::Capture, Self::CopyEven, Self::CopyOdd, Self::PruneHere, Self::PruneThere, Self::LookHere];
}

pub(super) fn tag(number: u64) -> String {
    recovery_point_tag(format!("0199f0a8-0000-7000-8000-{number:012x}").parse::<RecoveryPointId>().unwrap())
}

/// The number of a snapshot's recovery point.
pub(super) fn number_of(snapshot: &SnapshotSummary) -> u64 {
    let digits = snapshot.tags[0].rsplit('-').next().unwrap();
    u64::from_str_radix(digits, 16).unwrap()
}

/// What a recovery point consists of: some that others have as well, so that packs of the forgotten are wanted again; of
/// some so much that several packs are on their way at once.
pub(super) fn content_of(number: u64) -> Files {
    let mut all = files(&[("own", content(1000 + number, 40_000))]);
    for part in 0..4 {
        let seed = (number * 7 + part * 3) % 12;
        all.insert(format!("shared-{seed}").into_bytes(), content(seed, 300_000 + 50_000 * seed as usize));
    }
    if number.is_multiple_of(6) {
        all.insert(b"large".to_vec(), content(2000 + number % 18, 48 << 20));
    }
    all
}

/// Starts a process that works on the vaults of a workshop. Recovery points that it captures are numbered from `first`.
pub(super) fn start(workshop: &Workshop, role: Role, first: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kills::worker::the_body_of_a_process_that_is_killed", "--ignored", "--nocapture"])
        .env("KILLS_DIRECTORY", workshop.dir.path())
        .env("KILLS_ROLE", format!("{role:?}"))
        .env("KILLS_FIRST", first.to_string())
        .env("KILLS_PARENT", std::process::id().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn number(variable: &str) -> u64 {
    env::var(variable).unwrap().parse().unwrap()
}

#[test]
#[ignore = "the body of a child process of another test"]
fn the_body_of_a_process_that_is_killed() {
    let Some(directory) = env::var_os("KILLS_DIRECTORY").map(PathBuf::from) else { return };
    let role = env::var("KILLS_ROLE").unwrap();
    let role = *Role::ALL.iter().find(|known| format!("{known:?}") == role).unwrap();
    let journal = Journal::new(&directory);
    let workshop = Workshop::at(directory);
    let (here, there) = (workshop.open(Side::Here.name()), workshop.open(Side::There.name()));
    let mut next = number("KILLS_FIRST");
    journal.begin(next);
    // Whoever started it ends it; nobody else would.
    while u64::from(parent_id()) == number("KILLS_PARENT") {
        let result = match role {
            Role::Capture => capture_one(&here, next, &journal),
            Role::CopyEven => copy_one(&here, &there, 0, &journal),
            Role::CopyOdd => copy_one(&here, &there, 1, &journal),
            Role::PruneHere => prune_once(&here, Side::Here, &journal),
            Role::PruneThere => prune_once(&there, Side::There, &journal),
            Role::LookHere => look(&here, &journal),
        };
        next += 1;
        if let Err(problem) = result {
            journal.fail(&format!("{role:?}: {problem}"));
            return;
        }
    }
}

/// What may happen when others work too, and is right the next time.
fn unless_passing(error: &VaultError) -> Result<(), String> {
    match error {
        VaultError::Locked { .. } | VaultError::Pruned { .. } | VaultError::SnapshotMissing { .. } => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn capture_one(vault: &Vault, number: u64, journal: &Journal) -> Result<(), String> {
    let writer = vault.writer(&NoControl).map_err(|error| format!("{error:?}"))?;
    let root = write_files(&writer, &content_of(number));
    match writer.commit(input(root, &[&tag(number)])) {
        Ok(_) => journal.note(Side::Here, Deed::Committed, number),
        Err(error) => unless_passing(&error)?,
    }
    Ok(())
}

fn copy_one(from: &Vault, to: &Vault, remainder: u64, journal: &Journal) -> Result<(), String> {
    let deeds = journal.read();
    let wanted = |number: &u64| number % 2 == remainder && !deeds.known(Side::There, *number).committed;
    let Some(number) = deeds.certain(Side::Here).into_iter().rev().find(wanted) else {
        std::thread::yield_now();
        return Ok(());
    };
    let snapshot = from.find_snapshot_by_tag(&tag(number)).map_err(|error| format!("{error:?}"))?;
    // Forgotten since it was chosen.
    let Some(snapshot) = snapshot else { return Ok(()) };
    let copied = copy_snapshot(&CopyRequest {
        source: from,
        snapshot_id: snapshot.id,
        expected_tree: snapshot.tree,
        destination: to,
        tags: vec![tag(number)],
        parallelism: 2,
        control: &NoControl,
    });
    match copied {
        Ok(_) => journal.note(Side::There, Deed::Committed, number),
        Err(error) => unless_passing(&error)?,
    }
    Ok(())
}

fn prune_once(vault: &Vault, side: Side, journal: &Journal) -> Result<(), String> {
    let mut kept = journal.read().certain(side);
    kept.truncate(kept.len().saturating_sub(KEPT));
    for number in kept {
        journal.note(side, Deed::Forgetting, number);
        let listing = vault.snapshots().map_err(|error| format!("{error:?}"))?;
        for snapshot in listing.readable.iter().filter(|snapshot| number_of(snapshot) == number) {
            vault.forget(snapshot.id).map_err(|error| format!("{error:?}"))?;
        }
        journal.note(side, Deed::Forgotten, number);
    }
    let options = PruneOptions { grace: Duration::ZERO, max_unused_percent: 0, ..PruneOptions::new(&NoControl) };
    vault.prune(&options).map(drop).or_else(|error| unless_passing(&error))
}

/// A restore and a check beside all the others.
fn look(vault: &Vault, journal: &Journal) -> Result<(), String> {
    for number in journal.read().certain(Side::Here) {
        let snapshot = vault.find_snapshot_by_tag(&tag(number)).map_err(|error| format!("{error:?}"))?;
        let Some(snapshot) = snapshot else { continue };
        let reader = match vault.reader(snapshot.id) {
            Ok(reader) => reader,
            Err(error) => {
                unless_passing(&error)?;
                continue;
            }
        };
        let read = || -> Result<Files, ReadError> {
            data_nodes(&reader)?.into_iter().map(|node| Ok((node.name.clone(), read_file(&reader, &node)?))).collect()
        };
        let restored = read().map_err(|error| format!("recovery point {number}: {error:?}"))?;
        if restored != content_of(number) {
            return Err(format!("recovery point {number} restores to something else"));
        }
    }
    let report = vault.check(&CheckOptions { read_data: false, control: &NoControl });
    let report = report.map_err(|error| format!("{error:?}"))?;
    if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.findings)) }
}
