//! Which driver is for which type of resource.

use attempt_control::WorkError;
use driver_api::Driver;
use driver_postgres::{PostgresDriver, PostgresSettings};
use driver_qemu::{QemuSettings, ServedVolumeDriver};
use job_model::{FailureCode, ResourceType};

/// What drivers are made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct DriverSettings {
    pub(crate) postgres: PostgresSettings,
    pub(crate) qemu: QemuSettings,
}

/// The driver for a type.
pub(crate) fn driver(resource_type: ResourceType, settings: &DriverSettings) -> Result<Box<dyn Driver>, WorkError> {
    match resource_type {
        ResourceType::Files => Ok(Box::new(driver_filesystem::FilesystemDriver)),
        ResourceType::Volume => Ok(Box::new(ServedVolumeDriver::new(settings.qemu.clone()))),
        ResourceType::Rds => Ok(Box::new(PostgresDriver::new(settings.postgres.clone()))),
        other => Err(WorkError::refused(
            FailureCode::OrderInvalid,
            format!("this worker has no driver for resources of type `{}`; upgrade it", other.as_str()),
        )),
    }
}
