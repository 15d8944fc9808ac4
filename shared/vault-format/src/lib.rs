//! restic repository format version 2: encode and decode, pure.
//!
//! The source of the format is restic's own design document (`doc/design.rst`, "Repository Format" and "Trees and Data").

mod id;
mod node;

pub use id::{Id, InvalidId};
pub use node::{Node, NodeKind, NodeTime, Tree, Xattr};
