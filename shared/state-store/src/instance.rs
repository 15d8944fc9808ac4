//! The identity of a store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where the kernel's random numbers come from.
const RANDOM: &str = "/dev/urandom";

/// A new identity: a random UUID, version 4. It comes from the kernel and not from the caller, because two stores with one
/// identity would be the worst kind of mistake, and no simulation opens a directory.
pub(crate) fn draw() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open(Path::new(RANDOM))?.read_exact(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string())
}
