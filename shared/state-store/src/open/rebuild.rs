//! A directory that is damaged or missing: move it aside, take the newest good export, say what is lost.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Recovery, build, io_error, parent, unusable};
use crate::backend::mark::Mark;
use crate::config::{StoreConfig, beside};
use crate::engine::causes;
use crate::error::{ImportError, OpenError};
use crate::export;

/// Makes a directory where there is none. Exports, or a damaged directory beside it, say that there was one.
pub(super) fn begin(config: &StoreConfig) -> Result<Recovery, OpenError> {
    let exports = exports(config)?;
    let quarantined = newest_quarantine(&config.dir);
    if exports.is_empty() && quarantined.is_none() {
        build::empty(config).map_err(|error| as_open_error(config, error))?;
        return Ok(Recovery::Created);
    }
    let acknowledged = quarantined.as_deref().and_then(Mark::read);
    let quarantined = quarantined.unwrap_or_else(|| config.dir.clone());
    fill(config, &exports, acknowledged, quarantined, "the directory was missing")
}

/// Moves a damaged directory aside and makes a new one.
pub(super) fn replace(config: &StoreConfig, problem: &str) -> Result<Recovery, OpenError> {
    let acknowledged = Mark::read(&config.dir);
    let exports = exports(config)?;
    let quarantine = free_quarantine(&config.dir);
    tracing::error!(dir = %config.dir.display(), problem, moved_to = %quarantine.display(), "state is damaged");
    std::fs::rename(&config.dir, &quarantine).map_err(io_error("move aside", &config.dir))?;
    let parent = parent(&config.dir);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("sync directory", parent))?;
    fill(config, &exports, acknowledged, quarantine, problem)
}

fn exports(config: &StoreConfig) -> Result<Vec<PathBuf>, OpenError> {
    let dir = config.exports();
    export::list(&dir).map_err(io_error("list the exports in", &dir))
}

fn fill(
    config: &StoreConfig,
    exports: &[PathBuf],
    acknowledged: Option<u64>,
    quarantined_to: PathBuf,
    problem: &str,
) -> Result<Recovery, OpenError> {
    let mut reason = problem.to_owned();
    let mut restored_from = None;
    for file in exports.iter().rev() {
        match build::restored(config, file) {
            Ok(summary) => {
                let lost = match acknowledged {
                    Some(newest) => format!("{} acknowledged transactions", newest.saturating_sub(summary.number)),
                    None => "an unknown number of transactions".to_owned(),
                };
                reason.push_str(&format!("; lost: {lost} since the export of {}", summary.exported_at));
                restored_from = Some(file.clone());
                break;
            }
            Err(error @ ImportError::Damaged { .. }) => {
                tracing::error!(file = %file.display(), %error, "an export is damaged; trying an older one");
                reason.push_str(&format!("; {error}"));
            }
            Err(error) => return Err(as_open_error(config, error)),
        }
    }
    if restored_from.is_none() {
        build::empty(config).map_err(|error| as_open_error(config, error))?;
        reason.push_str("; lost: everything, there is no good export");
    }
    tracing::error!(
        dir = %config.dir.display(),
        quarantined_to = %quarantined_to.display(),
        restored_from = restored_from.as_ref().map(|file| tracing::field::display(file.display())),
        reason,
        "state was rebuilt"
    );
    Ok(Recovery::Rebuilt { quarantined_to, restored_from, reason })
}

fn as_open_error(config: &StoreConfig, error: ImportError) -> OpenError {
    match error {
        ImportError::Io { step, path, source } => OpenError::Io { step, path, source },
        ImportError::Open(error) => *error,
        other => unusable(config, causes(&other)),
    }
}

fn quarantine(dir: &Path, number: u32) -> PathBuf {
    beside(dir, &format!(".damaged-{number}"))
}

fn free_quarantine(dir: &Path) -> PathBuf {
    let mut number = 1;
    while quarantine(dir, number).exists() {
        number += 1;
    }
    quarantine(dir, number)
}

fn newest_quarantine(dir: &Path) -> Option<PathBuf> {
    (1..).map(|number| quarantine(dir, number)).take_while(|path| path.exists()).last()
}
