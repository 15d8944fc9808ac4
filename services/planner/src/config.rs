//! What the planner can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use job_bus::BusConfig;
use job_model::{AccountId, Region};
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon};

use crate::decide::{Settings, VaultPlace};

/// The planner's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlannerConfig {
    /// What every service has.
    pub common: CommonConfig,
    /// The account in the ARNs of vaults and recovery points: twelve digits.
    pub account_id: String,
    /// The region whose bus holds the planner's lease; the first one by name unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_region: Option<String>,
    /// The regions of the installation. One server may serve several.
    pub regions: BTreeMap<String, RegionConfig>,
    /// What decisions depend on.
    pub decisions: Decisions,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its bus.
    pub nats: BusConfig,
    /// Where vaults are made that say no place of their own, as those made through the AWS Backup API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vaults: Option<VaultsConfig>,
}

/// Where vaults are made that say no place of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultsConfig {
    /// For example `file:///srv/vaults/{account}/{name}` or `s3://bucket/{account}/{name}`.
    pub location: String,
    /// Key of the workers' configuration.
    pub key_profile: String,
    /// Where the cold repositories of the region's vaults are made that name none themselves, likewise with `{name}`. Without
    /// it such vaults have no cold storage, and lifecycles that ask for it are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_location: Option<String>,
    /// Key of those; that of the vault unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_key_profile: Option<String>,
}

/// What decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decisions {
    /// Scheduled jobs are spread over this span after their scheduled time, each always at the same distance.
    #[serde(with = "humantime_serde")]
    pub jitter: Duration,
    /// Attempts before a job is given up.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubled before each further one.
    #[serde(with = "humantime_serde")]
    pub retry_base: Duration,
    /// Longest wait before an attempt.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// How long a worker that was told to stop may say nothing before its job is ended without it.
    #[serde(with = "humantime_serde")]
    pub stop_grace: Duration,
    /// Silence of a job after which its order is looked for on the bus; three heartbeats or more.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Wait before the deletion of a recovery point that failed is tried again.
    #[serde(with = "humantime_serde")]
    pub delete_retry: Duration,
    /// AWS's own limits where ours are wider: windows of an hour or more, hourly schedules at most, six fields of cron, 90
    /// days in cold storage.
    pub aws_strict: bool,
    /// How often a part of each vault is read to see that it is sound, another part each time; `0s` for never.
    #[serde(with = "humantime_serde")]
    pub scrub_every: Duration,
    /// How much is read each time, in MiB.
    pub scrub_mib: u32,
    /// Orders a prune once a day for vaults where something was deleted.
    pub prune_vaults: bool,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            jitter: Duration::ZERO,
            max_attempts: 3,
            retry_base: Duration::from_secs(60),
            retry_max: Duration::from_secs(15 * 60),
            stop_grace: Duration::from_secs(10 * 60),
            silence: Duration::from_secs(90),
            delete_retry: Duration::from_secs(6 * 3600),
            aws_strict: false,
            scrub_every: Duration::from_secs(24 * 3600),
            scrub_mib: 1024,
            prune_vaults: true,
        }
    }
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self {
            common: CommonConfig::default(),
            account_id: "000000000000".to_owned(),
            home_region: None,
            regions: BTreeMap::new(),
            decisions: Decisions::default(),
        }
    }
}

impl HasCommon for PlannerConfig {
    fn common(&self) -> &CommonConfig {
        &self.common
    }
}

impl PlannerConfig {
    /// The regions with their buses.
    ///
    /// # Errors
    /// When there is none, or one has no region's name.
    pub(crate) fn buses(&self) -> Result<BTreeMap<Region, BusConfig>, ConfigProblem> {
        if self.regions.is_empty() {
            return Err(ConfigProblem::new(
                "regions",
                "",
                "name at least one, for example `[regions.ap-northeast-1.nats]`",
            ));
        }
        self.regions
            .iter()
            .map(|(name, region)| {
                let parsed = name.parse::<Region>().map_err(|error| {
                    ConfigProblem::new(format!("regions.{name}"), name, format!("not {}", error.expected))
                })?;
                Ok((parsed, region.nats.clone()))
            })
            .collect()
    }

    /// The region whose bus holds the lease.
    ///
    /// # Errors
    /// When the one named is none of the installation's.
    pub(crate) fn home(&self) -> Result<Region, ConfigProblem> {
        let regions = self.buses()?;
        match &self.home_region {
            None => regions.into_keys().next().ok_or_else(|| ConfigProblem::new("regions", "", "name at least one")),
            Some(name) => regions.into_keys().find(|region| region.as_str() == name).ok_or_else(|| {
                ConfigProblem::new("home_region", name, "none of `regions`; name one of them or leave it out")
            }),
        }
    }

    fn vault_places(&self) -> Result<BTreeMap<Region, VaultPlace>, ConfigProblem> {
        let mut places = BTreeMap::new();
        for (name, region) in &self.regions {
            let (Some(vaults), Ok(parsed)) = (&region.vaults, name.parse::<Region>()) else { continue };
            let key = |member: &str| format!("regions.{name}.vaults.{member}");
            for (member, location) in
                [("location", Some(&vaults.location)), ("cold_location", vaults.cold_location.as_ref())]
            {
                let Some(location) = location.filter(|location| !location.contains("{name}")) else { continue };
                let mend = "every vault needs a place of its own; write `{name}` in it, and `{account}` where there are \
                            several";
                return Err(ConfigProblem::new(key(member), location, mend));
            }
            match (&vaults.cold_location, &vaults.cold_key_profile) {
                (Some(cold), _) if cold.trim_end_matches('/') == vaults.location.trim_end_matches('/') => {
                    let mend = "the place of the vaults themselves; cold storage is another repository";
                    return Err(ConfigProblem::new(key("cold_location"), cold, mend));
                }
                (None, Some(profile)) => {
                    let mend = "a key without a place; write `cold_location` too, or leave it out";
                    return Err(ConfigProblem::new(key("cold_key_profile"), profile, mend));
                }
                _ => {}
            }
            let place = VaultPlace {
                location: vaults.location.clone(),
                key_profile: vaults.key_profile.clone(),
                cold_location: vaults.cold_location.clone(),
                cold_key_profile: vaults.cold_key_profile.clone(),
            };
            places.insert(parsed, place);
        }
        Ok(places)
    }

    /// What decisions depend on.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigProblem> {
        let account: AccountId = self.account_id.parse().map_err(|_| {
            ConfigProblem::new("account_id", &self.account_id, "not an account id: write twelve digits")
        })?;
        let mut settings = Settings::new(account, self.buses()?.into_keys().collect());
        let Decisions {
            jitter,
            max_attempts,
            retry_base,
            retry_max,
            stop_grace,
            silence,
            delete_retry,
            aws_strict,
            scrub_every,
            scrub_mib,
            prune_vaults,
        } = &self.decisions;
        settings.prune_vaults = *prune_vaults;
        settings.aws_strict = *aws_strict;
        settings.vault_places = self.vault_places()?;
        if !(1..=100).contains(max_attempts) {
            return Err(ConfigProblem::new("decisions.max_attempts", max_attempts, "write 1 to 100"));
        }
        settings.max_attempts = *max_attempts;
        settings.jitter = span("decisions.jitter", *jitter)?;
        settings.scrub_every = span("decisions.scrub_every", *scrub_every)?;
        if *scrub_mib == 0 {
            return Err(ConfigProblem::new(
                "decisions.scrub_mib",
                scrub_mib,
                "write 1 or more; `scrub_every = \"0s\"` turns it off",
            ));
        }
        settings.scrub_mib = *scrub_mib;
        settings.retry_base = span("decisions.retry_base", *retry_base)?;
        settings.retry_max = span("decisions.retry_max", *retry_max)?;
        settings.stop_grace = span("decisions.stop_grace", *stop_grace)?;
        settings.silence = span("decisions.silence", *silence)?;
        settings.delete_retry = span("decisions.delete_retry", *delete_retry)?;
        Ok(settings)
    }
}

/// The longest span that makes sense here.
const SPAN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

fn span(key: &str, value: Duration) -> Result<jiff::SignedDuration, ConfigProblem> {
    let shown = format!("{}s", value.as_secs());
    if value > SPAN_MAX {
        return Err(ConfigProblem::new(key, shown, "write at most `30days`"));
    }
    jiff::SignedDuration::try_from(value).map_err(|_| ConfigProblem::new(key, shown, "write at most `30days`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(regions: &[&str]) -> PlannerConfig {
        let bus = BusConfig {
            url: "nats://127.0.0.1:1".to_owned(),
            name: "planner".to_owned(),
            user: None,
            password_file: None,
            nkey_seed_file: None,
            inbox_prefix: None,
            ca_file: None,
        };
        let regions =
            regions.iter().map(|name| ((*name).to_owned(), RegionConfig { nats: bus.clone(), vaults: None })).collect();
        PlannerConfig { regions, ..PlannerConfig::default() }
    }

    #[test]
    fn the_lease_lies_in_the_first_region_unless_another_one_is_named() {
        let mut config = config(&["us-west-2", "eu-central-1"]);
        assert_eq!(config.home().unwrap().as_str(), "eu-central-1");
        config.home_region = Some("us-west-2".to_owned());
        assert_eq!(config.home().unwrap().as_str(), "us-west-2");
        config.home_region = Some("sa-east-1".to_owned());
        assert_eq!(config.home().unwrap_err().key, "home_region");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_key() {
        assert_eq!(config(&[]).settings().unwrap_err().key, "regions");
        assert_eq!(config(&["Nowhere"]).settings().unwrap_err().key, "regions.Nowhere");
        let account = PlannerConfig { account_id: "42".to_owned(), ..config(&["eu-central-1"]) };
        assert_eq!(account.settings().unwrap_err().key, "account_id");
        let mut attempts = config(&["eu-central-1"]);
        attempts.decisions.max_attempts = 0;
        assert_eq!(attempts.settings().unwrap_err().key, "decisions.max_attempts");
        attempts.decisions = Decisions { jitter: Duration::from_secs(u64::MAX), ..Decisions::default() };
        assert_eq!(attempts.settings().unwrap_err().key, "decisions.jitter");
    }

    #[test]
    fn a_cold_place_is_another_one_for_each_vault() {
        let mut config = config(&["eu-central-1"]);
        let mut refused = |cold: Option<&str>, key: Option<&str>| {
            let vaults = VaultsConfig {
                location: "file:///srv/{name}".to_owned(),
                key_profile: "main".to_owned(),
                cold_location: cold.map(str::to_owned),
                cold_key_profile: key.map(str::to_owned),
            };
            config.regions.get_mut("eu-central-1").unwrap().vaults = Some(vaults);
            config.settings().err().map(|problem| problem.key)
        };
        let key = |member: &str| Some(format!("regions.eu-central-1.vaults.{member}"));
        assert_eq!(refused(Some("s3://cold/{name}"), None), None);
        assert_eq!(refused(None, None), None);
        assert_eq!(refused(Some("s3://cold/all"), None), key("cold_location"));
        assert_eq!(refused(Some("file:///srv/{name}/"), None), key("cold_location"));
        assert_eq!(refused(None, Some("cold")), key("cold_key_profile"));
    }

    #[test]
    fn the_defaults_are_those_of_the_decisions() {
        let config = config(&["eu-central-1"]);
        let settings = config.settings().unwrap();
        assert_eq!(settings, Settings::new(settings.account.clone(), settings.regions.clone()));
    }
}
