//! The services' names of fields, as clients of the AWS API know them.

/// Names that are not the same words in another spelling.
const OTHERS: &[(&str, &str)] = &[
    ("rules", "Rules"),
    ("schedule", "ScheduleExpression"),
    ("time_zone", "ScheduleExpressionTimezone"),
    ("target_vault", "TargetBackupVaultName"),
    ("completion_window_minutes", "CompletionWindowMinutes"),
    ("move_to_cold_after_days", "MoveToColdStorageAfterDays"),
    ("destination_vault", "DestinationBackupVaultArn"),
    ("vault", "BackupVaultName"),
    ("plan_id", "BackupPlanId"),
    ("selection_id", "SelectionId"),
    ("resource", "ResourceArn"),
    ("recovery_point", "RecoveryPointArn"),
    ("enable_continuous", "EnableContinuousBackup"),
    ("protected_resources", "ProtectedResourceArns"),
    ("conditions", "Conditions"),
    ("iam_role", "IamRoleArn"),
    ("topic", "SNSTopicArn"),
    ("events", "BackupVaultEvents"),
    ("setting", "ReportSetting"),
    ("delivery", "ReportDeliveryChannel"),
];

/// `rules[0].lifecycle.delete_after_days` as `Rules[0].Lifecycle.DeleteAfterDays`.
pub(crate) fn member_path(field: &str) -> String {
    let field = field.strip_prefix("data.").unwrap_or(field);
    field.split('.').map(segment).collect::<Vec<_>>().join(".")
}

fn segment(segment: &str) -> String {
    let (name, index) = segment.split_at(segment.find('[').unwrap_or(segment.len()));
    let known = OTHERS.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| (*theirs).to_owned());
    known.unwrap_or_else(|| name.split('_').map(capitalised).collect()) + index
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_clients_know_them() {
        assert_eq!(member_path("rules[0].lifecycle.delete_after_days"), "Rules[0].Lifecycle.DeleteAfterDays");
        assert_eq!(member_path("data.rules[2].schedule"), "Rules[2].ScheduleExpression");
        assert_eq!(member_path("plan_id"), "BackupPlanId");
        assert_eq!(member_path("min_retention_days"), "MinRetentionDays");
    }
}
