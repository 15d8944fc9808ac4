//! What the service does for a driver that tracks changes, in memory.

use std::fmt;
use std::path::Path;

use parking_lot::Mutex;
use vault_format::{Node, NodeKind, Tree};

use super::{MemoryVault, Point};
use crate::{Capture, CaptureWriter, DriverError, Tracking, TrackingSettings, WriteError};

/// What happens as soon as the view is taken.
type OnTaken<'a> = &'a (dyn Fn() -> Result<(), DriverError> + Sync);

/// Remembers what one capture intends and does.
pub struct Keeper<'a> {
    base: Option<serde_json::Value>,
    name: String,
    settings: TrackingSettings,
    on_taken: OnTaken<'a>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<&'static str>,
    intended: Option<serde_json::Value>,
}

impl<'a> Keeper<'a> {
    /// For a capture that is about to begin: the attempt's name, what the parent's capture left, and what is wanted.
    #[must_use]
    pub fn new(name: String, parent: Option<&Point>, settings: TrackingSettings) -> Self {
        let base = parent.and_then(|point| point.capture.remains.clone());
        Self { base, name, settings, on_taken: &|| Ok(()), seen: Mutex::default() }
    }

    /// Has something happen as soon as the view is taken: what is at rest comes to life then.
    #[must_use]
    pub fn when_taken(self, on_taken: OnTaken<'a>) -> Self {
        Self { on_taken, ..self }
    }

    /// What the driver said, in order: `intend`, `taken`.
    #[must_use]
    pub fn events(&self) -> Vec<&'static str> {
        self.seen.lock().events.clone()
    }

    /// What is left by a capture that did not come to its end.
    #[must_use]
    pub fn intended(&self) -> Option<serde_json::Value> {
        self.seen.lock().intended.clone()
    }
}

impl Tracking for Keeper<'_> {
    fn base(&self) -> Option<&serde_json::Value> {
        self.base.as_ref()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &TrackingSettings {
        &self.settings
    }

    fn intend(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        let is_there = remains["path"].as_str().is_some_and(|path| Path::new(path).exists());
        assert!(!is_there, "nothing is made before it was intended: {remains}");
        let mut seen = self.seen.lock();
        seen.events.push("intend");
        seen.intended = Some(remains.clone());
        Ok(())
    }

    fn view_taken(&self) -> Result<(), DriverError> {
        self.seen.lock().events.push("taken");
        (self.on_taken)()
    }
}

impl fmt::Debug for Keeper<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Point {
    /// Commits what a capture stored, as the service does.
    ///
    /// # Errors
    /// The vault's.
    pub fn commit(vault: &MemoryVault, capture: Capture) -> Result<Self, WriteError> {
        let subtree = vault.write_tree(Tree { nodes: capture.sidecars.clone() })?;
        let holdfast = Node { name: b"holdfast".to_vec(), kind: NodeKind::Dir { subtree }, ..capture.data.clone() };
        let root = vault.write_tree(Tree { nodes: vec![capture.data.clone(), holdfast] })?;
        let description = serde_json::json!({ "driver": capture.facts });
        Ok(Self { snapshot: vault.snapshot(root), description, capture })
    }
}
