//! `recovery-points`: key of the ARN to recovery point, as facts told it.

use job_model::{Arn, RecoveryPoint, resource_key};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const POINTS: Table<PointRow> = Table::new("recovery-points");

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct PointRow(RecoveryPoint);

impl Record for PointRow {
    const VERSION: u8 = 1;
}

pub(crate) fn put_point(tx: &mut Tx<'_>, point: RecoveryPoint) -> Result<(), StoreError> {
    let key = resource_key(&point.arn);
    tx.put(&POINTS, key.as_bytes(), &PointRow(point))
}

pub(crate) fn delete_point(tx: &mut Tx<'_>, arn: &Arn) -> Result<bool, StoreError> {
    tx.delete(&POINTS, resource_key(arn).as_bytes())
}

pub(crate) fn all_points(tx: &Tx<'_>) -> Result<Vec<RecoveryPoint>, StoreError> {
    Ok(tx.scan(&POINTS, &[])?.into_iter().map(|(_, row)| row.0).collect())
}
