//! The `Metadata` map of a restore in the AWS Backup API: what its keys mean here. Keys compare without case, as in
//! restore testing overrides; lists are JSON arrays in a text. Keys that mean nothing to a type are accepted, kept and
//! named, because clients send what AWS's own types need.

use std::collections::BTreeMap;

use crate::{Invalid, OverwritePolicy, RecoveryPoint, ResourceType, RestoreTarget};

/// Where to restore to: a `file://` URL.
pub const TARGET_LOCATION: &str = "TargetLocation";
/// What may be touched there: `refuse`, `if-changed`, `if-newer`, `never` or `exact`.
pub const OVERWRITE_POLICY: &str = "OverwritePolicy";
/// Paths below the resource, a JSON list; AWS's name for S3 restores.
pub const ITEMS_TO_RESTORE: &str = "ItemsToRestore";

/// What a map of metadata asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreWish {
    /// Where to.
    pub target: RestoreTarget,
    /// What may be touched there.
    pub overwrite: OverwritePolicy,
    /// Paths below the resource; empty for all.
    pub include: Vec<String>,
    /// Keys that mean nothing here.
    pub ignored: Vec<String>,
}

/// Reads a map of metadata.
///
/// # Errors
/// Names the key that is missing or whose value cannot be read.
pub fn read(_resource_type: ResourceType, metadata: &BTreeMap<String, String>) -> Result<RestoreWish, Invalid> {
    let mut url = None;
    let mut overwrite = OverwritePolicy::default();
    let mut include = Vec::new();
    let mut ignored = Vec::new();
    for (key, value) in metadata {
        if key.eq_ignore_ascii_case(TARGET_LOCATION) {
            url = Some(value.clone());
        } else if key.eq_ignore_ascii_case(OVERWRITE_POLICY) {
            overwrite = overwrite_policy(key, value)?;
        } else if key.eq_ignore_ascii_case(ITEMS_TO_RESTORE) {
            include = serde_json::from_str(value).map_err(|error| {
                let mend = format!("is not a JSON list of paths, such as `[\"docs\"]`: {error}");
                Invalid::parameter(format!("metadata.{key}"), value, mend)
            })?;
        } else {
            ignored.push(key.clone());
        }
    }
    let missing = || {
        let mend =
            format!("add `{TARGET_LOCATION}`, a `file://` URL of a directory that a restore-worker may write to");
        Invalid::parameter(format!("metadata.{TARGET_LOCATION}"), "", mend)
    };
    let url = url.ok_or_else(missing)?;
    Ok(RestoreWish { target: RestoreTarget::Location { url }, overwrite, include, ignored })
}

fn overwrite_policy(key: &str, value: &str) -> Result<OverwritePolicy, Invalid> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "refuse" => OverwritePolicy::Refuse,
        "if-changed" => OverwritePolicy::IfChanged,
        "if-newer" => OverwritePolicy::IfNewer,
        "never" => OverwritePolicy::Never,
        "exact" => OverwritePolicy::Exact,
        _ => {
            let mend = "write `refuse`, `if-changed`, `if-newer`, `never` or `exact`";
            return Err(Invalid::parameter(format!("metadata.{key}"), value, mend));
        }
    })
}

/// The map that a client can send back as it is to restore a recovery point beside its resource.
#[must_use]
pub fn of_point(point: &RecoveryPoint, location: &str) -> BTreeMap<String, String> {
    let id = point.id.to_string();
    let short: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let beside = format!("{}-restored-{short}", location.trim_end_matches('/'));
    let instant = point.continuous.as_ref().map(|_| (crate::USE_LATEST_RESTORABLE_TIME, "true".to_owned()));
    [(TARGET_LOCATION, beside), (OVERWRITE_POLICY, "refuse".to_owned()), (ITEMS_TO_RESTORE, "[]".to_owned())]
        .into_iter()
        .chain(instant)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// What a restore test uses where no override says otherwise: a place of its own in the sandbox, removed afterwards.
#[must_use]
pub fn inferred(point: &RecoveryPoint) -> BTreeMap<String, String> {
    let name = format!("{}-{}", crate::RESTORE_TEST_MARK, point.resource_type.as_str().to_ascii_lowercase());
    [(TARGET_LOCATION, format!("sandbox:{name}")), (OVERWRITE_POLICY, "refuse".to_owned())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Refuses overrides of a restore test that cannot be applied: a test restores all of a point into the sandbox.
///
/// # Errors
/// Names the key that would take the restore elsewhere or leave out a part of it.
pub fn overrides(path: &str, overrides: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (key, value) in overrides {
        let own = [TARGET_LOCATION, OVERWRITE_POLICY, ITEMS_TO_RESTORE];
        if own.iter().any(|name| key.eq_ignore_ascii_case(name)) {
            let mend = "a restore test restores all of a recovery point into its sandbox; leave this override out";
            return Err(Invalid::parameter(format!("{path}.{key}"), value, mend));
        }
    }
    Ok(())
}
