//! What the demo asks the services for: resources, vaults, a plan, a selection, a restore testing plan.

use std::time::Duration;

use job_events::{
    Answer, CreatePlan, CreateSelection, CreateVaultRequest, DeletePlan, DeleteSelection, PutRestoreTestingPlan, Query,
    RegisterResource, RuleInput,
};
use job_model::{
    Arn, Conditions, CopyAction, Lifecycle, PlanId, PointAlgorithm, ProtectedResourceConditions, Region, ResourceType,
    RestoreTestingSelection, Selection, Vault, VaultState,
};

use super::database::Database;
use super::stage::{REGIONS, Stage, VAULTS};
use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::names;

/// Names of what the demo makes.
pub(super) const PLAN: &str = "holdfast-demo";
pub(super) const RULE: &str = "every-minute";
pub(super) const TEST_PLAN: &str = "from_the_copies";
const SELECTION: &str = "demo-resources";
/// The plan that protects the database continuously.
const FOLLOWING_PLAN: &str = "holdfast-demo-continuous";
const FOLLOWING_RULE: &str = "any-second";
const FILES: &str = "demo-files";
const VOLUME: &str = "demo-volume";
const DATABASE: &str = "demo-database";
/// Six fields, as AWS writes them: every minute.
const SCHEDULE: &str = "cron(* * * * ? *)";
/// How long recovery points of the demo are kept.
const KEEP_DAYS: u32 = 30;
/// How long the making of a vault may take.
const VAULT_WITHIN: Duration = Duration::from_secs(45);

/// What was set up.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The file tree, the volume, and the database where there is one.
    pub(super) resources: Vec<Arn>,
    /// Where they are backed up to, and where the copies go.
    pub(super) vaults: [Vault; 2],
}

impl Setting {
    /// The database, where there is one.
    pub(super) fn database(&self) -> Option<&Arn> {
        self.resources.get(2)
    }
}

fn region(index: usize) -> Result<Region, CliError> {
    REGIONS[index].parse().map_err(|e: job_model::InvalidArn| CliError::usage(e.to_string()))
}

/// Registers the resources and makes the vaults. What an earlier run with the same directory made is used again.
pub(super) async fn prepare(
    client: &Client<'_>,
    stage: &Stage,
    database: Option<&Database>,
) -> Result<Setting, CliError> {
    // A schedule that an interrupted run left would fire in the middle of the preparations.
    stop_schedule(client).await?;
    stop_following(client).await?;
    let account = "000000000000".parse().map_err(|e: job_model::InvalidArn| CliError::usage(e.to_string()))?;
    let tokyo = region(0)?;
    let register = async |name: &str, kind: ResourceType, location: String| -> Result<Arn, CliError> {
        let arn = names::resource_arn(name, kind, &tokyo, &account)?;
        let request = RegisterResource {
            arn: arn.clone(),
            resource_type: kind,
            region: tokyo.clone(),
            location,
            hooks: None,
            tags: [("holdfast".to_owned(), "demo".to_owned())].into(),
        };
        client.request(&request.into()).await?;
        Ok(arn)
    };
    let files = register(FILES, ResourceType::Files, names::path_url(&stage.files())?).await?;
    let volume = register(VOLUME, ResourceType::Volume, names::path_url(&stage.image())?).await?;
    let mut resources = vec![files, volume];
    if let Some(database) = database {
        resources.push(register(DATABASE, ResourceType::Rds, database.location()).await?);
    }

    let existing = client.vaults().await?;
    for (index, name) in VAULTS.into_iter().enumerate() {
        if existing.iter().any(|vault| vault.name == name) {
            continue;
        }
        let request = CreateVaultRequest {
            name: name.to_owned(),
            region: region(index)?,
            location: names::path_url(&stage.vault(name))?,
            key_profile: name.to_owned(),
            cold_location: None,
            cold_key_profile: None,
            min_retention_days: None,
            max_retention_days: None,
            vault_type: job_model::VaultType::BackupVault,
            tags: std::collections::BTreeMap::new(),
        };
        client.request(&request.into()).await?;
    }
    let vaults = [available(client, VAULTS[0]).await?, available(client, VAULTS[1]).await?];
    Ok(Setting { resources, vaults })
}

/// Waits for a vault's repository.
async fn available(client: &Client<'_>, name: &str) -> Result<Vault, CliError> {
    let wait = async {
        loop {
            let vaults = client.vaults().await?;
            let vault = names::pick_vault(&vaults, name, None)?;
            match vault.state {
                VaultState::Available => return Ok(vault.clone()),
                VaultState::Failed => {
                    let reason = vault.state_message.as_deref().unwrap_or("no reason was given");
                    return Err(CliError::NotProven {
                        message: format!("the vault `{name}` could not be made: {reason}"),
                    });
                }
                VaultState::Creating => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    };
    crate::client::within(VAULT_WITHIN, wait).await.unwrap_or_else(|| {
        Err(CliError::NotProven {
            message: format!("the vault `{name}` was not made within {} s", VAULT_WITHIN.as_secs()),
        })
    })
}

/// Makes the plan and the selection: from now on the schedule fires.
pub(super) async fn start_schedule(client: &Client<'_>, setting: &Setting) -> Result<(), CliError> {
    let osaka = &setting.vaults[1];
    let copy = CopyAction { destination_vault: osaka.access.arn.clone(), lifecycle: kept() };
    start(client, PLAN, RuleInput { copy_actions: vec![copy], ..rule(RULE, setting) }, &setting.resources).await
}

/// Makes the plan that protects the database continuously.
pub(super) async fn start_following(client: &Client<'_>, setting: &Setting) -> Result<(), CliError> {
    let rule = RuleInput { enable_continuous: true, ..rule(FOLLOWING_RULE, setting) };
    start(client, FOLLOWING_PLAN, rule, setting.database().map(std::slice::from_ref).unwrap_or_default()).await
}

const fn kept() -> Lifecycle {
    Lifecycle { delete_after_days: Some(KEEP_DAYS), move_to_cold_after_days: None }
}

/// Every minute to the vault of the resources' own region.
fn rule(name: &str, setting: &Setting) -> RuleInput {
    RuleInput {
        name: name.to_owned(),
        target_vault: setting.vaults[0].access.arn.clone(),
        schedule: Some(SCHEDULE.to_owned()),
        time_zone: Some("Asia/Tokyo".to_owned()),
        start_window_minutes: None,
        completion_window_minutes: None,
        lifecycle: kept(),
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: [("holdfast".to_owned(), "demo".to_owned())].into(),
        enable_continuous: false,
    }
}

/// Makes a plan of one rule, with a selection of these resources.
async fn start(client: &Client<'_>, plan: &str, rule: RuleInput, resources: &[Arn]) -> Result<(), CliError> {
    let request = CreatePlan {
        name: plan.to_owned(),
        rules: vec![rule],
        advanced_settings: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    client.request(&request.into()).await?;
    let plans = client.plans().await?;
    let selection = CreateSelection {
        plan_id: names::pick_plan(&plans, plan)?.id,
        name: SELECTION.to_owned(),
        resources: resources.iter().map(|arn| arn.as_str().to_owned()).collect(),
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    };
    client.request(&selection.into()).await?;
    Ok(())
}

/// Takes selection and plan away: the schedule does not fire any more. Jobs that run go on.
pub(super) async fn stop_schedule(client: &Client<'_>) -> Result<(), CliError> {
    stop(client, PLAN).await
}

/// Takes the plan of continuous protection away: the worker gives back what the server keeps for it.
pub(super) async fn stop_following(client: &Client<'_>) -> Result<(), CliError> {
    stop(client, FOLLOWING_PLAN).await
}

async fn stop(client: &Client<'_>, name: &str) -> Result<(), CliError> {
    for plan in client.plans().await?.into_iter().filter(|plan| plan.name == name) {
        for selection in selections(client, plan.id).await? {
            client.request(&DeleteSelection { plan_id: plan.id, selection_id: selection.id }.into()).await?;
        }
        client.request(&DeletePlan { plan_id: plan.id }.into()).await?;
    }
    Ok(())
}

async fn selections(client: &Client<'_>, plan_id: PlanId) -> Result<Vec<Selection>, CliError> {
    match client.query(&Query::ListSelections { plan_id: Some(plan_id) }).await? {
        Answer::Selections(selections) => Ok(selections),
        other => Err(unexpected("planner", &other)),
    }
}

/// Makes the restore testing plan: the newest recovery point of each resource, from the Osaka vault only.
pub(super) async fn put_test_plan(client: &Client<'_>, setting: &Setting) -> Result<(), CliError> {
    let selection = |name: &str, resource_type: ResourceType, arn: &Arn| RestoreTestingSelection {
        name: name.to_owned(),
        resource_type,
        protected_resources: vec![arn.as_str().to_owned()],
        conditions: ProtectedResourceConditions::default(),
        validation_window_hours: 0,
        iam_role: None,
        creator_request_id: None,
        created_at: None,
        updated_at: None,
        restore_metadata_overrides: std::collections::BTreeMap::new(),
    };
    let plan = PutRestoreTestingPlan {
        name: TEST_PLAN.to_owned(),
        schedule: None,
        time_zone: None,
        start_window_hours: None,
        algorithm: PointAlgorithm::LatestWithinWindow,
        include_vaults: vec![setting.vaults[1].access.arn.as_str().to_owned()],
        exclude_vaults: Vec::new(),
        selection_window_days: Some(1),
        selections: ["files", "volume", "database"]
            .into_iter()
            .zip([ResourceType::Files, ResourceType::Volume, ResourceType::Rds])
            .zip(&setting.resources)
            .map(|((name, resource_type), arn)| selection(name, resource_type, arn))
            .collect(),
    };
    client.request(&plan.into()).await?;
    Ok(())
}
