//! The repository's own file.

use serde::{Deserialize, Serialize};

use crate::{ChunkerPolynomial, FormatError, Id, MasterKey, NONCE_BYTES};

/// `config`: what every client must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Version of the format; 2 for repositories of ours.
    pub version: u32,
    /// The repository's random id.
    pub id: Id,
    /// How restic cuts files.
    pub chunker_polynomial: ChunkerPolynomial,
}

impl Config {
    /// Seals it. Unlike other files it is never compressed.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn encode(&self, key: &MasterKey, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, FormatError> {
        Ok(key.seal(nonce, &serde_json::to_vec(self)?))
    }

    /// Opens it.
    ///
    /// # Errors
    /// When it is not authentic or not of version 2.
    pub fn decode(key: &MasterKey, mut sealed: Vec<u8>) -> Result<Self, FormatError> {
        let config: Self = serde_json::from_slice(key.open_in_place(&mut sealed)?)?;
        match config.version {
            2 => Ok(config),
            1 => Err(FormatError::Invalid(
                "it is of version 1; upgrade it with `restic migrate upgrade_repo_v2`".to_owned(),
            )),
            other => Err(FormatError::Invalid(format!("its version {other} is not known"))),
        }
    }
}
