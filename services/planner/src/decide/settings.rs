//! What the operator set that decisions depend on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use job_model::{AccountId, Region};

/// Where vaults are made that say no place of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VaultPlace {
    /// A location with `{name}`, and `{account}` where there are several.
    pub(crate) location: String,
    /// The key of the workers' configuration.
    pub(crate) key_profile: String,
    /// Where their cold repositories are made, likewise; none: there is no cold storage but where a vault names its own.
    pub(crate) cold_location: Option<String>,
    /// The key of those; none: that of the vault.
    pub(crate) cold_key_profile: Option<String>,
}

/// Settings of the decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The account in every ARN that is made here.
    pub(crate) account: AccountId,
    /// The regions with a bus.
    pub(crate) regions: BTreeSet<Region>,
    /// Scheduled jobs start this much later at most; how much is a stable function of rule and resource.
    pub(crate) jitter: SignedDuration,
    /// Attempts before a job is given up.
    pub(crate) max_attempts: u32,
    /// Wait before the second attempt; doubled before each further one.
    pub(crate) retry_base: SignedDuration,
    /// Longest wait before an attempt.
    pub(crate) retry_max: SignedDuration,
    /// How long a job that was told to stop may take before it is given up.
    pub(crate) stop_grace: SignedDuration,
    /// Silence of a job after which its order is looked for on the bus (three heartbeats).
    pub(crate) silence: SignedDuration,
    /// Wait before a failed deletion is tried again.
    pub(crate) delete_retry: SignedDuration,
    /// How long ended jobs stay in the ledger.
    pub(crate) keep_jobs: SignedDuration,
    /// How long answers to requests are remembered.
    pub(crate) keep_answers: SignedDuration,
    /// Where vaults are made that say no place of their own.
    pub(crate) vault_places: BTreeMap<Region, VaultPlace>,
    /// AWS's own limits where ours are wider.
    pub(crate) aws_strict: bool,
    /// How often a part of each vault is read; never where it is zero.
    pub(crate) scrub_every: SignedDuration,
    /// How much of it, in MiB.
    pub(crate) scrub_mib: u32,
    /// Whether vaults are pruned by themselves.
    pub(crate) prune_vaults: bool,
}

impl Settings {
    /// The defaults for an account and its regions.
    pub(crate) fn new(account: AccountId, regions: BTreeSet<Region>) -> Self {
        Self {
            account,
            regions,
            jitter: SignedDuration::ZERO,
            max_attempts: 3,
            retry_base: SignedDuration::from_secs(60),
            retry_max: SignedDuration::from_mins(15),
            stop_grace: SignedDuration::from_mins(10),
            silence: SignedDuration::from_secs(90),
            delete_retry: SignedDuration::from_hours(6),
            keep_jobs: SignedDuration::from_hours(30 * 24),
            keep_answers: SignedDuration::from_hours(7 * 24),
            vault_places: BTreeMap::new(),
            aws_strict: false,
            scrub_every: SignedDuration::from_hours(24),
            scrub_mib: 1024,
            prune_vaults: true,
        }
    }
}
