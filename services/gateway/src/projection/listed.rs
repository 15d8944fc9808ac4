//! What lists show of a recovery point: all that the projection keeps of it.

use jiff::Timestamp;
use job_model::{Arn, CreatedBy, Lifecycle, RecoveryPoint, RecoveryPointId, RecoveryPointStatus, ResourceType};
use serde::{Deserialize, Serialize};
use state_store::Record;

/// A recovery point as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedPoint {
    pub(crate) id: RecoveryPointId,
    pub(crate) arn: Arn,
    pub(crate) vault: Arn,
    pub(crate) resource: Arn,
    pub(crate) resource_type: ResourceType,
    pub(crate) status: RecoveryPointStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<CreatedBy>,
    pub(crate) created_at: Timestamp,
    pub(crate) completed_at: Timestamp,
    pub(crate) size_bytes: u64,
    pub(crate) lifecycle: Lifecycle,
    /// When it moves, or moved, to cold storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cold_at: Option<Timestamp>,
    /// When its lifecycle ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delete_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iam_role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_restored_at: Option<Timestamp>,
}

impl From<&RecoveryPoint> for ListedPoint {
    fn from(point: &RecoveryPoint) -> Self {
        Self {
            id: point.id,
            arn: point.arn.clone(),
            vault: point.vault.clone(),
            resource: point.resource.clone(),
            resource_type: point.resource_type,
            status: point.status,
            status_message: point.status_message.clone(),
            created_by: point.created_by.clone(),
            created_at: point.created_at,
            completed_at: point.completed_at,
            size_bytes: point.summary.size_bytes,
            lifecycle: point.lifecycle,
            cold_at: point.move_to_cold_at(),
            delete_at: point.delete_at(),
            iam_role: point.iam_role.clone(),
            last_restored_at: point.last_restored_at,
        }
    }
}

impl Record for ListedPoint {
    const VERSION: u8 = 2;

    fn upgrade(from: u8, json: serde_json::Value) -> Result<serde_json::Value, String> {
        if from != 1 {
            return Err(format!("version {from} is not known"));
        }
        // The first version kept recovery points whole.
        let point: RecoveryPoint = serde_json::from_value(json).map_err(|error| error.to_string())?;
        serde_json::to_value(Self::from(&point)).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;

    #[test]
    fn rows_of_the_first_version_are_read() {
        let point = scene::point(7);
        let row = ListedPoint::upgrade(1, serde_json::to_value(&point).unwrap()).unwrap();
        assert_eq!(serde_json::from_value::<ListedPoint>(row).unwrap(), ListedPoint::from(&point));
        assert!(ListedPoint::upgrade(3, serde_json::to_value(&point).unwrap()).is_err());
    }
}
