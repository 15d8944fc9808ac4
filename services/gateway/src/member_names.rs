//! The services' names of fields, as clients of the AWS API know them: a path through an operation's own input.

use crate::model::{Kind, Shape, api};

/// Names that are not the same words in another spelling. Where there are several, the first one that the input has.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "name",
        &[
            "RuleName",
            "BackupPlanName",
            "SelectionName",
            "BackupVaultName",
            "ReportPlanName",
            "RestoreTestingSelectionName",
            "RestoreTestingPlanName",
        ],
    ),
    ("tags", &["Tags", "BackupVaultTags", "BackupPlanTags", "ReportPlanTags"]),
    ("key", &["ConditionKey", "Key"]),
    ("value", &["ConditionValue", "Value"]),
    ("id", &["LegalHoldId", "ReportJobId"]),
    ("arn", &["ResourceArn"]),
    ("plan", &["RestoreTestingPlanName"]),
    ("selection", &["RestoreTestingSelection", "RecoveryPointSelection"]),
    ("selections", &["RestoreTestingSelection"]),
    ("schedule", &["ScheduleExpression"]),
    ("time_zone", &["ScheduleExpressionTimezone"]),
    ("target_vault", &["TargetBackupVaultName"]),
    ("completion_window_minutes", &["CompletionWindowMinutes", "CompleteWindowMinutes"]),
    ("move_to_cold_after_days", &["MoveToColdStorageAfterDays"]),
    ("destination_vault", &["DestinationBackupVaultArn"]),
    ("vault", &["BackupVaultName", "SourceBackupVaultName"]),
    ("key_profile", &["EncryptionKeyArn"]),
    ("plan_id", &["BackupPlanId"]),
    ("job_id", &["BackupJobId", "CopyJobId", "RestoreJobId"]),
    ("resource", &["ResourceArn"]),
    ("resources", &["Resources", "ResourceIdentifiers"]),
    ("resource_type", &["ProtectedResourceType", "ResourceType"]),
    ("recovery_point", &["RecoveryPointArn"]),
    ("recovery_point_kinds", &["RecoveryPointTypes"]),
    ("enable_continuous", &["EnableContinuousBackup"]),
    ("advanced_settings", &["AdvancedBackupSettings"]),
    ("options", &["BackupOptions"]),
    ("protected_resources", &["ProtectedResourceArns"]),
    ("conditions", &["Conditions", "ProtectedResourceConditions"]),
    ("iam_role", &["IamRoleArn"]),
    ("from", &["FromDate"]),
    ("until", &["ToDate"]),
    ("retain_record_days", &["RetainRecordInDays"]),
    ("set", &["Tags"]),
    ("remove", &["TagKeyList"]),
    ("opt_in", &["ResourceTypeOptInPreference"]),
    ("management", &["ResourceTypeManagementPreference"]),
    ("settings", &["GlobalSettings"]),
    ("topic", &["SNSTopicArn"]),
    ("events", &["BackupVaultEvents"]),
    ("description", &["Description", "ReportPlanDescription"]),
    ("setting", &["ReportSetting"]),
    ("template", &["ReportTemplate"]),
    ("delivery", &["ReportDeliveryChannel"]),
    ("bucket", &["S3BucketName"]),
    ("prefix", &["S3KeyPrefix"]),
];

/// What a restore is told in its map of metadata.
const METADATA: &[(&str, &str)] = &[
    ("target", "Metadata.TargetLocation"),
    ("overwrite", "Metadata.OverwritePolicy"),
    ("include", "Metadata.ItemsToRestore"),
];

/// A field of a service as a member of an operation's input: `rules[0].schedule` of `CreateBackupPlan` is
/// `BackupPlan.Rules[0].ScheduleExpression`.
pub(crate) fn member_path(input: Option<&str>, field: &str) -> String {
    let field = field.strip_prefix("data.").unwrap_or(field);
    let mut shape = input.map(|name| api().shape(name));
    let is_restore = shape.is_some_and(|shape| shape.members.contains_key("Metadata"));
    let (first, _) = name_and_index(field.split('.').next().unwrap_or_default());
    if let Some((_, member)) = METADATA.iter().find(|(ours, _)| is_restore && *ours == first) {
        return (*member).to_owned();
    }
    let mut path: Vec<String> = Vec::new();
    for segment in field.split('.') {
        let (name, index) = name_and_index(segment);
        if shape.is_some_and(|shape| shape.kind == Kind::Map) {
            // A key is its owner's word.
            path.push(segment.to_owned());
            shape = None;
            continue;
        }
        match shape.and_then(|shape| below(shape, &spellings(name))) {
            Some((members, found)) => {
                path.extend(members);
                let item = found.member.as_deref().filter(|_| !index.is_empty());
                if let (Some(last), Some(_)) = (path.last_mut(), item) {
                    last.push_str(index);
                }
                shape = Some(item.map_or(found, |item| api().shape(item)));
            }
            None => {
                path.push(capitalised(name) + index);
                shape = None;
            }
        }
    }
    path.join(".")
}

/// `rules[0]` as `rules` and `[0]`.
fn name_and_index(segment: &str) -> (&str, &str) {
    segment.split_at(segment.find('[').unwrap_or(segment.len()))
}

fn spellings(name: &str) -> Vec<String> {
    let known = OTHERS.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| theirs);
    known.map_or_else(|| vec![capitalised(name)], |theirs| theirs.iter().map(|name| (*name).to_owned()).collect())
}

/// The nearest member of one of the names: of the structure itself, else of the structures in it.
fn below(shape: &'static Shape, names: &[String]) -> Option<(Vec<String>, &'static Shape)> {
    let mut level: Vec<(Vec<String>, &'static Shape)> = vec![(Vec::new(), shape)];
    while !level.is_empty() {
        let mut deeper = Vec::new();
        for (path, shape) in level {
            for name in names {
                if let Some(member) = shape.members.get(name) {
                    return Some(([path, vec![name.clone()]].concat(), api().shape(&member.shape)));
                }
            }
            let inner = shape.members.iter().map(|(name, member)| (name, api().shape(&member.shape)));
            let structures = inner.filter(|(_, shape)| shape.kind == Kind::Structure);
            deeper.extend(structures.map(|(name, shape)| ([path.clone(), vec![name.clone()]].concat(), shape)));
        }
        level = deeper;
    }
    None
}

fn capitalised(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_clients_of_an_operation_know_them() {
        let cases = [
            (
                "CreateBackupPlan",
                "rules[0].lifecycle.delete_after_days",
                "BackupPlan.Rules[0].Lifecycle.DeleteAfterDays",
            ),
            ("UpdateBackupPlan", "data.rules[2].schedule", "BackupPlan.Rules[2].ScheduleExpression"),
            ("CreateBackupPlan", "rules[1].name", "BackupPlan.Rules[1].RuleName"),
            ("CreateBackupPlan", "name", "BackupPlan.BackupPlanName"),
            ("CreateBackupPlan", "tags.aws:mine", "BackupPlanTags.aws:mine"),
            ("CreateBackupSelection", "name", "BackupSelection.SelectionName"),
            ("CreateBackupSelection", "resources[0]", "BackupSelection.Resources[0]"),
            (
                "CreateBackupSelection",
                "conditions.string_like[1].key",
                "BackupSelection.Conditions.StringLike[1].ConditionKey",
            ),
            ("CreateBackupVault", "name", "BackupVaultName"),
            ("GetBackupPlan", "plan_id", "BackupPlanId"),
            ("PutBackupVaultLockConfiguration", "min_retention_days", "MinRetentionDays"),
            ("DescribeCopyJob", "job_id", "CopyJobId"),
            ("StartBackupJob", "completion_window_minutes", "CompleteWindowMinutes"),
            ("StartRestoreJob", "target.url", "Metadata.TargetLocation"),
            ("StartRestoreJob", "include[0]", "Metadata.ItemsToRestore"),
            ("CreateRestoreTestingPlan", "name", "RestoreTestingPlan.RestoreTestingPlanName"),
            ("UpdateRestoreTestingPlan", "name", "RestoreTestingPlanName"),
            (
                "CreateRestoreTestingPlan",
                "include_vaults[0]",
                "RestoreTestingPlan.RecoveryPointSelection.IncludeVaults[0]",
            ),
            ("CreateRestoreTestingSelection", "plan", "RestoreTestingPlanName"),
            (
                "CreateRestoreTestingSelection",
                "selections[1].restore_metadata_overrides.TargetLocation",
                "RestoreTestingSelection.RestoreMetadataOverrides.TargetLocation",
            ),
            ("DeleteRestoreTestingSelection", "name", "RestoreTestingSelectionName"),
            ("DescribeReportJob", "id", "ReportJobId"),
            ("CreateLegalHold", "selection.from", "RecoveryPointSelection.DateRange.FromDate"),
            ("TagResource", "set.aws:mine", "Tags.aws:mine"),
            ("UpdateGlobalSettings", "settings.noSuchSetting", "GlobalSettings.noSuchSetting"),
            ("CreateBackupVault", "no_member_at_all", "NoMemberAtAll"),
        ];
        for (operation, field, expected) in cases {
            let input = api().operations[operation].input.as_deref();
            assert_eq!(member_path(input, field), expected, "{operation} {field}");
        }
    }
}
