//! The index of a vault as it is now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Vault;
use crate::index::{Index, Loading};
use crate::{VaultError, index_files};

/// How often the index may be replaced while it is read. What was read is not read again, so each round is about the few
/// files that came in the one before; only many prunes in a row could get in the way so often.
const TRIES: u32 = 20;

impl Vault {
    /// Loaded again only when index files came or went.
    ///
    /// An index file that goes while the others are read is no loss once it was read: what it named stays in the store
    /// for as long as the lock does that every caller has, and a writer looks at the names once more before it relies on
    /// it. One that went before it could be read has been replaced by others, which are read then.
    pub(crate) fn load_index(&self) -> Result<Arc<Index>, VaultError> {
        let mut cached = self.index.lock();
        let mut names = self.settled_index_names()?;
        // A damaged one may have been put right under the same name.
        if let Some(index) = cached.as_ref().filter(|index| *index.files() == names && index.damaged().is_empty()) {
            return Ok(Arc::clone(index));
        }
        // The old one goes first: two of them may be more than the machine has.
        *cached = None;
        let mut loading = Loading::default();
        for _ in 0..TRIES {
            loading.read(self.store(), &self.key, &names)?;
            if loading.damaged_files().next().is_some() {
                names = self.settled_index_names()?;
                if loading.forget_those_that_went(&names) {
                    continue;
                }
            }
            let index = Arc::new(loading.finish(self.store(), &self.key)?);
            for file in index.damaged() {
                tracing::error!(vault = self.location, path = file.path, problem = file.problem, "damaged file");
            }
            *cached = Some(Arc::clone(&index));
            return Ok(index);
        }
        Err(VaultError::IndexInMotion { tries: TRIES })
    }

    /// A listing that is made while files are replaced may show neither the old ones nor the new; the next one then shows
    /// the new.
    fn settled_index_names(&self) -> Result<BTreeSet<String>, VaultError> {
        let mut names = index_files::names(self)?;
        for _ in 0..TRIES {
            let again = index_files::names(self)?;
            if again == names {
                return Ok(names);
            }
            names = again;
        }
        Err(VaultError::IndexInMotion { tries: TRIES })
    }
}
