//! What the stories are told with.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use job_events::{
    CreatePlan, CreateSelection, CreateVaultRequest, RegisterResource, RestoreTest, RuleInput, StartBackup,
    StartRestore,
};
use job_model::{Arn, Conditions, JobId, Lifecycle, OverwritePolicy, PlanId, ResourceType, RestoreTarget, TestRunId};
use uuid::Uuid;

use super::{Mischief, World, arn};

pub(crate) const EUROPE: &str = "eu-central-1";
pub(crate) const AUSTRALIA: &str = "ap-southeast-2";

pub(crate) fn resource(region: &str, name: &str) -> Arn {
    arn(&format!("arn:aws:files:{region}:000000000000:tree/{name}"))
}

pub(crate) fn vault(region: &str, name: &str) -> Arn {
    arn(&format!("arn:aws:backup:{region}:000000000000:backup-vault:{name}"))
}

pub(crate) fn register(world: &mut World, region: &str, name: &str) -> Arn {
    let arn = resource(region, name);
    world.accepted(RegisterResource {
        arn: arn.clone(),
        resource_type: ResourceType::Files,
        region: region.parse().unwrap(),
        location: format!("file:///srv/{name}"),
        hooks: None,
        tags: BTreeMap::new(),
    });
    arn
}

pub(crate) fn create_vault(world: &mut World, region: &str, name: &str) -> Arn {
    world.accepted(CreateVaultRequest {
        name: name.to_owned(),
        region: region.parse().unwrap(),
        location: format!("file:///vaults/{region}/{name}"),
        key_profile: name.to_owned(),
        cold_location: None,
        cold_key_profile: None,
        min_retention_days: None,
        max_retention_days: None,
        vault_type: job_model::VaultType::BackupVault,
        tags: std::collections::BTreeMap::new(),
    });
    vault(region, name)
}

pub(crate) fn rule(name: &str, vault: Arn, schedule: &str, time_zone: &str) -> RuleInput {
    RuleInput {
        name: name.to_owned(),
        target_vault: vault,
        schedule: Some(schedule.to_owned()),
        time_zone: Some(time_zone.to_owned()),
        start_window_minutes: Some(60),
        completion_window_minutes: Some(120),
        lifecycle: Lifecycle::default(),
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: BTreeMap::new(),
        enable_continuous: false,
    }
}

pub(crate) fn protect(world: &mut World, name: &str, rule: RuleInput, resources: &[&Arn]) -> PlanId {
    let (_, id) = world.accepted(CreatePlan {
        name: name.to_owned(),
        rules: vec![rule],
        advanced_settings: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    });
    let plan_id: PlanId = id.unwrap().parse().unwrap();
    world.accepted(CreateSelection {
        plan_id,
        name: name.to_owned(),
        resources: resources.iter().map(ToString::to_string).collect(),
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    });
    plan_id
}

pub(crate) fn days(days: u32) -> Lifecycle {
    Lifecycle { delete_after_days: Some(days), ..Lifecycle::default() }
}

pub(crate) fn test_restore(world: &mut World, resource: &Arn, vault: &Arn, run: u128) -> JobId {
    let recovery_point = world.newest_point(resource, vault);
    test_restore_of(world, recovery_point, run, 0)
}

pub(crate) fn test_restore_of(world: &mut World, recovery_point: Arn, run: u128, validation_hours: u32) -> JobId {
    let (job, _) = world.accepted(StartRestore {
        recovery_point,
        target: RestoreTarget::Sandbox,
        overwrite: OverwritePolicy::default(),
        include: Vec::new(),
        test: Some(RestoreTest {
            test_run: TestRunId::new(Uuid::from_u128(run)),
            restore_testing_plan: "weekly".to_owned(),
            validation_window_hours: validation_hours,
        }),
        metadata: std::collections::BTreeMap::new(),
        iam_role: None,
    });
    job.unwrap()
}

/// A backup on demand, kept for ever.
pub(crate) fn start_backup(resource: &Arn, vault: &Arn) -> StartBackup {
    StartBackup {
        resource: resource.clone(),
        vault: vault.clone(),
        lifecycle: Lifecycle::default(),
        start_window_minutes: None,
        completion_window_minutes: None,
        recovery_point_tags: BTreeMap::new(),
        copy_actions: Vec::new(),
        iam_role: None,
    }
}

/// One resource and a vault in each region, ready for use.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) home: Arn,
    pub(crate) near: Arn,
    pub(crate) far: Arn,
}

pub(crate) fn scene() -> Scene {
    scene_with(Mischief::DiesAfterEachStep)
}

pub(crate) fn scene_with(mischief: Mischief) -> Scene {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE, AUSTRALIA], mischief);
    let near = create_vault(&mut world, EUROPE, "near");
    let far = create_vault(&mut world, AUSTRALIA, "far");
    let home = register(&mut world, EUROPE, "home");
    world.run_for(SignedDuration::from_mins(30));
    Scene { world, home, near, far }
}

impl Scene {
    /// A backup on demand.
    pub(crate) fn backup(&mut self) -> JobId {
        let request = start_backup(&self.home, &self.near);
        self.world.accepted(request).0.unwrap()
    }

    /// A backup on demand, ended; its recovery point.
    pub(crate) fn backed_up(&mut self) -> Arn {
        self.backup();
        self.world.run_for(SignedDuration::from_mins(30));
        self.world.newest_point(&self.home, &self.near)
    }
}
