//! Whether a snapshot has everything it needs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use driver_api::{ReadError, SnapshotReader};
use vault_format::{BlobKind, Id, NodeKind};

use super::{CheckFindingKind, CheckReport, LostBlobs};
use crate::error::chain;
use crate::index::Index;
use crate::{Reader, Vault, VaultError};

/// Walks trees and remembers, so that what snapshots share is looked through once.
pub(super) struct TreeWalk<'a> {
    reader: Reader<'a>,
    lost: &'a LostBlobs,
    /// Trees that were looked through, and whether all below them is there.
    seen: HashMap<Id, bool>,
    missing: HashSet<(BlobKind, Id)>,
}

/// A tree whose subtrees are being looked through.
struct Open {
    id: Id,
    subtrees: Vec<Id>,
    whole: bool,
}

impl<'a> TreeWalk<'a> {
    pub(super) fn new(vault: &'a Vault, index: Arc<Index>, lost: &'a LostBlobs) -> Self {
        let reader = Reader::with_index(vault, index, Id::new([0; 32]));
        Self { reader, lost, seen: HashMap::new(), missing: HashSet::new() }
    }

    /// Whether everything below this tree is there; what is not goes into the report. Not recursive: a tree may be deeper
    /// than a stack.
    pub(super) fn is_whole(&mut self, root: Id, report: &mut CheckReport) -> Result<bool, VaultError> {
        let mut open: Vec<Open> = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(id) = enter.take() {
                match self.seen.get(&id) {
                    Some(known) => match open.last_mut() {
                        Some(parent) => parent.whole &= known,
                        None => return Ok(*known),
                    },
                    None => {
                        // A tree below itself cannot be made, its id would have to be known before it is.
                        let (subtrees, whole) = self.look_into(id, report)?;
                        open.push(Open { id, subtrees, whole });
                    }
                }
            }
            let Some(current) = open.last_mut() else { return Ok(false) };
            enter = current.subtrees.pop();
            if enter.is_none()
                && let Some(Open { id, whole, .. }) = open.pop()
            {
                self.seen.insert(id, whole);
                match open.last_mut() {
                    Some(parent) => parent.whole &= whole,
                    None => return Ok(whole),
                }
            }
        }
    }

    /// The subtrees of a tree, and whether it and the content of its files are there.
    fn look_into(&mut self, id: Id, report: &mut CheckReport) -> Result<(Vec<Id>, bool), VaultError> {
        let tree = match self.reader.tree(&id) {
            Ok(tree) => tree,
            Err(ReadError::Missing { .. }) => {
                self.report_missing(BlobKind::Tree, id, report);
                return Ok((Vec::new(), false));
            }
            // Whoever cannot be reached is not damaged.
            Err(error @ (ReadError::Vault(_) | ReadError::Stopped)) => {
                return Err(VaultError::of_read(error, || format!("tree {id}")));
            }
            Err(error) => {
                report.add(CheckFindingKind::TreeDamaged, format!("tree {id}"), chain(&error));
                return Ok((Vec::new(), false));
            }
        };
        let mut whole = true;
        let mut subtrees = Vec::new();
        for node in &tree.nodes {
            match &node.kind {
                NodeKind::Dir { subtree } => subtrees.push(*subtree),
                NodeKind::File { content, .. } => {
                    for blob in content {
                        if self.lost.contains(&(BlobKind::Data, *blob)) {
                            whole = false;
                        } else if self.reader.index().find(BlobKind::Data, blob).next().is_none() {
                            self.report_missing(BlobKind::Data, *blob, report);
                            whole = false;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok((subtrees, whole))
    }

    fn report_missing(&mut self, kind: BlobKind, id: Id, report: &mut CheckReport) {
        if self.missing.insert((kind, id)) {
            let subject = format!("{} blob {id}", kind.as_str());
            report.add(CheckFindingKind::BlobMissing, subject, "it is in no readable index");
        }
    }
}
