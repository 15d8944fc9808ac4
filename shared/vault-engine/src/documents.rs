//! Our own files in a vault, below `holdfast/`, where restic and rustic do not look: JSON, compressed and sealed under the
//! vault's key like restic's index files, and named by the digest of their bytes.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault_format::{Id, decode_unpacked, encode_unpacked};

use crate::error::chain;
use crate::store::StoreError;
use crate::{DamagedFile, Vault, VaultError};

/// Longest such file that is read, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// A document and where it was found.
pub(crate) struct Found<T> {
    pub(crate) path: String,
    /// When it was written, by the store's clock.
    pub(crate) modified: Timestamp,
    pub(crate) document: T,
}

/// Seals a document.
pub(crate) fn seal<T: Serialize>(vault: &Vault, what: &'static str, document: &T) -> Result<Vec<u8>, VaultError> {
    let encode = |source| VaultError::Encode { what, source };
    let json = serde_json::to_vec(document).map_err(|error| encode(error.into()))?;
    encode_unpacked(vault.key(), vault.surroundings().random(), &json).map_err(encode)
}

/// Opens a sealed document; an error is a sentence.
pub(crate) fn open<T: DeserializeOwned>(vault: &Vault, sealed: Vec<u8>) -> Result<T, String> {
    let json = decode_unpacked(vault.key(), sealed).map_err(|error| chain(&error))?;
    serde_json::from_slice(&json).map_err(|error| format!("its JSON is not as it should be: {error}"))
}

/// Writes a document into a directory and returns its path; durable after the store's next barrier.
pub(crate) fn write<T: Serialize>(
    vault: &Vault,
    directory: &str,
    what: &'static str,
    document: &T,
) -> Result<String, VaultError> {
    let sealed = seal(vault, what, document)?;
    let path = format!("{directory}/{}", Id::of(&sealed));
    vault.store().put(&path, sealed.into()).map_err(|error| error.when(format!("write {what}")))?;
    Ok(path)
}

/// Reads all documents of a directory; those that cannot be used are in the second list.
pub(crate) fn read_all<T: DeserializeOwned>(
    vault: &Vault,
    directory: &str,
) -> Result<(Vec<Found<T>>, Vec<DamagedFile>), VaultError> {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for file in vault.store().list(directory).map_err(|error| error.when(format!("list `{directory}`")))? {
        let path = format!("{directory}/{}", file.name);
        let sealed = match vault.store().get(&path, DOCUMENT_BYTES_MAX) {
            Ok(sealed) => sealed,
            // Removed since it was listed.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error @ StoreError::TooLarge { .. }) => {
                damaged.push(DamagedFile { path, problem: error.to_string() });
                continue;
            }
            Err(error) => return Err(error.when(format!("read `{path}`"))),
        };
        match open(vault, sealed) {
            Ok(document) => found.push(Found { path, modified: file.modified, document }),
            Err(problem) => damaged.push(DamagedFile { path, problem }),
        }
    }
    Ok((found, damaged))
}
