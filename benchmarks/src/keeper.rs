//! What a worker keeps between captures, kept in files beside the vault.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use driver_api::{DriverError, Reading, Tracking, TrackingSettings};
use job_model::ChangeMethod;

use crate::error::BenchError;

/// Costs what the worker's state costs: two synced writes for each capture.
pub(crate) struct Keeper {
    base: Option<serde_json::Value>,
    name: String,
    settings: TrackingSettings,
    intent: PathBuf,
}

impl Keeper {
    /// `base` is what the last capture left, `intent` the file where what is made is written down.
    pub(crate) fn new(base: Option<serde_json::Value>, name: String, intent: PathBuf) -> Self {
        let settings = TrackingSettings { directories: Vec::new(), min_free_percent: 1 };
        Self { base, name, settings, intent }
    }

    /// Durably.
    pub(crate) fn write_down(&self, remains: &serde_json::Value) -> Result<(), BenchError> {
        let failed = |error| BenchError::io("write", &self.intent)(error);
        let mut file = File::create(&self.intent).map_err(failed)?;
        file.write_all(&serde_json::to_vec(remains)?).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    /// Nothing is measured that is not what its row says.
    pub(crate) fn must_have_tracked(&self, reading: &Reading) -> Result<(), BenchError> {
        match (&reading.fallback, &self.base) {
            (Some(why), _) => Err(BenchError::Wrong(format!("changes were not tracked: {why}"))),
            (None, Some(_)) if reading.method != ChangeMethod::ExtentComparison => {
                Err(BenchError::Wrong(format!("changes were not tracked: {:?}", reading.method)))
            }
            _ => Ok(()),
        }
    }
}

impl Tracking for Keeper {
    fn base(&self) -> Option<&serde_json::Value> {
        self.base.as_ref()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &TrackingSettings {
        &self.settings
    }

    fn intend(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        self.write_down(remains).map_err(|error| DriverError::Io {
            action: "write",
            path: self.intent.display().to_string(),
            source: std::io::Error::other(error),
        })
    }

    fn view_taken(&self) -> Result<(), DriverError> {
        Ok(())
    }
}
