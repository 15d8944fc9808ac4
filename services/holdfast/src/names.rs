//! From what a person types to what a message carries: plain names, ids and ARNs.

use std::path::{Path, PathBuf};

use job_model::{AccountId, Arn, BackupPlan, RecoveryPoint, Region, Resource, ResourceType, Selection, Vault};
use url::Url;

use crate::error::CliError;

/// The last part of an ARN: `home` of `…:tree/home`.
#[must_use]
pub(crate) fn short_name(arn: &Arn) -> String {
    arn.resource().rsplit(['/', ':']).next().unwrap_or_default().to_owned()
}

/// The name of a vault with its region: `tokyo (ap-northeast-1)`.
#[must_use]
pub(crate) fn vault_name(arn: &Arn) -> String {
    format!("{} ({})", short_name(arn), arn.region())
}

/// The ARN of a resource: the text itself where it is one, else made of the name.
///
/// # Errors
/// When the name makes no ARN.
pub(crate) fn resource_arn(
    text: &str,
    kind: ResourceType,
    region: &Region,
    account: &AccountId,
) -> Result<Arn, CliError> {
    let made = if text.starts_with("arn:") {
        text.to_owned()
    } else {
        let (service, collection) = match kind {
            ResourceType::Volume => ("volume", "volume/"),
            ResourceType::Rds => ("rds", "db:"),
            _ => ("files", "tree/"),
        };
        format!("arn:aws:{service}:{region}:{account}:{collection}{text}")
    };
    made.parse().map_err(|e: job_model::InvalidArn| CliError::usage(e.to_string()))
}

/// A location as messages carry it: a URL stays, a path becomes an absolute `file://` URL.
///
/// # Errors
/// When the working directory is unknown or the path makes no URL.
pub(crate) fn location(text: &str) -> Result<String, CliError> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    path_url(Path::new(text))
}

/// The `file://` URL of a path, made absolute.
///
/// # Errors
/// When the working directory is unknown or the path makes no URL.
pub(crate) fn path_url(path: &Path) -> Result<String, CliError> {
    let absolute: PathBuf =
        std::path::absolute(path).map_err(CliError::io(format!("make `{}` absolute", path.display())))?;
    Url::from_file_path(&absolute)
        .map(String::from)
        .map_err(|()| CliError::usage(format!("`{}` makes no file URL; name a plain path", absolute.display())))
}

/// One of `items` whose id or name is `text`.
fn pick<'a, T>(
    what: &'static str,
    look: &'static str,
    text: &str,
    items: impl IntoIterator<Item = (&'a T, String, String)>,
) -> Result<&'a T, CliError> {
    let mut named: Vec<(&T, String)> = Vec::new();
    for (item, id, name) in items {
        if id == text {
            return Ok(item);
        }
        if name == text {
            named.push((item, id));
        }
    }
    match named.as_slice() {
        [] => Err(CliError::NotFound { what, name: text.to_owned(), look }),
        [(item, _)] => Ok(item),
        many => Err(CliError::Ambiguous {
            what,
            name: text.to_owned(),
            candidates: many.iter().map(|(_, id)| format!("`{id}`")).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The vault of that name or ARN; `region` decides between vaults of one name.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn pick_vault<'a>(vaults: &'a [Vault], text: &str, region: Option<&Region>) -> Result<&'a Vault, CliError> {
    let all = || vaults.iter().map(|v| (v, v.access.arn.to_string(), v.name.clone()));
    match pick("vault", "holdfast vault list", text, all()) {
        Err(CliError::Ambiguous { .. }) if region.is_some() => {
            pick("vault", "holdfast vault list", text, all().filter(|(v, _, _)| Some(&v.region) == region))
        }
        other => other,
    }
}

/// The resource of that name or ARN.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn pick_resource<'a>(resources: &'a [Resource], text: &str) -> Result<&'a Resource, CliError> {
    pick(
        "resource",
        "holdfast resource list",
        text,
        resources.iter().map(|r| (r, r.arn.to_string(), short_name(&r.arn))),
    )
}

/// The plan of that name or id.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn pick_plan<'a>(plans: &'a [BackupPlan], text: &str) -> Result<&'a BackupPlan, CliError> {
    pick("plan", "holdfast plan list", text, plans.iter().map(|p| (p, p.id.to_string(), p.name.clone())))
}

/// The selection of that name or id.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn pick_selection<'a>(selections: &'a [Selection], text: &str) -> Result<&'a Selection, CliError> {
    pick("selection", "holdfast selection list", text, selections.iter().map(|s| (s, s.id.to_string(), s.name.clone())))
}

/// The recovery point of that ARN or id.
///
/// # Errors
/// When there is none.
pub(crate) fn pick_recovery_point<'a>(points: &'a [RecoveryPoint], text: &str) -> Result<&'a RecoveryPoint, CliError> {
    pick(
        "recovery point",
        "holdfast recovery-point list",
        text,
        points.iter().map(|p| (p, p.arn.to_string(), p.id.to_string())),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use job_model::{ResourceType, Vault, VaultAccess, VaultState};

    use super::{location, pick_vault, resource_arn, short_name, vault_name};
    use crate::error::CliError;

    fn vault(name: &str, region: &str) -> Vault {
        Vault {
            name: name.to_owned(),
            region: region.parse().unwrap(),
            access: VaultAccess {
                arn: format!("arn:aws:backup:{region}:000000000000:backup-vault:{name}").parse().unwrap(),
                location: format!("file:///srv/{name}"),
                key_profile: "default".to_owned(),
                repository_id: None,
            },
            cold: None,
            state: VaultState::Available,
            state_message: None,
            min_retention_days: None,
            max_retention_days: None,
            created_at: Timestamp::UNIX_EPOCH,
            vault_type: job_model::VaultType::BackupVault,
            creator_request_id: None,
            tags: std::collections::BTreeMap::new(),
            lock: None,
            access_policy: None,
            notifications: None,
            health: Vec::new(),
        }
    }

    #[test]
    fn a_plain_name_becomes_the_arn_of_its_type_and_a_full_arn_stays() {
        let region = "ap-northeast-1".parse().unwrap();
        let account = "000000000000".parse().unwrap();
        let arn = |text, kind| resource_arn(text, kind, &region, &account).unwrap().to_string();
        assert_eq!(arn("home", ResourceType::Files), "arn:aws:files:ap-northeast-1:000000000000:tree/home");
        assert_eq!(arn("disk", ResourceType::Volume), "arn:aws:volume:ap-northeast-1:000000000000:volume/disk");
        assert_eq!(arn("arn:aws:x:::y", ResourceType::Files), "arn:aws:x:::y");
        assert!(resource_arn("two words", ResourceType::Files, &region, &account).is_err());
    }

    #[test]
    fn a_vault_is_found_by_name_by_arn_and_by_region_where_names_repeat() {
        let vaults =
            [vault("main", "ap-northeast-1"), vault("main", "ap-northeast-3"), vault("tokyo", "ap-northeast-1")];
        let osaka = "ap-northeast-3".parse().unwrap();
        assert_eq!(pick_vault(&vaults, "tokyo", None).unwrap().name, "tokyo");
        assert_eq!(pick_vault(&vaults, "tokyo", Some(&osaka)).unwrap().name, "tokyo");
        assert_eq!(pick_vault(&vaults, "main", Some(&osaka)).unwrap().region, osaka);
        let arn = vaults[0].access.arn.as_str();
        assert_eq!(pick_vault(&vaults, arn, Some(&osaka)).unwrap().access.arn.as_str(), arn);
        assert!(matches!(pick_vault(&vaults, "main", None), Err(CliError::Ambiguous { .. })));
        assert!(matches!(pick_vault(&vaults, "kyoto", None), Err(CliError::NotFound { .. })));
    }

    #[test]
    fn names_are_the_last_part_of_an_arn() {
        assert_eq!(short_name(&"arn:aws:files:r-1:000000000000:tree/a/b".parse().unwrap()), "b");
        let vault = "arn:aws:backup:ap-northeast-3:000000000000:backup-vault:osaka".parse().unwrap();
        assert_eq!(vault_name(&vault), "osaka (ap-northeast-3)");
    }

    #[test]
    fn a_path_becomes_an_absolute_file_url_and_a_url_stays() {
        assert_eq!(location("/srv/a b").unwrap(), "file:///srv/a%20b");
        assert_eq!(location("s3://bucket/x").unwrap(), "s3://bucket/x");
        assert!(location("relative").unwrap().starts_with("file:///"));
    }
}
