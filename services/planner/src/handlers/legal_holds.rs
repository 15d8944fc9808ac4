//! `create-legal-hold`, `cancel-legal-hold`.

use job_events::{CancelLegalHold, CreateLegalHold};
use job_model::{LegalHold, LegalHoldId, LegalHoldStatus, validation};

use crate::decide::runs::after;
use crate::decide::scope::check_tags;
use crate::decide::{Accepted, Refusal, Step};

/// AWS's quota of holds of an account.
const HOLDS_MAX: usize = 50;
/// Longest title, description and reason, in characters.
const TEXT_MAX: usize = 2048;
/// Names and ARNs in one selection at most.
const LIST_MAX: usize = 500;
/// The longest time that the record of a lifted hold is kept, in days.
const RECORD_DAYS_MAX: u32 = 36_500;

pub(crate) fn create(step: &mut Step<'_>, request: &CreateLegalHold) -> Result<Accepted, Refusal> {
    text("title", &request.title)?;
    text("description", &request.description)?;
    check_tags("tags", &request.tags)?;
    let selection = &request.selection;
    for (field, list) in
        [("selection.vault_names", &selection.vault_names), ("selection.resources", &selection.resources)]
    {
        if list.len() > LIST_MAX {
            return Err(Refusal::limit(field, format!("`{}` entries; at most {LIST_MAX} are allowed", list.len())));
        }
    }
    for (place, name) in selection.vault_names.iter().enumerate() {
        validation::vault_name(&format!("selection.vault_names[{place}]"), name)?;
    }
    if let (Some(from), Some(until)) = (selection.from, selection.until)
        && from > until
    {
        return Err(Refusal::invalid("selection.from", format!("`{from}` is after `{until}`; swap them")));
    }
    let account = step.account();
    let region = step.caller.region.clone().or_else(|| step.settings.regions.first().cloned());
    let region = region.ok_or_else(|| Refusal::request("", "the installation has no region"))?;
    let active = |hold: &&LegalHold| hold.account == account && hold.status == LegalHoldStatus::Active;
    if step.state.holds.values().filter(active).count() >= HOLDS_MAX {
        return Err(Refusal::limit("", format!("there are {HOLDS_MAX} legal holds already; cancel one first")));
    }
    let id = LegalHoldId::new(step.draw);
    let hold = LegalHold {
        id,
        account,
        region,
        title: request.title.clone(),
        description: request.description.clone(),
        status: LegalHoldStatus::Active,
        selection: selection.clone(),
        created_at: step.now,
        canceled_at: None,
        cancel_description: None,
        retain_record_until: None,
        creator_request_id: step.caller.token.clone(),
        tags: request.tags.clone(),
    };
    step.state.holds.put(id, hold);
    // It is written into the vaults now.
    step.state.retain_soon();
    Ok(Accepted::result(id))
}

pub(crate) fn cancel(step: &mut Step<'_>, request: &CancelLegalHold) -> Result<Accepted, Refusal> {
    text("cancel_description", &request.cancel_description)?;
    let days = request.retain_record_days;
    if days.is_some_and(|days| days > RECORD_DAYS_MAX) {
        return Err(Refusal::invalid("retain_record_days", format!("at most {RECORD_DAYS_MAX} days")));
    }
    let id = request.id;
    let known = step.state.holds.get(&id).filter(|hold| step.sees(hold.account.as_str()));
    let unknown = || Refusal::not_found("id", format!("legal hold `{id}` does not exist"));
    let mut hold = known.cloned().ok_or_else(unknown)?;
    if hold.status != LegalHoldStatus::Active {
        return Err(Refusal::request("id", format!("legal hold `{id}` is canceled already")));
    }
    hold.status = LegalHoldStatus::Canceled;
    hold.canceled_at = Some(step.now);
    hold.cancel_description = Some(request.cancel_description.clone());
    hold.retain_record_until = days.map(|days| after(step.now, jiff::SignedDuration::from_hours(i64::from(days) * 24)));
    step.state.holds.put(id, hold);
    step.state.retain_soon();
    Ok(Accepted::result(id))
}

fn text(field: &str, value: &str) -> Result<(), Refusal> {
    if value.trim().is_empty() {
        return Err(Refusal::missing(field, "must not be empty"));
    }
    if value.chars().count() > TEXT_MAX {
        return Err(Refusal::invalid(field, format!("must have at most {TEXT_MAX} characters")));
    }
    Ok(())
}
