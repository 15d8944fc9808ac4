//! Why something is not of the format.

/// Why something could not be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Too short to be what it should be.
    #[error("it is cut off: {found} bytes of at least {needed}")]
    TooShort {
        /// Bytes there are.
        found: usize,
        /// Bytes there must be.
        needed: usize,
    },
    /// Larger than is accepted.
    #[error("it has {found} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Bytes there are or claim to be.
        found: u64,
        /// Most that are accepted.
        limit: u64,
    },
    /// The authentication code is not right: it was changed, or the key is another one.
    #[error("its authentication code is wrong: it was changed or the key is another one")]
    Unauthentic,
    /// zstd failed.
    #[error("it cannot be decompressed")]
    Decompress(#[source] std::io::Error),
    /// zstd failed.
    #[error("it cannot be compressed")]
    Compress(#[source] std::io::Error),
    /// Not the JSON it should be.
    #[error("its JSON is not as it should be")]
    Json(#[from] serde_json::Error),
    /// The content is not what its id says.
    #[error("its SHA-256 is {found}")]
    WrongId {
        /// What it really is.
        found: crate::Id,
    },
    /// Something else that the format does not allow.
    #[error("{0}")]
    Invalid(String),
}
