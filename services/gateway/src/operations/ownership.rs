//! Looking things up on behalf of an account: what belongs to another one does not exist.

use job_events::{Answer, Query};
use job_model::{Arn, BackupPlan, Job, JobId, JobKind, LegalHold, PlanId, RecoveryPoint, RestoreTestingPlan, Vault};

use super::{Context, unexpected};
use crate::decode::short;
use crate::fault::Fault;
use crate::projection::{Object, key};

impl Context<'_> {
    /// The ARN of a vault of the account in the region.
    pub(super) fn vault_arn(&self, name: &str) -> Result<Arn, Fault> {
        Arn::vault(self.region, self.account(), name).map_err(|error| Fault::invalid("BackupVaultName", error))
    }

    /// An ARN given by the client.
    pub(super) fn arn(&self, member: &str, text: &str) -> Result<Arn, Fault> {
        text.parse().map_err(|error: job_model::InvalidArn| {
            Fault::invalid(member, format!("`{}` is not {}", short(text), error.expected))
        })
    }

    /// Whether something is the account's and in the region.
    pub(super) fn owns(&self, arn: &Arn) -> bool {
        arn.account() == self.account().as_str() && arn.region() == self.region.as_str()
    }

    /// A vault, by the planner's word.
    pub(super) async fn vault(&self, arn: &Arn) -> Result<Vault, Fault> {
        match self.query(&Query::ShowVault { vault: arn.clone() }).await? {
            Answer::Vault(vault) if vault.access.arn.account() == self.account().as_str() => Ok(*vault),
            Answer::Vault(_) => Err(no_vault(arn)),
            _ => Err(unexpected()),
        }
    }

    /// A vault as the projection knows it: good enough for members that never change.
    pub(super) fn known_vault(&self, arn: &Arn) -> Option<Vault> {
        match self.api.projection.object(&key::vault(arn))?.as_ref() {
            Object::Vault(vault) => Some(vault.clone()),
            _ => None,
        }
    }

    /// Whether a plan is the account's.
    pub(super) fn owns_plan(&self, plan: &BackupPlan) -> bool {
        plan.account.as_ref().unwrap_or(self.api.projection.own()) == self.account()
    }

    /// The region of a plan: its own, or for plans made on the bus that of its first vault.
    pub(super) fn region_of(plan: &BackupPlan) -> &str {
        let of_rule = || plan.rules.first().map_or("", |rule| rule.target_vault.region());
        plan.region.as_ref().map_or_else(of_rule, job_model::Region::as_str)
    }

    /// Whether a plan is listed here.
    pub(super) fn lists_plan(&self, plan: &BackupPlan) -> bool {
        self.owns_plan(plan) && Self::region_of(plan) == self.region.as_str()
    }

    /// The ARN of a plan.
    pub(super) fn plan_arn(&self, plan: &BackupPlan) -> String {
        format!("arn:aws:backup:{}:{}:backup-plan:{}", Self::region_of(plan), self.account(), plan.id)
    }

    /// A plan, by the planner's word: the newest version, or the one given.
    pub(super) async fn plan(&self, id: &str, version: Option<u32>) -> Result<BackupPlan, Fault> {
        let plan_id = plan_id(id)?;
        match self.query(&Query::ShowPlan { plan_id, version }).await? {
            Answer::Plan(plan) if self.lists_plan(&plan) => Ok(*plan),
            Answer::Plan(_) => Err(no_plan(id)),
            _ => Err(unexpected()),
        }
    }

    /// A job of a kind of the region, by the planner's word.
    pub(super) async fn job(&self, id: &str, kind: JobKind) -> Result<Job, Fault> {
        let not_found = || Fault::not_found(format!("job `{}` does not exist", short(id)));
        let job_id: JobId = id.parse().map_err(|_| not_found())?;
        match self.query(&Query::ShowJob { job_id }).await? {
            Answer::Job(job) if job.kind == kind && self.owns(job.home()) => Ok(job),
            Answer::Job(_) => Err(not_found()),
            _ => Err(unexpected()),
        }
    }

    /// A recovery point, by the planner's word; in the vault where one is given.
    pub(super) async fn point(&self, arn: &str, vault: Option<&str>) -> Result<RecoveryPoint, Fault> {
        let not_found = || Fault::not_found(format!("recovery point `{}` does not exist in this vault", short(arn)));
        let recovery_point = self.arn("RecoveryPointArn", arn)?;
        let point = match self.query(&Query::ShowRecoveryPoint { recovery_point }).await? {
            Answer::RecoveryPoint { recovery_point, .. } => recovery_point,
            _ => return Err(unexpected()),
        };
        let in_vault = match vault {
            Some(name) => point.vault == self.vault_arn(name)?,
            None => true,
        };
        if in_vault && point.vault.account() == self.account().as_str() { Ok(point) } else { Err(not_found()) }
    }

    /// A restore testing plan, by the verifier's word.
    pub(super) async fn testing_plan(&self, name: &str) -> Result<RestoreTestingPlan, Fault> {
        let query = Query::ShowRestoreTestingPlan {
            account: Some(self.account().clone()),
            region: Some(self.region.clone()),
            name: name.to_owned(),
        };
        // Beside a selection's name, too, it is the plan's that is wrong.
        let of_plan = |fault: Fault| fault.named(|_| "RestoreTestingPlanName".to_owned());
        match self.query(&query).await.map_err(of_plan)? {
            Answer::RestoreTestingPlan(plan) => Ok(*plan),
            _ => Err(unexpected()),
        }
    }

    /// The ARN of a restore testing plan.
    pub(super) fn testing_arn(&self, plan: &RestoreTestingPlan) -> Result<String, Fault> {
        let arn = plan.arn(self.region, self.account());
        arn.map(String::from).map_err(|error| Fault::internal(error.to_string()))
    }

    /// A legal hold, by the planner's word.
    pub(super) async fn hold(&self, id: &str) -> Result<LegalHold, Fault> {
        let not_found = || Fault::not_found(format!("legal hold `{}` does not exist", short(id)));
        let hold = id.parse().map_err(|_| not_found())?;
        match self.query(&Query::ShowLegalHold { id: hold }).await? {
            Answer::LegalHold(hold) if hold.account == *self.account() && hold.region == *self.region => Ok(*hold),
            Answer::LegalHold(_) => Err(not_found()),
            _ => Err(unexpected()),
        }
    }
}

/// A plan's id; what is none names no plan.
pub(super) fn plan_id(id: &str) -> Result<PlanId, Fault> {
    id.parse().map_err(|_| no_plan(id))
}

/// AWS's words, which Terraform looks for.
pub(super) fn no_plan(id: &str) -> Fault {
    Fault::not_found(format!("Cannot find Backup plan with ID {}", short(id)))
}

/// A vault that is not there.
pub(super) fn no_vault(arn: &Arn) -> Fault {
    Fault::not_found(format!("Backup vault `{}` does not exist", crate::present::vault_name(arn)))
}
