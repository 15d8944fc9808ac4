//! Vaults.

use super::Invalid;
use super::limits::within;

/// The retention bounds of a vault: each 1 to 36,500 days, the shortest not above the longest.
///
/// # Errors
/// When they are anything else.
pub fn vault_retention(min_days: Option<u32>, max_days: Option<u32>) -> Result<(), Invalid> {
    for (field, days) in [("min_retention_days", min_days), ("max_retention_days", max_days)] {
        if let Some(days) = days {
            within(field, days, 1..=36_500, "days")?;
        }
    }
    match (min_days, max_days) {
        (Some(min), Some(max)) if min > max => Err(Invalid::parameter(
            "min_retention_days",
            min.to_string(),
            format!("must not be above `max_retention_days`, which is `{max}`"),
        )),
        _ => Ok(()),
    }
}
