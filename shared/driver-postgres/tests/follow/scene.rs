//! What most of these tests begin with: a vault, a server with a table of notes, and a follower.

use std::path::PathBuf;

use driver_postgres::window::{Base, Target};
use tempfile::TempDir;
use vault_engine::Vault;

use crate::restored::{Known, known_beyond, restore};
use crate::source::{Server, directory};
use crate::worker::{Worker, vault, wait_until_durable};

/// A server that can be followed into a vault.
pub(crate) struct Scene {
    // Before the directory: fields are dropped in this order.
    pub(crate) server: Server,
    pub(crate) vault: Vault,
    pub(crate) place: TempDir,
}

impl Scene {
    /// Makes vault, server and table.
    pub(crate) fn new(settings: &str) -> Self {
        let place = directory();
        let vault = vault(place.path());
        let server = Server::create(&place.path().join("source"), settings);
        server.execute("CREATE TABLE notes (text text)");
        Self { server, vault, place }
    }

    /// Starts a follower of a server, and waits until what is written so far is durable.
    pub(crate) fn follow(&self, server: &Server, epoch: u64) -> Worker {
        let worker = Worker::start(self.place.path(), server, epoch);
        wait_until_durable(server);
        worker
    }

    /// Where the files of a base backup lie.
    pub(crate) fn files(&self, base: &str) -> PathBuf {
        self.place.path().join("source").join(base)
    }

    /// A base backup of the server.
    pub(crate) fn base(&self, name: &str) -> Base {
        self.server.base(&self.files(name), name)
    }

    /// What the vault knows once it reaches beyond all that a server has committed by now.
    pub(crate) fn known_beyond_now(&self, server: &Server, bases: &[Base]) -> Known {
        known_beyond(&self.vault, bases, server.clock())
    }

    /// The notes in a server that is restored to a target, or what it said instead.
    pub(crate) fn notes_at(&self, seen: &Known, bases: &[Base], target: Target, name: &str) -> Result<String, String> {
        let plan = seen.plan(bases, target).unwrap();
        restore(&self.vault, seen, &plan, &self.files(&plan.base.id), &self.place.path().join(name), |server| {
            assert_eq!(server.value("SHOW archive_mode"), "off");
            server.value("SELECT coalesce(string_agg(text, ' ' ORDER BY text), '-') FROM notes")
        })
    }
}
