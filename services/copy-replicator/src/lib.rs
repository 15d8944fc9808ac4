//! Makes a recovery point exist in another vault.
