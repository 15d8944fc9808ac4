//! Whose things a request may see and touch. What belongs to another account does not exist for a caller with an account;
//! whoever may publish on the bus without one acts for the installation.

use std::collections::BTreeMap;

use job_model::access_policy::AccessPolicy;
use job_model::{AccountId, Arn, BackupPlan, JobId, PlanId, Region, Resource, Vault, validation};

use crate::decide::{Refusal, Step};
use crate::state::{JobRow, PointRow};

/// AWS's quota of tags of anything.
const TAGS_MAX: usize = 50;

/// On whose behalf a step is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The account; none for the installation itself.
    pub(crate) account: Option<AccountId>,
    /// Who, as the ARN of a role.
    pub(crate) principal: Option<Arn>,
    /// The region whose stream the request was in.
    pub(crate) region: Option<Region>,
    /// The token of the request.
    pub(crate) token: Option<String>,
}

impl Step<'_> {
    /// The account of what is made now.
    pub(crate) fn account(&self) -> AccountId {
        self.caller.account.clone().unwrap_or_else(|| self.settings.account.clone())
    }

    /// Whether something of this account exists for the caller.
    pub(crate) fn sees(&self, account: &str) -> bool {
        self.caller.account.as_ref().is_none_or(|own| own.as_str() == account)
    }

    /// The vault, if it exists for the caller.
    pub(crate) fn vault(&self, field: &str, arn: &Arn) -> Result<&Vault, Refusal> {
        self.state
            .vaults
            .get(arn)
            .filter(|_| self.sees(arn.account()))
            .ok_or_else(|| Refusal::not_found(field, format!("vault `{arn}` does not exist; create it first")))
    }

    /// The recovery point, if it exists for the caller.
    pub(crate) fn point(&self, field: &str, arn: &Arn) -> Result<&PointRow, Refusal> {
        self.state
            .points
            .get(arn)
            .filter(|row| self.sees(row.point.vault.account()))
            .ok_or_else(|| Refusal::not_found(field, format!("recovery point `{arn}` does not exist")))
    }

    /// The resource, if it exists for the caller.
    pub(crate) fn resource(&self, field: &str, arn: &Arn) -> Result<&Resource, Refusal> {
        self.state
            .resources
            .get(arn)
            .filter(|resource| self.sees(resource.account_or(&self.settings.account)))
            .ok_or_else(|| Refusal::not_found(field, format!("resource `{arn}` is not registered; register it first")))
    }

    /// The newest version of a plan that is not deleted and exists for the caller.
    pub(crate) fn plan(&self, id: PlanId) -> Option<&BackupPlan> {
        self.state
            .current_plan(id)
            .filter(|plan| self.sees(plan.account.as_ref().unwrap_or(&self.settings.account).as_str()))
    }

    /// The job, if it exists for the caller.
    pub(crate) fn job(&self, field: &str, id: JobId) -> Result<&JobRow, Refusal> {
        self.state
            .job(id)
            .filter(|row| self.sees(row.job.account()))
            .ok_or_else(|| Refusal::not_found(field, format!("job `{id}` is not in the ledger")))
    }

    /// Who asks, as access policies see them: the root of the account unless a role was named.
    fn principal(&self, account: &str) -> Option<Arn> {
        let root = || format!("arn:aws:iam::{account}:root").parse().ok();
        self.caller.principal.clone().or_else(root)
    }

    /// Whether the vault's access policy lets the caller do this. Policies were checked when they were put; one that
    /// cannot be read any more denies, because what it forbids is not known.
    pub(crate) fn permitted(&self, action: &str, vault: &Vault) -> Result<(), Refusal> {
        let Some(text) = &vault.access_policy else { return Ok(()) };
        let arn = &vault.access.arn;
        let caller = self.caller.account.as_ref().map_or(arn.account(), AccountId::as_str);
        let denied = match (AccessPolicy::parse(text), self.principal(caller)) {
            (Ok(policy), Some(principal)) => policy.denies(action, &principal, arn),
            _ => true,
        };
        if denied {
            let text = format!("the access policy of vault `{}` denies `{action}`; change the policy", vault.name);
            return Err(Refusal::denied("vault", text));
        }
        Ok(())
    }

    /// Whether a copy may go into this vault. Into a vault of another account only where the sender's account allows
    /// copies between accounts and the vault's policy lets that account in.
    pub(crate) fn may_copy_into(&self, field: &str, source_account: &str, arn: &Arn) -> Result<&Vault, Refusal> {
        let unknown = || Refusal::not_found(field, format!("vault `{arn}` does not exist; create it first"));
        let vault = self.state.vaults.get(arn).ok_or_else(unknown)?;
        if arn.account() == source_account {
            self.permitted("backup:CopyIntoBackupVault", vault)?;
            return Ok(vault);
        }
        if self.caller.account.is_none() {
            return Ok(vault);
        }
        let enabled = source_account
            .parse::<AccountId>()
            .ok()
            .and_then(|account| self.state.global_settings.get(&account))
            .is_some_and(job_model::GlobalSettings::allows_cross_account);
        let policy = vault.access_policy.as_deref().and_then(|text| AccessPolicy::parse(text).ok());
        let principal = self.principal(source_account);
        let let_in =
            policy.zip(principal).is_some_and(|(policy, who)| policy.allows("backup:CopyIntoBackupVault", &who, arn));
        // Whether the other account has such a vault is not for the caller to know.
        if enabled && let_in { Ok(vault) } else { Err(unknown()) }
    }
}

/// The account whose recovery points a vault holds.
pub(crate) fn account_of(vault: &Arn, own: &AccountId) -> AccountId {
    vault.account().parse().unwrap_or_else(|_| own.clone())
}

/// Tags of a thing: at most 50, keys and values within AWS's bounds.
pub(crate) fn check_tags(field: &str, tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX {
        return Err(Refusal::limit(field, format!("`{}` tags; at most {TAGS_MAX} are allowed", tags.len())));
    }
    for (key, value) in tags {
        validation::tag(&format!("{field}.{key}"), key, value)?;
    }
    Ok(())
}
