//! Which recovery points it touches that packs are missing or damaged, and which of them a writer has healed.

use std::collections::HashSet;
use std::sync::Arc;

use driver_api::Control;
use job_model::RecoveryPointId;
use vault_format::Id;

use crate::check::{LostBlobs, touched_by};
use crate::index::Index;
use crate::{Vault, VaultError};

/// Damage of the vault that a writer met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageMet {
    /// Packs that are missing, cut off, or that a scrub found damaged: their paths.
    pub packs: Vec<String>,
    /// Snapshots that needed something which is whole in no other pack.
    pub touched: Vec<TouchedSnapshot>,
}

/// A snapshot that could not be restored whole when the writer began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedSnapshot {
    /// Its id.
    pub snapshot: Id,
    /// The recovery point it holds; none for a snapshot that others wrote.
    pub recovery_point: Option<RecoveryPointId>,
    /// Whether it can be restored whole again, because the source still had what it needs.
    pub healed: bool,
}

/// What is known of it when the writer begins.
pub(super) struct Lost {
    pub(super) packs: Vec<String>,
    pub(super) blobs: LostBlobs,
}

/// Walks through the snapshots twice: by the index of when the writer began, and by that of now. `own` is the snapshot
/// that was just written, which has all that it needs.
pub(super) fn look(
    vault: &Vault,
    known: &Arc<Index>,
    lost: Lost,
    stored: impl Fn(&(vault_format::BlobKind, Id)) -> bool,
    own: Id,
    control: &dyn Control,
) -> Result<DamageMet, VaultError> {
    let mut before = touched_by(vault, Arc::clone(known), &lost.blobs, control)?;
    before.retain(|snapshot| snapshot.id != own);
    let still_lost: LostBlobs = lost.blobs.into_iter().filter(|blob| !stored(blob)).collect();
    let after = touched_by(vault, vault.load_index()?, &still_lost, control)?;
    let after: HashSet<Id> = after.into_iter().map(|snapshot| snapshot.id).collect();
    let touched = before.into_iter().map(|snapshot| TouchedSnapshot {
        snapshot: snapshot.id,
        recovery_point: snapshot.recovery_point(),
        healed: !after.contains(&snapshot.id),
    });
    Ok(DamageMet { packs: lost.packs, touched: touched.collect() })
}

/// Tells the operator, who may have to bring back what no source has any more.
pub(super) fn report(vault: &Vault, damage: &DamageMet) {
    let named = |healed: bool| {
        let some = damage.touched.iter().filter(|touched| touched.healed == healed);
        let names = some.map(|touched| match touched.recovery_point {
            Some(id) => id.to_string(),
            None => format!("snapshot {}", touched.snapshot),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    tracing::error!(
        vault = vault.location(),
        packs = damage.packs.join(", "),
        recovery_points_lost = named(false),
        recovery_points_healed = named(true),
        "packs are missing or damaged; what the source still had was stored anew"
    );
}
