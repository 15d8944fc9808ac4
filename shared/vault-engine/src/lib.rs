//! Chunk, deduplicate, compress, encrypt, pack, index, read, copy and check vaults.
