//! How a vault looks.

use job_model::{RepositoryHealth, StorageClass, Vault};

use super::jobs::{Sheet, word};
use super::{bytes, count, moment};

/// One vault.
#[must_use]
pub(crate) fn vault_detail(vault: &Vault) -> String {
    let mut sheet = Sheet::new();
    sheet.line("vault", vault.access.arn.as_str());
    sheet.line("state", word(&vault.state));
    sheet.some("message", vault.state_message.as_ref());
    sheet.line("location", format!("{} (key {})", vault.access.location, vault.access.key_profile));
    if let Some(cold) = &vault.cold {
        let made = if cold.repository_id.is_some() { "" } else { ", not made yet" };
        sheet.line("cold storage", format!("{} (key {}{made})", cold.location, cold.key_profile));
    }
    if vault.is_locked() {
        let date = vault.lock.and_then(|lock| lock.lock_date);
        sheet.line("lock", date.map_or_else(|| "may be lifted".to_owned(), |at| format!("final from {}", moment(at))));
    }
    sheet.some("kept at least", vault.min_retention_days.map(|days| format!("{days} days")));
    sheet.some("kept at most", vault.max_retention_days.map(|days| format!("{days} days")));
    for health in &vault.health {
        let name = if health.storage_class == StorageClass::Cold { "cold checked" } else { "checked" };
        sheet.line(name, checked(health));
        sheet.some("", health.first_damage.as_ref());
        for point in &health.recovery_points {
            sheet.line("", format!("DAMAGED: {point}"));
        }
        sheet.some(
            "read by now",
            health.coverage.map(|c| {
                let since = c.oldest_read.map(|at| format!(", the oldest of it {}", moment(at))).unwrap_or_default();
                format!("{} of {}{since}", bytes(c.bytes_covered), bytes(c.bytes))
            }),
        );
    }
    if vault.health.is_empty() {
        sheet.line("checked", "never");
    }
    sheet.text
}

fn checked(health: &RepositoryHealth) -> String {
    let at = moment(health.checked_at);
    if health.damage == 0 {
        return format!("{at}: sound");
    }
    let points = count(health.recovery_points_damaged);
    format!("{at}: DAMAGED, {} findings; {points} recovery points cannot be restored whole", count(health.damage))
}
