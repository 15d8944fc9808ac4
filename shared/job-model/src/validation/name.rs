//! Names.

use super::Invalid;

fn check(field: &str, value: &str, min: usize, also: &str) -> Result<(), Invalid> {
    let length_fits = (min..=50).contains(&value.len());
    if length_fits && value.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c)) {
        return Ok(());
    }
    let others: Vec<String> = also.chars().map(|c| format!("`{c}`")).collect();
    Err(Invalid::parameter(
        field,
        value,
        format!("must be {min} to 50 characters: letters, digits and {}", others.join(" ")),
    ))
}

/// 1 to 50 of `[A-Za-z0-9-_.]`.
///
/// # Errors
/// When it is anything else.
pub fn plan_name(field: &str, value: &str) -> Result<(), Invalid> {
    check(field, value, 1, "-_.")
}

/// 1 to 50 of `[A-Za-z0-9-_.]`.
///
/// # Errors
/// When it is anything else.
pub fn rule_name(field: &str, value: &str) -> Result<(), Invalid> {
    check(field, value, 1, "-_.")
}

/// 1 to 50 of `[A-Za-z0-9-_.]`.
///
/// # Errors
/// When it is anything else.
pub fn selection_name(field: &str, value: &str) -> Result<(), Invalid> {
    check(field, value, 1, "-_.")
}

/// 2 to 50 of `[A-Za-z0-9-_]`.
///
/// # Errors
/// When it is anything else.
pub fn vault_name(field: &str, value: &str) -> Result<(), Invalid> {
    check(field, value, 2, "-_")
}

/// 1 to 50 of `[A-Za-z0-9_]`: a restore testing plan or a selection of one.
///
/// # Errors
/// When it is anything else.
pub fn restore_testing_name(field: &str, value: &str) -> Result<(), Invalid> {
    check(field, value, 1, "_")
}
