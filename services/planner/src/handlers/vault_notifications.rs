//! `put-vault-notifications`, `delete-vault-notifications`: who is told of what happens in a vault.

use job_events::{DeleteVaultNotifications, PutVaultNotifications};
use job_model::{VAULT_EVENTS, VaultNotifications};

use crate::decide::{Accepted, Refusal, Step};

pub(crate) fn put(step: &mut Step<'_>, request: &PutVaultNotifications) -> Result<Accepted, Refusal> {
    let mut vault = step.vault("vault", &request.vault)?.clone();
    step.permitted("backup:PutBackupVaultNotifications", &vault)?;
    if request.topic.service() != "sns" {
        let text = format!("`{}` is not the ARN of a topic: `arn:aws:sns:<region>:<account>:<name>`", request.topic);
        return Err(Refusal::invalid("topic", text));
    }
    if !step.sees(request.topic.account()) {
        let text = format!("`{}` belongs to another account; name a topic of your own", request.topic);
        return Err(Refusal::invalid("topic", text));
    }
    if request.events.is_empty() {
        return Err(Refusal::missing("events", "name at least one event"));
    }
    let mut events: Vec<String> = Vec::new();
    for (place, event) in request.events.iter().enumerate() {
        if !VAULT_EVENTS.contains(&event.as_str()) {
            let text =
                format!("`{event}` is not an event that vaults can tell of; known are {}", VAULT_EVENTS.join(", "));
            return Err(Refusal::invalid(&format!("events[{place}]"), text));
        }
        if !events.contains(event) {
            events.push(event.clone());
        }
    }
    vault.notifications = Some(VaultNotifications { topic: request.topic.clone(), events });
    step.state.vaults.put(request.vault.clone(), vault);
    Ok(Accepted::result(&request.vault))
}

pub(crate) fn delete(step: &mut Step<'_>, request: &DeleteVaultNotifications) -> Result<Accepted, Refusal> {
    let mut vault = step.vault("vault", &request.vault)?.clone();
    step.permitted("backup:DeleteBackupVaultNotifications", &vault)?;
    if vault.notifications.take().is_some() {
        step.state.vaults.put(request.vault.clone(), vault);
    }
    Ok(Accepted::result(&request.vault))
}
