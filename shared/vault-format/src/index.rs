//! Index files: which blobs lie where in which packs.

mod scan;

use serde::{Deserialize, Serialize};

use crate::{BlobKind, FormatError, Id, PackedBlob, SEAL_OVERHEAD};

/// One pack in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: Id,
    /// All of its blobs.
    pub blobs: Vec<PackedBlob>,
}

/// `index/<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexFile {
    /// Index files that this one stands for; they may still be there.
    pub supersedes: Vec<Id>,
    /// The packs.
    pub packs: Vec<IndexedPack>,
    /// Packs that rustic has marked for deletion; restic passes over them. Read only: [`IndexFile::encode`] leaves them out,
    /// as who writes an index of ours has taken the packs into his own care.
    pub packs_to_delete: Vec<Id>,
}

impl IndexFile {
    /// Its JSON.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let packs = self
            .packs
            .iter()
            .map(|pack| PackJson { id: pack.id, blobs: pack.blobs.iter().map(BlobJson::from).collect() });
        Ok(serde_json::to_vec(&IndexJson {
            supersedes: self.supersedes.clone(),
            packs: packs.collect(),
            packs_to_delete: Vec::new(),
        })?)
    }

    /// From its JSON.
    ///
    /// # Errors
    /// When it is not JSON of that shape or a blob cannot be where it says.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        if json.first() == Some(&b'[') {
            return Err(FormatError::Invalid("it is of an obsolete form; run `restic rebuild-index`".to_owned()));
        }
        match scan::scan(json) {
            Some(index) => Ok(index),
            None => Self::parse(json),
        }
    }

    /// From JSON of any form.
    fn parse(json: &[u8]) -> Result<Self, FormatError> {
        let document: IndexJson = serde_json::from_slice(json)?;
        let mut packs = Vec::with_capacity(document.packs.len());
        for pack in document.packs {
            let blobs = pack.blobs.into_iter().map(PackedBlob::try_from).collect::<Result<_, _>>()?;
            packs.push(IndexedPack { id: pack.id, blobs });
        }
        let packs_to_delete = document.packs_to_delete.into_iter().map(|marked| marked.id).collect();
        Ok(Self { supersedes: document.supersedes, packs, packs_to_delete })
    }
}

#[derive(Serialize, Deserialize)]
struct IndexJson {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    supersedes: Vec<Id>,
    packs: Vec<PackJson>,
    #[serde(default, skip_serializing)]
    packs_to_delete: Vec<MarkedJson>,
}

#[derive(Deserialize)]
struct MarkedJson {
    id: Id,
}

#[derive(Serialize, Deserialize)]
struct PackJson {
    id: Id,
    blobs: Vec<BlobJson>,
}

#[derive(Serialize, Deserialize)]
struct BlobJson {
    id: Id,
    #[serde(rename = "type")]
    kind: KindJson,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindJson {
    Data,
    Tree,
}

impl From<&PackedBlob> for BlobJson {
    fn from(blob: &PackedBlob) -> Self {
        Self {
            id: blob.id,
            kind: match blob.kind {
                BlobKind::Data => KindJson::Data,
                BlobKind::Tree => KindJson::Tree,
            },
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.raw_length,
        }
    }
}

impl TryFrom<BlobJson> for PackedBlob {
    type Error = FormatError;

    fn try_from(blob: BlobJson) -> Result<Self, FormatError> {
        let kind = match blob.kind {
            KindJson::Data => BlobKind::Data,
            KindJson::Tree => BlobKind::Tree,
        };
        let BlobJson { id, offset, length, uncompressed_length, .. } = blob;
        checked(Self { kind, id, offset, length, raw_length: uncompressed_length })
    }
}

/// A blob as an index names it, if it can be where it says.
fn checked(blob: PackedBlob) -> Result<PackedBlob, FormatError> {
    let PackedBlob { id, offset, length, raw_length, .. } = blob;
    if (length as usize) < SEAL_OVERHEAD || offset.checked_add(length).is_none() {
        return Err(FormatError::Invalid(format!("blob {id} cannot have {length} bytes at {offset}")));
    }
    // restic writes 0 nowhere, but takes it for "not compressed".
    Ok(PackedBlob { raw_length: raw_length.filter(|length| *length > 0), ..blob })
}
