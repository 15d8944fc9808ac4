//! Which driver checks which type of resource.

use attempt_control::WorkError;
use driver_api::Driver;
use driver_postgres::{PostgresDriver, PostgresSettings};
use job_model::{FailureCode, ResourceType};

/// The driver for a type.
pub(crate) fn driver(resource_type: ResourceType, postgres: &PostgresSettings) -> Result<Box<dyn Driver>, WorkError> {
    match resource_type {
        ResourceType::Files => Ok(Box::new(driver_filesystem::FilesystemDriver)),
        ResourceType::Volume => Ok(Box::new(driver_volume::VolumeDriver)),
        ResourceType::Rds => Ok(Box::new(PostgresDriver::new(postgres.clone()))),
        other => Err(WorkError::refused(
            FailureCode::OrderInvalid,
            format!("this verifier has no driver for resources of type `{}`; upgrade it", other.as_str()),
        )),
    }
}
