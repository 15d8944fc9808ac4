//! Making a directory, empty or from an export: beside its place, then renamed into it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::parent;
use crate::backend::sled_db::SledDb;
use crate::backend::{Backend, Writes};
use crate::config::{StoreConfig, beside};
use crate::error::ImportError;
use crate::export::{self, ImportSummary};
use crate::instance;
use crate::scan::{self, Digest, Verified};

/// Rows per commit while an export is taken in.
const CHUNK_ROWS: usize = 500;

/// Makes a directory with no rows.
pub(super) fn empty(config: &StoreConfig) -> Result<(), ImportError> {
    make(config, |backend| {
        let verified = Verified { instance: draw(config)?, number: 0, digests: BTreeMap::new() };
        commit(backend, &scan::founding(&verified), &config.dir)?;
        Ok((0, ()))
    })
}

/// Makes a directory with the rows of an export.
pub(super) fn restored(config: &StoreConfig, file: &Path) -> Result<ImportSummary, ImportError> {
    // Once for its checksum, before a single row is believed.
    export::read(file, &mut |_, _, _| Ok(()))?;
    make(config, |backend| {
        let mut digests = BTreeMap::<String, Digest>::new();
        let mut chunk = Writes::new();
        let mut pending = 0;
        let header = export::read(file, &mut |tree, key, value| {
            digests.entry(tree.to_owned()).or_default().add(key, value);
            chunk.entry(tree.to_owned()).or_default().insert(key.to_vec(), Some(value.to_vec()));
            pending += 1;
            if pending == CHUNK_ROWS {
                commit(backend, &std::mem::take(&mut chunk), file)?;
                pending = 0;
            }
            Ok(())
        })?;
        let verified = Verified { instance: draw(config)?, number: header.number, digests };
        chunk.extend(scan::founding(&verified));
        commit(backend, &chunk, file)?;
        let summary = ImportSummary {
            tables: verified.digests.len(),
            rows: header.rows(),
            exported_at: header.at,
            exported_from: header.instance,
            number: header.number,
            instance: verified.instance,
        };
        Ok((header.number, summary))
    })
}

fn draw(config: &StoreConfig) -> Result<String, ImportError> {
    instance::draw().map_err(io_error("draw an identity for", &config.dir))
}

fn commit(backend: &mut SledDb, writes: &Writes, path: &Path) -> Result<(), ImportError> {
    backend.commit(writes).map_err(|source| ImportError::Backend { path: path.to_owned(), source })
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io { step, path, source }
}

fn make<T>(
    config: &StoreConfig,
    fill: impl FnOnce(&mut SledDb) -> Result<(u64, T), ImportError>,
) -> Result<T, ImportError> {
    let new = beside(&config.dir, ".new");
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove the unfinished directory", &new)(error));
        }
        _ => {}
    }
    let failed = |source| ImportError::Backend { path: new.clone(), source };
    let mut backend = SledDb::open(&new, config.cache_bytes).map_err(failed)?;
    let (number, value) = fill(&mut backend)?;
    backend.barrier(number).map_err(failed)?;
    backend.remember(number).map_err(failed)?;
    drop(backend);
    SledDb::sync_files(&new).map_err(io_error("sync", &new))?;
    std::fs::rename(&new, &config.dir).map_err(io_error("move the new state to", &config.dir))?;
    let parent = parent(&config.dir);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("sync directory", parent))?;
    Ok(value)
}
