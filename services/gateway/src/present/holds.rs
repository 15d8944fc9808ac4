//! Legal holds.

use job_model::LegalHold;
use serde_json::{Map, Value, json};

use super::{compact, epoch, maybe};

fn arn(hold: &LegalHold) -> String {
    format!("arn:aws:backup:{}:{}:legal-hold:{}", hold.region, hold.account, hold.id)
}

/// A hold with what it holds.
pub(crate) fn hold(hold: &LegalHold) -> Value {
    let mut selection = Map::new();
    if !hold.selection.vault_names.is_empty() {
        selection.insert("VaultNames".to_owned(), json!(hold.selection.vault_names));
    }
    if !hold.selection.resources.is_empty() {
        selection.insert("ResourceIdentifiers".to_owned(), json!(hold.selection.resources));
    }
    if let (Some(from), Some(until)) = (hold.selection.from, hold.selection.until) {
        selection.insert("DateRange".to_owned(), json!({ "FromDate": epoch(from), "ToDate": epoch(until) }));
    }
    compact(json!({
        "Title": hold.title,
        "Description": hold.description,
        "Status": hold.status,
        "LegalHoldId": hold.id.to_string(),
        "LegalHoldArn": arn(hold),
        "CreationDate": epoch(hold.created_at),
        "CancellationDate": maybe(hold.canceled_at),
        "CancelDescription": hold.cancel_description,
        "RetainRecordUntil": maybe(hold.retain_record_until),
        "RecoveryPointSelection": selection,
    }))
}

/// A hold in a list.
pub(crate) fn summary(hold: &LegalHold) -> Value {
    compact(json!({
        "Title": hold.title,
        "Description": hold.description,
        "Status": hold.status,
        "LegalHoldId": hold.id.to_string(),
        "LegalHoldArn": arn(hold),
        "CreationDate": epoch(hold.created_at),
        "CancellationDate": maybe(hold.canceled_at),
    }))
}
