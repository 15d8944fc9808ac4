//! A server that archives its log, and its follower.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver_postgres::wal::{Lsn, SegmentSize};

use crate::restored::known;
use crate::scene::Scene;
use crate::source::{Server, directory, run, wait_for};
use crate::worker::{Worker, vault};

/// A directory that servers may archive to, with the program beside it.
pub(crate) fn make_archive(place: &Path) -> PathBuf {
    let archive = place.join("archive");
    run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(&archive));
    run(Command::new("install")
        .args(["-m", "755", env!("CARGO_BIN_EXE_holdfast-wal")])
        .arg(place.join("holdfast-wal")));
    archive
}

/// Settings of a server that archives there and has no slot to give.
pub(crate) fn archiving(place: &Path, archive: &Path) -> String {
    let program = place.join("holdfast-wal");
    format!(
        "archive_mode = on\nmax_replication_slots = 0\narchive_command = '{} push %p %f {}'\n",
        program.display(),
        archive.display()
    )
}

/// Small segments, so that a quiet server costs little.
pub(crate) const SEGMENT_MIB: u64 = 1;

/// A scene whose server archives its log.
pub(crate) struct Archived {
    pub(crate) scene: Scene,
    pub(crate) archive: PathBuf,
}

impl Archived {
    pub(crate) fn new(settings: &str) -> Self {
        let place = directory();
        let vault = vault(place.path());
        let archive = make_archive(place.path());
        let settings = format!("{}{settings}", archiving(place.path(), &archive));
        let server = Server::create_with(&place.path().join("source"), &settings, SEGMENT_MIB);
        server.execute("CREATE TABLE notes (text text)");
        Self { scene: Scene { server, vault, place }, archive }
    }

    /// Starts a follower that dies where `failpoints` says.
    pub(crate) fn start(&self, epoch: u64, failpoints: &str) -> Worker {
        Worker::start_archived(self.scene.place.path(), &self.scene.server, epoch, &self.archive, failpoints)
    }

    /// Names of the files of the log in the archive.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.archive).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        names
    }

    /// Has a server archive what it has written, and waits until it has. Gives back the end of what is archived.
    pub(crate) fn switch(&self, server: &Server) -> Lsn {
        let segment = server.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
        server.execute("SELECT pg_switch_wal()");
        let now: Lsn = server.value("SELECT pg_current_wal_lsn()").parse().unwrap();
        wait_for("the archiver", 60, || {
            server.value(&format!("SELECT coalesce(last_archived_wal >= '{segment}', false) FROM pg_stat_archiver"))
                == "t"
        });
        // The server may write again at once: a checkpoint, or what is running.
        SegmentSize::try_from(SEGMENT_MIB << 20).unwrap().floor(now)
    }

    /// The same, and waits until all of it is in the vault and gone from the archive.
    pub(crate) fn take_all(&self, server: &Server) {
        let end = self.switch(server);
        wait_for("the archive to be emptied", 60, || self.files().is_empty());
        let log = known(&self.scene.vault).log;
        assert!(log.runs().last().is_some_and(|run| run.end >= end), "{end}: {:?}", log.runs());
    }
}
