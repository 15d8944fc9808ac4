//! A recovery point as if it had been captured from files of another owner: servers run as whoever runs them here, not
//! as the number that user had on the source's machine.

use driver_api::{BlobSpan, ContentRequest, ContentSink, Control, FileReader, ReadError, SnapshotReader};
use vault_format::{Id, Tree};

use crate::tool::User;

/// Reads through to another reader and changes the owner of each node.
pub(crate) struct OwnedBy<'a> {
    inner: &'a dyn SnapshotReader,
    user: &'a User,
}

impl<'a> OwnedBy<'a> {
    pub(crate) const fn new(inner: &'a dyn SnapshotReader, user: &'a User) -> Self {
        Self { inner, user }
    }
}

impl SnapshotReader for OwnedBy<'_> {
    fn root(&self) -> Id {
        self.inner.root()
    }

    fn tree(&self, id: &Id) -> Result<Tree, ReadError> {
        let mut tree = self.inner.tree(id)?;
        for node in &mut tree.nodes {
            (node.uid, node.gid) = (self.user.uid, self.user.gid);
        }
        Ok(tree)
    }

    fn blob_length(&self, id: &Id) -> Result<u32, ReadError> {
        self.inner.blob_length(id)
    }

    fn spans(&self, content: &[Id]) -> Result<Vec<BlobSpan>, ReadError> {
        self.inner.spans(content)
    }

    fn blob(&self, id: &Id) -> Result<Vec<u8>, ReadError> {
        self.inner.blob(id)
    }

    fn open<'b>(&'b self, content: &'b [Id]) -> FileReader<'b> {
        self.inner.open(content)
    }

    fn fetch(
        &self,
        requests: &[ContentRequest],
        sink: &dyn ContentSink,
        control: &dyn Control,
    ) -> Result<(), ReadError> {
        self.inner.fetch(requests, sink, control)
    }
}
