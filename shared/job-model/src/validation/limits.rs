//! Bounds, each with its source in AWS's model or quotas.

use super::Invalid;

/// Refuses a number outside its bounds.
pub(super) fn within(
    field: &str,
    value: u32,
    bounds: std::ops::RangeInclusive<u32>,
    unit: &str,
) -> Result<(), Invalid> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(Invalid::parameter(
        field,
        value.to_string(),
        format!("must be from {} to {} {unit}", bounds.start(), bounds.end()),
    ))
}

/// Refuses a list with more items than allowed.
pub(super) fn at_most(field: &str, count: usize, limit: usize, what: &str) -> Result<(), Invalid> {
    if count <= limit {
        return Ok(());
    }
    Err(Invalid::limit(
        field,
        format!("{count} {what}"),
        format!("at most {limit} are allowed; split them over several"),
    ))
}
